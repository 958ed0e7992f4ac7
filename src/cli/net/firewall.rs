//! `miniascape net firewall`: the opening for a network's boot files, made again.

use crate::cli::{Context, Failure};
use miniascape::name::NetworkName;
use miniascape::network::{Applied, RegisterError, restore_opening};
use serde_json::json;

pub(super) fn run(context: &Context, name: &NetworkName) -> Result<(), Failure> {
    let layout = context.layout();
    if !layout.is_live() {
        return Err(Failure::usage(
            "`net firewall` is about this host's firewall: --root makes no sense for it",
        ));
    }
    let record = Applied::read(layout, name)?.ok_or_else(|| RegisterError::NotRegistered(name.clone()))?;
    let opened = restore_opening(&record, layout)?;
    let needs = record.needs.and_then(|needs| needs.boot);
    let bridge = needs.and_then(|needs| needs.bridge);
    let value = json!({ "network": name, "changed": opened, "bridge": bridge });
    context.output().report(&value, || match (&bridge, opened) {
        (None, _) => format!("{name} needs no opening in the firewall"),
        (Some(bridge), true) => format!("{name}: the firewall is open for boot files on {bridge} now"),
        (Some(bridge), false) => {
            format!("{name}: the firewall is open for boot files on {bridge} already; nothing to do")
        }
    })
}
