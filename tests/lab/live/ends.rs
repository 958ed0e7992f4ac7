//! What ends a live pack before its time, and freezes that come to no good end.

use super::{PATIENCE, PENDING, Pulse, assert_clean, is_frozen, pair, sh, wait_for_agent};
use crate::support::guest::Console;
use crate::support::{Host, HostOptions, Running, note, wait_for, wait_until};
use serde_json::Value;

/// Where one of the guest's disks has hardly any room beside it.
const TIGHT: &str = "/srv/tight";

/// A pack that takes so long that nobody waits for its end.
const LONG: &str = "zstd:19";
/// A pack that takes long enough to be disturbed, and is waited for.
const LONG_ENOUGH: &str = "zstd:11";

/// Begins a live pack that takes long, and waits until its job runs.
fn begin(host: &Host, compress: &str) -> Running {
    begin_with(host, compress, &["--without-disk", "vdc"])
}

fn begin_with(host: &Host, compress: &str, more: &[&str]) -> Running {
    let fixed = [
        "repack",
        "pair",
        "--live",
        "--to",
        "tar",
        "--compress",
        compress,
        "--output",
        "/root/out",
    ];
    let pack = host.miniascape_command(fixed.iter().chain(more)).spawn();
    wait_until("the backup job", PATIENCE, || {
        host.run(["virsh", "backup-dumpxml", "pair"]).ok()
    });
    wait_until("the end of the freeze", PATIENCE, || {
        sh(host, &format!("cat {PENDING}/live-*.json"))
            .stdout
            .contains("\"frozen\": false")
    });
    pack
}

fn kill(host: &Host, pack: Running) {
    let pid = pack.pid_inside().expect("it runs").to_string();
    host.check(["kill", "-9", &pid]);
    pack.wait(PATIENCE);
}

