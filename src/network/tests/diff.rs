//! Comparing a definition with what was applied: over all values, and with what each change interrupts.

use super::{compiled, good, render::definition};
use crate::host::Layout;
use crate::network::diff::tree::changes;
use crate::network::diff::{impact, keep, kept::native};
use crate::network::drift::xml::differences_of_running;
use crate::network::{Applied, Compiled, Diff, Finder, Line, Network, compile, diff, read_bytes};
use crate::template::Templates;
use fs_err as fs;
use impact::Target;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn good_definitions_differ_from_each_other_and_not_from_themselves() {
    let all = good();
    for (_, one, _) in &all {
        for (_, other, _) in &all {
            let found = changes(&native(one), &native(other));
            assert_eq!(found.is_empty(), one == other, "{} {}", one.name(), other.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is different about two networks has a line.
    #[test]
    fn every_difference_has_a_line(one in definition(), other in definition()) {
        let [one, other] = [&one, &other].map(|text| read_bytes("f", text.as_bytes()).unwrap().0);
        prop_assert_eq!(changes(&native(&one), &native(&one)), []);
        prop_assert_eq!(changes(&native(&one), &native(&other)).is_empty(), one == other);
    }
}

const BEFORE: &str = r#"network:
  name: lab
  title: A lab
  mode: nat
  bridge: virbr9
  domain: lab.internal
  ipv4: { subnet: 10.9.0.0/24, gateway: 10.9.0.1 }
  ipv6: { subnet: "fd00:9::/64", ra: slaac }
  dns:
    forwarders: [192.0.2.1]
    records:
      - { name: www, ip: 10.9.0.5 }
      - { cname: web, target: a }
  dhcp:
    ranges: [ { start: 10.9.0.100, end: 10.9.0.199 } ]
    lease_time: 1h
    options: [ { option: mtu, value: 1400 } ]
  dnsmasq_options: [ cache-size=500 ]
  hosts:
    - { name: a, mac: "52:54:00:00:00:0a", ip: 10.9.0.10 }
    - { name: b, ip: 10.9.0.11 }
"#;

/// A change of the text, what is told of it, and what it interrupts.
#[rustfmt::skip]
const CHANGES: [(&str, &str, &str, &str); 26] = [
    ("title: A lab", "title: My lab", "title: A lab -> My lab", "live"),
    ("mode: nat", "mode: routed", "mode: nat -> routed", "re-plug"),
    ("virbr9", "virbr8", "bridge: virbr9 -> virbr8", "re-plug"),
    ("domain: lab.internal", "domain: lab.example", "domain: lab.internal -> lab.example", "dnsmasq restart"),
    ("gateway: 10.9.0.1 ", "gateway: 10.9.0.2 ", "ipv4.gateway: 10.9.0.1 -> 10.9.0.2", "re-plug"),
    ("10.9.0.0/24, ", "10.9.0.0/16, ", "ipv4.subnet: 10.9.0.0/24 -> 10.9.0.0/16", "re-plug"),
    ("  ipv6: { subnet: \"fd00:9::/64\", ra: slaac }\n", "", "- ipv6: { subnet: \"fd00:9::/64\", gateway: \"fd00:9::1\", ra: slaac }", "re-plug"),
    ("slaac", "stateless", "ipv6.ra: slaac -> stateless", "dnsmasq restart"),
    ("[192.0.2.1]", "[192.0.2.2]", "dns.forwarders: 192.0.2.1 -> 192.0.2.2", "dnsmasq restart"),
    ("ip: 10.9.0.5 ", "ip: 10.9.0.6 ", "dns.records[name www].ip: 10.9.0.5 -> 10.9.0.6", "live"),
    ("      - { name: www, ip: 10.9.0.5 }\n", "", "- dns.records[name www]: { name: www, ip: 10.9.0.5 }", "live"),
    ("cname: web, target: a ", "cname: web, target: b ", "dns.records[cname web].target: a -> b", "dnsmasq restart"),
    ("  dhcp:\n", "      - { txt: t, text: x }\n  dhcp:\n", "+ dns.records[txt t]: { txt: t, text: x }", "dnsmasq restart"),
    ("end: 10.9.0.199", "end: 10.9.0.150", "dhcp.ranges[10.9.0.100].end: 10.9.0.199 -> 10.9.0.150", "dnsmasq restart"),
    ("time: 1h", "time: 2h", "dhcp.lease_time: 1h -> 2h", "dnsmasq restart"),
    ("time: 1h\n", "time: 1h\n    unknown: ignore\n", "+ dhcp.unknown: ignore", "dnsmasq restart"),
    ("time: 1h\n", "time: 1h\n    ignore: \"52:54:00:00:00:99\"\n", "+ dhcp.ignore: \"52:54:00:00:00:99\"", "lease renew"),
    ("value: 1400", "value: 1300", "dhcp.options[mtu].value: 1400 -> 1300", "lease renew"),
    ("cache-size=500", "cache-size=600, no-ping", "", "dnsmasq restart"),
    ("  hosts:\n", "  require_interfaces: [eth9]\n  hosts:\n", "+ require_interfaces[eth9]: eth9", "live"),
    ("00:0a\", ip: 10.9.0.10", "00:0a\", ip: 10.9.0.12", "hosts.a.ip: 10.9.0.10 -> 10.9.0.12", "lease renew"),
    ("00:00:0a", "00:00:0b", "hosts.a.mac: \"52:54:00:00:00:0a\" -> \"52:54:00:00:00:0b\"", "lease renew"),
    ("ip: 10.9.0.10 ", "ip: 10.9.0.10, lease_time: 10m ", "+ hosts.a.lease_time: 10m", "lease renew"),
    ("ip: 10.9.0.11 ", "ip: 10.9.0.12 ", "hosts.b.ip: 10.9.0.11 -> 10.9.0.12", "live"),
    ("    - { name: b, ip: 10.9.0.11 }\n", "", "- hosts.b: { name: b, ip: 10.9.0.11 }", "live"),
    ("name: b,", "name: c, mac: \"52:54:00:00:00:0c\",", "", "live"),
];

fn read(text: &str) -> Network {
    read_bytes("lab.yaml", text.as_bytes())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
        .0
}

fn apply(network: &Network, layout: &Layout) -> Compiled {
    let made = compile(network, layout, &Templates::shipped().unwrap()).unwrap();
    let dir = layout.network(network.name()).on_disk().to_owned();
    fs::create_dir_all(&dir).unwrap();
    for file in made.files() {
        fs::write(dir.join(file.name), &file.content).unwrap();
    }
    Applied::new(network, &made, "lab.yaml".into())
        .write(layout)
        .unwrap();
    keep(network, layout).unwrap();
    made
}

/// What a definition of this text differs in from what is applied at `layout`; without libvirt.
fn differing(text: &str, layout: &Layout) -> Diff {
    let path = layout.definitions().on_disk().join("lab.yaml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    let found = Finder::new(layout)
        .read(&path)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let compiled = compile(&found.network, layout, &Templates::shipped().unwrap()).unwrap();
    diff(&found, &compiled, layout, None).unwrap()
}

#[test]
fn each_change_is_told_with_what_it_interrupts_and_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::state_dir(dir.path());
    assert!(!differing(BEFORE, &layout).registered);
    apply(&read(BEFORE), &layout);
    assert!(differing(BEFORE, &layout).is_empty());
    for (from, to, told, impact) in CHANGES {
        assert_eq!(BEFORE.matches(from).count(), 1, "{from}");
        let text = BEFORE.replace(from, to);
        let diff = differing(&text, &layout);
        let lines: Vec<String> = diff.lines.iter().map(Line::text).collect();
        assert!(told.is_empty() || lines == [told], "{from} -> {to}: {lines:#?}");
        let most = diff.lines.iter().map(|line| line.impact).max().unwrap();
        assert_eq!(most.to_string(), impact, "{from} -> {to}: {lines:#?}");
        for line in diff.lines.iter().filter(|line| line.new.is_some()) {
            assert!(line.file.as_ref().unwrap().ends_with("lab.yaml"));
            let number = usize::try_from(line.line.unwrap()).unwrap();
            let found = text.lines().nth(number - 1).unwrap();
            let key = line.what.rsplit(['.', '[']).next().unwrap().trim_end_matches(']');
            let key = key.rsplit(' ').next().unwrap();
            assert!(
                found.contains(key) || key == "lease_time",
                "{} at {found}",
                line.what
            );
        }
    }
    let text = "network:\n  name: lab\n  mode: hostroute\n  ipv4: { subnet: 10.9.0.0/24 }\n  dns: { serve: false }\n";
    let diff = differing(text, &layout);
    let mode = diff.lines.iter().find(|line| line.what == "mode").unwrap();
    assert_eq!(mode.impact.to_string(), "guest restart", "{diff:?}");
}

/// What a change is said to be in has all that it is really in.
#[test]
fn changes_are_looked_for_where_they_are_applied() {
    let before = read(BEFORE);
    let old = compiled(&before);
    for (from, to, ..) in CHANGES {
        let after = read(&BEFORE.replace(from, to));
        let said: BTreeSet<Target> = changes(&native(&before), &native(&after))
            .iter()
            .flat_map(impact::targets)
            .copied()
            .collect();
        let new = compiled(&after);
        let mut really = BTreeSet::new();
        for file in new
            .files()
            .iter()
            .filter(|file| old.file(file.name) != Some(&file.content))
        {
            really.insert(match file.name {
                "libvirt.xml" => Target::Definition,
                "dnsmasq.conf" => Target::Conf,
                _ => Target::Data,
            });
        }
        let live = differences_of_running(old.libvirt_xml().unwrap(), new.libvirt_xml().unwrap());
        if !live.is_empty() {
            really.insert(Target::Running);
        }
        assert!(
            really.is_subset(&said),
            "{from} -> {to}: said {said:?}, really {really:?}"
        );
    }
}

#[test]
fn a_record_of_an_earlier_version_is_told_and_drop_ins_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::state_dir(dir.path());
    apply(&read(BEFORE), &layout);
    let people = layout
        .drop_ins(&"lab".parse().unwrap())
        .on_disk()
        .join("more.yaml");
    fs::create_dir_all(people.parent().unwrap()).unwrap();
    fs::write(&people, "# mine\nhosts:\n  - { name: new, ip: 10.9.0.20 }\n").unwrap();
    let diff = differing(BEFORE, &layout);
    let [line] = diff.lines.as_slice() else {
        panic!("{diff:?}")
    };
    assert_eq!(
        (line.text().as_str(), line.file.as_deref(), line.line),
        (
            "+ hosts.new: { name: new, ip: 10.9.0.20 }",
            Some(people.as_path()),
            Some(3)
        )
    );
    fs::remove_file(layout.applied_network(&"lab".parse().unwrap()).on_disk()).unwrap();
    let diff = differing(BEFORE, &layout);
    assert!(
        diff.lines.is_empty() && diff.remarks[0].contains("kept no copy"),
        "{diff:?}"
    );
}
