//! `miniascape net`: networks as files.

mod adopt;
mod diff;
mod firewall;
mod import;
mod show;
mod status;
mod validate;

use super::later::{self, Reached};
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::host::{Libvirt, Services, bus};
use miniascape::name::NetworkName;
use miniascape::network::{
    self, Compiled, FindError, Finder, Found, Network, Registration, Step, Target, Wait, find,
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
    /// Wait until the process answers as a network's dnsmasq: for its unit, which is active then
    #[command(hide = true)]
    Await {
        /// The network's name
        network: NetworkName,
        /// The process that is to answer
        #[arg(long, value_name = "PID")]
        process: u32,
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
        Args::Validate { networks } => validate::run(context, networks),
        Args::Compile { network, output } => {
            validate::compile(context, network, output).map(|()| ExitCode::SUCCESS)
        }
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
        Args::Await { network, process } => {
            Ok(ExitCode::from(u8::from(!bus::await_dnsmasq(network, *process))))
        }
        Args::List => status::list(context),
        Args::Status { network } => status::run(context, &named(context, network)?),
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
