//! What is refused, on a host with a real libvirt: the status, a message that says what to do, and a host that is
//! afterwards as it was, down to the last file.

use crate::networks::{daemon, definition, host_with_daemon};
use crate::support::{Host, MINIASCAPE, Output};

/// Command, status, what happened to which object, what to do.
#[rustfmt::skip]
const REFUSED: [(&str, i32, &str, &str); 27] = [
    ("net regsiter ours", 2, "unrecognized subcommand 'regsiter'", "tip: "),
    ("net register bad", 2, "bad.yaml:3:9: `isoltaed` is not a mode", "help: did you mean `isolated`?"),
    ("net register nosuch", 2, "no definition of a network nosuch", "hint: `miniascape net list`"),
    ("net register net-1", 3, "a network net-1, and it was not made by", "hint: give yours another name"),
    ("net unregister net-1", 3, "a network net-1, and it was not made by", "hint: "),
    ("net unregister /etc/miniascape/networks/net-1.yaml", 3, "a network net-1, and it was not made by", "hint: "),
    ("net register their-bridge", 3, "virbr21 of their-bridge belongs to the libvirt network other", "hint: choose another `bridge:`"),
    ("net register taken-bridge", 3, "already has an interface taken22", "hint: choose another `bridge:`"),
    ("net unregister ours", 3, "the guest busy is plugged into", "hint: shut them down first: `miniascape guest shutdown busy`"),
    ("daemon", 3, "another `miniascape daemon` is running", ""),
    ("repack busy --output /root/out", 3, "busy is not shut off", "hint: --live packs it as it is now"),
    ("repack baseless --output /root/out", 1, "/srv/images/baseless-base.qcow2", "hint: bring the file back"),
    ("repack diskless --output /root/out", 1, "/srv/images/diskless.qcow2", "hint: bring the file back"),
    ("repack nosuch --output /root/out", 1, "no guest nosuch", "hint: `miniascape guest list`"),
    ("guest create idle --disk new:1MiB", 3, "a guest idle already", "hint: choose another name"),
    ("guest create n --disk new:1MiB --disk /srv/images/none.qcow2", 1, "/srv/images/none.qcow2", "hint: bring the file back"),
    ("guest create n --disk new:1MiB --disk /srv/images/baseless.qcow2,format=qcow2", 1, "baseless-base.qcow2", "hint: bring the file back"),
    ("guest create n --disk new:1MiB --disk /srv/images/base.img", 2, "base.img: its format has to be said", "hint: --disk"),
    ("guest create n --disk new:1MiB --network nosuch", 1, "no network nosuch", "hint: miniascape net register nosuch"),
    ("guest start nosuch", 1, "no guest nosuch", "hint: `miniascape guest list`"),
    ("guest shutdown nosuch", 1, "no guest nosuch", "hint: `miniascape guest list`"),
    ("guest register vm-nosuch", 1, "vm-nosuch is not installed", "hint: `miniascape package list`"),
    ("guest reset idle --yes", 1, "idle is no guest from a package", "hint: `miniascape guest status`"),
    ("guest status nosuch", 1, "no guest nosuch", "hint: `miniascape guest list`"),
    ("guest wait idle --for running --timeout 1s", 1, "idle", ""),
    ("guest wait idle --for lease --timeout 1s", 1, "idle", ""),
    ("lease list fresh", 1, "fresh is not registered", "hint: miniascape net register fresh"),
];

/// Command, and what it says it would do.
#[rustfmt::skip]
const TRIED: [(&str, &str); 8] = [
    ("net register fresh --dry-run", "fresh would be registered: write its files, define it"),
    ("net register ours --dry-run", "ours is registered already"),
    ("net unregister ours --force --dry-run", "ours would be unregistered: stop its dnsmasq"),
    ("guest create n --disk new:1MiB --dry-run", "n would be created"),
    ("guest start idle --dry-run", "idle would be started"),
    ("guest shutdown busy --dry-run", "busy would be shut down"),
    ("guest unregister vm-nosuch --dry-run", ""),
    ("repack idle --output /root/out --dry-run", "vm-idle 0.1 would be made of the guest idle: deb"),
];

