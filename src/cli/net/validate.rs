//! `net validate` and `net compile`: what needs neither libvirt nor root.

use super::{compiled, found, warn};
use crate::cli::{Context, Failure, Format};
use fs_err as fs;
use miniascape::host::files;
use miniascape::network::{FindError, Finder, Found, NetworkError};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Checks every definition, so that one run shows the mistakes of all. As JSON there is one line for each definition
/// that could be read, right or wrong.
pub(super) fn run(context: &Context, networks: &[String]) -> Result<ExitCode, Failure> {
    let mut status = ExitCode::SUCCESS;
    let libvirt = || context.libvirt_for_reading().ok();
    let finder = Finder::to_validate(context.layout(), &libvirt);
    for text in networks {
        let result = finder.find(text);
        if context.format() == Format::Json
            && let Some(value) = verdict(text, &result)
        {
            context.output().event(&value, String::new)?;
            if result.is_err() {
                status = ExitCode::from(2);
            }
            continue;
        }
        match result {
            Ok(found) => {
                warn(context, &found);
                let (name, hosts) = (found.network.name(), count(&found));
                let auto = chosen(&found);
                let line = || format!("{}: network {name}, {hosts}{auto}, fine", found.path.display());
                context.output().event(&(), line)?;
            }
            Err(error) => status = Failure::from(error).report(context.format()),
        }
    }
    Ok(status)
}

/// The number of a network's hosts, and where they stand if not all do in the definition.
fn count(found: &Found) -> String {
    let [own, people, guests] = found.hosts_by_origin();
    let mut text = match own + people + guests {
        1 => "1 host".to_owned(),
        all => format!("{all} hosts"),
    };
    let others: Vec<String> = [(people, "in drop-ins"), (guests, "from guests")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, place)| format!("{count} {place}"))
        .collect();
    if !others.is_empty() {
        text = format!("{text} ({})", others.join(", "));
    }
    text
}

/// What `auto` stands for in a network, as part of a sentence.
fn chosen(found: &Found) -> String {
    let mut text = String::new();
    if let Some(subnet) = found.chosen.subnet {
        text = format!(", subnet {subnet} by auto");
    }
    let hosts = found.network.hosts().iter().filter_map(|host| {
        let address = found.chosen.hosts.get(&host.name)?;
        Some(format!("{} {address}", host.name))
    });
    let hosts: Vec<String> = hosts.collect();
    match hosts.as_slice() {
        [] => text,
        few if few.len() <= 5 => format!("{text}, addresses by auto: {}", few.join(", ")),
        many => format!("{text}, {} addresses by auto", many.len()),
    }
}

/// What JSON says of a definition; `None` when there is none to speak of.
fn verdict(text: &str, result: &Result<Found, FindError>) -> Option<serde_json::Value> {
    match result {
        Ok(found) => {
            let [definition, drop_ins, guests] = found.hosts_by_origin();
            Some(json!({
                "file": found.path, "network": found.network.name(), "valid": true,
                "hosts": { "definition": definition, "drop_ins": drop_ins, "guests": guests },
                "auto": found.chosen,
                "errors": [], "warnings": found.warnings,
            }))
        }
        Err(FindError::Network(NetworkError::Definition(problems))) => Some(json!({
            "file": problems.list().first().map_or(text, |problem| &problem.file), "network": null, "valid": false,
            "errors": problems.list(), "warnings": [],
        })),
        Err(_) => None,
    }
}

/// Writes the files that libvirt and dnsmasq would read.
pub(super) fn compile(context: &Context, text: &str, output: &Path) -> Result<(), Failure> {
    let found = found(context, text)?;
    let compiled = compiled(context, &found)?;
    let write = || -> std::io::Result<Vec<PathBuf>> {
        fs::create_dir_all(output)?;
        let mut written = Vec::new();
        for file in compiled.files() {
            let path = output.join(file.name);
            files::write(&path, file.content.as_bytes(), file.mode)?;
            written.push(path);
        }
        Ok(written)
    };
    let written = write()?;
    let value = json!({ "network": found.network.name(), "files": written });
    context.output().report(&value, || {
        let lines: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        lines.join("\n")
    })
}
