//! A look at a network after its update: whether everything is as it should be. Nothing is changed here.

use super::added::Added;
use super::bridge;
use super::facts::{Facts, plan};
use super::{RegisterError, Target};
use crate::host::bus;
use crate::host::dns::{self, Kind};
use crate::name::DnsName;
use crate::network::Network;
use crate::network::compile::Compiled;
use std::net::IpAddr;
use std::time::Duration;

/// How long dnsmasq has to answer a question after an update.
const DNS_PATIENCE: Duration = Duration::from_millis(500);
/// How many names are asked for to see whether dnsmasq has read its files.
const SAMPLES: usize = 8;

/// Looks whether everything is as it should be: no step is left to do, and dnsmasq answers from the new files, those
/// that were `added` among others.
pub(super) fn verify(
    network: &Network,
    compiled: &Compiled,
    added: Option<&Added>,
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    let wrong = |what: String| RegisterError::Unverified {
        network: network.name().clone(),
        what,
    };
    let left = plan(
        &Facts::gather(network, compiled, target)?,
        network.needs_dnsmasq(),
    );
    if let Some(step) = left.first() {
        return Err(wrong(format!("there is still to {step}")));
    }
    if !network.needs_dnsmasq() {
        return Ok(());
    }
    // dnsmasq takes a SIGHUP before the next message from the bus: when it answers this, it has read its files.
    bus::ping_dnsmasq(network.name()).map_err(|e| wrong(format!("dnsmasq does not answer on D-Bus: {e}")))?;
    if !network.serves_dns() {
        return Ok(());
    }
    let Some(server) = bridge::name_server(network)? else {
        return Ok(());
    };
    let added = added.into_iter().flat_map(Added::names).take(SAMPLES);
    for (name, address) in samples(network).into_iter().chain(added) {
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        let answer = match dns::ask(server, &name, kind, DNS_PATIENCE) {
            // The daemon's unit has no network: that dnsmasq has read its files has to do.
            Err(error) if dns::is_forbidden(&error) => return Ok(()),
            answer => answer.map_err(|e| wrong(format!("dnsmasq does not answer for {name}: {e}")))?,
        };
        if !answer.contains(&address) {
            return Err(wrong(format!("dnsmasq does not know that {name} is {address}")));
        }
    }
    Ok(())
}

/// Some names of the network with their addresses, spread over all of them.
fn samples(network: &Network) -> Vec<(DnsName, IpAddr)> {
    let Some(domain) = network.domain() else {
        return Vec::new();
    };
    let hosts = network.hosts();
    let step = hosts.len().div_ceil(SAMPLES).max(1);
    let named =
        |host: &crate::network::Host| Some((domain.with_host(&host.name).ok()?, host.addresses().next()?));
    hosts.iter().step_by(step).filter_map(named).collect()
}
