//! Reads a scanned document into the typed view. First of several elements, default values and units are libvirt's.

use std::collections::HashSet;

use uuid::Uuid;

use super::error::{DomainXmlError, shown};
use super::finder;
use super::scan::{Document, Element};
use super::view::{
    BackingLayer, Disk, DiskDevice, DiskSource, Domain, DomainType, Firmware, Interface, InterfaceSource,
    Loader, Mark, Nvram, Tpm,
};

/// More memory than this (1 PiB) is a mistake, not a machine.
const MAX_MEMORY_KIB: u64 = 1 << 40;
/// libvirt's own limit (`VIR_DOMAIN_CPUMASK_LEN`).
const MAX_VCPUS: u32 = 16384;
/// libvirt makes an object for each thread, and stops the daemon when memory runs out.
const MAX_IO_THREADS: u32 = 16384;
/// libvirt makes all controllers up to the one that a device names, in quadratic time.
const MAX_CONTROLLER: u32 = 1023;
/// The same goes for the disks' names: `sdzzz` is the 18,278th disk.
const MAX_LETTERS: usize = 3;

impl Domain {
    /// Reads domain XML as libvirt prints it or people write it.
    pub fn parse(xml: &str) -> Result<Self, DomainXmlError> {
        domain(&Document::parse(xml)?)
    }
}

/// Reads the view from a document at hand.
pub(super) fn domain(document: &Document<'_>) -> Result<Domain, DomainXmlError> {
    let root = document.root();
    if !root.is("domain") {
        let found = shown(root.qualified_name());
        return Err(DomainXmlError::NotADomain {
            place: root.place(),
            found,
        });
    }
    let devices = || root.children_named("devices").flat_map(Element::children);
    refuse_huge_numbers(root)?;
    let os = root.child("os");
    let machine = os.and_then(|os| os.child("type"));
    Ok(Domain {
        kind: match root.attribute("type") {
            Some("kvm") => DomainType::Kvm,
            Some("qemu") => DomainType::Qemu,
            Some(other) => DomainType::Other(other.to_owned()),
            None => return Err(missing(root, "the attribute type of <domain>")),
        },
        id: root.attribute("id").and_then(|id| id.parse().ok()),
        name: name(root)?,
        uuid: uuid(root)?,
        title: root.child("title").map(|title| title.text().to_owned()),
        memory_kib: memory(root)?,
        vcpus: vcpus(root)?,
        arch: machine.and_then(|m| owned(m.attribute("arch"))),
        machine: machine.and_then(|m| owned(m.attribute("machine"))),
        emulator: root.at(&["devices", "emulator"]).and_then(Element::trimmed_text),
        firmware: os.map(firmware).unwrap_or_default(),
        cpu_mode: root.child("cpu").and_then(|cpu| owned(cpu.attribute("mode"))),
        cpu_model: root.at(&["cpu", "model"]).and_then(Element::trimmed_text),
        cpu_features: root.child("cpu").map(cpu_features).unwrap_or_default(),
        features: root.child("features").map(features).unwrap_or_default(),
        tpm: devices().filter(|d| d.is("tpm")).find_map(tpm),
        disks: disks(devices().filter(|d| d.is("disk")))?,
        interfaces: devices().filter(|d| d.is("interface")).map(interface).collect(),
        host_bound: finder::find(root).into_iter().map(|found| found.bound).collect(),
        marks: marks(root),
    })
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

fn missing(element: Element<'_>, what: &'static str) -> DomainXmlError {
    DomainXmlError::Missing {
        place: element.place(),
        what,
    }
}

fn bad(element: Element<'_>, what: &'static str, value: &str, expected: &'static str) -> DomainXmlError {
    DomainXmlError::BadValue {
        place: element.place(),
        what,
        value: shown(value),
        expected,
    }
}

fn name(root: Element<'_>) -> Result<String, DomainXmlError> {
    let element = root.child("name").ok_or_else(|| missing(root, "<name>"))?;
    let name = element.text();
    if name.trim().is_empty() || name.contains('/') || name.chars().any(char::is_control) {
        return Err(bad(
            element,
            "<name>",
            name,
            "a name without slashes and control characters",
        ));
    }
    Ok(name.to_owned())
}

fn uuid(root: Element<'_>) -> Result<Option<Uuid>, DomainXmlError> {
    let Some(element) = root.child("uuid") else {
        return Ok(None);
    };
    match Uuid::try_parse(element.text().trim()) {
        Ok(uuid) => Ok(Some(uuid)),
        Err(_) => Err(bad(element, "<uuid>", element.text(), "a UUID")),
    }
}

fn memory(root: Element<'_>) -> Result<u64, DomainXmlError> {
    let element = root.child("memory").ok_or_else(|| missing(root, "<memory>"))?;
    let refused = || {
        bad(
            element,
            "<memory>",
            element.text(),
            "a number from 1 KiB to 1 PiB",
        )
    };
    let unit = element.attribute("unit").unwrap_or("KiB");
    let Some(bytes_per_unit) = unit_bytes(unit) else {
        return Err(bad(
            element,
            "the unit of <memory>",
            unit,
            "bytes, KiB, MiB, GiB, TiB, KB, MB, GB or TB",
        ));
    };
    let number: u64 = element.text().trim().parse().map_err(|_| refused())?;
    let kib = number
        .checked_mul(bytes_per_unit)
        .map(|bytes| bytes.div_ceil(1024));
    kib.filter(|kib| (1..=MAX_MEMORY_KIB).contains(kib))
        .ok_or_else(refused)
}

/// The units of libvirt's `virScaleInteger`.
fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let exponent = |first: char| "kmgtpe".find(first).and_then(|at| u32::try_from(at + 1).ok());
    match unit.as_str() {
        "b" | "byte" | "bytes" => return Some(1),
        _ => {}
    }
    let power = exponent(unit.chars().next()?)?;
    match &unit[1..] {
        "" | "ib" => 1024_u64.checked_pow(power),
        "b" => 1000_u64.checked_pow(power),
        _ => None,
    }
}

