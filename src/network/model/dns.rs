//! What a network's dnsmasq answers as a name server.

use super::Origin;
use crate::name::{PlainText, RecordName, printable};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The name of the host itself in a network's domain, unless something else is called so.
pub(in crate::network) const GATEWAY: &str = "gateway";

/// The name server of a network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dns {
    /// True if the network's dnsmasq answers DNS.
    pub serve: bool,
    /// True if names outside the domain are looked up elsewhere.
    pub forward: bool,
    /// Where they are looked up, in this order; empty: with the host's name servers.
    pub forwarders: Vec<Forwarder>,
    /// What is answered beside the names of hosts, in the order of the definition.
    pub records: Vec<Record>,
}

/// A record, or several of one kind and name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// What is answered.
    #[serde(flatten)]
    pub data: RecordData,
    /// Where the entry stands; nothing that is compiled depends on it.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a record says. All names are full ones.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RecordData {
    /// Addresses of a name (A and AAAA).
    Address {
        /// The name.
        name: RecordName,
        /// Its addresses, at least one.
        addresses: Vec<IpAddr>,
    },
    /// Addresses of a name and of every name below it that has none of its own.
    Wildcard {
        /// The name.
        name: RecordName,
        /// The addresses, at least one.
        addresses: Vec<IpAddr>,
    },
    /// Another name for a name.
    Cname {
        /// The other name.
        name: RecordName,
        /// The name that it stands for.
        target: RecordName,
    },
    /// Where a service is (RFC 2782).
    Srv {
        /// The service, the protocol and the domain, as in `_ldap._tcp.lab.internal`.
        name: RecordName,
        /// Host and port, port not 0; `None`: the service is not available in this domain.
        target: Option<(RecordName, u16)>,
        /// Lower is tried first.
        priority: u16,
        /// The share among those of the same priority.
        weight: u16,
    },
    /// Text.
    Txt {
        /// The name.
        name: RecordName,
        /// One record of these strings, at least one.
        text: Vec<PlainText>,
    },
    /// The name of an address.
    Ptr {
        /// The address.
        address: IpAddr,
        /// Its name.
        name: RecordName,
    },
}

impl RecordData {
    /// The name that is answered for; for an address its name in the reverse zone.
    pub fn owner(&self) -> String {
        match self {
            Self::Address { name, .. }
            | Self::Wildcard { name, .. }
            | Self::Cname { name, .. }
            | Self::Srv { name, .. }
            | Self::Txt { name, .. } => name.to_string(),
            Self::Ptr { address, .. } => reverse_name(*address),
        }
    }
}

/// The name under which an address is looked up (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(in crate::network) fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6
                .octets()
                .into_iter()
                .rev()
                .flat_map(|octet| [octet & 15, octet >> 4]);
            let mut name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            name.push_str("ip6.arpa");
            name
        }
    }
}

/// A name server that questions are passed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Forwarder {
    /// Its address.
    pub address: IpAddr,
    /// Its port, not 0.
    pub port: u16,
}

/// The text is not a forwarder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name server: write its address, or address#port, as in 192.0.2.53#5353")]
pub struct ForwarderError(String);

impl FromStr for Forwarder {
    type Err = ForwarderError;

    fn from_str(text: &str) -> Result<Self, ForwarderError> {
        let bad = || ForwarderError(printable(text, 60));
        let (address, port) = match text.split_once('#') {
            Some((address, port)) => (address, super::number(port).ok_or_else(bad)?),
            None => (text, 53),
        };
        let address = address.parse().map_err(|_| bad())?;
        if port == 0 {
            return Err(bad());
        }
        Ok(Self { address, port })
    }
}

impl fmt::Display for Forwarder {
    /// The form that dnsmasq reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            53 => write!(f, "{}", self.address),
            port => write!(f, "{}#{port}", self.address),
        }
    }
}

impl serde::Serialize for Forwarder {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarders() {
        let shown = |text: &str| text.parse::<Forwarder>().unwrap().to_string();
        assert_eq!(
            ["192.0.2.1", "192.0.2.1#53", "::1#5353"].map(shown),
            ["192.0.2.1", "192.0.2.1", "::1#5353"]
        );
        for bad in [
            "",
            "a",
            "192.0.2.1:53",
            "192.0.2.1#0",
            "192.0.2.1#",
            "192.0.2.1#+5",
            "192.0.2.1#65536",
            "fe80::1%eth0",
        ] {
            assert!(bad.parse::<Forwarder>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reverse_names() {
        assert_eq!(reverse_name([192, 0, 2, 9].into()), "9.2.0.192.in-addr.arpa");
        let v6 = reverse_name("fd00::1a".parse().unwrap());
        assert!(
            v6.starts_with("a.1.0.0.") && v6.ends_with(".0.0.d.f.ip6.arpa"),
            "{v6}"
        );
        assert_eq!(v6.len(), 72);
    }
}
