//! Networks of libvirt's, with its own dnsmasq, leases and running guests, that become miniascape's.

use crate::guests::dhcp_client;
use crate::networks::host_with_daemon;
use crate::support::guest::{self, BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{Host, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const FILE: &str = "/etc/miniascape/networks/old.yaml";
const RESERVED: &str = "52:54:00:00:00:66";

/// A network as people have them.
const XML: &str = "<network>
  <name>old</name>
  <forward mode='nat'/>
  <bridge name='virbr66' stp='on' delay='0'/>
  <domain name='old.internal' localOnly='yes'/>
  <dns><host ip='10.66.6.5'><hostname>printer</hostname></host></dns>
  <ip address='10.66.6.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='10.66.6.100' end='10.66.6.199'/>
      <host mac='52:54:00:00:00:66' name='box' ip='10.66.6.66'/>
    </dhcp>
  </ip>
</network>";

fn host_with_old_network() -> (Host, crate::support::Running) {
    let (host, daemon) = host_with_daemon();
    host.write_file("/root/old.xml", XML);
    host.check(["virsh", "net-define", "/root/old.xml"]);
    host.check(["virsh", "net-start", "old"]);
    (host, daemon)
}

/// The command lines of all dnsmasqs.
fn dnsmasqs(host: &Host) -> String {
    host.run(["pgrep", "-a", "-x", "dnsmasq"]).stdout
}

fn is_libvirts(host: &Host) -> bool {
    dnsmasqs(host).contains("/var/lib/libvirt/dnsmasq/old.conf")
}

/// libvirt's network and all that is ours, in words.
fn everything(host: &Host) -> String {
    let script = "find /etc/miniascape /var/lib/miniascape -type f -exec sha256sum {} + | sort -k2
        virsh net-dumpxml --inactive old; virsh -q net-list --all; cat /sys/class/net/virbr66/address
        ls /sys/class/net/virbr66/brif";
    host.run(["sh", "-c", script]).stdout
}

fn resolves(host: &Host, name: &str, address: &str) -> bool {
    let name = format!("{name}.old.internal");
    let answer = host.run(["busybox", "nslookup", &name, "10.66.6.1"]);
    answer.stdout.contains(&format!("Address: {address}\n"))
}

/// A bridge passes nothing on in the first seconds of a port.
fn reaches_the_host(console: &mut Console) {
    console.send("run until ping -c 1 -W 1 10.66.6.1 >/dev/null; do true; done; echo REACHED");
    console.wait("REACHED", PATIENCE);
}

pub(crate) fn a_network_with_a_running_guest_is_adopted() {
    let (mut host, _daemon) = host_with_old_network();
    assert!(is_libvirts(&host), "{}", dnsmasqs(&host));
    DiskSpec::new("m").hostname("pc").make(&host, "/srv/g.qcow2");
    guest::create(
        &host,
        "g",
        "/srv/g.qcow2",
        &["--network", "old,mac=52:54:00:00:00:77"],
    );
    host.check(["virsh", "start", "g"]);
    let mut console = Console::attach(&host, "g");
    console.wait_ready();
    let address = console.wait("LEASE", BOOT_TIMEOUT).value("ip").to_owned();
    let process = host.check(["pgrep", "-f", "guest=g,"]).stdout;
    let bridge = host.read_file("/sys/class/net/virbr66/address");

    what_cannot_be_done_changes_nothing(&host);
    what_fails_is_taken_back(&mut host, &mut console);
    let adopted = host.miniascape_check(["net", "import", "old", "--adopt"]);
    assert!(
        adopted.stdout.contains("old adopted: write its files, define it"),
        "{adopted}"
    );
    let running = dnsmasqs(&host);
    assert!(
        running.lines().count() == 1 && running.contains("/var/lib/miniascape/networks/old/dnsmasq.conf"),
        "{running}"
    );
    host.miniascape_check(["net", "status", "old"]);
    assert_eq!(host.read_file("/sys/class/net/virbr66/address"), bridge);
    assert_eq!(host.check(["pgrep", "-f", "guest=g,"]).stdout, process);
    // The guest is plugged in and known by its address and name; its renewal is answered, with the same address.
    reaches_the_host(&mut console);
    let leases = host.miniascape_check(["lease", "list", "old"]);
    assert!(
        leases.stdout.contains(&address) && leases.stdout.contains("52:54:00:00:00:77"),
        "{leases}"
    );
    assert!(resolves(&host, "pc", &address));
    console.send("run killall -USR1 udhcpc");
    assert_eq!(console.wait("LEASE", BOOT_TIMEOUT).value("ip"), address);
    // Hosts of the XML are reservations and names, and its DNS entries are records.
    let leased = dhcp_client(&host, "virbr66", RESERVED, "x");
    assert!(leased.ok(), "{leased}");
    wait_until("the reserved address", PATIENCE, || {
        host.miniascape_check(["lease", "list", "old"])
            .stdout
            .contains("10.66.6.66")
    });
    assert!(resolves(&host, "box", "10.66.6.66") && resolves(&host, "printer", "10.66.6.5"));
    let kept = host.read_file("/var/lib/miniascape/adopted/old.xml");
    assert!(kept.contains("<dhcp>") && !kept.contains("miniascape"), "{kept}");
    let again = host.miniascape_check(["net", "import", "old", "--adopt"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");

    it_is_like_any_other_now(&host, &bridge);
}

fn what_cannot_be_done_changes_nothing(host: &Host) {
    let before = everything(host);
    let planned = host.miniascape_check(["net", "import", "old", "--adopt", "--dry-run", "--format", "json"]);
    let steps = [
        "write-files",
        "define",
        "autostart",
        "take-leases",
        "stop",
        "start",
        "start-dnsmasq",
        "replug",
    ];
    assert_eq!(planned.json()["steps"], serde_json::json!(steps), "{planned}");
    host.miniascape(["net", "import", "/root/old.xml", "--adopt"])
        .expect_code(2);
    host.miniascape(["net", "import", "none", "--adopt"])
        .expect_code(1);
    host.write_file(FILE, crate::networks::definition("old", "10.66.7", "virbr66"));
    let refused = host.miniascape(["net", "import", "old", "--adopt"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("has the addresses 10.66.7.1/24, which libvirt's network has not"),
        "{refused}"
    );
    host.remove(FILE);
    assert_eq!(everything(host), before);
}

/// With the guest on its bridge, and libvirt's dnsmasq at work.
fn what_fails_is_taken_back(host: &mut Host, console: &mut Console) {
    let before = everything(host);
    let hook = "#!/bin/sh\nif [ \"$1 $2\" = 'old start' ] && grep -q miniascape; then echo 'not today' >&2; exit 1; fi\n";
    host.write_file("/etc/libvirt/hooks/network", hook);
    host.check(["chmod", "755", "/etc/libvirt/hooks/network"]);
    host.stop_libvirtd();
    host.start_libvirtd();
    let failed = host.miniascape(["net", "import", "old", "--adopt"]);
    failed.expect_code(1);
    assert!(
        failed.stderr.contains("not today") && failed.stderr.contains("old was put back to what it was"),
        "{failed}"
    );
    assert!(
        is_libvirts(host) && dnsmasqs(host).contains("old.conf"),
        "{failed}{}",
        dnsmasqs(host)
    );
    assert!(host.exists(FILE), "the definition has gone");
    host.remove(FILE);
    assert_eq!(everything(host), before);
    reaches_the_host(console);
    host.remove("/etc/libvirt/hooks/network");
    host.stop_libvirtd();
    host.start_libvirtd();
}

fn it_is_like_any_other_now(host: &Host, bridge: &str) {
    let text = host.read_file(FILE);
    host.write_file(FILE, text.replace("domain: old.internal", "domain: new.internal"));
    host.miniascape_check(["net", "update", "old"]);
    host.check([
        "sh",
        "-c",
        "virsh destroy g && virsh net-destroy old && virsh net-start old",
    ]);
    assert_eq!(host.read_file("/sys/class/net/virbr66/address"), bridge);
    host.miniascape_check(["net", "unregister", "old"]);
    assert!(host.exists("/var/lib/miniascape/adopted/old.xml"));
}
