//! What guests bring into networks, what is chosen for them, and clashes with the host.

use crate::guests::dhcp_client;
use crate::networks::{definition, host_with_daemon};
use crate::support::guest::{self, Console, DiskSpec};
use crate::support::{Host, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HOSTS: &str = "/var/lib/miniascape/networks/lab/hosts.d";

fn write_lab(host: &Host) {
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.66.6", "virbr66"),
    );
}

fn lookup(host: &Host, name: &str) -> String {
    host.run([
        "busybox",
        "nslookup",
        &format!("{name}.lab.internal"),
        "10.66.6.1",
    ])
    .stdout
}

fn resolves(host: &Host, name: &str, address: &str) -> bool {
    lookup(host, name).contains(&format!("Address: {address}\n"))
}

/// Creates a guest without a disk; what it is told of its hosts.
fn create(host: &Host, name: &str, options: &[&str]) -> serde_json::Value {
    let mut all = vec!["--format", "json", "guest", "create", name, "--memory", "64MiB"];
    all.extend(options);
    host.miniascape_check(all).json()
}

/// All that could have changed, in words.
fn everything(host: &Host) -> String {
    let files = "find /etc/miniascape /var/lib/miniascape /var/lib/libvirt/images -type f -exec sha256sum {} + | sort -k2; \
        virsh net-list --all --name; virsh list --all --name; ls /sys/class/net; pgrep -a dnsmasq";
    host.run(["sh", "-c", files]).stdout
}

pub(crate) fn a_created_guest_has_its_address_and_name_from_the_first_boot() {
    let (host, _daemon) = host_with_daemon();
    write_lab(&host);
    host.miniascape_check(["net", "register", "lab"]);
    let dnsmasq = host.check(["pgrep", "-x", "dnsmasq"]).stdout;
    DiskSpec::new("m").hostname("other").make(&host, "/srv/g.qcow2");
    let created = guest::create(
        &host,
        "web",
        "/srv/g.qcow2",
        &["--network", "lab", "--ip", "10.66.6.77", "--name", "www"],
    );
    assert!(created.stdout.contains("www has 10.66.6.77 in lab"), "{created}");
    // Known before it was ever started, by the same dnsmasq.
    assert!(resolves(&host, "www", "10.66.6.77"), "{}", lookup(&host, "www"));
    assert_eq!(host.check(["pgrep", "-x", "dnsmasq"]).stdout, dnsmasq);
    let started = host.miniascape_check(["guest", "start", "web", "--wait", "lease"]);
    assert!(started.stdout.contains("10.66.6.77"), "{started}");
    let mut console = Console::attach(&host, "web");
    console.wait_ready();
    host.miniascape_check(["net", "status", "lab"]);

    // What is taken is refused, with nothing changed; an update of everything finds nothing to do.
    let before = everything(&host);
    for (options, said) in [
        (
            ["--ip", "10.66.6.77", "--name", "two"],
            "the address 10.66.6.77 is given to two hosts",
        ),
        (
            ["--ip", "10.66.6.78", "--name", "www"],
            "the name www is given to two hosts",
        ),
        (["--ip", "10.77.6.78", "--name", "two"], "outside the subnet"),
    ] {
        let mut all = vec!["guest", "create", "two", "--disk", "new:1MiB", "--network", "lab"];
        all.extend(options);
        let refused = host.miniascape(all);
        refused.expect_code(3);
        assert!(
            refused.stderr.contains(said) && refused.stderr.contains("two.yaml:4:"),
            "{refused}"
        );
    }
    assert_eq!(everything(&host), before);
    let update = host.miniascape_check(["net", "update", "--all", "--format", "json"]);
    assert_eq!(update.json()["changed"], false, "{update}");

    // A running guest is not deleted; one that is off goes with its entry and its lease.
    let refused = host.miniascape(["guest", "delete", "web", "--yes"]);
    refused.expect_code(3);
    assert_eq!(everything(&host), before);
    host.miniascape_check(["guest", "shutdown", "web"]);
    let unsure = host.miniascape(["guest", "delete", "web"]);
    unsure.expect_code(3);
    assert!(unsure.stderr.contains("--yes"), "{unsure}");
    assert!(
        host.miniascape_check(["lease", "list"])
            .stdout
            .contains("10.66.6.77")
    );
    let deleted = host.miniascape_check(["guest", "delete", "web", "--yes"]);
    assert!(
        deleted.stdout.contains("the disk /srv/g.qcow2 stays"),
        "{deleted}"
    );
    assert!(!host.domains().contains(&"web".to_owned()) && host.exists("/srv/g.qcow2"));
    assert!(!host.exists(HOSTS));
    assert!(!resolves(&host, "www", "10.66.6.77"), "{}", lookup(&host, "www"));
    wait_until("the end of the lease", PATIENCE, || {
        !host
            .miniascape_check(["lease", "list"])
            .stdout
            .contains("10.66.6.77")
    });
    assert_eq!(host.check(["pgrep", "-x", "dnsmasq"]).stdout, dnsmasq);
    host.miniascape(["guest", "delete", "web", "--yes"])
        .expect_code(1);
}

