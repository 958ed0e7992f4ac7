//! A lab host that lost its power and boots again: files are there, nothing else is. libvirtd and the daemon are started
//! as a boot would start them.

use crate::guests::dhcp_client;
use crate::networks::{daemon, definition, host_with_daemon};
use crate::pending::plain;
use crate::support::guest::{self, BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{Host, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const MAC: &str = "52:54:00:00:00:66";

fn answers(host: &Host) -> bool {
    let asked = host.run(["busybox", "nslookup", "service-1.net-1.internal", "192.168.151.1"]);
    asked.stdout.contains("Address: 192.168.151.10\n")
}

/// The address that MAC has in the list of leases.
fn leased(host: &Host, mac: &str) -> Option<String> {
    let list = host
        .miniascape_check(["lease", "list", "--format", "json"])
        .json();
    let lease = list.as_array()?.iter().find(|lease| lease["mac"] == mac)?;
    Some(lease["ip"].as_str()?.to_owned())
}

pub(crate) fn everything_comes_up_in_order_and_leases_are_kept() {
    let (mut host, keeper) = host_with_daemon();
    host.miniascape_check(["net", "register", "net-1"]);
    DiskSpec::new("m").hostname("guest").make(&host, "/srv/g.qcow2");
    let network = format!("net-1,mac={MAC}");
    guest::create(&host, "g", "/srv/g.qcow2", &["--network", &network]);
    host.check(["virsh", "autostart", "g"]);
    // Another one takes the first address of the range, and is not there after the boot.
    let other = dhcp_client(&host, "virbr151", "52:54:00:00:00:77", "other");
    assert!(other.ok(), "{other}");
    host.miniascape_check(["guest", "start", "g", "--wait", "lease"]);
    let before = leased(&host, MAC).expect("it waited for its lease");
    let others = leased(&host, "52:54:00:00:00:77").expect("it was given one");
    let network_xml = host.check(["virsh", "net-dumpxml", "--inactive", "net-1"]).stdout;
    let files = [
        "find",
        "/var/lib/miniascape",
        "/etc/miniascape",
        "-type",
        "f",
        "!",
        "-name",
        "leases",
        "-exec",
        "sha256sum",
        "{}",
        "+",
    ];
    let generated = host.check(files).stdout;

    host.lose_power();
    drop(keeper);
    host.remove("/var/log/libvirt/qemu/g-serial.log");
    host.boot();
    // dnsmasq first, as the units have it: it waits for its bridge.
    let keeper = daemon(&host);
    assert!(
        keeper.transcript().contains("ready: 1 networks"),
        "{}",
        keeper.transcript()
    );
    assert_eq!(host.check(["pgrep", "-c", "-x", "dnsmasq"]).text(), "1");
    assert_eq!(host.list_dir("/sys/class/net"), ["lo"]);
    assert_eq!(
        leased(&host, MAC).as_deref(),
        Some(&*before),
        "the lease is not kept"
    );
    host.start_libvirtd();

    // libvirt has started the network, and then the guest, by itself.
    wait_until("the network", PATIENCE, || {
        host.miniascape(["net", "status", "net-1"]).ok()
    });
    wait_until("an answer to a question", PATIENCE, || answers(&host));
    assert_eq!(host.check(["pgrep", "-c", "-x", "dnsmasq"]).text(), "1");
    let mut console = Console::attach(&host, "g");
    let lease = console.wait("LEASE", BOOT_TIMEOUT);
    assert_eq!(lease.value("ip"), before, "another address than before");
    assert_eq!(console.ask("ping 192.168.151.1", "PONG").0, "PONG 192.168.151.1");
    assert_eq!(
        leased(&host, "52:54:00:00:00:77"),
        Some(others),
        "a lease is lost"
    );
    assert_eq!(
        host.check(["virsh", "net-dumpxml", "--inactive", "net-1"]).stdout,
        network_xml
    );
    assert_eq!(host.check(files).stdout, generated);
    let again = host.miniascape_check(["net", "register", "net-1"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");
}

pub(crate) fn what_is_pending_is_done_at_boot() {
    let (mut host, keeper) = host_with_daemon();
    host.write_file(
        "/etc/miniascape/networks/old.yaml",
        definition("old", "10.77.1", "virbr71"),
    );
    host.miniascape_check(["net", "register", "old"]);
    host.stop_libvirtd();
    drop(keeper);
    host.miniascape_check(["net", "register", "net-1"]);
    host.miniascape_check(["net", "unregister", "old"]);
    host.write_file("/etc/miniascape/networks/plain.yaml", plain("plain"));
    host.miniascape_check(["net", "register", "plain"]);
    host.lose_power();
    host.boot();
    // The boot's own run, the one of `miniascape-pending.service`, may come too early. Later it does everything but what
    // needs dnsmasq, which nobody manages yet.
    host.miniascape(["daemon", "--once"]).expect_code(4);
    host.start_libvirtd();
    let once = host.miniascape(["daemon", "--once"]);
    once.expect_code(1);
    for done in ["unregister the network old", "register the network plain"] {
        let told = format!("{}{}", once.stdout, once.stderr);
        assert!(told.contains(&format!("finished pending work: {done}")), "{once}");
    }
    assert_eq!(
        host.list_dir("/var/lib/miniascape/pending"),
        ["network-net-1.json"]
    );
    let keeper = daemon(&host);
    wait_until("what was pending", PATIENCE, || {
        host.list_dir("/var/lib/miniascape/pending").is_empty()
    });
    assert_eq!(host.networks(), ["net-1", "plain"]);
    host.miniascape_check(["net", "status", "net-1"]);
    host.miniascape_check(["net", "status", "plain"]);
    assert!(answers(&host));
    assert!(!host.exists("/var/lib/miniascape/networks/old"));
    let told = keeper.transcript();
    assert!(
        told.contains("finished pending work: register the network net-1"),
        "{told}"
    );
    host.miniascape_check(["daemon", "--once"]);
}
