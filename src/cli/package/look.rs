//! `miniascape package list` and `show`: what is installed, by whom, and what it is for. Nothing is changed.

use crate::cli::output::{size, table};
use crate::cli::progress::{Style, Teller};
use crate::cli::repack::is_package_file;
use crate::cli::{Context, Failure};
use miniascape::install::{self, Manager};
use miniascape::name::printable;
use miniascape::package::{self, Contents, GuestPackage, Installed, Layer, Manifest, Presence, Role, Word};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

/// A row of the list, and an entry of its JSON.
#[derive(Serialize)]
struct Row<'a> {
    package: &'a GuestPackage,
    version: &'a miniascape::name::PackageVersion,
    guest: String,
    /// `rpm`, `deb`, `tar`; none if nobody knows who brought it.
    kind: Option<&'static str>,
    /// The guests made from it; none for those who may not look.
    instances: Option<Vec<String>>,
    /// Bytes of its images, also of those that it shares with others.
    size: u64,
    images: Vec<Value>,
}

/// One row per package. A package that cannot be read is reported beside the others, and the status is 1.
pub(super) fn list(context: &Context) -> Result<ExitCode, Failure> {
    let all = package::list(context.layout())?;
    let kinds = kinds(context, all.iter().flatten())?;
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    let mut status = ExitCode::SUCCESS;
    for result in &all {
        match result {
            Ok(installed) => {
                let row = row(context, installed, &kinds)?;
                let complete = installed.images.iter().all(|image| *image == Presence::Present);
                let names = row.instances.as_ref().map(|names| names.join(","));
                rows.push([
                    row.package.to_string(),
                    row.version.to_string(),
                    row.kind.unwrap_or("-").to_owned(),
                    names.map_or(
                        "?".to_owned(),
                        |names| if names.is_empty() { "-".into() } else { names },
                    ),
                    format!(
                        "{} {}",
                        row.images.len(),
                        if complete { "complete" } else { "incomplete" }
                    ),
                    size(row.size),
                ]);
                values.push(json!(row));
            }
            Err(error) => {
                context.output().warn(error.to_string());
                values.push(json!({ "error": error.to_string() }));
                status = ExitCode::FAILURE;
            }
        }
    }
    let header = ["PACKAGE", "VERSION", "KIND", "INSTANCES", "IMAGES", "SIZE"];
    context
        .output()
        .result(&values, || table(header, &rows, "no guest packages"))?;
    Ok(status)
}

/// Who brought the packages.
fn kinds<'a>(
    context: &Context,
    packages: impl Iterator<Item = &'a Installed>,
) -> Result<HashMap<GuestPackage, &'static str>, Failure> {
    let packages: Vec<&GuestPackage> = packages.map(|installed| &installed.package).collect();
    let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
    let managed = install::managed(context.layout(), &names)?;
    let mut kinds = HashMap::new();
    for package in packages {
        let kind = match managed.get(package.as_str()).map(|managed| managed.manager) {
            Some(Manager::Rpm) => "rpm",
            Some(Manager::Dpkg) => "deb",
            None if install::is_unpacked(context.layout(), package)? => "tar",
            None => continue,
        };
        kinds.insert(package.clone(), kind);
    }
    Ok(kinds)
}

fn row<'a>(
    context: &Context,
    installed: &'a Installed,
    kinds: &HashMap<GuestPackage, &'static str>,
) -> Result<Row<'a>, Failure> {
    let section = &installed.manifest.package;
    let instances = match install::outcome(context.layout(), None, &installed.package) {
        Ok(outcome) => Some(
            outcome
                .guests
                .iter()
                .map(|guest| guest.name.to_string())
                .collect(),
        ),
        Err(install::InstallError::Io(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) => return Err(error.into()),
    };
    let layers = installed.manifest.images();
    Ok(Row {
        package: &section.name,
        version: &section.version,
        guest: section.guest.to_string(),
        kind: kinds.get(&installed.package).copied(),
        instances,
        size: layers
            .iter()
            .fold(0, |sum, layer| sum.saturating_add(layer.file_size)),
        images: images(layers.into_iter().zip(&installed.images)),
    })
}

