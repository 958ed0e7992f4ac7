//! `<ip>` with its `<dhcp>`: subnets, ranges, lease times and hosts.

use super::{Reader, shown};
use crate::domain::scan::Element;
use crate::network::import::ImportError;
use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one family.
#[derive(Default)]
pub(super) struct Family {
    pub(super) section: Option<Value>,
    pub(super) ranges: Vec<Value>,
    pub(super) dhcp: bool,
    /// `dhcp.boot`
    pub(super) boot: Option<Value>,
}

impl Reader {
    /// The addresses of both families, and the hosts.
    pub(super) fn addresses(
        &mut self,
        root: Element<'_>,
        domain: Option<&str>,
        unsupported: &dyn Fn(String) -> ImportError,
    ) -> Result<([Family; 2], Vec<Value>), ImportError> {
        let mut families = [Family::default(), Family::default()];
        let mut hosts = Hosts::default();
        // libvirt serves DHCP on the first element with <dhcp> only; without any, the first address is the network's.
        let mut elements: Vec<Element<'_>> = root.children_named("ip").collect();
        elements.sort_by_key(|ip| ip.child("dhcp").is_none());
        for ip in elements {
            let is_v6 = ip.attribute("family") == Some("ipv6");
            if families[usize::from(is_v6)].section.is_some() {
                self.lose(ip);
                continue;
            }
            self.only_attributes(ip, &["family", "address", "prefix", "netmask", "localPtr"]);
            self.only_children(ip, &["dhcp", "tftp"]);
            let section =
                subnet(ip, is_v6).ok_or_else(|| unsupported(format!("{} is no subnet", shown(ip))))?;
            let family = &mut families[usize::from(is_v6)];
            family.section = Some(section);
            let Some(dhcp) = ip.child("dhcp") else {
                ip.children_named("tftp").for_each(|tftp| self.lose(tftp));
                continue;
            };
            family.boot = self.boot(ip.child("tftp"), dhcp.child("bootp"));
            family.dhcp = true;
            self.only_children(dhcp, &["range", "host", "bootp"]);
            for range in dhcp.children_named("range") {
                self.only_attributes(range, &["start", "end"]);
                self.lease(range);
                let end = |name: &str| range.attribute(name).unwrap_or_default().to_owned();
                families[usize::from(is_v6)]
                    .ranges
                    .push(json!({ "start": end("start"), "end": end("end") }));
            }
            for host in dhcp.children_named("host") {
                self.host(host, domain, &mut hosts);
            }
        }
        Ok((families, hosts.values()))
    }

    /// `boot` of a definition. A directory that is served without a file to boot is lost: our TFTP server boots machines.
    fn boot(&mut self, tftp: Option<Element<'_>>, bootp: Option<Element<'_>>) -> Option<Value> {
        let Some(bootp) = bootp else {
            if let Some(tftp) = tftp {
                self.lose(tftp);
            }
            return None;
        };
        self.only_attributes(bootp, &["file", "server"]);
        let mut all = Map::from_iter([("file".to_owned(), json!(bootp.attribute("file")?))]);
        let root = tftp.and_then(|tftp| tftp.attribute("root"));
        match (root, bootp.attribute("server")) {
            (_, Some(server)) => {
                all.insert("server".to_owned(), json!(server));
                if let Some(tftp) = tftp {
                    self.lose(tftp);
                }
            }
            (Some(root), None) => drop(all.insert("tftp".to_owned(), json!(root))),
            (None, None) => {
                self.lose(bootp);
                return None;
            }
        }
        Some(Value::Object(all))
    }

    /// The lease time of a range or host. A definition has one for all.
    fn lease(&mut self, element: Element<'_>) {
        self.only_children(element, &["lease"]);
        let Some(lease) = element.child("lease") else {
            return;
        };
        let unit = match lease.attribute("unit") {
            Some("seconds") => "s",
            Some("hours") => "h",
            _ => "m",
        };
        let time = match lease.attribute("expiry").unwrap_or_default() {
            "0" => "infinite".to_owned(),
            number => format!("{number}{unit}"),
        };
        let known = self.lease_time.get_or_insert_with(|| time.clone());
        if *known != time {
            self.lose(lease);
        }
    }

