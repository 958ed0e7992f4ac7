//! `net diff` and drift on a host with a real libvirt.

use crate::networks::host_with_daemon;
use crate::support::Host;
use crate::support::guest::BOOT_TIMEOUT;
use crate::updates::start_guest;

const FILE: &str = "/etc/miniascape/networks/lab.yaml";

const LAB: &str = r#"network:
  name: lab
  title: A lab
  mode: nat
  bridge: virbr66
  domain: lab.internal
  ipv4: { subnet: 10.66.6.0/24 }
  dns:
    records:
      - { name: www, ip: 10.66.6.5 }
      - { cname: web, target: a }
  dhcp: { ranges: [ { start: 10.66.6.100, end: 10.66.6.199 } ], lease_time: 1h }
  hosts:
    - { name: a, mac: "52:54:00:00:00:66", ip: 10.66.6.66 }
"#;

/// A change of the text, and what it is said to interrupt.
#[rustfmt::skip]
const CHANGES: [(&str, &str, &str); 11] = [
    ("A lab", "My lab", "live"),
    ("mode: nat", "mode: routed", "re-plug"),
    ("virbr66", "virbr67", "re-plug"),
    ("lab.internal", "lab.example", "dnsmasq restart"),
    ("ip: 10.66.6.5 ", "ip: 10.66.6.6 ", "live"),
    ("target: a", "target: www", "dnsmasq restart"),
    ("6.199", "6.198", "dnsmasq restart"),
    ("time: 1h", "time: 2h, options: [ { option: mtu, value: 1400 } ]", "dnsmasq restart"),
    ("time: 1h", "time: 1h, options: [ { option: mtu, value: 1400 } ]", "lease renew"),
    ("ip: 10.66.6.66", "ip: 10.66.6.67", "lease renew"),
    ("  hosts:\n", "  hosts:\n    - { name: b, mac: \"52:54:00:00:00:67\", ip: 10.66.6.67 }\n", "live"),
];

fn impacts(host: &Host) -> Vec<String> {
    let diff = host.miniascape_check(["net", "diff", "lab", "--format", "json"]);
    let value = diff.json();
    let lines = value["lines"].as_array().expect("lines");
    lines
        .iter()
        .map(|line| line["impact"].as_str().expect("an impact").to_owned())
        .collect()
}

/// What these steps of an update interrupt, most of all.
fn worst(steps: &serde_json::Value) -> &'static str {
    let has = |step: &str| {
        let steps = steps.as_array().expect("steps");
        steps.iter().any(|other| other == step)
    };
    if has("stop") {
        "re-plug"
    } else if has("restart-dnsmasq") {
        "dnsmasq restart"
    } else {
        "live"
    }
}

pub(crate) fn changes_are_told_as_an_update_makes_them() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, LAB);
    let unknown = host.miniascape(["net", "diff", "lab", "--exit-code"]);
    unknown.expect_code(1);
    assert!(unknown.stdout.contains("lab: not registered"), "{unknown}");
    host.miniascape_check(["net", "register", "lab"]);
    let same = host.miniascape_check(["net", "diff", "--all", "--exit-code"]);
    assert_eq!(same.stdout, "lab: no difference\n");
    for (from, to, impact) in CHANGES {
        host.write_file(FILE, LAB.replace(from, to));
        let told = impacts(&host);
        let plan = host.miniascape_check(["net", "update", "lab", "--dry-run", "--format", "json"]);
        let worst = worst(&plan.json()["steps"]);
        assert!(told.contains(&impact.to_owned()), "{from} -> {to}: {told:?}");
        let agree = impact == worst || (impact, worst) == ("lease renew", "live");
        assert!(agree, "{from} -> {to}: {told:?} and {plan}");
    }
    let differs = host.miniascape(["net", "diff", "lab", "--exit-code"]);
    differs.expect_code(1);
    assert!(differs.stdout.contains("lab.yaml:14\n"), "{differs}");
    host.miniascape_check(["net", "update", "lab"]);
    assert_eq!(impacts(&host), [""; 0]);
    // A record of an earlier version.
    host.remove("/var/lib/miniascape/networks/lab/applied-network.json");
    let old = host.miniascape_check(["net", "diff", "lab"]);
    assert!(old.stdout.contains("kept no copy"), "{old}");
    host.miniascape_check(["net", "update", "lab"]);
    assert!(host.exists("/var/lib/miniascape/networks/lab/applied-network.json"));
    host.miniascape_check(["net", "unregister", "lab"]);
    assert!(!host.exists("/var/lib/miniascape/networks/lab"));
}

