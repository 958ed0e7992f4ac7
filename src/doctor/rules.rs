//! iptables' rules, as far as they say what a table lets through between a bridge and the rest. Rules with conditions that
//! are not known here let nothing through for certain.

use ipnet::IpNet;
use std::collections::BTreeSet;

/// A table's rules, from `iptables -S`.
pub(super) struct Table<'r> {
    rules: Vec<(&'r str, Vec<&'r str>)>,
    policies: Vec<(&'r str, &'r str)>,
}

/// The way of packets through a bridge's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the bridge to elsewhere.
    Out,
    /// From elsewhere to the bridge: answers.
    In,
    /// From one of its ports to another.
    Within,
}

impl<'r> Table<'r> {
    pub(super) fn parse(text: &'r str) -> Self {
        let mut table = Self {
            rules: Vec::new(),
            policies: Vec::new(),
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("-P"), Some(chain)) => table.policies.push((chain, words.next().unwrap_or("ACCEPT"))),
                (Some("-A"), Some(chain)) => table.rules.push((chain, words.collect())),
                _ => {}
            }
        }
        table
    }

    /// True if there is a chain of that name.
    pub(super) fn has_chain(&self, name: &str) -> bool {
        self.rules
            .iter()
            .any(|(chain, rule)| *chain == name || rule.windows(2).any(|pair| pair == ["-j", name]))
    }

    /// The chains that a packet at `hook` can come to.
    fn reachable(&self, hook: &'r str) -> BTreeSet<&'r str> {
        let mut chains = BTreeSet::from([hook]);
        loop {
            let before = chains.len();
            let jumps = self.rules.iter().filter(|(chain, _)| chains.contains(chain));
            let targets: Vec<&str> = jumps.filter_map(|(_, rule)| target(rule)).collect();
            chains.extend(targets);
            if chains.len() == before {
                return chains;
            }
        }
    }

    /// True if what no rule accepts is dropped or refused at `hook`.
    pub(super) fn closes(&self, hook: &str) -> bool {
        let policy = self
            .policies
            .iter()
            .any(|(chain, policy)| *chain == hook && *policy != "ACCEPT");
        let mut rules = self.rules.iter().filter(|(chain, _)| *chain == hook);
        policy
            || rules.any(|(_, rule)| {
                rule.first() == Some(&"-j") && matches!(rule.get(1), Some(&("DROP" | "REJECT")))
            })
    }

    /// True if a rule names the bridge anywhere that packets come to.
    pub(super) fn names(&self, bridge: &str) -> bool {
        let chains: BTreeSet<&str> = ["INPUT", "FORWARD", "OUTPUT"]
            .into_iter()
            .flat_map(|hook| self.reachable(hook))
            .collect();
        let mut rules = self.rules.iter().filter(|(chain, _)| chains.contains(chain));
        rules.any(|(_, rule)| {
            rule.windows(2)
                .any(|pair| matches!(pair[0], "-i" | "-o") && pair[1] == bridge)
        })
    }

    /// True if a rule lets packets of a bridge with that subnet pass that way.
    pub(super) fn passes(&self, way: Way, bridge: &str, subnet: Option<IpNet>) -> bool {
        let chains = self.reachable("FORWARD");
        let mut rules = self.rules.iter().filter(|(chain, _)| chains.contains(chain));
        rules.any(|(_, rule)| accepts(rule, way, bridge, subnet))
    }

    /// True if a rule lets guests on the bridge ask this host for something by UDP.
    pub(super) fn is_asked(&self, bridge: &str) -> bool {
        let chains = self.reachable("INPUT");
        let mut rules = self.rules.iter().filter(|(chain, _)| chains.contains(chain));
        rules.any(|(_, rule)| {
            let of_bridge = rule
                .windows(2)
                .any(|pair| pair[0] == "-i" && is_bridge(pair[1], bridge));
            let all = rule == &["-j", "ACCEPT"];
            let tcp = rule.windows(2).any(|pair| pair == ["-p", "tcp"]);
            all || of_bridge && !tcp && target(rule) == Some("ACCEPT")
        })
    }
}

fn target<'r>(rule: &[&'r str]) -> Option<&'r str> {
    rule.windows(2)
        .find(|pair| matches!(pair[0], "-j" | "-g"))
        .map(|pair| pair[1])
}

/// An interface as a rule has it: `virbr+` stands for all that begin so.
fn is_bridge(pattern: &str, bridge: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(begin) => bridge.starts_with(begin),
        None => pattern == bridge,
    }
}

