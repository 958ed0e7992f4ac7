//! Networks registered, updated and unregistered while libvirt is down: what is put on record, what is told, and how
//! one wish replaces or cancels another. That they are fulfilled is the lab's business.

use crate::{Outcome, miniascape};
use fs_err as fs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A libvirt of this host that is not there.
const DOWN: &str = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";

/// A state directory with the definition of `lab`.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let definitions = dir.path().join("etc/miniascape/networks");
        fs::create_dir_all(&definitions).unwrap();
        let bench = Self { dir };
        bench.define("10.99.1");
        bench
    }

    fn define(&self, subnet: &str) {
        let text = format!(
            "network: {{ name: lab, mode: isolated, bridge: msoff0, domain: lab.internal, ipv4: {{ subnet: {subnet}.0/24 }}, \
             dhcp: {{ ranges: [ {{ start: {subnet}.100, end: {subnet}.199 }} ] }} }}\n"
        );
        fs::write(self.definition(), text).unwrap();
    }

    fn definition(&self) -> PathBuf {
        self.at("etc/miniascape/networks/lab.yaml")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn run(&self, line: &str) -> Outcome {
        let state = self.dir.path().to_str().unwrap();
        let fixed = ["--connect", DOWN, "--state-dir", state];
        miniascape(fixed.into_iter().chain(line.split_whitespace()))
    }

    /// A run that ends with 0 and says nothing but JSON.
    fn json(&self, line: &str) -> Value {
        let run = self.run(&format!("--format json {line}"));
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{line}: {run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// The wish on record.
    fn wish(&self) -> Value {
        read(&self.at("var/lib/miniascape/pending/network-lab.json"))
    }

    /// All files of ours, with their content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let walk = walkdir::WalkDir::new(self.at("var")).sort_by_file_name();
        // Nothing there is nothing to see.
        let files = walk
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file());
        files
            .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
            .collect()
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_registration_is_put_on_record_once_with_its_definition() {
    let bench = Bench::new();
    let dry = bench.json("net register lab --dry-run");
    assert_eq!(
        (&dry["pending"], &dry["steps"]),
        (&true.into(), &json!(["defer"]))
    );
    assert_eq!(bench.files(), []);

    let run = bench.run("net register lab");
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(
        run.stdout.starts_with("lab: pending: cannot reach libvirt at "),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains("lab is registered when libvirt answers: by the next command"),
        "{run:?}"
    );
    let wish = bench.wish();
    assert_eq!(
        (&wish["work"], &wish["uri"]),
        (&"register-network".into(), &DOWN.into())
    );
    assert_eq!(wish["source"], bench.definition().to_str().unwrap());
    let kept = bench.at("var/lib/miniascape/networks/lab/definition.yaml");
    assert_eq!(fs::read(&kept).unwrap(), fs::read(bench.definition()).unwrap());
    // Nothing else: what dnsmasq reads is written when libvirt hears of it.
    let before = bench.files();
    assert_eq!(before.len(), 2, "{before:?}");

    let again = bench.json("net register lab");
    assert_eq!(
        (&again["pending"], &again["changed"]),
        (&true.into(), &false.into())
    );
    assert!(
        bench
            .run("net register lab")
            .stdout
            .starts_with("lab: pending already, to be registered: ")
    );
    assert_eq!(bench.files(), before);
    // A later definition replaces the earlier one, and an update is a registration.
    bench.define("10.99.2");
    let later = bench.json("net update lab");
    assert_eq!(
        (&later["pending"], &later["changed"]),
        (&true.into(), &true.into())
    );
    assert_eq!(fs::read(&kept).unwrap(), fs::read(bench.definition()).unwrap());
    assert_eq!(bench.wish()["work"], "register-network");
}

#[test]
fn list_and_status_tell_what_is_pending_also_while_libvirt_is_down() {
    let bench = Bench::new();
    bench.json("net register lab");
    let list = bench.run("net list");
    assert_eq!(list.status, 4, "{list:?}");
    assert!(
        list.stdout.contains("register pending") && list.stderr.contains("hint: is libvirt running?"),
        "{list:?}"
    );
    let list = bench.run("net list --format json");
    let rows: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(rows[0]["pending"], "register");
    let status = bench.run("net status lab");
    assert_eq!(status.status, 4, "{status:?}");
    assert!(
        status
            .stdout
            .contains("to register it is pending: cannot reach libvirt"),
        "{status:?}"
    );
    let status = bench.run("net status lab --format json");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["pending"]["work"], &status["registered"]),
        (&"register-network".into(), &false.into())
    );
}