/// A definition in that mode.
fn mode(name: &str, last: u8, rest: &str) -> String {
    format!(
        "network:\n  name: {name}\n  domain: {name}.internal\n  ipv4: {{ subnet: 10.67.{last}.0/24, gateway: 10.67.{last}.1 }}\n  {rest}\n"
    )
}

pub(crate) fn no_mode_drifts_by_itself() {
    let (mut host, _daemon) = host_with_daemon();
    host.check(["ip", "link", "add", "br0", "type", "bridge"]);
    let v6 = |last: u8| format!("ipv6: {{ subnet: \"fd00:67:{last}::/64\" }}");
    let all = [
        (
            "nat",
            mode(
                "nat",
                1,
                &format!("mode: nat\n  title: A <title> & more\n  {}", v6(1)),
            ),
        ),
        ("plain", mode("plain", 7, "mode: nat")),
        ("routed", mode("routed", 2, &format!("mode: routed\n  {}", v6(2)))),
        ("open", mode("open", 3, "mode: open")),
        (
            "isolated",
            mode("isolated", 4, &format!("mode: isolated\n  {}", v6(4))),
        ),
        ("bridge", mode("bridge", 5, "mode: bridge\n  bridge: br0")),
        ("hostroute", mode("hostroute", 6, "mode: hostroute")),
    ];
    for (name, text) in &all {
        host.write_file(format!("/etc/miniascape/networks/{name}.yaml"), text);
        host.miniascape_check(["net", "register", name]);
    }
    let none = || {
        let run = host.miniascape_check(["net", "diff", "--all", "--exit-code"]);
        assert_eq!(
            run.stdout.matches(": no difference\n").count(),
            all.len(),
            "{run}"
        );
        let run = host.miniascape_check(["net", "update", "--all"]);
        assert_eq!(run.stdout.matches("nothing to do").count(), all.len(), "{run}");
    };
    none();
    // libvirt reads its files anew.
    host.stop_libvirtd();
    host.start_libvirtd();
    let run = host.miniascape_check(["net", "diff", "--all", "--exit-code"]);
    assert_eq!(
        run.stdout.matches(": no difference\n").count(),
        all.len(),
        "{run}"
    );
}

/// The diff of lab, with its drift and what undoing it interrupts.
fn drift(host: &Host) -> Vec<(String, String)> {
    let diff = host
        .miniascape_check(["net", "diff", "lab", "--format", "json"])
        .json();
    assert_eq!(diff["lines"], serde_json::json!([]), "{diff}");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let all = diff["drift"].as_array().expect("drift");
    all.iter()
        .map(|drift| {
            let mut impact = text(&drift["impact"]);
            for guest in drift["guests"].as_array().into_iter().flatten() {
                impact = format!("{impact}: {}", text(guest));
            }
            (text(&drift["what"]), impact)
        })
        .collect()
}

/// One thing has drifted, so the status is not well; an update puts it right.
#[track_caller]
fn put_right(host: &Host, what: &str, impact: &str) {
    let found = drift(host);
    assert!(
        matches!(found.as_slice(), [(told, cost)] if told.contains(what) && cost == impact),
        "{what}: {found:?}"
    );
    let status = host.miniascape(["net", "status", "lab"]);
    status.expect_code(1);
    assert!(status.stdout.contains(what), "{status}");
    host.miniascape_check(["net", "update", "lab"]);
    assert_eq!(drift(host), []);
    host.miniascape_check(["net", "status", "lab"]);
}

/// The dnsmasq processes.
fn pids(host: &Host) -> Vec<String> {
    let all = host.check(["pgrep", "-x", "dnsmasq"]);
    all.stdout.lines().map(str::to_owned).collect()
}

