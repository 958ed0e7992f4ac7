//! The initramfs of a lab guest: a writer for the kernel's archive format and what goes into it.
//!
//! Format: "newc" cpio, the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The programs that the guest's scripts call; each is a link to busybox.
const APPLETS: [&str; 37] = [
    "cat",
    "cmp",
    "dd",
    "dmesg",
    "echo",
    "find",
    "grep",
    "head",
    "hostname",
    "insmod",
    "ip",
    "kill",
    "killall",
    "ls",
    "md5sum",
    "mkdir",
    "mount",
    "nslookup",
    "ping",
    "poweroff",
    "ps",
    "reboot",
    "rm",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "true",
    "udhcpc",
    "umount",
    "xargs",
];

const INIT: &str = include_str!("init.sh");
const FREEZE_HOOK: &str = include_str!("freeze-hook.sh");
const LEASE: &str = include_str!("lease.sh");
const LEASE6: &str = include_str!("lease6.sh");

/// What is different from machine to machine in an initramfs.
pub(super) struct Parts {
    /// A statically linked busybox.
    pub(super) busybox: Vec<u8>,
    /// Kernel modules by name, in the order in which they are to be inserted.
    pub(super) modules: Vec<(String, Vec<u8>)>,
    /// dhcpcd, for DHCPv6.
    pub(super) dhcp6_client: Vec<u8>,
    /// The libraries that it needs, by their paths from the root.
    pub(super) libraries: Vec<(String, Vec<u8>)>,
    /// QEMU's guest agent with its libraries, for guests that are to have it.
    pub(super) agent: Vec<(String, Vec<u8>)>,
}

/// The archive, not compressed. Equal parts make equal bytes.
pub(super) fn build(parts: &Parts) -> Vec<u8> {
    let mut archive = Archive::default();
    for dir in [
        "bin", "data", "dev", "etc", "modules", "proc", "run", "sys", "tmp", "var", "var/lib",
    ] {
        archive.entry(dir, 0o040_755, (0, 0), &[]);
    }
    // The kernel opens it for init before anything is mounted.
    archive.entry("dev/console", 0o020_600, (5, 1), &[]);
    archive.entry("bin/busybox", 0o100_755, (0, 0), &parts.busybox);
    for applet in APPLETS {
        archive.entry(&format!("bin/{applet}"), 0o120_777, (0, 0), b"busybox");
    }
    let mut order = String::new();
    for (name, bytes) in &parts.modules {
        archive.entry(&format!("modules/{name}.ko"), 0o100_644, (0, 0), bytes);
        writeln!(order, "{name}.ko").expect("a String takes everything");
    }
    archive.entry("modules/order", 0o100_644, (0, 0), order.as_bytes());
    archive.entry("bin/dhcpcd", 0o100_755, (0, 0), &parts.dhcp6_client);
    let mut made = BTreeSet::from(["bin"]);
    let mut known = BTreeSet::new();
    for (path, bytes) in parts.libraries.iter().chain(&parts.agent) {
        if !known.insert(path) {
            continue;
        }
        let dirs = path
            .char_indices()
            .filter(|(_, c)| *c == '/')
            .map(|(end, _)| &path[..end]);
        for dir in dirs {
            if made.insert(dir) {
                archive.entry(dir, 0o040_755, (0, 0), &[]);
            }
        }
        archive.entry(path, 0o100_755, (0, 0), bytes);
    }
    archive.entry("init", 0o100_755, (0, 0), INIT.as_bytes());
    archive.entry("freeze-hook.sh", 0o100_755, (0, 0), FREEZE_HOOK.as_bytes());
    archive.entry("lease.sh", 0o100_755, (0, 0), LEASE.as_bytes());
    archive.entry("lease6.sh", 0o100_755, (0, 0), LEASE6.as_bytes());
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        let size = u32::try_from(content.len()).expect("files of an initramfs are small");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}
