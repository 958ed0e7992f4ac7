//! What package managers do to guests, step by step: real packages, a real libvirt, guests that run. After every step the
//! guests that run compute a digest over their file systems, and it is the one that it was, whatever was done to their
//! packages; and every packaged file is as the package manager knows it.
//!
//! A walk takes every step once. `make test` walks once for each format, and takes turns between the tool that takes files
//! and the one that takes names from a repository; with MINIASCAPE_TEST_FULL=1 each of the four tools walks alone.

mod steps;
mod tools;

use crate::support::guest::Console;
use crate::support::{Host, Output, Running, note, wait_until};
use crate::travel::{Digests, Kind, packages, target};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use steps::{DISK, STEPS};
use tools::{Tool, shell};

const PATIENCE: Duration = Duration::from_secs(300);
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const PENDING: &str = "/var/lib/miniascape/pending";

/// Which of a walk's tools takes a step.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The one that takes files.
    Files,
    /// The one that takes names.
    Names,
}

/// A walk over the steps.
struct Walk {
    host: Host,
    daemon: Option<Running>,
    /// The tool of the present step.
    tool: Tool,
    /// What each guest's file systems hold, as it last said after it was told to write.
    expected: BTreeMap<&'static str, String>,
}

impl Walk {
    fn kind(&self) -> Kind {
        self.tool.kind()
    }

    /// Runs a script that has to succeed.
    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        tools::sh(&self.host, script)
    }

    /// Runs a script that may fail.
    fn try_sh(&self, script: &str) -> Output {
        shell(&self.host, script).run()
    }

    #[track_caller]
    fn miniascape<const N: usize>(&self, words: [&str; N]) -> Output {
        self.host.miniascape_check(words)
    }

    fn digests(&self, guest: &str) -> Digests {
        Digests::ask(&mut Console::attach(&self.host, guest))
    }

    /// Has a running guest write to its disk, and remembers what is on it then.
    fn write(&mut self, guest: &'static str, marker: &str) {
        let mut console = Console::attach(&self.host, guest);
        console.write_marker(marker);
        console.ask(&format!("write {marker}"), "WROTE");
        drop(console);
        let now = self.digests(guest);
        assert_eq!(now.base, packages().hash.base, "{guest}");
        assert_ne!(Some(&now.all), self.expected.get(guest), "{guest} wrote nothing");
        self.expected.insert(guest, now.all);
    }

    fn running(&self) -> Vec<String> {
        if !self.host.run(["virsh", "list"]).ok() {
            return Vec::new();
        }
        let list = self.host.check(["virsh", "list", "--name"]);
        list.stdout.split_whitespace().map(str::to_owned).collect()
    }

    /// Starts the guests at once, and waits for their addresses.
    fn start(&self, guests: &[[&str; 3]]) {
        let starting: Vec<_> = guests
            .iter()
            .map(|[name, ..]| {
                let words = ["guest", "start", name, "--wait", "lease", "--format", "json"];
                self.host.miniascape_command(words).spawn()
            })
            .collect();
        for ([_, mac, address], run) in guests.iter().zip(starting) {
            let started = run.wait(PATIENCE);
            assert!(started.ok(), "{started}");
            assert_eq!(
                started.json()["lease"],
                json!({ "network": "net-1", "ip": address, "mac": mac }),
                "{started}"
            );
        }
    }

    fn stop(&self, guest: &str) {
        self.miniascape(["guest", "shutdown", guest]);
    }

    fn pending(&self) -> Vec<String> {
        self.host.list_dir(PENDING)
    }

    /// A run that may change things, and has nothing to change.
    fn changing_run(&self) {
        self.miniascape(["net", "unregister", "some-other"]);
    }

    /// Waits until nothing is pending, and has a run that changes something look for more.
    fn settle(&self, what: &str) {
        self.changing_run();
        wait_until(what, PATIENCE, || self.pending().is_empty());
    }

    /// The version of the package that a guest's definition is from.
    fn version(&self, guest: &str) -> String {
        let xml = self.host.check(["virsh", "dumpxml", "--inactive", guest]).stdout;
        let mark = xml.split("package-version=").nth(1).expect("a mark");
        mark[1..].split(['\'', '"']).next().unwrap_or_default().to_owned()
    }

    /// What holds after every step.
    fn nothing_is_lost(&self, step: &str) {
        let hidden = self.try_sh(&format!("find {GUESTS} /var/lib/miniascape -name '.*'"));
        assert_eq!((hidden.text(), self.pending()), ("", vec![]), "after: {step}");
        self.kind().assert_clean(&self.host);
        let running = self.running();
        // All at once: each has a processor.
        let mut consoles: Vec<_> = running
            .iter()
            .map(|guest| Console::attach(&self.host, guest))
            .collect();
        for console in &mut consoles {
            console.send("hash");
        }
        for (guest, console) in running.iter().zip(&mut consoles) {
            let now = Digests::told(console);
            assert_eq!(
                (now.base.as_str(), Some(&now.all)),
                (packages().hash.base.as_str(), self.expected.get(guest.as_str())),
                "{guest} after: {step}"
            );
        }
    }
}

fn walk(files: Tool, names: Tool) {
    let (host, daemon) = target(files.kind());
    // A file system of its own for the images.
    tools::sh(
        &host,
        &format!(
            "cp -a {DISK} /root/images; mount -t tmpfs -o mode=0711 images {DISK}; cp -a /root/images/. {DISK}"
        ),
    );
    names.prepare(&host);
    let mut walk = Walk {
        host,
        daemon: Some(daemon),
        tool: files,
        expected: BTreeMap::new(),
    };
    for (name, turn, step) in STEPS {
        walk.tool = match turn {
            Turn::Files => files,
            Turn::Names => names,
        };
        let started = Instant::now();
        step(&mut walk);
        walk.nothing_is_lost(name);
        note(format_args!("{:?}: {name}: {:.1?}", walk.tool, started.elapsed()));
    }
}

pub(crate) fn debs_take_every_step_and_no_guest_loses_a_byte() {
    walk(Tool::Dpkg, Tool::Apt);
}

pub(crate) fn rpms_take_every_step_and_no_guest_loses_a_byte() {
    walk(Tool::Rpm, Tool::Dnf);
}

pub(crate) fn dpkg_alone_takes_every_step() {
    walk(Tool::Dpkg, Tool::Dpkg);
}

pub(crate) fn apt_alone_takes_every_step() {
    walk(Tool::Apt, Tool::Apt);
}

pub(crate) fn rpm_alone_takes_every_step() {
    walk(Tool::Rpm, Tool::Rpm);
}

pub(crate) fn dnf_alone_takes_every_step() {
    walk(Tool::Dnf, Tool::Dnf);
}
