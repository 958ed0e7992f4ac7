//! Options of dnsmasq's own that a definition may pass on: an allow list, with a rule for each value.
//!
//! Every value is taken apart, typed, and written anew, so nothing reaches dnsmasq's configuration as it stood.
//! Options that miniascape sets itself, that name files, run programs or listen elsewhere are not on the list.

use super::{Forwarder, number};
use crate::name::{DnsName, PlainText, Tag, printable};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An option on the allow list with a checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsmasqOption {
    name: &'static str,
    value: Option<Value>,
}

/// A value, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(u32),
    Word(&'static str),
    /// An address, or a subnet.
    Addresses(IpAddr, Option<u8>),
    Domain(DnsName),
    /// Questions about a domain go to a name server, or with `None` to the usual ones.
    Server(DnsName, Option<Forwarder>),
    Mail(DnsName, DnsName, u16),
    /// A tag for clients whose MAC address begins with these octets; `None` stands for any.
    Macs(Tag, [Option<u8>; 6]),
    /// A tag for clients that send this text.
    Class(Tag, PlainText),
}

/// The text is not an option that can be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsmasqOptionError {
    /// It is not on the list.
    #[error("`{0}` is not one of the dnsmasq options that can be passed on: {all}", all = names())]
    NotAllowed(String),
    /// Its value is not what it takes.
    #[error("`{text}` is not a value for dnsmasq's `{name}`: write `{form}`")]
    Value {
        /// The option.
        name: &'static str,
        /// The value as it stood.
        text: String,
        /// How it is written.
        form: String,
    },
}

/// What values an option takes.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Flag,
    Number(u32, u32),
    /// No value, or this one.
    FlagOr(&'static str),
    Addresses,
    Domain,
    Server,
    Mail,
    Macs,
    Class,
}

use Rule::{Addresses, Class, Domain, Flag, FlagOr, Macs, Mail, Number, Server};

const ALLOWED: &[(&str, Rule)] = &[
    ("all-servers", Flag),
    ("bogus-nxdomain", Addresses),
    ("bogus-priv", Flag),
    ("cache-size", Number(0, 10_000)),
    ("dhcp-broadcast", Flag),
    ("dhcp-mac", Macs),
    ("dhcp-no-override", Flag),
    ("dhcp-rapid-commit", Flag),
    ("dhcp-sequential-ip", Flag),
    ("dhcp-userclass", Class),
    ("dhcp-vendorclass", Class),
    ("dns-forward-max", Number(1, 10_000)),
    ("edns-packet-max", Number(512, 4096)),
    ("filterwin2k", Flag),
    ("ignore-address", Addresses),
    ("local-ttl", Number(0, 86_400)),
    ("log-dhcp", Flag),
    ("log-queries", FlagOr("extra")),
    ("max-cache-ttl", Number(0, 604_800)),
    ("max-ttl", Number(0, 604_800)),
    ("min-cache-ttl", Number(0, 3600)),
    ("mx-host", Mail),
    ("neg-ttl", Number(0, 604_800)),
    ("no-negcache", Flag),
    ("no-ping", Flag),
    ("no-round-robin", Flag),
    ("quiet-dhcp", Flag),
    ("rebind-domain-ok", Domain),
    ("rebind-localhost-ok", Flag),
    ("server", Server),
    ("stop-dns-rebind", Flag),
];

