//! What machines get by DHCP: a real client in a namespace of its own asks a network's dnsmasq.

use crate::clients::Client;
use crate::networks::host_with_daemon;
use std::collections::BTreeMap;

const STRANGER: &str = "52:54:00:00:00:f0";
const LAB: &str = "network:
  name: lab
  mode: isolated
  bridge: virbr66
  domain: lab.internal
  ipv4: { subnet: 10.66.6.0/24 }
  dhcp:
    ranges:
      - { start: 10.66.6.100, end: 10.66.6.109, tag: \"!red\" }
      - { start: 10.66.6.200, end: 10.66.6.209, tag: red, lease_time: 20m }
    lease_time: 2h
    ignore: \"52:54:00:00:00:66\"
    options:
      - { option: ntp-server, value: [10.66.6.1, 10.66.6.2] }
      - { option: 224, type: text, value: \"1, \\\"two\\\"\" }
      - { option: mtu, value: 1400, tag: red }
      - { option: domain-search, value: [lab.internal, example.org] }
      - { option: router, value: 10.66.6.3 }
  dnsmasq_options: [ no-ping, \"dhcp-mac=set:red,52:54:00:00:0e:*\" ]
  hosts:
    - { name: outside, mac: \"52:54:00:00:00:01\", ip: 10.66.6.11, lease_time: 10m, options: [ { option: mtu, value: 9000 } ] }
    - { name: laptop, mac: [\"52:54:00:00:00:02\", \"52:54:00:00:00:03\"], ip: 10.66.6.12 }
    - { name: sensor, client_id: \"ff:01:02:03\", ip: 10.66.6.13, tags: [red] }
    - { name: both, client_id: printer, mac: \"52:54:00:00:00:04\", ip: 10.66.6.14 }
";
const CLOSED: &str = "network:
  name: closed
  mode: isolated
  bridge: virbr67
  domain: closed.internal
  ipv4: { subnet: 10.66.7.0/24 }
  dhcp: { ranges: [ { start: 10.66.7.100, end: 10.66.7.109 } ], unknown: ignore }
  dnsmasq_options: [ no-ping ]
  hosts: [ { name: known, mac: \"52:54:00:00:00:01\", ip: 10.66.7.11 } ]
";

/// What udhcpc asks for and says beyond its usual options.
const ASK: [&str; 8] = ["-O", "ntpsrv", "-O", "mtu", "-O", "search", "-O", "224"];

fn last_number(lease: &BTreeMap<String, String>) -> u8 {
    let (network, last) = lease["ip"].rsplit_once('.').expect("an address");
    assert_eq!(network, "10.66.6", "{lease:?}");
    last.parse().expect("a number")
}

fn ask(client: &Client<'_>, mac: &str, more: &[&str]) -> Option<BTreeMap<String, String>> {
    client.dhcp(mac, &[&ASK[..], more].concat())
}

fn get(client: &Client<'_>, mac: &str, more: &[&str]) -> BTreeMap<String, String> {
    ask(client, mac, more).unwrap_or_else(|| panic!("no lease for {mac}"))
}

pub(crate) fn every_machine_gets_what_is_meant_for_it() {
    let (host, _daemon) = host_with_daemon();
    host.write_file("/etc/miniascape/networks/lab.yaml", LAB);
    host.write_file("/etc/miniascape/networks/closed.yaml", CLOSED);
    host.miniascape_check(["net", "register", "lab"]);
    host.miniascape_check(["net", "register", "closed"]);
    let client = Client::plug(&host, "virbr66", "client");
    by_range(&client);
    by_reservation(&client);
    assert_eq!(
        ask(&client, "52:54:00:00:00:66", &[]),
        None,
        "it is to be ignored"
    );
    drop(client);
    let client = Client::plug(&host, "virbr67", "client");
    assert_eq!(client.dhcp(STRANGER, &[]), None);
    let lease = client.dhcp("52:54:00:00:00:01", &[]).expect("a lease");
    assert_eq!(lease["ip"], "10.66.7.11");
}

fn by_range(client: &Client<'_>) {
    // A stranger: the range for everyone, and the options for everyone.
    let lease = get(client, STRANGER, &[]);
    assert!((100..=109).contains(&last_number(&lease)), "{lease:?}");
    for (key, value) in [
        ("lease", "7200"),
        ("ntpsrv", "10.66.6.1 10.66.6.2"),
        ("opt224", "312c202274776f22"),
        ("search", "lab.internal example.org"),
        ("router", "10.66.6.3"),
        ("domain", "lab.internal"),
        ("serverid", "10.66.6.1"),
        ("dns", "10.66.6.1"),
    ] {
        assert_eq!(
            lease.get(key).map(String::as_str),
            Some(value),
            "{key}: {lease:?}"
        );
    }
    assert!(!lease.contains_key("mtu"), "{lease:?}");
    // One that its hardware address puts into the other range.
    let lease = get(client, "52:54:00:00:0e:01", &[]);
    assert!((200..=209).contains(&last_number(&lease)), "{lease:?}");
    assert_eq!((lease["lease"].as_str(), lease["mtu"].as_str()), ("1200", "1400"));
}

/// Outside all ranges, by either of two hardware addresses, by client identifier, by either of both.
fn by_reservation(client: &Client<'_>) {
    let lease = get(client, "52:54:00:00:00:01", &[]);
    let (time, mtu) = (lease["lease"].as_str(), lease["mtu"].as_str());
    assert_eq!((last_number(&lease), time, mtu), (11, "600", "9000"));
    assert_eq!(lease["hostname"], "outside");
    for (mac, options, last) in [
        ("52:54:00:00:00:02", &[][..], 12),
        ("52:54:00:00:00:03", &[], 12),
        // Whatever identifier it brings.
        ("52:54:00:00:00:02", &["-x", "0x3d:0055aa"], 12),
        ("52:54:00:00:00:f1", &["-x", "0x3d:ff010203"], 13),
        ("52:54:00:00:00:04", &[], 14),
        ("52:54:00:00:00:f2", &["-x", "0x3d:7072696e746572"], 14),
    ] {
        let lease = get(client, mac, options);
        assert_eq!(last_number(&lease), last, "{mac} {options:?}");
        // The tag of its entry decides on the option.
        assert_eq!(lease.contains_key("mtu"), last == 13, "{lease:?}");
    }
}
