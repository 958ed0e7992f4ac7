//! The domain of an instance: what its package says, with the instance's own name, identity, disks and addresses, and
//! with what users have changed about it since.

use super::InstallError;
use super::firmware;
use super::record::{Instance, InstanceState};
use crate::domain::{self, Domain, Edit, InstanceDisk, InstanceNote, InstanceSpec, VirtType, XmlValue};
use crate::host::{Layout, Libvirt, files};
use crate::name::{Mac, PackageVersion};
use crate::package::{GuestPackage, Manifest};
use std::path::Path;

/// The domain XML that a package makes of an instance.
pub(super) struct Wanted {
    pub(super) xml: String,
    /// What differs from the package for this host's sake.
    pub(super) notes: Vec<InstanceNote>,
    spec: InstanceSpec,
}

/// What the package wants the instance's domain to be.
pub(super) fn wanted(
    layout: &Layout,
    manifest: &Manifest,
    instance: &Instance,
    packaged_xml: &str,
    macs: &[Mac],
    virt: VirtType,
) -> Result<Wanted, InstallError> {
    let package = &manifest.package.name;
    let wrong = |source| InstallError::Xml {
        package: package.clone(),
        source,
    };
    let path = |path: &Path| XmlValue::path(path).map_err(wrong);
    let chain = layout.instance_chain(&instance.name);
    let mut disks = Vec::new();
    for disk in &manifest.disks {
        // From the record, never from the manifest: an upgraded package names images that the overlay is not on.
        let layers = instance.disk(&disk.target).map_or(&[][..], |made| &made.layers);
        let below = layers
            .iter()
            .rev()
            .map(|layer| path(chain.join(layer.file_name()).named()));
        disks.push(InstanceDisk {
            target: disk.target.as_str().to_owned(),
            file: path(layout.instance_disk(&instance.name, &disk.target).named())?,
            backing: below.collect::<Result<_, _>>()?,
        });
    }
    let text = |text: &str| XmlValue::new(text).map_err(wrong);
    let mut addresses = std::collections::BTreeMap::new();
    for (index, mac) in macs.iter().enumerate() {
        addresses.insert(index, text(&mac.to_string())?);
    }
    let mark = mark(package, &manifest.package.version, instance).map_err(wrong)?;
    let spec = InstanceSpec {
        name: text(instance.name.as_str())?,
        uuid: instance.uuid,
        virt,
        disks,
        macs: addresses,
        nvram: firmware::variables(layout, &instance.name)
            .map(|file| path(file.named()))
            .transpose()?,
        serial_log: None,
        mark,
    };
    let made = domain::for_instance(packaged_xml, &spec).map_err(wrong)?;
    Ok(Wanted {
        xml: made.xml,
        notes: made.notes,
        spec,
    })
}

/// By this an instance is known, whatever it is called.
fn mark(
    package: &GuestPackage,
    version: &PackageVersion,
    instance: &Instance,
) -> Result<Vec<(&'static str, XmlValue)>, domain::DomainXmlError> {
    Ok(vec![
        ("version", XmlValue::new("1")?),
        ("package", XmlValue::new(package.as_str())?),
        ("package-version", XmlValue::new(version.as_str())?),
        ("instance", XmlValue::new(instance.name.as_str())?),
        ("uuid", XmlValue::from(instance.uuid)),
    ])
}

/// What has become of an instance's definition, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What it was last given.
    applied: Option<String>,
    /// What libvirt made of that, without the edits of users.
    defined: Option<String>,
    /// What it is now, or was when it was taken out of libvirt.
    pub(super) current: Option<String>,
}

impl History {
    pub(super) fn read(
        layout: &Layout,
        libvirt: &Libvirt,
        instance: &Instance,
    ) -> Result<Self, InstallError> {
        let name = &instance.name;
        let file = |place: crate::host::Place| -> Result<Option<String>, InstallError> {
            let bytes = files::read_if_there(place.on_disk())?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let last = layout.instance(name).join("domain.xml");
        let current = match libvirt.definition(instance.uuid)? {
            Some(xml) => Some(xml),
            None => match file(layout.instance_kept(name).join("domain.xml"))? {
                Some(xml) => Some(xml),
                None if instance.state == InstanceState::Unregistered => file(last.clone())?,
                None => None,
            },
        };
        // Before there were records of it, the last XML was what was given.
        let applied = match file(layout.instance_applied(name))? {
            None if instance.state == InstanceState::Registered => file(last)?,
            applied => applied,
        };
        Ok(Self {
            applied,
            defined: file(layout.instance_defined(name))?,
            current,
        })
    }

    /// What users have changed.
    pub(super) fn edits(&self) -> Result<Vec<Edit>, domain::DomainXmlError> {
        match (self.defined.as_ref().or(self.applied.as_ref()), &self.current) {
            (Some(base), Some(current)) => domain::differences(base, current),
            _ => Ok(Vec::new()),
        }
    }

    /// True if this is what was last given.
    pub(super) fn is_applied(&self, wanted: &Wanted) -> bool {
        self.applied.as_deref() == Some(&*wanted.xml)
    }
}

/// Defines the instance's domain: what is wanted, and what users have changed in the one before. What was kept of
/// their changes is returned.
pub(super) fn define(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    wanted: &Wanted,
    history: &History,
) -> Result<Vec<Edit>, InstallError> {
    let wrong = |source| InstallError::Xml {
        package: instance.package.clone(),
        source,
    };
    let (xml, kept) = match (&history.applied, &history.current) {
        (Some(applied), Some(current)) => {
            let merged =
                domain::merge(applied, &wanted.xml, current, history.defined.as_deref()).map_err(wrong)?;
            (merged.xml, merged.kept)
        }
        // Nobody knows what in it was changed here: all of it stays.
        (None, Some(current)) => (current.clone(), Vec::new()),
        (_, None) => (wanted.xml.clone(), Vec::new()),
    };
    // What begins anew keeps its name.
    let called = libvirt
        .domain_by_uuid(instance.uuid)?
        .filter(|_| history.current.is_none());
    let called = called
        .map(|domain| XmlValue::new(domain.name))
        .transpose()
        .map_err(wrong)?;
    let xml = domain::with_identity(&xml, &wanted.spec, called.as_ref()).map_err(wrong)?;
    let name = Domain::parse(&xml).map_err(wrong)?.name;
    libvirt.define_domain(&name, &xml)?;
    let now = libvirt.definition(instance.uuid)?.unwrap_or(xml);
    let defined = match (
        &history.current,
        history.defined.as_ref().or(history.applied.as_ref()),
    ) {
        // Their changes taken back out of what libvirt says now, so that they are known as theirs for ever.
        (Some(current), Some(base)) if !kept.is_empty() => {
            domain::merge(current, base, &now, None).map_err(wrong)?.xml
        }
        _ => now.clone(),
    };
    let write = |place: crate::host::Place, text: &str| files::write(place.on_disk(), text.as_bytes(), 0o600);
    // This one last: as long as it is the old one, all is done again.
    write(layout.instance(&instance.name).join("domain.xml"), &now)?;
    write(layout.instance_defined(&instance.name), &defined)?;
    write(layout.instance_applied(&instance.name), &wanted.xml)?;
    Ok(kept)
}
