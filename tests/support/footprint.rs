//! What a run leaves on the machine: a snapshot before, a snapshot after, and the difference for humans.
//!
//! Compared are processes (with names of the lab, on a machine that has others), mounts, network links,
//! forwarding and firewall rules, and the files under `/etc`, `/var`, `/run`, the temporary directory and
//! the user's home, except for [`EXCEPTIONS`] and the lab's documented cache. Only [`aside`](super::aside)
//! nothing else happens at the same time; on a busy machine the difference may show what others did.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use fs_err as fs;
use walkdir::WalkDir;

use super::aside::is_aside;
use super::command::Command;
use super::guest::cache_dir;
use super::namespaces::needs_user_namespace;
use super::wait::poll_for;

/// What is not compared, and why. A relative path is below the user's home.
const EXCEPTIONS: [(&str, &str); 22] = [
    ("/var/cache/apt", "apt's indexes; reading them refreshes them"),
    ("/var/lib/apt", "apt's lists"),
    ("/var/cache/dnf", "dnf's metadata"),
    ("/var/cache/ldconfig", "rewritten by any package"),
    ("/var/log/journal", "everyone's log"),
    ("/var/log/syslog", "everyone's log"),
    ("/var/log/messages", "everyone's log"),
    ("/var/log/kern.log", "the kernel's log"),
    ("/var/log/auth.log", "logins and sudo"),
    ("/var/log/sysstat", "written by a timer"),
    ("/var/log/wtmp", "logins"),
    ("/var/log/lastlog", "logins"),
    ("/var/lib/systemd", "stamps of timers, the random seed"),
    ("/var/lib/dhcp", "the machine's own leases"),
    ("/var/lib/NetworkManager", "the machine's own leases"),
    ("/run/systemd", "sessions and units of others"),
    ("/run/udev", "device events of others"),
    ("/run/log", "everyone's log"),
    (".cargo", "cargo's registry and locks"),
    (".rustup", "the Rust toolchain"),
    (".cache", "caches of other programs; ours is documented"),
    (".bash_history", "what the user types"),
];

/// Words that mark a process as one of the lab's; aside every process is.
const PROCESSES: [&str; 12] = [
    "--lab-",
    "dbus-daemon",
    "dnsmasq",
    "libvirtd",
    "miniascape",
    "nsenter",
    "qemu-img",
    "qemu-system",
    "tini",
    "unshare",
    "virtlogd",
    "virtqemud",
];

/// The state of the machine at one moment, as far as the lab could change it.
#[derive(Debug, Clone)]
pub(crate) struct Footprint {
    /// Everything but files: a line each, such as `mount /proc (proc)`.
    facts: BTreeSet<String>,
    files: BTreeMap<PathBuf, FileState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    mode: u32,
    owner: (u32, u32),
    /// Size, seconds and nanoseconds of the last change of a file; a directory's change with what is in it,
    /// which is compared anyway.
    content: Option<(u64, i64, i64)>,
    link: Option<PathBuf>,
}

impl Footprint {
    /// Looks at the machine.
    pub(crate) fn take() -> Self {
        let mut facts = BTreeSet::new();
        facts.extend(processes());
        facts.extend(mounts());
        facts.extend(network());
        let mut files = BTreeMap::new();
        let except = exceptions();
        for root in roots() {
            let entries = WalkDir::new(root).same_file_system(true).into_iter();
            let entries = entries.filter_entry(|entry| !except.iter().any(|path| entry.path() == path));
            // What vanishes while it is looked at is not there.
            for entry in entries.flatten() {
                if let Ok(metadata) = entry.metadata() {
                    let state = FileState {
                        mode: metadata.mode(),
                        owner: (metadata.uid(), metadata.gid()),
                        content: metadata
                            .is_file()
                            .then(|| (metadata.size(), metadata.mtime(), metadata.mtime_nsec())),
                        link: fs::read_link(entry.path()).ok(),
                    };
                    files.insert(entry.into_path(), state);
                }
            }
        }
        Self { facts, files }
    }

