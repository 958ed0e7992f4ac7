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

/// Whether the simulator takes domains, with its schema; its words about each that it does not.
pub(super) fn define(all: &[String]) -> Vec<Result<(), String>> {
    let dir = tempfile::tempdir().unwrap();
    let mut commands = Vec::new();
    for (index, xml) in all.iter().enumerate() {
        let path = dir.path().join(index.to_string());
        fs_err::write(&path, xml).unwrap();
        // With a new connection the simulator begins anew.
        commands.push(format!(
            "echo --err @@{index}\nconnect test:///default\ndefine --validate {}\n",
            path.display()
        ));
    }
    let mut virsh = Command::new("virsh")
        .args(["-q", "-c", "test:///default"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("virsh runs (Debian: libvirt-clients)");
    let mut input = virsh.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(commands.concat().as_bytes()));
    let output = virsh.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let said: Vec<_> = text.split("@@").skip(1).collect();
    assert_eq!(said.len(), all.len(), "{text}");
    let refused = |text: &str| text.contains("Failed to define domain");
    said.into_iter()
        .map(|text| {
            if refused(text) {
                Err(text.to_owned())
            } else {
                Ok(())
            }
        })
        .collect()
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
