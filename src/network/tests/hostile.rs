//! Hostile definitions: whatever is written into them, the reader answers with a network or with problems, and no
//! generated file gets a line, a field or an element that the definition did not ask for.

use super::compiled;
use crate::network::compile::{ADDN_HOSTS, DHCP_HOSTSFILE, LIBVIRT_XML};
use crate::network::{Compiled, Network, read_bytes};
use proptest::prelude::*;
use quick_xml::events::Event;
use std::fmt::Write;

/// How many there are.
const N: usize = 20;

/// The fields that take text, and a value for each that is fine.
const FIELDS: [(&str, &str); N] = [
    ("name", "lab"),
    ("title", "A lab"),
    ("mode", "nat"),
    ("bridge", "virbr9"),
    ("domain", "lab.internal"),
    ("subnet", "192.168.9.0/24"),
    ("gateway", "192.168.9.1"),
    ("start", "192.168.9.100"),
    ("end", "192.168.9.200"),
    ("lease_time", "12h"),
    ("host", "one"),
    ("mac", "52:54:00:09:00:02"),
    ("ip", "192.168.9.2"),
    ("subnet6", "fd00:9::/64"),
    ("gateway6", "fd00:9::1"),
    ("start6", "fd00:9::100"),
    ("end6", "fd00:9::200"),
    ("ip6", "fd00:9::2"),
    ("require", "eth1"),
    ("forbid", "eth2"),
];

/// A definition with these values, in the order of [`FIELDS`], quoted so that YAML itself passes everything on.
fn definition(values: &[String; N]) -> String {
    let [
        name,
        title,
        mode,
        bridge,
        domain,
        subnet,
        gateway,
        start,
        end,
        lease,
        host,
        mac,
        ip,
        subnet6,
        gateway6,
        start6,
        end6,
        ip6,
        require,
        forbid,
    ] = values.each_ref().map(|value| quoted(value));
    format!(
        "network:\n  name: {name}\n  title: {title}\n  mode: {mode}\n  bridge: {bridge}\n  domain: {domain}\n  \
         ipv4: {{ subnet: {subnet}, gateway: {gateway} }}\n  \
         ipv6: {{ subnet: {subnet6}, gateway: {gateway6}, ra: stateful }}\n  \
         dhcp: {{ ranges: [ {{ start: {start}, end: {end} }}, {{ start: {start6}, end: {end6} }} ], lease_time: {lease} }}\n  \
         require_interfaces: [ {require} ]\n  forbid_interfaces: [ {forbid} ]\n  \
         hosts: [ {{ name: {host}, mac: {mac}, ip: [ {ip}, {ip6} ] }} ]\n"
    )
}

/// `text` as a double-quoted scalar of printable ASCII (YAML 1.2.2, section 5.7).
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => write!(out, "\\U{:08x}", u32::from(c)).unwrap(),
        }
    }
    out.push('"');
    out
}

/// The values of [`FIELDS`], with `value` for the field `index`.
fn with(index: usize, value: &str) -> [String; N] {
    let mut values = FIELDS.map(|(_, value)| value.to_owned());
    value.clone_into(&mut values[index]);
    values
}

/// Text that means something to a file format, behind or in front of a good value.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::string::string_regex(
            "[a-z0-9]{0,3}(\n|\r|,|%i|%|'|\"|;|#| |\t|\\\\|/|\\.\\.|<|>|&|\u{1b}|\u{7f}|\u{0}|\u{85}|\u{2028}|\u{202e}|=|\\$\\(x\\)){1,4}[a-z0-9=/]{0,8}"
        )
        .unwrap(),
        any::<String>(),
        "[a-z0-9.-]{1,300}",
        "[а-яａ-ｚ]{1,8}",
        Just("\ninterface=lo\n".to_owned()),
        Just("</name><forward mode=\"route\"/><name>".to_owned()),
        Just("../../../etc/passwd".to_owned()),
    ]
}

