//! `guest delete`: a guest that was made here goes, with what it brought into networks and the leases that it holds; its
//! disks only on demand. Every step can be done twice, so that a killed run is finished by the same command.

use crate::domain::{DiskSource, Domain, DomainXmlError};
use crate::host::{DomainRecord, Layout, Libvirt, LibvirtError, files};
use crate::install::{InstallError, Instance};
use crate::name::{GuestName, Mac, NetworkName, printable};
use crate::network::{self, StateError};
use crate::package::GuestPackage;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// Why a guest was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// libvirt has no such guest, and nothing of it is left.
    #[error("there is no guest {0}")]
    Unknown(String),
    /// It runs.
    #[error("the guest {0} is running; nothing was changed")]
    Running(String),
    /// It was made by somebody else.
    #[error("the guest {0} was not made by miniascape; nothing was changed")]
    Foreign(String),
    /// It belongs to a package that is installed.
    #[error(
        "the guest {guest} is the only one of the package {package}, which is installed; nothing was changed"
    )]
    Packaged {
        /// The guest.
        guest: GuestName,
        /// Its package.
        package: GuestPackage,
    },
    /// Another guest has one of its disks.
    #[error("the guest {user} uses {}, a disk of {guest}; nothing was changed", disk.display())]
    DiskInUse {
        /// The guest.
        guest: GuestName,
        /// The file.
        disk: PathBuf,
        /// The other guest, made printable.
        user: String,
    },
    /// Its XML cannot be read.
    #[error("the domain XML of {guest}: {source}")]
    Xml {
        /// The guest.
        guest: GuestName,
        /// What is wrong with it.
        source: DomainXmlError,
    },
    /// The record of a packaged guest is damaged.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The record of networks is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// A file cannot be removed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was deleted, or with `dry_run` would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The guest.
    pub guest: GuestName,
    /// True if libvirt knew it.
    pub undefined: bool,
    /// The networks that no longer have an entry of it.
    pub networks: Vec<NetworkName>,
    /// The directory of its disks, if it is gone.
    pub removed: Option<PathBuf>,
    /// The disks that stay.
    pub kept: Vec<PathBuf>,
    /// What could not be done, and how it can.
    pub notes: Vec<String>,
}

/// Deletes the guest `name`; with `disks` also the disks in its own directory, and its firmware variables.
pub fn delete(
    layout: &Layout,
    libvirt: &Libvirt,
    name: &str,
    disks: bool,
    dry_run: bool,
) -> Result<Deleted, DeleteError> {
    let domain = libvirt.domain(name)?;
    let Ok(guest) = name.parse::<GuestName>() else {
        let shown = printable(name, 64);
        // libvirt takes names that we give nobody.
        return Err(if domain.is_some() {
            DeleteError::Foreign(shown)
        } else {
            DeleteError::Unknown(shown)
        });
    };
    let _lock = if dry_run {
        None
    } else {
        Some(files::Lock::acquire(layout.guest_lock(&guest).on_disk())?)
    };
    let parsed = domain.as_ref().map(|record| ours(&guest, record)).transpose()?;
    let instance = match &domain {
        Some(domain) => Instance::of_domain(layout, domain.uuid)?,
        None => Instance::read(layout, &guest)?,
    };
    if let Some(instance) = &instance {
        refuse_last(layout, &guest, instance)?;
    }
    // Its files keep the name that it was made with, whatever the domain is called now.
    let files_of_guest = instance
        .as_ref()
        .map_or(&guest, |instance| &instance.name)
        .clone();
    let own = layout.instance_disks(&files_of_guest).on_disk().to_owned();
    let networks = network::networks_of(layout, &files_of_guest)?;
    if domain.is_none() && networks.is_empty() && !own.exists() {
        return Err(DeleteError::Unknown(name.to_owned()));
    }
    if disks {
        refuse_shared(libvirt, &guest, &own)?;
    }
    let files: Vec<PathBuf> = parsed.iter().flat_map(files_of).collect();
    let mut done = Deleted {
        undefined: domain.is_some(),
        kept: files
            .into_iter()
            .filter(|file| !(disks && file.starts_with(&own)))
            .collect(),
        removed: (disks && own.exists()).then(|| own.clone()),
        networks,
        notes: Vec::new(),
        guest,
    };
    if dry_run {
        return Ok(done);
    }
    if let Some(domain) = &domain {
        super::live::forget_checkpoint(layout, domain.uuid)?;
        if disks {
            libvirt.undefine_domain_and_state(name)?;
        } else {
            libvirt.undefine_domain(name)?;
        }
    }
    let macs: Vec<Mac> = parsed.iter().flat_map(macs_of).collect();
    done.notes = network::leave(layout, libvirt, &files_of_guest, &macs)?;
    if disks {
        files::remove_dir(&own)?;
        files::remove_dir(layout.instance(&files_of_guest).on_disk())?;
        if let Some(instance) = &instance {
            files::remove(layout.kept_memory(instance.uuid).on_disk())?;
        }
    } else if instance.is_some_and(|instance| is_installed(layout, &instance.package)) {
        // Its package would bring it back; made again under its name it finds its disks.
        files::remove(layout.instance_record(&files_of_guest).on_disk())?;
    }
    Ok(done)
}

