//! libvirt's XML of a network against the XML that was applied: what somebody else has written into it, element by
//! element. Pure.
//!
//! libvirt adds things of its own (a uuid, the bridge's address, the ports of translation), and later versions may add
//! more. So what is there beyond the applied XML counts only where libvirt's format has it for people to write
//! (libvirt.org/formatnetwork.html, 9.0); what was applied and is gone or another always counts.

use crate::domain::scan::{Document, Element};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// An entry of `<dhcp>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) struct Entry {
    /// Which of the network's `<ip>` elements it stands in, counted from 0.
    pub(in crate::network) ip: usize,
    /// The element as libvirt wrote it.
    pub(in crate::network) xml: String,
    /// What it says.
    pub(in crate::network) what: What,
}

/// What an entry of `<dhcp>` says, in libvirt's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) enum What {
    /// `<host>`
    Host {
        mac: Option<String>,
        name: Option<String>,
        ip: Option<String>,
        /// The client's identifier (DHCPv6).
        id: Option<String>,
    },
    /// `<range>`
    Range { start: String, end: String },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range { start, end } => write!(f, "range {start} to {end}"),
            Self::Host { mac, name, ip, id } => {
                let words: Vec<&str> = [name, mac, id, ip]
                    .into_iter()
                    .flatten()
                    .map(String::as_str)
                    .collect();
                write!(f, "host {}", words.join(" "))
            }
        }
    }
}

/// What `theirs`, libvirt's XML now, differs in from `ours`, the XML that was applied, a line each: `forward.mode: nat ->
/// route`. Hosts and ranges of `<dhcp>` are not among it. XML that cannot be read differs in everything.
pub(in crate::network) fn differences(ours: &str, theirs: &str) -> Vec<String> {
    let (Ok(ours), Ok(theirs)) = (Document::parse(ours), Document::parse(theirs)) else {
        return vec!["it cannot be read".to_owned()];
    };
    let mut found = Vec::new();
    elements("", ours.root(), theirs.root(), &mut found);
    found
}

/// As [`differences`], of a network that runs: the domain, of which libvirt tells its own dnsmasq only, is passed over.
pub(in crate::network) fn differences_of_running(ours: &str, theirs: &str) -> Vec<String> {
    let mut found = differences(ours, theirs);
    found.retain(|line| {
        let path = line.trim_start_matches(['+', '-', ' ']);
        !path.starts_with("domain")
    });
    found
}

/// The entries of `<dhcp>` in libvirt's XML.
pub(in crate::network) fn dhcp_entries(xml: &str) -> Vec<Entry> {
    Document::parse(xml)
        .map(|document| dhcp(&document))
        .unwrap_or_default()
}

fn dhcp(document: &Document<'_>) -> Vec<Entry> {
    let mut found = Vec::new();
    for (index, ip) in document.root().children_named("ip").enumerate() {
        for entry in ip.child("dhcp").into_iter().flat_map(Element::children) {
            let value = |name: &str| entry.attribute(name).map(str::to_owned);
            let what = if entry.is("host") {
                What::Host {
                    mac: value("mac"),
                    name: value("name"),
                    ip: value("ip"),
                    id: value("id"),
                }
            } else if entry.is("range") {
                What::Range {
                    start: value("start").unwrap_or_default(),
                    end: value("end").unwrap_or_default(),
                }
            } else {
                continue;
            };
            found.push(Entry {
                ip: index,
                xml: document.source()[entry.span()].to_owned(),
                what,
            });
        }
    }
    found
}

/// What only people write into the element of that path. `dhcp` hosts and ranges are told apart from these.
fn is_written_by_people(path: &str, name: &str) -> bool {
    let known: &[&str] = match path {
        "" => &[
            "@ipv6",
            "@trustGuestRxFilters",
            "bandwidth",
            "bridge",
            "dns",
            "domain",
            "forward",
            "ip",
            "mtu",
            "port",
            "portgroup",
            "route",
            "virtualport",
            "vlan",
        ],
        "forward" => &["@dev", "@managed", "address", "interface", "pf"],
        "forward.nat" => &["@ipv6", "address", "port"],
        "bridge" => &["@delay", "@macTableManager", "@stp", "@zone"],
        "domain" => &["@register"],
        "dns" => &["@enable", "@forwardPlainNames", "forwarder", "host", "srv", "txt"],
        "ip" => &["tftp"],
        "ip.dhcp" => &["bootp"],
        _ => &[],
    };
    known.contains(&name)
}

