//! Who listens at a port of this host, from the kernel's tables in `/proc/net` (proc(5)) and the open files of processes.
//! Whether somebody else's listening is in the way is decided elsewhere.

use crate::name::printable;
use fs_err as fs;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// How it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// How.
    pub protocol: Protocol,
    /// At which address; that of no machine stands for all.
    pub address: IpAddr,
    /// Whose it is; `None` where we may not look at the process.
    pub process: Option<Process>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, safe to print.
    pub name: String,
    /// The unit of systemd's that it belongs to.
    pub unit: Option<String>,
}

/// The kernel's word for a TCP socket that listens (include/net/tcp_states.h), and for a UDP socket that is bound.
const STATES: [(&str, &str, Protocol); 4] = [
    ("udp", "07", Protocol::Udp),
    ("udp6", "07", Protocol::Udp),
    ("tcp", "0A", Protocol::Tcp),
    ("tcp6", "0A", Protocol::Tcp),
];

/// The sockets that listen at `port`. Only root sees whose they all are.
pub fn at(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for (table, state, protocol) in STATES {
        let text = match fs::read_to_string(Path::new("/proc/net").join(table)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            result => result?,
        };
        let sockets = text.lines().skip(1).filter_map(|line| socket(line, state, port));
        found.extend(sockets.map(|(address, inode)| (protocol, address, inode)));
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let owners = owners();
    let listener = |(protocol, address, inode): (Protocol, IpAddr, u64)| Listener {
        protocol,
        address,
        process: owners.get(&inode).map(|pid| process(*pid)),
    };
    Ok(found.into_iter().map(listener).collect())
}

/// The address and inode of the socket in this line, if it is in that state at that port.
fn socket(line: &str, state: &str, port: u16) -> Option<(IpAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, local) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != state || u16::from_str_radix(local, 16).ok()? != port {
        return None;
    }
    // The kernel prints the numbers that each four octets are in memory.
    let word = |at: usize| {
        let number = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(number.to_ne_bytes())
    };
    let address = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut octets = [0; 16];
        for at in 0..4 {
            octets[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
        }
        Ipv6Addr::from(octets).into()
    };
    Some((address, fields.get(9)?.parse().ok()?))
}

/// Which process has which socket, as far as we may look.
fn owners() -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ended meanwhile has nothing open.
        let open = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for file in open {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            owners.extend(inode.map(|inode: u64| (inode, pid)));
        }
    }
    owners
}

fn process(pid: u32) -> Process {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    Process {
        pid,
        name: printable(read("comm").trim_end(), 40),
        unit: unit(&read("cgroup")),
    }
}

/// The unit in a process's `cgroup` (cgroups(7)); none where there is no systemd.
fn unit(cgroup: &str) -> Option<String> {
    let last = cgroup
        .lines()
        .find_map(|line| line.trim_end().rsplit('/').next())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._-:".contains(c);
    (last.ends_with(".service") && last.chars().all(plain)).then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        if cfg!(target_endian = "big") {
            return;
        }
        let udp = "  812: 0197A8C0:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   109        0 23456 2 0000000000000000 0";
        assert_eq!(
            socket(udp, "07", 53),
            Some(("192.168.151.1".parse().unwrap(), 23456))
        );
        assert_eq!((socket(udp, "0A", 53), socket(udp, "07", 67)), (None, None));
        let tcp6 = "   0: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0";
        assert_eq!(socket(tcp6, "0A", 53), Some((Ipv6Addr::UNSPECIFIED.into(), 77)));
        assert_eq!(socket("rubbish", "07", 53), None);
    }

    #[test]
    fn units_are_read_from_cgroups() {
        let unit = |text: &str| super::unit(text);
        assert_eq!(
            unit("0::/system.slice/named.service\n").as_deref(),
            Some("named.service")
        );
        let instance =
            "0::/system.slice/system-miniascape\\x2ddnsmasq.slice/miniascape-dnsmasq@net-1.service\n";
        assert_eq!(
            unit(instance).as_deref(),
            Some("miniascape-dnsmasq@net-1.service")
        );
        assert_eq!(unit("0::/user.slice/x.scope\n"), None);
        assert_eq!(unit("0::/a;b.service\n"), None);
    }

    #[test]
    fn an_own_socket_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = at(socket.local_addr().unwrap().port()).unwrap();
        let own = found.iter().find(|l| l.protocol == Protocol::Udp).unwrap();
        assert_eq!(own.address, IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(own.process.as_ref().map(|p| p.pid), Some(std::process::id()));
    }
}
