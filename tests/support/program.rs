//! The program under test: where its executable is.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::error::{LabError, Result};

/// Overrides the place of the program under test, for those who cannot read the build's directory.
pub(crate) const PROGRAM_VARIABLE: &str = "MINIASCAPE_LAB_PROGRAM";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says where the program under test is; the first word counts.
pub(crate) fn set_under_test(path: impl Into<PathBuf>) {
    // A second call is a second main, which no executable has.
    drop(PROGRAM.set(path.into()));
}

/// The executable of the program under test.
pub(crate) fn under_test() -> Result<PathBuf> {
    std::env::var_os(PROGRAM_VARIABLE)
        .map(PathBuf::from)
        .or_else(|| PROGRAM.get().cloned())
        .ok_or_else(|| {
            LabError::new("no one said where the program under test is").remedy(format!(
                "its path as the first argument, or in {PROGRAM_VARIABLE}"
            ))
        })
}
