//! Registering and unregistering networks on a host with a real libvirt, D-Bus and dnsmasq.

use crate::support::{Host, HostOptions, Running, wait_for, wait_until};
use std::time::Duration;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The reference network: inside this program, because not everyone who runs it can read the source's directory.
pub(crate) const NET_1: &str = include_str!("../../networks/net-1.yaml");

/// A host with the reference network's definition and a running daemon.
pub(crate) fn host_with_daemon() -> (Host, Running) {
    let host = Host::start(HostOptions::default());
    host.write_file("/etc/miniascape/networks/net-1.yaml", NET_1);
    let daemon = daemon(&host);
    (host, daemon)
}

/// Starts `miniascape daemon` and waits until it answers.
pub(crate) fn daemon(host: &Host) -> Running {
    let daemon = host.miniascape_command(["--verbose", "daemon"]).spawn();
    wait_until("the daemon's word that it is ready", PATIENCE, || {
        daemon.transcript().contains("ready:")
    });
    daemon
}

/// A small isolated network's definition.
pub(crate) fn definition(name: &str, subnet: &str, bridge: &str) -> String {
    format!(
        "network:\n  name: {name}\n  mode: isolated\n  bridge: {bridge}\n  domain: {name}.internal\n  ipv4: {{ subnet: {subnet}.0/24 }}\n  \
         dhcp: {{ ranges: [ {{ start: {subnet}.100, end: {subnet}.199 }} ] }}\n  \
         hosts:\n    - {{ name: one, mac: \"52:54:00:00:00:01\", ip: {subnet}.11 }}\n"
    )
}

fn pid_of_dnsmasq(host: &Host, network: &str) -> u64 {
    let status = host.miniascape(["net", "status", network, "--format", "json"]);
    status.expect_code(0);
    status.json()["dnsmasq_pid"].as_u64().expect("dnsmasq runs")
}

pub(crate) fn net_1_is_registered_once_and_unregistered_once() {
    let (host, _daemon) = host_with_daemon();
    let first = host.miniascape(["net", "register", "net-1"]);
    first.expect_code(0);
    assert!(
        first
            .stdout
            .contains("net-1 registered: write its files, define it in libvirt"),
        "{first}"
    );
    let info = host.check(["virsh", "net-info", "net-1"]);
    for line in [
        "Active:         yes",
        "Persistent:     yes",
        "Autostart:      yes",
        "Bridge:         virbr151",
    ] {
        assert!(info.stdout.contains(line), "{info}");
    }
    // One dnsmasq, ours; libvirt has started none.
    let processes = host.check(["pgrep", "-a", "-x", "dnsmasq"]);
    assert_eq!(processes.stdout.lines().count(), 1, "{processes}");
    assert!(
        processes
            .stdout
            .contains("/var/lib/miniascape/networks/net-1/dnsmasq.conf"),
        "{processes}"
    );
    let pid = pid_of_dnsmasq(&host, "net-1");
    let xml = host.check(["virsh", "net-dumpxml", "net-1"]).stdout;

    let second = host.miniascape(["net", "register", "net-1", "--format", "json"]);
    second.expect_code(0);
    assert_eq!(second.json()["changed"], false, "{second}");
    assert_eq!(pid_of_dnsmasq(&host, "net-1"), pid);
    assert_eq!(host.check(["virsh", "net-dumpxml", "net-1"]).stdout, xml);

    host.miniascape(["net", "unregister", "net-1"]).expect_code(0);
    assert!(!host.run(["virsh", "net-info", "net-1"]).ok());
    assert!(!host.run(["pgrep", "-x", "dnsmasq"]).ok());
    assert!(!host.exists("/sys/class/net/virbr151"));
    assert!(!host.exists("/var/lib/miniascape/networks/net-1"));
    let again = host.miniascape(["net", "unregister", "net-1"]);
    again.expect_code(0);
    assert!(again.stdout.contains("nothing to do"), "{again}");
}

