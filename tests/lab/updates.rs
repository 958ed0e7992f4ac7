//! Changing registered networks while guests run.

use crate::networks::{daemon, host_with_daemon};
use crate::support::guest::{self, BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{DhcpClient, Host, note, wait_until};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const FILE: &str = "/etc/miniascape/networks/lab.yaml";

/// A definition with a subnet, more lines, and `hosts`.
fn lab_with(subnet: &str, more: &str, hosts: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "network:\n  name: lab\n  mode: nat\n  bridge: virbr66\n  domain: lab.internal\n  \
         ipv4: {{ subnet: {subnet}.0/24 }}\n  {more}\n  hosts:\n"
    );
    for (name, mac, last) in hosts {
        writeln!(
            text,
            "    - {{ name: {name}, mac: \"{mac}\", ip: {subnet}.{last} }}"
        )
        .expect("a String takes everything");
    }
    text
}

/// What is served by DHCP.
fn dhcp(subnet: &str, options: &str) -> String {
    format!(
        "dhcp: {{ ranges: [ {{ start: {subnet}.100, end: {subnet}.199 }} ], lease_time: 1h, options: [ {options} ] }}"
    )
}

/// A definition with `hosts` and a subnet.
fn lab(subnet: &str, hosts: &[(&str, &str, &str)]) -> String {
    lab_with(subnet, &dhcp(subnet, ""), hosts)
}

const GUEST: (&str, &str, &str) = ("guest", "52:54:00:00:00:66", "66");

pub(crate) fn start_guest(host: &Host) -> Console {
    DiskSpec::new("m").hostname("guest").make(host, "/srv/g.qcow2");
    guest::create(
        host,
        "g",
        "/srv/g.qcow2",
        &["--network", "lab,mac=52:54:00:00:00:66"],
    );
    host.miniascape_check(["guest", "start", "g", "--wait", "lease"]);
    let mut console = Console::attach(host, "g");
    console.wait_ready();
    console
}

/// The steps that an update took.
fn update(host: &Host) -> Vec<String> {
    let report = host.miniascape_check(["net", "update", "lab", "--format", "json"]);
    let steps = report.json()["steps"].clone();
    serde_json::from_value(steps).unwrap_or_else(|error| panic!("{error}: {report}"))
}

/// What the network's dnsmasq answers.
fn resolve(host: &Host, kind: &str, name: &str) -> String {
    let kind = format!("-type={kind}");
    host.run(["busybox", "nslookup", &kind, name, "10.66.6.1"]).stdout
}

