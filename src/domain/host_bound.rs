//! The kinds of things that tie a domain to the host that it is on, and what becomes of them in a package. They are
//! found in `finder`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that does not simply travel with the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBound {
    /// What sort of thing it is.
    pub kind: HostBoundKind,
    /// Which one, for people: never more than one line, never an escape code.
    pub what: String,
    /// What becomes of it in a package.
    pub fate: Fate,
}

impl fmt::Display for HostBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fate)
    }
}

/// What becomes of something host-bound in a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is left out.
    Removed,
    /// The device stays, without what was in it.
    Emptied,
    /// It stays in the XML, and the other host has to have the like.
    Kept,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Removed => "left out",
            Fate::Emptied => "stays, but empty",
            Fate::Kept => "needed on the other host too",
        })
    }
}

/// The sorts of host-bound things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HostBoundKind {
    /// The emulator's path; each host's libvirt knows its own.
    Emulator,
    /// A device of the host passed through.
    HostDevice,
    /// A directory shared with the guest.
    Filesystem,
    /// A device redirected from a client.
    RedirectedDevice,
    /// A disk that the packager leaves behind.
    Disk,
    /// The medium in a CD-ROM or floppy drive.
    Media,
    /// A smartcard of the host.
    Smartcard,
    /// A TPM: the chip itself, or the state of an emulated one.
    Tpm,
    /// A path on the host.
    HostPath,
    /// A program that libvirt runs on the host when the guest starts or stops.
    Script,
    /// A bridge or network device of the host.
    HostNetwork,
    /// CPUs, memory nodes or huge pages of the host.
    HostTuning,
    /// The guest's own firmware variables.
    FirmwareVariables,
    /// Memory encryption, bound to one processor.
    LaunchSecurity,
    /// Arguments that libvirt hands to QEMU unread.
    Arguments,
    /// A password in the XML.
    Password,
    /// A security label chosen by hand.
    SecurityLabel,
    /// A reference to a secret that libvirt keeps elsewhere.
    Secret,
    /// An identity that must not exist twice.
    Identity,
    /// XML that libvirt may take for something else than this program does.
    Ambiguous,
}
