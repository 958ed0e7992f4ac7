//! Whether packages can be installed on this host, and what their guests would meet here: asked before any byte is copied.
//! What is around is gathered once per guest (`gather`); the judgement is pure (`judge`). Nothing is changed.

mod capabilities;
mod gather;
mod judge;

#[cfg(test)]
mod tests;

use super::InstallError;
use crate::domain::VirtType;
use crate::host::{Layout, Libvirt};
use crate::package::{Contents, GuestPackage};
use serde::Serialize;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// What is installed of the package, and who has it.
    Package,
    /// Whether the images that a guest needs are there or come along.
    Images,
    /// Room for them.
    Space,
    /// The storage pool that libvirt has for the images' directory.
    Pool,
    /// The guest's name.
    Name,
    /// What the domain XML asks of the host.
    Trust,
    /// The emulator for its architecture.
    Emulator,
    /// Its machine type.
    Machine,
    /// Its processor.
    Cpu,
    /// Its firmware.
    Firmware,
    /// A network that it is plugged into.
    Network,
    /// The hardware addresses of its interfaces.
    Mac,
    /// The addresses that networks reserve for it.
    Address,
    /// What confines guests: `AppArmor`, `SELinux`.
    Security,
}

impl Check {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Images => "images",
            Self::Space => "space",
            Self::Pool => "pool",
            Self::Name => "name",
            Self::Trust => "trust",
            Self::Emulator => "emulator",
            Self::Machine => "machine",
            Self::Cpu => "cpu",
            Self::Firmware => "firmware",
            Self::Network => "network",
            Self::Mac => "mac",
            Self::Address => "address",
            Self::Security => "security",
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It can be installed, and something will be otherwise than in the package, is still to be done, or is not known.
    Warning,
    /// It would not work.
    No,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::No => "no",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The package that it is about; `None` for the host and all packages together.
    pub package: Option<GuestPackage>,
    /// What was looked at.
    pub check: Check,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn new(check: Check, verdict: Verdict, what: impl Into<String>) -> Self {
        Self {
            package: None,
            check,
            verdict,
            what: what.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks at what the packages, read by [`crate::package::contents`], would meet on this host; `virt` is what will run the
/// guests of the host's own architecture. With `trust` the guests are given what their packages do not declare.
pub fn preflight(
    layout: &Layout,
    libvirt: &Libvirt,
    virt: VirtType,
    packages: &[Contents],
    trust: bool,
) -> Result<Vec<Finding>, InstallError> {
    let host = gather::host(layout, libvirt, packages)?;
    let mut findings = judge::host(&host, packages);
    let mut guests = Vec::new();
    for file in packages {
        let Some(contents) = &file.guest else { continue };
        let around = gather::guest(layout, libvirt, (virt, trust), &host, contents, &guests)?;
        let package = &contents.manifest.package.name;
        findings.extend(
            judge::guest(&host, &around, &contents.manifest, file.found.kind)
                .into_iter()
                .map(|finding| Finding {
                    package: Some(package.clone()),
                    ..finding
                }),
        );
        guests.push(&contents.manifest);
    }
    Ok(findings)
}