pub(crate) fn two_hundred_changes_reach_dnsmasq_and_no_ping_is_lost() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, lab("10.66.6", &[GUEST]));
    host.miniascape_check(["net", "register", "lab"]);
    let mut console = start_guest(&host);
    let mut client = DhcpClient::plug(&host, "virbr66", "c");
    let dnsmasq = host.check(["pgrep", "-x", "dnsmasq"]).stdout;
    let bridge = host.read_file("/sys/class/net/virbr66/address");
    // The guest pings the gateway ten times a second, for as long as the changes take.
    console.send("run ping -i 0.1 10.66.6.1 >/tmp/ping &");
    let (mut hosts, mut records, mut clock) = (VecDeque::new(), VecDeque::new(), 1);
    let mut ways = BTreeSet::new();
    for change in 0..200_u8 {
        let last = (2 + change % 60).to_string();
        let name = format!("n{change}");
        // Some are taken away when others come.
        if change % 3 == 0 && hosts.len() > 2 {
            hosts.pop_front();
            records.pop_front();
        }
        match change % 4 {
            0 => hosts.push_back((name.clone(), format!("52:54:00:01:00:{change:02x}"), last.clone())),
            1 => clock = change,
            2 => records.push_back(format!("{{ name: {name}, ip: 10.66.6.{last} }}")),
            _ => records.push_back(format!("{{ name: {name}, ip: \"fd66::{last}\" }}")),
        }
        let text: Vec<&str> = records.iter().map(String::as_str).collect();
        let more = format!(
            "dns: {{ records: [ {} ] }}\n  {}",
            text.join(", "),
            dhcp(
                "10.66.6",
                &format!("{{ option: ntp-server, value: 10.66.6.{clock} }}")
            )
        );
        let lines = hosts
            .iter()
            .map(|(name, mac, last)| (name.as_str(), mac.as_str(), last.as_str()));
        let all: Vec<_> = std::iter::once(GUEST).chain(lines).collect();
        host.write_file(FILE, lab_with("10.66.6", &more, &all));
        ways.extend(update(&host));
        let full = format!("{name}.lab.internal");
        match change % 4 {
            0 => {
                let answer = resolve(&host, "a", &full);
                assert!(
                    answer.contains(&format!("Address: 10.66.6.{last}\n")),
                    "change {change}: {answer}"
                );
                let offer = client.offer(&format!("52:54:00:01:00:{change:02x}"));
                let ip = offer.map(|offer| offer.ip.to_string());
                assert_eq!(
                    ip.as_deref(),
                    Some(format!("10.66.6.{last}").as_str()),
                    "change {change}"
                );
            }
            1 => {
                let offer = client
                    .offer("52:54:00:00:00:99")
                    .expect("an address of the range");
                assert_eq!(offer.options[&42], [10, 66, 6, change], "change {change}");
            }
            2 => {
                let answer = resolve(&host, "a", &full);
                assert!(
                    answer.contains(&format!("Address: 10.66.6.{last}\n")),
                    "change {change}: {answer}"
                );
            }
            _ => {
                let answer = resolve(&host, "aaaa", &full);
                assert!(
                    answer.contains(&format!("Address: fd66::{last}\n")),
                    "change {change}: {answer}"
                );
            }
        }
    }
    assert_eq!(
        Vec::from_iter(&ways),
        ["add-hosts", "reload-dnsmasq", "write-files"]
    );
    assert_eq!(
        host.check(["pgrep", "-x", "dnsmasq"]).stdout,
        dnsmasq,
        "another dnsmasq"
    );
    assert_eq!(host.read_file("/sys/class/net/virbr66/address"), bridge);
    console.send("run killall -INT ping; sleep 1; echo PINGED $(grep transmitted /tmp/ping)");
    let pinged = console.wait("PINGED", Duration::from_secs(90)).0;
    assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    let again = host.miniascape_check(["net", "update", "lab"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");
}

pub(crate) fn hosts_that_come_are_taken_in_and_leave_no_trace_when_they_go() {
    const NEW: (&str, &str, &str) = ("new", "52:54:00:00:00:67", "67");
    let dir = "/var/lib/miniascape/networks/lab/added";
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, lab("10.66.6", &[GUEST]));
    host.miniascape_check(["net", "register", "lab"]);
    let mut client = DhcpClient::plug(&host, "virbr66", "c");
    let mut known = |address: Option<&str>| {
        let answer = resolve(&host, "a", "new.lab.internal");
        let answers: Vec<&str> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("Address: "))
            .collect();
        assert_eq!(answers, Vec::from_iter(address), "{answer}");
        if let Some(address) = address {
            let answer = host.run(["busybox", "nslookup", address, "10.66.6.1"]).stdout;
            assert_eq!(answer.matches("name = new.lab.internal").count(), 1, "{answer}");
        }
        let offer = client.offer(NEW.1).expect("there is a range").ip.to_string();
        assert_eq!(
            address.is_some_and(|address| address == offer),
            address.is_some(),
            "{offer}"
        );
        if address.is_none() {
            assert!(offer != "10.66.6.67" && offer != "10.66.6.68", "{offer}");
        }
    };
    let to = |hosts: &[(&str, &str, &str)], step: &str| {
        host.write_file(FILE, lab("10.66.6", hosts));
        assert_eq!(update(&host), ["write-files", step]);
    };
    let files = || host.check(["find", dir, "-type", "f"]).stdout.lines().count();
    to(&[GUEST, NEW], "add-hosts");
    known(Some("10.66.6.67"));
    assert_eq!(files(), 2);
    // A dnsmasq that starts anew finds everything twice.
    let pid = host.check(["pgrep", "-x", "dnsmasq"]).stdout;
    host.check(["kill", "-9", pid.trim()]);
    wait_until("another dnsmasq", PATIENCE, || {
        resolve(&host, "a", "new.lab.internal").contains("10.66.6.67")
    });
    known(Some("10.66.6.67"));
    // It moves, it goes, it comes back.
    to(&[GUEST, ("new", NEW.1, "68")], "reload-dnsmasq");
    known(Some("10.66.6.68"));
    assert_eq!(files(), 0);
    to(&[GUEST], "reload-dnsmasq");
    known(None);
    to(&[GUEST, NEW], "add-hosts");
    known(Some("10.66.6.67"));
    // Names that were there all the time stay.
    to(&[NEW], "reload-dnsmasq");
    known(Some("10.66.6.67"));
    assert_eq!(files(), 0);
    // A dnsmasq that takes no notice reads everything again.
    host.check([
        "sh",
        "-c",
        &format!("mv {dir} {dir}-old && mkdir -p {dir}/names {dir}/reservations && rm -r {dir}-old"),
    ]);
    to(&[NEW, GUEST], "add-hosts");
    assert!(resolve(&host, "a", "guest.lab.internal").contains("Address: 10.66.6.66\n"));
    assert_eq!(files(), 0);
    host.miniascape_check(["net", "unregister", "lab"]);
    assert!(!host.exists("/var/lib/miniascape/networks/lab"));
}

