//! What booting over the network needs of the host: an opening in its firewall, which is ours to make, and files that
//! dnsmasq can read, which is told only.

use super::model::{Mode, Network};
use super::needs::{Need, Unmet};
use crate::host::firewall::{self, Opening};
use crate::host::{CommandError, access, bus, packet_filter};
use crate::name::{InterfaceName, NetworkName};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a network with a TFTP server of ours needs; kept in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootNeeds {
    /// The network.
    pub network: NetworkName,
    /// The bridge for which the firewall is opened; `None` where libvirt opens nothing either: what comes in there is
    /// the host's own business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<InterfaceName>,
    /// The directory that is served.
    pub tftp: PathBuf,
    /// The boot files in it, as paths of their own.
    pub files: Vec<PathBuf>,
}

impl BootNeeds {
    /// What `network` needs; `None` if it serves no files.
    pub fn of(network: &Network) -> Option<Self> {
        let boot = network.dhcp()?.boot.as_ref()?;
        let tftp = boot.tftp.as_ref()?.as_path().to_owned();
        let opens = matches!(network.mode(), Mode::Nat | Mode::Routed | Mode::Isolated);
        let files = boot.files.iter().filter_map(|(_, file)| file.in_directory());
        Some(Self {
            network: network.name().clone(),
            bridge: network.own_bridge().filter(|_| opens).cloned(),
            files: files.map(|file| tftp.join(file)).collect(),
            tftp,
        })
    }

    /// What is not as it has to be, as far as we may look.
    pub(super) fn unmet(&self) -> Vec<Unmet> {
        let mut found = Vec::new();
        let told = |error: &CommandError| tracing::warn!("{error}");
        if let Some(bridge) = &self.bridge {
            match firewall::opening(&self.network, Some(bridge)) {
                Ok(Opening::Open) => {}
                Ok(_) if !firewall::is_usable() => {}
                Ok(_) => {
                    let what = "the host's firewall is not open for boot files";
                    let command = format!("miniascape net firewall {}", self.network);
                    let advice = format!("`{command}` opens it");
                    found.push(Unmet::new(Need::BootFiles, what, advice).command(command));
                }
                Err(error) => told(&error),
            }
            found.extend(others(bridge));
        }
        if let Ok(Some(pid)) = bus::dnsmasq_pid(&self.network) {
            let seen = |path: &PathBuf, directory| {
                access::readable_by(pid, path, directory)
                    .inspect_err(told)
                    .unwrap_or(true)
            };
            let mut missing: Vec<&PathBuf> = Vec::new();
            if seen(&self.tftp, true) {
                missing.extend(self.files.iter().filter(|file| !seen(file, false)));
            } else {
                missing.push(&self.tftp);
            }
            found.extend(missing.into_iter().map(|path| {
                let path = path.display();
                let advice = format!(
                    "is it there, can everyone read it (`chmod a+rX {path}`, and the directories above it), and is it outside \
                     of /home, /root and /tmp, which the unit does not show it?"
                );
                let what = format!("dnsmasq, which has no special rights, cannot read {path}");
                Unmet::new(Need::BootFiles, what, advice).command(format!("namei -l {path}"))
            }));
        }
        found
    }
}

/// What else on the host drops requests for files on `bridge`, with the step that it needs.
fn others(bridge: &InterfaceName) -> Vec<Unmet> {
    if let Some(zone) = packet_filter::firewalld_zone_without_tftp(bridge) {
        let what = format!("firewalld lets nobody on {bridge} ask for boot files");
        let now = format!("firewall-cmd --zone={zone} --add-service=tftp");
        return vec![
            Unmet::new(
                Need::BootFiles,
                what,
                format!("`{now}`, and once more with --permanent"),
            )
            .command(format!("{now} && {now} --permanent")),
        ];
    }
    packet_filter::other_drops(bridge)
        .into_iter()
        .map(|chain| {
            let what = format!(
                "the nftables chain {chain} drops what it does not know, and nothing in it names {bridge}"
            );
            let command = format!("nft insert rule {chain} iifname {bridge} udp dport 69 accept");
            let advice = format!("`{command}` lets boot files be asked for");
            Unmet::new(Need::BootFiles, what, advice).command(command)
        })
        .collect()
}
