//! What can be made of a guest, and what was made. Making it is the business of `rpm`, `deb` and `tree`.

use fs_err as fs;
use serde::Serialize;
use std::path::PathBuf;

/// What to make of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// RPM packages.
    Rpm,
    /// The source RPM package: spec and tar file.
    Srpm,
    /// Debian packages.
    Deb,
    /// The build tree as a tar file, which `rpmbuild -ta` takes; also for those without any package manager.
    Tar,
    /// The build tree itself, a directory.
    BuildTree,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rpm, Self::Srpm, Self::Deb, Self::Tar, Self::BuildTree];

    /// The packages that this host itself uses.
    pub fn of_host() -> Self {
        let has = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
        if has("/var/lib/dpkg/status") {
            Self::Deb
        } else {
            Self::Rpm
        }
    }

    /// The name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Srpm => "srpm",
            Self::Deb => "deb",
            Self::Tar => "tar",
            Self::BuildTree => "build-tree",
        }
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// What it is.
    pub kind: Target,
    /// The package it holds, or the guest package that it makes.
    pub package: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes; for a tree that of all files.
    pub size: u64,
}