pub(crate) fn names_of_the_network_are_answered() {
    let (host, _daemon) = host_with_daemon();
    host.miniascape(["net", "register", "net-1"]).expect_code(0);
    let ask = |what: &str| host.run(["busybox", "nslookup", what, "192.168.151.1"]);
    let found = ask("service-1.net-1.internal");
    assert!(
        found.ok() && found.stdout.contains("Address: 192.168.151.10\n"),
        "{found}"
    );
    let found = ask("192.168.151.10");
    assert!(
        found.ok() && found.stdout.contains("name = service-1.net-1.internal"),
        "{found}"
    );
    let none = ask("nobody.net-1.internal");
    assert!(none.stdout.contains("NXDOMAIN"), "{none}");
}

pub(crate) fn net_1_and_net_10_do_not_touch_each_other() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(
        "/etc/miniascape/networks/net-10.yaml",
        definition("net-10", "10.77.10", "virbr10"),
    );
    host.miniascape(["net", "register", "net-10"]).expect_code(0);
    host.miniascape(["net", "register", "net-1"]).expect_code(0);
    let other = pid_of_dnsmasq(&host, "net-10");
    assert_ne!(pid_of_dnsmasq(&host, "net-1"), other);
    host.miniascape(["net", "unregister", "net-1"]).expect_code(0);
    assert_eq!(pid_of_dnsmasq(&host, "net-10"), other);
    assert!(
        host.check(["virsh", "net-info", "net-10"])
            .stdout
            .contains("Active:         yes")
    );
    let list = host.miniascape(["net", "list", "--format", "json"]);
    let rows = list.json();
    let row = |name: &str| {
        let rows = rows.as_array().expect("a list");
        rows.iter()
            .find(|row| row["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {list}"))
            .clone()
    };
    assert_eq!(
        (&row("net-1")["registered"], &row("net-1")["defined"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&row("net-10")["registered"], &row("net-10")["owner"]),
        (&true.into(), &"miniascape".into())
    );
}

pub(crate) fn a_network_of_someone_else_is_left_alone() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(
        "/root/theirs.xml",
        "<network><name>net-1</name><bridge name='virbr9'/><ip address='10.9.0.1' netmask='255.255.255.0'/></network>",
    );
    host.check(["virsh", "net-define", "/root/theirs.xml"]);
    let before = host.check(["virsh", "net-dumpxml", "net-1"]).stdout;
    for verb in ["register", "unregister"] {
        let refused = host.miniascape(["net", verb, "net-1"]);
        refused.expect_code(3);
        assert!(
            refused.stderr.contains("not made by miniascape") && refused.stderr.contains("hint:"),
            "{refused}"
        );
    }
    assert_eq!(host.check(["virsh", "net-dumpxml", "net-1"]).stdout, before);
    assert!(!host.exists("/var/lib/miniascape/networks/net-1"));
}

