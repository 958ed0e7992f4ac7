//! Sources in formats that qemu-img reads for us, on the network too: copied first, to a raw image beside the new one.

use super::super::Failure;
use super::super::progress::Teller;
use super::shown;
use miniascape::image::{self, Draft};
use miniascape::package::Step;
use std::path::Path;

/// Ways to reach an image that qemu-img knows and that cannot name local files.
const NETWORK: [&str; 5] = ["nbd://", "nbd+unix://", "http://", "https://", "ssh://"];

/// True if the name is that of an image on the network.
pub(super) fn is_network(name: &str) -> bool {
    NETWORK.iter().any(|scheme| name.starts_with(scheme))
}

/// Copies the source; `None` if it would only have to be copied.
pub(super) fn copy(
    teller: &Teller<'_>,
    source: &Path,
    format: &str,
    beside: &Path,
    trusted: bool,
    dry_run: bool,
) -> Result<Option<Draft>, Failure> {
    let name = shown(source);
    // Of the formats that are read here, raw names no other file, and qcow2 comes this way from the network only.
    if matches!(format, "vmdk" | "qcow2") && !trusted {
        return Err(Failure::refused(format!(
            "{name} is a {format} image: it may name other files, and qemu-img opens whatever it names"
        ))
        .hint("if you know where it comes from: --trust-source"));
    }
    if dry_run {
        return Ok(None);
    }
    let step = Step {
        name: "copy",
        title: format!(
            "{name} ({format}) is read by qemu-img, into a temporary raw image beside the new one"
        ),
        bytes: None,
    };
    teller.run(&step, |_| {
        let draft = Draft::create(beside)?;
        image::copy_raw(source, format, draft.path())?;
        Ok(Some(draft))
    })
}