/// The domain, if it is ours and off.
fn ours(guest: &GuestName, record: &DomainRecord) -> Result<Domain, DeleteError> {
    let domain = Domain::parse(&record.xml).map_err(|source| DeleteError::Xml {
        guest: guest.clone(),
        source,
    })?;
    if domain.mark("guest").is_none() {
        return Err(DeleteError::Foreign(guest.to_string()));
    }
    if record.state.is_active() {
        return Err(DeleteError::Running(guest.to_string()));
    }
    Ok(domain)
}

/// The only guest of an installed package goes with its package, and would come back with its next registration. One of
/// several can be deleted, and so can one whose package has gone.
fn refuse_last(layout: &Layout, guest: &GuestName, instance: &Instance) -> Result<(), DeleteError> {
    let package = &instance.package;
    let others = Instance::all(layout)?.into_iter();
    let mut others = others.filter(|other| other.package == *package && other.name != instance.name);
    if !is_installed(layout, package) || others.next().is_some() {
        return Ok(());
    }
    Err(DeleteError::Packaged {
        guest: guest.clone(),
        package: package.clone(),
    })
}

fn is_installed(layout: &Layout, package: &GuestPackage) -> bool {
    let manifest = layout.guest_package(package.guest()).join("manifest.json");
    manifest.on_disk().exists()
}

fn refuse_shared(libvirt: &Libvirt, guest: &GuestName, own: &Path) -> Result<(), DeleteError> {
    for other in libvirt.domains()? {
        if other.name == guest.as_str() {
            continue;
        }
        // What cannot be read uses nothing that we could know of.
        let Ok(domain) = Domain::parse(&other.xml) else {
            continue;
        };
        if let Some(disk) = files_of(&domain).into_iter().find(|file| file.starts_with(own)) {
            return Err(DeleteError::DiskInUse {
                guest: guest.clone(),
                disk,
                user: printable(&other.name, 64),
            });
        }
    }
    Ok(())
}

fn files_of(domain: &Domain) -> Vec<PathBuf> {
    let file = |source: &DiskSource| match source {
        DiskSource::File(path) => Some(PathBuf::from(path)),
        _ => None,
    };
    domain
        .disks
        .iter()
        .filter_map(|disk| file(&disk.source))
        .collect()
}

fn macs_of(domain: &Domain) -> Vec<Mac> {
    let macs = domain.interfaces.iter();
    macs.filter_map(|interface| interface.mac.as_deref()?.parse().ok())
        .collect()
}
