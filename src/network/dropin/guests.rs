//! What guests bring into networks: `hosts.d/GUEST.yaml`, written when a guest is made and removed when it goes.

use crate::host::{Layout, files};
use crate::name::{GuestName, HostName, Mac, NetworkName};
use crate::schema;
use fs_err as fs;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;

/// A host entry that comes with a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The host's name.
    pub name: HostName,
    /// The interfaces that it is for, of which one is in use at a time.
    pub macs: Vec<Mac>,
    /// Its addresses; none: one is chosen.
    pub ips: Vec<IpAddr>,
}

impl Brought {
    /// The content of the guest's file.
    pub(in crate::network) fn to_yaml(entries: &[Self], guest: &GuestName) -> String {
        let mut text =
            format!("# Made by miniascape for the guest {guest}; it goes with the guest.\nhosts:\n");
        for entry in entries {
            let _ = writeln!(text, "{}", entry.to_line());
        }
        schema::with_modeline(&super::DOCUMENT, &text)
    }

    /// The entry's line, below `hosts:`.
    pub(in crate::network) fn to_line(&self) -> String {
        let Self { name, macs, ips } = self;
        let ips = if ips.is_empty() {
            "auto".to_owned()
        } else {
            listed(ips)
        };
        format!("  - {{ name: \"{name}\", mac: {}, ip: {ips} }}", listed(macs))
    }
}

/// One value, or a list of several.
fn listed(values: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        many => format!("[ {} ]", many.join(", ")),
    }
}

/// True if `guest` has brought just this into `network`.
pub fn has_brought(
    layout: &Layout,
    guest: &GuestName,
    network: &NetworkName,
    entries: &[Brought],
) -> io::Result<bool> {
    let there = files::read_if_there(layout.guest_hosts(network, guest).on_disk())?;
    let wanted = (!entries.is_empty()).then(|| Brought::to_yaml(entries, guest).into_bytes());
    Ok(there == wanted)
}

/// Notes what `guest` brings into `network`, in place of what it brought before; true if that changed anything. The
/// network need not be there yet.
pub fn bring(
    layout: &Layout,
    guest: &GuestName,
    network: &NetworkName,
    entries: &[Brought],
) -> io::Result<bool> {
    let place = layout.guest_hosts(network, guest);
    if entries.is_empty() {
        return remove(layout, guest, network);
    }
    for dir in [
        layout.networks(),
        layout.network(network),
        layout.guests_hosts(network),
    ] {
        files::make_dir_once(dir.on_disk(), 0o755)?;
    }
    files::write(
        place.on_disk(),
        Brought::to_yaml(entries, guest).as_bytes(),
        0o644,
    )
}

/// The networks into which `guest` has brought something, by name.
pub fn networks_of(layout: &Layout, guest: &GuestName) -> io::Result<Vec<NetworkName>> {
    let entries = match fs::read_dir(layout.networks().on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut all = Vec::new();
    for entry in entries {
        let Ok(network) = entry?.file_name().to_string_lossy().parse::<NetworkName>() else {
            continue;
        };
        if layout.guest_hosts(&network, guest).on_disk().exists() {
            all.push(network);
        }
    }
    all.sort();
    Ok(all)
}

/// Takes away what `guest` brought; the networks that it was in.
pub(in crate::network) fn take_back(layout: &Layout, guest: &GuestName) -> io::Result<Vec<NetworkName>> {
    let networks = networks_of(layout, guest)?;
    for network in &networks {
        remove(layout, guest, network)?;
    }
    Ok(networks)
}

/// Also the directories, where nothing is left in them.
fn remove(layout: &Layout, guest: &GuestName, network: &NetworkName) -> io::Result<bool> {
    let removed = files::remove(layout.guest_hosts(network, guest).on_disk())?;
    for dir in [layout.guests_hosts(network), layout.network(network)] {
        match fs::remove_dir(dir.on_disk()) {
            Ok(()) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                break;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let (guest, network) = ("web".parse().unwrap(), "net-1".parse().unwrap());
        assert_eq!(networks_of(&layout, &guest).unwrap(), []);
        let mut entries = vec![Brought {
            name: "null".parse().unwrap(),
            macs: vec!["52:54:00:00:00:01".parse().unwrap()],
            ips: Vec::new(),
        }];
        assert!(bring(&layout, &guest, &network, &entries).unwrap());
        assert!(!bring(&layout, &guest, &network, &entries).unwrap());
        entries[0].ips = vec![[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()];
        assert!(bring(&layout, &guest, &network, &entries).unwrap());
        let text = fs::read_to_string(layout.guest_hosts(&network, &guest).on_disk()).unwrap();
        insta::assert_snapshot!(text, @r#"
        # yaml-language-server: $schema=/usr/share/miniascape/schemas/network-drop-in.json
        # Made by miniascape for the guest web; it goes with the guest.
        hosts:
          - { name: "null", mac: "52:54:00:00:00:01", ip: [ "10.0.0.1", "fd00::1" ] }
        "#);
        assert_eq!(
            networks_of(&layout, &guest).unwrap(),
            std::slice::from_ref(&network)
        );
        assert_eq!(
            take_back(&layout, &guest).unwrap(),
            std::slice::from_ref(&network)
        );
        assert!(!layout.network(&network).on_disk().exists());
        assert!(!bring(&layout, &guest, &network, &[]).unwrap());
    }
}
