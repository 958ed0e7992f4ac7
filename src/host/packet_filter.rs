//! What the rules on this host let through, whoever made them: iptables' own tables, other nftables tables, firewalld's
//! zones. They are read, never changed; what they mean for a network is decided elsewhere. Our own openings are made next
//! door, in `firewall`.

use super::command::Program;
use crate::name::{InterfaceName, printable};
use serde_json::Value;
use std::collections::BTreeSet;

/// An address family with tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

impl Family {
    /// The program that changes the family's tables.
    pub const fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

/// The rules of one of iptables' tables as `iptables -S` prints them; `None` where they cannot be read.
pub fn rules(family: Family, table: &str) -> Option<String> {
    let run = Program::find(family.program(), "iptables").ok()?.run();
    match run.args(["--wait", "--table", table, "--list-rules"]).output() {
        Ok(finished) => Some(finished.text()),
        Err(error) => {
            tracing::debug!(%error, table, "rules cannot be read");
            None
        }
    }
}

/// All rules of nftables in its JSON (libnftables-json(5)); `None` where nft is not there or may not be used.
pub fn ruleset() -> Option<Value> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let rules = Program::find("nft", "nftables")
        .and_then(|nft| nft.run().args(["--json", "list", "ruleset"]).output())
        .and_then(|finished| finished.json::<Value>());
    rules
        .inspect_err(|error| tracing::debug!(%error, "nftables cannot be looked at"))
        .ok()
}

/// A zone of firewalld's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name, safe to print.
    pub name: String,
    /// Those of the asked services that it lets nobody use.
    pub closed: Vec<&'static str>,
}

