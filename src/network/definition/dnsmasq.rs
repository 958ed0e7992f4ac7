//! `dnsmasq_options`: options of dnsmasq's own that are passed on.

use crate::network::model::DnsmasqOption;
use crate::yaml::{At, Node, Report};

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<At<DnsmasqOption>>> {
    let items = node.items("`dnsmasq_options`", report)?;
    Some(
        items
            .iter()
            .filter_map(|n| n.parse("an option", report))
            .collect(),
    )
}
