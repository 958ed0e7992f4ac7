//! What a guest's package takes from the networks that are registered here: definitions and reservations.

use super::super::progress::{self, Style};
use super::super::{Context, Failure};
use miniascape::domain::{Domain, InterfaceSource};
use miniascape::host::files;
use miniascape::network;
use miniascape::package::{HostSection, NetworkFiles, Reservation};

/// Longer than any definition of a network, in bytes.
const MAX_DEFINITION: u64 = 4 * 1024 * 1024;

/// The definitions of the registered networks that the domain is plugged into, as people wrote them.
pub(super) fn definitions(context: &Context, xml: &str) -> Result<Vec<NetworkFiles>, Failure> {
    let interfaces = Domain::parse(xml)
        .map(|domain| domain.interfaces)
        .unwrap_or_default();
    let mut all = Vec::new();
    for applied in network::registered(context.layout())? {
        let source = InterfaceSource::Network(applied.name.to_string());
        if !interfaces.iter().any(|interface| interface.source == source) {
            continue;
        }
        let failed = |e| Failure::failed(format!("the definition of the network {}: {e}", applied.name));
        all.push(NetworkFiles {
            definition: files::read_at_most(&applied.source, MAX_DEFINITION).map_err(failed)?,
            parts: network::beside(context.layout(), &applied.source, &applied.name).map_err(failed)?,
            name: applied.name,
        });
    }
    Ok(all)
}

/// What the registered networks reserve. One whose definition cannot be read only costs its entries.
pub(super) fn reservations(context: &Context, style: Style) -> Vec<Reservation> {
    let registered = match network::registered(context.layout()) {
        Ok(registered) => registered,
        Err(error) => {
            progress::warn(context, style, &error.to_string());
            return Vec::new();
        }
    };
    let mut reservations = Vec::new();
    for applied in registered {
        match network::Finder::new(context.layout()).read(&applied.source) {
            Ok(found) => {
                for host in found.network.hosts() {
                    reservations.extend(host.macs.iter().map(|&mac| Reservation {
                        network: applied.name.to_string(),
                        host: HostSection {
                            name: host.name.clone(),
                            mac,
                            addresses: host.addresses().collect(),
                        },
                    }));
                }
            }
            Err(error) => {
                let text = format!(
                    "host entries of the network {} stay behind: {error}",
                    applied.name
                );
                progress::warn(context, style, &text);
            }
        }
    }
    reservations
}
