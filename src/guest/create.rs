//! The domain XML of a new guest, from a specification in which everything has been decided. Pure: making disks,
//! probing KVM and defining the domain is done elsewhere.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::request::{FirmwareKind, MachineType};
use super::route::Route;
use crate::domain::{Domain, DomainXmlError, VirtType, XmlValue};
use crate::image::Format;
use crate::name::{GuestName, InterfaceName, Mac, NetworkName};
use crate::template::{TemplateError, Templates};

/// The template, in `data/templates` or replaced by the host's own.
const TEMPLATE: &str = "domain.xml";

/// A new guest.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// Its name.
    pub name: GuestName,
    /// Its identity.
    pub uuid: Uuid,
    /// A title for people.
    pub title: Option<String>,
    /// What runs it, decided by a probe.
    pub virt: VirtType,
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// The machine that it is.
    pub machine: MachineType,
    /// What it boots with.
    pub firmware: FirmwareKind,
    /// Its disks, which become `vda`, `vdb`, …; it boots from the first.
    pub disks: Vec<GuestDisk>,
    /// Its network interfaces.
    pub nics: Vec<GuestNic>,
    /// A file in which the output of its serial port is kept.
    pub serial_log: Option<PathBuf>,
    /// Whether it has a display, served by VNC on a socket that only the host's root and QEMU's user can open.
    pub vnc: bool,
}

/// A disk of a new guest.
#[derive(Debug, Clone)]
pub struct GuestDisk {
    /// The image, by its absolute path.
    pub file: PathBuf,
    /// The image's format.
    pub format: Format,
}

/// A network interface of a new guest.
#[derive(Debug, Clone)]
pub struct GuestNic {
    /// The network that it is plugged into.
    pub network: NetworkName,
    /// Its hardware address.
    pub mac: Mac,
    /// The host's side of it, where the network has neither a bridge nor a libvirt network.
    pub route: Option<Route>,
}

/// Why there is no domain XML for a new guest.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A path is not absolute, so libvirt would look for it somewhere else.
    #[error("the path {} must be absolute", .0.display())]
    RelativePath(PathBuf),
    /// Two interfaces with one address.
    #[error("two network interfaces have the address {0}")]
    RepeatedMac(Mac),
    /// A value cannot be written, or the result is not a domain.
    #[error(transparent)]
    Xml(#[from] DomainXmlError),
    /// The template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A template of the host's own leaves out something that miniascape depends on.
    #[error("the template {TEMPLATE} makes a domain without {0}; correct or remove the host's own")]
    Lost(&'static str),
}

/// What the template sees.
#[derive(Serialize)]
struct Context<'a> {
    virt: &'static str,
    name: &'a GuestName,
    uuid: String,
    title: Option<String>,
    mark: &'static str,
    memory_kib: u64,
    vcpus: u32,
    efi: bool,
    machine: &'a str,
    boot: Vec<&'static str>,
    cpu_mode: &'static str,
    disks: Vec<DiskContext>,
    nics: Vec<NicContext<'a>>,
    serial_log: Option<String>,
    vnc: bool,
}

#[derive(Serialize)]
struct DiskContext {
    file: String,
    format: &'static str,
    target: String,
}

#[derive(Serialize)]
struct NicContext<'a> {
    network: &'a NetworkName,
    mac: Mac,
    route: Option<RouteContext<'a>>,
}

#[derive(Serialize)]
struct RouteContext<'a> {
    tap: &'a InterfaceName,
    ends: Vec<EndContext>,
}

#[derive(Serialize)]
struct EndContext {
    family: &'static str,
    host: IpAddr,
    guest: IpAddr,
    prefix: u8,
}

impl<'a> RouteContext<'a> {
    fn new(route: &'a Route) -> Self {
        let end = |&(host, guest): &(IpAddr, IpAddr)| {
            let (family, prefix) = if host.is_ipv4() {
                ("ipv4", 32)
            } else {
                ("ipv6", 128)
            };
            EndContext {
                family,
                host,
                guest,
                prefix,
            }
        };
        Self {
            tap: &route.tap,
            ends: route.ends.iter().map(end).collect(),
        }
    }
}

