//! `miniascape net import`: definitions made from what other tools have, and networks of libvirt's taken over.

use super::{compiled, compiled_network, settled};
use crate::cli::{Context, Failure, later};
use miniascape::host::{Services, files};
use miniascape::name::{NetworkName, is_path};
use miniascape::network::import::{self, Imported};
use miniascape::network::{self, FindError, NetworkError, Observed, RegisterError, Step, Target};
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
    /// Take the network over as well: its dnsmasq is miniascape's from now on, and guests keep their leases and stay
    /// plugged in. A definition that is there already is taken as it is
    #[arg(long, conflicts_with = "output")]
    adopt: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.adopt {
        return adopt(context, args);
    }
    let imported = imported(context, &args.network)?;
    warn(context, &imported);
    let name = imported.network.name();
    let output = match &args.output {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path.clone()),
        None => Some(definition(context, name)),
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

fn warn(context: &Context, imported: &Imported) {
    for lost in &imported.lost {
        context.output().warn(lost);
    }
    for warning in &imported.warnings {
        context.output().warn(warning.to_string());
    }
}

/// Where the definition of the network belongs.
fn definition(context: &Context, name: &NetworkName) -> PathBuf {
    let file = context.layout().definitions().join(format!("{name}.yaml"));
    file.on_disk().to_owned()
}

/// Imports a network of libvirt's and takes it over. What is there of an earlier run is not made again.
fn adopt(context: &Context, args: &Args) -> Result<(), Failure> {
    if is_path(&args.network) {
        return Err(Failure::usage(
            "`--adopt` is for a network that libvirt has: write its name, not a file",
        ));
    }
    let libvirt = context.local_libvirt(args.dry_run)?;
    let name: NetworkName = args.network.parse().map_err(FindError::Name)?;
    let Some(record) = libvirt.network(name.as_str())? else {
        return Err(RegisterError::Absent(name).into());
    };
    let services = Services::of(context.layout());
    let target = Target {
        layout: context.layout(),
        libvirt: &libvirt,
        services: &services,
    };
    let path = definition(context, &name);
    let ours = Observed::parse(&record.xml).ours;
    let mut lost = Vec::new();
    let mut written = false;
    let report = if !ours && (args.force || !path.exists()) {
        let imported = import::from_libvirt(name.as_str(), &record.xml)?;
        warn(context, &imported);
        // Refused before anything is written.
        let compiled = compiled_network(context, &imported.network)?;
        let planned = network::adopt(&imported.network, &compiled, &path, &target, true)?;
        lost = imported.lost;
        written = write(&path, &imported.text, args)?;
        args.dry_run.then_some(planned)
    } else {
        None
    };
    let report = if let Some(report) = report {
        report
    } else {
        let found = settled(context, name.as_str(), args.dry_run)?;
        let compiled = compiled(context, &found)?;
        let source = later::source(&found);
        let report = network::adopt(&found.network, &compiled, &source, &target, args.dry_run)?;
        super::warn_of_needs(context, &found.network, &report, &target, args.dry_run);
        report
    };
    let kept = context.layout().adopted(&name).on_disk().to_owned();
    let value = json!({
        "network": name, "file": path, "changed": written || !report.steps.is_empty(), "dry_run": args.dry_run,
        "not_carried_over": lost, "steps": report.steps, "libvirt_xml": kept,
    });
    context.output().report(&value, || {
        let steps: Vec<String> = report.steps.iter().map(Step::to_string).collect();
        let (path, kept) = (path.display(), kept.display());
        let steps = steps.join(", ");
        match (report.steps.is_empty(), args.dry_run) {
            (true, _) => format!("{name} is miniascape's already; nothing to do"),
            (false, true) => format!("{name} would be adopted: {steps}"),
            (false, false) => format!(
                "{name} adopted: {steps}\nits definition is {path}; what it was in libvirt is kept in {kept}"
            ),
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
