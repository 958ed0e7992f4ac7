//! `net diff` and drift on a host with a real libvirt.

use crate::networks::host_with_daemon;
use crate::support::Host;

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
    ("lab.internal", "lab.example", "re-plug"),
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
