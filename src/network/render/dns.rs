//! `dns` in the native form.

use super::{one_or_more, put};
use crate::name::RecordName;
use crate::network::model::{Network, RecordData};
use serde_json::{Map, Value, json};

pub(super) fn native(network: &Network) -> Value {
    let dns = &network.dns;
    let mut all = Map::new();
    put(&mut all, "serve", json!(dns.serve));
    put(&mut all, "forward", json!(dns.forward));
    if !dns.forwarders.is_empty() {
        put(
            &mut all,
            "forwarders",
            one_or_more(dns.forwarders.iter().map(|f| json!(f))),
        );
    }
    if !dns.records.is_empty() {
        let records = dns.records.iter();
        put(
            &mut all,
            "records",
            records
                .map(|record| native_record(&record.data, network))
                .collect(),
        );
    }
    Value::Object(all)
}

fn native_record(data: &RecordData, network: &Network) -> Value {
    let name = |name: &RecordName| in_zone(name, network);
    match data {
        RecordData::Address {
            name: owner,
            addresses,
        } => {
            json!({ "name": name(owner), "ip": one_or_more(addresses.iter().map(|ip| json!(ip))) })
        }
        RecordData::Wildcard {
            name: owner,
            addresses,
        } => {
            json!({ "wildcard": name(owner), "ip": one_or_more(addresses.iter().map(|ip| json!(ip))) })
        }
        RecordData::Cname { name: owner, target } => json!({ "cname": name(owner), "target": name(target) }),
        RecordData::Srv {
            name: owner,
            target: Some((target, port)),
            priority,
            weight,
        } => {
            json!({ "srv": name(owner), "target": name(target), "port": port, "priority": priority, "weight": weight })
        }
        RecordData::Srv {
            name: owner,
            priority,
            weight,
            ..
        } => json!({ "srv": name(owner), "priority": priority, "weight": weight }),
        RecordData::Txt { name: owner, text } => {
            json!({ "txt": name(owner), "text": one_or_more(text.iter().map(|text| json!(text))) })
        }
        RecordData::Ptr {
            address,
            name: target,
        } => json!({ "ptr": address, "name": name(target) }),
    }
}

/// A full name as it is written in the network's domain.
fn in_zone(name: &RecordName, network: &Network) -> String {
    let text = name.as_str();
    let below = network
        .domain()
        .and_then(|domain| text.strip_suffix(domain.as_str()));
    match below {
        Some("") => "@".to_owned(),
        Some(below) if below.ends_with('.') => below[..below.len() - 1].to_owned(),
        _ => format!("{text}."),
    }
}
