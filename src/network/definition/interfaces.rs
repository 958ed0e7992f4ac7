//! `require_interfaces` and `forbid_interfaces`: which of the host's interfaces belong in the bridge.

use super::optional;
use crate::name::InterfaceName;
use crate::yaml::{At, Fields, Report};

/// Reads the list `key` of `network`; what cannot be read is reported and left out.
pub(super) fn read(
    network: &Fields<'_, '_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Vec<At<InterfaceName>> {
    let what = format!("`{key}`");
    let items = optional(network.get(key), |node| node.items(&what, report));
    let items = items.flatten().unwrap_or_default();
    items
        .iter()
        .filter_map(|node| node.parse("this interface", report))
        .collect()
}
