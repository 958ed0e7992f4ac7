//! dnsmasq as a systemd unit, through systemctl(1), which also waits for the job.

use super::{Running, ServiceError};
use crate::host::Program;
use crate::host::command::Run;
use crate::name::NetworkName;

fn systemctl(verb: &str, network: &NetworkName) -> Result<Run, ServiceError> {
    // Names of networks need no escaping: systemd.unit(5) allows all their characters in an instance name.
    let unit = format!("miniascape-dnsmasq@{network}.service");
    Ok(Program::find("systemctl", "systemd")?
        .run()
        .arg(verb)
        .arg("--quiet")
        .arg(unit))
}

pub(super) fn start(network: &NetworkName) -> Result<bool, ServiceError> {
    let before = running(network)?.pid;
    systemctl("enable", network)?.output()?;
    systemctl("start", network)?.output()?;
    Ok(before.is_none())
}

pub(super) fn stop(network: &NetworkName) -> Result<bool, ServiceError> {
    let before = running(network)?.pid;
    systemctl("disable", network)?.output()?;
    systemctl("stop", network)?.output()?;
    Ok(before.is_some())
}

pub(super) fn restart(network: &NetworkName) -> Result<(), ServiceError> {
    systemctl("restart", network)?.output()?;
    Ok(())
}

pub(super) fn reload(network: &NetworkName) -> Result<(), ServiceError> {
    systemctl("reload", network)?.output()?;
    Ok(())
}

pub(super) fn running(network: &NetworkName) -> Result<Running, ServiceError> {
    let shown = systemctl("show", network)?
        .arg("--property=MainPID")
        .arg("--value")
        .output()?
        .text();
    // 0 stands for no process.
    Ok(Running {
        pid: shown.parse().ok().filter(|pid| *pid != 0),
    })
}

/// The units of these names, which may be patterns, that have failed.
pub(super) fn failed(patterns: &[&str]) -> Result<Vec<String>, ServiceError> {
    let listed = Program::find("systemctl", "systemd")?
        .run()
        .args([
            "list-units",
            "--state=failed",
            "--all",
            "--plain",
            "--no-legend",
            "--no-pager",
            "--full",
        ])
        .args(patterns)
        .output()?
        .text();
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(listed.lines().filter_map(first).collect())
}