pub(crate) fn reservations_wait_for_their_network_and_go_with_the_guest() {
    let (host, _daemon) = host_with_daemon();
    // Before there is even a definition.
    let early = create(
        &host,
        "early",
        &["--network", "lab,ip=auto", "--disk", "new:1MiB"],
    );
    assert_eq!(early["hosts"][0]["ips"], serde_json::json!([]), "{early}");
    write_lab(&host);
    // Two more, defined but not registered: each has an address of its own, outside the range.
    let mut chosen = Vec::new();
    for name in ["a", "b"] {
        let made = create(&host, name, &["--network", "lab", "--ip", "auto"]);
        chosen.push(
            made["hosts"][0]["ips"][0]
                .as_str()
                .expect("an address")
                .to_owned(),
        );
    }
    assert_ne!(chosen[0], chosen[1]);
    for address in &chosen {
        let last: u8 = address
            .strip_prefix("10.66.6.")
            .expect("in the subnet")
            .parse()
            .expect("a number");
        assert!((2..100).contains(&last) || last >= 200, "{address}");
    }
    host.miniascape_check(["net", "register", "lab"]);
    for (name, address) in ["a", "b"].iter().zip(&chosen) {
        assert!(resolves(&host, name, address), "{}", lookup(&host, name));
    }
    // A client with the guest's hardware address is handed what was chosen.
    let macs = host.read_file(format!("{HOSTS}/a.yaml"));
    let mac = macs
        .split("mac: \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a MAC");
    let leased = dhcp_client(&host, "virbr66", mac, "x");
    assert!(leased.ok(), "{leased}");
    let leases = host
        .miniascape_check(["lease", "list", "--format", "json"])
        .json();
    assert_eq!(
        (&leases[0]["mac"], &leases[0]["ip"]),
        (&mac.into(), &chosen[0].as_str().into())
    );

    // The same ones again, with and without the record.
    for forget in [false, true] {
        host.miniascape_check(["net", "unregister", "lab"]);
        if forget {
            host.remove("/var/lib/miniascape/networks/lab/auto.yaml");
        }
        host.miniascape_check(["net", "register", "lab"]);
        for (name, address) in ["a", "b"].iter().zip(&chosen) {
            assert!(resolves(&host, name, address), "{}", lookup(&host, name));
        }
    }
    // With its disks, which are ours.
    let disks = "/var/lib/libvirt/images/miniascape/guests/early";
    assert!(host.exists(disks) && resolves_anything(&host, "early"));
    host.miniascape_check(["guest", "delete", "early", "--yes", "--disks"]);
    assert!(!host.exists(disks) && !resolves_anything(&host, "early"));
    for name in ["a", "b"] {
        host.miniascape_check(["guest", "delete", name, "--yes"]);
    }
    assert!(!host.exists(HOSTS));

    // Other changes of the definition are not made for a guest's sake, and nothing is left of the attempt.
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.66.7", "virbr66"),
    );
    let before = everything(&host);
    let refused = host.miniascape([
        "guest",
        "create",
        "c",
        "--network",
        "lab,ip=auto",
        "--disk",
        "new:1MiB",
    ]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("miniascape net update lab"), "{refused}");
    assert_eq!(everything(&host), before);
    // libvirt's own networks serve nothing of ours.
    host.check(["sh", "-c", "echo \"<network><name>theirs</name><bridge name='virbr99'/></network>\" >/root/n.xml; virsh net-define /root/n.xml"]);
    let refused = host.miniascape(["guest", "create", "c", "--network", "theirs,ip=auto"]);
    refused.expect_code(3);
    // What somebody else made is not ours to delete.
    host.check(["sh", "-c", "echo \"<domain type='qemu'><name>alien</name><memory>65536</memory><os><type>hvm</type></os></domain>\" >/root/d.xml; virsh define /root/d.xml"]);
    host.miniascape(["guest", "delete", "alien", "--yes"])
        .expect_code(3);
}

