//! Asking this machine whether KVM runs guests: the guest of `probe` is run. A yes is kept until the next boot, a no for
//! some minutes.

pub mod probe;

use super::command::{CommandError, Program};
use super::{Layout, files};
use fs_err as fs;
use probe::{Accelerator, Ended, Verdict};
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

/// How long a no is kept, in seconds: a loaded machine can be too slow for the probe's second.
const NO_LASTS: u64 = 600;

/// The answer, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// proc(5), `boot_id`: a new random value at every boot.
    boot: String,
    /// When the answer was found, in seconds since the boot.
    #[serde(default)]
    uptime: u64,
    usable: bool,
    words: String,
}

/// The present moment of this machine's run.
#[derive(Debug, Clone)]
struct Moment {
    boot: String,
    uptime: u64,
}

impl Moment {
    fn now() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let uptime = fs::read_to_string("/proc/uptime")?;
        // Seconds with two decimals.
        let seconds = uptime.split('.').next().and_then(|whole| whole.parse().ok());
        Ok(Self {
            boot: boot.trim().to_owned(),
            uptime: seconds.ok_or_else(|| io::Error::other("/proc/uptime holds no number"))?,
        })
    }
}

impl Kept {
    fn holds(&self, now: &Moment) -> bool {
        let age = now.uptime.checked_sub(self.uptime);
        self.boot == now.boot && (self.usable || age.is_some_and(|age| age < NO_LASTS))
    }
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
    kept_or_new(layout, keep, &Moment::now()?, probe)
}

fn kept_or_new(
    layout: &Layout,
    keep: bool,
    now: &Moment,
    probe: impl FnOnce() -> Result<Verdict, KvmError>,
) -> Result<Answer, KvmError> {
    let place = layout.run().join("kvm.json");
    if let Some(content) = files::read_if_there(place.on_disk())?
        && let Ok(kept) = serde_json::from_slice::<Kept>(&content)
        && kept.holds(now)
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
    // Where QEMU did not even start the guest, the next user may have the right to, or the next minute the memory.
    if !keep || matches!(verdict, Verdict::Refused(_)) {
        return Ok(answer);
    }
    let kept = Kept {
        boot: now.boot.clone(),
        uptime: now.uptime,
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
    sector.write_all(&probe::BOOT_SECTOR)?;
    sector.flush()?;
    let run = qemu.run().args(probe::arguments(Accelerator::Kvm, sector.path()));
    let started = Instant::now();
    let ended = match run.status_within(probe::GIVE_UP)? {
        Some(status) => Ended::Itself(if status.signal().is_some() {
            None
        } else {
            status.code()
        }),
        None => Ended::GivenUp,
    };
    Ok(probe::verdict(ended, started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, uptime: u64) -> Moment {
        Moment {
            boot: boot.into(),
            uptime,
        }
    }

    #[test]
    fn a_yes_lasts_a_no_passes_and_what_was_not_tried_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let ask = |now: &Moment, verdict: Option<Verdict>| {
            kept_or_new(&layout, true, now, || {
                verdict.ok_or_else(|| io::Error::other("probed again").into())
            })
            .map(|answer| answer.usable)
        };
        assert!(ask(&at("a", 5), None).is_err());
        assert!(!ask(&at("a", 6), Some(Verdict::Refused(Some(1)))).unwrap());
        assert!(!ask(&at("a", 7), Some(Verdict::Stalled)).unwrap());
        assert!(!ask(&at("a", 606), None).unwrap());
        assert!(ask(&at("a", 607), None).is_err());
        assert!(ask(&at("a", 607), Some(Verdict::Runs)).unwrap());
        assert!(ask(&at("a", 1_000_000), None).unwrap());
        assert!(ask(&at("b", 1), None).is_err());
        let now = Moment::now().unwrap();
        assert!(!now.boot.is_empty() && now.uptime > 0);
    }
}
