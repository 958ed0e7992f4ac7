//! Hostile definitions: whatever is written into them, the reader answers with a network or with problems, and no
//! generated file gets a line, a field or an element that the definition did not ask for.

use super::{compiled, joined};
use crate::host::command::Program;
use crate::network::compile::{ADDN_HOSTS, LIBVIRT_XML};
use crate::network::{Compiled, read_bytes};
use proptest::prelude::*;
use quick_xml::events::Event;
use std::fmt::Write;

/// A definition with every field that takes text, each as `<its name>`.
const DEFINITION: &str = "network:
  name: <name>
  title: <title>
  mode: <mode>
  bridge: <bridge>
  domain: <domain>
  ipv4: { subnet: <subnet>, gateway: <gateway> }
  ipv6: { subnet: <subnet6>, gateway: <gateway6>, ra: stateful }
  dns:
    forwarders: [<forwarder>]
    records:
      - { name: <record>, ip: <record ip> }
      - { wildcard: <wildcard>, ip: <wildcard ip> }
      - { cname: <alias>, target: <target> }
      - { srv: <service>, target: <service target>, port: <port>, priority: <priority>, weight: <weight> }
      - { txt: <txt>, text: <text> }
      - { ptr: <ptr>, name: <ptr name> }
  dhcp:
    ranges:
      - { start: <start>, end: <end>, set: <set>, tag: <range tag>, lease_time: <range time> }
      - { start: <start6>, end: <end6> }
    lease_time: <lease time>
    unknown: <unknown>
    boot: { tftp: <tftp>, ipxe: <ipxe>, bios: <bios>, uefi: <uefi>, uefi32: <uefi32>, uefi_arm64: <uefi arm>, file: <boot file> }
    ignore: [<ignore>]
    options:
      - { option: router, value: 192.168.9.1 }
      - { option: <option>, value: <address>, tag: <option tag> }
      - { option: <number>, type: <type>, value: <free text> }
      - { option: root-path, value: <option text> }
      - { option: domain-search, value: <search> }
      - { option: mtu, value: <mtu> }
      - { option: T1, value: <renewal> }
      - { option: 43, value: <octets> }
      - { option: classless-static-route, value: { to: <to>, via: <via> } }
  dnsmasq_options: [<passed on>]
  require_interfaces: [<require>]
  forbid_interfaces: [<forbid>]
  hosts:
    - { name: <host>, mac: <mac>, ip: [<ip>, <ip6>], client_id: <client id>, tags: <tag>, lease_time: <host time>,
        options: [ { option: domain-name, value: <host text> } ] }
";

/// The fields, and a value for each that is fine.
const FIELDS: [(&str, &str); 66] = [
    ("name", "lab"),
    ("title", "A lab"),
    ("mode", "nat"),
    ("bridge", "virbr9"),
    ("domain", "lab.internal"),
    ("subnet", "192.168.9.0/24"),
    ("gateway", "192.168.9.1"),
    ("forwarder", "192.0.2.53#5353"),
    ("record", "web"),
    ("record ip", "192.168.9.5"),
    ("wildcard", "apps"),
    ("wildcard ip", "192.168.9.6"),
    ("alias", "www"),
    ("target", "web"),
    ("service", "_http._tcp"),
    ("service target", "web"),
    ("port", "80"),
    ("priority", "1"),
    ("weight", "2"),
    ("txt", "_dmarc"),
    ("text", "v=DMARC1"),
    ("ptr", "192.168.9.5"),
    ("ptr name", "web"),
    ("start", "192.168.9.100"),
    ("end", "192.168.9.200"),
    ("set", "pool"),
    ("range tag", "!blue"),
    ("range time", "3h"),
    ("lease time", "12h"),
    ("unknown", "ignore"),
    ("ignore", "52:54:00:09:00:66"),
    ("tftp", "/srv/tftp"),
    ("ipxe", "http://192.168.9.1/boot.ipxe"),
    ("bios", "undionly.kpxe"),
    ("uefi", "ipxe.efi"),
    ("uefi32", "ipxe32.efi"),
    ("uefi arm", "arm/ipxe.efi"),
    ("boot file", "other.efi"),
    ("option", "ntp-server"),
    ("address", "192.168.9.1"),
    ("option tag", "pool"),
    ("number", "224"),
    ("type", "text"),
    ("free text", "free"),
    ("option text", "/srv/root"),
    ("search", "lab.internal"),
    ("mtu", "1400"),
    ("renewal", "5m"),
    ("octets", "01:02"),
    ("to", "10.0.0.0/8"),
    ("via", "192.168.9.1"),
    ("passed on", "dhcp-vendorclass=set:blue,installer"),
    ("host", "one"),
    ("mac", "52:54:00:09:00:02"),
    ("ip", "192.168.9.2"),
    ("client id", "01:02:03"),
    ("tag", "red"),
    ("host time", "2h"),
    ("subnet6", "fd00:9::/64"),
    ("gateway6", "fd00:9::1"),
    ("start6", "fd00:9::100"),
    ("end6", "fd00:9::200"),
    ("ip6", "fd00:9::2"),
    ("require", "eth1"),
    ("forbid", "eth2"),
    ("host text", "one.example"),
];

/// The fields for text that may hold any printable ASCII character, which is quoted or written as octets where a file
/// would misread it.
const TEXTS: [&str; 5] = ["title", "text", "free text", "option text", "host text"];

type Values = [String; FIELDS.len()];