pub(crate) fn other_records_restart_dnsmasq_once_and_every_renewal_is_answered() {
    const CLIENT: (&str, &str, &str) = ("client", "52:54:00:00:00:77", "77");
    let (host, daemon) = host_with_daemon();
    host.write_file(FILE, lab("10.66.6", &[GUEST, CLIENT]));
    host.miniascape_check(["net", "register", "lab"]);
    let mut client = DhcpClient::plug(&host, "virbr66", "c");
    assert_eq!(client.take(CLIENT.1).to_string(), "10.66.6.77");
    client.begin_renewing();
    let starts = || daemon.transcript().matches("dnsmasq started").count();
    let before = starts();
    let mut records = Vec::new();
    let changes = [
        (
            "{ cname: www, target: guest }",
            "cname",
            "www.lab.internal",
            "guest.lab.internal",
        ),
        (
            "{ srv: _ldap._tcp, target: guest, port: 389 }",
            "srv",
            "_ldap._tcp.lab.internal",
            "389 guest.lab.internal",
        ),
        (
            "{ txt: _dmarc, text: \"v=DMARC1\" }",
            "txt",
            "_dmarc.lab.internal",
            "v=DMARC1",
        ),
        (
            "{ ptr: 10.66.6.70, name: apps }",
            "ptr",
            "70.6.66.10.in-addr.arpa",
            "apps.lab.internal",
        ),
        (
            "{ wildcard: apps, ip: 10.66.6.71 }",
            "a",
            "any.apps.lab.internal",
            "Address: 10.66.6.71",
        ),
    ];
    for (change, (record, kind, name, answer)) in changes.into_iter().enumerate() {
        records.push(record);
        let more = format!(
            "dns: {{ records: [ {} ] }}\n  {}",
            records.join(", "),
            dhcp("10.66.6", "")
        );
        host.write_file(FILE, lab_with("10.66.6", &more, &[GUEST, CLIENT]));
        assert_eq!(update(&host), ["write-files", "restart-dnsmasq"], "{record}");
        assert_eq!(starts(), before + change + 1, "{record}");
        let said = resolve(&host, kind, name);
        assert!(said.contains(answer), "{record}: {said}");
    }
    // A few more, with nothing in their way.
    std::thread::sleep(Duration::from_secs(1));
    let renewals = client.end_renewing();
    note(format_args!(
        "renewals through five restarts of dnsmasq: {renewals:?}"
    ));
    assert!(renewals.answered > 15 && renewals.lost == 0, "{renewals:?}");
}

