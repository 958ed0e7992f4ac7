//! `miniascape doctor` on one host that is made sick in every way: each fault is found, the command that is printed is run
//! as it stands, and the finding is gone.

use crate::guests::dhcp_client;
use crate::networks::{NET_1, daemon, definition};
use crate::support::{BusPolicy, Host, HostOptions, Output, poll_for};
use serde_json::Value;
use std::time::Duration;

/// Longer than anything takes that goes on after its command has ended.
const PATIENCE: Duration = Duration::from_secs(15);

fn doctor(host: &Host) -> Output {
    host.miniascape(["doctor", "--format", "json"])
}

/// The findings of a check.
fn found(host: &Host, check: &str) -> Vec<Value> {
    let told = doctor(host);
    let all = told.json()["findings"].as_array().expect("a list").clone();
    assert_eq!(told.code(), Some(i32::from(!all.is_empty())), "{told}");
    all.into_iter()
        .filter(|finding| finding["check"] == check)
        .collect()
}

#[track_caller]
fn well(host: &Host) {
    let last = poll_for(PATIENCE, || doctor(host).ok().then_some(()));
    assert!(last.is_some(), "{}", doctor(host));
}

/// Runs the commands of a check's findings, each as it is printed, until none is left; what was found.
#[track_caller]
fn cure(host: &Host, check: &str) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..8 {
        let Some(finding) = found(host, check).into_iter().next() else {
            assert!(!told.is_empty(), "nothing was found: {}", doctor(host));
            return told;
        };
        let word = |key: &str| finding[key].as_str().expect("a text").to_owned();
        let command = word("command");
        host.check(["sh", "-c", &command]);
        let gone = poll_for(PATIENCE, || {
            (!found(host, check).contains(&finding)).then_some(())
        });
        assert!(gone.is_some(), "`{command}` did not help: {}", doctor(host));
        told.push(format!("{}: {}", word("object"), word("found")));
    }
    panic!("there is no end to it: {told:#?}");
}

/// Makes the fault, cures it, and sees a host that is well again.
#[track_caller]
fn fault(host: &Host, script: &str, check: &str, expected: &[&str]) {
    host.check(["sh", "-ec", script]);
    let told = cure(host, check);
    for words in expected {
        assert!(told.iter().any(|line| line.contains(words)), "{words}: {told:#?}");
    }
    well(host);
}

pub(crate) fn every_fault_is_found_and_its_command_cures_it() {
    let mut host = Host::start(HostOptions::default().bus_policy(BusPolicy::Distribution));
    host.write_file("/etc/miniascape/networks/net-1.yaml", NET_1);
    let open = definition("open", "10.77.1", "virbr77").replace("mode: isolated", "mode: open");
    host.write_file("/etc/miniascape/networks/open.yaml", open);

    // Nothing is registered yet, and nothing can be: dnsmasq may not have its names.
    let keeper = daemon(&host);
    assert!(!host.miniascape(["net", "register", "net-1"]).ok());
    cure(&host, "bus-policy");
    host.miniascape_check(["net", "register", "net-1"]);
    host.miniascape_check(["net", "register", "open"]);
    well(&host);

    fault(
        &host,
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        "forwarding",
        &["forwards no IPv4 packets"],
    );
    let kept = host.read_file("/etc/sysctl.d/60-miniascape-ipv4.conf");
    assert_eq!(kept.trim(), "net.ipv4.ip_forward = 1");
    firewalls(&host);
    servers(&host);

    // A machine that was there once.
    let client = dhcp_client(&host, "virbr151", "52:54:00:99:00:01", "stranger");
    assert!(client.ok(), "{client}");
    fault(&host, "true", "leases", &["is leased to 52:54:00:99:00:01"]);

    host.check(["virsh", "net-autostart", "net-1", "--disable"]);
    fault(
        &host,
        "true",
        "networks",
        &["net-1: libvirt does not start the network at boot"],
    );

    host.check(["touch", "/dev/kvm"]);
    let kvm = found(&host, "kvm");
    assert!(kvm.len() == 1 && kvm[0]["object"] == "/dev/kvm", "{kvm:?}");
    host.remove("/dev/kvm");

    // Little room, and most of it taken by what can be had again.
    let images = "/var/lib/libvirt/images/miniascape";
    let crowded = format!(
        "mkdir -p {images}; mount -t tmpfs -o size=8m tmpfs {images}; mkdir {images}/apt /var/cache/apt/archives -p
         mount --bind {images}/apt /var/cache/apt/archives; mkdir -p {images}/apt/partial
         head -c 7340032 /dev/zero >{images}/apt/x_1_all.deb"
    );
    fault(&host, &crowded, "space", &["MiB are left of 8 MiB"]);

    nothing_runs(&mut host, keeper);
}

