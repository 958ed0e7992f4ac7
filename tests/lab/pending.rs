//! Networks registered, updated and unregistered while libvirt is down, and who completes that; several runs at once.

use crate::networks::{daemon, definition, host_with_daemon};
use crate::support::{Host, HostOptions, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn define(host: &Host, name: &str, subnet: &str, bridge: &str) {
    host.write_file(
        format!("/etc/miniascape/networks/{name}.yaml"),
        definition(name, subnet, bridge),
    );
}

/// The definition of a network without dnsmasq.
pub(crate) fn plain(name: &str) -> String {
    format!("network: {{ name: {name}, mode: isolated, dns: {{ serve: false }} }}\n")
}

fn pending(host: &Host) -> Vec<String> {
    host.list_dir("/var/lib/miniascape/pending")
}

/// The address that the DNS server at `server` gives for `name`.
fn answers(host: &Host, name: &str, server: &str, address: &str) -> bool {
    let asked = host.run(["busybox", "nslookup", name, server]);
    asked.stdout.contains(&format!("Address: {address}\n"))
}

pub(crate) fn what_libvirt_did_not_hear_is_done_by_the_next_run() {
    let (mut host, keeper) = host_with_daemon();
    define(&host, "old", "10.77.1", "virbr71");
    define(&host, "changed", "10.77.2", "virbr72");
    host.miniascape_check(["net", "register", "old"]);
    host.miniascape_check(["net", "register", "changed"]);
    // Neither libvirt nor the daemon is there; without the daemon nobody but the next run can do it.
    drop(keeper);
    host.stop_libvirtd();
    let first = host.miniascape_check(["net", "register", "net-1"]);
    assert!(
        first.stdout.starts_with("net-1: pending: cannot reach libvirt") && first.stderr.is_empty(),
        "{first}"
    );
    host.miniascape_check(["net", "unregister", "old"]);
    host.write_file("/etc/miniascape/networks/plain.yaml", plain("plain"));
    host.miniascape_check(["net", "register", "plain"]);
    define(&host, "changed", "10.77.3", "virbr72");
    let update = host.miniascape_check(["net", "update", "changed", "--format", "json"]);
    assert_eq!(update.json()["pending"], true, "{update}");
    // A wish and its opposite: the last one counts, or there was nothing to begin with.
    define(&host, "never", "10.77.9", "virbr79");
    host.miniascape_check(["net", "register", "never"]);
    host.miniascape_check(["net", "unregister", "never"]);
    assert_eq!(
        pending(&host),
        [
            "network-changed.json",
            "network-net-1.json",
            "network-old.json",
            "network-plain.json"
        ]
    );
    host.miniascape(["net", "list"]).expect_code(4);
    // The definition may go or change meanwhile: what was asked for counts.
    host.remove("/etc/miniascape/networks/net-1.yaml");
    define(&host, "changed", "10.77.4", "virbr72");

    host.start_libvirtd();
    let list = host.miniascape_check(["net", "list"]);
    assert!(list.stdout.contains("unregister pending"), "{list}");
    // The next run does what it can; without a manager for dnsmasq that is what needs none.
    let early = host.miniascape_check(["net", "unregister", "some-other"]);
    assert!(
        early
            .stderr
            .contains("to register the network net-1 is still pending: no systemd runs here"),
        "{early}"
    );
    for done in ["unregister the network old", "register the network plain"] {
        assert!(
            early.stderr.contains(&format!("finished pending work: {done}")),
            "{early}"
        );
    }
    host.miniascape_check(["net", "status", "plain"]);
    let _keeper = daemon(&host);
    wait_until("the daemon to finish", PATIENCE, || pending(&host).is_empty());
    assert_eq!(host.networks(), ["changed", "net-1", "plain"]);
    for network in ["net-1", "changed"] {
        let status = host.miniascape_check(["net", "status", network]);
        assert!(!status.stdout.contains("problem"), "{status}");
    }
    assert!(answers(&host, "one.changed.internal", "10.77.3.1", "10.77.3.11"));
    assert!(answers(
        &host,
        "service-1.net-1.internal",
        "192.168.151.1",
        "192.168.151.10"
    ));
    // Nothing is left of how it came about.
    assert!(!host.exists("/var/lib/miniascape/networks/net-1/definition.yaml"));
    assert_eq!(
        host.list_dir("/var/lib/miniascape/networks"),
        ["changed", "net-1", "plain"]
    );
    let again = host.miniascape_check(["net", "unregister", "some-other"]);
    assert!(again.stderr.is_empty(), "{again}");
}

pub(crate) fn the_daemon_does_what_is_pending_when_libvirt_comes_up() {
    let (mut host, _keeper) = host_with_daemon();
    host.stop_libvirtd();
    // The daemon has been told nothing: it sees what is put on record.
    host.miniascape_check(["net", "register", "net-1"]);
    host.start_libvirtd();
    wait_until("the daemon to register it", PATIENCE, || {
        host.miniascape(["net", "status", "net-1"]).ok()
    });
    host.stop_libvirtd();
    host.miniascape_check(["net", "unregister", "net-1"]);
    host.miniascape_check(["net", "register", "net-1"]);
    host.miniascape_check(["net", "unregister", "net-1"]);
    host.start_libvirtd();
    wait_until("the daemon to unregister it", PATIENCE, || {
        pending(&host).is_empty() && host.networks().is_empty()
    });
    assert_eq!(host.list_dir("/var/lib/miniascape/networks"), [""; 0]);
    assert!(!host.run(["pgrep", "-x", "dnsmasq"]).ok());
}

pub(crate) fn a_piece_that_fails_stays_pending_and_holds_up_no_other() {
    let mut host = Host::start(HostOptions::default());
    define(&host, "a-clash", "10.77.1", "virbr71");
    define(&host, "b-fine", "10.77.2", "virbr72");
    host.stop_libvirtd();
    host.miniascape_check(["net", "register", "a-clash"]);
    host.miniascape_check(["net", "register", "b-fine"]);
    host.miniascape_check(["net", "unregister", "c-theirs"]);
    host.start_libvirtd();
    for (name, bridge) in [("theirs", "virbr71"), ("c-theirs", "virbr73")] {
        let xml = format!("<network><name>{name}</name><bridge name='{bridge}'/></network>");
        host.write_file("/root/net.xml", xml);
        host.check(["virsh", "net-define", "/root/net.xml"]);
    }
    let mut keeper = daemon(&host);
    wait_until("the network that can be registered", PATIENCE, || {
        host.miniascape(["net", "status", "b-fine"]).ok()
    });
    wait_until("the reason why another cannot", PATIENCE, || {
        host.read_file("/var/lib/miniascape/pending/network-a-clash.json")
            .contains("belongs to the libvirt network theirs")
    });
    assert_eq!(pending(&host), ["network-a-clash.json"]);
    let status = host.miniascape(["net", "status", "a-clash"]);
    status.expect_code(1);
    assert!(
        status
            .stdout
            .contains("to register it is pending: the bridge virbr71 of a-clash belongs to"),
        "{status}"
    );
    // Told once by the daemon, whatever often it tries; by each command that meets it; and by the boot's own run, which leaves
    // it to the daemon.
    std::thread::sleep(Duration::from_secs(3));
    let told = keeper.transcript();
    assert_eq!(told.matches("a-clash is still pending").count(), 1, "{told}");
    let once = host.miniascape(["daemon", "--once"]);
    once.expect_code(0);
    assert!(
        once.stderr
            .contains("a-clash is still pending: the bridge virbr71")
            && once.stderr.contains("the daemon goes on with what is pending"),
        "{once}"
    );
    let met = host.miniascape_check(["net", "register", "b-fine"]);
    assert!(met.stderr.contains("a-clash is still pending"), "{met}");
    // What a user says of the network itself settles it.
    host.miniascape(["net", "register", "a-clash"]).expect_code(3);
    let gone = host.miniascape_check(["net", "unregister", "a-clash"]);
    assert!(gone.stderr.is_empty(), "{gone}");
    assert_eq!(
        (pending(&host), host.networks()),
        (vec![], vec!["b-fine".into(), "c-theirs".into(), "theirs".into()])
    );
    assert_eq!(host.list_dir("/var/lib/miniascape/networks"), ["b-fine"]);
    host.miniascape_check(["daemon", "--once"]);
    keeper.kill();
}

pub(crate) fn a_lost_libvirt_leaves_the_rest_pending() {
    let (mut host, _keeper) = host_with_daemon();
    // It is gone when it has heard of the network; most often it leaves a bridge that it has not finished.
    host.write_file(
        "/root/kill",
        "while ! test -e /etc/libvirt/qemu/networks/net-1.xml; do :; done; pkill -9 -x libvirtd\n",
    );
    let killer = host.command(["sh", "/root/kill"]).spawn();
    let lost = host.miniascape(["net", "register", "net-1"]);
    drop(killer);
    host.stop_libvirtd();
    // Also when the run was faster than the killer.
    lost.expect_code(0);
    host.start_libvirtd();
    wait_until("the daemon to register it", PATIENCE, || {
        pending(&host).is_empty() && host.miniascape(["net", "status", "net-1"]).ok()
    });
    assert!(answers(
        &host,
        "service-1.net-1.internal",
        "192.168.151.1",
        "192.168.151.10"
    ));
}

pub(crate) fn runs_of_one_network_wait_for_each_other() {
    let (host, _keeper) = host_with_daemon();
    define(&host, "lab", "10.77.1", "virbr71");
    let run = |words: &[&str]| {
        let all = ["net"].iter().chain(words).chain(&["--format", "json"]);
        host.miniascape_command(all).spawn()
    };
    let running: Vec<_> = (0..6).map(|_| run(&["register", "lab"])).collect();
    let done: Vec<_> = running.into_iter().map(|run| run.wait(PATIENCE)).collect();
    let changed = done.iter().filter(|run| run.json()["changed"] == true).count();
    assert!(
        done.iter().all(crate::support::Output::ok) && changed == 1,
        "{done:?}"
    );
    // Updates, each of a definition that it finds: the last one's is what counts in the end.
    let mut running = Vec::new();
    for last in 20..26 {
        let text = definition("lab", "10.77.1", "virbr71").replace(".11 }", &format!(".{last} }}"));
        host.write_file("/root/lab.yaml", text);
        // In one piece: runs are reading it.
        host.check(["mv", "/root/lab.yaml", "/etc/miniascape/networks/"]);
        running.push(run(&["update", "lab"]));
        running.push(run(&["register", "lab"]));
    }
    for run in running {
        run.wait(PATIENCE).expect_code(0);
    }
    host.miniascape_check(["net", "update", "lab"]);
    assert!(answers(&host, "one.lab.internal", "10.77.1.1", "10.77.1.25"));
    // And opposite ones: whichever was last, everything or nothing is there.
    let running: Vec<_> = ["register", "unregister"]
        .repeat(4)
        .iter()
        .map(|verb| run(&[verb, "lab"]))
        .collect();
    for run in running {
        run.wait(PATIENCE).expect_code(0);
    }
    let there = host.exists("/var/lib/miniascape/networks/lab/applied.json");
    assert_eq!(host.networks().len(), usize::from(there));
    assert_eq!(host.run(["pgrep", "-x", "dnsmasq"]).ok(), there);
    host.miniascape(["net", "status", "lab"]).expect_code(0);
    assert_eq!(
        host.list_dir("/run/miniascape")
            .iter()
            .filter(|name| name.starts_with("network-"))
            .count(),
        0
    );
}
