//! Asking this machine whether KVM runs guests: the probe of `guest::kvm`, run once per boot.

use super::command::{CommandError, Program};
use super::{Layout, files};
use crate::guest::kvm::{self, Accelerator, Ended, Verdict};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Instant;

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// QEMU is missing, or could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The probe's files could not be written.
    #[error("the KVM probe: {0}")]
    Io(#[from] io::Error),
}

/// The answer, kept until the next boot.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot: String,
    usable: bool,
    words: String,
}

/// Whether guests are to use KVM here, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// True if they are.
    pub usable: bool,
    /// What the probe has shown, for people.
    pub words: String,
}

/// Whether KVM runs guests on this machine. The first call of a boot takes up to two seconds; with `keep` later ones
/// are spared that.
pub fn answer(layout: &Layout, keep: bool) -> Result<Answer, KvmError> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Answer {
            usable: false,
            words: "there is no /dev/kvm".to_owned(),
        });
    }
    // proc(5): a new random value at every boot.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned();
    let place = layout.run().join("kvm.json");
    if let Some(content) = files::read_if_there(place.on_disk())?
        && let Ok(kept) = serde_json::from_slice::<Kept>(&content)
        && kept.boot == boot
    {
        return Ok(Answer {
            usable: kept.usable,
            words: kept.words,
        });
    }
    let verdict = probe()?;
    let answer = Answer {
        usable: verdict.is_usable(),
        words: format!("KVM was tried: {verdict}"),
    };
    if !keep {
        return Ok(answer);
    }
    let kept = Kept {
        boot,
        usable: answer.usable,
        words: answer.words.clone(),
    };
    let content = serde_json::to_vec(&kept).map_err(io::Error::other)?;
    // An ordinary user cannot keep the answer, and can do without.
    if let Err(error) = files::write(place.on_disk(), &content, 0o644) {
        tracing::debug!(%error, "the answer of the KVM probe is not kept");
    }
    Ok(answer)
}

fn probe() -> Result<Verdict, KvmError> {
    let qemu = Program::find("qemu-system-x86_64", "qemu-system-x86")?;
    let mut sector = tempfile::NamedTempFile::new()?;
    sector.write_all(&kvm::BOOT_SECTOR)?;
    sector.flush()?;
    let run = qemu.run().args(kvm::arguments(Accelerator::Kvm, sector.path()));
    let started = Instant::now();
    let ended = match run.status_within(kvm::GIVE_UP)? {
        Some(status) => Ended::Itself(if status.signal().is_some() {
            None
        } else {
            status.code()
        }),
        None => Ended::GivenUp,
    };
    Ok(kvm::verdict(ended, started.elapsed()))
}
