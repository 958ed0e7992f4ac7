//! `miniascape daemon`: keeps the networks' dnsmasq processes alive where systemd does not, and finishes pending work.

use super::{Context, Failure, pending};
use miniascape::host::services::{Chore, Daemon};
use miniascape::host::{Libvirt, Services};
use miniascape::network;
use std::process::ExitCode;

/// Few options of its own: the common ones say where files live.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape daemon --verbose\n\n\
    Runs in the foreground until SIGTERM. Under systemd the dnsmasq processes are units of their own\n\
    and the daemon leaves them alone.\n\n\
    What is pending (networks registered and guest packages installed while libvirt was down, say) is\n\
    finished at the start, when it comes up, and when libvirt answers again.")]
pub(crate) struct Args {
    /// Finish what is pending and end; 1 if something stays pending, 4 if libvirt cannot be reached
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    if !layout.is_live() {
        return Err(Failure::usage(
            "`daemon` serves this host: --root makes no sense for it",
        ));
    }
    if args.once {
        return once(context);
    }
    let supervise = matches!(Services::of(layout), Services::Daemon(_));
    let networks: Vec<_> = network::registered(layout)?
        .into_iter()
        .filter(|n| n.dnsmasq)
        .map(|n| n.name)
        .collect();
    if supervise {
        network::restore_openings(layout)?;
    }
    pending::note_overlooked(context);
    let daemon = Daemon::new(layout.clone(), supervise)?;
    let ready = || {
        let count = networks.len();
        context.output().note(format!("ready: {count} networks"));
    };
    let own = context.clone();
    daemon.run(&networks, move || chore(&own), ready)?;
    Ok(ExitCode::SUCCESS)
}

/// One attempt at what is pending. libvirt is contacted only if anything is.
fn chore(context: &Context) -> Chore {
    if !pending::is_any(context) {
        return Chore::Done;
    }
    match Libvirt::connect(context.uri()) {
        Ok(libvirt) => pending::finish_again(context, &libvirt),
        Err(error) => {
            tracing::debug!(%error, "pending work waits");
            return Chore::Waits;
        }
    }
    if pending::is_any(context) {
        Chore::Refused
    } else {
        Chore::Done
    }
}

fn once(context: &Context) -> Result<ExitCode, Failure> {
    pending::tidy(context);
    pending::note_overlooked(context);
    if !pending::is_any(context) {
        return Ok(ExitCode::SUCCESS);
    }
    let libvirt = Libvirt::connect(context.uri())?;
    pending::finish(context, &libvirt, None);
    if !pending::is_any(context) {
        return Ok(ExitCode::SUCCESS);
    }
    // What the daemon is at was passed over, and what it cannot do yet it goes on trying.
    let socket = context.layout().daemon_socket().on_disk().to_owned();
    if Services::Daemon(socket).check().is_ok() {
        context.output().note("the daemon goes on with what is pending");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
