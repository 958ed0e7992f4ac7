//! `dns`: what the network's name server answers.

use super::{optional, several};
use crate::name::{PlainText, ZoneName, printable};
use crate::network::model::{Forwarder, Origin};
use crate::yaml::{At, Fault, Fields, Key, Node, Place, Report, Shape};
use std::net::IpAddr;

/// `dns`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsSection {
    /// `serve`; by default on where the bridge is ours, or DHCP is served
    pub serve: Option<At<bool>>,
    /// `forward`; by default an isolated network's questions do not leave it, and all others' do
    pub forward: Option<At<bool>>,
    /// `forwarders`
    pub forwarders: Vec<At<Forwarder>>,
    /// `records`
    pub records: Vec<RecordEntry>,
}

/// One of `dns.records`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// Where it begins.
    pub place: Place,
    /// What it says.
    pub data: RecordFields,
    /// Whose file it stands in.
    pub origin: Origin,
}

/// What one of `dns.records` says, by the key that tells its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFields {
    /// `name` and `ip`
    Address(At<ZoneName>, Vec<At<IpAddr>>),
    /// `wildcard` and `ip`
    Wildcard(At<ZoneName>, Vec<At<IpAddr>>),
    /// `cname` and `target`
    Cname(At<ZoneName>, At<ZoneName>),
    /// `srv` and the rest
    Srv(SrvFields),
    /// `txt` and `text`
    Txt(At<ZoneName>, Vec<At<PlainText>>),
    /// `ptr` and `name`
    Ptr(At<IpAddr>, At<ZoneName>),
}

/// One of `dns.records` with `srv`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvFields {
    /// `srv`
    pub name: At<ZoneName>,
    /// `target`; without it the service is not available
    pub target: Option<At<ZoneName>>,
    /// `port`
    pub port: Option<At<u16>>,
    /// `priority`
    pub priority: Option<At<u16>>,
    /// `weight`
    pub weight: Option<At<u16>>,
}

pub(super) const DNS: &[Key] = &[
    Key::may(
        "serve",
        Shape::Flag,
        "answer DNS; by default `true`, in `bridge` only with DHCP, in `hostroute` `false`; `false` cannot stand beside `dhcp`",
    ),
    Key::may(
        "forward",
        Shape::Flag,
        "look other names up elsewhere; by default `true`, in an isolated network `false`",
    ),
    Key::may(
        "forwarders",
        Shape::Several(&Shape::Pattern("name server", "[0-9a-fA-F:.]+(#[0-9]{1,5})?")),
        "where: one or several name servers, `ADDRESS` or `ADDRESS#PORT`, asked in this order; without it the host's own",
    ),
    Key::may("records", RECORDS, "what is answered beside the names of hosts"),
];
/// `records`, also of a file beside the definition.
pub(in crate::network) const RECORDS: Shape = Shape::List(&Shape::Any(&[
    Shape::Map(ADDRESS),
    Shape::Map(WILDCARD),
    Shape::Map(CNAME),
    Shape::Map(SRV),
    Shape::Map(TXT),
    Shape::Map(PTR),
]));
const IPS: Shape = Shape::Several(&Shape::IP);
const U16: Shape = Shape::Number(0, 65535);

const ADDRESS: &[Key] = &[
    Key::must(
        "name",
        Shape::Text("name"),
        "a name in the domain; `@` is the domain itself, a dot at the end makes a full name",
    ),
    Key::must("ip", IPS, "its addresses, one or several, of both families"),
];
const WILDCARD: &[Key] = &[
    Key::must(
        "wildcard",
        Shape::Text("name"),
        "a name; all names below it that have no address of their own are answered, too",
    ),
    Key::must("ip", IPS, "their addresses"),
];
const CNAME: &[Key] = &[
    Key::must("cname", Shape::Text("name"), "another name"),
    Key::must(
        "target",
        Shape::Text("name"),
        "of this one, which has to be known here",
    ),
];
const SRV: &[Key] = &[
    Key::must(
        "srv",
        Shape::Text("name"),
        "a service (RFC 2782), as in `_ldap._tcp`",
    ),
    Key::may(
        "target",
        Shape::Text("name"),
        "the host that has it; without it the answer is that the service is not available",
    ),
    Key::may("port", U16, "its port, not 0"),
    Key::may("priority", U16, "lower ones are asked first"),
    Key::may(
        "weight",
        U16,
        "shares the questions among targets of one priority",
    ),
];
const TXT: &[Key] = &[
    Key::must("txt", Shape::Text("name"), "a name"),
    Key::must(
        "text",
        Shape::Several(&Shape::Text("text")),
        "one string of up to 255 ASCII characters, or a list of them",
    ),
];
const PTR: &[Key] = &[
    Key::must("ptr", Shape::IP, "an address"),
    Key::must(
        "name",
        Shape::Text("name"),
        "its name; by default an address resolves back to the host that has it",
    ),
];
/// For an entry of no kind: the keys of all.
const RECORD: &[Key] = &[ADDRESS[0], WILDCARD[0], CNAME[0], SRV[0], TXT[0], PTR[0]];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<DnsSection> {
    let fields = Fields::read(node, "`dns`", DNS, report)?;
    let serve = optional(fields.get("serve"), |n| n.flag("`serve`", report));
    let forward = optional(fields.get("forward"), |n| n.flag("`forward`", report));
    let forwarders = optional(fields.get("forwarders"), |n| {
        several(n, "`forwarders`", report, |n, report| {
            n.parse("a forwarder", report)
        })
    });
    let records = optional(fields.get("records"), |n| Some(read_records(n, report)));
    Some(DnsSection {
        records: records.flatten().unwrap_or_default(),
        serve: serve?,
        forward: forward?,
        forwarders: forwarders?.unwrap_or_default(),
    })
}