/// Panics if a file has more to it than the network accounts for.
fn assert_harmless(network: &Network, compiled: &Compiled) {
    // Of all fields only the title is free text, and it goes into the XML alone.
    for file in compiled.files() {
        assert!(
            file.content.chars().all(|c| c == '\n' || !c.is_control()),
            "{file:?}"
        );
        if file.name != LIBVIRT_XML {
            assert!(file.content.is_ascii(), "{file:?}");
        }
    }
    let good = compiled_from(&FIELDS.map(|(_, value)| value.to_owned()));
    let options = |compiled: &Compiled| -> Vec<String> {
        let conf = compiled.dnsmasq_conf().unwrap();
        let lines = conf
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| line.split('=').next().unwrap().to_owned())
            .collect()
    };
    assert!(
        options(compiled) == options(&good) || !network.forwards_dns(),
        "{}",
        compiled.dnsmasq_conf().unwrap()
    );
    for (file, lines) in [(ADDN_HOSTS, 5), (DHCP_HOSTSFILE, 2)] {
        let content = compiled.file(file).unwrap();
        assert!(content.lines().count() <= lines, "{content}");
    }
    let reservation = compiled.file(DHCP_HOSTSFILE).unwrap().lines().nth(1).unwrap();
    assert_eq!(reservation.split(',').count(), 4, "{reservation}");
    assert_eq!(xml_elements(compiled), xml_elements(&good));
}

fn xml_elements(compiled: &Compiled) -> Vec<String> {
    elements(compiled.libvirt_xml().unwrap())
}

fn compiled_from(values: &[String; N]) -> Compiled {
    compiled(&read_bytes("f", definition(values).as_bytes()).unwrap().0)
}

/// The names of the elements in `xml`, apart from the one that depends on the mode.
fn elements(xml: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut names = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(e) | Event::Empty(e) if e.name().as_ref() != "forward" => {
                names.push(e.name().as_ref().to_owned());
            }
            Event::Eof => return names,
            _ => {}
        }
    }
}

#[test]
fn the_values_to_start_from_are_accepted() {
    let values = FIELDS.map(|(_, value)| value.to_owned());
    let (network, warnings) = read_bytes("f", definition(&values).as_bytes()).unwrap();
    assert_eq!(warnings, []);
    assert_harmless(&network, &compiled(&network));
}

#[test]
fn every_field_refuses_what_a_generated_file_would_misread() {
    for (index, (field, good)) in FIELDS.iter().enumerate() {
        for bad in [
            "\n",
            "\r",
            "\u{1b}[31m",
            "\u{0}",
            "\u{202e}",
            "\u{2028}",
            ",",
            "%",
            "\"",
            "/../",
            "<",
            ";",
            " # ",
        ] {
            // A title is for people and goes into XML only, where markup is escaped.
            if *field == "title" && bad.chars().all(|c| (' '..='~').contains(&c)) {
                continue;
            }
            for value in [format!("{good}{bad}x"), format!("{bad}{good}")] {
                let result = read_bytes("f", definition(&with(index, &value)).as_bytes());
                let problems = result.expect_err(&format!("{field}: {value:?} was accepted"));
                let shown = problems.to_string();
                assert!(
                    !shown.contains(|c: char| c.is_control() && c != '\n'),
                    "{shown:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any text in any field is refused, or harmless in every file.
    #[test]
    fn hostile_values_never_reach_a_generated_file(index in 0..FIELDS.len(), value in hostile()) {
        if let Ok((network, _)) = read_bytes("f", definition(&with(index, &value)).as_bytes()) {
            assert_harmless(&network, &compiled(&network));
        }
    }

    /// Any bytes are answered, and the answer is safe to print.
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = read_bytes("f", &bytes) {
            prop_assert!(!problems.to_string().contains(|c: char| c.is_control() && c != '\n'));
        }
    }

    /// So is a definition with a piece torn out and something else put in.
    #[test]
    fn mutilated_definitions_are_answered(
        from in 0usize..400,
        length in 0usize..40,
        piece in "[-\\[\\]{},:&*!|>'\"%@`#?~<= \t\na-z0-9.]{0,12}",
    ) {
        let mut text = definition(&FIELDS.map(|(_, value)| value.to_owned()));
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.replace_range(from..to, &piece);
        match read_bytes("f", text.as_bytes()) {
            Ok((network, _)) => drop(compiled(&network)),
            Err(problems) => for problem in problems.list() {
                prop_assert!(problem.line > 0 && problem.column > 0, "{problem}");
            },
        }
    }
}
