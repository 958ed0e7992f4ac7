//! What `auto` stands for: free of clashes, and the same whatever else comes and goes.

use crate::host::{Layout, files};
use crate::network::{Finder, Found};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// A host of the test: the last number of its address, or `auto`.
type Hosts = BTreeMap<u8, Option<u8>>;

struct Lab {
    _dir: tempfile::TempDir,
    layout: Layout,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            layout: Layout::state_dir(dir.path()),
            _dir: dir,
        }
    }

    /// Writes the definition of `lab`, with a range from .128 on, and reads it, with the choices put on record.
    fn settle(&self, prefix: u8, hosts: &Hosts) -> Result<Found, String> {
        let mut text = format!(
            "network:\n  name: lab\n  mode: nat\n  domain: lab.internal\n  ipv4: {{ subnet: 10.66.{}.0/{prefix} }}\n  \
             dhcp: {{ ranges: [ {{ start: 10.66.6.8, end: 10.66.6.11 }} ] }}\n  hosts:\n",
            if prefix < 24 { 0 } else { 6 }
        );
        if hosts.is_empty() {
            text = text.replace("hosts:\n", "hosts: []\n");
        }
        for (name, address) in hosts {
            let ip = address.map_or("auto".to_owned(), |last| format!("10.66.6.{last}"));
            writeln!(
                text,
                "    - {{ name: h{name}, mac: \"52:54:00:00:00:{name:02x}\", ip: {ip} }}"
            )
            .unwrap();
        }
        let path = self.layout.definitions().join("lab.yaml");
        files::write(path.on_disk(), text.as_bytes(), 0o644).unwrap();
        Finder::new(&self.layout).settle("lab").map_err(|e| e.to_string())
    }

    fn forget(&self) {
        files::remove(self.layout.chosen(&"lab".parse().unwrap()).on_disk()).unwrap();
    }
}

fn addresses(found: &Found) -> BTreeMap<String, Ipv4Addr> {
    let hosts = found.network.hosts().iter();
    hosts
        .map(|host| (host.name.to_string(), host.ipv4.unwrap()))
        .collect()
}