pub(crate) fn another_subnet_and_another_bridge_replug_running_guests() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, lab("10.66.6", &[GUEST]));
    host.miniascape_check(["net", "register", "lab"]);
    let mut console = start_guest(&host);
    let pid = host.check(["pgrep", "-f", "guest=g,"]).stdout;
    host.write_file(FILE, lab("10.66.7", &[GUEST]));
    let refused = host.miniascape(["net", "register", "lab"]);
    refused.expect_code(3);
    let plan = host.miniascape_check(["net", "update", "lab", "--dry-run", "--format", "json"]);
    assert_eq!(
        plan.json()["steps"],
        serde_json::json!([
            "write-files",
            "define",
            "stop",
            "start",
            "restart-dnsmasq",
            "replug"
        ])
    );
    host.miniascape_check(["net", "update", "lab"]);
    // The guest's link went down and up, so it asked again.
    let lease = console.wait("LEASE", BOOT_TIMEOUT);
    let lease = if lease.value("ip") == "10.66.6.66" {
        console.wait("LEASE", BOOT_TIMEOUT)
    } else {
        lease
    };
    assert_eq!(lease.value("ip"), "10.66.7.66");
    assert_eq!(console.ask("ping 10.66.7.1", "PONG").0, "PONG 10.66.7.1");
    assert_eq!(
        host.check(["pgrep", "-f", "guest=g,"]).stdout,
        pid,
        "the guest was restarted"
    );
    // Another bridge.
    host.write_file(FILE, lab("10.66.7", &[GUEST]).replace("virbr66", "virbr67"));
    assert_eq!(
        update(&host),
        [
            "write-files",
            "define",
            "stop",
            "start",
            "restart-dnsmasq",
            "replug"
        ]
    );
    assert_eq!(console.wait("LEASE", BOOT_TIMEOUT).value("ip"), "10.66.7.66");
    assert_eq!(console.ask("ping 10.66.7.1", "PONG").0, "PONG 10.66.7.1");
    assert!(!host.exists("/sys/class/net/virbr66"));
    let plugs = host.check(["virsh", "dumpxml", "g"]).stdout;
    assert!(plugs.contains("bridge='virbr67'"), "{plugs}");
    others_unplug_it(&host, &mut console);
    assert_eq!(
        host.check(["pgrep", "-f", "guest=g,"]).stdout,
        pid,
        "the guest was restarted"
    );
}

/// libvirt, told to stop and start the network, and people take the guest's tap out of its bridge: that is found, and
/// mended by the command that is told.
fn others_unplug_it(host: &Host, console: &mut Console) {
    for (script, found) in [
        (
            "virsh net-destroy lab; virsh net-start lab",
            "guests are not plugged into virbr67: vnet0 of g",
        ),
        (
            "ip link add other type bridge; ip link set vnet0 master other",
            "guests are not plugged into virbr67: vnet0 of g, which is in other",
        ),
    ] {
        host.check(["sh", "-ec", script]);
        let status = host.miniascape(["net", "status", "lab"]);
        status.expect_code(1);
        let advice = format!("problem    {found}: `miniascape net update lab` puts that right\n");
        assert!(status.stdout.contains(&advice), "{status}");
        let diff = host.miniascape_check(["net", "diff", "lab"]).stdout;
        assert!(diff.contains(found) && diff.contains("re-plug"), "{diff}");
        let told = host.miniascape(["doctor", "--format", "json"]).json();
        let findings = told["findings"].as_array().expect("a list");
        let finding = findings.iter().find(|finding| finding["found"] == found);
        let finding = finding.unwrap_or_else(|| panic!("{told:#}"));
        assert_eq!(
            (&finding["check"], &finding["object"]),
            (&"networks".into(), &"lab".into())
        );
        let command = finding["command"].as_str().expect("a text");
        let done = host.check(["sh", "-c", command]).stdout;
        assert_eq!(done, "lab updated: plug running guests in again\n");
        // Its link went down and up, so it asked again.
        assert_eq!(console.wait("LEASE", BOOT_TIMEOUT).value("ip"), "10.66.7.66");
        assert_eq!(console.ask("ping 10.66.7.1", "PONG").0, "PONG 10.66.7.1");
        host.miniascape_check(["net", "status", "lab"]);
    }
}

/// Refuses to start a network with the addresses 10.66.8.*, as a host's own hook may.
const HOOK: &str = "#!/bin/sh\nif [ \"$1 $2\" = 'lab start' ] && grep -q 10.66.8.; then echo '10.66.8.0/24 is for others' >&2; exit 1; fi\n";

