//! What `repack` tells at its end about one guest: what was made or would be, how large it became, where the time went.

use super::Packed;
use crate::cli::output::{size, table};
use crate::cli::progress::Style;
use crate::cli::{Context, Failure};
use miniascape::name::printable;
use miniascape::package::{self, Manifest, Options, Plan, Repacked, Split, Target};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

impl Packed {
    /// The time that each kind of step took.
    fn times(&self) -> Vec<(&'static str, Duration)> {
        let mut times: Vec<(&str, Duration)> = Vec::new();
        for spent in &self.steps {
            match times.iter_mut().find(|(name, _)| *name == spent.step.name) {
                Some((_, time)) => *time += spent.time,
                None => times.push((spent.step.name, spent.time)),
            }
        }
        times
    }

    /// Bytes of all images.
    fn images(&self) -> u64 {
        let images = self.repacked.manifest.images();
        images.iter().map(|layer| layer.file_size).sum()
    }

    /// What programs are told.
    pub(super) fn json(&self) -> serde_json::Value {
        let manifest = &self.repacked.manifest;
        let seconds: serde_json::Map<_, _> = self
            .times()
            .iter()
            .map(|(name, time)| ((*name).to_owned(), time.as_secs_f64().into()))
            .collect();
        let mut value = json!({
            "package": manifest.package,
            "files": self.repacked.files,
            "images_bytes": self.images(),
            "seconds": self.whole.as_secs_f64(),
            "seconds_by_step": seconds,
            "not_packed": manifest.not_packed,
            "warnings": manifest.warnings,
        });
        if !self.repacked.shared.is_empty() {
            value["shared"] = json!(self.repacked.shared);
        }
        value
    }
}

/// Tells what would be made.
pub(super) fn tell_plan(context: &Context, plan: &Plan, options: &Options) -> Result<(), Failure> {
    let reads: u64 = plan.disks.iter().map(package::DiskPlan::bytes).sum();
    let packed = package::estimate_packed(plan, options.codec)?;
    let value = json!({
        "dry_run": true,
        "targets": options.targets,
        "plan": plan,
        "bytes": reads,
        "packed_about": packed,
    });
    context.output().report(&value, || {
        let mut lines = vec![format!(
            "{} {} would be made of the guest {}: {}",
            plan.package,
            plan.version,
            plan.guest,
            options
                .targets
                .iter()
                .map(|t| t.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )];
        let shown = |path: &Path| printable(&path.to_string_lossy(), 400);
        for disk in &plan.disks {
            if let Split::Since(below) = &disk.split {
                for layer in &below.layers {
                    lines.push(format!("  stays: {}", layer.package));
                }
                lines.push(format!("  change of {}: what differs from these", disk.target));
                continue;
            }
            let one = disk.split == Split::Flat;
            let last = disk.chain.len() - 1;
            let known = matches!(disk.split, Split::Known(_));
            let bottom = if one || known { 0 } else { last };
            // The base is at the bottom, and all above it become one delta.
            let (above, base) = disk.chain.split_at(bottom);
            for (what, images) in [("base", base), ("delta", above)] {
                let what = if known { "delta" } else { what };
                if !images.is_empty() {
                    let paths: Vec<String> = images.iter().rev().map(|image| shown(&image.path)).collect();
                    let bytes = images.iter().map(|image| image.disk_usage).sum();
                    let line = format!(
                        "  {what} of {}: {}, {}",
                        disk.target,
                        paths.join(" + "),
                        size(bytes)
                    );
                    lines.push(line);
                }
            }
            if let Split::Known(base) = &disk.split {
                let path = shown(&base.image.path);
                lines.push(format!("  base of {}: {path} (known)", disk.target));
            } else if !one && last == 0 {
                lines.push(format!("  delta of {}: empty", disk.target));
            }
        }
        for target in &options.targets {
            let about = if *target == Target::BuildTree {
                reads
            } else {
                packed
            };
            lines.push(format!("  {}: about {}", target.as_str(), size(about)));
        }
        lines.join("\n")
    })
}

/// Tells what was made.
pub(super) fn tell(context: &Context, style: Style, packed: &Packed) -> Result<(), Failure> {
    let repacked = &packed.repacked;
    if style != Style::Json {
        context
            .output()
            .note(summary(repacked, packed.images(), &packed.times(), packed.whole));
    }
    context.output().report(&packed.json(), || {
        let rows: Vec<_> = repacked
            .files
            .iter()
            .map(|file| {
                [
                    file.kind.as_str().to_owned(),
                    size(file.size),
                    held(&repacked.manifest, &file.package),
                    printable(&file.path.to_string_lossy(), 400),
                ]
            })
            .collect();
        table(["KIND", "SIZE", "HOLDS", "FILE"], &rows, "nothing was made")
    })
}

/// What the package called `name` holds: the guest, or images of its disks.
fn held(manifest: &Manifest, name: &str) -> String {
    let mut images = Vec::new();
    for disk in &manifest.disks {
        for layer in disk.layers.iter().filter(|layer| layer.package.as_str() == name) {
            images.push(format!("{} of {}", layer.role.as_str(), disk.target));
        }
    }
    if images.is_empty() {
        "guest".to_owned()
    } else {
        images.join(", ")
    }
}

/// One line: what became how large, and where the time went.
fn summary(repacked: &Repacked, images: u64, times: &[(&str, Duration)], whole: Duration) -> String {
    let mut kinds: Vec<(Target, u64)> = Vec::new();
    for file in &repacked.files {
        match kinds.last_mut().filter(|(kind, _)| *kind == file.kind) {
            Some((_, sum)) => *sum += file.size,
            None => kinds.push((file.kind, file.size)),
        }
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, sum)| {
            let percent = (u128::from(*sum) * 100).checked_div(images.into()).unwrap_or(100);
            format!("{} {} ({percent} %)", kind.as_str(), size(*sum))
        })
        .collect();
    let times: Vec<String> = times
        .iter()
        .filter(|(_, time)| *time >= Duration::from_millis(50))
        .map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()))
        .collect();
    let times = match times.as_slice() {
        [] => String::new(),
        times => format!(" ({})", times.join(", ")),
    };
    format!(
        "{} of images became {} in {:.1} s{times}",
        size(images),
        kinds.join(", "),
        whole.as_secs_f64(),
    )
}
