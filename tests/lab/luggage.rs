//! What a packaged guest brings into the networks of the host that it is installed on.

use crate::guests::dhcp_client;
use crate::networks::{definition, host_with_daemon};
use crate::support::{Host, wait_until};
use crate::travel::{Kind, bare_target};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const HOSTS: &str = "/var/lib/miniascape/networks/net-1/hosts.d";
const FILE: &str = "/etc/miniascape/networks/net-1.yaml";
const MAC: &str = "52:54:00:01:00:80";
const ADDRESS: &str = "192.168.151.80";
/// What the guest web is called in the network of the host where it was packed.
const NAME: &str = "guest-1";

fn lookup(host: &Host) -> String {
    let name = format!("{NAME}.net-1.internal");
    host.run(["busybox", "nslookup", &name, "192.168.151.1"]).stdout
}

fn is_known(host: &Host) -> bool {
    lookup(host).contains(&format!("Address: {ADDRESS}\n"))
}

/// The entry of the guest as `net show` has it, and where that comes from.
fn shown(host: &Host) -> Option<(Value, Value)> {
    let shown = host.miniascape_check(["net", "show", "net-1", "--format", "json"]);
    let shown = shown.json();
    let hosts = shown["network"]["hosts"].as_array().expect("a list");
    let index = hosts.iter().position(|host| host["name"] == NAME)?;
    Some((hosts[index].clone(), shown["entries"][index].clone()))
}

