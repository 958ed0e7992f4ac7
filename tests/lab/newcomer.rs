//! The first hour on a host: `miniascape init`, and what a member of the group `libvirt` does without sudo.

use crate::networks::{daemon, definition};
use crate::support::guest::{self, DiskSpec};
use crate::support::{BusPolicy, Host, HostOptions, Output};

const USER: &str = "ann";

/// A host whose libvirt trusts the members of its group, as distributions have it.
fn distribution() -> Host {
    let options = HostOptions::default().bus_policy(BusPolicy::Distribution);
    let mut host = Host::start(options.without_libvirtd());
    host.check([
        "sh",
        "-ec",
        "printf 'unix_sock_group = \"libvirt\"\\nunix_sock_rw_perms = \"0770\"\\n' >>/etc/libvirt/libvirtd.conf
         useradd --create-home ann",
    ]);
    host.start_libvirtd();
    host
}

/// As the user, who has logged in anew.
fn as_user(host: &Host, line: &str) -> Output {
    let user = [
        "setpriv",
        "--reuid",
        USER,
        "--regid",
        USER,
        "--init-groups",
        "miniascape",
    ];
    host.command(user.into_iter().chain(line.split_whitespace()))
        .cwd("/tmp")
        .env("HOME", "/home/ann")
        .run()
}

fn init(host: &Host, line: &str) -> Output {
    host.miniascape_command(["init"].into_iter().chain(line.split_whitespace()))
        .env("SUDO_USER", USER)
        .run()
}

pub(crate) fn init_sets_a_host_up_and_its_user_needs_no_sudo_for_guests() {
    let host = distribution();
    // Before: each obstacle is named with what removes it.
    let told = as_user(&host, "guest start one");
    told.expect_code(4);
    assert!(
        told.stderr.contains(
            "hint: run it as root: `sudo miniascape guest start one`\nhint: or as a user whom libvirt trusts"
        ),
        "{told}"
    );
    let told = init(&host, "--yes");
    told.expect_code(4);
    assert!(told.stderr.contains("setsid miniascape daemon"), "{told}");
    let told = as_user(&host, "init --yes");
    told.expect_code(1);
    assert!(
        told.stderr
            .contains("hint: run it as root: `sudo miniascape init --yes`"),
        "{told}"
    );

    let _keeper = daemon(&host);
    let spec = "--network net-1=10.1.1.0/24,bridge=lab1,domain=lab.example --network net-3";
    let dry = init(&host, &format!("{spec} --dry-run"));
    dry.expect_code(0);
    assert!(!host.exists("/etc/miniascape/networks/net-1.yaml"));
    let done = init(&host, &format!("{spec} --yes"));
    done.expect_code(0);
    for words in [
        "let dnsmasq have its names on the message bus",
        "put ann into the group libvirt",
        "write /etc/miniascape/networks/net-1.yaml",
        "register the network net-3",
    ] {
        assert!(
            done.stdout.contains(words) && dry.stdout.contains(words),
            "{words}: {done}{dry}"
        );
    }
    assert!(host.check(["id", "-nG", USER]).stdout.contains("libvirt"));
    assert!(
        host.check(["ip", "-brief", "address", "show", "lab1"])
            .stdout
            .contains("10.1.1.1/24")
    );
    let definition = host.read_file("/etc/miniascape/networks/net-1.yaml");
    assert!(definition.contains("domain: lab.example") && !definition.contains("192.168.151."));
    // net-3's remark on where its guests are in net-1 is right again.
    let other = host.read_file("/etc/miniascape/networks/net-3.yaml");
    assert!(
        other.contains("debian-12-guest-1 is 10.1.1.100 there and"),
        "{other}"
    );
    for again in [spec, "--network net-1 --network net-3"] {
        let again = init(&host, &format!("{again} --yes"));
        again.expect_code(0);
        assert!(again.stdout.contains("set up already; nothing to do"), "{again}");
    }
    // Where something is in the way, nothing is changed.
    let before = host.check([
        "find",
        "/etc/miniascape",
        "/var/lib/miniascape",
        "-printf",
        "%p %s %T@\n",
    ]);
    host.check([
        "sh",
        "-ec",
        "ip link add br9 type bridge; ip address add 10.9.9.5/24 dev br9; ip link set br9 up",
    ]);
    for (spec, code) in [
        ("net-2=10.9.9.0/24", 3),
        ("net-2=10.1.1.0/24", 2),
        ("net-1=10.2.2.0/24", 3),
    ] {
        let refused = init(&host, &format!("--network {spec} --yes"));
        refused.expect_code(code);
    }
    let after = host.check([
        "find",
        "/etc/miniascape",
        "/var/lib/miniascape",
        "-printf",
        "%p %s %T@\n",
    ]);
    assert_eq!(before.stdout, after.stdout);
    without_sudo(&host);
}