fn accepts(rule: &[&str], way: Way, bridge: &str, subnet: Option<IpNet>) -> bool {
    let (mut from, mut to) = (None, None);
    let (mut accepted, mut within) = (false, false);
    let mut words = rule.iter();
    while let Some(option) = words.next() {
        match *option {
            "--physdev-is-bridged" => {
                within = true;
                continue;
            }
            "-m" | "-i" | "-o" | "-s" | "-d" | "-j" | "--ctstate" | "--state" | "--comment" => {}
            // A condition that may or may not hold.
            _ => return false,
        }
        let Some(value) = words.next() else { return false };
        let named = is_bridge(value, bridge);
        let in_subnet = || {
            let net: Option<IpNet> = value.parse().ok();
            subnet.is_some_and(|subnet| net.is_some_and(|net| net.contains(&subnet)))
        };
        match *option {
            "-i" => from = Some(from.unwrap_or(true) && named),
            "-o" => to = Some(to.unwrap_or(true) && named),
            "-s" => from = Some(from.unwrap_or(true) && in_subnet()),
            "-d" => to = Some(to.unwrap_or(true) && in_subnet()),
            "-j" if *value == "ACCEPT" => accepted = true,
            "-j" => return false,
            "--ctstate" | "--state" => {
                let wanted = if way == Way::In { "ESTABLISHED" } else { "NEW" };
                if !value.split(',').any(|state| state == wanted) {
                    return false;
                }
            }
            "--comment" if value.starts_with('"') && !(value.len() > 1 && value.ends_with('"')) => {
                // To the end of the quotes.
                while words.next().is_some_and(|word| !word.ends_with('"')) {}
            }
            _ => {}
        }
    }
    accepted
        && match way {
            Way::Out => from != Some(false) && to.is_none() && !within,
            Way::In => to != Some(false) && from.is_none() && !within,
            Way::Within => within || from != Some(false) && to != Some(false),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBVIRT: &str = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N LIBVIRT_FWI\n-N LIBVIRT_FWO\n\
        -A FORWARD -j LIBVIRT_FWX\n-A FORWARD -j LIBVIRT_FWI\n-A FORWARD -j LIBVIRT_FWO\n\
        -A LIBVIRT_FWI -d 192.168.151.0/24 -o virbr1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A LIBVIRT_FWI -o virbr1 -j REJECT --reject-with icmp-port-unreachable\n\
        -A LIBVIRT_FWO -s 192.168.151.0/24 -i virbr1 -j ACCEPT\n\
        -A LIBVIRT_FWO -i virbr1 -j REJECT --reject-with icmp-port-unreachable\n\
        -A LIBVIRT_FWX -i virbr1 -o virbr1 -j ACCEPT\n";

    #[test]
    fn what_passes_a_bridge_is_seen() {
        let net = Some("192.168.151.0/24".parse().unwrap());
        let pass = |text: &str, way| Table::parse(text).passes(way, "virbr1", net);
        let table = Table::parse(LIBVIRT);
        assert!(table.closes("FORWARD") && !table.closes("INPUT") && table.names("virbr1"));
        for way in [Way::Out, Way::In, Way::Within] {
            assert!(pass(LIBVIRT, way), "{way:?}");
            assert!(!Table::parse(LIBVIRT).passes(way, "virbr10", None), "{way:?}");
        }
        let unhooked = LIBVIRT.replace("-A FORWARD -j LIBVIRT", "-A ELSEWHERE -j LIBVIRT");
        assert!(!Table::parse(&unhooked).names("virbr1") && !pass(&unhooked, Way::Out));
        for (rule, out, back, within) in [
            ("-j ACCEPT", true, true, true),
            ("-i virbr+ -j ACCEPT", true, false, true),
            ("-o virbr1 -j ACCEPT", false, true, true),
            (
                "-i virbr1 -m comment --comment \"let them out\" -j ACCEPT",
                true,
                false,
                true,
            ),
            ("-i virbr1 -o virbr1 -j ACCEPT", false, false, true),
            ("-s 192.168.0.0/16 -j ACCEPT", true, false, true),
            ("-s 10.0.0.0/8 -j ACCEPT", false, false, false),
            (
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                false,
                true,
                false,
            ),
            (
                "-i virbr1 -p tcp -m tcp --dport 80 -j ACCEPT",
                false,
                false,
                false,
            ),
            ("-m physdev --physdev-is-bridged -j ACCEPT", false, false, true),
            ("-i virbr1 -j DROP", false, false, false),
        ] {
            let text = format!("-P FORWARD DROP\n-A FORWARD {rule}\n");
            assert_eq!(
                (
                    pass(&text, Way::Out),
                    pass(&text, Way::In),
                    pass(&text, Way::Within)
                ),
                (out, back, within),
                "{rule}"
            );
        }
        assert!(Table::parse("-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with x\n").closes("FORWARD"));
        assert!(!Table::parse("-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n").closes("FORWARD"));
    }

    #[test]
    fn who_may_ask_the_host_is_seen() {
        let asked = |rule: &str| Table::parse(&format!("-P INPUT DROP\n-A INPUT {rule}")).is_asked("virbr1");
        assert!(asked("-i virbr1 -p udp -m udp --dport 67 -j ACCEPT") && asked("-j ACCEPT"));
        assert!(!asked("-i virbr1 -p tcp -m tcp --dport 53 -j ACCEPT") && !asked("-i eth0 -j ACCEPT"));
    }
}
