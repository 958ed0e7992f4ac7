//! Whether KVM runs guests here. `/dev/kvm`, libvirt's capabilities and the state "running" prove nothing: there are
//! machines where a KVM guest starts and never executes an instruction. So a guest of nine bytes is run. Here are
//! its code, the command line, and what the outcome means; running it and remembering the answer is the parent's.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The status with which QEMU ends when the guest has run: what the guest writes to isa-debug-exit, times two,
/// plus one.
pub const RAN: i32 = 0x10 << 1 | 1;

/// How long the probe may take. Where KVM works it takes a tenth of a second, nearly all of it QEMU's own start.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// What to do with a probe that is past [`DEADLINE`]: end it no later than this. Nothing depends on the exact value.
pub const GIVE_UP: Duration = Duration::from_secs(2);

/// The guest: a boot sector that writes 0x10 to port 0xf4 and halts.
pub const BOOT_SECTOR: [u8; 512] = {
    const CODE: [u8; 9] = [
        0xba, 0xf4, 0x00, // mov dx, 0xf4
        0xb0, 0x10, // mov al, 0x10
        0xee, // out dx, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp back to hlt
    ];
    let mut sector = [0; 512];
    let mut at = 0;
    while at < CODE.len() {
        sector[at] = CODE[at];
        at += 1;
    }
    // The signature by which the firmware knows a boot sector.
    sector[510] = 0x55;
    sector[511] = 0xaa;
    sector
};

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator. The probe under it tells a broken KVM from a broken QEMU.
    Tcg,
}

/// The arguments for `qemu-system-x86_64`, where `sector` is a file that holds [`BOOT_SECTOR`].
pub fn arguments(accelerator: Accelerator, sector: &Path) -> Vec<OsString> {
    let accelerator = match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    // In QEMU's option lists a comma in a value is written twice.
    let mut drive = OsString::from("if=floppy,format=raw,read-only=on,file=");
    let mut parts = sector.as_os_str().as_encoded_bytes().split(|&byte| byte == b',');
    if let Some(first) = parts.next() {
        drive.push(bytes(first));
    }
    for part in parts {
        drive.push(",,");
        drive.push(bytes(part));
    }
    let fixed = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-m",
        "16",
        "-machine",
        &format!("pc,accel={accelerator},usb=off"),
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
        "-boot",
        "order=a",
        "-drive",
    ];
    fixed.iter().map(OsString::from).chain([drive]).collect()
}

fn bytes(part: &[u8]) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(part)
}

/// What a probe has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The guest ran, in time.
    Runs,
    /// The guest ran, but so slowly that emulation is the better choice.
    Slow(Duration),
    /// QEMU started the guest, and nothing happened.
    Stalled,
    /// QEMU ended without running the guest: with that status, or by a signal.
    Refused(Option<i32>),
}

impl Verdict {
    /// Whether guests should use what was probed.
    pub fn is_usable(self) -> bool {
        self == Verdict::Runs
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Runs => f.write_str("a guest ran"),
            Verdict::Slow(time) => write!(f, "a guest of nine bytes took {:.1} s", time.as_secs_f64()),
            Verdict::Stalled => f.write_str("a guest was started, but did not run"),
            Verdict::Refused(Some(status)) => write!(f, "QEMU ended with status {status}"),
            Verdict::Refused(None) => f.write_str("QEMU was ended by a signal"),
        }
    }
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with that exit status; none if a signal that was not ours ended it.
    Itself(Option<i32>),
    /// By us, because it took too long.
    GivenUp,
}

/// What the outcome of a probe means; `elapsed` is the time from start to end.
pub fn verdict(ended: Ended, elapsed: Duration) -> Verdict {
    match ended {
        Ended::Itself(Some(RAN)) if elapsed <= DEADLINE => Verdict::Runs,
        Ended::Itself(Some(RAN)) => Verdict::Slow(elapsed),
        Ended::Itself(status) => Verdict::Refused(status),
        Ended::GivenUp => Verdict::Stalled,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn verdicts() {
        let after = |ended, millis| verdict(ended, Duration::from_millis(millis));
        assert_eq!(after(Ended::Itself(Some(33)), 100), Verdict::Runs);
        assert_eq!(after(Ended::Itself(Some(33)), 1000), Verdict::Runs);
        assert_eq!(
            after(Ended::Itself(Some(33)), 4000),
            Verdict::Slow(Duration::from_secs(4))
        );
        assert_eq!(after(Ended::Itself(Some(1)), 50), Verdict::Refused(Some(1)));
        assert_eq!(after(Ended::Itself(Some(0)), 50), Verdict::Refused(Some(0)));
        assert_eq!(after(Ended::Itself(None), 50), Verdict::Refused(None));
        assert_eq!(after(Ended::GivenUp, 2000), Verdict::Stalled);
        assert_eq!(after(Ended::GivenUp, 10), Verdict::Stalled);
        let usable =
            [Verdict::Slow(GIVE_UP), Verdict::Stalled, Verdict::Refused(None)].map(Verdict::is_usable);
        assert_eq!(usable, [false; 3]);
    }

    /// The real QEMU under emulation, with a path that its option lists could misread.
    #[test]
    fn the_guest_runs_under_emulation() {
        let directory = tempfile::Builder::new().prefix("a,b c,").tempdir().unwrap();
        let sector = directory.path().join("sector,format=qcow2");
        fs_err::File::create(&sector)
            .unwrap()
            .write_all(&BOOT_SECTOR)
            .unwrap();
        let output = Command::new("qemu-system-x86_64")
            .args(arguments(Accelerator::Tcg, &sector))
            .stdin(Stdio::null())
            .output()
            .expect("qemu-system-x86_64 runs (Debian: qemu-system-x86)");
        let status = output.status.code();
        assert_eq!(status, Some(RAN), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
