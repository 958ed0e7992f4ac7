//! What is taken out of package files while a guest is packed: checked to the end before, in a directory of its own that
//! goes with the run. Which files those are, and which of their members are wanted, the callers know.

use super::error::RepackError;
use super::progress::{Progress, Step};
use super::verify::{self, Verified};
use super::work::{self, WorkDir};
use crate::host::{access, files};
use fs_err as fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// A directory for what is unpacked. It goes with this value, or, if the run is killed, with the next run in the same place.
#[derive(Debug)]
pub(super) struct Unpacked {
    work: Option<WorkDir>,
    around: PathBuf,
    /// Whether the directory around it was made for it.
    made: bool,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        self.work.take();
        if self.made {
            work::remove_if_empty(&self.around);
        }
    }
}

impl Unpacked {
    /// A directory in `around`, which is made when missing. `caller` is the user on whose behalf root runs this.
    pub(super) fn create(around: &Path, caller: Option<u32>) -> Result<Self, RepackError> {
        let around = std::path::absolute(around)?;
        let mut unpacked = Self {
            work: None,
            made: !around.exists(),
            around,
        };
        let around = &unpacked.around;
        work::make(around)?;
        if let Some(reason) = access::in_other_hands(around, caller)? {
            return Err(RepackError::OtherHands {
                path: around.clone(),
                reason,
            });
        }
        unpacked.work = Some(WorkDir::create(around)?);
        Ok(unpacked)
    }

    pub(super) fn path(&self) -> &Path {
        self.work
            .as_ref()
            .map_or(self.around.as_path(), |work| work.path())
    }

    /// Refuses what would not fit: `needed` bytes from `package`.
    pub(super) fn ensure_room(&self, package: &Path, needed: u64) -> Result<(), RepackError> {
        let free = files::free_space(&self.around)?;
        if free >= needed {
            return Ok(());
        }
        Err(RepackError::NoSpace {
            path: package.to_owned(),
            needed,
            free,
            dir: self.around.clone(),
        })
    }

    /// Unpacks `member` of `package`, which was `found` to be sound, and must still be the same, as the file `name`.
    pub(super) fn take(
        &self,
        package: &Path,
        found: &Verified,
        member: &str,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<(), RepackError> {
        begin(package, "unpack", progress)?;
        let file = fs::File::create(self.path().join(name))?;
        let mut out = io::BufWriter::with_capacity(BUFFER, file);
        let again = verify::extract(package, member, &mut out, &mut |bytes| progress.advance(bytes))?;
        out.flush()?;
        if again != *found {
            return Err(RepackError::SourceChanged {
                path: package.to_owned(),
            });
        }
        Ok(())
    }
}

/// Reads a package file to the end.
pub(super) fn checked(package: &Path, progress: &dyn Progress) -> Result<Verified, RepackError> {
    begin(package, "check", progress)?;
    Ok(verify::verify(package, &mut |bytes| progress.advance(bytes))?)
}

fn begin(package: &Path, name: &'static str, progress: &dyn Progress) -> io::Result<()> {
    progress.step(&Step {
        name,
        title: format!("{name} {}", package.display()),
        bytes: Some(fs::metadata(package)?.len()),
    });
    Ok(())
}
