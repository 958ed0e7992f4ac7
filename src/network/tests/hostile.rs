//! Hostile definitions: whatever is written into them, the reader answers with a network or with problems, and no
//! generated file gets a line, a field or an element that the definition did not ask for.
//!
//! The values are found by walking through examples that have every key there is, so that none can be forgotten.

use super::{compiled, joined};
use crate::host::Layout;
use crate::host::command::Program;
use crate::network::compile::{ADDN_HOSTS, LIBVIRT_XML};
use crate::network::{self, Compiled, FindError, NetworkError, find, read_bytes};
use crate::yaml::{Key, Node, Problems, Report, Shape, Source, Value, parse};
use fs_err as fs;
use proptest::prelude::*;
use quick_xml::events::Event;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::LazyLock;

/// A definition with every key of the present form but those that exclude each other.
const NATIVE: &str = "network:
  name: lab
  title: 'A lab'
  mode: nat
  bridge: virbr9
  domain: lab.internal
  ipv4: { subnet: 192.168.9.0/24, gateway: 192.168.9.1 }
  ipv6: { subnet: 'fd00:9::/64', gateway: 'fd00:9::1', ra: stateful }
  dns:
    serve: true
    forward: true
    forwarders: ['192.0.2.53#5353']
    records:
      - { name: web, ip: 192.168.9.5 }
      - { wildcard: apps, ip: 192.168.9.6 }
      - { cname: www, target: web }
      - { srv: _http._tcp, target: web, port: 80, priority: 1, weight: 2 }
      - { txt: _dmarc, text: 'v=DMARC1' }
      - { ptr: 192.168.9.5, name: web }
  dhcp:
    serve: true
    ranges:
      - { start: 192.168.9.100, end: 192.168.9.200, set: pool, tag: '!blue', lease_time: '3h' }
      - { start: 'fd00:9::100', end: 'fd00:9::200' }
    lease_time: '12h'
    unknown: ignore
    boot:
      { tftp: /srv/tftp, ipxe: 'http://192.168.9.1/boot.ipxe', bios: undionly.kpxe, uefi: ipxe.efi, uefi32: ipxe32.efi,
        uefi_arm64: arm/ipxe.efi, file: other.efi }
    ignore: ['52:54:00:09:00:66']
    options:
      - { option: router, value: 192.168.9.1 }
      - { option: ntp-server, value: 192.168.9.1, tag: pool }
      - { option: 224, type: text, value: free }
      - { option: root-path, value: /srv/root }
      - { option: domain-search, value: lab.internal }
      - { option: mtu, value: 1400 }
      - { option: T1, value: '5m' }
      - { option: 43, value: '01:02' }
      - { option: classless-static-route, value: { to: 10.0.0.0/8, via: 192.168.9.1 } }
  dnsmasq_options: ['dhcp-vendorclass=set:blue,installer']
  require_interfaces: [eth1]
  forbid_interfaces: [eth2]
  hosts:
    - { name: one, mac: '52:54:00:09:00:02', ip: [192.168.9.2, 'fd00:9::2'], client_id: '01:02:03', tags: red, lease_time: '2h',
        options: [ { option: domain-name, value: one.example } ] }
";

/// One on somebody else's bridge, with another boot server.
const ELSEWHERE: &str = "network:
  name: lab
  mode: bridge
  bridge: br9
  domain: lab.internal
  ipv4: { subnet: 192.168.9.0/24, gateway: 192.168.9.1 }
  dhcp: { serve: true, boot: { server: 192.168.9.5, file: pxelinux.0 } }
";

/// One in the form of the first releases.
const ORIGINAL: &str = "network:
  name: lab
  forward: nat
  bridge: virbr9
  domain: lab.internal
  gateway: 192.168.9.1
  netmask: 255.255.255.0
  libvirt_network_dhcp_enabled: 0
  dhcp_start: 192.168.9.100
  dhcp_end: 192.168.9.200
  hosts:
    - { hwaddr: '52:54:00:09:00:02', ip: 192.168.9.2, name: one }
";

/// A file beside the definition [`NATIVE`].
const DROP_IN: &str = "hosts:
  - { name: two, mac: ['52:54:00:09:00:03', '52:54:00:09:00:04'], ip: 192.168.9.3, client_id: printer, tags: [red, green],
      lease_time: '2h', options: [ { option: domain-name, value: two.example } ] }
";

/// Values that may hold any printable ASCII character, which is quoted or written as octets where a file would misread
/// it; the title is for people, and goes into the XML alone.
const TEXTS: [&str; 6] = [
    "network.title",
    "network.dns.records.4.text",
    "network.dhcp.options.2.value",
    "network.dhcp.options.3.value",
    "network.hosts.0.options.0.value",
    "hosts.0.options.0.value",
];
/// One with a text at its end.
const PASSED_ON: &str = "network.dnsmasq_options.0";

/// A document whose values can be exchanged.
struct Document {
    tree: Node<'static>,
    /// The values, as paths, with their texts.
    leaves: Vec<(String, String)>,
}

