//! RPM packages by rpmbuild, with everything it reads and writes inside the working directory.

use super::error::RepackError;
use super::manifest::{Manifest, Timestamp};
use super::name::ImagePackage;
use super::tree::Tree;
use crate::host::{Program, files};
use fs_err as fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A built package.
#[derive(Debug)]
pub(super) struct Built {
    /// The file in the working directory.
    pub(super) file: PathBuf,
    /// The package's name.
    pub(super) package: String,
}

/// Builds the guest's package and one for each image from `tree` and its tarball, which lies in `work`.
pub(super) fn build(tree: &Tree, manifest: &Manifest, work: &Path) -> Result<Vec<Built>, RepackError> {
    // rpmbuild unpacks the tarball with it.
    Program::find("zstd", "zstd")?;
    let top = work.join("rpm");
    fs::create_dir_all(&top)?;
    let spec = format!("{}.spec", manifest.package.name);
    // rpmbuild reads paths as macros and as shell text: a space breaks it, and `%(…)` would run a command. Under
    // this name the directory has a harmless path, and nothing is left behind if we are killed.
    let handle = fs::File::open(work)?;
    let plain = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), handle.as_raw_fd()));
    let define = |name: &str, path: &str| format!("{name} {}", plain.join(path).display());
    Program::find("rpmbuild", "rpm")?
        .run()
        // Neither the user's macros nor his package database take part.
        .env("HOME", plain.join("rpm"))
        .env("SOURCE_DATE_EPOCH", epoch(manifest.created).to_string())
        .args(["-bb", "--quiet"])
        .args(["--define", &define("_topdir", "rpm")])
        .args(["--define", &define("_builddir", "rpm/build")])
        .args(["--define", &define("_sourcedir", "")])
        .args(["--define", &define("_rpmdir", "rpm/out")])
        .args(["--define", &define("_dbpath", "rpm/db")])
        .args(["--define", &define("_tmppath", "rpm/tmp")])
        .args(["--define", &define("buildroot", "rpm/root")])
        .args([
            "--define",
            "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        ])
        .arg(plain.join(&tree.name).join(spec))
        .output()?;
    for done in ["root", "build"] {
        files::remove_dir(&top.join(done))?;
    }
    let package = &manifest.package;
    let file = |name: &str, version: &str| {
        let file = format!("{name}-{version}-{}.noarch.rpm", package.release);
        Built {
            file: top.join("out").join(file),
            package: name.to_owned(),
        }
    };
    let mut built = vec![file(package.name.as_str(), package.version.as_str())];
    for layer in manifest.images() {
        built.push(file(layer.package.as_str(), ImagePackage::VERSION));
    }
    Ok(built)
}

/// The manifest's time as `SOURCE_DATE_EPOCH`, which knows no time before 1970.
pub(super) fn epoch(created: Timestamp) -> u64 {
    u64::try_from(created.epoch()).unwrap_or(0)
}
