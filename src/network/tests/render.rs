//! The native form that networks are rendered in: whatever the network, reading it gives the same one.

use super::{good, hostile::quoted};
use crate::network::{Network, read_bytes, render};
use crate::yaml::joined;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;

fn rendered(network: &Network) -> String {
    joined(&render::lines(network))
}

fn assert_comes_back(network: &Network) {
    let text = rendered(network);
    match read_bytes("rendered", text.as_bytes()) {
        Ok((again, _)) => {
            assert_eq!(again, *network, "{text}");
            assert_eq!(rendered(&again), text);
        }
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

#[test]
fn all_good_definitions_come_back() {
    for (_, network, _) in good() {
        assert_comes_back(&network);
    }
}

/// A value that may be left out: `key: value`, or nothing.
fn option(key: &'static str, values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::option::of(values).prop_map(move |value| match value {
        Some(value) => format!("  {key}: {value}\n"),
        None => String::new(),
    })
}

prop_compose! {
    /// Definitions of all kinds that are right.
    pub(super) fn definition()(
        name in "[a-zA-Z0-9][A-Za-z0-9_.-]{0,31}",
        title in option("title", "[^\\pC\u{2028}\u{2029}]{0,60}x".prop_map(|text| quoted(&text))),
        mode in prop_oneof![Just("nat"), Just("isolated")],
        bridge in option("bridge", "[a-z][a-z0-9]{0,14}"),
        domain in "[a-z0-9]{1,9}\\.(internal|yes|0x1f|1e3)",
        subnet in (1u8..=223, any::<u8>(), any::<u8>()),
        gateway in proptest::option::of(1u8..=254),
        dns in option("dns", prop_oneof![Just("{ forward: true }"), Just("{ forward: false }"), Just("{ serve: true }")].prop_map(str::to_owned)),
        range in proptest::option::of((100u8..=120, 121u8..=199)),
        dhcp in any::<bool>(),
        lease in option("  lease_time", prop_oneof![
            Just("infinite".to_owned()),
            (120u32..=100_000).prop_map(|n| n.to_string()),
            (2u32..=60).prop_map(|n| format!("{n}h")),
        ]),
        hosts in proptest::collection::btree_map(2u8..=99, ("[a-z][a-z0-9]{0,20}|yes|no|null|true|1e3|0x10", any::<[u8; 3]>()), 0..12),
    ) -> String {
        let [a, b, c] = [if subnet.0 == 127 { 10 } else { subnet.0 }, subnet.1, subnet.2];
        let net = if (a, b) == (169, 254) { format!("10.{b}.{c}") } else { format!("{a}.{b}.{c}") };
        let mut text = format!("network:\n  name: {}\n{title}  mode: {mode}\n{bridge}  domain: {domain}\n{dns}", quoted(&name));
        // Between the hosts and the range, if it is given.
        match gateway {
            Some(last) => writeln!(text, "  ipv4: {{ subnet: {net}.0/24, gateway: {net}.{} }}", 200 + last % 55),
            None => writeln!(text, "  ipv4: {{ subnet: {net}.0/24 }}"),
        }.unwrap();
        match range {
            Some((start, end)) => write!(text, "  dhcp:\n    ranges: [ {{ start: {net}.{start}, end: {net}.{end} }} ]\n{lease}").unwrap(),
            None if dhcp => text.push_str("  dhcp: {}\n"),
            None => {}
        }
        let mut names = BTreeMap::new();
        for (last, (name, tail)) in hosts {
            names.entry(name).or_insert((last, tail));
        }
        if !names.is_empty() {
            text.push_str("  hosts:\n");
        }
        for (name, (last, [x, y, _])) in names {
            writeln!(text, "    - {{ name: {}, mac: \"52:54:00:{x:02x}:{y:02x}:{last:02x}\", ip: {net}.{last} }}", quoted(&name)).unwrap();
        }
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Reading what is rendered gives the same network.
    #[test]
    fn what_is_rendered_is_read_as_the_same_network(text in definition()) {
        match read_bytes("f", text.as_bytes()) {
            Ok((network, _)) => assert_comes_back(&network),
            Err(problems) => prop_assert!(false, "{problems}\n{text}"),
        }
    }
}