pub(crate) fn whatever_ends_a_live_pack_the_guest_goes_on() {
    let mut host = Host::start(HostOptions::default());
    sh(
        &host,
        "mkdir /srv/tight; mount -t tmpfs -o size=300M tmpfs /srv/tight; yes words | head -c 160M >/srv/tight/disk.raw
         truncate -s 200M /srv/tight/disk.raw",
    );
    let mut console = pair(
        &host,
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/tight/disk.raw'/>\
         <target dev='vdc' bus='virtio'/></disk>",
    );
    console.wait_ready();
    wait_for_agent(&host);
    console.ask("count", "COUNTING");
    let mut pulse = Pulse::default();
    pulse.goes_on(&mut console);

    // Killed while the job runs: the next command that changes something ends it.
    let pack = begin(&host, LONG);
    apparmor_would_allow_it(&host);
    kill(&host, pack);
    assert!(host.run(["virsh", "backup-dumpxml", "pair"]).ok());
    let next = host.miniascape_check(["daemon", "--once"]);
    assert!(
        next.stdout
            .contains("undone what an interrupted live pack of pair had left")
            || next
                .stderr
                .contains("undone what an interrupted live pack of pair had left"),
        "{next}"
    );
    sh(&host, "rm -rf /root/out");
    assert_clean(&host);

    // Ended by a signal: it undoes everything itself.
    let pack = begin(&host, LONG);
    let pid = pack.pid_inside().expect("it runs").to_string();
    host.check(["kill", "-TERM", &pid]);
    pack.wait(PATIENCE);
    sh(&host, "rm -rf /root/out");
    assert_clean(&host);

    // Its job is ended by somebody else half way: an error that says so, no package, nothing left.
    let pack = begin(&host, LONG);
    host.check(["virsh", "domjobabort", "pair"]);
    let failed = pack.wait(PATIENCE);
    failed.expect_code(1);
    assert!(
        failed
            .stderr
            .contains("the backup job of the guest pair has ended before all was read"),
        "{failed}"
    );
    assert!(!host.exists("/root/out"), "{failed}");
    assert_clean(&host);

    // Somebody else's job is left alone.
    host.write_file(
        "/root/foreign.xml",
        "<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/foreign.sock'/>\
         <disks><disk name='vda' backup='yes' type='file'><scratch file='/srv/images/foreign'/></disk><disk name='vdb' backup='no'/></disks></domainbackup>",
    );
    host.check(["virsh", "backup-begin", "pair", "/root/foreign.xml"]);
    let refused = host.miniascape(["repack", "pair", "--live", "--to", "tar", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("a backup job of the guest pair runs that is not ours"),
        "{refused}"
    );
    host.check(["virsh", "backup-dumpxml", "pair"]);
    host.check(["virsh", "domjobabort", "pair"]);
    pulse.goes_on(&mut console);
    // And so is what somebody does with one of its disks.
    host.check([
        "virsh",
        "blockcopy",
        "pair",
        "vdb",
        "--dest",
        "/srv/copy.raw",
        "--format",
        "raw",
        "--transient-job",
        "--wait",
    ]);
    let refused = host.miniascape(["repack", "pair", "--live", "--to", "tar", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("a job of the disk vdb of the guest pair runs that is not ours"),
        "{refused}"
    );
    sh(&host, "virsh blockjob pair vdb --abort; rm /srv/copy.raw");
    assert_clean(&host);
    pulse.goes_on(&mut console);

    agents(&host, &mut console, &mut pulse);
    room(&host, &mut console, &mut pulse);

    restarts(&mut host, &mut console, &mut pulse);

    // The guest stops half way.
    let pack = begin(&host, LONG);
    host.check(["virsh", "destroy", "pair"]);
    let failed = pack.wait(PATIENCE);
    failed.expect_code(1);
    assert!(failed.stderr.contains("the guest has stopped"), "{failed}");
    assert_clean(&host);
}

/// libvirt is ended and comes back, and the guest starts anew: neither ends the job.
fn restarts(host: &mut Host, console: &mut Console, pulse: &mut Pulse) {
    let pack = begin(host, LONG_ENOUGH);
    host.stop_libvirtd();
    sh(host, "sleep 0.5");
    host.start_libvirtd();
    let done = pack.wait(PATIENCE);
    assert!(done.ok(), "{done}");
    sh(host, "rm -rf /root/out");
    assert_clean(host);
    pulse.goes_on(console);
    // An agent that goes or comes while a job runs would hold libvirt up for half a minute.
    console.ask("run killall qemu-ga", "DONE");
    let pack = begin(host, LONG_ENOUGH);
    host.check(["virsh", "reset", "pair"]);
    let done = pack.wait(PATIENCE);
    assert!(done.ok(), "{done}");
    sh(host, "rm -rf /root/out");
    assert_clean(host);
}

/// What libvirt's own helper writes into the profile of this guest lets QEMU make our socket and use our files.
fn apparmor_would_allow_it(host: &Host) {
    let helper = "/usr/lib/libvirt/virt-aa-helper";
    if !host.exists(helper) {
        note("this libvirt was built without AppArmor: what it would allow is left out here");
        return;
    }
    let journal = sh(host, &format!("cat {PENDING}/live-*.json"));
    let journal: Value = serde_json::from_str(&journal.stdout).expect("a note is JSON");
    let profile = |more: &str| {
        let run =
            format!("virsh dumpxml pair | {helper} --dryrun -r -u libvirt-$(virsh domuuid pair) {more} 2>&1");
        sh(host, &run).stdout
    };
    let (dir, _) = journal["socket"]
        .as_str()
        .and_then(|path| path.rsplit_once('/'))
        .expect("a socket");
    let own = profile("");
    assert!(own.contains(&format!("\"{dir}/*\" rw,")), "{own}");
    for scratch in journal["scratch"].as_array().expect("files") {
        let added = profile(&format!("-F {scratch}"));
        assert!(added.contains(&format!("{scratch} rwk,")), "{added}");
    }
}

/// What the guest overwrites needs more room than there is.
fn room(host: &Host, console: &mut Console, pulse: &mut Pulse) {
    // Seen before it comes to that: the pack is given up.
    let pack = begin_with(host, LONG, &[]);
    sh(host, "fallocate -l 130M /srv/tight/other");
    let failed = pack.wait(PATIENCE);
    failed.expect_code(1);
    assert!(
        failed
            .stderr
            .contains("if it overwrites so much meanwhile that there is no more room")
            && failed
                .stderr
                .contains(&format!("there is no more room in {TIGHT}"))
            && failed.stderr.contains("make room there"),
        "{failed}"
    );
    assert!(!host.exists("/root/out"), "{failed}");
    assert_clean(host);
    pulse.goes_on(console);
    // Not even begun.
    let refused = host.miniascape(["repack", "pair", "--live", "--to", "tar", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains(&format!("bytes are free in {TIGHT}")),
        "{refused}"
    );
    sh(host, &format!("rm {TIGHT}/other"));
    assert_clean(host);

    // Nobody watches any more, and QEMU stops the guest: the next command lets it go on, and nothing of what it writes is lost.
    let pack = begin_with(host, LONG, &[]);
    kill(host, pack);
    sh(
        host,
        &format!("fallocate -l $(df -B1 --output=avail {TIGHT} | tail -1) {TIGHT}/other"),
    );
    console.send(
        "run yes others | dd of=/dev/vdc bs=64k count=100 iflag=fullblock conv=fsync,notrunc 2>/dev/null",
    );
    let state = || host.check(["virsh", "domstate", "pair", "--reason"]);
    wait_until("the guest to be stopped", PATIENCE, || {
        state().text() == "paused (I/O error)"
    });
    host.miniascape_check(["daemon", "--once"]);
    assert!(state().text().starts_with("running"), "{}", state());
    console.wait("DONE", PATIENCE);
    sh(
        host,
        &format!(
            "rm -rf {TIGHT}/other /root/out; yes others | head -c 6553600 | cmp -n 6553600 - {TIGHT}/disk.raw"
        ),
    );
    assert_clean(host);
    pulse.goes_on(console);
}

/// Freezes that come to no good end.
fn agents(host: &Host, console: &mut Console, pulse: &mut Pulse) {
    // Killed while the agent freezes: the guest stands still, until the next command.
    console.ask("run echo >/tmp/slow", "DONE");
    let pack = host
        .miniascape_command(["repack", "pair", "--live", "--to", "tar", "--output", "/root/out"])
        .spawn();
    wait_until("the note of the freeze", PATIENCE, || {
        host.run([
            "sh",
            "-c",
            &format!("grep -q '\"frozen\": true' {PENDING}/live-*.json"),
        ])
        .ok()
    });
    kill(host, pack);
    console.ask("run rm /tmp/slow", "DONE");
    wait_until("the freeze that nobody waits for", PATIENCE, || is_frozen(host));
    host.miniascape_check(["daemon", "--once"]);
    assert!(!is_frozen(host));
    sh(host, "rm -rf /root/out");
    assert_clean(host);
    pulse.goes_on(console);

    // An agent that was told to freeze and is not heard of again.
    console.ask("run echo >/tmp/deaf", "DONE");
    let failed = host.miniascape(["repack", "pair", "--live", "--to", "tar", "--output", "/root/out"]);
    failed.expect_code(1);
    assert!(
        failed
            .stderr
            .contains("the file systems of the guest pair are still frozen")
            && failed.stderr.contains("virsh domfsthaw pair"),
        "{failed}"
    );
    assert!(!host.run(["virsh", "backup-dumpxml", "pair"]).ok());
    // When it can be spoken to again it has frozen after all, and the next command thaws.
    console.ask("run killall -CONT qemu-ga", "DONE");
    wait_for("the guest to be thawed", PATIENCE, || {
        host.miniascape(["daemon", "--once"]).ok().then_some(())
    });
    assert!(!is_frozen(host));
    pulse.goes_on(console);
    assert_clean(host);
}
