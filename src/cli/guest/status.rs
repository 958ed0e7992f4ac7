//! `miniascape guest status`: what a guest is doing, and, if it was made from a package, what it stands on and what a
//! reset would change.

use crate::cli::output::table;
use crate::cli::{Context, Failure};
use miniascape::guest::{self, GuestStatus};
use miniascape::install::{self, DiskStatus, InstallError, InstanceStatus};
use miniascape::name::{printable, shell_word};
use serde::Serialize;

/// One guest.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    guest: Option<GuestStatus>,
    instance: Option<InstanceStatus>,
}

pub(super) fn status(context: &Context, name: Option<&str>) -> Result<(), Failure> {
    // Looking takes up no pending work, but passwords in definitions are compared, too.
    let libvirt = context.libvirt(true)?;
    let layout = context.layout();
    let Some(name) = name else {
        let all = install::statuses(layout, &libvirt)?;
        // What is still to become a guest is in no line of the table.
        for work in install::pending(layout)? {
            if !all.iter().any(|instance| instance.instance == *work.kind.guest()) {
                let reason = printable(&work.reason, 400);
                context.output().note(format!("pending: {}: {reason}", work.kind));
            }
        }
        return context.output().result(&all, || {
            let rows: Vec<_> = all.iter().map(row).collect();
            let head = [
                "NAME",
                "STATE",
                "PACKAGE",
                "INSTALLED",
                "DISKS FROM",
                "EDITS",
                "PENDING",
            ];
            table(head, &rows, "no guests from packages")
        });
    };
    let instance = match install::status(layout, &libvirt, name) {
        Ok(instance) => Some(instance),
        Err(InstallError::NoInstance(_)) => None,
        // What libvirt tells is for everyone whom it trusts.
        Err(error) if error.is_denied() => match libvirt.domain(name)? {
            Some(domain) => {
                if install::is_marked(&domain.xml) {
                    let unseen = "note: what it stands on is for root to see: `sudo miniascape guest status";
                    context
                        .output()
                        .note(format!("{unseen} {}`", shell_word(&printable(name, 64))));
                }
                None
            }
            None => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let domain = instance
        .as_ref()
        .and_then(|i| i.domain.clone())
        .unwrap_or_else(|| name.to_owned());
    let guest = match guest::status(layout, &libvirt, &domain) {
        Ok(guest) => Some(guest),
        // An instance whose package is away is not in libvirt.
        Err(guest::GuestError::Unknown(_)) if instance.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let status = Status { guest, instance };
    context.output().result(&status, || text(&status))
}

fn row(instance: &InstanceStatus) -> [String; 7] {
    let versions: Vec<String> = instance.disks.iter().map(from).collect();
    let word = |version: &Option<miniascape::name::PackageVersion>| {
        version.as_ref().map_or("-".to_owned(), ToString::to_string)
    };
    [
        printable(
            instance.domain.as_deref().unwrap_or(instance.instance.as_str()),
            64,
        ),
        instance
            .state
            .map_or("away".to_owned(), |state| state.to_string()),
        instance.package.to_string(),
        word(&instance.installed),
        if versions.is_empty() {
            "-".to_owned()
        } else {
            versions.join(",")
        },
        instance.edits.len().to_string(),
        if instance.pending.is_empty() { "-" } else { "yes" }.to_owned(),
    ]
}

/// The version that a disk was made from.
fn from(disk: &DiskStatus) -> String {
    let version = disk.version.as_ref().map_or("?".to_owned(), ToString::to_string);
    format!("{}:{version}", disk.target)
}

fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: String| lines.push(format!("{key:<12} {value}"));
    if let Some(guest) = &status.guest {
        line("guest", printable(&guest.name, 64));
        line("state", guest.state.to_string());
        for address in &guest.addresses {
            line("address", format!("{} in {}", address.ip, address.network));
        }
    }
    let Some(instance) = &status.instance else {
        return lines.join("\n");
    };
    if status.guest.is_none() {
        line("guest", instance.instance.to_string());
        line(
            "state",
            "not in libvirt: its package is not installed, or it is not registered".to_owned(),
        );
    }
    let installed = match &instance.installed {
        Some(version) => format!("{} {version}", instance.package),
        None => format!("{}, which is not installed", instance.package),
    };
    line("package", installed);
    if let Some(version) = &instance.version {
        line("definition", format!("of version {version}"));
    }
    for disk in &instance.disks {
        let mut words = vec![disk.file.display().to_string()];
        words.extend(disk.written.map(|bytes| format!("{} KiB written", bytes / 1024)));
        line(&format!("disk {}", disk.target), words.join(", "));
        let on = disk
            .layers
            .last()
            .map_or("nothing".to_owned(), |delta| format!("sha256-{}", delta.short()));
        let version = disk
            .version
            .as_ref()
            .map_or(String::new(), |version| format!(" of version {version}"));
        let current = if disk.current {
            ", as the installed package"
        } else {
            ", not that of the installed package"
        };
        let current = if instance.installed.is_some() { current } else { "" };
        line("  stands on", format!("{on}{version}{current}"));
    }
    for edit in &instance.edits {
        line("edited", edit.to_string());
    }
    for work in &instance.pending {
        line("pending", printable(work, 400));
    }
    for change in &instance.reset {
        line("reset", change.clone());
    }
    lines.join("\n")
}