pub(crate) fn what_others_change_is_named_and_put_right() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(FILE, LAB);
    host.miniascape_check(["net", "register", "lab"]);
    let mut console = start_guest(&host);
    // Later ones tell that the guest was plugged in again.
    console.wait("LEASE", BOOT_TIMEOUT);
    let ours = pids(&host);
    assert_eq!(drift(&host), []);
    // The guest is named by what is for it.
    host.write_file(FILE, LAB.replace("ip: 10.66.6.66", "ip: 10.66.6.67"));
    let diff = host.miniascape_check(["net", "diff", "lab"]);
    assert!(diff.stdout.contains("lease renew: g "), "{diff}");
    host.write_file(FILE, LAB);

    host.virsh(["net-autostart", "lab", "--disable"]);
    put_right(&host, "does not start the network at boot", "live");
    let xml = host.check(["virsh", "net-dumpxml", "lab", "--inactive"]).stdout;
    host.write_file(
        "/root/lab.xml",
        xml.replace(
            "<forward mode='nat'/>",
            "<forward mode='route'/><mtu size='1400'/>",
        )
        .replace("<forward mode='nat'>", "<mtu size='1400'/><forward mode='nat'>"),
    );
    host.virsh(["net-define", "/root/lab.xml"]);
    let found = drift(&host);
    assert!(
        found
            .iter()
            .all(|(what, cost)| what.ends_with("(from its next start on)") && cost == "live"),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(what, _)| what.contains("+ mtu size=1400")),
        "{found:?}"
    );
    host.miniascape_check(["net", "update", "lab"]);
    host.check([
        "sh",
        "-c",
        "echo 10.66.6.9 stranger >>/var/lib/miniascape/networks/lab/addn-hosts",
    ]);
    put_right(&host, "the generated file addn-hosts was changed", "live");
    assert_eq!(pids(&host), ours);
    adopted(&host);
    assert_eq!(pids(&host), ours);
    assert_eq!(console.ask("ping 10.66.6.1", "PONG").0, "PONG 10.66.6.1");

    // What cannot be undone without it plugs the guest in again.
    host.check(["ip", "addr", "del", "10.66.6.1/24", "dev", "virbr66"]);
    put_right(
        &host,
        "the bridge virbr66 does not have the address 10.66.6.1",
        "re-plug: g",
    );
    console.wait("LEASE", BOOT_TIMEOUT);
    host.virsh(["net-destroy", "lab"]);
    put_right(&host, "libvirt's network is not started", "re-plug: g");
    console.wait("LEASE", BOOT_TIMEOUT);
    assert_eq!(console.ask("ping 10.66.6.1", "PONG").0, "PONG 10.66.6.1");
}

/// Reservations made with virsh start libvirt's dnsmasq; adopting them ends it, and keeps what can be kept.
fn adopted(host: &Host) {
    let before = pids(host);
    for entry in [
        "<host mac='52:54:00:00:00:70' name='seventy' ip='10.66.6.70'/>",
        "<host mac='52:54:00:00:00:71' ip='10.66.6.71'/>",
        "<host mac='52:54:00:00:00:66' name='mine' ip='10.66.6.72'/>",
        "<host mac='52:54:00:00:00:73' name='a' ip='10.66.6.73'/>",
    ] {
        host.virsh([
            "net-update",
            "lab",
            "add",
            "ip-dhcp-host",
            entry,
            "--live",
            "--config",
        ]);
    }
    assert!(pids(host).len() > before.len());
    let found = drift(host);
    assert!(
        found.len() == 1
            && found[0]
                .0
                .starts_with("libvirt runs a dnsmasq of its own beside ours"),
        "{found:?}"
    );
    let status = host.miniascape(["net", "status", "lab"]);
    status.expect_code(1);
    assert!(status.stdout.contains("net update lab --adopt"), "{status}");
    for refused in [["net", "update", "lab"], ["net", "register", "lab"]] {
        let refused = host.miniascape(refused);
        refused.expect_code(3);
        assert!(
            refused.stderr.contains("host seventy 52:54:00:00:00:70") && refused.stderr.contains("--adopt"),
            "{refused}"
        );
    }
    let tried = host.miniascape_check(["net", "update", "lab", "--adopt", "--dry-run"]);
    let done = host.miniascape_check(["net", "update", "lab", "--adopt"]);
    assert_eq!(tried.stdout.replace("would be ", ""), done.stdout, "{tried}");
    for told in [
        "lab updated: keep libvirt's reservations, take DHCP out of libvirt's network, which ends libvirt's dnsmasq, write its files, let its dnsmasq take in the new hosts",
        "lab: host seventy 52:54:00:00:00:70 10.66.6.70 kept in /var/lib/miniascape/networks/lab/hosts.d/adopted.yaml",
        "lab: host 52:54:00:00:00:71 10.66.6.71 kept",
        "lab: host mine 52:54:00:00:00:66 10.66.6.72 dropped: a has this MAC address",
        "lab: host a 52:54:00:00:00:73 10.66.6.73 dropped: ",
    ] {
        assert!(done.stdout.contains(told), "{told}: {done}");
    }
    assert_eq!(pids(host), before);
    assert_eq!(drift(host), []);
    host.miniascape_check(["net", "status", "lab"]);
    assert!(
        !host
            .check(["virsh", "net-dumpxml", "lab"])
            .stdout
            .contains("dhcp")
    );
    assert!(
        !host
            .check(["virsh", "net-dumpxml", "lab", "--inactive"])
            .stdout
            .contains("dhcp")
    );
    for (name, ip) in [("seventy", "10.66.6.70"), ("adopted-525400000071", "10.66.6.71")] {
        let answer = host.run([
            "busybox",
            "nslookup",
            &format!("{name}.lab.internal"),
            "10.66.6.1",
        ]);
        assert!(answer.stdout.contains(&format!("Address: {ip}\n")), "{answer}");
    }
}
