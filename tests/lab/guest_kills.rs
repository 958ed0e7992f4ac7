//! `kill -9` at every step of what is done with instances of packages: reset, with and without the old disk, a second
//! instance, and unregistering one that has a snapshot and a saved memory. The machinery is `kills`'.
//!
//! `make test` takes some of the points, MINIASCAPE_TEST_FULL=1 all.

use crate::kills::{Point, every_point, traced};
use crate::support::guest::DomainSpec;
use crate::support::{Host, HostOptions, MINIASCAPE, note};

const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const PACKAGE: &str = "/usr/share/miniascape/guests/web";

/// A host with a package of a guest whose disk has no system, and the guest that it was made from.
fn packed() -> Host {
    let host = Host::start(HostOptions::default());
    sh(
        &host,
        "mkdir -p /srv; cd /srv; qemu-img create -q -f qcow2 base.qcow2 8M; qemu-io -c 'write -P 1 0 1M' base.qcow2 >/dev/null
         qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 web.qcow2",
    );
    let nic = "<interface type='user'><mac address='52:54:00:00:00:66'/></interface>";
    host.write_file(
        "/root/web.xml",
        DomainSpec::new("web", "/srv/web.qcow2").device(nic).xml(),
    );
    host.check(["virsh", "define", "/root/web.xml"]);
    host.miniascape_check([
        "repack",
        "web",
        "--to",
        "deb",
        "--output",
        "/srv/out",
        "--progress",
        "none",
    ]);
    sh(&host, "for file in /srv/out/*.deb; do dpkg-deb -x $file /; done");
    host
}

/// The same with the package's first instance, and nothing else.
fn host() -> Host {
    let host = packed();
    host.check(["virsh", "undefine", "web"]);
    host.miniascape_check(["guest", "register", "vm-web"]);
    host
}

fn sh(host: &Host, script: &str) -> String {
    host.check(["sh", "-e", "-c", script]).stdout
}

/// What has to be the same however it came about. UUIDs, addresses and times are not.
fn state(host: &Host) -> String {
    let script = format!(
        "find /var/lib/miniascape /run/miniascape {GUESTS} ! -name '*.lock' -printf '%y %m %n %p\\n' | grep -v '^d.*/added' | sort
         for guest in $(virsh -q list --all --name); do
             virsh dumpxml --inactive $guest; virsh snapshot-list $guest --name; virsh domstate $guest
         done
         ls /var/lib/libvirt/qemu/save
         for disk in {GUESTS}/*/*.qcow2; do echo $disk; qemu-img check -q $disk && qemu-io -r -c 'read -P 7 2M 64k' $disk | grep -c failed; done
         cat /var/lib/miniascape/guests/*/instance.json"
    );
    let text = host.run(["sh", "-c", &script]).stdout;
    let hide = "sed -E 's/[0-9]{8}T[0-9]{6}Z/STAMP/g; s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g; \
        s/52:54:00(:[0-9a-f]{2}){3}/MAC/g; s/\"(mtime|inode)\": [0-9]+/X/g'";
    host.command(["sh", "-c", hide]).stdin(text).check().stdout
}

/// The inode of each disk of the guest, by its name without the time.
fn disks(host: &Host, guest: &str) -> Vec<(String, String)> {
    let listed = sh(host, &format!("cd {GUESTS}/{guest}; stat -c '%n %i' *.qcow2"));
    let pair = |line: &str| {
        let (name, inode) = line.split_once(' ').expect("a name and a number");
        (name.to_owned(), inode.to_owned())
    };
    listed.lines().map(pair).collect()
}

/// Kills `command` at its points, lets `next` make up for it, and compares with an undisturbed run. `killed` looks at
/// how the killed run has left things.
fn try_all(
    host: &Host,
    command: &[&str],
    reset: &dyn Fn(),
    next: &dyn Fn(&Point),
    killed: &dyn Fn(&Point),
    every: usize,
) {
    let command: Vec<&str> = std::iter::once(MINIASCAPE)
        .chain(command.iter().copied())
        .collect();
    reset();
    host.check(&command);
    reset();
    let points = every_point(host, &command);
    let wanted = state(host);
    let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
    let every = if full { 1 } else { every };
    let mut count = 0;
    for point in points.iter().step_by(every) {
        reset();
        let run = traced(host, &command, &[&point.inject()]);
        if run.ok() {
            assert!(point.may_vary(), "not killed at {point}: {run}");
        } else {
            count += 1;
        }
        killed(point);
        next(point);
        let state = state(host);
        let difference = similar::TextDiff::from_lines(&wanted, &state);
        assert!(
            wanted == state,
            "after a kill at {point}:\n{}",
            difference.unified_diff().context_radius(0)
        );
    }
    let chosen = points.len().div_ceil(every);
    note(format_args!(
        "{command:?}: killed {count} times, at {chosen} of {} points",
        points.len()
    ));
    assert!(count * 10 >= chosen * 9, "only {count} of {chosen} were killed");
}