/// A guest from a package, used by somebody who is in the group and nothing more.
fn without_sudo(host: &Host) {
    host.check(["mkdir", "-p", "/var/lib/libvirt/images"]);
    DiskSpec::new("BASE").make(host, "/var/lib/libvirt/images/one.qcow2");
    guest::create(
        host,
        "one",
        "/var/lib/libvirt/images/one.qcow2,format=qcow2",
        &["--network", "net-1,mac=52:54:00:01:00:80"],
    );
    host.miniascape_check(["repack", "one", "--to", "tar", "--output", "/root/out"]);
    host.miniascape_check(["guest", "delete", "one", "--yes"]);
    host.check(["sh", "-c", "miniascape package install /root/out/*.tar*"]);
    for (line, told) in [
        ("net list", "net-1"),
        ("net status net-1", "running, process"),
        ("net show net-1", "lab.example"),
        ("net diff net-1", ""),
        ("net validate net-1", "fine"),
        ("lease list", "no leases"),
        ("guest list", "one"),
        ("package list", "vm-one"),
    ] {
        let run = as_user(host, line);
        assert!(
            run.ok() && run.stderr.is_empty() && run.stdout.contains(told),
            "{run}"
        );
    }
    // What only root may see is said.
    for (line, told, note) in [
        (
            "guest start one --wait lease --timeout 120s",
            "one has 10.1.1.80 in net-1",
            "note: its images",
        ),
        (
            "guest status one",
            "10.1.1.80 in net-1",
            "note: what it stands on is for root",
        ),
        ("lease list net-1", "10.1.1.80", ""),
        ("guest wait one --for running", "one is running", ""),
        ("guest shutdown one --timeout 60s", "one is off", ""),
        ("guest start one --dry-run", "would be started", ""),
    ] {
        let run = as_user(host, line);
        assert!(run.ok() && run.stdout.contains(told), "{run}");
        assert!(
            run.stderr.starts_with(note) && run.stderr.lines().count() == usize::from(!note.is_empty()),
            "{run}"
        );
    }
    host.write_file(
        "/etc/miniascape/networks/fresh.yaml",
        definition("fresh", "10.77.4", "virbr23"),
    );
    let mut unclear = String::new();
    for line in [
        "guest status",
        "net update net-1 --adopt",
        "net unregister net-3",
        "net register fresh",
        "guest create two --disk new:1MiB",
        "guest delete one --yes --disks",
        "guest reset one --yes",
        "guest unregister vm-one",
        "lease release net-1 10.1.1.80",
        "package remove vm-one",
        "repack one --output /tmp/out",
    ] {
        let run = as_user(host, line);
        let root = format!("hint: run it as root: `sudo miniascape {line}`");
        if run.ok() || !run.stderr.contains(&root) {
            unclear.push_str(&run.to_string());
        }
    }
    assert!(unclear.is_empty(), "{unclear}");
    assert!(as_user(host, "doctor").stdout.contains("not looked at: firewall"));
}