pub(crate) fn an_update_that_fails_is_taken_back() {
    let (mut host, _daemon) = host_with_daemon();
    host.write_file("/etc/libvirt/hooks/network", HOOK);
    host.check(["chmod", "755", "/etc/libvirt/hooks/network"]);
    // libvirt looks for hooks at its start only.
    host.stop_libvirtd();
    host.start_libvirtd();
    let old = lab("10.66.6", &[GUEST]);
    host.write_file(FILE, &old);
    host.miniascape_check(["net", "register", "lab"]);
    let mut console = start_guest(&host);
    // Everything but dnsmasq's process, its leases, which go on, and libvirt's count of plugs, which it begins anew with
    // every start of a network.
    let state = || {
        host.check([
            "sh",
            "-c",
            "virsh net-dumpxml lab | sed \"s/ connections='1'//\"; virsh net-dumpxml --inactive lab; virsh -q net-list --all; cat /sys/class/net/virbr66/address
             ip -o addr show dev virbr66 | sed 's/^[0-9]*: //'; ls /sys/class/net/virbr66/brif
             cd /var/lib/miniascape; find . /run/miniascape -printf '%y %m %p\\n' | sort; find . -type f ! -name leases -exec sha256sum {} + | sort -k2",
        ])
        .stdout
    };
    let before = state();
    assert!(before.contains("vnet0"), "{before}");
    console.wait("LEASE", BOOT_TIMEOUT);
    let mut put_back = |why: &str, code: i32, said: &str, replugged: bool| {
        let failed = host.miniascape(["net", "update", "lab"]);
        failed.expect_code(code);
        assert!(
            failed.stderr.contains(said) && failed.stderr.contains("was put back to what it was"),
            "{why}: {failed}"
        );
        assert_eq!(state(), before, "{why}");
        host.miniascape_check(["net", "status", "lab"]);
        if replugged {
            // Its link went down and up, so it asked again.
            assert_eq!(
                console.wait("LEASE", BOOT_TIMEOUT).value("ip"),
                "10.66.6.66",
                "{why}"
            );
        }
        assert_eq!(console.ask("ping 10.66.6.1", "PONG").0, "PONG 10.66.6.1", "{why}");
    };
    // libvirt stops the network and cannot start it again.
    host.write_file(FILE, lab("10.66.8", &[GUEST]));
    put_back(
        "a hook",
        1,
        "lab.yaml:6:19: libvirt could not start the network lab: ",
        true,
    );
    // dnsmasq does not take what the host's own template makes.
    let own = format!(
        "{}\nenable-tftp\ntftp-root=/srv/nowhere\n",
        include_str!("../../data/templates/dnsmasq.conf")
    );
    host.write_file("/etc/miniascape/templates/dnsmasq.conf", own);
    host.write_file(FILE, &old);
    put_back("a template", 1, "/srv/nowhere", false);
    host.remove("/etc/miniascape/templates/dnsmasq.conf");
    // Nor libvirt, which has changed nothing then.
    let own = include_str!("../../data/templates/network.xml").replace(
        "</network>\n",
        "<bandwidth><inbound average='quick'/></bandwidth></network>\n",
    );
    host.write_file("/etc/miniascape/templates/network.xml", own);
    let said = "lab.yaml:2:9: libvirt could not define the network lab: ";
    put_back("libvirt", 2, said, false);
    host.write_file(
        "/etc/miniascape/networks/other.yaml",
        old.replace("lab", "other")
            .replace("10.66.6", "10.66.5")
            .replace("virbr66", "virbr65"),
    );
    let refused = host.miniascape(["net", "register", "other"]);
    refused.expect_code(2);
    assert!(
        refused
            .stderr
            .contains("other.yaml:2:9: libvirt could not define the network other: "),
        "{refused}"
    );
    assert_eq!(state(), before);
    host.remove("/etc/miniascape/networks/other.yaml");
    host.remove("/etc/miniascape/templates/network.xml");
    // What can be seen before is refused before: another interface of the host has the new subnet.
    host.check([
        "sh",
        "-c",
        "ip link add other type bridge && ip addr add 10.66.9.1/24 dev other && ip link set other up",
    ]);
    host.write_file(FILE, lab("10.66.9", &[GUEST]));
    let refused = host.miniascape(["net", "update", "lab"]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("10.66.9.0/24 overlaps"), "{refused}");
    assert_eq!(state(), before);
}

pub(crate) fn an_update_without_a_daemon_changes_nothing() {
    let (host, running) = host_with_daemon();
    host.write_file(FILE, lab("10.66.6", &[GUEST]));
    host.miniascape_check(["net", "register", "lab"]);
    drop(running);
    let files = host.read_file("/var/lib/miniascape/networks/lab/addn-hosts");
    host.write_file(FILE, lab("10.66.6", &[GUEST, ("new", "52:54:00:00:00:67", "67")]));
    host.miniascape(["net", "update", "lab"]).expect_code(4);
    assert_eq!(
        host.read_file("/var/lib/miniascape/networks/lab/addn-hosts"),
        files
    );
    let _daemon = daemon(&host);
    host.miniascape_check(["net", "update", "lab"]);
    wait_until("the new host", PATIENCE, || {
        host.run(["busybox", "nslookup", "new.lab.internal", "10.66.6.1"])
            .stdout
            .contains("Address: 10.66.6.67\n")
    });
}
