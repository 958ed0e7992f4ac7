//! What a packaged guest brings into the networks of the host that it is installed on.

use crate::guests::dhcp_client;
use crate::networks::definition;
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
    kind.install(&host, "/root/packages/*");
    assert_eq!(host.list_dir(HOSTS), ["web.yaml", "web2.yaml"]);
    host.write_file(FILE, definition("net-1", "192.168.151", "virbr151"));
    let registered = host.miniascape_check(["net", "register", "net-1"]);
    assert!(!registered.stderr.contains("warning"), "{registered}");
    assert!(is_known(&host), "{registered}{}", lookup(&host));
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

    // What people have given to somebody else is not taken from him; the guest is registered all the same.
    kind.remove(&host, "vm-web");
    let others = definition("net-1", "192.168.151", "virbr151").replace("192.168.151.11", ADDRESS);
    host.write_file(FILE, others);
    host.miniascape_check(["net", "update", "net-1"]);
    let installed = kind.install(&host, "/root/packages/vm-web_*");
    let told = format!("web has no reservation in net-1: {HOSTS}/web.yaml:3");
    assert!(
        installed.stdout.contains("web registered") && installed.stderr.contains(&told),
        "{installed}"
    );
    assert_eq!(shown(&host), None);
    for package in ["vm-web", "vm-web2"] {
        kind.remove(&host, package);
    }
    assert!(!host.exists(HOSTS));
}
