//! Guests by hand, and their leases: shutting down, listing, following.

use crate::networks::{definition, host_with_daemon};
use crate::support::guest::{self, DiskSpec};
use crate::support::{Host, Output, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn shutdown_is_graceful_and_hard_only_on_demand() {
    let (host, _daemon) = host_with_daemon();
    // No button is heard by a machine without an operating system.
    host.miniascape_check([
        "guest", "create", "deaf", "--memory", "64MiB", "--disk", "new:1MiB",
    ]);
    host.miniascape_check(["guest", "start", "deaf", "--wait", "running"]);
    let failed = host.miniascape(["guest", "shutdown", "deaf", "--timeout", "1s"]);
    failed.expect_code(1);
    assert!(failed.stderr.contains("--force-after"), "{failed}");
    assert_eq!(host.domain_state("deaf").as_deref(), Some("running"));
    let forced = host.miniascape_check([
        "guest",
        "shutdown",
        "deaf",
        "--force-after",
        "1s",
        "--format",
        "json",
    ]);
    assert_eq!(forced.json()["forced"], true);
    host.miniascape_check(["guest", "wait", "deaf", "--for", "shutoff", "--timeout", "5s"]);
    let late = host.miniascape(["guest", "wait", "deaf", "--for", "running", "--timeout", "1s"]);
    late.expect_code(1);
    host.miniascape(["guest", "create", "deaf"]).expect_code(3);
    let missing = host.miniascape(["guest", "create", "other", "--disk", "/no/such.qcow2"]);
    missing.expect_code(1);
    // A raw disk could pretend to be a qcow2 image on top of any file of the host.
    host.check([
        "sh",
        "-c",
        "cd /srv && qemu-img create -q -f qcow2 -b /etc/shadow -F raw guest.img",
    ]);
    let unsaid = host.miniascape(["guest", "create", "other", "--disk", "/srv/guest.img"]);
    unsaid.expect_code(2);
    assert!(unsaid.stderr.contains(",format=raw"), "{unsaid}");
    assert!(!host.domains().contains(&"other".to_owned()));
}

pub(crate) fn a_renewed_lease_without_end_is_noticed() {
    let (host, _daemon) = host_with_daemon();
    let endless =
        definition("lab", "10.66.6", "virbr66").replace("dhcp: { ", "dhcp: { lease_time: infinite, ");
    assert!(endless.contains("infinite"));
    host.write_file("/etc/miniascape/networks/lab.yaml", endless);
    host.miniascape_check(["net", "register", "lab"]);
    DiskSpec::new("m").hostname("one").make(&host, "/srv/one.qcow2");
    guest::create(
        &host,
        "one",
        "/srv/one.qcow2",
        &["--network", "lab,mac=52:54:00:00:00:01"],
    );
    for _ in 0..2 {
        let started = host.miniascape_check(["guest", "start", "one", "--wait", "lease", "--timeout", "60s"]);
        assert!(started.stdout.contains("10.66.6.11"), "{started}");
        host.miniascape_check(["guest", "shutdown", "one"]);
    }
    // Without an interface in a network of ours nothing is waited for.
    host.miniascape_check([
        "guest", "create", "alone", "--memory", "64MiB", "--disk", "new:1MiB",
    ]);
    let refused = host.miniascape(["guest", "start", "alone", "--wait", "lease"]);
    refused.expect_code(1);
    assert!(
        refused.stderr.contains("no interface in a registered network"),
        "{refused}"
    );
    assert_eq!(host.domain_state("alone").as_deref(), Some("shut off"));
}

/// A DHCP client without a guest: a process in its own network namespace behind a veth on the bridge.
pub(crate) fn dhcp_client(host: &Host, bridge: &str, mac: &str, name: &str) -> Output {
    let script = "set -e
        ip link add client type veth peer name plug
        ip link set plug master $0 up
        ip link set client address $1 up
        udhcpc -i client -n -q -t 10 -T 1 -x hostname:$2 -s /bin/true
        ip link del client";
    let script = script.replace("udhcpc", "busybox udhcpc");
    host.run(["sh", "-c", &script, bridge, mac, name])
}

pub(crate) fn leases_are_listed_and_watched_by_signals_only() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.66.6", "virbr66"),
    );
    host.miniascape_check(["net", "register", "lab"]);
    let mut watch = host
        .miniascape_command(["lease", "watch", "--format", "json", "lab"])
        .spawn();
    wait_until("the watch", PATIENCE, || watch.transcript().contains("watching"));
    let leased = dhcp_client(&host, "virbr66", "52:54:00:00:00:01", "one");
    assert!(leased.ok(), "{leased}");
    let event: serde_json::Value =
        serde_json::from_str(&watch.wait_line(PATIENCE, |line| line.contains("added"))).expect("a JSON line");
    assert_eq!(
        (&event["event"], &event["ip"], &event["network"]),
        (&"added".into(), &"10.66.6.11".into(), &"lab".into())
    );
    assert!(event["expires"].is_u64(), "{event}");
    let list = host.miniascape_check(["lease", "list", "--format", "json"]);
    assert_eq!(list.json()[0]["mac"], "52:54:00:00:00:01", "{list}");
    // SIGHUP makes dnsmasq repeat every lease; nothing of that is news.
    host.check(["pkill", "-HUP", "-x", "dnsmasq"]);
    watch.expect_silence(Duration::from_secs(1));
    // Present leases are told on demand.
    let mut initial = host
        .miniascape_command(["lease", "watch", "--initial", "lab"])
        .spawn();
    let line = initial.wait_line(PATIENCE, |line| line.contains("present"));
    assert!(line.contains("10.66.6.11") && line.contains("one"), "{line}");

    // A reader that has had enough ends the watch, although nothing happens any more.
    let watched = "miniascape lease watch --initial lab 2>/root/said | head -n 1; echo ${PIPESTATUS[0]}; cat /root/said";
    let ended = host.command(["bash", "-c", watched]).timeout(PATIENCE).check();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[1..], ["141", "watching; end with Ctrl-C"], "{ended}");

    // With the signal denied, the file fills and the watch stays silent.
    host.set_bus_policy("deny", "<policy context='mandatory'><deny receive_type='signal' receive_path='/uk/org/thekelleys/dnsmasq'/></policy>");
    let leased = dhcp_client(&host, "virbr66", "52:54:00:00:00:02", "ev\u{1b}[31mil");
    assert!(leased.ok(), "{leased}");
    wait_until("the second lease in the file", PATIENCE, || {
        host.miniascape_check(["lease", "list"])
            .stdout
            .contains("52:54:00:00:00:02")
    });
    // What the client called itself is nothing that a terminal would obey.
    for format in ["text", "json"] {
        let list = host.miniascape_check(["lease", "list", "--format", format]);
        assert!(!list.stdout.contains('\u{1b}'), "{list}");
    }
    watch.expect_silence(Duration::from_secs(2));
}