#[test]
fn the_later_wish_counts_and_cancels() {
    let bench = Bench::new();
    bench.json("net register lab");
    // Nothing of it was made: with the wish everything is gone.
    let dry = bench.json("net unregister lab --dry-run");
    assert_eq!((&dry["pending"], &dry["changed"]), (&false.into(), &true.into()));
    assert_eq!(bench.wish()["work"], "register-network");
    let run = bench.run("net unregister lab");
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stdout.starts_with("lab: its pending registration cancelled"),
        "{run:?}"
    );
    assert_eq!(bench.files(), []);

    // Something of it is there: libvirt may have it.
    let made = bench.at("var/lib/miniascape/networks/lab/libvirt.xml");
    fs::write(&made, "<network/>").unwrap_err();
    bench.json("net register lab");
    fs::write(&made, "<network/>").unwrap();
    assert_eq!(bench.json("net unregister lab --force")["pending"], true);
    assert_eq!(
        (&bench.wish()["work"], &bench.wish()["force"]),
        (&"unregister-network".into(), &true.into())
    );
    assert_eq!(bench.json("net unregister lab --force")["changed"], false);
    // And back again.
    assert_eq!(bench.json("net register lab")["changed"], true);
    assert_eq!(bench.wish()["work"], "register-network");
}

#[test]
fn what_is_wrong_with_a_definition_is_told_at_once_and_nothing_is_kept() {
    let bench = Bench::new();
    let text = fs::read_to_string(bench.definition()).unwrap();
    fs::write(bench.definition(), text.replace("isolated", "isoltaed")).unwrap();
    let bad = bench.run("net register lab");
    assert_eq!(bad.status, 2, "{bad:?}");
    assert!(bad.stderr.contains("`isoltaed` is not a mode"), "{bad:?}");
    // A bridge that the host has already: the loopback interface is everywhere.
    fs::write(bench.definition(), text.replace("msoff0", "lo")).unwrap();
    let taken = bench.run("net register lab");
    assert_eq!(taken.status, 3, "{taken:?}");
    assert!(taken.stderr.contains("already has an interface lo"), "{taken:?}");
    // What was never registered cannot be updated.
    fs::write(bench.definition(), text).unwrap();
    assert_eq!(bench.run("net update lab").status, 1);
    assert_eq!(bench.run("net unregister ../lab").status, 2);
    // Another host's libvirt is not waited for.
    let state = bench.dir.path().to_str().unwrap();
    let remote = miniascape([
        "--connect",
        "qemu+unix://elsewhere/system?socket=/nonexistent/sock",
        "--state-dir",
        state,
        "net",
        "register",
        "lab",
    ]);
    assert_ne!(remote.status, 0, "{remote:?}");
    assert_eq!(bench.files(), []);
}

#[test]
fn nothing_pending_needs_no_libvirt() {
    let bench = Bench::new();
    let once = bench.run("daemon --once");
    assert_eq!((once.status, once.stderr.as_str()), (0, ""), "{once:?}");
    bench.json("net register lab");
    let before = bench.files();
    let once = bench.run("daemon --once");
    assert_eq!(once.status, 4, "{once:?}");
    assert_eq!(bench.files(), before);
}
