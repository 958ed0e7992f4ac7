//! `dns`: what the network's name server answers.

use super::optional;
use crate::yaml::{At, Fields, Key, Node, Report};

/// `dns`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DnsSection {
    /// `serve`; by default on where the bridge is ours, or DHCP is served
    pub serve: Option<At<bool>>,
    /// `forward`; by default an isolated network's questions do not leave it, and all others' do
    pub forward: Option<At<bool>>,
}

const DNS: &[Key] = &[Key::Known("serve"), Key::Known("forward"), Key::Later("records")];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<DnsSection> {
    let fields = Fields::read(node, "`dns`", DNS, report)?;
    let serve = optional(fields.get("serve"), |n| n.flag("`serve`", report));
    let forward = optional(fields.get("forward"), |n| n.flag("`forward`", report));
    Some(DnsSection {
        serve: serve?,
        forward: forward?,
    })
}
