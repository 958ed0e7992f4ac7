//! `miniascape lease`: what the networks' dnsmasq processes have handed out.

use super::output::table;
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::host::bus;
use miniascape::lease::{self, EventKind, Lease, NetworkEvent, Watch};
use miniascape::name::NetworkName;
use miniascape::network;
use serde::Serialize;
use serde_json::json;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often `watch` looks whether its reader is still there; only a write would tell otherwise, and the next event may
/// be hours away.
const READER_CHECK: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List the leases in the lease files
    #[command(after_help = "Example: miniascape lease list net-1")]
    List {
        /// Networks to look at [default: all registered ones]
        networks: Vec<NetworkName>,
    },
    /// Take leases back: their addresses are free again, and whoever still uses one asks anew in time
    #[command(after_help = "Example: miniascape lease release net-1 192.168.151.201\n\n\
        A machine that is running keeps using its address until it renews: this is for machines that\n\
        are gone.")]
    Release {
        /// The network
        network: NetworkName,
        /// The leased addresses
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<IpAddr>,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Print lease events as dnsmasq signals them, until interrupted
    #[command(after_help = "Example: miniascape lease watch --initial --format json net-1")]
    Watch {
        /// Networks to follow [default: all registered ones]
        networks: Vec<NetworkName>,
        /// First print the leases that are there
        #[arg(long)]
        initial: bool,
    },
}

#[derive(Debug, Serialize)]
struct Row {
    network: NetworkName,
    #[serde(flatten)]
    lease: Lease,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::List { networks } => list(context, &chosen(context, networks)?)?,
        Args::Release {
            network,
            addresses,
            dry_run,
        } => release(context, network, addresses, *dry_run)?,
        Args::Watch { networks, initial } => watch(context, &chosen(context, networks)?, *initial)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The networks asked for, all of them registered and with a dnsmasq; or all such networks.
fn chosen(context: &Context, asked: &[NetworkName]) -> Result<Vec<NetworkName>, Failure> {
    let registered = network::registered(context.layout())?;
    for name in asked {
        match registered.iter().find(|n| n.name == *name) {
            None => {
                return Err(Failure::failed(format!("the network {name} is not registered"))
                    .hint(format!("miniascape net register {name}")));
            }
            Some(network) if !network.dnsmasq => {
                return Err(Failure::failed(format!(
                    "the network {name} has no dnsmasq and so no leases"
                )));
            }
            Some(_) => {}
        }
    }
    if asked.is_empty() {
        return Ok(registered
            .into_iter()
            .filter(|n| n.dnsmasq)
            .map(|n| n.name)
            .collect());
    }
    Ok(asked.to_vec())
}

fn list(context: &Context, networks: &[NetworkName]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for network in networks {
        let mut leases = lease::read(context.layout().leases(network).on_disk())?;
        leases.sort_by_key(|lease| lease.ip);
        rows.extend(leases.into_iter().map(|lease| Row {
            network: network.clone(),
            lease,
        }));
    }
    context.output().result(&rows, || {
        let cells: Vec<_> = rows.iter().map(|row| cells(&row.network, &row.lease)).collect();
        table(
            ["NETWORK", "ADDRESS", "MAC", "NAME", "EXPIRES"],
            &cells,
            "no leases",
        )
    })
}

/// Addresses that are not leased are passed over: released already.
fn release(
    context: &Context,
    network: &NetworkName,
    addresses: &[IpAddr],
    dry_run: bool,
) -> Result<(), Failure> {
    chosen(context, std::slice::from_ref(network))?;
    let leases = lease::read(context.layout().leases(network).on_disk())?;
    let mut released = Vec::new();
    for address in addresses
        .iter()
        .filter(|ip| leases.iter().any(|lease| lease.ip == **ip))
    {
        let failed = |error: bus::BusError| {
            let failure = Failure::failed(format!(
                "the lease of {address} in {network} cannot be released: {error}"
            ));
            if rustix::process::geteuid().is_root() {
                failure.hint(format!(
                    "`miniascape net status {network}` tells whether its dnsmasq runs"
                ))
            } else {
                failure.for_root()
            }
        };
        if dry_run || bus::delete_lease(network, *address).map_err(failed)? {
            released.push(*address);
        }
    }
    let value = json!({ "network": network, "released": released, "dry_run": dry_run });
    context.output().report(&value, || {
        let list: Vec<String> = released.iter().map(ToString::to_string).collect();
        match (list.as_slice(), dry_run) {
            ([], _) => format!("{network} has no lease of these addresses; nothing to do"),
            (list, true) => format!("{network}: would be released: {}", list.join(", ")),
            (list, false) => format!("{network}: released {}", list.join(", ")),
        }
    })
}

fn watch(context: &Context, networks: &[NetworkName], initial: bool) -> Result<(), Failure> {
    if networks.is_empty() {
        return Err(
            Failure::failed("no network with a dnsmasq is registered: there is nothing to follow")
                .hint("miniascape net register NAME"),
        );
    }
    let mut watch = Watch::open(context.layout(), networks, initial)?;
    context.output().note("watching; end with Ctrl-C");
    loop {
        let event = watch.next(Some(Instant::now() + READER_CHECK))?;
        context.output().ensure_reader()?;
        if let Some(event) = event {
            context.output().event(&event, || line(&event))?;
        }
    }
}

fn line(event: &NetworkEvent) -> String {
    let kind = match event.event.event {
        EventKind::Present => "present",
        EventKind::Added => "added",
        EventKind::Updated => "updated",
        EventKind::Deleted => "deleted",
    };
    let [network, ip, mac, name, expires] = cells(&event.network, &event.event.lease);
    format!("{kind:7}  {network}  {ip}  {mac}  {name}  {expires}")
}

fn cells(network: &NetworkName, lease: &Lease) -> [String; 5] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let expires = match lease.expires {
        None => "never".to_owned(),
        Some(seconds) => i64::try_from(seconds)
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok())
            .map_or_else(|| seconds.to_string(), |t| t.to_string()),
    };
    [
        network.to_string(),
        lease.ip.to_string(),
        or_dash(lease.mac.map(|m| m.to_string())),
        or_dash(lease.name.clone()),
        expires,
    ]
}
