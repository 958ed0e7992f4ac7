//! What has become of a guest package, by looking: whether it is there, what libvirt has of its guests, what is pending.

use super::InstallError;
use super::pending;
use super::record::{Instance, InstanceState};
use crate::host::{Layout, Libvirt};
use crate::name::GuestName;
use crate::package::{self, GuestPackage, InstalledError};
use serde::Serialize;

/// A guest package and its guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The package.
    pub package: GuestPackage,
    /// Version and release of what is installed of it.
    pub installed: Option<String>,
    /// Its guests.
    pub guests: Vec<OutcomeGuest>,
    /// Why work of it is pending.
    pub pending: Vec<String>,
}

/// A guest of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeGuest {
    /// Its name.
    pub name: GuestName,
    /// Whether libvirt has it, and its record says that this is so.
    pub registered: bool,
}

impl Outcome {
    /// True if the package is there in the version `wanted`, with a guest that libvirt has, and nothing is left to do.
    pub fn is_done(&self, wanted: &str) -> bool {
        self.installed.as_deref() == Some(wanted)
            && self.pending.is_empty()
            && !self.guests.is_empty()
            && self.guests.iter().all(|guest| guest.registered)
    }
}

/// Looks; without `libvirt` the records are believed.
pub fn outcome(
    layout: &Layout,
    libvirt: Option<&Libvirt>,
    package: &GuestPackage,
) -> Result<Outcome, InstallError> {
    let installed = match package::show(layout, package) {
        Ok(installed) => {
            let section = installed.manifest.package;
            Some(format!("{}-{}", section.version, section.release))
        }
        Err(InstalledError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let mut guests = Vec::new();
    for instance in Instance::all(layout)?
        .into_iter()
        .filter(|i| i.package == *package)
    {
        let known = match libvirt {
            Some(libvirt) => libvirt.domain_by_uuid(instance.uuid)?.is_some(),
            None => true,
        };
        guests.push(OutcomeGuest {
            registered: known && instance.state == InstanceState::Registered,
            name: instance.name,
        });
    }
    let pending = pending::list(layout)?.into_iter();
    Ok(Outcome {
        package: package.clone(),
        installed,
        guests,
        pending: pending
            .filter(|pending| pending.kind.package() == package)
            .map(|pending| format!("{}: {}", pending.kind, pending.reason))
            .collect(),
    })
}
