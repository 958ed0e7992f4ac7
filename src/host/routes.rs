//! The routes of this host, as the kernel tells them in `/proc/net/route` and `/proc/net/ipv6_route` (proc(5), and
//! `net/ipv4/fib_trie.c` and `net/ipv6/route.c` in the kernel). Which of them matter is decided elsewhere.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub net: IpNet,
    /// By which interface.
    pub interface: String,
    /// True if it leads over a router: the addresses are not on the interface's own link.
    pub gateway: bool,
}

/// A route that refuses (linux/route.h: `RTF_REJECT`).
const REJECT: u32 = 0x200;
/// A route over a router (`RTF_GATEWAY`).
const GATEWAY: u32 = 0x2;
/// A route to an address of the host's own (linux/ipv6_route.h: `RTF_LOCAL`).
const LOCAL: u32 = 0x8000_0000;
/// A route to an anycast address of the host's own (`RTF_ANYCAST`).
const ANYCAST: u32 = 0x0010_0000;

/// All routes to other machines. Where there is no IPv6, there are no IPv6 routes.
pub fn routes() -> io::Result<Vec<Route>> {
    let read = |path: &str| match fs_err::read_to_string(Path::new(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    };
    let mut all = parse_ipv4(&read("/proc/net/route")?);
    all.extend(parse_ipv6(&read("/proc/net/ipv6_route")?));
    Ok(all)
}

fn parse_ipv4(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
        // The kernel prints the number that the four octets are in memory.
        let address = |index: usize| Some(Ipv4Addr::from(number(index)?.to_ne_bytes()));
        let flags = number(3)?;
        let net = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
        (flags & REJECT == 0).then(|| Route {
            net: net.trunc().into(),
            interface: fields[0].to_owned(),
            gateway: flags & GATEWAY != 0,
        })
    };
    text.lines().skip(1).filter_map(route).collect()
}

fn parse_ipv6(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let net = Ipv6Net::new(address, length).ok()?;
        (flags & (REJECT | LOCAL | ANYCAST) == 0).then(|| Route {
            net: net.trunc().into(),
            interface: fields.get(9).copied().unwrap_or_default().to_owned(),
            gateway: flags & GATEWAY != 0,
        })
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        // As printed on a little-endian machine.
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            virbr0\t007AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            *\t0000000A\t00000000\t0200\t0\t0\t0\t000000FF\t0\t0\t0\n\
            garbage\n";
        let shown = |routes: Vec<Route>| -> Vec<String> {
            let over = |gateway| if gateway { " over a router" } else { "" };
            routes
                .iter()
                .map(|r| format!("{} {}{}", r.net, r.interface, over(r.gateway)))
                .collect()
        };
        if cfg!(target_endian = "little") {
            assert_eq!(
                shown(parse_ipv4(v4)),
                ["0.0.0.0/0 eth0 over a router", "192.168.122.0/24 virbr0"]
            );
        }
        let zero = "0".repeat(32);
        let v6 = format!(
            "fd000151000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 virbr151\n\
             {zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             fd000151000000000000000000000001 80 {zero} 00 {zero} 00000000 00000002 00000000 80200001 virbr151\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(
            shown(parse_ipv6(&v6)),
            ["fd00:151::/64 virbr151", "::/0 eth0 over a router"]
        );
    }

    #[test]
    fn this_host_has_readable_routes() {
        routes().unwrap();
    }
}