fn images<'a, T: Serialize + 'a>(layers: impl Iterator<Item = (&'a Layer, &'a T)>) -> Vec<Value> {
    let image = |(layer, state): (&Layer, &T)| {
        json!({
            "package": layer.package, "digest": layer.digest, "role": layer.role, "size": layer.file_size,
            "state": state,
        })
    };
    layers.map(image).collect()
}

const fn word(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "there",
        Presence::Missing => "missing",
        Presence::Damaged => "damaged",
        Presence::Unknown => "only root may look",
    }
}

/// A package that is installed, or one in a file.
pub(super) fn show(context: &Context, text: &str, style: Style) -> Result<ExitCode, Failure> {
    if text.contains('/') || is_package_file(text) {
        return show_file(context, Path::new(text), style);
    }
    let package: GuestPackage = text.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let installed = package::show(context.layout(), &package)?;
    let manifest = &installed.manifest;
    let kinds = kinds(context, std::iter::once(&installed))?;
    let row = row(context, &installed, &kinds)?;
    let value = json!({
        "kind": row.kind, "instances": row.instances, "manifest": manifest, "images": row.images,
    });
    context.output().result(&value, || {
        let mut about = vec![("kind", row.kind.unwrap_or("-").to_owned())];
        about.extend(
            row.instances
                .iter()
                .flatten()
                .map(|name| ("instance", name.clone())),
        );
        let states = installed.images.iter().map(|presence| word(*presence).to_owned());
        told(manifest, about, states)
    })?;
    let gone = |image: &Presence| matches!(image, Presence::Missing | Presence::Damaged);
    Ok(if installed.images.iter().any(gone) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn show_file(context: &Context, path: &Path, style: Style) -> Result<ExitCode, Failure> {
    let teller = Teller::new(context, style);
    let contents = package::contents(path, &teller);
    teller.finish(contents.is_ok());
    let Contents {
        found,
        guest,
        images: held,
        ..
    } = &contents?;
    let file = printable(&path.to_string_lossy(), 400);
    let Some(guest) = guest else {
        let value = json!({ "file": file, "content": found });
        context.output().result(&value, || {
            let image = |(digest, bytes): &(miniascape::name::Digest, u64)| {
                format!("\n  {:<10} {}, {}", "image", digest.file_name(), size(*bytes))
            };
            let images: String = held.iter().map(image).collect();
            format!("{} {}{images}", found.package, found.version)
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let layers = guest.manifest.images();
    let state = |layer: &&Layer| {
        if held.iter().any(|(digest, _)| *digest == layer.digest) {
            "in the file".to_owned()
        } else {
            format!("in {}", layer.package)
        }
    };
    let states: Vec<String> = layers.iter().map(state).collect();
    let value = json!({
        "file": file, "content": found, "manifest": guest.manifest, "images": images(layers.into_iter().zip(&states)),
    });
    context.output().result(&value, || {
        told(
            &guest.manifest,
            vec![("file", file.clone())],
            states.iter().cloned(),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A package for people: `about` it, and the state of each image.
fn told(manifest: &Manifest, about: Vec<(&str, String)>, states: impl Iterator<Item = String>) -> String {
    let mut lines = vec![format!("{} {}", manifest.package.name, manifest.package.version)];
    let mut line = |key: &str, value: String| lines.push(format!("  {key:<10} {value}"));
    line("guest", manifest.package.guest.to_string());
    for (key, value) in about {
        line(key, value);
    }
    line("made", format!("{} by {}", manifest.created, manifest.tool));
    let domain = &manifest.domain;
    let or_any = |word: &Option<Word>| word.as_ref().map_or("any".to_owned(), ToString::to_string);
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
    for (layer, state) in manifest.images().into_iter().zip(states) {
        let role = match layer.role {
            Role::Base => "base",
            Role::Delta => "delta",
        };
        let file = layer.digest.file_name();
        line(role, format!("{file}, {}, {state}", size(layer.file_size)));
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
}
