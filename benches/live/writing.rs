//! `cargo bench --bench live -- idle` and `-- writing`: the same guest packed while it runs and shut off, in turns, and what
//! a pack costs a guest that writes.

use super::support::guest::{Console, DiskSpec, DomainSpec};
use super::support::{Host, HostOptions};
use super::{median, pack, sh};
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// How long a guest that writes is watched when nobody packs it.
const WATCHED: Duration = Duration::from_secs(5);

/// A guest with so many GiB of the machine's own programs and libraries, and a raw disk of 256 MiB to write to.
fn prepare(gib: u64) -> Host {
    let host = Host::start(HostOptions::default());
    DiskSpec::new("golden")
        .agent()
        .make(&host, "/srv/images/golden.qcow2");
    sh(
        &host,
        &format!(
            "mkdir -p /srv/out; cd /srv/images
             find /usr -xdev -type f -size -60M -exec cat {{}} + 2>/dev/null | head -c {gib}G >data.raw || :
             head -c 256M data.raw >written.raw
             qemu-img convert -f raw -O qcow2 data.raw data.qcow2; rm data.raw"
        ),
    );
    host
}

fn start(host: &Host) -> Console {
    host.run(["virsh", "undefine", "big"]);
    let disk = |file: &str, format: &str, target: &str| {
        format!(
            "<disk type='file' device='disk'><driver name='qemu' type='{format}'/><source file='/srv/images/{file}'/>\
             <target dev='{target}' bus='virtio'/></disk>"
        )
    };
    let mut console = DomainSpec::new("big", "/srv/images/golden.qcow2")
        .device(&disk("data.qcow2", "qcow2", "vdb"))
        .device(&disk("written.raw", "raw", "vdc"))
        .device("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")
        .start(host);
    console.wait_ready();
    // An agent that comes while a backup job runs holds libvirt up for half a minute.
    let ping = [
        "virsh",
        "qemu-agent-command",
        "big",
        r#"{"execute":"guest-ping"}"#,
    ];
    while !host.run(ping).ok() {
        std::thread::sleep(Duration::from_millis(200));
    }
    console
}

/// The guest does nothing.
pub(super) fn idle() {
    let host = prepare(3);
    let (mut live, mut off) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let console = start(&host);
        live.push(pack(&host, &["--live", "--output", "/srv/out/live"]));
        drop(console);
        host.check(["virsh", "destroy", "big"]);
        off.push(pack(&host, &["--output", "/srv/out/off"]));
        sh(&host, "rm -rf /srv/out/*");
        println!("shut off {:.2} s, live {:.2} s", off[round], live[round]);
    }
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    println!("least: {:.2}", least(&live) / least(&off));
    let [live, off] = [live, off].map(median);
    println!(
        "medians: shut off {off:.2} s, live {live:.2} s ({:.2})",
        live / off
    );
}

/// The guest writes 4 MiB at a time, each made sure of, over and over all of its third disk.
pub(super) fn writing() {
    let host = prepare(1);
    let mut console = start(&host);
    console.send(
        "run (i=0; while :; do dd if=/dev/zero of=/dev/vdc bs=1M count=4 seek=$((i%64*4)) conv=notrunc,fsync 2>/dev/null; \
         i=$((i+1)); done) &",
    );
    console.wait("DONE", WATCHED);
    let mut all = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let before = throughput(&host, || std::thread::sleep(WATCHED));
        let mut seconds = 0.0;
        let during = throughput(&host, || {
            seconds = pack(&host, &["--live", "--output", "/srv/out/live"]);
        });
        let after = throughput(&host, || std::thread::sleep(WATCHED));
        sh(&host, "rm -rf /srv/out/*");
        println!(
            "the guest writes {before:.0} MB/s, while it is packed (in {seconds:.2} s) {during:.0}, then {after:.0}"
        );
        for (values, value) in all.iter_mut().zip([before, during, after]) {
            values.push(value);
        }
    }
    let [before, during, after] = all.map(median);
    println!(
        "medians: before {before:.0} MB/s, during {during:.0} ({:.2}), after {after:.0}",
        during / before
    );
}

/// MB/s that the guest writes to its third disk meanwhile.
fn throughput(host: &Host, meanwhile: impl FnOnce()) -> f64 {
    let written = || -> f64 {
        let stat = host.check(["virsh", "domblkstat", "big", "vdc"]).stdout;
        let bytes = stat
            .lines()
            .find_map(|line| line.split_once("wr_bytes ")?.1.trim().parse().ok());
        bytes.expect("a number")
    };
    let (begun, before) = (Instant::now(), written());
    meanwhile();
    (written() - before) / 1e6 / begun.elapsed().as_secs_f64()
}
