//! `/etc/miniascape/config.yaml`: the settings of a host. Every key is optional, and so is the file.

use crate::host::{Layout, files};
use crate::name::printable;
use crate::yaml::{
    Document, Fault, Fields, Key, MAX_FILE, Node, Place, Problems, Report, Shape, Source, parse_any,
};
use ipnet::{IpNet, Ipv4Net};
use std::io;

/// Where `subnet: auto` looks for a subnet if nothing else is said: private addresses that neither home routers nor
/// libvirt's and Docker's own networks usually have.
const POOL: &str = "192.168.128.0/17";

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `networks`
    pub networks: Networks,
}

/// `networks`: what networks are given, and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// `reserved`: addresses that no network may have.
    pub reserved: Vec<Reserved>,
    /// `pool`: where `subnet: auto` takes subnets from, each at least a /24.
    pub pool: Vec<Ipv4Net>,
}

impl Default for Networks {
    fn default() -> Self {
        Self {
            reserved: Vec::new(),
            pool: POOL.parse().into_iter().collect(),
        }
    }
}

/// A subnet that no network may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The subnet.
    pub net: IpNet,
    /// Where that is said: `FILE:LINE:COLUMN`, safe to print.
    pub at: String,
}

const TOP: &[Key] = &[Key::may(
    "networks",
    Shape::Map(NETWORKS),
    "what networks are given, and what not",
)];

const NETWORKS: &[Key] = &[
    Key::may(
        "pool",
        Shape::Several(&Shape::SUBNET4),
        "where `subnet: auto` takes subnets from, each at least a /24; by default 192.168.128.0/17",
    ),
    Key::may(
        "reserved",
        Shape::Several(&Shape::Any(&[Shape::SUBNET4, Shape::SUBNET6])),
        "subnets that no network may overlap, chosen or written",
    ),
];

/// The host's settings.
pub const DOCUMENT: Document = Document {
    name: "config",
    title: "the settings of a host",
    files: &["/etc/miniascape/config.yaml"],
    keys: TOP,
    old_keys: &[],
    example: include_str!("../data/examples/config.yaml"),
};

