//! From a network back to the native form of its definition: what `net show` prints and `net import` writes. Reading
//! what is rendered gives the same network.

use super::definition::Definition;
use super::model::{Dhcp, Host, Ipv6, Mode, Network};
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
    if let Some(bridge) = &network.bridge {
        put("bridge", json!(bridge));
    }
    if let Some(domain) = &network.domain {
        put("domain", json!(domain));
    }
    if let Some(ipv4) = network.ipv4 {
        put("ipv4", json!({ "subnet": ipv4.subnet, "gateway": ipv4.gateway }));
    }
    if let Some(ipv6) = network.ipv6 {
        put("ipv6", native_ipv6(ipv6));
    }
    put(
        "dns",
        json!({ "serve": network.dns.serve, "forward": network.dns.forward }),
    );
    if let Some(dhcp) = &network.dhcp {
        put("dhcp", native_dhcp(dhcp, network.mode));
    }
    for (key, list) in [
        ("require_interfaces", &network.require_interfaces),
        ("forbid_interfaces", &network.forbid_interfaces),
    ] {
        if !list.is_empty() {
            put(key, json!(list));
        }
    }
    if !network.hosts.is_empty() {
        put("hosts", network.hosts.iter().map(native_host).collect());
    }
    json!({ "network": all })
}

fn native_ipv6(ipv6: Ipv6) -> Value {
    let mut all = Map::new();
    all.insert("subnet".to_owned(), json!(ipv6.subnet));
    if let Some(gateway) = ipv6.gateway {
        all.insert("gateway".to_owned(), json!(gateway));
    }
    all.insert("ra".to_owned(), json!(ipv6.ra));
    Value::Object(all)
}

fn native_dhcp(dhcp: &Dhcp, mode: Mode) -> Value {
    let mut all = Map::new();
    if mode == Mode::Bridge {
        all.insert("serve".to_owned(), json!(true));
    }
    let ranges = dhcp.ranges.iter().map(|range| json!(range));
    let ranges: Vec<Value> = ranges
        .chain(dhcp.ranges6.iter().map(|range| json!(range)))
        .collect();
    if !ranges.is_empty() {
        all.insert("ranges".to_owned(), Value::Array(ranges));
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
    let own_bridge = definition.mode.value.makes_bridge();
    let ipv6 = definition.ipv6.as_ref();
    [
        ("bridge", own_bridge && definition.bridge.is_none()),
        ("ipv4.gateway", gateway),
        (
            "ipv6.gateway",
            ipv6.is_some_and(|ipv6| ipv6.gateway.is_none() && definition.mode.value != Mode::Bridge),
        ),
        ("ipv6.ra", ipv6.is_some_and(|ipv6| ipv6.ra.is_none())),
        ("dns.serve", definition.dns.serve.is_none()),
        ("dns.forward", definition.dns.forward.is_none()),
        ("dhcp.lease_time", lease_time),
    ]
    .into_iter()
    .filter_map(|(path, default)| default.then_some(path))
    .collect()
}
