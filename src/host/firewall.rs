//! The openings in this host's firewall for boot files: libvirt lets guests ask its bridges for names and addresses
//! (UDP 53 and 67), not for files (UDP 69).
//!
//! They stand where libvirt's own rules stand, in iptables' table `filter`, because only there does an `ACCEPT` go before
//! what the rest of that table drops: in a chain of ours, each rule with the network's name as its comment. The chain
//! comes with the first opening and goes with the last. What others' rules let through is read next door, in `packet_filter`.

use super::command::{CommandError, Program};
use super::{Layout, files};
use crate::name::{InterfaceName, NetworkName};
use std::io;

/// The chain of ours in iptables' table `filter`, asked from `INPUT`.
pub const CHAIN: &str = "MINIASCAPE_INP";
/// What the comment of each rule begins with; the network's name follows.
const MARK: &str = "miniascape:";

/// What an opening lets in: the request, and what answers the transfer, for which either side takes another port
/// (RFC 1350, section 4).
const RULES: [&[&str]; 2] = [
    &["-p", "udp", "-m", "udp", "--dport", "69"],
    &["-p", "udp", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"],
];

/// Why the firewall could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// iptables failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The lock that keeps runs apart cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The opening of a network as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There is nothing of it.
    Closed,
    /// It is for that bridge, whole.
    Open,
    /// It is for another bridge, or a part only.
    Stale,
}

/// True if openings can be made: iptables is there, and we may use it.
pub fn is_usable() -> bool {
    rustix::process::geteuid().is_root() && iptables().is_ok()
}

fn iptables() -> Result<Program, CommandError> {
    Program::find("iptables", "iptables")
}

fn run(arguments: &[&str]) -> Result<String, CommandError> {
    let finished = iptables()?.run().arg("--wait").args(arguments).output()?;
    Ok(finished.text())
}

/// How the opening of `network` on `bridge` is; always closed where there is no iptables.
pub fn opening(network: &NetworkName, bridge: Option<&InterfaceName>) -> Result<Opening, CommandError> {
    if !is_usable() {
        return Ok(Opening::Closed);
    }
    let rules = run(&["--list-rules"])?;
    let own = own_rules(&rules, network);
    Ok(match bridge {
        // A run that was killed may have left the chain without a rule.
        _ if own.is_empty() && (!has_chain(&rules) || has_rules(&rules)) => Opening::Closed,
        Some(bridge) if has_jump(&rules) && is_whole(&own, bridge) => Opening::Open,
        _ => Opening::Stale,
    })
}

fn has_chain(rules: &str) -> bool {
    rules.lines().any(|line| line.strip_prefix("-N ") == Some(CHAIN))
}

/// True if the chain has a rule, whosever it is.
fn has_rules(rules: &str) -> bool {
    let begin = format!("-A {CHAIN} ");
    rules.lines().any(|line| line.starts_with(&begin))
}

/// The rules of the network, as words behind `-A CHAIN`.
fn own_rules<'r>(rules: &'r str, network: &NetworkName) -> Vec<Vec<&'r str>> {
    let mark = format!("{MARK}{network}");
    rules
        .lines()
        .filter_map(|line| line.strip_prefix("-A ")?.strip_prefix(CHAIN)?.strip_prefix(' '))
        .map(|rule| rule.split_whitespace().collect::<Vec<_>>())
        .filter(|rule| rule.iter().any(|word| word.trim_matches('"') == mark))
        .collect()
}

fn is_whole(own: &[Vec<&str>], bridge: &InterfaceName) -> bool {
    let has = |rule: &[&str], words: [&str; 2]| rule.windows(2).any(|pair| pair == words);
    let of_bridge = |rule: &Vec<&str>| has(rule, ["-i", bridge.as_str()]);
    own.len() == RULES.len()
        && own.iter().all(of_bridge)
        && own.iter().any(|rule| has(rule, ["--dport", "69"]))
        && own.iter().any(|rule| rule.contains(&"--ctstate"))
}

fn has_jump(rules: &str) -> bool {
    let jump = format!("-j {CHAIN}");
    rules
        .lines()
        .any(|line| line.starts_with("-A INPUT ") && line.ends_with(&jump))
}

/// Lets machines on `bridge` load files from this host by TFTP, for `network`. What else was open for it is closed.
pub fn open(layout: &Layout, network: &NetworkName, bridge: &InterfaceName) -> Result<(), FirewallError> {
    let _lock = files::Lock::acquire(layout.firewall_lock().on_disk())?;
    if opening(network, Some(bridge))? == Opening::Open {
        return Ok(());
    }
    let rules = run(&["--list-rules"])?;
    if !has_chain(&rules) {
        run(&["--new-chain", CHAIN])?;
    }
    delete(&own_rules(&rules, network))?;
    let mark = format!("{MARK}{network}");
    for rule in RULES {
        let mut arguments = vec!["--append", CHAIN, "-i", bridge.as_str()];
        arguments.extend(rule);
        arguments.extend(["-m", "comment", "--comment", &mark, "-j", "ACCEPT"]);
        run(&arguments)?;
    }
    if !has_jump(&rules) {
        run(&["--insert", "INPUT", "-j", CHAIN])?;
    }
    tracing::info!(%network, %bridge, "the firewall lets boot files be asked for");
    Ok(())
}

/// Closes what is open for `network`, and removes the chain with its last rule.
pub fn close(layout: &Layout, network: &NetworkName) -> Result<(), FirewallError> {
    if !is_usable() {
        return Ok(());
    }
    let _lock = files::Lock::acquire(layout.firewall_lock().on_disk())?;
    let rules = run(&["--list-rules"])?;
    delete(&own_rules(&rules, network))?;
    let rules = run(&["--list-rules"])?;
    if has_rules(&rules) {
        return Ok(());
    }
    if has_jump(&rules) {
        run(&["--delete", "INPUT", "-j", CHAIN])?;
    }
    if has_chain(&rules) {
        run(&["--delete-chain", CHAIN])?;
    }
    Ok(())
}

fn delete(rules: &[Vec<&str>]) -> Result<(), CommandError> {
    for rule in rules {
        let words = rule.iter().map(|word| word.trim_matches('"'));
        let arguments: Vec<&str> = ["--delete", CHAIN].into_iter().chain(words).collect();
        run(&arguments)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_one_network_are_told_from_anothers() {
        let rules = "-P INPUT DROP\n-N MINIASCAPE_INP\n-A INPUT -j MINIASCAPE_INP\n-A INPUT -j LIBVIRT_INP\n\
            -A MINIASCAPE_INP -i virbr1 -p udp -m udp --dport 69 -m comment --comment \"miniascape:net-1\" -j ACCEPT\n\
            -A MINIASCAPE_INP -i virbr10 -p udp -m udp --dport 69 -m comment --comment miniascape:net-10 -j ACCEPT\n\
            -A MINIASCAPE_INP -i virbr1 -p udp -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \
            \"miniascape:net-1\" -j ACCEPT";
        let own = own_rules(rules, &"net-1".parse().unwrap());
        assert_eq!(own.len(), 2);
        assert!(has_jump(rules) && is_whole(&own, &"virbr1".parse().unwrap()));
        assert!(
            !is_whole(&own, &"virbr10".parse().unwrap()) && !is_whole(&own[..1], &"virbr1".parse().unwrap())
        );
        assert!(!has_jump("-A INPUT -j LIBVIRT_INP"));
    }
}
