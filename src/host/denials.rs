//! What AppArmor and SELinux have denied, from the audit log or the kernel's own: the lines are read here, what is to be done
//! about one is decided elsewhere.

use super::Program;
use crate::name::printable;
use fs_err as fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where auditd writes.
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
/// Where the modules of SELinux's policies are kept: `POLICY/active/modules/PRIORITY/MODULE`.
const MODULES: &str = "/var/lib/selinux";
/// How much of its end is read, in bytes.
const READ: u64 = 1 << 20;

/// Who denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Module {
    /// `AppArmor`, by this profile.
    AppArmor(String),
    /// `SELinux`, to a process in this context.
    SELinux(String),
}

/// Something that was denied. All texts are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// By whom.
    pub module: Module,
    /// To the program of that name.
    pub program: String,
    /// Which file, as far as that is said: with SELinux the last part only, as a rule.
    pub file: String,
    /// The file's number in its file system, which SELinux says.
    pub inode: Option<u64>,
    /// What it wanted with it.
    pub wanted: String,
    /// True if nothing more was done than to write it down.
    pub permissive: bool,
}

/// The denials on record; `None` where there is no log that we may read. While auditd runs the kernel's own log has none.
pub fn read() -> Option<Vec<Denial>> {
    let kernels = || {
        Some(
            Program::find("dmesg", "util-linux")
                .ok()?
                .run()
                .output()
                .ok()?
                .text(),
        )
    };
    let texts = [audit_log(), kernels()];
    let mut known = texts.iter().flatten().peekable();
    known.peek()?;
    Some(known.flat_map(|text| text.lines()).filter_map(parse).collect())
}

fn audit_log() -> Option<String> {
    let mut file = fs::File::open(AUDIT_LOG).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(READ))).ok()?;
    let mut content = Vec::new();
    file.take(READ).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// When something about the file `path` itself was last changed, its label included, in milliseconds since 1970.
pub fn changed(path: &Path) -> Option<u64> {
    let file = fs::symlink_metadata(path).ok()?;
    let milliseconds = file.ctime() * 1000 + file.ctime_nsec() / 1_000_000;
    u64::try_from(milliseconds).ok()
}

/// The file with that name and number in one of the directories, or below.
pub fn find(dirs: &[&str], name: &str, inode: u64) -> Option<PathBuf> {
    let mut dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.ino() == inode && entry.file_name() == name {
                return Some(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    None
}

/// Whether SELinux's policy on this host has the module of that name.
pub fn has_module(name: &str) -> bool {
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let policies = entries(PathBuf::from(MODULES)).map(|policy| policy.path().join("active/modules"));
    policies
        .flat_map(entries)
        .any(|priority| priority.path().join(name).is_dir())
}

/// A line of the kernel's audit (`audit: type=1400 audit(TIME:SERIAL): apparmor="DENIED" …`) or of auditd's log
/// (`type=AVC msg=audit(TIME:SERIAL): avc:  denied  { read } for …`); `None` for any other.
fn parse(line: &str) -> Option<Denial> {
    let after = |mark: &str| Some(line.split_once(mark)?.1);
    let value = |key: &str| {
        let rest = after(&format!(" {key}="))?;
        let value = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split('"').next()?.to_owned()
        } else {
            let word = rest.split_whitespace().next()?;
            // What holds a space, a quote or a control character is written in hexadecimal.
            let file = matches!(key, "name" | "path" | "profile");
            file.then(|| from_hex(word))
                .flatten()
                .unwrap_or_else(|| word.to_owned())
        };
        Some(printable(&value, 400))
    };
    // What the message bus denies names objects of its own.
    if line.contains(" operation=\"dbus_") {
        return None;
    }
    let (seconds, rest) = after("audit(")?.split_once('.')?;
    let milliseconds: u64 = rest.split(':').next()?.parse().ok()?;
    let time = seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(milliseconds)?;
    let inode = value("ino").and_then(|number| number.parse().ok());
    let file = value("path").or_else(|| value("name"))?;
    let program = value("comm").unwrap_or_default();
    if line.contains("apparmor=\"DENIED\"") {
        return Some(Denial {
            time,
            module: Module::AppArmor(value("profile")?),
            program,
            file,
            inode,
            wanted: value("denied_mask").or_else(|| value("requested_mask"))?,
            permissive: false,
        });
    }
    let wanted = after("avc:")?.trim_start().strip_prefix("denied")?.trim_start();
    let wanted = wanted.strip_prefix('{')?.split('}').next()?.trim();
    Some(Denial {
        time,
        module: Module::SELinux(value("scontext")?),
        program,
        file,
        inode,
        wanted: printable(wanted, 80),
        permissive: value("permissive").is_some_and(|value| value == "1"),
    })
}

fn from_hex(word: &str) -> Option<String> {
    if word.is_empty() || !word.len().is_multiple_of(2) || !word.is_ascii() {
        return None;
    }
    let octets: Option<Vec<u8>> = (0..word.len() / 2)
        .map(|at| u8::from_str_radix(&word[at * 2..at * 2 + 2], 16).ok())
        .collect();
    String::from_utf8(octets?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_are_read() {
        let apparmor = r#"[  812.5] audit: type=1400 audit(1700000123.456:77): apparmor="DENIED" operation="open" class="file" profile="libvirt-1b4e28ba-2fa1-11d2-883f-0016d3cca427" name="/var/lib/libvirt/images/miniascape/packaged/x.qcow2" pid=991 comm="qemu-system-x86" requested_mask="r" denied_mask="r" fsuid=64055 ouid=0"#;
        let denial = parse(apparmor).unwrap();
        assert_eq!(
            (denial.time, denial.program.as_str(), denial.wanted.as_str()),
            (1_700_000_123_456, "qemu-system-x86", "r")
        );
        assert_eq!(
            denial.module,
            Module::AppArmor("libvirt-1b4e28ba-2fa1-11d2-883f-0016d3cca427".into())
        );
        let hex = apparmor.replace(
            "\"/var/lib/libvirt/images/miniascape/packaged/x.qcow2\"",
            "2F612062",
        );
        assert_eq!(parse(&hex).unwrap().file, "/a b");
        let selinux = r#"type=AVC msg=audit(1700000200.001:9): avc:  denied  { read write } for  pid=12 comm="dnsmasq" name="leases" dev="vda2" ino=99 scontext=system_u:system_r:dnsmasq_t:s0 tcontext=unconfined_u:object_r:user_home_t:s0 tclass=file permissive=1"#;
        let denial = parse(selinux).unwrap();
        assert_eq!(
            (denial.file.as_str(), denial.wanted.as_str(), denial.inode),
            ("leases", "read write", Some(99))
        );
        assert!(denial.permissive && matches!(denial.module, Module::SELinux(_)));
        for other in [
            "",
            "audit(x",
            r#"audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_load" profile="unconfined" name="x" comm="apparmor_parser""#,
            r#"type=USER_AVC msg=audit(1.2:3): pid=1 uid=104 msg='apparmor="DENIED" operation="dbus_bind" bus="system" name="uk.org.thekelleys.dnsmasq.x" mask="bind" profile="x" exe="/usr/bin/dbus-daemon"'"#,
            "type=AVC msg=audit(1.2:3): avc:  granted  { read } for path=\"/x\" scontext=a",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