impl Document {
    fn new(text: &'static str) -> Self {
        let mut report = Report::new(Source::new("example", text));
        let tree = parse(&mut report).expect("YAML");
        let mut leaves = Vec::new();
        walk(&tree, "", &mut |path, value| {
            leaves.push((path.to_owned(), value.to_owned()));
        });
        Self { tree, leaves }
    }

    /// The document with other values for these paths.
    fn with(&self, values: &[(&str, &str)]) -> String {
        let mut text = String::new();
        write_node(&self.tree, "", values, &mut text);
        text
    }

    /// Line and column at which the value of `path` begins.
    fn place(&self, path: &str) -> (u32, u32) {
        let text = self.with(&[(path, "here it is")]);
        let before = &text[..text.find("\"here it is").unwrap()];
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        let number = |count: usize| u32::try_from(count).unwrap();
        (number(before.matches('\n').count() + 1), number(column))
    }
}

/// A definition, and what it compiles to as it stands.
struct Example {
    document: Document,
    harmless: Compiled,
}

impl Example {
    fn read(&self, values: &[(&str, &str)]) -> Result<Compiled, Problems> {
        let text = self.document.with(values);
        read_bytes("f", text.as_bytes()).map(|(network, _)| compiled(&network))
    }
}

static EXAMPLES: LazyLock<[Example; 3]> = LazyLock::new(|| {
    [NATIVE, ELSEWHERE, ORIGINAL].map(|text| Example {
        document: Document::new(text),
        harmless: compiled(&read_bytes("f", text.as_bytes()).unwrap().0),
    })
});

/// Calls `found` with each value that is no list and no mapping, and its path.
fn walk(node: &Node<'_>, path: &str, found: &mut impl FnMut(&str, &str)) {
    match &node.value {
        Value::Scalar { text, .. } => found(path, text),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{path}.{index}"), found);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                walk(value, &format!("{path}{dot}{}", key.value), found);
            }
        }
    }
}

