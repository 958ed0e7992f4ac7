//! `miniascape net diff`: what an update would change, and what that interrupts.

use super::{compiled, warn};
use crate::cli::output::table;
use crate::cli::{Context, Failure, later};
use miniascape::host::Services;
use miniascape::name::printable;
use miniascape::network::{self, Diff, Finder, Impact, Remedy, Target};
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of registered networks, or definition files
    #[arg(required_unless_present = "all", value_name = "NAME|FILE")]
    networks: Vec<String>,
    /// All registered networks
    #[arg(long, conflicts_with = "networks")]
    all: bool,
    /// End with 1 if there are differences, as `git diff --exit-code` does
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    let (libvirt, missing) = if layout.is_live() {
        later::libvirt_if_there(context)?
    } else {
        (None, None)
    };
    if libvirt.as_ref().is_some_and(|libvirt| !libvirt.is_local()) {
        return Err(Failure::refused(format!(
            "{} is another host: its files cannot be compared from here",
            context.uri()
        ))
        .hint("log in to that host and run it there"));
    }
    let networks = if args.all {
        let all = network::registered(layout)?.into_iter();
        all.map(|applied| applied.name.to_string()).collect()
    } else {
        args.networks.clone()
    };
    let services = Services::of(layout);
    let target = libvirt.as_ref().map(|libvirt| Target {
        layout,
        libvirt,
        services: &services,
    });
    let reach = || libvirt.clone();
    let finder = Finder::to_register(layout, &reach);
    let mut differs = false;
    let mut one = |text: &String| -> Result<(), Failure> {
        let found = finder.find(text)?;
        warn(context, &found);
        let compiled = compiled(context, &found)?;
        let diff = network::diff(&found, &compiled, layout, target.as_ref())?;
        differs |= !diff.is_empty();
        context.output().event(&diff, || shown(&diff))
    };
    let mut last = None;
    for text in &networks {
        if let Err(failure) = one(text)
            && let Some(earlier) = last.replace(failure)
        {
            earlier.report(context.format());
        }
    }
    if let Some(failure) = last.or(missing) {
        return Err(failure);
    }
    Ok(ExitCode::from(u8::from(differs && args.exit_code)))
}

/// How much of a line is shown.
const SHOWN: usize = 300;

fn shown(diff: &Diff) -> String {
    let name = &diff.network;
    let mut text = if !diff.registered {
        format!("{name}: not registered; `miniascape net register {name}` makes all of it")
    } else if diff.is_empty() {
        format!("{name}: no difference")
    } else {
        let guests = |impact: Impact, guests: &[String]| match guests {
            [] => impact.to_string(),
            guests => format!("{impact}: {}", guests.join(", ")),
        };
        let drift = diff.drift.iter().map(|drift| {
            let from = match drift.remedy {
                Remedy::Update => "-",
                Remedy::Adopt => "`net update --adopt`",
                Remedy::People => "not miniascape's to undo",
            };
            let what = printable(&drift.what, SHOWN);
            [
                format!("drift: {what}"),
                guests(drift.impact, &drift.guests),
                from.to_owned(),
            ]
        });
        let rows: Vec<_> = diff
            .lines
            .iter()
            .map(|line| {
                let from = line.file.as_ref().map(|file| match line.line {
                    Some(number) => format!("{}:{number}", file.display()),
                    None => file.display().to_string(),
                });
                let impact = guests(line.impact, &line.guests);
                [line.text(), impact, from.unwrap_or_else(|| "-".to_owned())]
            })
            .chain(drift)
            .collect();
        table([&format!("CHANGE OF {name}"), "IMPACT", "FROM"], &rows, "")
    };
    for remark in &diff.remarks {
        let _ = write!(text, "\n{name}: {remark}");
    }
    text
}