fn firewalls(host: &Host) {
    fault(
        host,
        "iptables -F; iptables -t nat -F",
        "firewall",
        &["net-1: libvirt's firewall rules for virbr151 are gone"],
    );
    // As Docker leaves it.
    fault(
        host,
        "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER
         iptables -P FORWARD DROP",
        "firewall",
        &["open: Docker has set the policy of iptables' chain FORWARD to DROP"],
    );
    let rules = host.check(["iptables", "-S", "DOCKER-USER"]).stdout;
    assert!(rules.contains("-A DOCKER-USER -i virbr77 -j ACCEPT"), "{rules}");
    fault(
        host,
        "iptables -A INPUT -i lo -j ACCEPT; iptables -P INPUT DROP",
        "firewall",
        &["open: iptables' chain INPUT drops"],
    );
    fault(
        host,
        "nft 'table inet mine {
            chain forward { type filter hook forward priority 0; policy drop; }
            chain input { type filter hook input priority 0; policy accept; iifname \"lo\" accept; reject; }
         }'",
        "firewall",
        &[
            "net-1: the nftables chain inet mine forward",
            "open: the nftables chain inet mine forward",
            "open: the nftables chain inet mine input",
        ],
    );
    // What was opened is enough for a machine to get its address.
    let client = dhcp_client(host, "virbr77", "52:54:00:00:00:01", "one");
    assert!(client.ok(), "{client}");
    host.check(["nft", "delete", "table", "inet", "mine"]);
}

fn servers(host: &Host) {
    // Somebody else's server has the port everywhere, in the moment in which ours is gone.
    fault(
        host,
        "kill -9 $(pgrep -x dnsmasq); for try in 1 2 3 4 5 6 7 8 9; do
            dnsmasq --conf-file=/dev/null --no-resolv --pid-file=/run/other.pid && exit; done; exit 1",
        "port53",
        &["port 53 at 192.168.151.1, where its dnsmasq is to answer, belongs to dnsmasq"],
    );
    let entry = "<host mac='52:54:00:aa:bb:01' ip='192.168.151.5'/>";
    host.check([
        "virsh",
        "net-update",
        "net-1",
        "add",
        "ip-dhcp-host",
        entry,
        "--live",
        "--config",
    ]);
    fault(
        host,
        "true",
        "dhcp",
        &["net-1: libvirt runs a dnsmasq of its own beside ours"],
    );
    assert!(host.exists("/var/lib/miniascape/networks/net-1/hosts.d/adopted.yaml"));
}

/// libvirt and the daemon are away, and work waits for them.
fn nothing_runs(host: &mut Host, keeper: crate::support::Running) {
    host.write_file(
        "/etc/miniascape/networks/late.yaml",
        "network: { name: late, mode: isolated, bridge: virbr78, ipv4: { subnet: 10.77.2.0/24 }, dns: { serve: false } }\n",
    );
    drop(keeper);
    host.check(["sh", "-c", "kill -9 $(pgrep -x libvirtd)"]);
    host.stop_libvirtd();
    host.miniascape_check(["net", "register", "late"]);
    let text = host.miniascape(["doctor"]);
    text.expect_code(1);
    assert!(
        text.stdout.starts_with("CHECK") && text.stdout.contains("\n    libvirtd --daemon\n"),
        "{text}"
    );
    cure(host, "libvirt");
    assert_eq!(cure(host, "pending").len(), 1);
    cure(host, "services");
    well(host);
    // Anyone may ask, and is told what only root can look at.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let told = host.run(nobody.into_iter().chain(["miniascape", "doctor"]));
    told.expect_code(0);
    assert!(
        told.stdout
            .contains("not looked at: firewall: only root may see the rules"),
        "{told}"
    );
}
