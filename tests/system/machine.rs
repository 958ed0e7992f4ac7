//! A Debian machine with real systemd: a container of systemd-nspawn without a network, on the common tree with a layer of
//! its own in memory. It can be shut down and booted again; its journal and its units are looked at after every step.

use crate::support::command::Place;
use crate::support::{Command, LabError, Output, Result, Running, Site, poll_for, wait_until};
use crate::tree;
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BOOT_PATIENCE: Duration = Duration::from_secs(120);

/// What the container's own circumstances put into its journal: no DMI, no KVM, no right to raise limits. The unit or
/// identifier, and a part of the message.
const EXPECTED: [(&str, &str); 13] = [
    // It waits for its bridge: so it stands ready before libvirt starts a guest.
    ("", "does not currently exist"),
    // cgroups of version 1, not all of which the container has.
    ("systemd", "Failed to kill control group"),
    (
        "libvirtd",
        "unsupported flags (0x40) in function virDomainMomentObjListGetNames",
    ),
    // An isolated network asks nobody.
    ("", "no upstream servers configured"),
    ("libvirtd", "Failed to get udev device"),
    ("libvirtd", "dmidecode"),
    ("libvirtd", "/dev/kvm"),
    ("libvirtd", "End of file while reading data"),
    ("libvirtd", "guest agent"),
    ("libvirtd", "Cannot check QEMU binary"),
    ("dbus-daemon", "Failed to set fd limit"),
    ("systemd", "RLIMIT_MEMLOCK"),
    ("systemd-udevd", ""),
];

/// A machine. It is stopped, and all that it wrote is gone, when it is dropped.
pub(crate) struct Machine {
    name: String,
    dir: PathBuf,
    running: Option<(Running, u32)>,
    /// Cursors of journal entries that were looked at.
    seen: BTreeSet<String>,
}

