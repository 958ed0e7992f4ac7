//! Rules on booting over the network.

use crate::network::definition::BootSection;
use crate::network::model::{Boot, Firmware};
use crate::yaml::{At, Fault, Report};

/// Checks `dhcp.boot` of a network that has an IPv4 subnet, or none.
pub(super) fn check(section: &At<BootSection>, ipv4: bool, report: &mut Report<'_>) -> Boot {
    let At { value: boot, place } = section;
    if !ipv4 {
        report.error(
            Fault::new(
                *place,
                "machines boot over the network by DHCP for IPv4, and this network has no IPv4 subnet",
            )
            .help("add `ipv4: …` to the network, or remove `boot`"),
        );
    }
    if boot.files.is_empty() {
        report.error(
            Fault::new(*place, "`boot` names no file to boot")
                .help("add `bios`, `uefi`, `ipxe`, or `file` for all others"),
        );
    }
    if let (Some(tftp), Some(server)) = (&boot.tftp, &boot.server) {
        report.error(
            Fault::new(
                server.place,
                "boot files come from this network's own TFTP server or from another, not from both",
            )
            .help("remove `server` or `tftp`")
            .also(tftp.place, "the directory that is served here"),
        );
    }
    for (firmware, file) in &boot.files {
        if file.value.is_url() && *firmware != Firmware::Ipxe {
            report.error(
                Fault::new(
                    file.place,
                    format!(
                        "`{}` cannot be a URL: such firmware loads files by TFTP",
                        firmware.key()
                    ),
                )
                .help("write the URL as `ipxe`, and here the file that is iPXE"),
            );
        } else if !file.value.is_url() && boot.tftp.is_none() && boot.server.is_none() {
            report.error(
                Fault::new(file.place, format!("nothing says where `{}` is loaded from", file.value))
                    .help("add `tftp: DIRECTORY` to have it served here, or `server: ADDRESS` for another TFTP server"),
            );
        }
    }
    Boot {
        tftp: boot.tftp.as_ref().map(|tftp| tftp.value.clone()),
        server: boot.server.map(|server| server.value),
        files: boot
            .files
            .iter()
            .map(|(firmware, file)| (*firmware, file.value.clone()))
            .collect(),
    }
}