/// What of `theirs` is another thing than `ours`; both have the same place, `path`.
fn elements(path: &str, ours: Element<'_>, theirs: Element<'_>, found: &mut Vec<String>) {
    // Which element it is, without what tells it from others of its name.
    let kind = kind(path);
    for (name, value) in ours.attributes().filter(|(name, _)| !name.starts_with("xmlns")) {
        let old = normal(name, value);
        let new = theirs.attribute(name).map(|new| normal(name, new));
        match new.or_else(|| prefix(theirs, name)) {
            Some(new) if new == old => {}
            Some(new) => found.push(format!("{}: {old} -> {new}", below(path, name))),
            None if is_default(name, value) => {}
            None => found.push(format!("- {}: {old}", below(path, name))),
        }
    }
    for (name, value) in theirs
        .attributes()
        .filter(|(name, _)| ours.attribute(name).is_none())
    {
        if is_written_by_people(&kind, &format!("@{name}")) {
            found.push(format!("+ {}: {value}", below(path, name)));
        }
    }
    let own = |element: &Element<'_>| element.namespace().is_none() && !element.is("metadata");
    let mut rest: Vec<Element<'_>> = theirs.children().filter(own).collect();
    for old in ours.children().filter(own) {
        let place = place(path, old);
        let same = rest.iter().position(|new| self::place(path, *new) == place);
        match same.map(|at| rest.remove(at)) {
            Some(new) => elements(&place, old, new, found),
            None => found.push(format!("- {}", whole(path, old))),
        }
    }
    if ours.text().trim() != theirs.text().trim() {
        found.push(format!(
            "{path}: {} -> {}",
            ours.text().trim(),
            theirs.text().trim()
        ));
    }
    for new in rest {
        added(path, new, found);
    }
}

