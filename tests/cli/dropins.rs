//! What stands beside a network's definition: people's files, and what guests brought.

use super::{Outcome, miniascape};
use fs_err as fs;
use std::path::Path;

const LAB: &str = "network:\n  name: lab\n  mode: nat\n  domain: lab.internal\n  ipv4: { subnet: 10.66.6.0/24 }\n  \
    dhcp: { ranges: [ { start: 10.66.6.100, end: 10.66.6.199 } ] }\n  hosts:\n    \
    - { name: one, mac: \"52:54:00:00:00:01\", ip: 10.66.6.11 }\n";

/// A state directory with the definition of `lab`.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        let state = Self(tempfile::tempdir().unwrap());
        state.write("etc/miniascape/networks/lab.yaml", LAB);
        state
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A drop-in of people's.
    fn people(&self, name: &str, text: &str) {
        self.write(&format!("etc/miniascape/networks/lab.d/{name}"), text);
    }

    /// What a guest brought.
    fn guest(&self, name: &str, text: &str) {
        self.write(&format!("var/lib/miniascape/networks/lab/hosts.d/{name}"), text);
    }

    /// A run whose messages call the state directory STATE.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let dir = self.0.path().to_str().unwrap();
        let run = miniascape([&["--state-dir", dir], arguments].concat());
        Outcome {
            status: run.status,
            stdout: run.stdout.replace(dir, "STATE"),
            stderr: run.stderr.replace(dir, "STATE"),
        }
    }

    fn compiled(&self, network: &str) -> (Outcome, String) {
        let output = self.0.path().join("out");
        let run = self.run(&["net", "compile", network, "--output", output.to_str().unwrap()]);
        let hosts = fs::read_to_string(output.join("dhcp-hostsfile")).unwrap_or_default();
        let entries = hosts.lines().filter(|line| !line.starts_with('#'));
        (run, entries.map(|line| format!("{line}\n")).collect())
    }
}

fn hosts(entries: &[(&str, &str, &str)]) -> String {
    let lines: Vec<String> = entries
        .iter()
        .map(|(name, mac, ip)| format!("  - {{ name: {name}, mac: \"52:54:00:00:00:{mac}\", ip: {ip} }}\n"))
        .collect();
    format!("hosts:\n{}", lines.concat())
}