    fn host(&mut self, host: Element<'_>, domain: Option<&str>, hosts: &mut Hosts) {
        self.only_attributes(host, &["mac", "name", "ip"]);
        self.lease(host);
        let [mac, name, ip] = ["mac", "name", "ip"].map(|key| host.attribute(key).map(str::to_owned));
        let name = match (name, &ip, &mac) {
            (Some(name), ..) => {
                let inside = domain.and_then(|domain| name.strip_suffix(domain)?.strip_suffix('.'));
                inside.unwrap_or(&name).to_owned()
            }
            (None, Some(part), _) | (None, None, Some(part)) => {
                let name = format!("host-{}", part.replace(['.', ':'], "-"));
                self.lost
                    .push(format!("{} has no name; it is called {name} now", shown(host)));
                name
            }
            (None, None, None) => return self.lose(host),
        };
        hosts.add(name, mac, ip);
    }
}

/// The host's address in `<ip>` and the subnet that it is in.
fn subnet(ip: Element<'_>, is_v6: bool) -> Option<Value> {
    let address = ip.attribute("address")?;
    let prefix = |longest: u8| match (ip.attribute("prefix"), ip.attribute("netmask")) {
        (Some(prefix), _) => prefix.parse().ok(),
        (None, Some(mask)) => ipnet::ipv4_mask_to_prefix(mask.parse().ok()?).ok(),
        (None, None) => Some(longest),
    };
    if is_v6 {
        let address: Ipv6Addr = address.parse().ok()?;
        let net = Ipv6Net::new(address, prefix(64)?).ok()?;
        Some(json!({ "subnet": net.trunc(), "gateway": address }))
    } else {
        let address: Ipv4Addr = address.parse().ok()?;
        // Without a mask libvirt goes by the old classes.
        let class = match address.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        };
        let net = Ipv4Net::new(address, prefix(class)?).ok()?;
        Some(json!({ "subnet": net.trunc(), "gateway": address }))
    }
}

/// The host entries, those of one name made one: libvirt has an element for each family.
#[derive(Default)]
struct Hosts {
    entries: Vec<(String, Vec<String>, Vec<String>)>,
    by_name: BTreeMap<String, usize>,
}

impl Hosts {
    fn add(&mut self, name: String, mac: Option<String>, ip: Option<String>) {
        let is_v6 = |ip: &String| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        let known = self.by_name.get(&name).copied();
        // Only what the other family says of the same machine belongs together; anything else is a clash.
        if let (Some(index), Some(ip)) = (known, &ip)
            && self.entries[index]
                .2
                .iter()
                .all(|other| is_v6(other) != is_v6(ip))
        {
            let (_, macs, ips) = &mut self.entries[index];
            ips.push(ip.clone());
            macs.extend(mac.filter(|mac| !macs.contains(mac)));
            return;
        }
        self.by_name.entry(name.clone()).or_insert(self.entries.len());
        self.entries
            .push((name, mac.into_iter().collect(), ip.into_iter().collect()));
    }

    fn values(self) -> Vec<Value> {
        let one_or_more = |mut values: Vec<String>| match values.len() {
            1 => json!(values.remove(0)),
            _ => json!(values),
        };
        let entry = |(name, macs, ips): (String, Vec<String>, Vec<String>)| {
            let mut all = Map::from_iter([("name".to_owned(), json!(name))]);
            if !macs.is_empty() {
                all.insert("mac".to_owned(), one_or_more(macs));
            }
            if !ips.is_empty() {
                all.insert("ip".to_owned(), one_or_more(ips));
            }
            Value::Object(all)
        };
        self.entries.into_iter().map(entry).collect()
    }
}
