//! `miniascape package`: guest packages, installed on this host or in files.

mod install;
mod preflight;
mod remove;

use super::output::{size, table};
use super::progress::ProgressArgs;
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::name::printable;
use miniascape::package::{self, GuestPackage, Installed, Layer, Presence, Role};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List the guest packages that are installed
    #[command(after_help = "Example: miniascape package list --format json")]
    List,
    /// Tell what a guest package holds, and whether all of it is there
    #[command(after_help = "Example: miniascape package show vm-web")]
    Show {
        /// The package, as rpm or dpkg call it
        package: GuestPackage,
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
        Err(
            Failure::failed(format!("{what} is for root; nothing was changed"))
                .hint("run it as root (`sudo miniascape …`)"),
        )
    }
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::List => list(context),
        Args::Show { package } => show(context, package),
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

/// One row per package. A package that cannot be read is reported beside the others, and the status is 1.
fn list(context: &Context) -> Result<ExitCode, Failure> {
    let all = package::list(context.layout())?;
    let mut values = Vec::new();
    let mut rows = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for result in &all {
        match result {
            Ok(installed) => {
                let section = &installed.manifest.package;
                values.push(json!({
                    "package": section.name,
                    "version": section.version,
                    "guest": section.guest,
                    "images": images(installed),
                }));
                let complete = installed.images.iter().all(|image| *image == Presence::Present);
                rows.push([
                    section.name.to_string(),
                    section.version.to_string(),
                    section.guest.to_string(),
                    if complete { "complete" } else { "incomplete" }.to_owned(),
                ]);
            }
            Err(error) => {
                context.output().warn(error.to_string());
                values.push(json!({ "error": error.to_string() }));
                status = ExitCode::FAILURE;
            }
        }
    }
    context.output().result(&values, || {
        table(
            ["PACKAGE", "VERSION", "GUEST", "IMAGES"],
            &rows,
            "no guest packages",
        )
    })?;
    Ok(status)
}

fn images(installed: &Installed) -> Vec<Value> {
    let layers = installed.manifest.images().into_iter().zip(&installed.images);
    layers
        .map(|(layer, presence)| {
            json!({ "package": layer.package, "digest": layer.digest, "role": layer.role, "state": presence })
        })
        .collect()
}

const fn word(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "there",
        Presence::Missing => "missing",
        Presence::Damaged => "damaged",
        Presence::Unknown => "only root may look",
    }
}

fn show(context: &Context, package: &GuestPackage) -> Result<ExitCode, Failure> {
    let installed = package::show(context.layout(), package)?;
    let manifest = &installed.manifest;
    let value = json!({ "manifest": manifest, "images": images(&installed) });
    context.output().result(&value, || {
        let mut lines = vec![format!("{} {}", manifest.package.name, manifest.package.version)];
        let mut line = |key: &str, value: String| lines.push(format!("  {key:<10} {value}"));
        line("guest", manifest.package.guest.to_string());
        line("made", format!("{} by {}", manifest.created, manifest.tool));
        let domain = &manifest.domain;
        let or_any =
            |word: &Option<package::Word>| word.as_ref().map_or("any".to_owned(), ToString::to_string);
        line(
            "machine",
            format!(
                "{} {}, {} MiB, {} CPUs",
                or_any(&domain.arch),
                or_any(&domain.machine),
                domain.memory / (1024 * 1024),
                domain.vcpus
            ),
        );
        for disk in &manifest.disks {
            let size = disk.layers.last().map_or(0, |layer| layer.virtual_size);
            line(
                "disk",
                format!("{}, {} MiB", disk.target, size.div_ceil(1024 * 1024)),
            );
        }
        let image = |layer: &Layer| match layer.role {
            Role::Base => "base",
            Role::Delta => "delta",
        };
        for (layer, presence) in manifest.images().into_iter().zip(&installed.images) {
            line(
                image(layer),
                format!("{}, {}", layer.digest.file_name(), word(*presence)),
            );
        }
        for interface in &domain.interfaces {
            let mac = interface
                .mac
                .map_or("no fixed address".to_owned(), |mac| mac.to_string());
            let network = interface
                .network
                .as_ref()
                .map_or("-".to_owned(), ToString::to_string);
            line("interface", format!("{mac} in {network}"));
        }
        for item in &manifest.not_packed {
            line("not packed", format!("{}: {}", item.what, item.fate));
        }
        for warning in &manifest.warnings {
            line("warning", warning.to_string());
        }
        lines.join("\n")
    })?;
    let complete = installed
        .images
        .iter()
        .all(|image| !matches!(image, Presence::Missing | Presence::Damaged));
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
