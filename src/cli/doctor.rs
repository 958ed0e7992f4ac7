//! `miniascape doctor`: what keeps networks and guests from working on this host, and the command that comes next.

use super::output::table;
use super::{Context, Failure};
use miniascape::doctor::{self, Asked, Report};
use miniascape::host::Libvirt;
use miniascape::host::libvirt::is_local_uri;
use miniascape::name::printable;
use serde::Serialize;
use std::process::ExitCode;

/// No options of its own: all that can be looked at is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: sudo miniascape doctor\n\n\
    Looks at libvirt, the message bus, units and the daemon, port 53, the registered networks,\n\
    forwarding, firewalls (Docker's and firewalld's, too), other DHCP servers, leases of machines that\n\
    are gone, denials of AppArmor and SELinux, KVM, pending work, and room on the disks. Nothing is\n\
    changed: each finding has the command that comes next. Ends with 0 if nothing was found and 1 if\n\
    something was; ordinary users are told what only root can look at.")]
pub(crate) struct Args {}

/// What `--format json` tells.
#[derive(Serialize)]
struct Told<'a> {
    healthy: bool,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(context: &Context, _: &Args) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    if !layout.is_live() {
        return Err(Failure::usage(
            "`doctor` looks at the host that runs: --root makes no sense for it",
        ));
    }
    if !is_local_uri(context.uri()) {
        return Err(Failure::refused(format!(
            "{} is another host: `doctor` looks at its own",
            context.uri()
        ))
        .hint("log in to that host and run it there"));
    }
    // Root's connection, since the one for reading shows less than there is.
    let root = rustix::process::geteuid().is_root();
    let connect = if root || context.uri().starts_with("test:") {
        Libvirt::connect
    } else {
        Libvirt::connect_read_only
    };
    let asked = match connect(context.uri()) {
        Ok(libvirt) => Asked::There(libvirt),
        Err(error) if error.is_away() => Asked::Away(error.to_string()),
        Err(error) => Asked::Refused(error.to_string()),
    };
    let report = doctor::judge(&doctor::gather(layout, &asked));
    let healthy = report.findings.is_empty();
    let told = Told {
        healthy,
        report: &report,
    };
    context.output().result(&told, || text(&report))?;
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The findings in a table, then the commands, each on a line of its own so that it can be copied.
fn text(report: &Report) -> String {
    let rows: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            [
                finding.check.as_str().to_owned(),
                printable(&finding.object, 80),
                printable(&finding.found, 400),
            ]
        })
        .collect();
    let mut text = table(
        ["CHECK", "OBJECT", "FOUND"],
        &rows,
        "nothing was found that is not as it should be",
    );
    let mut lines: Vec<String> = Vec::new();
    for finding in &report.findings {
        let (check, object) = (finding.check.as_str(), printable(&finding.object, 80));
        lines.push(format!("\n{check} {object}: as root\n    {}", finding.command));
        lines.extend(finding.note.as_ref().map(|note| format!("  ({note})")));
    }
    for (index, unseen) in report.unseen.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        lines.push(format!(
            "{gap}not looked at: {}: {}",
            unseen.check.as_str(),
            unseen.reason
        ));
    }
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    text
}
