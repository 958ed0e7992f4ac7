//! What a user says about a first network: `net-1`, or `net-1=10.1.1.0/24,bridge=virbr7,domain=lab.example`.

use crate::name::{DnsName, InterfaceName, NetworkName, printable};
use ipnet::Ipv4Net;
use std::str::FromStr;

/// A network that comes with miniascape, and what is to be different about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Which one.
    pub name: NetworkName,
    /// Its subnet.
    pub subnet: Option<Ipv4Net>,
    /// Its bridge.
    pub bridge: Option<InterfaceName>,
    /// Its domain.
    pub domain: Option<DnsName>,
}

/// Why it cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl Spec {
    /// The network as it comes.
    pub const fn plain(name: NetworkName) -> Self {
        Self {
            name,
            subnet: None,
            bridge: None,
            domain: None,
        }
    }

    /// True if nothing is to be different.
    pub const fn is_plain(&self) -> bool {
        self.subnet.is_none() && self.bridge.is_none() && self.domain.is_none()
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |reason: String| SpecError(reason);
        let (name, rest) = text
            .split_once('=')
            .map_or((text, None), |(name, rest)| (name, Some(rest)));
        let name = name.parse().map_err(|e| wrong(format!("{e}")))?;
        let mut spec = Self::plain(name);
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let (key, value) = part.split_once('=').unwrap_or(("subnet", part));
            let twice = match key {
                "subnet" => spec.subnet.replace(subnet(value)?).is_some(),
                "bridge" => {
                    let bridge = value.parse().map_err(|e| wrong(format!("bridge: {e}")))?;
                    spec.bridge.replace(bridge).is_some()
                }
                "domain" => {
                    let domain = value.parse().map_err(|e| wrong(format!("domain: {e}")))?;
                    spec.domain.replace(domain).is_some()
                }
                other => {
                    let other = printable(other, 40);
                    return Err(wrong(format!(
                        "there is no `{other}` to be set: subnet, bridge and domain are"
                    )));
                }
            };
            if twice {
                return Err(wrong(format!("`{key}` is there twice")));
            }
        }
        Ok(spec)
    }
}

fn subnet(value: &str) -> Result<Ipv4Net, SpecError> {
    let shown = printable(value, 60);
    let net: Ipv4Net = value.parse().map_err(|_| {
        SpecError(format!(
            "`{shown}` is no IPv4 subnet: write its first address, a slash and the prefix length, as in 10.1.1.0/24"
        ))
    })?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(SpecError(format!(
            "{net} is an address in a subnet, not a subnet: write {}",
            net.trunc()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_mistakes_named() {
        let spec: Spec = "net-1=10.1.1.0/24,bridge=virbr7,domain=lab.example"
            .parse()
            .unwrap();
        assert_eq!(
            (
                spec.subnet.unwrap().to_string(),
                spec.bridge.unwrap().to_string(),
                spec.domain.unwrap().to_string()
            ),
            ("10.1.1.0/24".into(), "virbr7".into(), "lab.example".into())
        );
        assert!("net-1".parse::<Spec>().unwrap().is_plain());
        assert_eq!(
            "net-2=bridge=br2"
                .parse::<Spec>()
                .unwrap()
                .bridge
                .unwrap()
                .as_str(),
            "br2"
        );
        for (text, told) in [
            ("", "name"),
            ("net-1=", "no IPv4 subnet"),
            ("net-1=10.1.1.5/24", "write 10.1.1.0/24"),
            ("net-1=10.1.1.0/24,subnet=10.2.2.0/24", "twice"),
            ("net-1=bridge=much-too-long-for-linux", "bridge: "),
            ("net-1=domain=a_b!", "domain: "),
            ("net-1=color=red", "no `color`"),
            ("net-1=\u{1b}[1m", "no IPv4 subnet"),
        ] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(
                error.contains(told) && !error.contains('\u{1b}'),
                "{text:?}: {error}"
            );
        }
    }
}