/// `records`, also of a file beside the definition.
pub(in crate::network) fn read_records(node: &Node<'_>, report: &mut Report<'_>) -> Vec<RecordEntry> {
    let records = node.items("`records`", report).unwrap_or_default();
    records.iter().filter_map(|n| read_record(n, report)).collect()
}

fn read_record(node: &Node<'_>, report: &mut Report<'_>) -> Option<RecordEntry> {
    const WHAT: &str = "this record";
    let has = |key: &str| node.has_key(key);
    let name = |n: &Node<'_>, report: &mut Report<'_>| read_name(n, report);
    let data = if has("wildcard") {
        let fields = Fields::read(node, WHAT, WILDCARD, report)?;
        let owner = fields
            .need("wildcard", report)
            .and_then(|n| read_wildcard(n, report));
        let ips = fields.need("ip", report).and_then(|n| read_ips(n, report));
        RecordFields::Wildcard(owner?, ips?)
    } else if has("cname") {
        let fields = Fields::read(node, WHAT, CNAME, report)?;
        let owner = fields.need("cname", report).and_then(|n| name(n, report));
        let target = fields.need("target", report).and_then(|n| name(n, report));
        RecordFields::Cname(owner?, target?)
    } else if has("srv") {
        RecordFields::Srv(read_srv(&Fields::read(node, WHAT, SRV, report)?, report)?)
    } else if has("txt") {
        let fields = Fields::read(node, WHAT, TXT, report)?;
        let owner = fields.need("txt", report).and_then(|n| name(n, report));
        let text = fields
            .need("text", report)
            .and_then(|n| several(n, "`text`", report, |n, report| n.parse("`text`", report)));
        RecordFields::Txt(owner?, text?)
    } else if has("ptr") {
        let fields = Fields::read(node, WHAT, PTR, report)?;
        let address = fields.need("ptr", report).and_then(|n| n.ip("`ptr`", report));
        let target = fields.need("name", report).and_then(|n| name(n, report));
        RecordFields::Ptr(address?, target?)
    } else if has("name") || has("ip") {
        let fields = Fields::read(node, WHAT, ADDRESS, report)?;
        let owner = fields.need("name", report).and_then(|n| name(n, report));
        let ips = fields.need("ip", report).and_then(|n| read_ips(n, report));
        RecordFields::Address(owner?, ips?)
    } else {
        Fields::read(node, WHAT, RECORD, report)?;
        report.error(
            Fault::new(start(node), "this record is of no kind")
                .help("write `name` and `ip`, or one of `wildcard`, `cname`, `srv`, `txt` and `ptr` with what belongs to it"),
        );
        return None;
    };
    Some(RecordEntry {
        place: start(node),
        data,
        origin: Origin::Definition,
    })
}

/// The first character of what `node` spans.
const fn start(node: &Node<'_>) -> Place {
    let mut place = node.place;
    place.length = 1;
    place
}

fn read_srv(fields: &Fields<'_, '_>, report: &mut Report<'_>) -> Option<SrvFields> {
    let name = fields.need("srv", report).and_then(|n| read_name(n, report));
    let target = optional(fields.get("target"), |n| read_name(n, report));
    let port = optional(fields.get("port"), |n| n.number("`port`", 0..=65535, report));
    let priority = optional(fields.get("priority"), |n| {
        n.number("`priority`", 0..=65535, report)
    });
    let weight = optional(fields.get("weight"), |n| n.number("`weight`", 0..=65535, report));
    Some(SrvFields {
        name: name?,
        target: target?,
        port: port?,
        priority: priority?,
        weight: weight?,
    })
}

fn read_ips(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<At<IpAddr>>> {
    several(node, "`ip`", report, |n, report| n.ip("`ip`", report))
}

fn read_name(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<ZoneName>> {
    let text = node.text("a name", report)?;
    match text.value.parse() {
        Ok(name) => Some(At::new(name, node.place)),
        Err(error) => {
            let fault = Fault::new(node.place, error.to_string());
            report.error(if text.value.contains('*') {
                fault.help("for all names below another write `wildcard`")
            } else {
                fault.help("write a name in the network's domain, `@` for the domain itself, or a full name with a dot at its end")
            });
            None
        }
    }
}

fn read_wildcard(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<ZoneName>> {
    let text = node.text("`wildcard`", report)?.value;
    if let Some(rest) = text.strip_prefix("*.") {
        report.error(
            Fault::new(
                node.place,
                format!(
                    "`{}`: a wildcard is written without the star",
                    printable(text, 60)
                ),
            )
            .help(format!("write `wildcard: {}`", printable(rest, 60))),
        );
        return None;
    }
    read_name(node, report)
}