pub(crate) fn a_packaged_guests_entry_comes_and_goes_with_its_package() {
    let kind = Kind::Deb;
    let (host, _daemon) = bare_target(kind);
    // This host is to have a net-1 of its own, which nobody has written yet.
    host.remove("/usr/share/miniascape/networks/net-1.yaml");
    let preflight = || host.run(["sh", "-c", "miniascape package preflight /root/packages/*"]);
    let told = preflight();
    told.expect_code(3);
    assert!(told.stdout.contains("net-1 is not there"), "{told}");
    kind.install(&host, "/root/packages/*");
    assert_eq!(host.list_dir(HOSTS), ["web.yaml", "web2.yaml"]);
    host.write_file(FILE, definition("net-1", "192.168.151", "virbr151"));
    let registered = host.miniascape_check(["net", "register", "net-1"]);
    assert!(!registered.stderr.contains("warning"), "{registered}");
    assert!(is_known(&host), "{registered}{}", lookup(&host));
    let told = preflight();
    told.expect_code(0);
    assert!(
        told.stdout.contains("web is here, and follows the package"),
        "{told}"
    );
    let leased = dhcp_client(&host, "virbr151", MAC, "x");
    assert!(leased.ok(), "{leased}");
    let leases = host.miniascape_check(["lease", "list", "--format", "json"]);
    let lease = &leases.json()[0];
    assert_eq!((&lease["mac"], &lease["ip"]), (&json!(MAC), &json!(ADDRESS)));
    let (entry, origin) = shown(&host).expect("the guest's entry");
    assert_eq!(entry, json!({ "name": NAME, "mac": MAC, "ip": ADDRESS }));
    let file = format!("{HOSTS}/web.yaml");
    assert_eq!(
        origin,
        json!({ "path": "hosts.1", "from": "guest", "file": file })
    );
    let text = host.miniascape_check(["net", "show", "net-1"]).stdout;
    let is_told = |line: &str| line.contains(NAME) && line.ends_with("# guest web");
    assert!(text.lines().any(is_told), "{text}");
    let again = host.miniascape_check(["guest", "register", "vm-web", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");

    // Gone with the package, from the same dnsmasq, and its lease with it; and back when it comes back.
    let dnsmasq = host.check(["pgrep", "-x", "dnsmasq"]).stdout;
    kind.remove(&host, "vm-web");
    assert_eq!(host.list_dir(HOSTS), ["web2.yaml"]);
    assert!(!is_known(&host), "{}", lookup(&host));
    wait_until("the end of the lease", PATIENCE, || {
        !host.miniascape_check(["lease", "list"]).stdout.contains(ADDRESS)
    });
    assert_eq!(shown(&host), None);
    let installed = kind.install(&host, "/root/packages/vm-web_*");
    assert!(is_known(&host), "{installed}{}", lookup(&host));
    assert_eq!(host.check(["pgrep", "-x", "dnsmasq"]).stdout, dnsmasq);

    // What people have given to somebody else is not taken from him; the guest gets another address, and keeps it.
    kind.remove(&host, "vm-web");
    let others = definition("net-1", "192.168.151", "virbr151").replace("192.168.151.11", ADDRESS);
    host.write_file(FILE, others);
    host.miniascape_check(["net", "update", "net-1"]);
    let told = format!("web has an address of its own in net-1: one has {ADDRESS}");
    let before = host.check(["sh", "-c", "miniascape package preflight /root/packages/vm-web_*"]);
    assert!(
        before.stdout.contains(&format!("address   warning  {told}")),
        "{before}"
    );
    let installed = kind.install(&host, "/root/packages/vm-web_*");
    assert!(
        installed.stdout.contains("web registered") && installed.stderr.contains(&told),
        "{installed}"
    );
    let (entry, _) = shown(&host).expect("the guest's entry");
    assert!(entry["mac"] == MAC && entry["ip"] != ADDRESS, "{entry}");
    let again = host.miniascape_check(["guest", "register", "vm-web", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    assert_eq!(shown(&host).map(|(entry, _)| entry), Some(entry));
    for package in ["vm-web", "vm-web2"] {
        kind.remove(&host, package);
    }
    assert!(!host.exists(HOSTS));
}

/// What people put beside the definition of `lab`, and where.
const BESIDE: [(&str, &str); 2] = [
    (
        "10-more.yaml",
        "hosts:\n  - { name: two, mac: \"52:54:00:00:00:02\", ip: 10.66.6.12 }\n",
    ),
    ("20-names.yaml", "records:\n  - { name: gw, ip: 10.66.6.1 }\n"),
];
const LAB: &str = "/etc/miniascape/networks/lab";
const GUESTS: &str = "/usr/share/miniascape/guests";

/// Two guests of one origin, the second a raw copy, and the network of the first: packed on one host, all there on another.
pub(crate) fn guests_of_one_base_arrive_with_their_network() {
    let (source, _daemon) = host_with_daemon();
    let lab = definition("lab", "10.66.6", "virbr66");
    source.write_file(format!("{LAB}.yaml"), &lab);
    for (name, content) in BESIDE {
        source.write_file(format!("{LAB}.d/{name}"), content);
    }
    source.miniascape_check(["net", "register", "lab"]);
    let sh = |host: &Host, script: &str| host.check(["sh", "-e", "-c", script]);
    sh(
        &source,
        "mkdir /srv/g; cd /srv/g; qemu-img create -q -f qcow2 golden.qcow2 64M
         qemu-io -c 'write -P 0x11 1M 8M' -c 'write -P 0x12 40M 1M' golden.qcow2 >/dev/null
         qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 one.qcow2
         qemu-io -c 'write -P 0x21 2M 64k' one.qcow2 >/dev/null
         qemu-img convert -O raw golden.qcow2 two.raw; qemu-io -f raw -c 'write -P 0x22 3M 64k' two.raw >/dev/null",
    );
    for (name, disk) in [("one", "one.qcow2,format=qcow2"), ("two", "two.raw,format=raw")] {
        let disk = format!("/srv/g/{disk}");
        source.miniascape_check([
            "guest",
            "create",
            name,
            "--memory",
            "64MiB",
            "--disk",
            &disk,
            "--network",
            "lab",
        ]);
    }
    let repack = |guest: &str, more: &[&str]| {
        let fixed = ["repack", guest, "--to", "deb", "--output", "/root/out"];
        source.miniascape_check(fixed.iter().chain(more))
    };
    let one = repack(
        "one",
        &[
            "--base",
            "/srv/g/golden.qcow2",
            "--with-networks",
            "--format",
            "json",
        ],
    );
    let one = one.json();
    let file = |index: usize| one["files"][index]["path"].as_str().expect("a path").to_owned();
    // The guest's package comes first, then base and delta in the order in which they are made.
    let base = file(1);
    assert_eq!(one["files"].as_array().map(Vec::len), Some(3), "{one}");
    let two = repack("two", &["--base", &base, "--format", "json"]);
    assert_eq!(two.json()["files"].as_array().map(Vec::len), Some(2), "{two}");
    let told = |package: &str, field: &str| {
        let file = format!("/root/out/vm-{package}_0.1-1_all.deb");
        source.check(["dpkg-deb", "-f", &file, field]).text().to_owned()
    };
    assert_eq!(told("two", "Recommends"), "miniascape-network-lab");
    assert_eq!(told("one", "Provides"), "miniascape-network-lab");
    assert!(!told("one", "Depends").contains("network") && !told("two", "Depends").contains("network"));
    assert!(
        source
            .list_dir("/root/out")
            .iter()
            .all(|name| !name.starts_with('.'))
    );

    let (target, _daemon) = bare_target(Kind::Deb);
    source.copy_to(&target, &["/root/out", "/srv/g"]);
    let installed = Kind::Deb.install(&target, "/root/out/*.deb");
    assert!(
        installed
            .stderr
            .contains("`miniascape net register lab` makes it"),
        "{installed}"
    );
    Kind::Deb.assert_clean(&target);
    sh(
        &target,
        "cd /var/lib/libvirt/images/miniascape
         [ $(ls packaged | wc -l) = 3 ]
         qemu-img compare -U -f qcow2 -F qcow2 guests/one/vda.qcow2 /srv/g/one.qcow2
         qemu-img compare -U -f qcow2 -F raw guests/two/vda.qcow2 /srv/g/two.raw",
    );

    // A network of somebody else in its place is named, and stays as it is.
    target.write_file(
        "/root/foreign.xml",
        "<network><name>lab</name><bridge name='virbr66'/><ip address='10.1.1.1' netmask='255.255.255.0'/></network>",
    );
    sh(&target, "virsh net-define /root/foreign.xml");
    let before = target.check(["virsh", "net-dumpxml", "lab"]).stdout;
    let refused = target.miniascape(["net", "register", "lab"]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("lab"), "{refused}");
    assert_eq!(target.check(["virsh", "net-dumpxml", "lab"]).stdout, before);
    sh(&target, "virsh net-undefine lab");

    // With all that people had put beside it, and what the guests reserve.
    target.miniascape_check(["net", "register", "lab"]);
    let shown = target
        .miniascape_check(["net", "show", "lab", "--format", "json"])
        .json();
    let names: Vec<_> = shown["network"]["hosts"]
        .as_array()
        .expect("hosts")
        .iter()
        .map(|h| &h["name"])
        .collect();
    for name in ["one", "two"] {
        assert!(names.contains(&&json!(name)), "{shown}");
    }
    let asked = target
        .run(["busybox", "nslookup", "gw.lab.internal", "10.66.6.1"])
        .stdout;
    assert!(asked.contains("Address: 10.66.6.1\n"), "{asked}");
    let update = target.miniascape_check(["net", "update", "lab", "--format", "json"]);
    assert_eq!(update.json()["changed"], false, "{update}");

    // The user's own definition comes first, and that it is another is told.
    target.miniascape_check(["net", "unregister", "lab"]);
    target.write_file(format!("{LAB}.yaml"), lab.replace("10.66.6", "10.66.7"));
    Kind::Deb.remove(&target, "vm-one");
    let installed = Kind::Deb.install(&target, "/root/out/vm-one_*.deb");
    let differs =
        format!("is defined here by {LAB}.yaml, and otherwise than where one was packed ({GUESTS}/one/");
    assert!(installed.stderr.contains(&differs), "{installed}");
}