impl GuestSpec {
    /// The domain XML.
    pub fn domain_xml(&self, templates: &Templates) -> Result<String, CreateError> {
        for (at, nic) in self.nics.iter().enumerate() {
            if self.nics[..at].iter().any(|other| other.mac == nic.mac) {
                return Err(CreateError::RepeatedMac(nic.mac));
            }
        }
        let disks = self.disks.iter().enumerate().map(|(index, disk)| {
            Ok(DiskContext {
                file: path_text(&disk.file)?,
                format: disk.format.as_str(),
                target: target_name(index),
            })
        });
        let context = Context {
            virt: self.virt.as_str(),
            name: &self.name,
            uuid: self.uuid.hyphenated().to_string(),
            title: self
                .title
                .as_deref()
                .map(XmlValue::new)
                .transpose()?
                .map(|title| title.to_string()),
            mark: crate::XML_NAMESPACE,
            memory_kib: self.memory_kib,
            vcpus: self.vcpus,
            efi: self.firmware == FirmwareKind::Efi,
            machine: self.machine.as_str(),
            boot: self.boot_order(),
            // The mode that copies the host's CPU needs KVM; "maximum" is all that emulation has.
            cpu_mode: match self.virt {
                VirtType::Kvm => "host-passthrough",
                VirtType::Qemu => "maximum",
            },
            disks: disks.collect::<Result<_, CreateError>>()?,
            nics: self
                .nics
                .iter()
                .map(|nic| NicContext {
                    network: &nic.network,
                    mac: nic.mac,
                    route: nic.route.as_ref().map(RouteContext::new),
                })
                .collect(),
            serial_log: self.serial_log.as_deref().map(path_text).transpose()?,
            vnc: self.vnc,
        };
        let xml = templates.render(TEMPLATE, &context)?;
        self.check(&Domain::parse(&xml)?)?;
        Ok(xml)
    }

    /// From the disk if there is one, else from the network.
    fn boot_order(&self) -> Vec<&'static str> {
        match (self.disks.is_empty(), self.nics.is_empty()) {
            (false, _) => vec!["hd"],
            (true, false) => vec!["network"],
            (true, true) => vec![],
        }
    }

    /// A host can replace the template; what the rest of miniascape finds the guest by must still be there.
    fn check(&self, made: &Domain) -> Result<(), CreateError> {
        if made.name != self.name.as_str() || made.uuid != Some(self.uuid) {
            return Err(CreateError::Lost("the name and UUID that were asked for"));
        }
        if made.mark("guest").is_none() {
            return Err(CreateError::Lost("miniascape's mark in <metadata>"));
        }
        let macs = made
            .interfaces
            .iter()
            .filter_map(|interface| interface.mac.as_deref());
        if !macs.eq(self.nics.iter().map(|nic| nic.mac.to_string())) {
            return Err(CreateError::Lost("the hardware addresses that were asked for"));
        }
        if made.disks.len() != self.disks.len() {
            return Err(CreateError::Lost("the disks that were asked for"));
        }
        Ok(())
    }
}

fn path_text(path: &Path) -> Result<String, CreateError> {
    if !path.is_absolute() {
        return Err(CreateError::RelativePath(path.to_owned()));
    }
    Ok(XmlValue::path(path)?.to_string())
}

