//! `net list` and `net status`: what networks are doing.

use crate::cli::later;
use crate::cli::output::table;
use crate::cli::{Context, Failure};
use miniascape::host::Services;
use miniascape::name::NetworkName;
use miniascape::network::{self, Owner, StatusError};
use std::process::ExitCode;

/// Also without libvirt, as far as the files tell; the status then says that something is missing.
pub(super) fn list(context: &Context) -> Result<ExitCode, Failure> {
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

/// As the files tell, where libvirt cannot be asked; that is then an error.
pub(super) fn run(context: &Context, name: &NetworkName) -> Result<ExitCode, Failure> {
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