fn vcpus(root: Element<'_>) -> Result<u32, DomainXmlError> {
    let Some(element) = root.child("vcpu") else {
        return Ok(1);
    };
    let number = element.text().trim();
    let count = number
        .parse()
        .ok()
        .filter(|count| (1..=MAX_VCPUS).contains(count));
    count.ok_or_else(|| bad(element, "<vcpu>", number, "a number from 1 to 16384"))
}

/// Numbers that libvirt would work on until it is killed.
fn refuse_huge_numbers(root: Element<'_>) -> Result<(), DomainXmlError> {
    for element in root.children_named("iothreads") {
        let number = element.text().trim();
        if !number.parse().is_ok_and(|threads: u32| threads <= MAX_IO_THREADS) {
            return Err(bad(element, "<iothreads>", number, "a number up to 16384"));
        }
    }
    for device in root.children_named("devices").flat_map(Element::children) {
        let own = device
            .attribute("index")
            .filter(|_| device.is("controller"))
            .map(|index| (device, "the index of <controller>", index));
        let named = device.children_named("address").filter_map(|address| {
            let controller = address.attribute("controller")?;
            Some((address, "the controller of <address>", controller))
        });
        for (element, what, number) in own.into_iter().chain(named) {
            // A negative index, which libvirt knows too, is one that it is to choose.
            let small = number
                .parse()
                .is_ok_and(|number: i64| number <= i64::from(MAX_CONTROLLER));
            if !small {
                return Err(bad(element, what, number, "a number up to 1023"));
            }
        }
    }
    Ok(())
}

fn firmware(os: Element<'_>) -> Firmware {
    Firmware {
        auto: owned(os.attribute("firmware")),
        loader: os.child("loader").map(|loader| Loader {
            path: loader.trimmed_text(),
            kind: owned(loader.attribute("type")),
            readonly: loader.attribute("readonly") == Some("yes"),
            secure: loader.attribute("secure") == Some("yes"),
        }),
        nvram: os.child("nvram").map(|nvram| Nvram {
            // Since libvirt 8.5 a path can also stand in <source file='…'/>.
            path: match nvram.child("source") {
                Some(source) => owned(source.attribute("file")),
                None => nvram.trimmed_text(),
            },
            template: owned(nvram.attribute("template")),
        }),
    }
}

fn cpu_features(cpu: Element<'_>) -> Vec<(String, String)> {
    // libvirt's default policy.
    let policy = |feature: Element<'_>| feature.attribute("policy").unwrap_or("require").to_owned();
    cpu.children_named("feature")
        .filter_map(|feature| Some((feature.attribute("name")?.to_owned(), policy(feature))))
        .collect()
}

fn features(features: Element<'_>) -> Vec<String> {
    let is_on = |feature: &Element<'_>| {
        feature.namespace().is_none() && !matches!(feature.attribute("state"), Some("off" | "no"))
    };
    let on = features.children().filter(is_on);
    on.map(|feature| feature.qualified_name().to_owned()).collect()
}

/// The TPM, if it is an emulated one.
fn tpm(element: Element<'_>) -> Option<Tpm> {
    let backend = element
        .child("backend")
        .filter(|backend| backend.attribute("type") == Some("emulator"))?;
    let source = backend
        .child("source")
        .filter(|s| s.attribute("type") == Some("dir"));
    Some(Tpm {
        version: owned(backend.attribute("version")),
        state_dir: source.and_then(|source| owned(source.attribute("path"))),
        encrypted: backend.child("encryption").is_some(),
    })
}

fn disks<'d>(elements: impl Iterator<Item = Element<'d>>) -> Result<Vec<Disk>, DomainXmlError> {
    let mut seen = HashSet::new();
    let mut disks = Vec::new();
    for element in elements {
        let disk = disk(element)?;
        if !seen.insert(disk.target.clone()) {
            let target = shown(&disk.target);
            return Err(DomainXmlError::RepeatedTarget {
                place: element.place(),
                target,
            });
        }
        disks.push(disk);
    }
    Ok(disks)
}

