//! `miniascape package`: guest packages, installed on this host or in files.

mod install;
mod look;
mod preflight;
mod remove;

use super::output::{size, table};
use super::progress::ProgressArgs;
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::name::printable;
use miniascape::package::{self, GuestPackage};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List the guest packages that are installed
    #[command(after_help = "Example: miniascape package list --format json")]
    List,
    /// Tell what a guest package holds, and whether all of it is there
    #[command(after_help = "Example: miniascape package show vm-web\n\n\
        A package file is checked to its end first.")]
    Show {
        /// An installed package, as rpm or dpkg call it, or a package file
        #[arg(value_name = "PACKAGE|FILE")]
        package: String,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Read package files and check everything in them, without installing
    #[command(after_help = "Example: miniascape package verify packages/*.rpm\n\n\
        RPM, source RPM and Debian packages and tar files that `repack` made, or rpmbuild, dpkg-deb and `make dist` of \
        its tree. The status is 2 if one of them is not whole, or holds what miniascape does not put there.")]
    Verify {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tell whether package files can be installed here, and what their guests would meet
    #[command(after_help = "Example: miniascape package preflight packages/*.deb\n\n\
        Looks at space, storage pools, emulator, machine type, processor, firmware, networks, names and addresses, and at \
        what confines guests. Nothing is changed. The status is 0 for go, also with warnings, and 3 if something stands \
        in the way.")]
    Preflight {
        /// RPM or Debian packages of guests and images, or tar files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Install package files on this host, after looking at what they would meet
    #[command(
        after_help = "Example: miniascape package install packages/vm-web_1.0-1_all.deb\n\n\
        RPM packages are handed to dnf, zypper or rpm, Debian packages to apt-get or dpkg, whichever is there; a tar file \
        of `repack --to tar` is unpacked by miniascape itself. Image packages that lie beside the given ones and that a \
        guest needs are taken along. The look is that of `package preflight`: if something stands in the way, the status is \
        3 and nothing was touched."
    )]
    Install {
        /// RPM packages, Debian packages or tar files, all of one kind
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Give the guests what their packages do not declare: devices and programs of this host
        #[arg(long)]
        trust: bool,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Remove a guest package; the disks of its guests stay
    #[command(after_help = "Example: miniascape package remove vm-web\n\n\
        Its guests leave libvirt at once, or when they are off, and come back with the package. What came by rpm or dpkg \
        goes by them; what came out of a tar file goes with the images that no other package needs.")]
    Remove {
        /// The package, as `package list` shows it
        package: GuestPackage,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// Fails for those who may not write where packages go.
fn need_root(what: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Failure::failed(format!("{what} is for root; nothing was changed")).for_root())
    }
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::List => look::list(context),
        Args::Show { package, progress } => look::show(context, package, progress.style),
        Args::Verify { files } => verify(context, files),
        Args::Preflight { files, progress } => preflight::run(context, files, progress.style),
        Args::Install {
            files,
            trust,
            dry_run,
            progress,
        } => {
            let request = install::Request {
                files,
                trust: *trust,
                dry_run: *dry_run,
                style: progress.style,
            };
            install::run(context, &request)
        }
        Args::Remove { package, dry_run } => {
            remove::run(context, package, *dry_run)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One row per file that is whole; the others are reported beside them.
fn verify(context: &Context, files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    let mut worst = None;
    for path in files {
        let shown = printable(&path.to_string_lossy(), 400);
        match package::verify(path, &mut |_| {}) {
            Ok(found) => {
                let bytes = found.files.iter().map(|file| file.size).sum();
                rows.push([
                    found.package.clone(),
                    found.version.clone(),
                    found.files.len().to_string(),
                    size(bytes),
                    shown.clone(),
                ]);
                values.push(json!({ "file": shown, "whole": true, "content": found }));
            }
            Err(error) => {
                values.push(json!({ "file": shown, "whole": false, "error": error.to_string() }));
                if files.len() > 1 {
                    context.output().warn(error.to_string());
                }
                worst = Some(error);
            }
        }
    }
    context.output().result(&values, || {
        table(["PACKAGE", "VERSION", "FILES", "CONTENT", "WHOLE"], &rows, "")
    })?;
    match worst {
        None => Ok(ExitCode::SUCCESS),
        Some(error) if files.len() == 1 => Err(error.into()),
        Some(_) => {
            let bad = files.len() - rows.len();
            Err(Failure::usage(format!(
                "{bad} of {} files are not whole",
                files.len()
            )))
        }
    }
}
