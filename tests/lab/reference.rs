//! The reference networks, all at once, and definitions in the form of the first releases, on a real libvirt.

use crate::guests::dhcp_client;
use crate::networks::host_with_daemon;
use crate::support::Host;

const FILE: &str = "/etc/miniascape/networks/old-1.yaml";

fn resolves(host: &Host, name: &str, server: &str, address: &str) -> bool {
    let answer = host.run(["busybox", "nslookup", name, server]);
    answer.stdout.contains(&format!("Address: {address}\n"))
}

pub(crate) fn the_reference_networks_live_side_by_side() {
    let (host, _daemon) = host_with_daemon();
    for (name, text, least) in [
        ("net-1", include_str!("../../networks/net-1.yaml"), 130),
        ("net-2", include_str!("../../networks/net-2.yaml"), 70),
        ("net-3", include_str!("../../networks/net-3.yaml"), 50),
    ] {
        host.write_file(format!("/etc/miniascape/networks/{name}.yaml"), text);
        let valid = host
            .miniascape_check(["net", "validate", name, "--format", "json"])
            .json();
        let count = valid["hosts"]["definition"].as_u64().expect("a number");
        assert!(count >= least, "{name}: {valid}");
        assert_eq!(valid["warnings"], serde_json::json!([]), "{name}");
        let registered = host.miniascape_check(["net", "register", name]);
        assert!(!registered.stderr.contains("warning"), "{registered}");
    }
    for number in 1..=3 {
        let name = format!("net-{number}");
        host.miniascape_check(["net", "status", &name]);
        let xml = host.check(["virsh", "net-dumpxml", &name]).stdout;
        assert_eq!(xml.contains("<forward"), number == 1, "{xml}");
        let (host_name, last, mac) = if number == 3 {
            ("debian-12-guest-1", 100, "01:00")
        } else {
            ("service-1", 10, "00:10")
        };
        let [server, address] = [1, last].map(|last| format!("192.168.{}.{last}", 150 + number));
        let full = format!("{host_name}.{name}.internal");
        assert!(resolves(&host, &full, &server, &address), "{full}");
        let (bridge, mac) = (
            format!("virbr{}", 150 + number),
            format!("52:54:00:0{number}:{mac}"),
        );
        let leased = dhcp_client(&host, &bridge, &mac, "x");
        assert!(
            leased.stderr.contains(&format!("lease of {address} obtained")),
            "{leased}"
        );
    }
    let update = host.miniascape_check(["net", "update", "--all", "--format", "json"]);
    assert!(
        !update.stdout.contains("\"changed\":true") && !update.stdout.contains("\"changed\": true"),
        "{update}"
    );
}

/// With every trap of that form: MAC addresses as YAML 1.1 writers left them, the old prefix, a number for a switch, a
/// key without a value.
const OLD: &str = "# as it was
network:
  name: old-1
  forward:
  bridge: virbr71
  domain: old-1.internal
  gateway: 192.168.171.1
  netmask: 255.255.255.0
  libvirt_network_dhcp_enabled: '1'   # by libvirt then
  dhcp_start: 192.168.171.200
  dhcp_end: 192.168.171.254
  hosts:
    # by role
    - hwaddr: 54:52:00:01:00:10
      ip: 192.168.171.10
      name: service-0
    - {hwaddr: 42664323611, ip: 192.168.171.11, name: service-1}
";

pub(crate) fn a_definition_of_the_first_releases_is_served_and_rewritten() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, OLD);
    let shown = host
        .miniascape_check(["net", "show", "old-1", "--format", "json"])
        .json();
    assert_eq!(
        (&shown["form"], &shown["network"]["mode"]),
        (&"original".into(), &"isolated".into())
    );
    let registered = host.miniascape_check(["net", "register", "old-1"]);
    for told in [
        "DHCP is served beside libvirt now",
        "a YAML writer has made a number of the MAC address 54:52:00:01:00:11",
        "54:52:00 is not a prefix for virtual machines (2 entries)",
    ] {
        assert!(registered.stderr.contains(told), "{told}: {registered}");
    }
    for last in [10, 11] {
        let address = format!("192.168.171.{last}");
        assert!(resolves(
            &host,
            &format!("service-{}.old-1.internal", last - 10),
            "192.168.171.1",
            &address
        ));
        let leased = dhcp_client(&host, "virbr71", &format!("54:52:00:01:00:{last}"), "x");
        assert!(
            leased.stderr.contains(&format!("lease of {address} obtained")),
            "{leased}"
        );
    }
    // In the present form it is the same network, with what was said in it.
    host.miniascape(["net", "import", FILE]).expect_code(3);
    assert_eq!(host.read_file(FILE), OLD);
    host.miniascape_check(["net", "import", FILE, "--force"]);
    let new = host.read_file(FILE);
    for part in [
        "# as it was\n",
        "# by libvirt then\n",
        "# by role\n",
        "mac: \"54:52:00:01:00:11\"",
    ] {
        assert!(new.contains(part), "{part}: {new}");
    }
    let update = host.miniascape_check(["net", "update", "old-1", "--format", "json"]);
    assert_eq!(update.json()["changed"], false, "{update}");
}
