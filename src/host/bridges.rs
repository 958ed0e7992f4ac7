//! Bridges of this host as the kernel shows them in sysfs, and the addresses of interfaces through ip(8). Nothing is
//! changed here.

use super::command::{CommandError, Program};
use crate::name::{InterfaceName, Mac};
use fs_err as fs;
use serde::Deserialize;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn sysfs(interface: &InterfaceName) -> PathBuf {
    Path::new("/sys/class/net").join(interface.as_str())
}

/// What a name stands for on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such interface.
    Absent,
    /// A bridge of the kernel's.
    Bridge,
    /// Another interface.
    Other,
}

/// What `name` stands for on this host.
pub fn kind(name: &InterfaceName) -> Kind {
    let path = sysfs(name);
    if path.join("bridge").is_dir() {
        Kind::Bridge
    } else if path.exists() {
        Kind::Other
    } else {
        Kind::Absent
    }
}

/// The interfaces in a bridge, by name; `None` if there is no such bridge.
pub fn ports(bridge: &InterfaceName) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(sysfs(bridge).join("brif")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut ports = Vec::new();
    for entry in entries {
        ports.push(entry?.file_name().to_string_lossy().into_owned());
    }
    ports.sort();
    Ok(Some(ports))
}

/// The hardware addresses of machines that were heard in a bridge lately, at its ports; none if there is no such bridge.
pub fn heard(bridge: &InterfaceName) -> io::Result<Vec<Mac>> {
    let table = match fs::read(sysfs(bridge).join("brforward")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    // `struct __fdb_entry` (linux/if_bridge.h): 16 octets, the address first; the eighth tells the bridge's own.
    let entries = table.chunks_exact(16).filter(|entry| entry[7] == 0);
    Ok(entries
        .filter_map(|entry| entry.first_chunk().copied().map(Mac::from_octets))
        .collect())
}

/// An interface with its addresses, as `ip -json address show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    /// The interface.
    #[serde(rename = "ifname")]
    pub interface: String,
    /// Its addresses.
    #[serde(default, rename = "addr_info")]
    pub list: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// The address itself.
    #[serde(default)]
    pub local: Option<IpAddr>,
    /// The length of the prefix that is on the link.
    #[serde(default, rename = "prefixlen")]
    pub prefix: u8,
}

/// The addresses of all interfaces.
pub fn addresses() -> Result<Vec<Addresses>, CommandError> {
    Program::find("ip", "iproute2")?
        .run()
        .args(["-json", "address", "show"])
        .output()?
        .json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_told_from_bridges_and_from_nothing() {
        assert_eq!(kind(&"lo".parse().unwrap()), Kind::Other);
        assert_eq!(kind(&"no-such-iface".parse().unwrap()), Kind::Absent);
        assert_eq!(ports(&"lo".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn what_ip_says_is_read() {
        let lo = addresses()
            .unwrap()
            .into_iter()
            .find(|link| link.interface == "lo");
        assert!(lo.is_some());
        let text = r#"[{"ifindex":1,"ifname":"br0","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24},
            {"family":"inet6","local":"fe80::1","prefixlen":64}]},{"ifname":"x"}]"#;
        let read: Vec<Addresses> = serde_json::from_str(text).unwrap();
        assert_eq!(read[0].list[0].local, Some("10.0.0.1".parse().unwrap()));
        assert_eq!((read[0].list[1].prefix, read[1].list.len()), (64, 0));
    }
}
