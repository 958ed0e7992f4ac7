//! `miniascape net update --adopt`: reservations that were made with virsh become the network's own.

use super::{compiled, settled, steps_told, warn, warn_of_needs};
use crate::cli::{Context, Failure, later};
use miniascape::network::{self, Finder, Found, Target};
use serde_json::json;

pub(super) fn run(
    context: &Context,
    text: &str,
    found: &Found,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<(), Failure> {
    let adopted = network::adopt_reservations(found, target, dry_run)?;
    let found = if dry_run {
        let reach = || Some(target.libvirt.clone());
        let found = adopted
            .assumed(Finder::to_register(target.layout, &reach))
            .find(text)?;
        warn(context, &found);
        found
    } else {
        settled(context, text, dry_run)?
    };
    let compiled = compiled(context, &found)?;
    let source = later::source(&found);
    let report = adopted.update(&found.network, &compiled, &source, target, dry_run)?;
    warn_of_needs(context, &found.network, &report, target, dry_run);
    let value = json!({
        "network": report.network, "changed": !report.steps.is_empty(), "dry_run": dry_run, "steps": report.steps,
        "pending": false, "adopted": adopted,
    });
    context.output().report(&value, || {
        let name = &report.network;
        let mut lines = vec![steps_told(&report, "updated", dry_run)];
        let would = if dry_run { "would be " } else { "" };
        for entry in &adopted.kept {
            lines.push(format!(
                "{name}: {entry} {would}kept in {}",
                adopted.file.display()
            ));
        }
        for dropped in &adopted.dropped {
            lines.push(format!(
                "{name}: {} {would}dropped: {}",
                dropped.entry, dropped.reason
            ));
        }
        let lines: Vec<String> = lines
            .iter()
            .map(|line| miniascape::name::printable(line, 1000))
            .collect();
        lines.join("\n")
    })
}