fn names() -> String {
    ALLOWED
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Rule {
    /// How such an option is written.
    fn form(self, name: &str) -> String {
        match self {
            Self::Flag => name.to_owned(),
            Number(min, max) => format!("{name}=N, N from {min} to {max}"),
            FlagOr(word) => format!("{name}` or `{name}={word}"),
            Addresses => format!("{name}=ADDRESS or ADDRESS/PREFIX"),
            Domain => format!("{name}=/DOMAIN/"),
            Server => format!("{name}=/DOMAIN/ADDRESS, ADDRESS#PORT, or # for the usual name servers"),
            Mail => format!("{name}=DOMAIN,HOST,PREFERENCE"),
            Macs => format!("{name}=set:TAG,52:54:00:*:*:*"),
            Class => format!("{name}=set:TAG,TEXT"),
        }
    }

    /// The value that `text` stands for, if it takes one; `None` if it is none.
    #[expect(clippy::option_option, reason = "no value and a wrong one are different")]
    fn read(self, text: Option<&str>) -> Option<Option<Value>> {
        let Some(text) = text else {
            return matches!(self, Self::Flag | Self::FlagOr(_)).then_some(None);
        };
        let value = match self {
            Self::Flag => None,
            FlagOr(word) => (text == word).then_some(Value::Word(word)),
            Number(min, max) => number(text)
                .filter(|n| (min..=max).contains(n))
                .map(Value::Number),
            Addresses => read_addresses(text),
            Domain => read_domain(text.strip_prefix('/')?.strip_suffix('/')?).map(Value::Domain),
            Server => {
                let (domain, server) = text.strip_prefix('/')?.split_once('/')?;
                let server = if server == "#" {
                    None
                } else {
                    Some(server.parse().ok()?)
                };
                read_domain(domain).map(|domain| Value::Server(domain, server))
            }
            Mail => {
                let mut parts = text.split(',');
                let mut next = || parts.next();
                let value = Value::Mail(next()?.parse().ok()?, next()?.parse().ok()?, number(next()?)?);
                next().is_none().then_some(value)
            }
            Macs => {
                let (tag, pattern) = read_set(text)?;
                Some(Value::Macs(tag, read_macs(pattern)?))
            }
            Class => {
                let (tag, class) = read_set(text)?;
                Some(Value::Class(tag, class.parse().ok()?))
            }
        };
        value.map(Some)
    }
}

fn read_domain(text: &str) -> Option<DnsName> {
    text.parse().ok()
}

fn read_addresses(text: &str) -> Option<Value> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(number(length)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    length
        .is_none_or(|length| length <= longest)
        .then_some(Value::Addresses(address, length))
}

/// `set:TAG,REST`
fn read_set(text: &str) -> Option<(Tag, &str)> {
    let (tag, rest) = text.strip_prefix("set:")?.split_once(',')?;
    Some((tag.parse().ok().filter(Tag::is_free)?, rest))
}

fn read_macs(text: &str) -> Option<[Option<u8>; 6]> {
    let octet = |part: &str| match part {
        "*" => Some(None),
        _ if part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u8::from_str_radix(part, 16).ok().map(Some)
        }
        _ => None,
    };
    let octets: Option<Vec<_>> = text.split(':').map(octet).collect();
    octets?.try_into().ok()
}

impl DnsmasqOption {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// True if it may be given several times.
    pub const fn is_repeatable(&self) -> bool {
        !matches!(&self.value, None | Some(Value::Number(_) | Value::Word(_)))
    }

    /// The line of dnsmasq's configuration.
    pub fn line(&self) -> String {
        match &self.value {
            Some(Value::Class(tag, class)) => format!("{}=set:{tag},{}", self.name, class.quoted()),
            _ => self.to_string(),
        }
    }

    /// The tag that it puts on clients.
    pub const fn tag(&self) -> Option<&Tag> {
        match &self.value {
            Some(Value::Macs(tag, _) | Value::Class(tag, _)) => Some(tag),
            _ => None,
        }
    }

    /// The domain that it has looked up elsewhere, and where, if not with the usual name servers.
    pub const fn forwarded(&self) -> Option<(&DnsName, Option<Forwarder>)> {
        match &self.value {
            Some(Value::Server(domain, server)) => Some((domain, *server)),
            _ => None,
        }
    }
}

impl FromStr for DnsmasqOption {
    type Err = DnsmasqOptionError;

    fn from_str(text: &str) -> Result<Self, DnsmasqOptionError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim_end_matches(' '), Some(value.trim_start_matches(' '))),
            None => (text, None),
        };
        let Some((name, rule)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
            return Err(DnsmasqOptionError::NotAllowed(printable(name, 40)));
        };
        match rule.read(value) {
            Some(value) => Ok(Self { name, value }),
            None => Err(DnsmasqOptionError::Value {
                name,
                text: printable(value.unwrap_or_default(), 60),
                form: rule.form(name),
            }),
        }
    }
}