/// What kind of drive a `<disk>` is.
pub(super) fn disk_device(element: Element<'_>) -> Result<DiskDevice, DomainXmlError> {
    match element.attribute("device") {
        None | Some("disk") => Ok(DiskDevice::Disk),
        Some("cdrom") => Ok(DiskDevice::Cdrom),
        Some("floppy") => Ok(DiskDevice::Floppy),
        Some("lun") => Ok(DiskDevice::Lun),
        Some(other) => Err(bad(
            element,
            "the device of <disk>",
            other,
            "disk, cdrom, floppy or lun",
        )),
    }
}

fn disk(element: Element<'_>) -> Result<Disk, DomainXmlError> {
    let target = element.child("target");
    let name = target.and_then(|target| target.attribute("dev"));
    let name = name.ok_or_else(|| missing(element, "<target dev='…'/> of <disk>"))?;
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return Err(bad(element, "the target of <disk>", name, "a name like vda"));
    }
    let letters = ["fd", "hd", "sd", "vd", "xvd", "ubd"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    if letters.is_some_and(|name| name.chars().take_while(char::is_ascii_lowercase).count() > MAX_LETTERS) {
        return Err(bad(element, "the target of <disk>", name, "a name up to vdzzz"));
    }
    let source = element.child("source");
    let has = |name| element.child(name).is_some();
    Ok(Disk {
        device: disk_device(element)?,
        source: disk_source(element),
        format: element
            .child("driver")
            .and_then(|driver| owned(driver.attribute("type"))),
        target: name.to_owned(),
        bus: target.and_then(|target| owned(target.attribute("bus"))),
        readonly: has("readonly"),
        shareable: has("shareable"),
        transient: has("transient"),
        encrypted: has("encryption") || source.is_some_and(|source| source.child("encryption").is_some()),
        backing: backing(element),
    })
}

/// The source of a `<disk>` or a `<backingStore>`, which share the form.
fn disk_source(element: Element<'_>) -> DiskSource {
    let Some(source) = element.child("source") else {
        return DiskSource::None;
    };
    let value = |name: &str| {
        source
            .attribute(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    // libvirt's default for a missing type.
    let found = match element.attribute("type").unwrap_or("file") {
        "file" => value("file").map(DiskSource::File),
        "block" => value("dev").map(DiskSource::Block),
        "dir" => value("dir").map(DiskSource::Dir),
        "volume" => value("pool")
            .zip(value("volume"))
            .map(|(pool, volume)| DiskSource::Volume { pool, volume }),
        "network" => value("protocol").map(|protocol| DiskSource::Network {
            protocol,
            name: value("name"),
        }),
        other => Some(DiskSource::Other(other.to_owned())),
    };
    found.unwrap_or(DiskSource::None)
}

fn backing(disk: Element<'_>) -> Vec<BackingLayer> {
    let mut layers = Vec::new();
    let mut below = disk.child("backingStore");
    while let Some(layer) = below {
        // An empty <backingStore/> says that the chain ends here.
        if layer.child("source").is_some() {
            layers.push(BackingLayer {
                format: layer
                    .child("format")
                    .and_then(|format| owned(format.attribute("type"))),
                source: disk_source(layer),
            });
        }
        below = layer.child("backingStore");
    }
    layers
}

fn interface(element: Element<'_>) -> Interface {
    let source = element.child("source");
    let from = |name: &str| {
        source
            .and_then(|source| owned(source.attribute(name)))
            .unwrap_or_default()
    };
    Interface {
        source: match element.attribute("type").unwrap_or("") {
            "network" => InterfaceSource::Network(from("network")),
            "bridge" => InterfaceSource::Bridge(from("bridge")),
            "direct" => InterfaceSource::Direct(from("dev")),
            "user" => InterfaceSource::User,
            "ethernet" => InterfaceSource::Ethernet,
            other => InterfaceSource::Other(other.to_owned()),
        },
        mac: element
            .child("mac")
            .and_then(|mac| owned(mac.attribute("address"))),
        model: element
            .child("model")
            .and_then(|model| owned(model.attribute("type"))),
        target_dev: element
            .child("target")
            .and_then(|target| owned(target.attribute("dev"))),
    }
}

fn marks(root: Element<'_>) -> Vec<Mark> {
    let ours = |e: &Element<'_>| e.namespace() == Some(super::NAMESPACE);
    let mark = |element: Element<'_>| Mark {
        element: element.local_name().to_owned(),
        attributes: element
            .attributes()
            .filter(|(name, _)| *name != "xmlns" && !name.starts_with("xmlns:"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    };
    root.children_named("metadata")
        .flat_map(Element::children)
        .filter(ours)
        .map(mark)
        .collect()
}
