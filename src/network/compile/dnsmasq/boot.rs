//! Lines of `dnsmasq.conf` for booting over the network.

use crate::name::{InterfaceName, Tag};
use crate::network::model::{Boot, Firmware, Network};

/// The tag of a kind of firmware; no definition can have it.
fn tag(firmware: Firmware) -> String {
    format!("{}{}", Tag::OURS, firmware.key().replace('_', "-"))
}

/// All of them. Each kind of firmware has its own file, and iPXE, which tells its machine's architecture too, gets no
/// other than its own, or it would load itself again and again.
pub(super) fn lines(network: &Network) -> Vec<String> {
    let Some(boot) = network.dhcp().and_then(|dhcp| dhcp.boot.as_ref()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let has = |kind: Firmware| boot.files.iter().any(|(firmware, _)| *firmware == kind);
    if has(Firmware::Ipxe) {
        lines.push(format!("dhcp-match=set:{},175", tag(Firmware::Ipxe)));
    }
    let told: Vec<Firmware> = Firmware::ALL
        .into_iter()
        .filter(|kind| has(*kind) && !kind.architectures().is_empty())
        .collect();
    for kind in &told {
        for architecture in kind.architectures() {
            lines.push(format!(
                "dhcp-match=set:{},option:client-arch,{architecture}",
                tag(*kind)
            ));
        }
    }
    for (firmware, file) in &boot.files {
        let condition = |kind: Firmware| format!("tag:{},", tag(kind));
        let not = |kind: Firmware| format!("tag:!{},", tag(kind));
        let mut tags = String::new();
        if *firmware != Firmware::Ipxe && has(Firmware::Ipxe) {
            tags += &not(Firmware::Ipxe);
        }
        match firmware {
            Firmware::Other => told.iter().for_each(|kind| tags += &not(*kind)),
            kind => tags.push_str(&condition(*kind)),
        }
        let server = boot
            .server
            .map_or_else(String::new, |server| format!(",,{server}"));
        lines.push(format!("dhcp-boot={tags}{file}{server}"));
    }
    lines.extend(tftp(boot, network));
    lines
}

/// Not `tftp-secure`: it would serve only files that belong to dnsmasq's own user. That user may read what everyone
/// may. A directory that is away for a while is no reason to answer no names.
fn tftp(boot: &Boot, network: &Network) -> Vec<String> {
    let Some(root) = &boot.tftp else {
        return Vec::new();
    };
    let interface = network
        .bridge()
        .map(InterfaceName::as_str)
        .map_or_else(String::new, |bridge| format!("={bridge}"));
    vec![
        format!("enable-tftp{interface}"),
        format!("tftp-root={root}"),
        "tftp-no-fail".to_owned(),
    ]
}
