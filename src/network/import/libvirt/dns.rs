//! `<dns>`: forwarders and records.

use super::Reader;
use crate::domain::scan::Element;
use serde_json::{Map, Value, json};

impl Reader {
    pub(super) fn dns(&mut self, dns: Option<Element<'_>>, serve: bool) -> Option<Value> {
        let mut all = Map::new();
        if !serve {
            all.insert("serve".to_owned(), json!(false));
        }
        let (mut forwarders, mut records) = (Vec::new(), Vec::new());
        if let Some(dns) = dns {
            self.only_attributes(dns, &["enable", "forwardPlainNames"]);
            for child in dns.children() {
                if !serve || !dns_entry(child, &mut forwarders, &mut records) {
                    self.lose(child);
                }
            }
        }
        for (key, list) in [("forwarders", forwarders), ("records", records)] {
            if !list.is_empty() {
                all.insert(key.to_owned(), Value::Array(list));
            }
        }
        (!all.is_empty()).then_some(Value::Object(all))
    }
}

/// Takes an element of `<dns>`; false if it cannot be carried over.
fn dns_entry(entry: Element<'_>, forwarders: &mut Vec<Value>, records: &mut Vec<Value>) -> bool {
    let get = |name: &str| entry.attribute(name);
    match entry.qualified_name() {
        "forwarder" => match (get("addr"), get("domain")) {
            (Some(address), None) => {
                let port = get("port").map(|port| format!("#{port}")).unwrap_or_default();
                forwarders.push(json!(format!("{address}{port}")));
            }
            _ => return false,
        },
        "host" => {
            let Some(ip) = get("ip") else { return false };
            for name in entry.children_named("hostname") {
                records.push(json!({ "name": full_name(name.text()), "ip": ip }));
            }
        }
        "txt" => match (get("name"), get("value")) {
            (Some(name), Some(text)) => records.push(json!({ "txt": full_name(name), "text": text })),
            _ => return false,
        },
        "srv" => return srv(entry, records),
        _ => return false,
    }
    true
}

/// A name as libvirt has it: with a dot in it a full one, otherwise one in the network's domain.
fn full_name(name: &str) -> String {
    let name = name.trim().trim_end_matches('.');
    if name.contains('.') {
        format!("{name}.")
    } else {
        name.to_owned()
    }
}

/// An SRV record; its name is `_SERVICE._PROTOCOL`, in the network's domain if libvirt's element names none.
fn srv(entry: Element<'_>, records: &mut Vec<Value>) -> bool {
    let get = |name: &str| entry.attribute(name);
    let (Some(service), Some(protocol)) = (get("service"), get("protocol")) else {
        return false;
    };
    let label = |word: &str| format!("_{}", word.trim_start_matches('_'));
    let owner = format!("{}.{}", label(service), label(protocol));
    let owner = match get("domain") {
        Some(domain) => format!("{owner}.{}.", domain.trim_end_matches('.')),
        None => owner,
    };
    let mut record = Map::from_iter([("srv".to_owned(), json!(owner))]);
    if let Some(target) = get("target").filter(|target| *target != ".") {
        record.insert("target".to_owned(), json!(full_name(target)));
    }
    for key in ["port", "priority", "weight"] {
        if let Some(number) = get(key).and_then(|text| text.parse::<u16>().ok()) {
            record.insert(key.to_owned(), json!(number));
        }
    }
    records.push(Value::Object(record));
    true
}
