//! `miniascape guest`: guests by hand. Here are the arguments and the list; the verbs are in the files below.

mod create;
mod delete;
mod life;
pub(super) mod packaged;
mod reset;
mod status;

use self::create::Create;
use self::life::{Goal, StartGoal};
use super::output::table;
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::guest::{self, GuestStatus};
use miniascape::name::{GuestName, printable};
use miniascape::package::GuestPackage;
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
        --network net-1,mac=52:54:00:01:00:10\n         \
        miniascape guest create db --disk new:20GiB --network net-1 --ip auto --name db"
    )]
    Create(Create),
    /// Delete a guest that is off, with the host entries that it brought; its disks stay unless told otherwise
    #[command(after_help = "Example: miniascape guest delete web --yes --disks")]
    Delete {
        /// The guest
        name: String,
        /// Also its disks, as far as they are in its own directory, and its firmware variables
        #[arg(long)]
        disks: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Start a guest
    #[command(after_help = "Example: miniascape guest start web --wait lease")]
    Start {
        /// The guest
        name: String,
        /// Wait until it runs, or until it gets a lease in a registered network
        #[arg(long, value_enum, value_name = "FOR")]
        wait: Option<StartGoal>,
        /// How long to wait, as in 90s or 5m
        #[arg(long, value_name = "TIME", env = "MINIASCAPE_TIMEOUT", default_value = "120s", value_parser = duration)]
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
    /// Make guests from an installed guest package, or bring its guests up to it (its scriptlets call this)
    #[command(after_help = "Example: miniascape guest register vm-web --as web-2")]
    Register {
        /// The guest package
        package: GuestPackage,
        /// Make one more guest, of this name, with addresses of its own
        #[arg(long = "as", value_name = "NAME")]
        name: Option<GuestName>,
        /// Give it also what the package asks for without declaring it, such as devices of this host
        #[arg(long)]
        trust: bool,
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
    /// Tell what a guest stands on, what was changed about it, and what a reset would change
    #[command(after_help = "Example: miniascape guest status web")]
    Status {
        /// The guest; without it, all guests from packages
        name: Option<String>,
    },
    /// Begin a guest from a package anew: its disks and what was changed about it go, name and addresses stay
    #[command(after_help = "Example: miniascape guest reset web --keep-overlay")]
    Reset {
        /// The guest
        name: String,
        /// Keep the old disks, beside the new ones
        #[arg(long)]
        keep_overlay: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
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
        #[arg(long, value_name = "TIME", env = "MINIASCAPE_TIMEOUT", default_value = "120s", value_parser = duration)]
        timeout: Duration,
    },
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
        Args::Create(request) => create::create(context, request)?,
        Args::Delete {
            name,
            disks,
            yes,
            dry_run,
        } => delete::delete(context, name, *disks, *yes, *dry_run)?,
        Args::Register {
            package,
            name,
            trust,
            dry_run,
        } => packaged::register(context, package, name.as_ref(), *trust, *dry_run)?,
        Args::Status { name } => status::status(context, name.as_deref())?,
        Args::Reset {
            name,
            keep_overlay,
            yes,
            dry_run,
        } => reset::reset(context, name, *keep_overlay, *yes, *dry_run)?,
        Args::Unregister { package, dry_run } => packaged::unregister(context, package, *dry_run)?,
        Args::Start {
            name,
            wait,
            timeout,
            dry_run,
        } => life::start(context, name, *wait, *timeout, *dry_run)?,
        Args::Shutdown {
            name,
            timeout,
            force_after,
            dry_run,
        } => {
            life::shutdown(context, name, *timeout, *force_after, *dry_run)?;
        }
        Args::Wait { name, goal, timeout } => life::wait(context, name, *goal, *timeout)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context) -> Result<(), Failure> {
    let libvirt = context.libvirt_for_reading()?;
    let guests = guest::list(context.layout(), &libvirt)?;
    let row = |g: &GuestStatus| {
        let joined = |words: Vec<String>| match (words.is_empty(), &g.unknown) {
            (true, None) => "-".to_owned(),
            (true, Some(_)) => "?".to_owned(),
            (false, _) => printable(&words.join(","), 200),
        };
        [
            printable(&g.name, 64),
            g.state.to_string(),
            joined(g.networks.clone()),
            joined(g.addresses.iter().map(|a| a.ip.to_string()).collect()),
        ]
    };
    for guest in &guests {
        if let Some(reason) = &guest.unknown {
            let name = printable(&guest.name, 64);
            context
                .output()
                .note(format!("note: the domain XML of {name} cannot be read: {reason}"));
        }
    }
    context.output().result(&guests, || {
        let rows: Vec<_> = guests.iter().map(row).collect();
        table(["NAME", "STATE", "NETWORKS", "ADDRESSES"], &rows, "no guests")
    })
}
