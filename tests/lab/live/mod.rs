//! Guests that are packed while they run: all disks as they were at one moment, and nothing left behind, whatever ends it.

mod ends;
mod kills;
mod kinds;

pub(crate) use ends::whatever_ends_a_live_pack_the_guest_goes_on;
pub(crate) use kills::a_live_pack_killed_at_any_point_is_undone_and_the_guest_goes_on;
pub(crate) use kinds::guests_of_every_kind_are_packed_while_they_run;

use crate::support::guest::{Console, DiskSpec, DomainSpec};
use crate::support::{Host, HostOptions, Output, note, wait_for, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
/// Where the data partition of the first disk begins.
const DATA: &str = "offset=26214400";
const PENDING: &str = "/var/lib/miniascape/pending";

/// A guest with an overlay over a golden image, a raw second disk, QEMU's agent, and `more` devices.
fn pair(host: &Host, more: &str) -> Console {
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
        .device(more)
        .start(host)
}

/// What a guest that counts has come to.
#[derive(Default)]
struct Pulse {
    last: u64,
}

impl Pulse {
    /// Waits until the guest writes.
    #[track_caller]
    fn goes_on(&mut self, console: &mut Console) {
        // The number is in memory; that it grows shows that the disks are written to.
        let number = |console: &mut Console| {
            wait_for("a number", PATIENCE, || {
                let line = console.ask("run echo NUMBER value=$(cat /tmp/number)", "NUMBER");
                console.wait("DONE", PATIENCE);
                // The file is empty where it is just being written.
                line.value("value").parse::<u64>().ok()
            })
        };
        let first = number(console);
        wait_until("the guest to write", PATIENCE, || number(console) > first);
        assert!(first >= self.last);
        self.last = first;
    }
}

/// Lets the guest stop counting and shut down: everything that it has written is on its own disks. The last number.
#[track_caller]
fn nothing_is_lost(host: &Host, console: &mut Console) -> u64 {
    console.send("counted");
    let number = console
        .wait("COUNTED", PATIENCE)
        .value("number")
        .parse()
        .expect("a number");
    host.miniascape_check(["guest", "shutdown", "pair"]);
    let own = sh(
        host,
        &format!(
            "cd /srv/images; qemu-img convert -O raw pair.qcow2 /root/a
             debugfs -R 'cat /counter' '/root/a?{DATA}' 2>/dev/null; head -c 9 second.img; rm /root/a"
        ),
    );
    assert_eq!(own.stdout, format!("{number}\n{number}\n"));
    number
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

/// The longest round of the guest, in milliseconds, since it was asked to count anew.
fn longest_round(console: &mut Console) -> u64 {
    let line = console.ask("run echo LONGEST value=$(cat /tmp/longest)", "LONGEST");
    console.wait("DONE", PATIENCE);
    line.value("value").parse::<u64>().expect("a number") * 10
}

fn count_anew(console: &mut Console) {
    console.ask(
        "run echo >/tmp/anew; while [ -e /tmp/anew ]; do sleep 0.05; done",
        "DONE",
    );
}

/// How long the guest was frozen, in milliseconds, as the program has told.
fn frozen_for(packed: &Output) -> u64 {
    let said = packed
        .stderr
        .split("1 file system of the guest frozen for ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    said.and_then(|ms| ms.parse().ok())
        .unwrap_or_else(|| panic!("{packed}"))
}

pub(crate) fn a_running_guest_is_packed_as_it_was_at_one_moment() {
    let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
    let rounds = if full { 20 } else { 3 };
    let host = Host::start(HostOptions::default());
    let mut console = pair(&host, "");
    console.wait_ready();
    wait_for_agent(&host);

    let refused = host.miniascape(["repack", "pair", "--to", "build-tree", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("not shut off") && refused.stderr.contains("--live packs it as it is now"),
        "{refused}"
    );

    let events = host.spawn(["virsh", "event", "pair", "lifecycle", "--loop"]);
    console.ask("count", "COUNTING");
    // What its rounds take when nobody packs it.
    count_anew(&mut console);
    sh(&host, "sleep 2");
    let undisturbed = longest_round(&mut console);
    let mut before = 10_000_000;
    let mut pauses = Vec::new();
    for round in 0..rounds {
        // The last ones without the agent.
        let without = round + 1 == rounds || full && round + 4 >= rounds;
        if without {
            console.ask("run killall -q qemu-ga", "DONE");
        }
        let out = format!("/root/out-{round}");
        count_anew(&mut console);
        let packed =
            host.miniascape_check(["repack", "pair", "--live", "--to", "build-tree", "--output", &out]);
        let longest = longest_round(&mut console);
        let frozen = if without {
            assert!(
                packed.stderr.contains("as after a power failure: not frozen"),
                "{packed}"
            );
            0
        } else {
            frozen_for(&packed)
        };
        // Its rounds take long on a busy machine too, but it has not stood still for anything but the freeze.
        assert!(
            longest <= frozen + (4 * undisturbed).max(5000),
            "a round of {longest} ms, frozen for {frozen} ms; undisturbed {undisturbed} ms"
        );
        pauses.push((frozen, longest));
        assert_clean(&host);
        let (first, second) = numbers(&host, &format!("{out}/vm-pair-repacked-0.1"));
        assert!(first == second || first == second + 1, "{first} {second}");
        assert!(first > before, "{first} is not behind {before}");
        before = first;
    }
    note(format_args!(
        "undisturbed rounds of at most {undisturbed} ms; freeze and longest round of each pack, ms: {pauses:?}"
    ));
    let events = events.transcript();
    assert!(!events.contains("Suspended"), "{events}");

    changes_since(&host);
    assert!(nothing_is_lost(&host, &mut console) > before);

    // The last one, without the agent, boots too.
    for round in (0..rounds).filter(|round| full || round + 1 == rounds) {
        sh(
            &host,
            &format!(
                "rm -rf /srv/copy; cp -a /root/out-{round}/vm-pair-repacked-0.1 /srv/copy; chmod -R a+rX /srv/copy
                 qemu-img create -q -f qcow2 -b vda.qcow2 -F qcow2 /srv/copy/own.qcow2",
            ),
        );
        let copy = format!("copy-{round}");
        let mut console = DomainSpec::new(&copy, "/srv/copy/own.qcow2").start(&host);
        console.wait_ready();
        let markers = console.ask("markers", "MARKER");
        assert_eq!(markers.value("base"), "golden");
        host.check(["virsh", "destroy", &copy]);
    }
}

/// What has changed since a live pack, by another.
fn changes_since(host: &Host) {
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
    let size = sh(host, "du -k --apparent-size /root/next | cut -f 1");
    assert!(size.text().parse::<u64>().is_ok_and(|kib| kib < 2000), "{size}");
    assert_clean(host);
}
