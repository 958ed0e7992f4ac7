//! `miniascape net`: networks as files.

mod adopt;
mod diff;
mod firewall;
mod import;
mod show;

use super::later::{self, Reached};
use super::output::table;
use super::{Context, Failure, Format};
use clap::Subcommand;
use fs_err as fs;
use miniascape::host::{Libvirt, Services, files};
use miniascape::name::NetworkName;
use miniascape::network::{
    self, Compiled, FindError, Finder, Found, Network, NetworkError, Owner, Registration, StatusError, Step,
    Target, Wait, find,
};
use miniascape::template::Templates;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Check definitions without touching anything
    #[command(after_help = "Example: miniascape net validate networks/net-1.yaml")]
    Validate {
        /// Names of networks, or definition files
        #[arg(required = true, value_name = "NAME|FILE")]
        networks: Vec<String>,
    },
    /// Write the files that libvirt and dnsmasq would read
    #[command(after_help = "Example: miniascape net compile networks/net-1.yaml --output out")]
    Compile {
        /// A network's name, or a definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
        /// The directory to write to; it is made if it is not there
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Show what a definition means: the whole network, where each entry comes from, which values are defaults
    #[command(after_help = "Example: miniascape net show net-1")]
    Show {
        /// A network's name, or a definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
    },
    /// Make a definition of a libvirt network, its XML, or a file in the form of the first releases
    #[command(
        after_help = "Examples: miniascape net import default --output -\n          miniascape net import default --adopt\n          miniascape net import /srv/old/net-1.yaml"
    )]
    Import(import::Args),
    /// Show what an update would change, and what each change interrupts
    #[command(after_help = "Example: miniascape net diff net-1\n\n\
        Each line names the impact: live, lease renew (machines get it when they renew), dnsmasq restart,\n\
        re-plug (running guests are unplugged and plugged in again) or guest restart.")]
    Diff(diff::Args),
    /// Make a network real: libvirt's network and its own dnsmasq
    #[command(after_help = "Example: miniascape net register net-1\n\n\
        While libvirt is down it is put on record as pending, with exit status 0; the next command that\n\
        changes something, the daemon, or the next boot does it when libvirt answers.")]
    Register {
        /// A network's name, or a definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a registered network follow its changed definition, interrupting as little as possible
    #[command(after_help = "Example: miniascape net update net-1 --dry-run\n\n\
        While libvirt is down a registration is put on record as pending.")]
    Update {
        /// Names of registered networks, or definition files
        #[arg(required_unless_present = "all", value_name = "NAME|FILE")]
        networks: Vec<String>,
        /// All registered networks
        #[arg(long, conflicts_with = "networks")]
        all: bool,
        /// Keep reservations that `virsh net-update` has put into libvirt's network, and end the dnsmasq of libvirt's that they have started
        #[arg(long)]
        adopt: bool,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a network away again; its definition stays
    #[command(after_help = "Example: miniascape net unregister net-1\n\n\
        While libvirt is down it is put on record as pending; a registration that is only pending is\n\
        cancelled.")]
    Unregister {
        /// The network's name, or its definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
        /// Also when running guests are plugged into it
        #[arg(long)]
        force: bool,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Open the host's firewall for the boot files of a registered network, where it is not open any more
    #[command(after_help = "Example: miniascape net firewall net-1\n\n\
        Registering a network with `boot` does this, and so does the start of its dnsmasq; it is for a\n\
        firewall that was loaded anew meanwhile. `net unregister` closes it.")]
    Firewall {
        /// The network's name, or its definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
    },
    /// List networks: defined, registered, and libvirt's own
    #[command(after_help = "Example: miniascape net list --format json")]
    List,
    /// Tell what a network is doing; ends with 1 if something is wrong
    #[command(after_help = "Example: miniascape net status net-1")]
    Status {
        /// The network's name, or its definition file
        #[arg(value_name = "NAME|FILE")]
        network: String,
    },
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Validate { networks } => validate(context, networks),
        Args::Compile { network, output } => compile(context, network, output).map(|()| ExitCode::SUCCESS),
        Args::Import(args) => import::run(context, args).map(|()| ExitCode::SUCCESS),
        Args::Diff(args) => diff::run(context, args),
        Args::Show { network } => show::run(context, network).map(|()| ExitCode::SUCCESS),
        Args::Register { network, dry_run } => {
            register(context, network, *dry_run).map(|()| ExitCode::SUCCESS)
        }
        Args::Update {
            networks,
            all,
            adopt,
            dry_run,
        } => update(context, networks, *all, *adopt, *dry_run),
        Args::Unregister {
            network,
            force,
            dry_run,
        } => unregister(context, &named(context, network)?, *force, *dry_run).map(|()| ExitCode::SUCCESS),
        Args::Firewall { network } => {
            firewall::run(context, &named(context, network)?).map(|()| ExitCode::SUCCESS)
        }
        Args::List => list(context),
        Args::Status { network } => status(context, &named(context, network)?),
    }
}

/// The definition that `text` stands for; its warnings are shown.
pub(super) fn found(context: &Context, text: &str) -> Result<Found, Failure> {
    let found = find::find(context.layout(), text)?;
    warn(context, &found);
    Ok(found)
}

/// As [`found`], for a network that is about to be made real: what `auto` stands for is put on record, unless in a dry
/// run, and clashes with the host are a refusal.
pub(super) fn settled(context: &Context, text: &str, dry_run: bool) -> Result<Found, Failure> {
    settled_beside(context, text, &|| context.libvirt_for_reading().ok(), dry_run)
}

/// As [`settled`], with `libvirt` to be asked for what else there is, if that has to be known.
pub(super) fn settled_beside(
    context: &Context,
    text: &str,
    libvirt: &dyn Fn() -> Option<Libvirt>,
    dry_run: bool,
) -> Result<Found, Failure> {
    let finder = Finder::to_register(context.layout(), libvirt);
    let found = if dry_run {
        finder.find(text)?
    } else {
        finder.settle(text)?
    };
    warn(context, &found);
    if found.clashes.is_empty() {
        Ok(found)
    } else {
        Err(Failure::clashes(found.network.name(), found.clashes))
    }
}

/// The network that `text`, its name or its definition file, stands for. No definition is needed for a name: it may
/// have been removed since the network was registered.
fn named(context: &Context, text: &str) -> Result<NetworkName, Failure> {
    if miniascape::name::is_path(text) {
        Ok(found(context, text)?.network.name().clone())
    } else {
        Ok(text.parse().map_err(FindError::Name)?)
    }
}

fn warn(context: &Context, found: &Found) {
    for warning in &found.warnings {
        context.output().warn(warning.to_string());
    }
}

pub(super) fn compiled(context: &Context, found: &Found) -> Result<Compiled, Failure> {
    compiled_network(context, &found.network)
}

fn compiled_network(context: &Context, network: &Network) -> Result<Compiled, Failure> {
    let templates = Templates::with_replacements(context.layout().templates().on_disk())?;
    Ok(network::compile(network, context.layout(), &templates)?)
}

/// Checks every definition, so that one run shows the mistakes of all. As JSON there is one line for each definition
/// that could be read, right or wrong.
fn validate(context: &Context, networks: &[String]) -> Result<ExitCode, Failure> {
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

fn compile(context: &Context, text: &str, output: &std::path::Path) -> Result<(), Failure> {
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

pub(super) fn register(context: &Context, text: &str, dry_run: bool) -> Result<(), Failure> {
    let found = settled(context, text, dry_run)?;
    let compiled = compiled(context, &found)?;
    let network = &found.network;
    let source = later::source(&found);
    let now = |target: &Target<'_>| {
        let report = network::register(network, &compiled, &source, target, dry_run)?;
        warn_of_needs(context, network, &report, target, dry_run);
        Ok(report)
    };
    let later = |wait: Wait<'_>| later::register(context, &found, &compiled, wait, dry_run);
    let fail = |error| Failure::of_network(error, &found.path);
    later::now_or_later(context, network.name(), "registered", dry_run, now, fail, later)
}

/// Tells what the host does not give a network that was registered or updated all the same.
pub(super) fn warn_of_needs(
    context: &Context,
    network: &Network,
    report: &Registration,
    target: &Target<'_>,
    dry_run: bool,
) {
    if dry_run || !target.libvirt.is_local() {
        return;
    }
    for unmet in network::unmet_after(network, &report.steps) {
        context.output().warn(format!("{}: {unmet}", report.network));
    }
}

/// Updates one network after the other; a failure is told, and the others are still tried.
pub(super) fn update(
    context: &Context,
    networks: &[String],
    all: bool,
    adopt: bool,
    dry_run: bool,
) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    let networks = if all {
        network::registered(layout)?
            .into_iter()
            .map(|applied| applied.name.to_string())
            .collect()
    } else {
        networks.to_vec()
    };
    let libvirt = match context.reach_libvirt(dry_run, None)? {
        Reached::There(libvirt) => libvirt,
        Reached::Away(reason) if adopt => return Err(Failure::missing(reason)),
        Reached::Away(reason) => return later::update(context, &networks, &reason, dry_run),
    };
    let services = Services::of(layout);
    let target = Target {
        layout,
        libvirt: &libvirt,
        services: &services,
    };
    let one = |text: &String| {
        let found = settled_beside(context, text, &|| Some(libvirt.clone()), dry_run)?;
        if adopt {
            return adopt::run(context, text, &found, &target, dry_run);
        }
        let compiled = compiled(context, &found)?;
        let report = network::update(
            &found.network,
            &compiled,
            &later::source(&found),
            &target,
            dry_run,
        )
        .map_err(|error| Failure::of_network(error, &found.path))?;
        warn_of_needs(context, &found.network, &report, &target, dry_run);
        tell(context, &report, "updated", dry_run)
    };
    let mut last = None;
    for text in &networks {
        if let Err(failure) = one(text)
            && let Some(earlier) = last.replace(failure)
        {
            earlier.report(context.format());
        }
    }
    last.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn unregister(context: &Context, network: &NetworkName, force: bool, dry_run: bool) -> Result<(), Failure> {
    let now = |target: &Target<'_>| network::unregister(network, target, force, dry_run);
    let later = |wait: Wait<'_>| network::unregister_later(network, force, wait, context.layout(), dry_run);
    later::now_or_later(
        context,
        network,
        "unregistered",
        dry_run,
        now,
        Failure::from,
        later,
    )
}

pub(super) fn tell(
    context: &Context,
    report: &Registration,
    done: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    let name = &report.network;
    let value = json!({
        "network": name, "changed": !report.steps.is_empty(), "dry_run": dry_run, "steps": report.steps,
        "pending": false,
    });
    context
        .output()
        .report(&value, || steps_told(report, done, dry_run))
}

fn steps_told(report: &Registration, done: &str, dry_run: bool) -> String {
    let name = &report.network;
    let steps: Vec<String> = report.steps.iter().map(Step::to_string).collect();
    match (steps.as_slice(), dry_run) {
        ([], _) => format!("{name} is {done} already; nothing to do"),
        (steps, true) => format!("{name} would be {done}: {}", steps.join(", ")),
        (steps, false) => format!("{name} {done}: {}", steps.join(", ")),
    }
}

/// Also without libvirt, as far as the files tell; the status then says that something is missing.
fn list(context: &Context) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    let (libvirt, missing) = if layout.is_live() {
        later::libvirt_if_there(context)?
    } else {
        (None, None)
    };
    let all = network::overview(layout, libvirt.as_ref())?;
    if all.is_empty()
        && let Some(missing) = missing
    {
        return Err(missing);
    }
    context.output().result(&all, || {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let rows: Vec<_> = all
            .iter()
            .map(|n| {
                let state = match n.active {
                    Some(true) => "active",
                    Some(false) => "inactive",
                    None => "-",
                };
                let owner = match n.owner {
                    Some(Owner::Miniascape) => "miniascape",
                    Some(Owner::Other) => "other",
                    None => "-",
                };
                [
                    miniascape::name::printable(&n.name, 40),
                    state.to_owned(),
                    yes(n.defined),
                    n.pending
                        .map_or_else(|| yes(n.registered), |verb| format!("{verb} pending")),
                    n.bridge.clone().unwrap_or_else(|| "-".to_owned()),
                    owner.to_owned(),
                ]
            })
            .collect();
        table(
            ["NAME", "STATE", "DEFINED", "REGISTERED", "BRIDGE", "OWNER"],
            &rows,
            "no networks",
        )
    })?;
    missing.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn status(context: &Context, name: &NetworkName) -> Result<ExitCode, Failure> {
    let (libvirt, missing) = later::libvirt_if_there(context)?;
    let services = Services::of(context.layout());
    let (status, missing) = match (
        network::status(context.layout(), libvirt.as_ref(), &services, name),
        missing,
    ) {
        (Err(StatusError::Unknown(_)), Some(missing)) => return Err(missing),
        (status, missing) => (status?, missing),
    };
    context.output().result(&status, || {
        let mut lines = vec![format!("network {name}")];
        let mut line = |key: &str, value: String| lines.push(format!("  {key:<10} {value}"));
        line(
            "registered",
            if status.registered { "yes" } else { "no" }.to_owned(),
        );
        let libvirt = match (status.in_libvirt, status.active, status.autostart) {
            _ if missing.is_some() => "cannot be asked".to_owned(),
            (false, _, _) => "not defined".to_owned(),
            (true, active, autostart) => format!(
                "{}, {}",
                if active { "active" } else { "inactive" },
                if autostart {
                    "starts at boot"
                } else {
                    "does not start at boot"
                }
            ),
        };
        line("libvirt", libvirt);
        line("bridge", status.bridge.clone().unwrap_or_else(|| "-".to_owned()));
        let dnsmasq = match (status.wants_dnsmasq, status.dnsmasq_pid) {
            (false, _) => "none".to_owned(),
            (true, Some(pid)) => format!("running, process {pid}"),
            (true, None) => "not running".to_owned(),
        };
        line("dnsmasq", dnsmasq);
        line("leases", status.leases.to_string());
        line(
            "guests",
            if status.guests.is_empty() {
                "none running".to_owned()
            } else {
                status.guests.join(", ")
            },
        );
        for problem in &status.problems {
            line("problem", problem.clone());
        }
        lines.join("\n")
    })?;
    if let Some(missing) = missing {
        return Err(missing);
    }
    Ok(if status.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