/// All that miniascape could have changed: files with owner, mode, size and time, libvirt's objects, links, processes.
fn state(host: &Host) -> String {
    let script = "
        find /etc /run/miniascape /srv /tmp /root /var/lib/miniascape /var/lib/libvirt/images ! -type d \
            -printf '%y %m %U:%G %s %T@ %p\\n' 2>/dev/null | sort
        find /etc /run/miniascape /srv /tmp /root /var/lib/miniascape /var/lib/libvirt/images -type d \
            -printf '%y %m %U:%G %p\\n' 2>/dev/null | sort
        virsh -q \"list --all; net-list --all
            $(for net in $(virsh -q net-list --all --name); do echo \"net-info $net; net-dumpxml --inactive $net\"; done)
            $(for name in $(virsh -q list --all --name); do echo \"dumpxml --inactive $name\"; done)\"
        ls /sys/class/net; pgrep -a 'dnsmasq|qemu|miniascape' | sort";
    host.check(["sh", "-c", script]).stdout
}

/// Runs and compares the host before and after.
#[track_caller]
fn unchanged(host: &Host, before: &str, line: &str) -> Output {
    let run = host.miniascape(line.split_whitespace());
    assert_state(host, before, &run);
    run
}

#[track_caller]
fn assert_state(host: &Host, before: &str, run: &Output) {
    let after = state(host);
    let difference = similar::TextDiff::from_lines(before, &after);
    assert!(
        before == after,
        "{run}changed:\n{}",
        difference.unified_diff().context_radius(0)
    );
}

/// A host with everything that can be in the way.
fn crowded() -> (Host, crate::support::Running) {
    let (host, keeper) = host_with_daemon();
    let network = |name: &str, bridge: &str| {
        format!(
            "<network><name>{name}</name><bridge name='{bridge}'/><ip address='10.9.0.1' netmask='255.255.255.0'/></network>"
        )
    };
    for (name, bridge) in [("net-1", "virbr9"), ("other", "virbr21")] {
        host.write_file("/root/net.xml", network(name, bridge));
        host.check(["virsh", "net-define", "/root/net.xml"]);
    }
    host.check(["ip", "link", "add", "taken22", "type", "bridge"]);
    for (name, subnet, bridge) in [
        ("ours", "10.77.1", "virbr20"),
        ("their-bridge", "10.77.2", "virbr21"),
        ("taken-bridge", "10.77.3", "taken22"),
        ("fresh", "10.77.4", "virbr23"),
    ] {
        host.write_file(
            format!("/etc/miniascape/networks/{name}.yaml"),
            definition(name, subnet, bridge),
        );
    }
    let bad = definition("bad", "10.77.5", "virbr24").replace("isolated", "isoltaed");
    host.write_file("/etc/miniascape/networks/bad.yaml", bad);
    host.miniascape_check(["net", "register", "ours"]);

    host.check(["mkdir", "-p", "/srv/images"]);
    let image = |words: &[&str]| {
        let fixed = ["qemu-img", "create", "-q", "-f", "qcow2"];
        let command = host.command(fixed.iter().chain(words));
        command.cwd("/srv/images").check();
    };
    image(&["base.img", "1M"]);
    for name in ["idle", "baseless", "diskless"] {
        let base = format!("{name}-base.qcow2");
        image(&[&base, "1M"]);
        image(&["-b", &base, "-F", "qcow2", &format!("{name}.qcow2")]);
        let disk = format!("/srv/images/{name}.qcow2,format=qcow2");
        host.miniascape_check(["guest", "create", name, "--memory", "64MiB", "--disk", &disk]);
    }
    host.miniascape_check([
        "guest",
        "create",
        "busy",
        "--memory",
        "64MiB",
        "--disk",
        "new:1MiB",
        "--network",
        "ours",
    ]);
    host.miniascape_check(["guest", "start", "busy", "--wait", "running"]);
    host.check(["mv", "/srv/images/baseless-base.qcow2", "/srv/images/gone.qcow2"]);
    host.remove("/srv/images/diskless.qcow2");
    (host, keeper)
}

pub(crate) fn every_refusal_says_what_to_do_and_changes_nothing() {
    let (mut host, keeper) = crowded();
    let before = state(&host);
    for (line, code, told, hint) in REFUSED {
        let run = unchanged(&host, &before, line);
        run.expect_code(code);
        assert!(run.stdout.is_empty(), "{run}");
        assert!(run.stderr.contains(told) && run.stderr.contains(hint), "{run}");
    }
    // What is only tried changes as little.
    for (line, told) in TRIED {
        let run = unchanged(&host, &before, line);
        run.expect_code(0);
        assert!(run.stdout.starts_with(told), "{run}");
    }
    // Anyone may look, and is told what it takes to do more.
    let as_nobody = |line: &str| {
        let user = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            MINIASCAPE,
        ];
        let run = host.run(user.into_iter().chain(line.split_whitespace()));
        assert_state(&host, &before, &run);
        run
    };
    for (line, told) in [
        ("net list", "ours          active"),
        ("net status ours", "dnsmasq    running, process"),
        ("lease list", "no leases"),
        ("guest list", "busy      running"),
        ("package list", "no guest packages"),
    ] {
        let run = as_nobody(line);
        run.expect_code(0);
        assert!(run.stdout.contains(told) && run.stderr.is_empty(), "{run}");
    }
    for line in [
        "net register fresh",
        "net unregister ours",
        "guest create n --disk new:1MiB",
    ] {
        let run = as_nobody(line);
        run.expect_code(1);
        assert!(run.stderr.contains("hint: run it as root"), "{run}");
    }

    drop(keeper);
    // The dnsmasq that a killed daemon leaves is part of what is there.
    let before = state(&host);
    let run = unchanged(&host, &before, "net register fresh");
    run.expect_code(4);
    assert!(
        run.stderr.contains("hint: start `miniascape daemon` first"),
        "{run}"
    );
    host.stop_libvirtd();
    // What can wait is only told by a dry run.
    for line in ["net register fresh --dry-run", "net unregister ours --dry-run"] {
        let run = host.miniascape(line.split_whitespace());
        run.expect_code(0);
        assert!(
            run.stdout.contains(": would be pending: cannot reach libvirt"),
            "{run}"
        );
    }
    for line in ["guest create n", "guest start idle", "repack idle"] {
        let run = host.miniascape(line.split_whitespace());
        run.expect_code(4);
        assert!(
            run.stderr.contains("cannot reach libvirt") && run.stderr.contains("hint: is libvirt running?"),
            "{run}"
        );
    }
    host.start_libvirtd();
    let _keeper = daemon(&host);
    assert!(!host.exists("/root/out"));
    // Nothing of all that was in the way of doing it right.
    host.check(["virsh", "destroy", "busy"]);
    host.miniascape_check(["net", "register", "fresh"]);
    host.miniascape_check(["net", "unregister", "ours"]);
}
