//! Rules on dnsmasq's own options that are passed on: none twice, and none that lets the network's names out.

use super::Surroundings;
use crate::name::DnsName;
use crate::network::model::DnsmasqOption;
use crate::yaml::{At, Fault, Place, Report};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashMap;

pub(super) fn check(
    options: &[At<DnsmasqOption>],
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Vec<DnsmasqOption> {
    let mut seen: HashMap<String, Place> = HashMap::new();
    for At { value, place } in options {
        let key = if value.is_repeatable() {
            value.to_string()
        } else {
            value.name().to_owned()
        };
        if let Some(first) = seen.insert(key, *place) {
            report.error(
                Fault::new(
                    *place,
                    format!("dnsmasq's option `{}` is given twice", value.name()),
                )
                .help("remove one of the two")
                .also(first, "first given here"),
            );
        }
        let Some((domain, server)) = value.forwarded() else {
            continue;
        };
        if is_of_network(domain, around) {
            report.error(
                Fault::new(
                    *place,
                    format!("questions about `{domain}` are answered in the network and never sent on"),
                )
                .help("remove the option, or give another domain"),
            );
        }
        if let Some(server) = server
            && around.gateways.contains(&server.address)
            && server.port == 53
        {
            report.error(
                Fault::new(
                    *place,
                    format!(
                        "{} is this network's own name server: it would ask itself",
                        server.address
                    ),
                )
                .help("give another name server"),
            );
        }
    }
    options.iter().map(|option| option.value.clone()).collect()
}

/// True if `domain` is in the network's domain or in the reverse zone of one of its subnets.
fn is_of_network(domain: &DnsName, around: &Surroundings<'_>) -> bool {
    let within = |zone: &str| {
        let rest = domain.as_str().strip_suffix(zone);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let named = around.domain.is_some_and(|zone| within(zone.as_str()));
    let reverse = reverse_net(domain);
    named || reverse.is_some_and(|net| around.subnets.iter().any(|subnet| subnet.contains(&net)))
}

/// The addresses whose names are in the reverse zone `domain`.
fn reverse_net(domain: &DnsName) -> Option<IpNet> {
    let text = domain.as_str();
    if let Some(labels) = text.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let parts: Vec<&str> = labels.split('.').collect();
        for (octet, part) in octets.iter_mut().zip(parts.iter().rev()) {
            *octet = part.parse().ok()?;
        }
        let length = u8::try_from(8 * parts.len()).ok()?;
        return Ipv4Net::new(octets.into(), length).ok().map(IpNet::V4);
    }
    let labels = text.strip_suffix(".ip6.arpa")?;
    let parts: Vec<&str> = labels.split('.').collect();
    let mut bits: u128 = 0;
    for (place, part) in parts.iter().rev().enumerate() {
        let nibble = u128::from(u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 1)?);
        bits |= nibble.checked_shl(u32::try_from(124_usize.checked_sub(4 * place)?).ok()?)?;
    }
    let length = u8::try_from(4 * parts.len()).ok()?;
    Ipv6Net::new(bits.into(), length).ok().map(IpNet::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_zones() {
        let net = |text: &str| reverse_net(&text.parse().unwrap()).map(|net| net.to_string());
        assert_eq!(net("151.168.192.in-addr.arpa").unwrap(), "192.168.151.0/24");
        assert_eq!(net("9.151.168.192.in-addr.arpa").unwrap(), "192.168.151.9/32");
        assert_eq!(net("1.5.1.0.0.0.d.f.ip6.arpa").unwrap(), "fd00:151::/32");
        for bad in [
            "1.2.3.4.5.in-addr.arpa",
            "x.in-addr.arpa",
            "10.ip6.arpa",
            "example.org",
            "in-addr.arpa",
        ] {
            assert_eq!(net(bad), None, "{bad}");
        }
    }
}