#[test]
fn everything_beside_a_definition_is_read_with_it() {
    let state = State::new();
    state.people("b.yaml", &hosts(&[("two", "02", "10.66.6.12")]));
    state.people("a.yaml", "# nothing here yet\n");
    state.people(".c.yaml", "broken: [");
    state.people("d.yaml~", "broken: [");
    state.guest("web.yaml", &hosts(&[("web", "03", "10.66.6.13")]));
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    assert_eq!(
        run.stdout,
        "STATE/etc/miniascape/networks/lab.yaml: network lab, 3 hosts (1 in drop-ins, 1 from guests), fine\n"
    );
    let json = state.run(&["--format", "json", "net", "validate", "lab"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        json["hosts"],
        serde_json::json!({ "definition": 1, "drop_ins": 1, "guests": 1 })
    );
    let all = "52:54:00:00:00:01,id:*,10.66.6.11,one\n52:54:00:00:00:02,id:*,10.66.6.12,two\n52:54:00:00:00:03,id:*,10.66.6.13,web\n";
    assert_eq!(state.compiled("lab").1, all);
    // By the path of the file in the networks directory it is the same network.
    let path = state.0.path().join("etc/miniascape/networks/lab.yaml");
    assert_eq!(state.compiled(path.to_str().unwrap()).1, all);
}

#[test]
fn records_of_peoples_are_answered_and_have_their_place() {
    let state = State::new();
    state.people(
        "a.yaml",
        "records:\n  - { cname: www, target: one }\n  - { name: x, ip: 10.66.6.13 }\n",
    );
    let (run, _) = state.compiled("lab");
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let file = |name: &str| fs::read_to_string(state.0.path().join("out").join(name)).unwrap();
    assert!(file("dnsmasq.conf").contains("\ncname=www.lab.internal,one.lab.internal\n"));
    assert!(
        file("addn-hosts").contains("\n10.66.6.13 x.lab.internal x\n"),
        "{}",
        file("addn-hosts")
    );
    let shown = state.run(&["--format", "json", "net", "show", "lab"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let file = "STATE/etc/miniascape/networks/lab.d/a.yaml";
    assert_eq!(
        shown["entries"][1],
        serde_json::json!({ "path": "dns.records.1", "from": "drop-in", "file": file })
    );
    // A name with two meanings is a mistake that names both places; and guests bring no records.
    state.people("b.yaml", "records: [ { cname: x, target: one } ]\n");
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(
        run.stderr.contains("lab.d/b.yaml:1:21: ") && run.stderr.contains("lab.d/a.yaml:3:5:"),
        "{run:?}"
    );
    state.people("b.yaml", "");
    state.guest("web.yaml", "records: [ { name: y, ip: 10.66.6.14 } ]\n");
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stderr.contains("hosts.d/web.yaml:1:1: unknown key `records`"),
        "{run:?}"
    );
}

#[test]
fn a_definition_elsewhere_has_its_own_drop_ins_and_no_guests() {
    let state = State::new();
    state.people("a.yaml", &hosts(&[("two", "02", "10.66.6.12")]));
    state.guest("web.yaml", &hosts(&[("web", "03", "10.66.6.13")]));
    state.write("elsewhere/x.yaml", LAB);
    state.write("elsewhere/lab.d/a.yaml", &hosts(&[("four", "04", "10.66.6.14")]));
    let path = state.0.path().join("elsewhere/x.yaml");
    let (run, hosts) = state.compiled(path.to_str().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    assert_eq!(
        hosts,
        "52:54:00:00:00:01,id:*,10.66.6.11,one\n52:54:00:00:00:04,id:*,10.66.6.14,four\n"
    );
}

#[test]
fn mistakes_and_duplicates_point_at_both_files() {
    let state = State::new();
    state.people(
        "a.yaml",
        &hosts(&[("two", "02", "10.66.6.12"), ("one", "05", "10.66.6.15")]),
    );
    state.people("b.yaml", "hosts:\n  - { name: three, mac: x }\nhots: []\n");
    state.people("c.yaml", &hosts(&[("four", "02", "10.66.6.14")]));
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 2, "{run:?}");
    insta::assert_snapshot!(run.stderr, @r#"
    error: STATE/etc/miniascape/networks/lab.d/a.yaml:3:13: the name one is given to two hosts
        3 |   - { name: one, mac: "52:54:00:00:00:05", ip: 10.66.6.15 }
          |             ^^^
    STATE/etc/miniascape/networks/lab.yaml:8:15:
        8 |     - { name: one, mac: "52:54:00:00:00:01", ip: 10.66.6.11 }
          |               --- first given here
    help: no two hosts can have the same name
    error: STATE/etc/miniascape/networks/lab.d/b.yaml:2:5: `ip` is missing from this host entry
        2 |   - { name: three, mac: x }
          |     ^
    help: add `ip: …`
    error: STATE/etc/miniascape/networks/lab.d/b.yaml:2:25: `x` is not a MAC address: six groups of two hexadecimal digits are needed, as in 52:54:00:01:00:10
        2 |   - { name: three, mac: x }
          |                         ^
    error: STATE/etc/miniascape/networks/lab.d/b.yaml:3:1: unknown key `hots` in the file
        3 | hots: []
          | ^^^^
    help: did you mean `hosts`?
    error: STATE/etc/miniascape/networks/lab.d/c.yaml:2:24: the MAC address 52:54:00:00:00:02 is given to two hosts
        2 |   - { name: four, mac: "52:54:00:00:00:02", ip: 10.66.6.14 }
          |                        ^^^^^^^^^^^^^^^^^^^
    STATE/etc/miniascape/networks/lab.d/a.yaml:2:23:
        2 |   - { name: two, mac: "52:54:00:00:00:02", ip: 10.66.6.12 }
          |                       ------------------- first given here
    help: no two hosts can have the same MAC address
    error: 5 mistakes in 3 files
    "#);
    let (run, hosts) = state.compiled("lab");
    assert_eq!((run.status, hosts.as_str()), (2, ""));
}

#[test]
fn what_a_guest_brought_never_takes_a_network_down() {
    let state = State::new();
    state.guest("a.yaml", &hosts(&[("a", "0a", "10.66.6.20")]));
    // Taken by the definition; outside the subnet; taken by the guest before; broken; fine beside a bad one.
    state.guest("b.yaml", &hosts(&[("b", "01", "10.66.6.21")]));
    state.guest("c.yaml", &hosts(&[("c", "0c", "10.77.6.20")]));
    state.guest(
        "d.yaml",
        &hosts(&[("d", "0d", "10.66.6.20"), ("e", "0e", "10.66.6.22")]),
    );
    state.guest("f.yaml", "hosts:\n  - { name: f, mac:");
    state.guest("g.yaml", "records: []\n");
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 0, "{run:?}");
    insta::assert_snapshot!(run.stderr, @r#"
    warning: STATE/var/lib/miniascape/networks/lab/hosts.d/b.yaml:2:21: the MAC address 52:54:00:00:00:01 is given to two hosts
        2 |   - { name: b, mac: "52:54:00:00:00:01", ip: 10.66.6.21 }
          |                     ^^^^^^^^^^^^^^^^^^^
    STATE/etc/miniascape/networks/lab.yaml:8:25:
        8 |     - { name: one, mac: "52:54:00:00:00:01", ip: 10.66.6.11 }
          |                         ------------------- first given here
    help: this entry of a guest is left out; no two hosts can have the same MAC address
    warning: STATE/var/lib/miniascape/networks/lab/hosts.d/c.yaml:2:46: address 10.77.6.20 is outside the subnet 10.66.6.0/24
        2 |   - { name: c, mac: "52:54:00:00:00:0c", ip: 10.77.6.20 }
          |                                              ^^^^^^^^^^
    help: this entry of a guest is left out; use an address from 10.66.6.1 to 10.66.6.254
    warning: STATE/var/lib/miniascape/networks/lab/hosts.d/d.yaml:2:46: the address 10.66.6.20 is given to two hosts
        2 |   - { name: d, mac: "52:54:00:00:00:0d", ip: 10.66.6.20 }
          |                                              ^^^^^^^^^^
    STATE/var/lib/miniascape/networks/lab/hosts.d/a.yaml:2:46:
        2 |   - { name: a, mac: "52:54:00:00:00:0a", ip: 10.66.6.20 }
          |                                              ---------- first given here
    help: this entry of a guest is left out; no two hosts can have the same address
    warning: STATE/var/lib/miniascape/networks/lab/hosts.d/f.yaml:2:5: not valid YAML: unclosed bracket '{'
        2 |   - { name: f, mac:
          |     ^
    help: this file of a guest is left out; is a bracket open further up, or a comma missing?
    warning: STATE/var/lib/miniascape/networks/lab/hosts.d/g.yaml:1:1: unknown key `records` in the file
        1 | records: []
          | ^^^^^^^
    help: this file of a guest is left out; known keys are `hosts`
    "#);
    assert_eq!(
        state.compiled("lab").1,
        "52:54:00:00:00:01,id:*,10.66.6.11,one\n52:54:00:00:00:0a,id:*,10.66.6.20,a\n52:54:00:00:00:0e,id:*,10.66.6.22,e\n"
    );
    // Also one that cannot even be opened, and a directory that is none.
    let dir = state.0.path().join("var/lib/miniascape/networks/lab/hosts.d");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir_all(dir.join("x.yaml")).unwrap();
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stderr.contains("hosts.d/x.yaml:1:1: the file cannot be read"),
        "{run:?}"
    );
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "").unwrap();
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stderr.contains("hosts.d:1:1: the file cannot be read"),
        "{run:?}"
    );
}

#[test]
fn a_drop_in_that_cannot_be_read_is_an_error() {
    let state = State::new();
    fs::create_dir_all(state.0.path().join("etc/miniascape/networks/lab.d/a.yaml")).unwrap();
    let run = state.run(&["net", "validate", "lab"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(
        run.stderr.contains("lab.d/a.yaml:1:1: the file cannot be read"),
        "{run:?}"
    );
    assert!(!Path::new("out").exists());
}