/// Resets it at every point; the old disk is there until the new one stands, and where it is to be kept, for ever.
fn a_reset(keep: bool, every: usize) {
    let host = host();
    let old = std::cell::RefCell::new(String::new());
    let mut command = vec!["guest", "reset", "web", "--yes"];
    command.extend(keep.then_some("--keep-overlay"));
    let finish = |_: &Point| {
        host.miniascape_check(["daemon", "--once"]);
        // Killed before it had begun, it has to be said again.
        if disks(&host, "web")
            .iter()
            .any(|(name, inode)| name == "vda.qcow2" && *inode == *old.borrow())
        {
            host.miniascape_check(&command);
        }
        let again = host.miniascape_check(["guest", "register", "vm-web"]);
        assert!(again.stdout.contains("is registered already"), "{again}");
    };
    try_all(
        &host,
        &command,
        &|| {
            sh(
                &host,
                &format!(
                    "cd {GUESTS}/web; rm -f vda.*Z.qcow2; qemu-io -c 'write -P 7 2M 64k' vda.qcow2 >/dev/null
                     virsh snapshot-create-as web before >/dev/null"
                ),
            );
            let inode = disks(&host, "web").remove(0).1;
            *old.borrow_mut() = inode;
        },
        &finish,
        &|point| {
            let now = disks(&host, "web");
            let at_its_place = now.iter().any(|(name, _)| name == "vda.qcow2");
            let old_is_there = now.iter().any(|(_, inode)| *inode == *old.borrow());
            assert!(
                at_its_place || old_is_there,
                "no disk after a kill at {point}: {now:?}"
            );
            assert!(
                old_is_there || !keep,
                "the old disk is gone after a kill at {point}: {now:?}"
            );
        },
        every,
    );
}

pub(crate) fn a_reset_killed_at_any_point_is_made_up_for() {
    a_reset(false, 12);
}

pub(crate) fn a_reset_that_keeps_the_old_disk_killed_at_any_point_never_loses_it() {
    a_reset(true, 12);
}

pub(crate) fn a_second_instance_killed_at_any_point_is_made_up_for() {
    let host = host();
    let command = ["guest", "register", "vm-web", "--as", "web-b"];
    try_all(
        &host,
        &command,
        &|| drop(host.miniascape(["guest", "delete", "web-b", "--yes", "--disks"])),
        &|point| {
            let again = host.miniascape_check(command);
            let last = host.miniascape_check(command);
            assert!(
                last.stdout.contains("is registered already"),
                "after a kill at {point}, {again}, and {last}"
            );
        },
        &|_| {},
        12,
    );
}

pub(crate) fn an_unregistration_with_snapshot_and_saved_memory_killed_at_any_point_is_made_up_for() {
    let host = host();
    sh(
        &host,
        "virsh snapshot-create-as web before; virsh start web; virsh managedsave web",
    );
    let inode = disks(&host, "web");
    let command = ["guest", "unregister", "vm-web"];
    let back = || {
        sh(&host, &format!("test -e {PACKAGE} || mv /srv/web {PACKAGE}"));
        host.miniascape_check(["guest", "register", "vm-web"]);
        let there = sh(
            &host,
            "virsh snapshot-list web --name; ls /var/lib/libvirt/qemu/save",
        );
        assert_eq!(
            there.split_whitespace().collect::<Vec<_>>(),
            ["before", "web.save"]
        );
        assert_eq!(disks(&host, "web"), inode);
        sh(&host, &format!("mv {PACKAGE} /srv/web"));
    };
    try_all(
        &host,
        &command,
        &back,
        &|_| {
            host.miniascape_check(command);
            let last = host.miniascape_check(command);
            assert!(!last.stdout.contains("unregistered"), "{last}");
        },
        &|_| {},
        12,
    );
    back();
}

/// What is told when the package's name is taken is what finishes the work.
pub(crate) fn a_taken_name_is_told_with_the_command_that_goes_on() {
    let host = packed();
    let refused = host.miniascape(["guest", "register", "vm-web"]);
    refused.expect_code(3);
    let waiting = host.miniascape_check(["guest", "status"]);
    assert!(waiting.stderr.contains("pending: register vm-web: "), "{waiting}");
    let mut hints = refused
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("hint: "));
    let told = hints
        .find(|hint| hint.starts_with("miniascape "))
        .expect("a command");
    assert_eq!(told, "miniascape guest register vm-web --as web-2");
    sh(&host, told);
    assert_eq!(host.list_dir("/var/lib/miniascape/pending"), Vec::<String>::new());
    let [theirs, ours] = ["web", "web-2"].map(|guest| {
        sh(
            &host,
            &format!("virsh domuuid {guest}; virsh dumpxml {guest} | grep '<mac '"),
        )
    });
    assert!(
        theirs.contains("52:54:00:00:00:66") && !ours.contains("52:54:00:00:00:66"),
        "{theirs}, {ours}"
    );
    // Under another name it is the same one, and keeps that name when it begins anew.
    sh(&host, "virsh domrename web-2 elsewhere");
    let again = host.miniascape_check(["guest", "register", "vm-web"]);
    assert!(again.stdout.contains("web-2 is registered already"), "{again}");
    let reset = host.miniascape_check(["guest", "reset", "elsewhere", "--yes"]);
    assert!(
        reset.stdout.contains("elsewhere (the instance web-2) reset")
            && !reset.stdout.contains("name (changed)"),
        "{reset}"
    );
    assert_eq!(host.domains(), ["elsewhere", "web"]);
}
