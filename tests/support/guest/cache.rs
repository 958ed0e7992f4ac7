//! The lab's cache, outside the repository: what was downloaded and what was built from it.
//!
//! One process at a time adds to it (a lock); every entry appears complete or not at all (a rename).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use crate::support::error::{Context, LabError, Result};

/// Overrides the place of the cache.
pub(crate) const CACHE_VARIABLE: &str = "MINIASCAPE_LAB_CACHE";

/// Built files are removed this long after they were made, when a new one is made.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// The lab's cache: `$MINIASCAPE_LAB_CACHE`, or `miniascape-lab` in `$XDG_CACHE_HOME` or `~/.cache`.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(CACHE_VARIABLE) {
        return Ok(dir.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .map(|home| home.join(".cache"))
            .ok_or_else(|| {
                LabError::new("no place for the lab's cache").remedy(format!("set {CACHE_VARIABLE} or HOME"))
            })?,
    };
    Ok(base.join("miniascape-lab"))
}

/// The entry `name` of the cache; `make` fills a new directory or file at the path that it is given when
/// there is none yet.
pub(super) fn entry(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let dir = cache_dir()?;
    let entry = dir.join(name);
    if entry.exists() {
        return Ok(entry);
    }
    fs::create_dir_all(&dir).context("the lab's cache")?;
    let lock = fs::File::create(dir.join("lock")).context("the lab's cache")?;
    lock.file().lock().context("the lock of the lab's cache")?;
    if entry.exists() {
        return Ok(entry);
    }
    prune(&dir);
    let work = tempfile::Builder::new()
        .prefix(WORK_PREFIX)
        .tempdir_in(&dir)
        .context("the lab's cache")?;
    let made = work.path().join("entry");
    make(&made)?;
    fs::rename(&made, &entry).context("the lab's cache")?;
    Ok(entry)
}

const WORK_PREFIX: &str = ".work-";

/// Removes what killed runs left (whoever holds the lock is alone) and what is old.
fn prune(dir: &Path) {
    for found in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = found.path();
        let stale = found
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > KEEP));
        if found.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
            // What cannot be removed is tried again the next time.
            drop(fs::remove_dir_all(&path));
        } else if stale && path.is_file() {
            drop(fs::remove_file(&path));
        }
    }
}