    /// What `after` has more, less, or different: a line each.
    pub(crate) fn difference(&self, after: &Self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(
            after
                .facts
                .difference(&self.facts)
                .map(|fact| format!("+ {fact}")),
        );
        lines.extend(
            self.facts
                .difference(&after.facts)
                .map(|fact| format!("- {fact}")),
        );
        for (path, state) in &after.files {
            let shown = path.display();
            match self.files.get(path) {
                None => lines.push(format!("+ file {shown}")),
                Some(before) if before != state => {
                    lines.push(format!("~ file {shown}: {before:?} -> {state:?}"));
                }
                Some(_) => {}
            }
        }
        let gone = self.files.keys().filter(|path| !after.files.contains_key(*path));
        lines.extend(gone.map(|path| format!("- file {}", path.display())));
        lines
    }

    /// Compares with the machine as it is now. What is on its way out gets `patience` to be gone.
    pub(crate) fn changes(&self, patience: Duration) -> Vec<String> {
        let mut last = Vec::new();
        let clean = poll_for(patience, || {
            last = self.difference(&Self::take());
            last.is_empty().then_some(())
        });
        if clean.is_some() { Vec::new() } else { last }
    }

    /// Panics with the difference if the machine is not as it was.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self) {
        let changes = self.changes(Duration::from_secs(10));
        assert!(
            changes.is_empty(),
            "left behind on the machine:\n  {}",
            changes.join("\n  ")
        );
    }
}

fn roots() -> BTreeSet<PathBuf> {
    let mut roots: BTreeSet<PathBuf> = ["/etc", "/var", "/run", "/tmp"]
        .iter()
        .map(|path| PathBuf::from(*path))
        .collect();
    roots.insert(std::env::temp_dir());
    roots.extend(std::env::home_dir());
    roots
}

fn exceptions() -> Vec<PathBuf> {
    let home = std::env::home_dir().unwrap_or_default();
    let mut paths: Vec<PathBuf> = EXCEPTIONS.iter().map(|(path, _reason)| home.join(path)).collect();
    paths.extend(cache_dir());
    // The build writes here while tests run.
    paths.push(env!("CARGO_MANIFEST_DIR").into());
    paths
}

fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let user = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let mine = user == 0 || entry.metadata().is_ok_and(|metadata| metadata.uid() == user);
        if pid == own || !mine || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(bytes) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        // Arguments of the lab are long: the first words tell enough.
        let line: String = line.trim_end().chars().take(160).collect();
        if is_aside() || PROCESSES.iter().any(|word| line.contains(word)) {
            found.push(format!("process {pid} {line}"));
        }
    }
    found
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let describe = |line: &str| {
        // man 5 proc: id, parent, device, root, mount point, options, optional fields, "-", type, source.
        let (left, right) = line.split_once(" - ")?;
        let point = left.split_whitespace().nth(4)?;
        Some(format!(
            "mount {point} ({})",
            right.split_whitespace().take(2).collect::<Vec<_>>().join(" of ")
        ))
    };
    text.lines().filter_map(describe).collect()
}

fn network() -> Vec<String> {
    let mut facts = Vec::new();
    for (kind, argv) in [
        ("link", &["ip", "-brief", "link"][..]),
        ("route", &["ip", "route", "show", "table", "all"]),
        ("nft", &["nft", "list", "ruleset"]),
        ("iptables", &["iptables-save"]),
        ("ip6tables", &["ip6tables-save"]),
    ] {
        let firewall = !matches!(kind, "link" | "route");
        if firewall && needs_user_namespace() {
            // An ordinary user can neither see nor change the machine's rules.
            continue;
        }
        match Command::machine(argv).try_check() {
            Ok(output) => {
                // Comments hold the time, and declarations of chains hold counters.
                let lines = output.stdout.lines().filter(|line| !line.starts_with('#'));
                let lines = lines.map(|line| line.split(" [").next().unwrap_or(line).trim());
                facts.extend(lines.map(|line| format!("{kind} {line}")));
            }
            Err(error) => facts.push(format!("{kind} cannot be read: {error}")),
        }
    }
    let forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    facts.push(format!("ip_forward {}", forward.trim()));
    facts
}