pub(crate) fn a_taken_bridge_is_refused() {
    let (host, _daemon) = host_with_daemon();
    host.check(["ip", "link", "add", "virbr151", "type", "bridge"]);
    let refused = host.miniascape(["net", "register", "net-1"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("already has an interface virbr151"),
        "{refused}"
    );
    host.check(["ip", "link", "del", "virbr151"]);

    host.write_file(
        "/root/theirs.xml",
        "<network><name>theirs</name><bridge name='virbr151'/><ip address='10.9.0.1' netmask='255.255.255.0'/></network>",
    );
    host.check(["virsh", "net-define", "/root/theirs.xml"]);
    let refused = host.miniascape(["net", "register", "net-1"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("belongs to the libvirt network theirs"),
        "{refused}"
    );
    assert!(!host.exists("/var/lib/miniascape/networks/net-1"));
    assert!(!host.run(["virsh", "net-info", "net-1"]).ok());
}

pub(crate) fn without_a_daemon_nothing_is_changed() {
    let (host, daemon) = host_with_daemon();
    drop(daemon);
    let failed = host.miniascape(["net", "register", "net-1"]);
    failed.expect_code(4);
    assert!(
        failed.stderr.contains("`miniascape daemon` is not running"),
        "{failed}"
    );
    assert!(!host.exists("/var/lib/miniascape/networks/net-1"));
    assert!(!host.run(["virsh", "net-info", "net-1"]).ok());
}

pub(crate) fn dnsmasq_comes_back_after_a_kill_and_after_a_killed_daemon() {
    let (host, mut daemon) = host_with_daemon();
    host.miniascape(["net", "register", "net-1"]).expect_code(0);
    let first = pid_of_dnsmasq(&host, "net-1");
    host.check(["kill", "-9", &first.to_string()]);
    let second = wait_for("a new dnsmasq", PATIENCE, || {
        let status = host.miniascape(["net", "status", "net-1", "--format", "json"]);
        status.json()["dnsmasq_pid"].as_u64().filter(|pid| *pid != first)
    });
    daemon.kill();
    let daemon = self::daemon(&host);
    let status = host.miniascape(["net", "status", "net-1"]);
    assert!(status.ok(), "{status}\n{}", daemon.transcript());
    let third = pid_of_dnsmasq(&host, "net-1");
    assert_ne!(third, second);
    let processes = host.check(["pgrep", "-x", "dnsmasq"]);
    assert_eq!(
        processes.text(),
        third.to_string(),
        "a dnsmasq of the killed daemon is left"
    );
}

pub(crate) fn a_network_written_into_a_root_is_registered_at_its_first_run() {
    let host = Host::start(HostOptions::default());
    host.write_file("/etc/miniascape/networks/net-1.yaml", NET_1);
    // The root of this very host, as an image build would have it before its first boot.
    let deferred = host.miniascape_check(["--root", "/", "net", "register", "net-1"]);
    assert!(deferred.stdout.contains("first boot"), "{deferred}");
    let waiting = host.miniascape(["net", "status", "net-1"]);
    waiting.expect_code(1);
    assert!(
        waiting
            .stdout
            .contains("to register it is pending: written into another system's root"),
        "{waiting}"
    );
    assert!(!host.networks().contains(&"net-1".to_owned()));
    // A simulator is not what it was written for, and a dry run changes nothing.
    host.miniascape_check([
        "--connect",
        "test:///default",
        "guest",
        "start",
        "test",
        "--dry-run",
    ]);
    host.write_file(
        "/etc/miniascape/networks/other.yaml",
        definition("other", "10.77.1", "virbr77"),
    );
    let _daemon = daemon(&host);
    wait_until("the daemon to register the network", PATIENCE, || {
        host.miniascape(["net", "status", "net-1", "--format", "json"])
            .json()["dnsmasq_pid"]
            .is_u64()
    });
    let again = host.miniascape_check(["net", "register", "net-1"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");
}

pub(crate) fn a_damaged_record_is_named_and_written_anew() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.66.6", "virbr66"),
    );
    host.miniascape_check(["net", "register", "lab"]);
    host.miniascape_check(["net", "register", "net-1"]);
    host.write_file("/var/lib/miniascape/networks/lab/applied.json", "{");
    let list = host.miniascape_check(["lease", "list"]);
    assert!(list.stderr.contains("networks/lab/applied.json"), "{list}");
    let pid = pid_of_dnsmasq(&host, "net-1");
    host.miniascape_check(["net", "register", "lab"]);
    let again = host.miniascape_check(["net", "register", "lab"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");
    assert_eq!(pid_of_dnsmasq(&host, "net-1"), pid);
}

pub(crate) fn a_dnsmasq_that_cannot_start_undoes_the_registration() {
    let (host, _daemon) = host_with_daemon();
    // The bus does not let dnsmasq have its name, so it never becomes ready.
    host.set_bus_policy(
        "deny",
        "<policy context='mandatory'><deny own_prefix='uk.org.thekelleys'/></policy>",
    );
    let failed = host.miniascape(["net", "register", "net-1"]);
    failed.expect_code(1);
    assert!(
        failed.stderr.contains("is not allowed to own the service"),
        "{failed}"
    );
    assert!(host.networks().is_empty(), "{:?}", host.networks());
    assert!(!host.exists("/sys/class/net/virbr151"));
    assert!(!host.exists("/var/lib/miniascape/networks/net-1"));
    assert!(!host.run(["pgrep", "-x", "dnsmasq"]).ok());
}