/// `vda` to `vdz`, then `vdaa` and on, as the kernel counts.
fn target_name(mut index: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'a' + u8::try_from(index % 26).unwrap_or(0));
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    letters.extend(b"dv");
    letters.iter().rev().map(|&letter| char::from(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DiskSource;

    fn spec() -> GuestSpec {
        GuestSpec {
            name: "service-1".parse().unwrap(),
            uuid: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
            title: Some("<Service> & \"more\"".to_owned()),
            virt: VirtType::Kvm,
            memory_kib: 1 << 20,
            vcpus: 2,
            machine: MachineType::default(),
            firmware: FirmwareKind::Bios,
            disks: vec![
                GuestDisk {
                    file: "/srv/a & 'b'.qcow2".into(),
                    format: Format::Qcow2,
                },
                GuestDisk {
                    file: "/srv/data.img".into(),
                    format: Format::Raw,
                },
            ],
            nics: vec![GuestNic {
                network: "net-1".parse().unwrap(),
                mac: "52:54:00:01:00:10".parse().unwrap(),
                route: None,
            }],
            serial_log: Some("/var/log/miniascape/service-1.log".into()),
            vnc: true,
        }
    }

    fn bare() -> GuestSpec {
        GuestSpec {
            title: None,
            virt: VirtType::Qemu,
            disks: Vec::new(),
            nics: Vec::new(),
            firmware: FirmwareKind::Efi,
            serial_log: None,
            vnc: false,
            ..spec()
        }
    }

    fn routed() -> GuestSpec {
        let end = |host: &str, guest: &str| (host.parse().unwrap(), guest.parse().unwrap());
        GuestSpec {
            nics: vec![GuestNic {
                network: "taps".parse().unwrap(),
                mac: "52:54:00:01:00:10".parse().unwrap(),
                route: Some(Route {
                    tap: "hr-525400010010".parse().unwrap(),
                    ends: vec![end("10.9.0.1", "10.9.0.10"), end("fd00:9::1", "fd00:9::10")],
                }),
            }],
            ..bare()
        }
    }

    fn xml(spec: &GuestSpec) -> String {
        spec.domain_xml(&Templates::shipped().unwrap()).unwrap()
    }

    #[test]
    fn everything_and_next_to_nothing() {
        insta::assert_snapshot!("everything", xml(&spec()));
        insta::assert_snapshot!("next-to-nothing", xml(&bare()));
        insta::assert_snapshot!("routed", xml(&routed()));
    }

    #[test]
    fn values_arrive_as_they_are() {
        let made = Domain::parse(&xml(&spec())).unwrap();
        assert_eq!(made.title.as_deref(), Some("<Service> & \"more\""));
        let file = DiskSource::File("/srv/a & 'b'.qcow2".to_owned());
        assert_eq!(
            (&made.disks[0].source, made.disks[1].target.as_str()),
            (&file, "vdb")
        );
        assert_eq!(made.memory_kib, 1 << 20);
    }

    #[test]
    fn libvirt_accepts_it() {
        for spec in [spec(), bare(), routed()] {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs_err::write(file.path(), xml(&spec)).unwrap();
            let output = std::process::Command::new("virsh")
                .args(["-c", "test:///default", "define", "--validate"])
                .arg(file.path())
                .env("LC_ALL", "C.UTF-8")
                .output()
                .expect("virsh runs (Debian: libvirt-clients)");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let templates = Templates::shipped().unwrap();
        let refusal = |change: fn(&mut GuestSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.domain_xml(&templates).unwrap_err().to_string()
        };
        insta::assert_snapshot!(refusal(|s| s.disks[0].file = "a.qcow2".into()), @"the path a.qcow2 must be absolute");
        insta::assert_snapshot!(refusal(|s| s.nics.push(s.nics[0].clone())),
            @"two network interfaces have the address 52:54:00:01:00:10");
        assert!(refusal(|s| s.disks[0].file = "/a\nb".into()).contains("control character"));
        assert!(refusal(|s| s.title = Some("\u{1b}[31m".into())).contains("control character"));
        assert!(refusal(|s| s.vcpus = 0).contains("<vcpu>"));
        assert!(refusal(|s| s.memory_kib = 0).contains("<memory>"));
    }

    #[test]
    fn a_template_that_loses_the_mark_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let own = "<domain type='{{ virt }}'><name>{{ name }}</name><uuid>{{ uuid }}</uuid><memory>1</memory></domain>";
        fs_err::write(directory.path().join(TEMPLATE), own).unwrap();
        let templates = Templates::with_replacements(directory.path()).unwrap();
        let refused = bare().domain_xml(&templates).unwrap_err();
        assert!(
            matches!(refused, CreateError::Lost(what) if what.contains("mark")),
            "{refused}"
        );
    }

    #[test]
    fn targets_count_as_the_kernel_does() {
        let names = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(target_name);
        assert_eq!(
            names,
            [
                "vda", "vdb", "vdz", "vdaa", "vdab", "vdaz", "vdba", "vdzz", "vdaaa"
            ]
        );
    }
}
