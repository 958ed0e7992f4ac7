//! `dhcp` and what concerns it of `hosts` in the native form.

use super::{one_or_more, put};
use crate::network::model::{Boot, Dhcp, DhcpOption, Host, LeaseTime, OptionValue, Pool, dhcp_option};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `say_so`: on someone else's bridge it has to be written that DHCP is served.
pub(super) fn native(dhcp: &Dhcp, say_so: bool) -> Value {
    let mut all = Map::new();
    if say_so {
        put(&mut all, "serve", json!(true));
    }
    let ranges = dhcp.ranges.iter().map(native_range);
    let ranges: Vec<Value> = ranges.chain(dhcp.ranges6.iter().map(native_range)).collect();
    if !ranges.is_empty() {
        put(&mut all, "ranges", Value::Array(ranges));
    }
    put(&mut all, "lease_time", json!(dhcp.lease_time));
    if dhcp.known_only {
        put(&mut all, "unknown", json!("ignore"));
    }
    if !dhcp.ignore.is_empty() {
        put(
            &mut all,
            "ignore",
            one_or_more(dhcp.ignore.iter().map(|mac| json!(mac))),
        );
    }
    if let Some(boot) = &dhcp.boot {
        put(&mut all, "boot", native_boot(boot));
    }
    if !dhcp.options.is_empty() {
        let tagged = dhcp.options.iter().map(|tagged| {
            let mut all = native_option(&tagged.option);
            if !tagged.tags.is_empty() {
                put(
                    &mut all,
                    "tag",
                    one_or_more(tagged.tags.iter().map(|tag| json!(tag))),
                );
            }
            Value::Object(all)
        });
        put(&mut all, "options", tagged.collect());
    }
    Value::Object(all)
}

fn native_boot(boot: &Boot) -> Value {
    let mut all = Map::new();
    if let Some(tftp) = &boot.tftp {
        put(&mut all, "tftp", json!(tftp));
    }
    if let Some(server) = boot.server {
        put(&mut all, "server", json!(server));
    }
    for (firmware, file) in &boot.files {
        put(&mut all, firmware.key(), json!(file));
    }
    Value::Object(all)
}

fn native_range<A: Serialize>(pool: &Pool<A>) -> Value {
    let mut all = Map::new();
    put(&mut all, "start", json!(pool.range.start));
    put(&mut all, "end", json!(pool.range.end));
    if !pool.tags.is_empty() {
        put(
            &mut all,
            "tag",
            one_or_more(pool.tags.iter().map(|tag| json!(tag))),
        );
    }
    if let Some(set) = &pool.set {
        put(&mut all, "set", json!(set));
    }
    put_lease_time(&mut all, pool.lease_time);
    Value::Object(all)
}

/// The part of a host's entry that DHCP has to do with, behind name and addresses.
pub(super) fn put_host(all: &mut Map<String, Value>, host: &Host) {
    if let Some(id) = &host.client_id {
        put(all, "client_id", json!(id));
    }
    let Some(dhcp) = &host.dhcp else { return };
    if !dhcp.tags.is_empty() {
        put(all, "tags", one_or_more(dhcp.tags.iter().map(|tag| json!(tag))));
    }
    put_lease_time(all, dhcp.lease_time);
    if !dhcp.options.is_empty() {
        let options = dhcp.options.iter();
        put(
            all,
            "options",
            options
                .map(|option| Value::Object(native_option(option)))
                .collect(),
        );
    }
}

fn put_lease_time(all: &mut Map<String, Value>, time: Option<LeaseTime>) {
    if let Some(time) = time {
        put(all, "lease_time", json!(time));
    }
}

fn native_option(option: &DhcpOption) -> Map<String, Value> {
    let mut all = Map::new();
    match option.name {
        Some(name) => put(&mut all, "option", json!(name)),
        None => put(&mut all, "option", json!(option.code)),
    }
    if dhcp_option::by_code(option.code).is_none() {
        put(&mut all, "type", json!(type_of(&option.value)));
    }
    let flag = matches!(
        dhcp_option::by_code(option.code),
        Some((_, dhcp_option::OptionKind::Flag))
    );
    put(
        &mut all,
        "value",
        match &option.value {
            OptionValue::Nothing => json!([]),
            OptionValue::Addresses(addresses) => one_or_more(addresses.iter().map(|ip| json!(ip))),
            OptionValue::Integer { value, .. } if flag => json!(*value != 0),
            OptionValue::Integer { value, .. } => json!(value),
            OptionValue::Text(text) => json!(text),
            OptionValue::Domains(domains) => one_or_more(domains.iter().map(|domain| json!(domain))),
            OptionValue::Routes(routes) => {
                one_or_more(routes.iter().map(|(to, via)| json!({ "to": to, "via": via })))
            }
            OptionValue::Time(time) => json!(time),
            OptionValue::Octets(octets) => {
                let groups: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
                json!(groups.join(":"))
            }
        },
    );
    all
}

/// What `type` says of a value of an option that is not known.
const fn type_of(value: &OptionValue) -> &'static str {
    match value {
        OptionValue::Addresses(_) => "addresses",
        OptionValue::Integer { octets: 1, .. } => "u8",
        OptionValue::Integer { octets: 2, .. } => "u16",
        OptionValue::Integer { .. } => "u32",
        OptionValue::Routes(_) => "routes",
        OptionValue::Octets(_) => "hex",
        // Nothing at all is of any type.
        OptionValue::Text(_) | OptionValue::Nothing | OptionValue::Domains(_) | OptionValue::Time(_) => {
            "text"
        }
    }
}
