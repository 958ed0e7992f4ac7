//! From a network back to the native form of its definition: what `net show` prints and `net import` writes. Reading
//! what is rendered gives the same network.

use super::definition::Definition;
use super::model::{Dhcp, Host, Network};
use crate::yaml::{self, Line};
use serde_json::{Map, Value, json};

/// The native form as a tree of values, keys in the order of the documentation, with the values of all defaults.
pub fn native(network: &Network) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| drop(all.insert(key.to_owned(), value));
    put("name", json!(network.name));
    if let Some(title) = &network.title {
        put("title", json!(title));
    }
    put("mode", json!(network.mode));
    put("bridge", json!(network.bridge));
    if let Some(domain) = &network.domain {
        put("domain", json!(domain));
    }
    if let Some(ipv4) = network.ipv4 {
        put("ipv4", json!({ "subnet": ipv4.subnet, "gateway": ipv4.gateway }));
    }
    put(
        "dns",
        json!({ "serve": network.dns.serve, "forward": network.dns.forward }),
    );
    if let Some(dhcp) = &network.dhcp {
        put("dhcp", native_dhcp(dhcp));
    }
    if !network.hosts.is_empty() {
        put("hosts", network.hosts.iter().map(native_host).collect());
    }
    json!({ "network": all })
}

fn native_dhcp(dhcp: &Dhcp) -> Value {
    let mut all = Map::new();
    if !dhcp.ranges.is_empty() {
        all.insert("ranges".to_owned(), json!(dhcp.ranges));
    }
    all.insert("lease_time".to_owned(), json!(dhcp.lease_time));
    Value::Object(all)
}

fn native_host(host: &Host) -> Value {
    let mut all = Map::new();
    all.insert("name".to_owned(), json!(host.name));
    if !host.macs.is_empty() {
        all.insert(
            "mac".to_owned(),
            one_or_more(host.macs.iter().map(|mac| json!(mac))),
        );
    }
    if host.addresses().next().is_some() {
        all.insert("ip".to_owned(), one_or_more(host.addresses().map(|ip| json!(ip))));
    }
    Value::Object(all)
}

/// A single value as it is, several as a list.
fn one_or_more(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    if values.len() == 1 {
        values.remove(0)
    } else {
        Value::Array(values)
    }
}

/// The lines of the native form.
pub fn lines(network: &Network) -> Vec<Line> {
    yaml::write(&native(network))
}

/// The keys of the native form that have a default's value because `definition` does not give them, as paths below
/// `network`: `bridge`, `ipv4.gateway`.
pub fn defaults(definition: &Definition) -> Vec<&'static str> {
    let gateway = definition
        .ipv4
        .as_ref()
        .is_some_and(|ipv4| ipv4.gateway.is_none());
    let lease_time = definition
        .dhcp
        .as_ref()
        .is_some_and(|dhcp| dhcp.value.lease_time.is_none());
    [
        ("bridge", definition.bridge.is_none()),
        ("ipv4.gateway", gateway),
        ("dns.serve", definition.dns.serve.is_none()),
        ("dns.forward", definition.dns.forward.is_none()),
        ("dhcp.lease_time", lease_time),
    ]
    .into_iter()
    .filter_map(|(path, default)| default.then_some(path))
    .collect()
}