fn resolves_anything(host: &Host, name: &str) -> bool {
    lookup(host, name).contains("Address: 10.66.6.")
}

pub(crate) fn clashes_with_the_host_are_refused_and_nothing_is_changed() {
    let (host, _daemon) = host_with_daemon();
    write_lab(&host);
    let before = everything(&host);
    let refuse = |said: &str| {
        let now = everything(&host);
        let refused = host.miniascape(["net", "register", "lab"]);
        refused.expect_code(3);
        assert!(
            refused.stderr.contains(said) && refused.stderr.contains("lab.yaml:6:"),
            "{refused}"
        );
        assert_eq!(everything(&host), now);
        host.miniascape(["net", "register", "lab", "--dry-run"])
            .expect_code(3);
    };
    host.check([
        "sh",
        "-c",
        "ip link add lan type bridge && ip addr add 10.66.0.1/16 dev lan && ip link set lan up",
    ]);
    refuse("10.66.6.0/24 overlaps 10.66.0.0/16, which this host reaches by lan");
    host.check(["ip", "link", "del", "lan"]);
    // A network of libvirt's that is not even active.
    host.check(["sh", "-c", "echo \"<network><name>theirs</name><bridge name='virbr99'/><ip address='10.66.6.129' prefix='25'/></network>\" >/root/n.xml; virsh net-define /root/n.xml"]);
    refuse("10.66.6.0/24 overlaps 10.66.6.128/25 of libvirt's network theirs");
    host.check(["virsh", "net-undefine", "theirs"]);
    assert_eq!(everything(&host), before);
    // Over a router it may be meant.
    host.check(["sh", "-c", "ip link add lan type bridge && ip addr add 10.1.0.1/16 dev lan && ip link set lan up && ip route add 10.0.0.0/8 via 10.1.0.2"]);
    let warned = host.miniascape_check(["net", "register", "lab"]);
    assert!(
        warned.stderr.contains("10.66.6.0/24 overlaps 10.0.0.0/8"),
        "{warned}"
    );
    // Its own bridge and libvirt network are no clash, nor is libvirt being asked again.
    let again = host.miniascape_check(["net", "register", "lab", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    // Other definitions and the configuration are files: wrong input.
    host.write_file(
        "/etc/miniascape/networks/two.yaml",
        definition("two", "10.66.6", "virbr67"),
    );
    for verb in ["validate", "register"] {
        let refused = host.miniascape(["net", verb, "two"]);
        refused.expect_code(2);
        assert!(
            refused
                .stderr
                .contains("of the network lab (/etc/miniascape/networks/lab.yaml:6:19)"),
            "{refused}"
        );
    }
    host.remove("/etc/miniascape/networks/two.yaml");
    let now = everything(&host);
    host.write_file(
        "/etc/miniascape/config.yaml",
        "networks:\n  reserved: [ 10.66.0.0/16 ]\n",
    );
    for words in [["validate", "lab"], ["register", "lab"], ["update", "lab"]] {
        let refused = host.miniascape(["net"].iter().chain(&words));
        refused.expect_code(2);
        for place in [
            "lab.yaml:6:",
            "10.66.0.0/16, which is reserved (/etc/miniascape/config.yaml:2:15)",
        ] {
            assert!(refused.stderr.contains(place), "no {place} in {refused}");
        }
    }
    host.remove("/etc/miniascape/config.yaml");
    assert_eq!(everything(&host), now);
    // An update meets the same.
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.1.2", "virbr66"),
    );
    let refused = host.miniascape(["net", "update", "lab"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("10.1.0.0/16, which this host reaches by lan"),
        "{refused}"
    );
}

pub(crate) fn a_chosen_subnet_avoids_all_that_is_taken() {
    let (host, _daemon) = host_with_daemon();
    // Five subnets to choose from; four are taken in four ways.
    host.write_file(
        "/etc/miniascape/config.yaml",
        "networks:\n  pool: [ 10.70.0.0/22, 10.70.4.0/24 ]\n  reserved: [ 10.70.0.0/24 ]\n",
    );
    host.write_file(
        "/etc/miniascape/networks/written.yaml",
        definition("written", "10.70.4", "virbr70"),
    );
    host.check([
        "sh",
        "-c",
        "ip link add lan type bridge && ip addr add 10.70.1.1/24 dev lan && ip link set lan up",
    ]);
    host.check(["sh", "-c", "echo \"<network><name>theirs</name><bridge name='virbr99'/><ip address='10.70.2.1' prefix='24'/></network>\" >/root/n.xml; virsh net-define /root/n.xml"]);
    let auto = |name: &str| {
        let text = definition(name, "10.70.9", &format!("virbr-{name}"));
        let text = text.replace("subnet: 10.70.9.0/24", "subnet: auto");
        let text = text.replace(
            "dhcp: { ranges: [ { start: 10.70.9.100, end: 10.70.9.199 } ] }",
            "dhcp: {}",
        );
        let text = text.replace("10.70.9.11", "auto");
        host.write_file(format!("/etc/miniascape/networks/{name}.yaml"), text);
    };
    auto("lab");
    let shown = host.miniascape_check(["net", "validate", "lab"]);
    assert!(shown.stdout.contains("subnet 10.70.3.0/24 by auto"), "{shown}");
    assert!(
        !host.exists("/var/lib/miniascape/networks/lab"),
        "looking has written something"
    );
    host.miniascape_check(["net", "register", "lab", "--dry-run"]);
    assert!(
        !host.exists("/var/lib/miniascape/networks/lab"),
        "a dry run has written something"
    );
    host.miniascape_check(["net", "register", "lab"]);
    let xml = host.check(["virsh", "net-dumpxml", "lab"]);
    assert!(xml.stdout.contains("10.70.3.1"), "{xml}");
    let again = host.miniascape_check(["net", "register", "lab", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    // No more are left.
    auto("two");
    let none = host.miniascape(["net", "register", "two"]);
    none.expect_code(2);
    assert!(none.stderr.contains("no subnet is free to be chosen"), "{none}");
    // One that has become free; and lab keeps its own whatever becomes free.
    host.check(["virsh", "net-undefine", "theirs"]);
    host.miniascape_check(["net", "register", "two"]);
    let xml = host.check(["virsh", "net-dumpxml", "two"]);
    assert!(xml.stdout.contains("10.70.2.1"), "{xml}");
    host.check(["ip", "link", "del", "lan"]);
    host.miniascape_check(["net", "unregister", "lab"]);
    host.miniascape_check(["net", "register", "lab"]);
    assert!(
        host.check(["virsh", "net-dumpxml", "lab"])
            .stdout
            .contains("10.70.3.1")
    );
}