/// The zone that firewalld has `bridge` in, if it runs, and which of the services, each with its port, it keeps closed.
pub fn firewalld_zone(bridge: &InterfaceName, services: &[(&'static str, &str)]) -> Option<Zone> {
    let firewalld = Program::find("firewall-cmd", "firewalld").ok()?;
    let ask = |arguments: &[&str]| firewalld.run().args(arguments).finish().ok();
    let yes = |arguments: &[&str]| ask(arguments).is_some_and(|answer| answer.status.success());
    if !yes(&["--state"]) {
        return None;
    }
    let zone = ask(&["--get-zone-of-interface", bridge.as_str()]).filter(|answer| answer.status.success());
    let zone = zone.or_else(|| ask(&["--get-default-zone"]))?.text();
    // Such a zone lets all in that nothing else turns away.
    let accepts =
        ask(&["--permanent", "--zone", &zone, "--get-target"]).is_some_and(|t| t.text() == "ACCEPT");
    let closed = services.iter().filter(|(service, port)| {
        let open = yes(&["--zone", &zone, "--query-service", service])
            || yes(&["--zone", &zone, "--query-port", port]);
        !open && !accepts
    });
    Some(Zone {
        closed: closed.map(|(service, _)| *service).collect(),
        name: printable(&zone, 40),
    })
}

/// The zone that firewalld has `bridge` in, if it runs and lets nobody in that zone ask for files by TFTP. libvirt's own
/// zone does.
pub fn firewalld_zone_without_tftp(bridge: &InterfaceName) -> Option<String> {
    let zone = firewalld_zone(bridge, &[("tftp", "69/udp")])?;
    (!zone.closed.is_empty()).then_some(zone.name)
}

/// The tables of nftables other than iptables' own that drop what comes in and is not let in by them, and have no rule
/// that names the bridge or the port of TFTP: `inet filter input`. Empty where nft is not there or may not be used.
pub fn other_drops(bridge: &InterfaceName) -> Vec<String> {
    ruleset().map_or_else(Vec::new, |rules| closing(&rules, "input", bridge, &[69]))
}

/// The chains at `hook` outside of iptables' own tables and of firewalld's that drop or reject what nothing in their table
/// accepts, and where no rule that packets come to names the bridge or one of the ports: `inet filter input`.
pub fn closing(ruleset: &Value, hook: &str, bridge: &InterfaceName, ports: &[u16]) -> Vec<String> {
    let all = ruleset["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let rules: Vec<&Value> = all.iter().filter_map(|object| object.get("rule")).collect();
    let mut found = Vec::new();
    for chain in all.iter().filter_map(|object| object.get("chain")) {
        let (family, table, name) = (of(chain, "family"), of(chain, "table"), of(chain, "name"));
        let iptables = family == "ip" && table == "filter" && name == hook.to_uppercase();
        let elsewhere = chain["hook"] != hook || !["ip", "inet"].contains(&family.as_str());
        if elsewhere || iptables || table == "firewalld" {
            continue;
        }
        let in_table: Vec<&&Value> = rules
            .iter()
            .filter(|rule| of(rule, "family") == family && of(rule, "table") == table)
            .collect();
        let last = in_table.iter().rfind(|rule| of(rule, "chain") == name);
        // A last rule that drops or rejects whatever comes to it.
        let closes = |rule: &Value| {
            let parts = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            parts.iter().all(|part| part.get("match").is_none())
                && parts
                    .iter()
                    .any(|part| part.get("drop").is_some() || part.get("reject").is_some())
        };
        let named = |rule: &Value| {
            let text = rule["expr"].to_string();
            text.contains(&format!("\"{bridge}\""))
                || ports
                    .iter()
                    .any(|port| text.contains(&format!("\"right\":{port}}}")))
        };
        let shut = chain["policy"] == "drop" || last.is_some_and(|rule| closes(rule));
        let reached = reached(&in_table, &name);
        let mut met = in_table
            .iter()
            .filter(|rule| reached.contains(&of(rule, "chain")));
        if shut && !met.any(|rule| named(rule)) {
            found.push(printable(&format!("{family} {table} {name}"), 120));
        }
    }
    found
}

/// The chains that packets come to from the chain `first` of a table with these rules.
fn reached(rules: &[&&Value], first: &str) -> BTreeSet<String> {
    let mut chains = BTreeSet::from([first.to_owned()]);
    loop {
        let before = chains.len();
        for rule in rules {
            let known = rule["chain"].as_str().is_some_and(|chain| chains.contains(chain));
            let parts = rule["expr"].as_array().filter(|_| known);
            let targets = parts.into_iter().flatten().flat_map(|part| {
                let target = |kind: &str| part[kind]["target"].as_str().map(str::to_owned);
                [target("jump"), target("goto")]
            });
            chains.extend(targets.flatten());
        }
        if chains.len() == before {
            return chains;
        }
    }
}

/// True if a table of libvirt's own in nftables, which newer ones have in place of iptables' chains, names the bridge.
pub fn libvirt_table_names(ruleset: &Value, bridge: &InterfaceName) -> bool {
    let all = ruleset["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rules = all.iter().filter_map(|object| object.get("rule"));
    rules.any(|rule| {
        rule["table"] == "libvirt_network" && rule["expr"].to_string().contains(&format!("\"{bridge}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_that_drop_by_themselves_are_named() {
        let chain = |family: &str, table: &str, name: &str, policy: &str| json!({ "chain": { "family": family, "table": table, "name": name, "hook": "input", "policy": policy } });
        let rule = |expr: Value| json!({ "rule": { "family": "inet", "table": "own", "chain": "in", "expr": expr } });
        let bridge = "virbr7".parse().unwrap();
        let found = |objects: &[Value]| closing(&json!({ "nftables": objects }), "input", &bridge, &[69]);
        let own = chain("inet", "own", "in", "accept");
        let iptables = chain("ip", "filter", "INPUT", "drop");
        assert_eq!(
            found(&[
                iptables,
                chain("inet", "f", "input", "drop"),
                chain("inet", "firewalld", "filter_INPUT", "drop")
            ]),
            ["inet f input"]
        );
        assert_eq!(found(std::slice::from_ref(&own)), Vec::<String>::new());
        let accept = json!([{ "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "lo" } }, { "accept": null }]);
        let reject = json!([{ "counter": {} }, { "reject": {} }]);
        assert_eq!(
            found(&[own.clone(), rule(accept.clone()), rule(reject.clone())]),
            ["inet own in"]
        );
        assert_eq!(
            found(&[own.clone(), rule(reject.clone()), rule(accept)]),
            Vec::<String>::new()
        );
        let port = json!([{ "match": { "op": "==", "left": { "payload": { "protocol": "udp", "field": "dport" } }, "right": 69 } }, { "accept": null }]);
        assert_eq!(
            found(&[own.clone(), rule(port), rule(reject.clone())]),
            Vec::<String>::new()
        );
        // A rule counts where packets come to it.
        let elsewhere = json!({ "rule": { "family": "inet", "table": "own", "chain": "more", "expr": [{ "match": { "right": "virbr7" } }] } });
        let jump = json!([{ "jump": { "target": "more" } }]);
        assert_eq!(
            found(&[own.clone(), elsewhere.clone(), rule(reject.clone())]),
            ["inet own in"]
        );
        assert_eq!(
            found(&[own, elsewhere, rule(jump), rule(reject)]),
            Vec::<String>::new()
        );
    }
}