/// What people have written of an element that was not there.
fn added(path: &str, new: Element<'_>, found: &mut Vec<String>) {
    let (name, kind) = (new.qualified_name(), kind(path));
    let ports =
        new.is("port") && new.attribute("start") == Some("1024") && new.attribute("end") == Some("65535");
    if is_written_by_people(&kind, name) && !ports {
        found.push(format!("+ {}", whole(path, new)));
    } else if matches!(name, "nat" | "dhcp") {
        let path = below(path, name);
        for (name, value) in new.attributes() {
            if is_written_by_people(&self::kind(&path), &format!("@{name}")) {
                found.push(format!("+ {}: {value}", below(&path, name)));
            }
        }
        for child in new.children() {
            added(&path, child, found);
        }
    }
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// Its path, with its address where there can be several.
fn place(path: &str, element: Element<'_>) -> String {
    let name = element.qualified_name();
    match element.attribute("address").filter(|_| name == "ip") {
        Some(address) => format!("{}[{}]", below(path, name), normal("address", address)),
        None => below(path, name),
    }
}

fn kind(path: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

/// The element with its attributes, on one line.
fn whole(path: &str, element: Element<'_>) -> String {
    let mut text = place(path, element);
    for (name, value) in element.attributes() {
        let _ = write!(text, " {name}={value}");
    }
    let inner = element.text().trim();
    if !inner.is_empty() {
        let _ = write!(text, " {inner}");
    }
    for child in element.children() {
        let _ = write!(text, " ({})", whole("", child));
    }
    text
}

/// A value that can be written in several ways.
fn normal(name: &str, value: &str) -> String {
    match name {
        "address" => value
            .parse::<IpAddr>()
            .map_or_else(|_| value.to_owned(), |ip| ip.to_string()),
        _ => value.to_owned(),
    }
}

/// libvirt leaves these out.
fn is_default(name: &str, value: &str) -> bool {
    matches!((name, value), ("localOnly", "no") | ("family", "ipv4"))
}

/// The prefix length of an element that has a netmask instead.
fn prefix(element: Element<'_>, name: &str) -> Option<String> {
    let mask: Ipv4Addr = element
        .attribute("netmask")
        .filter(|_| name == "prefix")?
        .parse()
        .ok()?;
    let bits = u32::from(mask);
    (bits.count_ones() == bits.leading_ones()).then(|| bits.count_ones().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "<network><name>n</name><metadata><m:network xmlns:m='https://miniascape.org/xmlns/1'/></metadata>\
        <forward mode='nat'><nat ipv6='yes'/></forward><bridge name='virbr1' stp='on' delay='0'/>\
        <domain name='n.internal' localOnly='no'/><dns enable='no'/><ip address='10.0.0.1' prefix='24'/>\
        <ip family='ipv6' address='FD00::0:1' prefix='64'/></network>";

    fn lines(theirs: &str) -> Vec<String> {
        assert_eq!(dhcp_entries(theirs), []);
        differences(OURS, theirs)
    }

    #[test]
    fn what_libvirt_adds_by_itself_is_no_drift() {
        let theirs = "<network connections='2' future='1'>\n  <name>n</name><uuid>1</uuid><metadata><o:x xmlns:o='u'/></metadata>\
            <forward mode='nat'><nat ipv6='yes'><port start='1024' end='65535'/></nat></forward>\
            <bridge name='virbr1' stp='on' delay='0'/><mac address='52:54:00:00:00:01'/><future a='b'/>\
            <domain name='n.internal'/><dns enable='no'/><ip address='10.0.0.1' netmask='255.255.255.0'></ip>\
            <ip family='ipv6' address='fd00::1' prefix='64'></ip></network>";
        assert_eq!(lines(theirs), [""; 0]);
        assert_eq!(lines(OURS), [""; 0]);
        let (ours, theirs) = [
            "<network><forward mode='nat'/></network>",
            "<network><forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward></network>",
        ]
        .into();
        assert_eq!(differences(ours, theirs), [""; 0]);
    }

    #[test]
    fn what_people_write_is_named_by_element() {
        for (from, to, told) in [
            ("mode='nat'", "mode='route'", "forward.mode: nat -> route"),
            ("<nat ipv6='yes'/>", "", "- forward.nat ipv6=yes"),
            (
                "<nat ipv6='yes'/>",
                "<nat ipv6='yes'><port start='1' end='9'/></nat>",
                "+ forward.nat.port start=1 end=9",
            ),
            ("delay='0'", "delay='0' zone='work'", "+ bridge.zone: work"),
            (
                "<dns enable='no'/>",
                "<mtu size='1400'/><dns enable='no'/>",
                "+ mtu size=1400",
            ),
            ("<dns enable='no'/>", "<dns/>", "- dns.enable: no"),
            ("prefix='24'", "prefix='25'", "ip[10.0.0.1].prefix: 24 -> 25"),
            (
                "<dns enable='no'/>",
                "<dns enable='no'><host ip='10.0.0.9'><hostname>a</hostname></host></dns>",
                "+ dns.host ip=10.0.0.9 (hostname a)",
            ),
            ("<network>", "<network ipv6='yes'>", "+ ipv6: yes"),
        ] {
            assert_eq!(lines(&OURS.replacen(from, to, 1)), [told]);
        }
        let moved = lines(&OURS.replace("10.0.0.1'", "10.0.0.2'"));
        assert_eq!(
            moved,
            [
                "- ip[10.0.0.1] address=10.0.0.1 prefix=24",
                "+ ip[10.0.0.2] address=10.0.0.2 prefix=24"
            ]
        );
        assert_eq!(lines("<net"), ["it cannot be read"]);
    }

    #[test]
    fn entries_of_dhcp_are_told_apart() {
        let host = "<host mac='52:54:00:00:00:02' name='a' ip='10.0.0.2'/>";
        let theirs = OURS.replace(
            "prefix='24'/>",
            &format!("prefix='24'><dhcp><range start='10.0.0.3' end='10.0.0.9'/>{host}</dhcp></ip>"),
        );
        assert_eq!(differences(OURS, &theirs), [""; 0]);
        let found = dhcp_entries(&theirs);
        let shown: Vec<String> = found.iter().map(|entry| entry.what.to_string()).collect();
        assert_eq!(
            shown,
            ["range 10.0.0.3 to 10.0.0.9", "host a 52:54:00:00:00:02 10.0.0.2"]
        );
        assert_eq!((found[1].ip, found[1].xml.as_str()), (0, host));
    }
}