impl Machine {
    /// A machine that is off, with Debian and libvirt, and nothing of miniascape.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let base = tree::base()?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("miniascape-{name}-"))
            .tempdir()
            .map_err(|error| LabError::new(format!("no directory for a machine: {error}")))?
            .keep();
        let script = "set -eu; mount -t tmpfs -o mode=755 layer \"$0\"; cd \"$0\"; mkdir up work root\n\
            mount -t overlay -o \"lowerdir=$1,upperdir=up,workdir=work\" overlay root\n";
        Command::machine([
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            dir.as_os_str(),
            base.as_os_str(),
        ])
        .try_check()
        .map_err(|error| {
            error.remedy("a machine's files need tmpfs and overlayfs, which some containers refuse")
        })?;
        let machine = Self {
            name: name.to_owned(),
            dir,
            running: None,
            seen: BTreeSet::new(),
        };
        // The container may not have cgroups of its own, which libvirt would make.
        machine.write("/etc/libvirt/qemu.conf", "cgroup_controllers = []\n");
        Ok(machine)
    }

    /// Its root directory, also while it is off.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Boots it, and waits until systemd has done with that.
    #[track_caller]
    pub(crate) fn boot(&mut self) {
        self.try_boot()
            .unwrap_or_else(|error| panic!("{} does not boot: {error}", self.name));
    }

    pub(crate) fn try_boot(&mut self) -> Result<()> {
        let root = self.root();
        let argv = [
            "systemd-nspawn".as_ref(),
            "--boot".as_ref(),
            "--register=no".as_ref(),
            "--keep-unit".as_ref(),
            "--private-network".as_ref(),
            "--capability=CAP_NET_ADMIN".as_ref(),
            "--link-journal=no".as_ref(),
            "--machine".as_ref(),
            self.name.as_ref(),
            "--directory".as_ref(),
            root.as_os_str(),
        ];
        let mut nspawn = Command::machine(argv).try_spawn()?;
        let remedy = "systemd-nspawn needs a machine, or a container started with --privileged, that lets it make namespaces";
        let nspawn_pid = nspawn.pid().unwrap_or_default();
        let leader = poll_for(BOOT_PATIENCE, || {
            if !nspawn.is_running() {
                return Some(None);
            }
            let leader = child_of(nspawn_pid)?;
            let state = Self::inside(leader, &["systemctl", "is-system-running"])
                .try_run()
                .ok()?;
            ["running", "degraded"]
                .contains(&state.text())
                .then_some(Some(leader))
        });
        let Some(leader) = leader.flatten() else {
            let said = nspawn.transcript();
            // What has begun to boot does not go with nspawn.
            if let Some(leader) = child_of(nspawn_pid) {
                power_off(leader);
            }
            return Err(
                LabError::new(format!("no systemd came up in the container:\n{said}")).remedy(remedy),
            );
        };
        self.running = Some((nspawn, leader));
        Ok(())
    }

    /// Shuts it down as its owner would, and waits for its end.
    #[track_caller]
    pub(crate) fn shut_down(&mut self) {
        // Not to be ended itself by what it begins.
        self.sh("systemctl --no-block poweroff");
        let (nspawn, _) = self.running.take().expect("it runs");
        nspawn.wait(BOOT_PATIENCE).expect_code(0);
    }

    fn inside(leader: u32, argv: &[&str]) -> Command {
        let place = Place::Inside {
            pid: leader,
            user_namespace: false,
        };
        Command::at(place, argv).env("HOME", "/root")
    }

    /// A command in it.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let (_, leader) = self.running.as_ref().expect("it runs");
        Self::inside(*leader, argv)
    }

    /// Runs a script; it has to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.command(&["bash", "-e", "-c", script])
            .timeout(Duration::from_secs(400))
            .check()
    }

    /// Runs a script, whatever it ends with.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.command(&["bash", "-e", "-c", script]).run()
    }

    /// Writes a file, also while it is off.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    /// Reads a file, also while it is off.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path.trim_start_matches('/')))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root().join(path.trim_start_matches('/'))).is_ok()
    }

    /// Brings files of the machine that the test runs on.
    pub(crate) fn bring(&self, files: &[PathBuf], dir: &str) {
        let dir = self.root().join(dir.trim_start_matches('/'));
        fs::create_dir_all(&dir).expect("a directory");
        for file in files {
            fs::copy(
                file,
                dir.join(Path::new(file.file_name().expect("a file has a name"))),
            )
            .expect("a copy");
        }
    }

    /// No unit has failed, and since the last look nothing wrong is in the journal: no error of anybody's, no warning about
    /// us, and not a word of ours about a failure, but those that have one of `but` in them.
    #[track_caller]
    pub(crate) fn is_healthy_but(&mut self, step: &str, but: &[&str]) {
        let failed = self.sh("systemctl --failed --no-legend --plain").stdout;
        assert_eq!(
            failed,
            "",
            "{step}: failed units\n{}",
            self.try_sh("journalctl -b --no-pager | tail -n 60").stdout
        );
        let mut wrong = Vec::new();
        for line in self.sh("journalctl -b --no-pager --output=json").stdout.lines() {
            let entry: Value = serde_json::from_str(line).expect("an entry of the journal");
            let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            if self.seen.insert(field("__CURSOR")) && is_wrong(&field) {
                let message = field("MESSAGE");
                if !but.iter().any(|part| message.contains(part)) {
                    wrong.push(format!(
                        "{} {}: {message}",
                        field("_SYSTEMD_UNIT"),
                        field("SYSLOG_IDENTIFIER")
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{step}: the journal has\n{}", wrong.join("\n"));
    }

    #[track_caller]
    pub(crate) fn is_healthy(&mut self, step: &str) {
        self.is_healthy_but(step, &[]);
    }

    /// The address that `mac` has among the leases.
    pub(crate) fn leased(&self, mac: &str) -> Option<String> {
        let list = self.sh("miniascape lease list --format json").json();
        let lease = list.as_array()?.iter().find(|lease| lease["mac"] == mac)?;
        Some(lease["ip"].as_str()?.to_owned())
    }

    /// Waits until nothing is pending.
    #[track_caller]
    pub(crate) fn wait_done(&self, patience: Duration) {
        wait_until("pending work", patience, || {
            self.try_sh("test -z \"$(ls /var/lib/miniascape/pending 2>/dev/null)\"")
                .ok()
        });
    }
}

fn is_wrong(field: &dyn Fn(&str) -> String) -> bool {
    let (unit, who, message) = (
        field("_SYSTEMD_UNIT"),
        field("SYSLOG_IDENTIFIER"),
        field("MESSAGE"),
    );
    if EXPECTED
        .iter()
        .any(|(known, part)| (*known == who || unit.starts_with(known)) && message.contains(part))
    {
        return false;
    }
    let priority: u8 = field("PRIORITY").parse().unwrap_or(6);
    let ours = unit.starts_with("miniascape") || who == "miniascape";
    let bad_words = [
        "WARN", "ERROR", "error", "warning", "panicked", "failed", "cannot",
    ];
    priority <= 3
        || priority <= 4 && message.contains("miniascape")
        || ours && bad_words.iter().any(|word| message.contains(word))
}

/// The first process of the container that a systemd-nspawn runs.
fn child_of(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Ends a container with all its processes: a first process takes the others with it.
fn power_off(leader: u32) {
    let pid = i32::try_from(leader).ok().and_then(Pid::from_raw);
    // It may have ended by itself.
    let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
}

impl Site for Machine {
    fn at(&self, argv: &[&str]) -> Command {
        self.command(argv)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.running.is_some() {
            let journal = self.try_sh("journalctl -b --no-pager | grep -v kernel: | tail -n 40");
            crate::support::note(format_args!(
                "the end of {}'s journal:\n{}",
                self.name, journal.stdout
            ));
        }
        if let Some((nspawn, leader)) = self.running.take() {
            power_off(leader);
            drop(nspawn);
        }
        let _ = Command::machine([
            "sh".as_ref(),
            "-c".as_ref(),
            "umount \"$0/root\"; umount \"$0\"; rmdir \"$0\"".as_ref(),
            self.dir.as_os_str(),
        ])
        .try_run();
    }
}
