//! Edited XML given to libvirt's own simulator: it must accept it, with its schema, and say the same as our view.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// Defines a domain in the simulator and prints it. Needs virsh (package libvirt-clients).
fn through_libvirt(xml: &str, name: &str) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(xml.as_bytes()).unwrap();
    let commands = format!("define --validate {}; dumpxml '{name}'", file.path().display());
    let output = Command::new("virsh")
        .args(["-q", "-c", "test:///default", &commands])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("virsh runs (Debian: libvirt-clients)");
    let printed = String::from_utf8(output.stdout).unwrap();
    let start = printed.find("<domain");
    let start = start.unwrap_or_else(|| panic!("{}\n{xml}", String::from_utf8_lossy(&output.stderr)));
    printed[start..].to_owned()
}

/// Whether the simulator takes a domain; its words if not.
pub(super) fn defines(xml: &str) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(xml.as_bytes()).unwrap();
    let output = Command::new("virsh")
        .args(["-q", "-c", "test:///default", "define"])
        .arg(file.path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("virsh runs (Debian: libvirt-clients)");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn packages_can_be_defined() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name);
        let printed = through_libvirt(&packaged.xml, &packaged.domain.name);
        let defined = Domain::parse(&printed).expect(name);
        assert_eq!(sources(&defined), sources(&packaged.domain), "{name}");
        assert_eq!(
            defined.interfaces.len(),
            packaged.domain.interfaces.len(),
            "{name}"
        );
        assert_eq!(defined.memory_kib, packaged.domain.memory_kib, "{name}");
        assert_eq!(defined.vcpus, packaged.domain.vcpus, "{name}");
    }
}

#[test]
fn instances_can_be_defined() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name).xml;
        let instance = for_instance(&packaged, &instance_spec(&packaged, VirtType::Qemu)).expect(name);
        let printed = through_libvirt(&instance.xml, "instance-2");
        let defined = Domain::parse(&printed).expect(name);
        assert_eq!(defined.uuid, instance.domain.uuid, "{name}");
        assert_eq!(defined.firmware.nvram, instance.domain.firmware.nvram, "{name}");
        assert_eq!(defined.mark("guest"), instance.domain.mark("guest"), "{name}");
        assert_eq!(sources(&defined), sources(&instance.domain), "{name}");
        assert_eq!(
            printed.matches("<seclabel model='dac' relabel='no'/>").count(),
            defined.data_disks().count() * 2
        );
        let macs = |domain: &Domain| {
            domain
                .interfaces
                .iter()
                .map(|i| i.mac.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(macs(&defined), macs(&instance.domain), "{name}");
    }
}

/// What libvirt may not read differently. It sorts disks by bus and target.
fn sources(domain: &Domain) -> BTreeMap<String, (DiskSource, Vec<DiskSource>, bool)> {
    let layers = |disk: &Disk| disk.backing.iter().map(|layer| layer.source.clone()).collect();
    domain
        .disks
        .iter()
        .map(|disk| {
            (
                disk.target.clone(),
                (disk.source.clone(), layers(disk), disk.encrypted),
            )
        })
        .collect()
}
