//! KVM that does not work, work that waits, and disks that are nearly full.

use super::facts::{Facts, Space};
use super::{Check, Finding, Report, word};

/// A file system is nearly full when less is left than a twentieth, but not less than the first (of a small one, a
/// quarter) or more than the second of these, in bytes.
const LEAST: (u64, u64) = (256 << 20, 5 << 30);

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    if let Some(words) = &facts.kvm {
        let found =
            format!("it is there and does not run guests, which are emulated instead, slowly: {words}");
        report.findings.push(
            Finding::new(Check::Kvm, "/dev/kvm", found, "dmesg | grep -i kvm").note(
                "in a virtual machine its host has to allow nested virtualization; on hardware the firmware's set-up does",
            ),
        );
    }
    if let Some(reason) = &facts.kvm_untried {
        report.unseen(Check::Kvm, reason);
    }
    for (object, what) in &facts.pending {
        let command = "miniascape daemon --once";
        report
            .findings
            .push(Finding::new(Check::Pending, object, what, command));
    }
    for space in &facts.spaces {
        report.findings.extend(full(space));
    }
}

fn full(space: &Space) -> Option<Finding> {
    let system = space.system;
    let wanted = (system.size / 20).clamp(LEAST.0, LEAST.1).min(system.size / 4);
    let (files, left) = system.inodes;
    let few = files > 0 && left < files / 100;
    if system.free >= wanted && !few {
        return None;
    }
    let dir = space.dirs.first()?.display().to_string();
    let found = if system.free < wanted {
        let mib = |bytes: u64| bytes >> 20;
        format!("{} MiB are left of {} MiB", mib(system.free), mib(system.size))
    } else {
        format!("{left} more files can be made of {files}")
    };
    // What can be had again goes first, the largest.
    let cache = space.caches.iter().filter(|(_, _, bytes)| *bytes > 0);
    let largest = cache.max_by_key(|(_, _, bytes)| *bytes);
    let finding = if let Some((cache, command, bytes)) = largest {
        let note = format!(
            "frees up to {} MiB in {}, all of which can be had again",
            bytes >> 20,
            cache.display()
        );
        Finding::new(Check::Space, dir, found, *command).note(note)
    } else {
        let dirs = space.dirs.iter().map(|dir| word(&dir.display().to_string()));
        let dirs: Vec<String> = dirs.collect();
        let command = format!("du -xh --max-depth=2 {} | sort -h | tail -n 20", dirs.join(" "));
        Finding::new(Check::Space, dir, found, command).note(
            "shows what takes the room; `miniascape package list` names the packages of guests that nobody uses",
        )
    };
    Some(finding)
}
