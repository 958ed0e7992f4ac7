//! `dhcp.boot`: what machines are told that boot over the network.

use super::optional;
use crate::network::model::{BootFile, Firmware, TftpRoot};
use crate::yaml::{At, Fields, Key, Node, Report};
use std::net::Ipv4Addr;

/// `dhcp.boot`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSection {
    /// `tftp`
    pub tftp: Option<At<TftpRoot>>,
    /// `server`
    pub server: Option<At<Ipv4Addr>>,
    /// `ipxe`, `bios`, `uefi`, `uefi32`, `uefi_arm64` and `file`
    pub files: Vec<(Firmware, At<BootFile>)>,
}

const BOOT: &[Key] = &[
    Key::Known("tftp"),
    Key::Known("server"),
    Key::Known("file"),
    Key::Known("bios"),
    Key::Known("uefi"),
    Key::Known("uefi32"),
    Key::Known("uefi_arm64"),
    Key::Known("ipxe"),
    Key::Instead("next_server", "write `server`"),
    Key::Instead("filename", "write `file`, or `bios` and `uefi`"),
];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<BootSection>> {
    let fields = Fields::read(node, "`boot`", BOOT, report)?;
    let tftp = optional(fields.get("tftp"), |n| n.parse("`tftp`", report));
    let server = optional(fields.get("server"), |n| n.ipv4("`server`", report));
    let files: Vec<_> = Firmware::ALL
        .into_iter()
        .filter_map(|firmware| Some((firmware, fields.get(firmware.key())?)))
        .map(|(firmware, n)| Some((firmware, n.parse::<BootFile>("a boot file", report)?)))
        .collect();
    let mut place = node.place;
    place.length = 1;
    let section = BootSection {
        tftp: tftp?,
        server: server?,
        files: files.into_iter().collect::<Option<_>>()?,
    };
    Some(At::new(section, place))
}
