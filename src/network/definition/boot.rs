//! `dhcp.boot`: what machines are told that boot over the network.

use super::optional;
use crate::network::model::{BootFile, Firmware, TftpRoot};
use crate::yaml::{At, Fields, Key, Node, Report, Shape};
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

pub(super) const BOOT: &[Key] = &[
    Key::may(
        "tftp",
        FILE,
        "a directory of this host that the network's dnsmasq serves by TFTP",
    ),
    Key::may(
        "server",
        Shape::IPV4,
        "the address of another TFTP server, instead of `tftp`",
    ),
    Key::may("file", FILE, "the file for all machines that no other key is for"),
    Key::may(
        "bios",
        FILE,
        "the file for a PC's BIOS (client architecture 0, DHCP option 93)",
    ),
    Key::may("uefi", FILE, "the file for UEFI of 64-bit PCs (7 and 9)"),
    Key::may("uefi32", FILE, "the file for UEFI of 32-bit PCs (6)"),
    Key::may(
        "uefi_arm64",
        FILE,
        "the file for UEFI of 64-bit ARM machines (11)",
    ),
    Key::may(
        "ipxe",
        FILE,
        "a script, or its http, https or tftp URL, for clients that are iPXE (option 175)",
    ),
    Key::Instead("next_server", "write `server`"),
    Key::Instead("filename", "write `file`, or `bios` and `uefi`"),
];
const FILE: Shape = Shape::Text("path");

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
