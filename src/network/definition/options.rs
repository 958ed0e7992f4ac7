//! `options`, of `dhcp` and of single hosts: DHCP options by name or number, with values of the type that is theirs.

use super::dhcp::TAG_MATCH;
use super::{optional, several};
use crate::name::{DnsName, PlainText, TagMatch, printable};
use crate::network::model::dhcp_option::{self, DhcpOption, OptionKind, OptionValue};
use crate::yaml::{At, Fault, Fields, Key, Node, Place, Report, Shape, Value};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// One of `options`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionEntry {
    /// `option`, and `value` of its type
    pub option: At<DhcpOption>,
    /// `tag`, one or several
    pub tags: Vec<At<TagMatch>>,
}

const NAME: Key = Key::must(
    "option",
    Shape::Text("name or number"),
    "one of the names that `dnsmasq --help dhcp` lists, or a number",
);
const VALUE: Key = Key::must(
    "value",
    Shape::Any(&[
        Shape::Several(&Shape::Text("value")),
        Shape::Several(&Shape::Map(ROUTE)),
    ]),
    "of the option's type: an IPv4 address, a domain or a route, or a list of them; a number; `true` or `false`; a lease \
     time; a text; octets as `01:0a:ff`. An empty list means that the option is not sent",
);
const TYPE: Key = Key::may(
    "type",
    Shape::Words(&["addresses", "text", "u8", "u16", "u32", "routes", "hex"]),
    "for an option of which no type is known",
);
pub(super) const OPTION: &[Key] = &[
    NAME,
    VALUE,
    TYPE,
    Key::may(
        "tag",
        Shape::Several(&TAG_MATCH),
        "only for machines of which all of these hold; `!` in front: that do not have the tag",
    ),
    Key::Instead("name", "write `option: NAME`"),
    Key::Instead("number", "write `option: NUMBER`"),
];
/// In a host's entry the host itself is the condition.
pub(super) const HOST_OPTION: &[Key] = &[
    NAME,
    VALUE,
    TYPE,
    Key::Instead(
        "tag",
        "an option of a host is for that host alone; others are in `options` of `dhcp`",
    ),
];
const ROUTE: &[Key] = &[
    Key::must("to", Shape::SUBNET4, "a subnet; 0.0.0.0/0 is the default route"),
    Key::must("via", Shape::IPV4, "its router"),
];

/// The longest value, in octets (RFC 2132 section 2).
const MAX: usize = 255;
/// The longest list, so that it fits on a line of dnsmasq's.
const MAX_LIST: usize = 32;

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<OptionEntry>> {
    let items = node.items("`options`", report)?;
    Some(
        items
            .iter()
            .filter_map(|n| {
                let (fields, option) = read_entry(n, OPTION, report)?;
                let tags = optional(fields.get("tag"), |n| {
                    several(n, "`tag`", report, |n, report| n.parse("`tag`", report))
                });
                Some(OptionEntry {
                    option,
                    tags: tags?.unwrap_or_default(),
                })
            })
            .collect(),
    )
}