/// Up to eight hosts out of twelve, some with an address of their own, each with another.
fn hosts() -> impl Strategy<Value = Hosts> {
    prop::collection::btree_map(0u8..12, prop::option::weighted(0.3, 2u8..30), 0..8).prop_map(|hosts| {
        let mut seen = HashSet::new();
        hosts
            .into_iter()
            .map(|(name, address)| (name, address.filter(|last| seen.insert(*last))))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// In a subnet of 30 addresses with a range of 4, while hosts come, go and take addresses.
    #[test]
    fn addresses_are_free_and_stay(changes in prop::collection::vec(hosts(), 1..8)) {
        let lab = Lab::new();
        let mut known: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
        for hosts in &changes {
            let found = lab.settle(27, hosts).unwrap();
            let now = addresses(&found);
            let explicit: BTreeSet<Ipv4Addr> =
                hosts.values().flatten().map(|last| Ipv4Addr::new(10, 66, 6, *last)).collect();
            let distinct: HashSet<_> = now.values().collect();
            prop_assert_eq!(distinct.len(), hosts.len());
            for (name, address) in hosts {
                let name = format!("h{name}");
                let got = now[&name];
                if address.is_some() {
                    continue;
                }
                let last = got.octets()[3];
                prop_assert!((2..=30).contains(&last) && !(8..=11).contains(&last), "{got}");
                // It had one before, and nobody has taken that by name.
                if let Some(before) = known.get(&name).filter(|before| !explicit.contains(before)) {
                    prop_assert_eq!(*before, got, "{}", name);
                }
                known.insert(name, got);
            }
            known.retain(|name, address| now.get(name) == Some(address) || !distinct.contains(address));
            // Reading it again changes nothing.
            prop_assert!(Finder::new(&lab.layout).find("lab").unwrap().is_on_record);
        }
        // The same hosts without a record, twice.
        let last = changes.last().unwrap();
        lab.forget();
        let once = addresses(&lab.settle(27, last).unwrap());
        lab.forget();
        prop_assert_eq!(once, addresses(&lab.settle(27, last).unwrap()));
    }
}

#[test]
fn a_lost_record_does_not_move_hosts_of_a_roomy_subnet() {
    let lab = Lab::new();
    let few: Hosts = [(1, None), (2, None), (3, None)].into();
    let before = addresses(&lab.settle(16, &few).unwrap());
    lab.forget();
    let more: Hosts = (0..6).map(|name| (name, None)).collect();
    let after = addresses(&lab.settle(16, &more).unwrap());
    assert!(
        before.iter().all(|(name, address)| after[name] == *address),
        "{before:?} {after:?}"
    );
}

#[test]
fn the_last_addresses_go_to_whoever_is_there() {
    let lab = Lab::new();
    // 14 addresses without gateway and range: 9.
    let all: Hosts = (0..9).map(|name| (name, None)).collect();
    let before = addresses(&lab.settle(28, &all).unwrap());
    let one_more: Hosts = (0..10).map(|name| (name, None)).collect();
    let error = lab.settle(28, &one_more).unwrap_err();
    assert!(
        error.contains("no address of 10.66.6.0/28 is free outside the DHCP ranges"),
        "{error}"
    );
    let others: Hosts = (1..10).map(|name| (name, None)).collect();
    let after = addresses(&lab.settle(28, &others).unwrap());
    assert_eq!(after["h9"], before["h0"]);
    assert!((1..9).all(|n| after[&format!("h{n}")] == before[&format!("h{n}")]));
}

#[test]
fn a_damaged_record_counts_as_lost() {
    let lab = Lab::new();
    let hosts: Hosts = [(1, None)].into();
    let before = addresses(&lab.settle(24, &hosts).unwrap());
    let record = lab.layout.chosen(&"lab".parse().unwrap());
    for damage in [
        &b"hosts: ["[..],
        b"hosts: [1]",
        b"hosts: { h1: 300.1.1.1 }",
        b"\xff",
        b"subnet: x",
        b"",
    ] {
        files::write(record.on_disk(), damage, 0o644).unwrap();
        assert_eq!(addresses(&lab.settle(24, &hosts).unwrap()), before);
    }
}

#[test]
fn without_a_record_a_registered_network_keeps_what_it_has() {
    let lab = Lab::new();
    let name = "lab".parse().unwrap();
    let put = |place: crate::host::Place, text: &str| {
        files::write(place.on_disk(), text.as_bytes(), 0o644).unwrap()
    };
    let two: Hosts = [(1, None), (2, None)].into();
    // Chosen anew, h1 would have another address than it was given when that was taken.
    let first = addresses(&lab.settle(24, &two).unwrap())["h1"];
    let text = format!(
        "# x\n10.66.6.99 h1.lab.internal h1\n10.66.6.1 gateway.lab.internal gateway\n{first} two.words\n"
    );
    put(lab.layout.network(&name).join("addn-hosts"), &text);
    lab.forget();
    assert_eq!(
        addresses(&lab.settle(24, &two).unwrap())["h1"],
        first,
        "it is not registered"
    );
    put(lab.layout.applied(&name), "{}");
    lab.forget();
    let found = lab.settle(24, &two).unwrap();
    assert_eq!(addresses(&found)["h1"], Ipv4Addr::new(10, 66, 6, 99));
    assert!(!found.chosen.hosts.keys().any(|name| name.as_str() == "gateway"));
    assert!(Finder::new(&lab.layout).find("lab").unwrap().is_on_record);
}

#[test]
fn what_a_machine_has_by_dhcp_is_not_chosen() {
    let lab = Lab::new();
    let one: Hosts = [(1, None)].into();
    let before = addresses(&lab.settle(24, &one).unwrap())["h1"];
    let leases = lab.layout.leases(&"lab".parse().unwrap());
    let line = format!("1 52:54:00:00:00:99 {before} * *\n");
    files::write(leases.on_disk(), line.as_bytes(), 0o644).unwrap();
    assert_eq!(
        addresses(&lab.settle(24, &one).unwrap())["h1"],
        before,
        "it has moved"
    );
    lab.forget();
    assert_ne!(addresses(&lab.settle(24, &one).unwrap())["h1"], before);
}

#[test]
fn auto_needs_room_to_choose_from() {
    for (text, said) in [
        ("ipv4: { subnet: 10.66.6.1/24 }", "is an address in a subnet"),
        ("ipv4: { subnet: 10.66.6.0/31 }", "a /31 network is not possible"),
        ("ipv4: { subnet: Auto }", "`Auto` is not an IPv4 subnet"),
    ] {
        let yaml = format!(
            "network: {{ name: n, mode: nat, domain: n.internal, {text}, hosts: [ {{ name: a, mac: \"52:54:00:00:00:01\", ip: auto }} ] }}"
        );
        let error = crate::network::read_bytes("n.yaml", yaml.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}
