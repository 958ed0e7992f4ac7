//! Any text as domain XML: it is refused with a place, or can be packed and made an instance, twice as well as once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniascape::domain::{
    Domain, InstanceDisk, InstanceSpec, PackageSpec, PackedDisk, VirtType, XmlValue, for_instance, for_package,
};
use std::collections::BTreeMap;

const FILE: &str = "/var/lib/libvirt/images/miniascape/guests/g/disk.qcow2";

fn value(text: &str) -> XmlValue {
    XmlValue::new(text).expect("no control characters")
}

fuzz_target!(|xml: &str| {
    let clean = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control());
    let domain = match Domain::parse(xml) {
        Ok(domain) => domain,
        Err(error) => return assert!(clean(&error.to_string()), "{error:?}"),
    };
    assert!(domain.host_bound.iter().all(|bound| clean(&bound.to_string())), "{domain:?}");
    let packed = |domain: &Domain| PackageSpec {
        disks: domain
            .data_disks()
            .map(|disk| PackedDisk {
                target: disk.target.clone(),
                file: value(FILE),
            })
            .collect(),
        leave: Vec::new(),
    };
    let Ok(packaged) = for_package(xml, &packed(&domain)) else {
        return;
    };
    assert_eq!(packaged.domain.uuid, None);
    assert_eq!(packaged.domain.disks.len(), domain.disks.len());
    assert_eq!(packaged.domain.interfaces.len().min(1), packaged.report.macs.len().min(1));
    let again = for_package(&packaged.xml, &packed(&packaged.domain)).expect("what was packed can be packed");
    assert_eq!(again.xml, packaged.xml);
    let spec = InstanceSpec {
        name: value("g"),
        uuid: "c7a5fdbd-edaf-4455-926a-d65c16db1809".parse().expect("a UUID"),
        virt: VirtType::Qemu,
        disks: packaged
            .domain
            .data_disks()
            .map(|disk| InstanceDisk {
                target: disk.target.clone(),
                file: value(FILE),
                backing: vec![value("/chain/a.qcow2"), value("/chain/b.qcow2")],
            })
            .collect(),
        macs: BTreeMap::new(),
        nvram: Some(value("/var/lib/miniascape/guests/g/nvram.fd")),
        serial_log: None,
        mark: vec![("package", value("vm-g"))],
    };
    let instance = for_instance(&packaged.xml, &spec).expect("what was packed can be an instance");
    assert_eq!(for_instance(&instance.xml, &spec).expect("again").xml, instance.xml);
});