/// A definition with these values, in the order of [`FIELDS`], quoted so that YAML itself passes everything on.
fn definition(values: &Values) -> String {
    let mut text = String::new();
    let mut rest = DEFINITION;
    while let Some((before, (name, after))) = rest
        .split_once('<')
        .and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        let index = FIELDS.iter().position(|(field, _)| *field == name).unwrap();
        text += before;
        text += &quoted(&values[index]);
        rest = after;
    }
    text + rest
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

fn good() -> Values {
    FIELDS.map(|(_, value)| value.to_owned())
}

/// The values of [`FIELDS`], with `value` for the field `index`.
fn with(index: usize, value: &str) -> Values {
    let mut values = good();
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
        "[ -~]{1,40}",
        "[а-яａ-ｚ]{1,8}",
        Just("\ninterface=lo\n".to_owned()),
        Just("\"\ninterface=lo\n\"".to_owned()),
        Just("</name><forward mode=\"route\"/><name>".to_owned()),
        Just("../../../etc/passwd".to_owned()),
    ]
}

/// The fields of a line as dnsmasq reads it: parted by commas outside quotes, where a backslash keeps the next
/// character from meaning anything (dnsmasq 2.90, option.c, `read_file`).
fn fields(line: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => count += 1,
            '#' => assert!(quoted || !line.starts_with('#') || count == 1),
            _ => {}
        }
    }
    assert!(!quoted, "{line}");
    count
}

/// Panics if a file has more to it than the definition asked for.
fn assert_harmless(compiled: &Compiled) {
    let harmless = compiled_from(&good());
    for (file, expected) in compiled.files().iter().zip(harmless.files()) {
        assert_eq!(file.name, expected.name);
        assert!(
            file.content.chars().all(|c| c == '\n' || !c.is_control()),
            "{file:?}"
        );
        // Of all fields only the title may be other than ASCII, and it goes into the XML alone.
        if file.name == LIBVIRT_XML {
            assert_eq!(elements(&file.content), elements(&expected.content));
            continue;
        }
        assert!(file.content.is_ascii(), "{file:?}");
        let lines = |content: &str| -> Vec<String> {
            let real = content
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            real.map(str::to_owned).collect()
        };
        let (lines, expected) = (lines(&file.content), lines(&expected.content));
        assert_eq!(lines.len(), expected.len(), "{}", file.content);
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(line.len() < 1000, "{line}");
            if file.name == ADDN_HOSTS {
                assert!(line.split(' ').count() <= expected.split(' ').count(), "{line}");
                continue;
            }
            assert_eq!(fields(line), fields(expected), "{line}");
            let option = |line: &str| line.split('=').next().unwrap().to_owned();
            assert!(
                option(line) == option(expected) || !expected.contains('='),
                "{line}"
            );
        }
    }
}

fn compiled_from(values: &Values) -> Compiled {
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
    let (network, warnings) = read_bytes("f", definition(&good()).as_bytes()).unwrap();
    assert_eq!(warnings, []);
    assert_harmless(&compiled(&network));
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
            let printable = bad.chars().all(|c| (' '..='~').contains(&c));
            for value in [format!("{good}{bad}x"), format!("{bad}{good}")] {
                let result = read_bytes("f", definition(&with(index, &value)).as_bytes());
                // Texts are written so that no file misreads them; so is what stands behind the comma here.
                if printable && (TEXTS.contains(field) || (*field == "passed on" && value.starts_with(good)))
                {
                    if let Ok((network, _)) = result {
                        assert_harmless(&compiled(&network));
                    }
                    continue;
                }
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

#[test]
fn texts_longer_than_any_format_holds_are_refused_in_every_field() {
    for (index, (field, _)) in FIELDS.iter().enumerate() {
        for value in [
            "a".repeat(256),
            "1".repeat(256),
            "a.".repeat(5000),
            format!("_{}._tcp", "a".repeat(300)),
        ] {
            let result = read_bytes("f", definition(&with(index, &value)).as_bytes());
            assert!(result.is_err(), "{field}: {value:?} was accepted");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Any text in any field is refused, or harmless in every file.
    #[test]
    fn hostile_values_never_reach_a_generated_file(index in 0..FIELDS.len(), value in hostile()) {
        if let Ok((network, _)) = read_bytes("f", definition(&with(index, &value)).as_bytes()) {
            assert_harmless(&compiled(&network));
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
        from in 0usize..2800,
        length in 0usize..40,
        piece in "[-\\[\\]{},:&*!|>'\"%@`#?~<= \t\na-z0-9.]{0,12}",
    ) {
        let mut text = definition(&good());
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever texts are accepted, dnsmasq accepts the files too.
    #[test]
    fn dnsmasq_reads_every_text(texts in proptest::array::uniform4("[ -~]{1,80}"), class in "[ -~]{1,60}") {
        let mut values = good();
        let fields = TEXTS.iter().filter(|field| **field != "title").zip(&texts);
        for (field, text) in fields.chain([(&"passed on", &format!("dhcp-vendorclass=set:blue,{class}"))]) {
            let index = FIELDS.iter().position(|(name, _)| name == field).unwrap();
            text.clone_into(&mut values[index]);
        }
        let compiled = compiled_from(&values);
        assert_harmless(&compiled);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), joined(&compiled)).unwrap();
        let dnsmasq = Program::find("dnsmasq", "dnsmasq-base").unwrap();
        let tested = dnsmasq.run().arg("--test").arg("-C").arg(file.path()).output();
        prop_assert!(tested.is_ok(), "{:?}\n{}", tested, joined(&compiled));
    }
}
