//! `miniascape net import`: definitions made from what other tools have.

use crate::cli::{Context, Failure};
use miniascape::host::files;
use miniascape::name::is_path;
use miniascape::network::import::{self, Imported};
use miniascape::network::{NetworkError, Observed};
use miniascape::yaml::MAX_FILE;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A libvirt network's name, a file of its XML (.xml), or a definition in the form of the first releases
    #[arg(value_name = "NAME|FILE")]
    network: String,
    /// Where the definition goes, `-` for standard output; by default /etc/miniascape/networks/NAME.yaml
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write it also where there is another file already
    #[arg(long)]
    force: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let imported = imported(context, &args.network)?;
    for lost in &imported.lost {
        context.output().warn(lost);
    }
    for warning in &imported.warnings {
        context.output().warn(warning.to_string());
    }
    let name = imported.network.name();
    let output = match &args.output {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path.clone()),
        None => Some(
            context
                .layout()
                .definitions()
                .join(format!("{name}.yaml"))
                .on_disk()
                .to_owned(),
        ),
    };
    let Some(path) = output else {
        let value = json!({
            "network": name, "file": null, "changed": false, "not_carried_over": imported.lost, "definition": imported.text,
        });
        return context
            .output()
            .result(&value, || imported.text.trim_end().to_owned());
    };
    let changed = write(&path, &imported.text, args)?;
    let value = json!({
        "network": name, "file": path, "changed": changed, "dry_run": args.dry_run, "not_carried_over": imported.lost,
    });
    context.output().report(&value, || {
        let path = path.display();
        match (changed, args.dry_run) {
            (false, _) => format!("{path} is this definition of {name} already; nothing to do"),
            (true, true) => format!("{name} would be written to {path}"),
            (true, false) => format!("{name} written to {path}"),
        }
    })
}

/// What is to be imported, made a definition.
fn imported(context: &Context, text: &str) -> Result<Imported, Failure> {
    if !is_path(text) {
        let libvirt = context.libvirt_for_reading()?;
        let Some(record) = libvirt.network(text)? else {
            return Err(Failure::failed(format!(
                "libvirt has no network {}",
                miniascape::name::printable(text, 80)
            ))
            .hint("`miniascape net list` shows what there is; for a file write its path"));
        };
        if Observed::parse(&record.xml).ours {
            return Err(Failure::refused(format!(
                "the network {text} is miniascape's own: it has a definition"
            ))
            .hint(format!("`miniascape net show {text}` shows it")));
        }
        return Ok(import::from_libvirt(text, &record.xml)?);
    }
    let bytes = files::read_at_most(Path::new(text), MAX_FILE).map_err(NetworkError::Read)?;
    if Path::new(text).extension().is_some_and(|ending| ending == "xml") {
        Ok(import::from_libvirt(text, &String::from_utf8_lossy(&bytes))?)
    } else {
        Ok(import::rewrite(text, &bytes)?)
    }
}

/// Writes the definition, unless it is there; true if that changes anything.
fn write(path: &Path, text: &str, args: &Args) -> Result<bool, Failure> {
    match files::read_if_there(path)? {
        Some(there) if there == text.as_bytes() => return Ok(false),
        Some(_) if !args.force => {
            return Err(
                Failure::refused(format!("there is another {} already", path.display()))
                    .hint("look at the new one with `--output -`; `--force` replaces the file"),
            );
        }
        _ => {}
    }
    if !args.dry_run {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files::make_dir(parent, 0o755)?;
        }
        files::write(path, text.as_bytes(), 0o644)?;
    }
    Ok(true)
}
