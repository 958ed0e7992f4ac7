//! The documents, tried: every command in them is run in order, on a host of its own for each document, and prints
//! what the document says. The host has miniascape from its package, `/srv/images/debian.qcow2` to boot from, and root.

use crate::support::document::{Block, Mark, Step, blocks, fits};
use crate::support::guest::DiskSpec;
use crate::support::{Host, note};
use crate::travel::clean_target;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// For the commands of a step, a guest's boot among them.
const PATIENCE: Duration = Duration::from_secs(180);

/// Root needs no sudo; what is printed to either output is on the same screen.
const SCREEN: &str = "sudo() { \"$@\"; }; exec 2>&1; ";

macro_rules! documents {
    ($($name:ident $path:literal),* $(,)?) => {
        $(pub(crate) fn $name() {
            read($path, include_str!(concat!("../../", $path)));
        })*
    };
}

documents! {
    readme "README.md",
    first_hour "docs/first-hour.md",
    networks "docs/networks.md",
    leases "docs/leases.md",
    guests "docs/guests.md",
    packing "docs/packing.md",
    installing "docs/installing.md",
    images "docs/images.md",
    security "docs/security.md",
    migration "docs/migration.md",
    troubleshooting "docs/troubleshooting.md",
    faq "docs/faq.md",
}

/// Does what a document says.
fn read(path: &str, text: &str) {
    let blocks = blocks(text).unwrap_or_else(|wrong| panic!("{path}: {}", wrong.join("\n")));
    assert!(blocks.iter().any(Block::is_run), "{path} has no commands");
    let started = Instant::now();
    let (host, daemon) = clean_target();
    DiskSpec::new("debian")
        .hostname("debian")
        .make(&host, "/srv/images/debian.qcow2");
    let mut wrong = Vec::new();
    for block in &blocks {
        if let Mark::File(file) = &block.mark {
            host.write_file(file, &block.text);
        }
        for step in block.steps() {
            let screen = if step.interrupted {
                interrupt(&host, &step)
            } else {
                run(&host, &step)
            };
            // All of a document is gone through, so that it can be put right in one go.
            wrong.extend(screen.map(|screen| format!("{path}:{}: {}\n{screen}", step.line, step.command)));
        }
    }
    note(format_args!("{path}: {:.1?}", started.elapsed()));
    assert!(
        wrong.is_empty(),
        "{}\n--- daemon ---\n{}",
        wrong.join("\n\n"),
        daemon.transcript()
    );
}

/// Runs a command; what came of it if that is not what the document says.
fn run(host: &Host, step: &Step) -> Option<String> {
    let command = format!("{SCREEN}{}", step.command);
    let output = host.command(["bash", "-c", &command]).timeout(PATIENCE).run();
    // virsh ends with an empty line.
    let lines: Vec<&str> = output.stdout.trim_end().lines().collect();
    let right =
        output.code() == Some(step.status) && (step.printed.is_empty() || fits(&step.printed, &lines));
    (!right).then(|| format!("status {:?}, printed:\n{}", output.code(), output.stdout))
}

/// Runs a command until it has printed what the document says, and interrupts it.
fn interrupt(host: &Host, step: &Step) -> Option<String> {
    let mut running = host.spawn(["bash", "-c", &format!("exec 2>&1; exec {}", step.command)]);
    let deadline = Instant::now() + PATIENCE;
    let mut lines: Vec<String> = Vec::new();
    let printed = |lines: &[String]| {
        fits(
            &step.printed,
            &lines.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    while !printed(&lines) {
        match running.next_line(deadline.saturating_duration_since(Instant::now())) {
            Some(line) => lines.push(line),
            None => return Some(format!("printed:\n{}", lines.join("\n"))),
        }
    }
    running.signal(Signal::INT);
    let output = running.wait(PATIENCE);
    // Interrupted, a program ends by the signal or with 0.
    (!matches!(output.code(), None | Some(0))).then(|| output.to_string())
}
