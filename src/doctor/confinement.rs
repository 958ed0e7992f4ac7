//! What AppArmor and SELinux have denied to guests, dnsmasq and miniascape, as far as our files are concerned.

use super::facts::{Denied, Facts};
use super::{Check, Finding, Report, word};
use crate::host::denials::{Denial, Module};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Denials are told for a day.
const RECENT: u64 = 24 * 60 * 60;
/// Where our files are.
pub(super) const OURS: [&str; 5] = [
    "/var/lib/miniascape",
    "/var/lib/libvirt/images/miniascape",
    "/usr/share/miniascape",
    "/etc/miniascape",
    "/run/miniascape",
];
const RULES: &str = "/etc/apparmor.d";
/// Compiles and loads our module for dnsmasq, and labels what it is about.
const LOAD: &str = "cd \"$(mktemp -d)\" && \
    checkmodule -M -m -o miniascape.mod /usr/share/miniascape/selinux/miniascape.te && \
    semodule_package -o miniascape.pp -m miniascape.mod -f /usr/share/miniascape/selinux/miniascape.fc && \
    semodule -i miniascape.pp && restorecon -RF /var/lib/miniascape";

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let Some(denied) = &facts.denied else {
        report.unseen(
            Check::Denials,
            if facts.root {
                "neither the audit log nor the kernel's can be read"
            } else {
                "only root may read the audit log"
            },
        );
        return;
    };
    let mut said = BTreeSet::new();
    for one in denied.iter().filter(|one| is_news(one, facts.now)) {
        if let Some(finding) = told(&one.denial, one.allowed)
            && said.insert(finding.command.clone())
        {
            report.findings.push(finding);
        }
    }
}

/// False for what is over, or what something has been done about since.
fn is_news(one: &Denied, now: u64) -> bool {
    let denial = &one.denial;
    // A file that is gone has no label; without our module what registering made is taken back again.
    let again = one.changed.map_or(one.allowed, |changed| changed > denial.time);
    let done = match denial.module {
        Module::AppArmor(_) => one.allowed,
        Module::SELinux(_) => again || denial.permissive,
    };
    denial.time / 1000 + RECENT > now && !done
}

/// The profile's file, and the administrator's own additions to it, which the profile includes.
fn files(profile: &str) -> (PathBuf, PathBuf) {
    if profile.starts_with("libvirt-") {
        // One profile for each guest, all with the same abstraction.
        return (
            Path::new(RULES).join("libvirt").join(profile),
            Path::new(RULES).join("local/abstractions/libvirt-qemu"),
        );
    }
    // A profile without a name of its own is called by its program, and its file by that with dots.
    let name = match profile {
        "virt-aa-helper" | "libvirtd" if !Path::new(RULES).join(profile).exists() => match profile {
            "libvirtd" => "usr.sbin.libvirtd".to_owned(),
            _ => "usr.lib.libvirt.virt-aa-helper".to_owned(),
        },
        _ => profile.trim_start_matches('/').replace('/', "."),
    };
    (
        Path::new(RULES).join(&name),
        Path::new(RULES).join("local").join(name),
    )
}

/// Where the rule goes that would allow it; `None` if that is not `AppArmor`'s doing.
pub(super) fn local_rules(denial: &Denial) -> Option<PathBuf> {
    match &denial.module {
        Module::AppArmor(profile) => Some(files(profile).1),
        Module::SELinux(_) => None,
    }
}

fn told(denial: &Denial, allowed: bool) -> Option<Finding> {
    let file = Path::new(&denial.file);
    let dir = OURS.iter().find(|dir| file.starts_with(dir));
    let program = &denial.program;
    match &denial.module {
        Module::AppArmor(profile) => {
            if dir.is_none() && !profile.contains("miniascape") {
                return None;
            }
            let (main, local) = files(profile);
            // Of what was asked, the letters that a rule has (apparmor.d(5)); to create is to write.
            let mut rights: String = denial.wanted.chars().filter(|c| "rwaklm".contains(*c)).collect();
            if denial.wanted.contains(['c', 'd']) && !rights.contains('w') {
                rights.push('w');
            }
            let rule = word(&format!("\"{}\" {rights},", denial.file));
            let found = format!(
                "AppArmor's profile {profile} keeps {program} from it ({})",
                denial.wanted
            );
            let parent = local.parent().unwrap_or(Path::new(RULES)).display().to_string();
            let command = format!(
                "mkdir -p {parent} && echo {rule} >>{} && apparmor_parser -r {}",
                word(&local.display().to_string()),
                word(&main.display().to_string())
            );
            Some(Finding::new(Check::Denials, denial.file.as_str(), found, command))
        }
        Module::SELinux(context) => {
            dir?;
            let found = format!("SELinux keeps {program} ({context}) from it ({})", denial.wanted);
            let finding = if program == "dnsmasq" && !allowed {
                Finding::new(Check::Denials, denial.file.as_str(), found, LOAD)
                    .note("checkmodule and semodule_package are in Debian's packages checkpolicy and semodule-utils")
            } else {
                let command = format!("restorecon -RFv {}", word(&denial.file));
                Finding::new(Check::Denials, denial.file.as_str(), found, command)
                    .note("`ausearch -m avc -ts recent` shows whether it comes again")
            };
            Some(finding)
        }
    }
}