impl fmt::Display for DnsmasqOption {
    /// The form that it has in a definition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.value {
            None => f.write_str(name),
            Some(Value::Number(number)) => write!(f, "{name}={number}"),
            Some(Value::Word(word)) => write!(f, "{name}={word}"),
            Some(Value::Addresses(address, None)) => write!(f, "{name}={address}"),
            Some(Value::Addresses(address, Some(length))) => write!(f, "{name}={address}/{length}"),
            Some(Value::Domain(domain)) => write!(f, "{name}=/{domain}/"),
            Some(Value::Server(domain, None)) => write!(f, "{name}=/{domain}/#"),
            Some(Value::Server(domain, Some(server))) => write!(f, "{name}=/{domain}/{server}"),
            Some(Value::Mail(domain, host, preference)) => write!(f, "{name}={domain},{host},{preference}"),
            Some(Value::Macs(tag, octets)) => {
                let groups =
                    octets.map(|octet| octet.map_or_else(|| "*".to_owned(), |octet| format!("{octet:02x}")));
                write!(f, "{name}=set:{tag},{}", groups.join(":"))
            }
            Some(Value::Class(tag, class)) => write!(f, "{name}=set:{tag},{class}"),
        }
    }
}

impl serde::Serialize for DnsmasqOption {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Program;
    use std::fmt::Write;

    /// An option of every rule's kind.
    fn example(name: &str, rule: Rule) -> String {
        match rule {
            Flag => name.to_owned(),
            FlagOr(word) => format!("{name}={word}"),
            Number(_, max) => format!("{name}={max}"),
            Addresses => format!("{name}=198.51.100.0/24"),
            Domain => format!("{name}=/corp.example/"),
            Server => format!("{name}=/corp.example/192.0.2.1#5353"),
            Mail => format!("{name}=lab.internal,mail.lab.internal,10"),
            Macs => format!("{name}=set:red,52:54:00:*:*:*"),
            Class => format!("{name}=set:red,a, \"b\" \\ #"),
        }
    }

    #[test]
    fn dnsmasq_takes_every_option_on_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("conf");
        let mut text = String::new();
        for (name, rule) in ALLOWED {
            let option: DnsmasqOption = example(name, *rule).parse().unwrap();
            writeln!(text, "{}", option.line()).unwrap();
        }
        fs_err::write(&conf, text).unwrap();
        let dnsmasq = Program::find("dnsmasq", "dnsmasq-base").unwrap();
        dnsmasq.run().arg("--test").arg("-C").arg(&conf).output().unwrap();
        assert!(ALLOWED.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn values_are_checked_and_written_anew() {
        let shown = |text: &str| text.parse::<DnsmasqOption>().unwrap().to_string();
        assert_eq!(shown("cache-size = 0500"), "cache-size=500");
        assert_eq!(
            shown("server=/Corp.Example/192.0.2.1#53"),
            "server=/corp.example/192.0.2.1"
        );
        assert_eq!(shown("server=/com/#"), "server=/com/#");
        assert_eq!(
            shown("dhcp-mac=set:red,52:54:0A:*:*:*"),
            "dhcp-mac=set:red,52:54:0a:*:*:*"
        );
        for bad in [
            "",
            "conf-file=/etc/passwd",
            "dhcp-script=/bin/sh",
            "interface=eth0",
            "cache-size",
            "cache-size=",
            "cache-size=10001",
            "cache-size=+5",
            "cache-size=5\nconf-file=/x",
            "log-dhcp=1",
            "log-queries=more",
            "server=192.0.2.1",
            "server=/a/192.0.2.1@eth0",
            "server=//192.0.2.1",
            "mx-host=a,b,1,2",
            "dhcp-mac=set:ms-x,52:54:00:*:*:*",
            "dhcp-mac=set:red,52:54:00",
            "dhcp-vendorclass=set:red,a\nb",
            "bogus-nxdomain=1.2.3.4/33",
            "rebind-domain-ok=/a/b/",
        ] {
            assert!(bad.parse::<DnsmasqOption>().is_err(), "{bad:?}");
        }
    }
}