/// Writes a node in flow style, on lines of their own, with other values for some paths.
fn write_node(node: &Node<'_>, path: &str, values: &[(&str, &str)], out: &mut String) {
    match &node.value {
        Value::Scalar { text, plain } => {
            let other = values.iter().find(|(other, _)| *other == path);
            match other {
                Some((_, value)) => out.push_str(&quoted(value)),
                None if *plain => out.push_str(text),
                None => out.push_str(&quoted(text)),
            }
        }
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                write_node(item, &format!("{path}.{index}"), values, out);
                out.push_str(",\n ");
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                write!(out, "{}: ", key.value).unwrap();
                write_node(value, &format!("{path}{dot}{}", key.value), values, out);
                out.push_str(",\n ");
            }
            out.push('}');
        }
    }
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
        "[\u{feff}\u{0}]{1,2}[a-z0-9.]{1,8}",
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
fn assert_harmless(compiled: &Compiled, harmless: &Compiled) {
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

/// What the YAML of a definition may not pass on into any generated file as it stands.
const BAD: [&str; 18] = [
    "\n",
    "\r",
    "\u{1b}[31m",
    "\u{0}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{ff0e}",
    "\u{435}",
    ",",
    "%",
    "\"",
    "/../",
    "<",
    ";",
    " # ",
    "$(id)",
    "`id`",
];

/// All keys of a mapping, and of those within it.
fn keys_of(keys: &[Key], found: &mut BTreeSet<String>) {
    fn within(shape: &Shape, found: &mut BTreeSet<String>) {
        match shape {
            Shape::Map(keys) => keys_of(keys, found),
            Shape::List(item) | Shape::Several(item) | Shape::Names(_, item) => within(item, found),
            Shape::Any(all) => all.iter().for_each(|one| within(one, found)),
            _ => {}
        }
    }
    for key in keys.iter().filter_map(Key::known) {
        found.insert(key.name.to_owned());
        within(&key.shape, found);
    }
}

#[test]
fn every_key_that_is_read_is_in_an_example() {
    let key = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let mut used: BTreeSet<String> = EXAMPLES
        .iter()
        .flat_map(|example| &example.document.leaves)
        .flat_map(|(path, _)| key(path))
        .collect();
    used.extend(key("hosts"));
    let mut read = BTreeSet::new();
    for document in [&network::definition::DOCUMENT, &network::DROP_IN] {
        keys_of(document.keys, &mut read);
        keys_of(document.old_keys, &mut read);
    }
    assert!(read.len() > 60, "{read:?}");
    let missing: Vec<_> = read.difference(&used).collect();
    assert!(missing.is_empty(), "no example has these keys: {missing:?}");
}

#[test]
fn the_values_to_start_from_are_accepted() {
    for example in EXAMPLES.iter() {
        assert_harmless(&example.read(&[]).unwrap(), &example.harmless);
    }
    let (_, warnings) = read_bytes("f", NATIVE.as_bytes()).unwrap();
    assert_eq!(warnings, []);
}

/// True if `value`, made of a good value and something bad behind it or before it, may be accepted.
fn may_be_a_text(path: &str, bad: &str, behind: bool) -> bool {
    let printable = bad.chars().all(|c| (' '..='~').contains(&c));
    // People may read any letters.
    let letter = path == "network.title" && ["\u{ff0e}", "\u{435}"].contains(&bad);
    letter || printable && (TEXTS.contains(&path) || path == PASSED_ON && behind)
}

/// Panics unless the problems are fit for a terminal, and one of them points at the value.
fn assert_told(problems: &Problems, place: (u32, u32), what: &str) {
    let shown = problems.to_string();
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
    let there = |problem: &crate::yaml::Problem| (problem.line, problem.column) == place;
    assert!(problems.list().iter().any(there), "{what}, at {place:?}: {shown}");
}

#[test]
fn every_value_refuses_what_a_generated_file_would_misread() {
    for example in EXAMPLES.iter() {
        for (path, good) in &example.document.leaves {
            let place = example.document.place(path);
            for bad in BAD {
                for (value, behind) in [(format!("{good}{bad}x"), true), (format!("{bad}{good}"), false)] {
                    match example.read(&[(path, &value)]) {
                        Err(problems) => assert_told(&problems, place, &format!("{path}: {value:?}")),
                        Ok(_) if !may_be_a_text(path, bad, behind) => {
                            panic!("{path}: {value:?} was accepted")
                        }
                        Ok(compiled) => assert_harmless(&compiled, &example.harmless),
                    }
                }
            }
        }
    }
}

#[test]
fn texts_longer_than_any_format_holds_are_refused_for_every_value() {
    for example in EXAMPLES.iter() {
        for (path, _) in &example.document.leaves {
            let place = example.document.place(path);
            for value in [
                "a".repeat(256),
                "1".repeat(256),
                "a.".repeat(5000),
                format!("_{}._tcp", "a".repeat(300)),
            ] {
                match example.read(&[(path, &value)]) {
                    Err(problems) => assert_told(&problems, place, path),
                    Ok(_) => panic!("{path}: {value:?} was accepted"),
                }
            }
        }
    }
}

#[test]
fn files_beside_the_definition_are_no_other_way_in() {
    let document = Document::new(DROP_IN);
    let dir = tempfile::tempdir().unwrap();
    let (file, part) = (dir.path().join("lab.yaml"), dir.path().join("lab.d/two.yaml"));
    fs::create_dir(dir.path().join("lab.d")).unwrap();
    fs::write(&file, NATIVE).unwrap();
    let read = |text: &str| {
        fs::write(&part, text).unwrap();
        find::find(
            &Layout::state_dir(dir.path().join("state")),
            file.to_str().unwrap(),
        )
    };
    let harmless = compiled(&read(DROP_IN).unwrap().network);
    for (path, good) in &document.leaves {
        let place = document.place(path);
        for bad in BAD {
            for (value, behind) in [(format!("{good}{bad}x"), true), (format!("{bad}{good}"), false)] {
                match read(&document.with(&[(path, &value)])) {
                    Ok(found) if may_be_a_text(path, bad, behind) => {
                        assert_harmless(&compiled(&found.network), &harmless);
                    }
                    Err(FindError::Network(NetworkError::Definition(problems))) => {
                        assert_told(&problems, place, &format!("{path}: {value:?}"));
                        assert!(problems.list()[0].file.ends_with("two.yaml"), "{problems}");
                    }
                    other => panic!("{path}: {value:?}: {other:?}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Any text for any value is refused, or harmless in every file.
    #[test]
    fn hostile_values_never_reach_a_generated_file(index in any::<prop::sample::Index>(), value in hostile()) {
        let all: Vec<(&Example, &str)> = EXAMPLES
            .iter()
            .flat_map(|example| example.document.leaves.iter().map(move |(path, _)| (example, path.as_str())))
            .collect();
        let (example, path) = all[index.index(all.len())];
        if let Ok(compiled) = example.read(&[(path, &value)]) {
            assert_harmless(&compiled, &example.harmless);
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
        from in 0..NATIVE.len(),
        length in 0usize..40,
        piece in "[-\\[\\]{},:&*!|>'\"%@`#?~<= \t\na-z0-9.]{0,12}",
    ) {
        let mut text = NATIVE.to_owned();
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
        let example = &EXAMPLES[0];
        let class = format!("dhcp-vendorclass=set:blue,{class}");
        let mut values: Vec<(&str, &str)> = TEXTS[1..5].iter().copied().zip(texts.iter().map(String::as_str)).collect();
        values.push((PASSED_ON, &class));
        let compiled = example.read(&values).unwrap();
        assert_harmless(&compiled, &example.harmless);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), joined(&compiled)).unwrap();
        let dnsmasq = Program::find("dnsmasq", "dnsmasq-base").unwrap();
        let tested = dnsmasq.run().arg("--test").arg("-C").arg(file.path()).output();
        prop_assert!(tested.is_ok(), "{:?}\n{}", tested, joined(&compiled));
    }
}
