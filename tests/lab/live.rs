//! Guests that are packed while they run: all disks as they were at one moment, and nothing left behind, whatever ends it.

use crate::support::guest::{Console, DiskSpec, DomainSpec};
use crate::support::{Host, HostOptions, Output, Running, note, wait_for, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
/// Where the data partition of the first disk begins.
const DATA: &str = "offset=26214400";
const PENDING: &str = "/var/lib/miniascape/pending";

/// A guest with an overlay over a golden image, a raw second disk, and QEMU's agent.
fn pair(host: &Host) -> Console {
    DiskSpec::new("golden")
        .agent()
        .make(host, "/srv/images/golden.qcow2");
    sh(
        host,
        "cd /srv/images
         qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 pair.qcow2
         truncate -s 8M second.img",
    );
    DomainSpec::new("pair", "/srv/images/pair.qcow2")
        .device(
            "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/images/second.img'/>\
             <target dev='vdb' bus='virtio'/></disk>\
             <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>\
             <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        )
        .start(host)
}

fn sh(host: &Host, script: &str) -> Output {
    host.check(["sh", "-e", "-c", script])
}

fn wait_for_agent(host: &Host) {
    wait_until("the guest's agent", PATIENCE, || {
        host.run([
            "virsh",
            "qemu-agent-command",
            "pair",
            "{\"execute\":\"guest-ping\"}",
        ])
        .ok()
    });
}

/// What the guest's agent says of its file systems.
fn is_frozen(host: &Host) -> bool {
    let asked = host.check([
        "virsh",
        "qemu-agent-command",
        "pair",
        "{\"execute\":\"guest-fsfreeze-status\"}",
    ]);
    asked.stdout.contains("frozen")
}

/// Nothing is left of any live pack.
#[track_caller]
fn assert_clean(host: &Host) {
    let left = sh(
        host,
        &format!(
            "ls -A {PENDING} 2>/dev/null || :; find /srv /root /var/lib/libvirt -name '*miniascape-live*' -o -name '.miniascape-*'; \
             virsh domjobinfo pair | grep -v None | grep 'Job type' || :; virsh checkpoint-list pair --name"
        ),
    );
    assert_eq!(left.text(), "", "{left}");
}

/// The numbers on both packed disks. `tree` is what `--to build-tree` has made.
fn numbers(host: &Host, tree: &str) -> (u64, u64) {
    let read = sh(
        host,
        &format!(
            "cd {tree}
             qemu-img check -q vda.qcow2; qemu-img check -q vdb.qcow2
             qemu-img convert -O raw vda.qcow2 /root/a; qemu-img convert -O raw vdb.qcow2 /root/b
             debugfs -R 'cat /counter' '/root/a?{DATA}' 2>/dev/null; head -c 9 /root/b
             rm /root/a /root/b"
        ),
    );
    let mut lines = read
        .stdout
        .lines()
        .map(|line| line.parse().unwrap_or_else(|e| panic!("{e}: {read}")));
    (lines.next().expect("a number"), lines.next().expect("a number"))
}

pub(crate) fn a_running_guest_is_packed_as_it_was_at_one_moment() {
    let rounds = if std::env::var_os("MINIASCAPE_TEST_FULL").is_some() {
        20
    } else {
        3
    };
    let host = Host::start(HostOptions::default());
    let mut console = pair(&host);
    console.wait_ready();
    wait_for_agent(&host);

    let refused = host.miniascape(["repack", "pair", "--to", "build-tree", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("not shut off") && refused.stderr.contains("--live packs it as it is now"),
        "{refused}"
    );

    console.ask("count", "COUNTING");
    let mut longest_freeze = 0;
    let mut before = 10_000_000;
    for round in 0..rounds {
        // The last ones without the agent.
        if round + 1 == rounds {
            console.ask("run killall qemu-ga", "DONE");
        }
        let out = format!("/root/out-{round}");
        let packed =
            host.miniascape_check(["repack", "pair", "--live", "--to", "build-tree", "--output", &out]);
        if round + 1 == rounds {
            assert!(
                packed.stderr.contains("as after a power failure: not frozen"),
                "{packed}"
            );
        } else {
            let said = packed
                .stderr
                .split("frozen for ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let time: u64 = said
                .and_then(|ms| ms.parse().ok())
                .unwrap_or_else(|| panic!("{packed}"));
            assert!(
                packed.stderr.contains("1 file system of the guest frozen"),
                "{packed}"
            );
            longest_freeze = longest_freeze.max(time);
        }
        assert_clean(&host);
        let (first, second) = numbers(&host, &format!("{out}/vm-pair-repacked-0.1"));
        assert!(first == second || first == second + 1, "{first} {second}");
        assert!(first > before, "{first} is not behind {before}");
        before = first;
    }

    // What has changed since a live pack, by another.
    let pack = |more: &[&str]| {
        let args = ["repack", "pair", "--live", "--to", "deb"];
        host.miniascape_check(args.iter().chain(more));
    };
    pack(&["--output", "/root/first"]);
    let since = "/root/first/vm-pair_0.1-1_all.deb";
    pack(&[
        "--since",
        since,
        "--package-version",
        "0.2",
        "--output",
        "/root/next",
    ]);
    assert_eq!(host.list_dir("/root/next").len(), 3, "both disks have changed");
    let size = sh(&host, "du -k --apparent-size /root/next | cut -f 1");
    assert!(size.text().parse::<u64>().is_ok_and(|kib| kib < 2000), "{size}");
    assert_clean(&host);

    console.send("counted");
    let counted = console.wait("COUNTED", PATIENCE);
    let number: u64 = counted.value("number").parse().expect("a number");
    let longest: u64 = counted.value("longest").parse().expect("a number");
    assert!(number > before);
    note(format_args!(
        "longest freeze {longest_freeze} ms, longest round of the guest {longest}0 ms"
    ));
    // Its rounds take long on a busy machine too, but it has not stood still for anything else.
    assert!(longest * 10 < longest_freeze + 15_000);
    host.miniascape_check(["guest", "shutdown", "pair"]);
    // Everything that the guest has written is on its own disks.
    let own = sh(
        &host,
        &format!(
            "cd /srv/images; qemu-img convert -O raw pair.qcow2 /root/a
             debugfs -R 'cat /counter' '/root/a?{DATA}' 2>/dev/null; head -c 9 second.img"
        ),
    );
    assert_eq!(own.stdout, format!("{number}\n{number}\n"));

    // The last one, without the agent, boots too.
    sh(
        &host,
        &format!(
            "cp -a /root/out-{}/vm-pair-repacked-0.1 /srv/copy; chmod -R a+rX /srv/copy
             qemu-img create -q -f qcow2 -b vda.qcow2 -F qcow2 /srv/copy/own.qcow2",
            rounds - 1
        ),
    );
    let mut copy = DomainSpec::new("copy", "/srv/copy/own.qcow2").start(&host);
    copy.wait_ready();
    let markers = copy.ask("markers", "MARKER");
    assert_eq!(markers.value("base"), "golden");
}

/// Begins a live pack that takes long, and waits until its job runs.
fn begin(host: &Host) -> Running {
    let pack = host
        .miniascape_command([
            "repack",
            "pair",
            "--live",
            "--to",
            "tar",
            "--compress",
            "zstd:9",
            "--output",
            "/root/out",
        ])
        .spawn();
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
    let host = Host::start(HostOptions::default());
    let mut console = pair(&host);
    console.wait_ready();
    wait_for_agent(&host);
    console.ask("count", "COUNTING");
    let mut goes_on = {
        let mut last = 0;
        move |console: &mut Console| {
            // The number is in memory; that it grows shows that the disks are written to.
            let number = |console: &mut Console| -> u64 {
                let line = console.ask("run echo NUMBER value=$(cat /tmp/number)", "NUMBER");
                console.wait("DONE", PATIENCE);
                line.value("value").parse().unwrap_or(0)
            };
            let first = number(console);
            wait_until("the guest to write", PATIENCE, || number(console) > first);
            assert!(first >= last);
            last = first;
        }
    };
    goes_on(&mut console);

    // Killed while the job runs: the next command that changes something ends it.
    let pack = begin(&host);
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
    let pack = begin(&host);
    let pid = pack.pid_inside().expect("it runs").to_string();
    host.check(["kill", "-TERM", &pid]);
    pack.wait(PATIENCE);
    sh(&host, "rm -rf /root/out");
    assert_clean(&host);

    // Its job is ended by somebody else half way: an error that says so, no package, nothing left.
    let pack = begin(&host);
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
    goes_on(&mut console);

    agents(&host, &mut console, &mut goes_on);

    // The guest stops half way.
    let pack = begin(&host);
    host.check(["virsh", "destroy", "pair"]);
    let failed = pack.wait(PATIENCE);
    failed.expect_code(1);
    assert!(failed.stderr.contains("the guest has stopped"), "{failed}");
    assert_clean(&host);
}

/// Freezes that come to no good end. `goes_on` waits until the guest writes.
fn agents(host: &Host, console: &mut Console, goes_on: &mut dyn FnMut(&mut Console)) {
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
    goes_on(console);

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
    goes_on(console);
    assert_clean(host);
}
