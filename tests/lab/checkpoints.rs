//! `repack --live --checkpoint`, and what `--since` makes of it: only what was written to is read, and what cannot be trusted
//! is compared by content. Whatever happens, the packed disk is the guest's.

use crate::support::guest::{Console, DiskSpec, DomainSpec};
use crate::support::{Host, HostOptions, Output, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
const DISK: &str = "/srv/images/pair.qcow2";
const READ_BY_BITMAP: &str = "read what was written to vda";
const BROKEN: &str = "missing or broken bitmap";

fn sh(host: &Host, script: &str) -> Output {
    host.check(["sh", "-e", "-c", script])
}

fn start(host: &Host) -> Console {
    let mut console = DomainSpec::new("pair", DISK)
        .device(
            "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/images/second.img'/>\
             <target dev='vdb' bus='virtio'/></disk>",
        )
        .start(host);
    console.wait_ready();
    console
}

fn start_again(host: &Host) -> Console {
    host.check(["virsh", "start", "pair"]);
    let mut console = Console::attach(host, "pair");
    console.wait_ready();
    console
}

/// Has the guest write to both disks, safely; after that it writes nothing.
fn write(console: &mut Console, seed: u32) {
    console.ask(
        &format!(
            "run mount -o remount,rw /data; dd if=/dev/urandom of=/data/noise bs=64k count={seed} 2>/dev/null; echo {seed} >/data/seed; \
             dd if=/dev/urandom of=/dev/vdb bs=64k count=1 seek={seed} conv=fsync 2>/dev/null; \
             mount -o remount,ro /data && sync"
        ),
        "DONE",
    );
}

/// Packs the guest, which writes nothing now, as version `version`. Its disks are as the package says.
#[track_caller]
fn pack(host: &Host, version: &str, more: &[&str]) -> Output {
    let out = format!("/root/{version}");
    let common = ["repack", "pair", "--live", "--to", "deb", "--progress", "json"];
    let own = ["--package-version", version, "--output", &out];
    let packed = host.miniascape_check(common.iter().chain(&own).chain(more));
    sh(
        host,
        &format!("for deb in {out}/*.deb; do dpkg-deb -x $deb /root/target; done"),
    );
    let manifest = host.read_file("/root/target/usr/share/miniascape/guests/pair/manifest.json");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("a manifest");
    assert_eq!(manifest["package"]["version"], version);
    for (disk, file, format) in [(0, DISK, "qcow2"), (1, "/srv/images/second.img", "raw")] {
        let layers = manifest["disks"][disk]["layers"].as_array().expect("layers");
        let digest = layers.last().expect("a layer")["digest"]
            .as_str()
            .expect("a digest");
        sh(
            host,
            &format!(
                "cd /root/target/var/lib/libvirt/images/miniascape/packaged; sha256sum sha256-{digest}.qcow2 | grep -q {digest}; \
                 qemu-img compare -U -f qcow2 -F {format} sha256-{digest}.qcow2 {file}"
            ),
        );
    }
    packed
}

fn since(version: &str) -> String {
    format!("/root/{version}/vm-pair_{version}-1_all.deb")
}

/// Our checkpoints, in libvirt and in the disk.
#[track_caller]
fn ours(host: &Host) -> Vec<String> {
    let names = "grep -o 'miniascape-[0-9a-f]\\{8\\}-[0-9a-f-]*' | sort -u";
    let known = sh(host, &format!("virsh checkpoint-list pair --name | {names}"));
    // A running QEMU writes them into the disk when it ends.
    let ask = "virsh qemu-monitor-command pair '{\"execute\":\"query-named-block-nodes\"}' 2>/dev/null";
    let bitmaps = sh(host, &format!("({ask} || qemu-img info {DISK}) | {names}"));
    assert_eq!(known.text(), bitmaps.text());
    known.text().lines().map(ToOwned::to_owned).collect()
}

pub(crate) fn what_was_written_since_a_checkpoint_is_all_that_is_read() {
    let host = Host::start(HostOptions::default());
    DiskSpec::new("golden").make(&host, "/srv/images/golden.qcow2");
    sh(
        &host,
        "cd /srv/images; qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 pair.qcow2 128M; truncate -s 8M second.img",
    );
    let mut console = start(&host);
    host.check([
        "virsh",
        "checkpoint-create-as",
        "pair",
        "foreign",
        "--diskspec",
        "vda,checkpoint=bitmap",
        "--diskspec",
        "vdb,checkpoint=no",
    ]);

    write(&mut console, 1);
    let first = pack(&host, "0.1", &["--checkpoint"]);
    assert!(first.stderr.contains("no checkpoint of the disk vdb"), "{first}");
    let one = ours(&host);
    assert_eq!(one.len(), 1);

    // By the bitmap; the new checkpoint takes the place of the old one.
    write(&mut console, 2);
    let second = pack(&host, "0.2", &["--checkpoint", "--since", &since("0.1")]);
    assert!(second.stderr.contains(READ_BY_BITMAP), "{second}");
    let two = ours(&host);
    assert!(two.len() == 1 && two != one, "{one:?} {two:?}");

    // What another package's checkpoint says is nothing for this one.
    write(&mut console, 3);
    let other = pack(&host, "0.3", &["--since", &since("0.1")]);
    assert!(
        other
            .stderr
            .contains("the guest's checkpoint is that of vm-pair 0.2"),
        "{other}"
    );
    assert_eq!(ours(&host), two);

    let is_full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
    let kinds: &[bool] = if is_full { &[false, true] } else { &[false] };
    // Killed: the new checkpoint goes, the useful one stays; also if the guest is off by then.
    let useful = ours(&host);
    for &off in kinds {
        let pack = host
            .miniascape_command([
                "repack",
                "pair",
                "--live",
                "--checkpoint",
                "--to",
                "tar",
                "--compress",
                "zstd:19",
                "--output",
                "/root/out",
            ])
            .spawn();
        wait_until("the backup job", PATIENCE, || {
            host.run(["virsh", "backup-dumpxml", "pair"]).ok() && ours_in_libvirt(&host) == 2
        });
        let pid = pack.pid_inside().expect("it runs").to_string();
        host.check(["kill", "-9", &pid]);
        pack.wait(PATIENCE);
        if off {
            host.check(["virsh", "destroy", "pair"]);
        }
        host.miniascape_check(["daemon", "--once"]);
        assert_eq!(ours(&host), useful, "off: {off}");
    }

    if is_full {
        off_and_on(&host, console);
    }
    let foreign = sh(&host, "virsh checkpoint-list pair --name");
    assert!(foreign.text().lines().any(|name| name == "foreign"), "{foreign}");

    // A checkpoint of a guest that is off would be a promise that nobody keeps.
    host.run(["virsh", "destroy", "pair"]);
    let refused = host.miniascape([
        "repack",
        "pair",
        "--live",
        "--checkpoint",
        "--to",
        "tar",
        "--output",
        "/root/out",
    ]);
    refused.expect_code(3);
}

fn ours_in_libvirt(host: &Host) -> usize {
    sh(
        host,
        "virsh checkpoint-list pair --name | grep -c miniascape- || :",
    )
    .text()
    .parse()
    .unwrap_or(0)
}

/// What becomes of bitmaps while the guest is off, in good order and not.
fn off_and_on(host: &Host, console: Console) {
    drop(console);
    // Off for a while, and written to from outside: QEMU's tools keep account, too.
    host.run(["virsh", "destroy", "pair"]);
    sh(
        host,
        &format!("qemu-io -f qcow2 -c 'write -P 0x77 100M 100k' {DISK} >/dev/null"),
    );
    let mut console = start_again(host);
    write(&mut console, 4);
    let third = pack(host, "0.4", &["--checkpoint", "--since", &since("0.2")]);
    assert!(third.stderr.contains(READ_BY_BITMAP), "{third}");

    // A bitmap that QEMU was killed with is not trusted.
    write(&mut console, 6);
    sh(host, "kill -9 $(cat /run/libvirt/qemu/pair.pid)");
    wait_until("the guest to be off", PATIENCE, || {
        host.check(["virsh", "domstate", "pair"]).text() == "shut off"
    });
    let mut console = start_again(host);
    write(&mut console, 7);
    let fifth = pack(host, "0.5", &["--checkpoint", "--since", &since("0.4")]);
    assert!(
        !fifth.stderr.contains(READ_BY_BITMAP) && fifth.stderr.contains(BROKEN),
        "{fifth}"
    );
    assert_eq!(ours(host).len(), 1);
}
