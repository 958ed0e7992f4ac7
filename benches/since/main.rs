//! `cargo bench --bench since`: what it takes to pack only what has changed of a running guest, 2 % of its data, found by
//! content and by a checkpoint's dirty bitmap, beside a whole pack of it, in turns. On a private host with a real libvirt.
//! Figures are printed; nothing passes or fails by them.
//!
//! Needs what the lab needs, and 8 GB of memory for the host's disks.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::guest::{Console, DiskSpec, DomainSpec};
use support::{Host, HostOptions, set_under_test, wait_until};

/// Rounds; in each one everything is run once.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    // This executable is also the first process inside a private host.
    if let Some(code) = support::entry() {
        return code;
    }
    set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    let host = Host::start(HostOptions::default());
    DiskSpec::new("golden")
        .agent()
        .make(&host, "/srv/images/golden.qcow2");
    // A second disk with 2 GiB of the machine's own programs and libraries.
    sh(
        &host,
        "mkdir -p /srv/out; cd /srv/images
         find /usr -xdev -type f -size -60M -exec cat {} + 2>/dev/null | head -c 2G >data.raw || :
         qemu-img convert -f raw -O qcow2 data.raw data.qcow2; rm data.raw",
    );
    define(&host);
    let mut console = start(&host);
    pack(&host, &["--output", "/srv/earlier"]);
    let (mut whole, mut content, mut bitmap) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        whole.push(pack(&host, &["--checkpoint", "--output", "/srv/out/whole"]));
        // 2 %, in pieces of 64 KiB all over the disk.
        console.send(
            "run dd if=/dev/urandom of=/tmp/piece bs=64k count=1 2>/dev/null; n=0; while [ $n -lt 656 ]; do \
             dd if=/tmp/piece of=/dev/vdb bs=64k seek=$((n * 49)) 2>/dev/null; n=$((n + 1)); done; sync",
        );
        console.wait("DONE", Duration::from_secs(240));
        // The checkpoint is that of this round's package.
        for (from, times) in [("earlier", &mut content), ("out/whole", &mut bitmap)] {
            let from = format!("/srv/{from}/vm-big_0.1-1_all.deb");
            let since = ["--since", &from, "--package-version", "0.2"];
            times.push(pack(
                &host,
                &[&since[..], &["--output", "/srv/out/since"]].concat(),
            ));
            sh(&host, "rm -rf /srv/out/since");
        }
        sh(&host, "rm -rf /srv/out");
        println!(
            "whole {:.2} s, since: by content {:.2} s, with a checkpoint {:.2} s",
            whole[round], content[round], bitmap[round]
        );
    }
    let [whole, content, bitmap] = [whole, content, bitmap].map(median);
    println!(
        "whole {whole:.2} s, since, by content, {content:.2} s ({:.3}), with a checkpoint {bitmap:.2} s ({:.3})",
        content / whole,
        bitmap / whole
    );
    ExitCode::SUCCESS
}

fn sh(host: &Host, script: &str) {
    host.command(["sh", "-e", "-c", script])
        .timeout(Duration::from_secs(300))
        .check();
}

fn define(host: &Host) {
    let domain = DomainSpec::new("big", "/srv/images/golden.qcow2").device(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/images/data.qcow2'/>\
         <target dev='vdb' bus='virtio'/></disk>\
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    );
    host.write_file("/root/big.xml", domain.xml());
    host.check(["virsh", "define", "/root/big.xml"]);
}

fn start(host: &Host) -> Console {
    host.check(["virsh", "start", "big"]);
    let mut console = Console::attach(host, "big");
    console.wait_ready();
    // It has a scheduling group of its own; nothing else on the machine is to come between it and us.
    sh(
        host,
        "nice=$(sed 's/.*nice //' /proc/self/autogroup); echo $nice >/proc/$(cat /run/libvirt/qemu/big.pid)/autogroup",
    );
    // An agent that is still coming up would be waited for by the pack.
    let ping = [
        "virsh",
        "qemu-agent-command",
        "big",
        "{\"execute\":\"guest-ping\"}",
    ];
    wait_until("the guest's agent", Duration::from_secs(60), || {
        host.run(ping).ok()
    });
    console
}

/// Seconds that a pack takes.
fn pack(host: &Host, more: &[&str]) -> f64 {
    let begun = Instant::now();
    let args = ["repack", "big", "--live", "--to", "deb", "--progress", "none"];
    let packed = host
        .miniascape_command(args.iter().chain(more).chain(&["--format", "json"]))
        .timeout(Duration::from_secs(300))
        .check();
    let seconds = begun.elapsed().as_secs_f64();
    let report: serde_json::Value = serde_json::from_str(&packed.stdout).unwrap_or_default();
    println!(
        "  {seconds:.2} s: {} {}",
        more.join(" "),
        report["seconds_by_step"]
    );
    for line in packed.stderr.lines().filter(|line| !line.contains("not sealed")) {
        println!("    {line}");
    }
    seconds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