impl Config {
    /// The settings of the host that `layout` is about.
    pub fn read(layout: &Layout) -> Result<Self, Problems> {
        let path = layout.config();
        let name = path.on_disk().display().to_string();
        let (content, unreadable) = match files::read_at_most(path.on_disk(), MAX_FILE) {
            Ok(content) => (content, None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => (Vec::new(), Some(e)),
        };
        let text = String::from_utf8_lossy(&content);
        let mut report = Report::new(Source::new(&name, &text));
        if let Some(error) = unreadable {
            let start = Place {
                file: 0,
                line: 1,
                column: 1,
                length: 1,
            };
            report.error(Fault::new(start, format!("the file cannot be read: {error}")));
        }
        if let Some(chunk) = content.utf8_chunks().find(|chunk| !chunk.invalid().is_empty()) {
            report.not_utf8(chunk.valid());
            return report.finish(None).map(|(config, _)| config);
        }
        let config = match parse_any(&mut report) {
            Some(Some(root)) => read(&root, &name, &mut report),
            Some(None) => Some(Self::default()),
            None => None,
        };
        report.finish(config).map(|(config, _)| config)
    }
}

fn read(root: &Node<'_>, file: &str, report: &mut Report<'_>) -> Option<Config> {
    let top = Fields::read(root, "the configuration", TOP, report)?;
    let Some(node) = top.get("networks") else {
        return Some(Config::default());
    };
    let fields = Fields::read(node, "`networks`", NETWORKS, report)?;
    let mut networks = Networks::default();
    if let Some(node) = fields.get("reserved") {
        let nets = node.one_or_more().iter().filter_map(|item| {
            let net = subnet(item, report)?;
            let at = format!(
                "{}:{}:{}",
                printable(file, 4096),
                item.place.line,
                item.place.column
            );
            Some(Reserved { net, at })
        });
        networks.reserved = nets.collect();
    }
    if let Some(node) = fields.get("pool") {
        let nets = node
            .one_or_more()
            .iter()
            .filter_map(|item| match subnet(item, report)? {
                IpNet::V4(net) if net.prefix_len() <= 24 => Some(net),
                net => {
                    report.error(
                        Fault::new(
                            item.place,
                            format!("{net} has no room for an IPv4 subnet of 256 addresses"),
                        )
                        .help("`pool` takes IPv4 subnets with a prefix length up to 24"),
                    );
                    None
                }
            });
        networks.pool = nets.collect();
        if networks.pool.is_empty() && !report.failed() {
            report.error(Fault::new(node.place, "`pool` is empty").help("name a subnet, or remove the key"));
        }
    }
    Some(Config { networks })
}

fn subnet(node: &Node<'_>, report: &mut Report<'_>) -> Option<IpNet> {
    let text = node.text("a subnet", report)?.value;
    let Ok(net) = text.parse::<IpNet>() else {
        report.error(
            Fault::new(node.place, format!("`{}` is not a subnet", printable(text, 60)))
                .help("write its first address, a slash and the prefix length, as in 192.168.0.0/16"),
        );
        return None;
    };
    if net.trunc() != net {
        report.error(
            Fault::new(
                node.place,
                format!("{net} is an address in a subnet, not a subnet"),
            )
            .help(format!("write {}", net.trunc())),
        );
        return None;
    }
    Some(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Networks, String> {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        files::write(layout.config().on_disk(), text.as_bytes(), 0o644).unwrap();
        Config::read(&layout)
            .map(|config| config.networks)
            .map_err(|problems| problems.to_string().replace(dir.path().to_str().unwrap(), ""))
    }

    #[test]
    fn every_key_is_optional() {
        let dir = tempfile::tempdir().unwrap();
        let none = Config::read(&Layout::state_dir(dir.path())).unwrap().networks;
        assert_eq!(none.pool, ["192.168.128.0/17".parse().unwrap()]);
        for text in ["", "# nothing\n", "networks: {}\n"] {
            assert_eq!(config(text).unwrap(), none, "{text:?}");
        }
        let all = config("networks:\n  reserved: [ 10.0.0.0/8, fd00::/8 ]\n  pool: 172.20.0.0/16\n").unwrap();
        assert_eq!(all.pool, ["172.20.0.0/16".parse().unwrap()]);
        assert_eq!(all.reserved[1].net, "fd00::/8".parse().unwrap());
        assert!(
            all.reserved[1].at.ends_with("/etc/miniascape/config.yaml:2:27"),
            "{all:?}"
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        let text = "networks:\n  reserved: [ 10.0.0.1/8, x ]\n  pool: [ 10.1.1.0/25, fd00::/8 ]\n  pol: 1\nother: {}\n";
        insta::assert_snapshot!(config(text).unwrap_err(), @r"
        /etc/miniascape/config.yaml:2:15: 10.0.0.1/8 is an address in a subnet, not a subnet
            2 |   reserved: [ 10.0.0.1/8, x ]
              |               ^^^^^^^^^^
        help: write 10.0.0.0/8
        /etc/miniascape/config.yaml:2:27: `x` is not a subnet
            2 |   reserved: [ 10.0.0.1/8, x ]
              |                           ^
        help: write its first address, a slash and the prefix length, as in 192.168.0.0/16
        /etc/miniascape/config.yaml:3:11: 10.1.1.0/25 has no room for an IPv4 subnet of 256 addresses
            3 |   pool: [ 10.1.1.0/25, fd00::/8 ]
              |           ^^^^^^^^^^^
        help: `pool` takes IPv4 subnets with a prefix length up to 24
        /etc/miniascape/config.yaml:3:24: fd00::/8 has no room for an IPv4 subnet of 256 addresses
            3 |   pool: [ 10.1.1.0/25, fd00::/8 ]
              |                        ^^^^^^^^
        help: `pool` takes IPv4 subnets with a prefix length up to 24
        /etc/miniascape/config.yaml:4:3: unknown key `pol` in `networks`
            4 |   pol: 1
              |   ^^^
        help: did you mean `pool`?
        /etc/miniascape/config.yaml:5:1: unknown key `other` in the configuration
            5 | other: {}
              | ^^^^^
        help: known keys are `networks`
        ");
        insta::assert_snapshot!(config("networks:\n  pool: []\n").unwrap_err(), @r"
        /etc/miniascape/config.yaml:2:9: `pool` is empty
            2 |   pool: []
              |         ^
        help: name a subnet, or remove the key
        ");
        assert!(config("networks: [").is_err());
    }
}
