//! `cargo bench --bench live`: what it costs to pack a guest while it runs, beside packing the same guest shut off, in turns;
//! and to pack only what has changed. On a private host with a real libvirt. Figures are printed; nothing passes or fails by them.
//!
//! Needs what the lab needs, and 6 GB of memory for the host's disks.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod writing;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::guest::{DiskSpec, DomainSpec};
use support::{Host, HostOptions, set_under_test};

/// Rounds; in each one everything is run once.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    // This executable is also the first process inside a private host.
    if let Some(code) = support::entry() {
        return code;
    }
    set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    match std::env::args().find(|word| ["idle", "writing"].contains(&word.as_str())) {
        Some(word) if word == "idle" => writing::idle(),
        Some(_) => writing::writing(),
        None => all(),
    }
    ExitCode::SUCCESS
}

fn all() {
    let host = Host::start(HostOptions::default());
    DiskSpec::new("golden")
        .agent()
        .make(&host, "/srv/images/golden.qcow2");
    // A second disk with 1 GiB of the machine's own programs and libraries.
    sh(
        &host,
        "mkdir -p /srv/out; cd /srv/images
         find /usr -xdev -type f -size -60M -exec cat {} + 2>/dev/null | head -c 1G >data.raw || :
         qemu-img convert -f raw -O qcow2 data.raw data.qcow2; rm data.raw",
    );
    start(&host);
    pack(&host, &["--live", "--output", "/srv/earlier"]);
    let (mut live, mut off, mut since) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        live.push(pack(&host, &["--live", "--output", "/srv/out/live"]));
        stop(&host);
        off.push(pack(&host, &["--output", "/srv/out/off"]));
        // 2 %, in pieces of 64 KiB all over the disk.
        let writes: String = (0..328)
            .map(|n| format!(" -c 'write -P {} {}k 64k'", round + 1, n * 3197))
            .collect();
        sh(
            &host,
            &format!("qemu-io -f qcow2{writes} /srv/images/data.qcow2 >/dev/null"),
        );
        start(&host);
        since.push(pack(
            &host,
            &[
                "--live",
                "--since",
                "/srv/earlier/vm-big_0.1-1_all.deb",
                "--package-version",
                "0.2",
                "--output",
                "/srv/out/since",
            ],
        ));
        sh(&host, "rm -rf /srv/out");
        println!(
            "live {:.2} s, shut off {:.2} s, since {:.2} s",
            live[round], off[round], since[round]
        );
    }
    let (live, off, since) = (median(live), median(off), median(since));
    println!(
        "shut off {off:.2} s, live {live:.2} s ({:.2}), since, by content, {since:.2} s ({:.2} of live)",
        live / off,
        since / live
    );
}

fn sh(host: &Host, script: &str) {
    host.command(["sh", "-e", "-c", script])
        .timeout(Duration::from_secs(300))
        .check();
}

fn start(host: &Host) {
    host.run(["virsh", "undefine", "big"]);
    DomainSpec::new("big", "/srv/images/golden.qcow2")
        .device(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/images/data.qcow2'/>\
             <target dev='vdb' bus='virtio'/></disk>\
             <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        )
        .start(host)
        .wait_ready();
}

fn stop(host: &Host) {
    host.check(["virsh", "destroy", "big"]);
}

/// Seconds that a pack takes.
fn pack(host: &Host, more: &[&str]) -> f64 {
    let begun = Instant::now();
    let args = ["repack", "big", "--to", "deb", "--progress", "none"];
    host.miniascape_command(args.iter().chain(more))
        .timeout(Duration::from_secs(300))
        .check();
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