pub(super) fn read_of_host(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<At<DhcpOption>>> {
    let items = node.items("`options`", report)?;
    let entries = items.iter().filter_map(|n| read_entry(n, HOST_OPTION, report));
    Some(entries.map(|(_, option)| option).collect())
}

fn read_entry<'n, 'a>(
    node: &'n Node<'a>,
    keys: &'static [Key],
    report: &mut Report<'_>,
) -> Option<(Fields<'n, 'a>, At<DhcpOption>)> {
    let fields = Fields::read(node, "this option", keys, report)?;
    let known = fields.need("option", report).and_then(|n| read_option(n, report));
    let value = fields.need("value", report);
    let (code, name, kind, place) = known?;
    let kind = read_kind(code, name, kind, place, &fields, report)?;
    let value = read_value(value?, kind, report)?;
    let option = DhcpOption { code, name, value };
    if option.length() > MAX {
        report.error(
            Fault::new(
                place,
                format!("the value is longer than the {MAX} octets of a DHCP option"),
            )
            .help("shorten it, or send less"),
        );
        return None;
    }
    Some((fields, At::new(option, place)))
}

type Known = (u8, Option<&'static str>, Option<OptionKind>, Place);

/// `option`: a name or a number.
fn read_option(node: &Node<'_>, report: &mut Report<'_>) -> Option<Known> {
    let text = node.text("`option`", report)?.value;
    let place = node.place;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(code @ 1..=254) = text.parse::<u8>() {
            let known = dhcp_option::by_code(code);
            return Some((
                code,
                known.map(|(name, _)| name),
                known.map(|(_, kind)| kind),
                place,
            ));
        }
        let shown = printable(text, 20);
        report.error(
            Fault::new(place, format!("{shown} is not the number of a DHCP option"))
                .help("they go from 1 to 254"),
        );
        return None;
    }
    if let Some((code, name, kind)) = dhcp_option::by_name(text) {
        return Some((code, Some(name), Some(kind), place));
    }
    let fault = Fault::new(
        place,
        format!("`{}` is not the name of a DHCP option", printable(text, 40)),
    );
    let near = crate::yaml::nearest(text, dhcp_option::names());
    report.error(match near {
        Some(name) => fault.help(format!("did you mean `{name}`?")),
        None => fault.help("`dnsmasq --help dhcp` lists the names; any option can be given by its number"),
    });
    None
}

/// The kind of the value: that of the option, or for options that we do not know, what `type` says.
fn read_kind(
    code: u8,
    name: Option<&str>,
    known: Option<OptionKind>,
    place: Place,
    fields: &Fields<'_, '_>,
    report: &mut Report<'_>,
) -> Option<OptionKind> {
    const TYPES: [(&str, OptionKind); 7] = [
        ("addresses", OptionKind::Addresses),
        ("text", OptionKind::Text),
        ("u8", OptionKind::Unsigned(1)),
        ("u16", OptionKind::Unsigned(2)),
        ("u32", OptionKind::Unsigned(4)),
        ("routes", OptionKind::Routes),
        ("hex", OptionKind::Octets),
    ];
    let all = || TYPES.map(|(name, _)| format!("`{name}`")).join(", ");
    match (known, fields.get("type")) {
        (Some(OptionKind::Reserved(instead)), _) => {
            let shown = name.map_or_else(|| code.to_string(), |name| format!("{name} ({code})"));
            report.error(Fault::new(
                place,
                format!("the option {shown} cannot be set: {instead}"),
            ));
            None
        }
        (Some(kind), None) => Some(kind),
        (Some(_), Some(node)) => {
            report.error(
                Fault::new(node.place, format!("the type of option {code} is known")).help("remove `type`"),
            );
            None
        }
        (None, Some(node)) => {
            let text = node.text("`type`", report)?.value;
            let found = TYPES.iter().find(|(name, _)| *name == text);
            if found.is_none() {
                let shown = printable(text, 40);
                report.error(
                    Fault::new(node.place, format!("`{shown}` is not a type"))
                        .help(format!("the types are {}", all())),
                );
            }
            found.map(|(_, kind)| *kind)
        }
        (None, None) => {
            report.error(
                Fault::new(place, format!("nothing is known about option {code}"))
                    .help(format!("say what its value is: `type` with one of {}", all())),
            );
            None
        }
    }
}

fn read_value(node: &Node<'_>, kind: OptionKind, report: &mut Report<'_>) -> Option<OptionValue> {
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        return Some(OptionValue::Nothing);
    }
    let integer = |value: i64, octets: u8| OptionValue::Integer { value, octets };
    match kind {
        OptionKind::Addresses => {
            list(node, report, |n, report| n.ipv4("`value`", report)).map(OptionValue::Addresses)
        }
        OptionKind::Domains => {
            list(node, report, |n, report| n.parse::<DnsName>("`value`", report)).map(OptionValue::Domains)
        }
        OptionKind::Routes => list(node, report, read_route).map(OptionValue::Routes),
        OptionKind::Unsigned(octets) => {
            let max = u32::MAX >> (32 - 8 * u32::from(octets));
            let number: At<u32> = node.number("`value`", 0..=max.into(), report)?;
            Some(integer(number.value.into(), octets))
        }
        OptionKind::Signed => {
            let number: At<i32> = node.number("`value`", i32::MIN.into()..=i32::MAX.into(), report)?;
            Some(integer(number.value.into(), 4))
        }
        OptionKind::Flag => Some(integer(node.flag("`value`", report)?.value.into(), 1)),
        OptionKind::Name | OptionKind::Text => node
            .parse::<PlainText>("`value`", report)
            .map(|text| OptionValue::Text(text.value)),
        OptionKind::Time => node
            .parse("`value`", report)
            .map(|time| OptionValue::Time(time.value)),
        OptionKind::Octets => read_octets(node, report).map(OptionValue::Octets),
        OptionKind::Reserved(_) => None,
    }
}

/// One or several values, at most [`MAX_LIST`].
fn list<'a, T>(
    node: &Node<'a>,
    report: &mut Report<'_>,
    read: impl FnMut(&Node<'a>, &mut Report<'_>) -> Option<At<T>>,
) -> Option<Vec<T>> {
    let all = several(node, "`value`", report, read)?;
    if let Some(further) = all.get(MAX_LIST) {
        report.error(Fault::new(further.place, format!("more than {MAX_LIST} values")).help("send less"));
        return None;
    }
    Some(all.into_iter().map(|item| item.value).collect())
}

fn read_route(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<(Ipv4Net, Ipv4Addr)>> {
    let fields = Fields::read(node, "this route", ROUTE, report)?;
    let to = fields.need("to", report).and_then(|n| {
        let text = n.text("`to`", report)?.value;
        let subnet = text.parse::<Ipv4Net>().ok().filter(|subnet| subnet.trunc() == *subnet);
        if subnet.is_none() {
            let shown = printable(text, 60);
            report.error(
                Fault::new(n.place, format!("`{shown}` is not an IPv4 subnet"))
                    .help("write its first address, a slash and the prefix length, as in 10.0.0.0/8; 0.0.0.0/0 is the default route"),
            );
        }
        subnet
    });
    let via = fields.need("via", report).and_then(|n| n.ipv4("`via`", report));
    Some(At::new((to?, via?.value), node.place))
}

fn read_octets(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<u8>> {
    let text = node.text("`value`", report)?.value;
    let octet = |part: &str| match part.len() {
        2 if part.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(part, 16).ok(),
        _ => None,
    };
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    if octets.is_none() {
        report.error(
            Fault::new(
                node.place,
                format!("`{}` is not a list of octets", printable(text, 60)),
            )
            .help("write groups of two hexadecimal digits joined by colons, in quotes: \"01:0a:ff\""),
        );
    }
    octets
}
