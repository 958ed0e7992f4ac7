//! What AppArmor and SELinux have denied, from the audit log or the kernel's own: the lines are read here, what is to be done
//! about one is decided elsewhere.

use super::Program;
use crate::name::printable;
use fs_err as fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where auditd writes.
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
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
    /// When, in seconds since 1970.
    pub time: u64,
    /// By whom.
    pub module: Module,
    /// To the program of that name.
    pub program: String,
    /// Which file, as far as that is said: with SELinux the last part only, at times.
    pub file: String,
    /// What it wanted with it.
    pub wanted: String,
    /// True if nothing more was done than to write it down.
    pub permissive: bool,
}

/// The denials on record, the oldest first; `None` where there is no log that we may read.
pub fn read() -> Option<Vec<Denial>> {
    let text = match audit_log() {
        Some(text) => text,
        None => Program::find("dmesg", "util-linux")
            .ok()?
            .run()
            .output()
            .ok()?
            .text(),
    };
    Some(text.lines().filter_map(parse).collect())
}

fn audit_log() -> Option<String> {
    let mut file = fs::File::open(AUDIT_LOG).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(READ))).ok()?;
    let mut content = Vec::new();
    file.take(READ).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// When something about the file `path` itself was last changed, its label included, in seconds since 1970.
pub fn changed(path: &Path) -> Option<u64> {
    u64::try_from(fs::symlink_metadata(path).ok()?.ctime()).ok()
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
    let time = after("audit(")?.split('.').next()?.parse().ok()?;
    let file = value("path").or_else(|| value("name"))?;
    let program = value("comm").unwrap_or_default();
    if line.contains("apparmor=\"DENIED\"") {
        return Some(Denial {
            time,
            module: Module::AppArmor(value("profile")?),
            program,
            file,
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
            (1_700_000_123, "qemu-system-x86", "r")
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
            (denial.file.as_str(), denial.wanted.as_str()),
            ("leases", "read write")
        );
        assert!(denial.permissive && matches!(denial.module, Module::SELinux(_)));
        for other in [
            "",
            "audit(x",
            r#"audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_load" profile="unconfined" name="x" comm="apparmor_parser""#,
            "type=AVC msg=audit(1.2:3): avc:  granted  { read } for path=\"/x\" scontext=a",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
