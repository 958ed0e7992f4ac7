//! `miniascape guest`: guests by hand.

use super::output::table;
use super::{Context, Failure, registration};
use clap::{Subcommand, ValueEnum};
use miniascape::guest::{
    self, Awaited, DiskRequest, FirmwareKind, GuestError, GuestStatus, LeaseWait, MachineType, NicRequest,
    Request, Size, WaitError,
};
use miniascape::host::libvirt::GraceError;
use miniascape::host::{DomainState, Libvirt};
use miniascape::install;
use miniascape::name::GuestName;
use miniascape::package::GuestPackage;
use miniascape::template::Templates;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List the guests of this host
    #[command(after_help = "Example: miniascape guest list --format json")]
    List,
    /// Create a guest from existing or new disks
    #[command(
        after_help = "Example: miniascape guest create web --disk /var/lib/libvirt/images/web.qcow2 \\\n             \
        --network net-1,mac=52:54:00:01:00:10"
    )]
    Create(Create),
    /// Start a guest
    #[command(after_help = "Example: miniascape guest start web --wait lease")]
    Start {
        /// The guest
        name: String,
        /// Wait until it runs, or until it gets a lease in a registered network
        #[arg(long, value_enum, value_name = "FOR")]
        wait: Option<StartGoal>,
        /// How long to wait, as in 90s or 5m
        #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
        timeout: Duration,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Ask a guest to shut down, and wait until it has
    #[command(after_help = "Example: miniascape guest shutdown web --force-after 2m")]
    Shutdown {
        /// The guest
        name: String,
        /// How long it may take, as in 90s or 5m
        #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration, conflicts_with = "force_after")]
        timeout: Duration,
        /// Pull the plug if it still runs after this time
        #[arg(long, value_name = "TIME", value_parser = duration)]
        force_after: Option<Duration>,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a guest from an installed guest package (its scriptlets call this)
    #[command(after_help = "Example: miniascape guest register vm-web")]
    Register {
        /// The guest package
        package: GuestPackage,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the guests of a removed package out of libvirt; their disks stay
    #[command(after_help = "Example: miniascape guest unregister vm-web")]
    Unregister {
        /// The guest package
        package: GuestPackage,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Wait until a guest runs, is off, or has a lease
    #[command(after_help = "Example: miniascape guest wait web --for lease --timeout 60s")]
    Wait {
        /// The guest
        name: String,
        /// What to wait for
        #[arg(long = "for", value_enum, value_name = "WHAT")]
        goal: Goal,
        /// How long to wait, as in 90s or 5m
        #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
        timeout: Duration,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The guest's name
    name: GuestName,
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// Its virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    vcpus: u32,
    /// A disk: PATH[,format=qcow2|raw], or new:SIZE[,format=...]; may be given several times. The format of PATH can be
    /// left out only for a .qcow2 file without a backing file
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<DiskRequest>,
    /// An interface in a libvirt network: NETWORK[,mac=MAC]; may be given several times
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<NicRequest>,
    /// The machine type
    #[arg(long, value_name = "TYPE", default_value = "q35")]
    machine: MachineType,
    /// What it boots with: bios or efi
    #[arg(long, default_value = "bios")]
    firmware: FirmwareKind,
    /// Keep the output of its serial port in FILE
    #[arg(long, value_name = "FILE")]
    serial_log: Option<PathBuf>,
    /// Give it a display, served by VNC on a Unix socket
    #[arg(long)]
    vnc: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What `guest wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// It executes
    Running,
    /// An interface of it holds a lease
    Lease,
    /// It is off
    Shutoff,
}

/// What `guest start` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartGoal {
    /// It executes
    Running,
    /// An interface of it was handed a lease after the start
    Lease,
}

/// `90`, `90s`, `5m`, `1h 30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|d| Duration::try_from(d).ok()),
    };
    // A year is for ever.
    parsed
        .filter(|d| d.as_secs() <= 366 * 86400)
        .ok_or_else(|| "write a time such as 90s, 5m or 1h, at most a year".to_owned())
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::List => list(context)?,
        Args::Create(request) => create(context, request)?,
        Args::Register { package, dry_run } => registration::register(context, package, *dry_run)?,
        Args::Unregister { package, dry_run } => registration::unregister(context, package, *dry_run)?,
        Args::Start {
            name,
            wait,
            timeout,
            dry_run,
        } => start(context, name, *wait, *timeout, *dry_run)?,
        Args::Shutdown {
            name,
            timeout,
            force_after,
            dry_run,
        } => {
            shutdown(context, name, *timeout, *force_after, *dry_run)?;
        }
        Args::Wait { name, goal, timeout } => wait(context, name, *goal, *timeout)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context) -> Result<(), Failure> {
    let libvirt = context.libvirt_for_reading()?;
    let guests = guest::list(context.layout(), &libvirt)?;
    let row = |g: &GuestStatus| {
        let addresses: Vec<String> = g.addresses.iter().map(|a| a.ip.to_string()).collect();
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let name = miniascape::name::printable(&g.name, 64);
        [
            name,
            g.state.to_string(),
            or_dash(g.networks.join(",")),
            or_dash(addresses.join(",")),
        ]
    };
    context.output().result(&guests, || {
        let rows: Vec<_> = guests.iter().map(row).collect();
        table(["NAME", "STATE", "NETWORKS", "ADDRESSES"], &rows, "no guests")
    })
}

fn create(context: &Context, args: &Create) -> Result<(), Failure> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|e| Failure::usage(format!("--serial-log {}: {e}", path.display())))
    };
    let request = Request {
        name: args.name.clone(),
        memory: args.memory,
        vcpus: args.vcpus,
        machine: args.machine.clone(),
        firmware: args.firmware,
        disks: args.disks.clone(),
        nics: args.networks.clone(),
        serial_log: args.serial_log.as_ref().map(absolute).transpose()?,
        vnc: args.vnc,
    };
    let templates = Templates::with_replacements(context.layout().templates().on_disk())?;
    let libvirt = context.local_libvirt(args.dry_run)?;
    let made = guest::make(&request, context.layout(), &libvirt, &templates, args.dry_run)?;
    context.output().report(&made, || {
        let done = if args.dry_run {
            "would be created"
        } else {
            "created"
        };
        let how = match made.runs_as {
            "kvm" => "with KVM",
            _ => "under software emulation",
        };
        format!("{} {done}; it runs {how} ({})", made.guest, made.because)
    })
}

