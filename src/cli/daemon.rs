//! `miniascape daemon`: keeps the networks' dnsmasq processes alive where systemd does not, and finishes pending work.

use super::{Context, Failure, pending};
use miniascape::host::services::Daemon;
use miniascape::host::{Libvirt, Services};
use miniascape::network;
use std::process::ExitCode;

/// No options of its own: the common ones say where files live.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape daemon --verbose\n\n\
    Runs in the foreground until SIGTERM. Under systemd the dnsmasq processes are units of their own\n\
    and the daemon leaves them alone.")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _: &Args) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    if !layout.is_live() {
        return Err(Failure::usage(
            "`daemon` serves this host: --root makes no sense for it",
        ));
    }
    let supervise = matches!(Services::of(layout), Services::Daemon(_));
    let networks: Vec<_> = network::registered(layout)?
        .into_iter()
        .filter(|n| n.dnsmasq)
        .map(|n| n.name)
        .collect();
    let daemon = Daemon::new(layout.clone(), supervise)?;
    let ready = || {
        let count = networks.len();
        context.output().note(format!("ready: {count} networks"));
    };
    // libvirt may be down, now or later; what is pending then waits for the next time.
    let own = context.clone();
    let chore = move || {
        if let Ok(libvirt) = Libvirt::connect(own.uri()) {
            pending::finish(&own, &libvirt);
        }
    };
    daemon.run(&networks, chore, ready)?;
    Ok(ExitCode::SUCCESS)
}
