//! dnsmasq as a systemd unit, through systemctl(1), which also waits for the job.

use super::{Running, ServiceError};
use crate::host::Program;
use crate::host::command::Run;
use crate::name::{NetworkName, printable};
use std::time::SystemTime;

/// Names of networks need no escaping: systemd.unit(5) allows all their characters in an instance name.
fn unit(network: &NetworkName) -> String {
    format!("miniascape-dnsmasq@{network}.service")
}

fn systemctl(verb: &str, network: &NetworkName) -> Result<Run, ServiceError> {
    Ok(Program::find("systemctl", "systemd")?
        .run()
        .arg(verb)
        .arg("--quiet")
        .arg(unit(network)))
}

/// Starts or restarts the unit, which is active when dnsmasq serves; if it does not come up, with dnsmasq's own words.
fn begin(verb: &str, network: &NetworkName) -> Result<(), ServiceError> {
    // systemd counts starts to notice one that is in vain again and again; asking for one is another matter. A unit that
    // it has not heard of has nothing to be forgotten.
    systemctl("reset-failed", network)?.finish()?;
    let since = SystemTime::now();
    let Err(error) = systemctl(verb, network)?.output() else {
        return Ok(());
    };
    match last_words(network, since) {
        Some(words) => Err(ServiceError::Ended(network.clone(), words)),
        None => Err(error.into()),
    }
}

/// Why the network's dnsmasq has ended, as the journal has it of the time `since`.
fn last_words(network: &NetworkName, since: SystemTime) -> Option<String> {
    let journal = Program::find("journalctl", "systemd").ok()?;
    // What has just been written is not read yet; only root may ask for that.
    let _ = journal.run().arg("--sync").finish();
    let since = since.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let lines = journal
        .run()
        .args(["--quiet", "--output=cat", "--lines=4", "--identifier=dnsmasq"])
        .args([format!("--since=@{since}"), format!("--unit={}", unit(network))])
        .output()
        .ok()?
        .text();
    let reason = |line: &&str| !line.is_empty() && !line.ends_with(": FAILED to start up");
    Some(printable(lines.lines().map(str::trim).rfind(reason)?, 400))
}

pub(super) fn start(network: &NetworkName) -> Result<bool, ServiceError> {
    let before = running(network)?.pid;
    let enabled = systemctl("is-enabled", network)?.finish()?.status.success();
    // In this order, so that a run which is killed in between is noticed by the next one.
    systemctl("enable", network)?.output()?;
    let begun = begin("start", network);
    if begun.is_err() && !enabled {
        // Nor is it to be tried again, now or at boot.
        stop(network)?;
    }
    begun.map(|()| before.is_none())
}

pub(super) fn stop(network: &NetworkName) -> Result<bool, ServiceError> {
    let before = running(network)?.pid;
    systemctl("disable", network)?.output()?;
    systemctl("stop", network)?.output()?;
    // One that has failed is of no more concern to anybody.
    if systemctl("is-failed", network)?.finish()?.status.success() {
        systemctl("reset-failed", network)?.output()?;
    }
    Ok(before.is_some())
}

pub(super) fn restart(network: &NetworkName) -> Result<(), ServiceError> {
    begin("restart", network)
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