/// The state of a guest that has to exist.
fn known(libvirt: &Libvirt, name: &str) -> Result<DomainState, Failure> {
    match libvirt.domain(name)? {
        Some(record) => Ok(record.state),
        None => Err(GuestError::Unknown(name.to_owned()).into()),
    }
}

fn start(
    context: &Context,
    name: &str,
    goal: Option<StartGoal>,
    timeout: Duration,
    dry_run: bool,
) -> Result<(), Failure> {
    let libvirt = context.libvirt(dry_run)?;
    let state = known(&libvirt, name)?;
    if state.is_active() {
        // A guest that runs may long have its lease.
        if goal == Some(StartGoal::Lease) && !dry_run {
            return wait(context, name, Goal::Lease, timeout);
        }
        return context.output().report(
            &json!({ "guest": name, "changed": false, "state": state }),
            || format!("{name} is {state} already"),
        );
    }
    if dry_run {
        let value = json!({ "guest": name, "changed": true, "dry_run": true });
        return context
            .output()
            .report(&value, || format!("{name} would be started"));
    }
    let lease = match goal {
        Some(StartGoal::Lease) => Some(LeaseWait::open(context.layout(), &libvirt, name, false)?),
        _ => None,
    };
    if let Ok(name) = name.parse() {
        install::check_images(context.layout(), &name)?;
    }
    libvirt.start_domain(name)?;
    if let Some(lease) = lease {
        return tell(context, name, &lease.finish(&libvirt, timeout)?, true);
    }
    if goal == Some(StartGoal::Running) {
        return wait(context, name, Goal::Running, timeout);
    }
    context.output().report(
        &json!({ "guest": name, "changed": true, "state": libvirt.domain_state(name)? }),
        || format!("{name} started"),
    )
}

fn shutdown(
    context: &Context,
    name: &str,
    timeout: Duration,
    force_after: Option<Duration>,
    dry_run: bool,
) -> Result<(), Failure> {
    let libvirt = context.libvirt(dry_run)?;
    let state = known(&libvirt, name)?;
    if !state.is_active() {
        return context.output().report(
            &json!({ "guest": name, "changed": false, "state": state }),
            || format!("{name} is {state} already"),
        );
    }
    if dry_run {
        let value = json!({ "guest": name, "changed": true, "dry_run": true });
        return context
            .output()
            .report(&value, || format!("{name} would be shut down"));
    }
    let forced = match libvirt.shutdown_domain(name, force_after.unwrap_or(timeout)) {
        Ok(()) => false,
        Err(GraceError::StillRunning { .. }) if force_after.is_some() => {
            libvirt.destroy_domain(name)?;
            true
        }
        Err(error) => return Err(error.into()),
    };
    let value = json!({ "guest": name, "changed": true, "state": DomainState::Shutoff, "forced": forced });
    context.output().report(&value, || {
        if forced {
            format!("{name} did not shut down in time and was stopped hard")
        } else {
            format!("{name} is off")
        }
    })
}

fn wait(context: &Context, name: &str, goal: Goal, timeout: Duration) -> Result<(), Failure> {
    let libvirt = context.libvirt_for_reading()?;
    known(&libvirt, name)?;
    let awaited = match goal {
        Goal::Lease => LeaseWait::open(context.layout(), &libvirt, name, true)?.finish(&libvirt, timeout)?,
        Goal::Running | Goal::Shutoff => {
            let wanted = |state: DomainState| match goal {
                Goal::Running => state == DomainState::Running,
                _ => !state.is_active(),
            };
            let state = libvirt
                .wait_domain(name, timeout, wanted)?
                .map_err(|state| WaitError::Timeout {
                    name: name.to_owned(),
                    missing: format!("still {state}"),
                    timeout,
                })?;
            Awaited::State(state)
        }
    };
    tell(context, name, &awaited, false)
}

fn tell(context: &Context, name: &str, awaited: &Awaited, changed: bool) -> Result<(), Failure> {
    match awaited {
        Awaited::State(state) => {
            let value = json!({ "guest": name, "changed": changed, "state": state });
            context.output().report(&value, || format!("{name} is {state}"))
        }
        Awaited::Lease(address) => {
            let value = json!({ "guest": name, "changed": changed, "lease": address });
            context.output().report(&value, || {
                format!("{name} has {} in {}", address.ip, address.network)
            })
        }
    }
}
