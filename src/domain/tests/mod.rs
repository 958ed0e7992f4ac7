//! Tests of the whole module over domain XML as it is found on hosts. What each edit does to each sample is a
//! snapshot of the difference; the other tests hold for every sample.

mod corpus;
mod edits;
mod hostile;
mod libvirt;
mod merge;
mod view;

use std::collections::BTreeMap;

use super::*;

/// All samples with their names.
const SAMPLES: [(&str, &str); 14] = [
    ("aarch64", include_str!("../../../tests/data/domain/aarch64.xml")),
    ("compact", include_str!("../../../tests/data/domain/compact.xml")),
    ("crlf", include_str!("../../../tests/data/domain/crlf.xml")),
    (
        "encrypted",
        include_str!("../../../tests/data/domain/encrypted.xml"),
    ),
    ("hostdev", include_str!("../../../tests/data/domain/hostdev.xml")),
    ("live", include_str!("../../../tests/data/domain/live.xml")),
    (
        "many-nics",
        include_str!("../../../tests/data/domain/many-nics.xml"),
    ),
    ("odd", include_str!("../../../tests/data/domain/odd.xml")),
    ("package", include_str!("../../../tests/data/domain/package.xml")),
    ("plain", include_str!("../../../tests/data/domain/plain.xml")),
    ("started", include_str!("../../../tests/data/domain/started.xml")),
    (
        "started-inactive",
        include_str!("../../../tests/data/domain/started-inactive.xml"),
    ),
    ("uefi", include_str!("../../../tests/data/domain/uefi.xml")),
    (
        "volume-block-network",
        include_str!("../../../tests/data/domain/volume-block-network.xml"),
    ),
];

fn sample(name: &str) -> &'static str {
    SAMPLES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a sample of that name")
        .1
}

fn value(text: &str) -> XmlValue {
    XmlValue::new(text).expect("no control characters")
}

/// Packs every data disk.
fn package_spec(xml: &str) -> PackageSpec {
    let domain = Domain::parse(xml).expect("a domain");
    let file = |target: &str| {
        value(&format!(
            "/var/lib/libvirt/images/miniascape/guests/g/{target}.qcow2"
        ))
    };
    let disks = domain.data_disks().map(|disk| PackedDisk {
        target: disk.target.clone(),
        file: file(&disk.target),
    });
    PackageSpec {
        disks: disks.collect(),
        leave: Vec::new(),
    }
}

/// An instance with everything set.
fn instance_spec(xml: &str, virt: VirtType) -> InstanceSpec {
    let domain = Domain::parse(xml).expect("a domain");
    let guests = "/var/lib/libvirt/images/miniascape/guests/g & h's";
    let disks = domain.data_disks().map(|disk| InstanceDisk {
        target: disk.target.clone(),
        file: value(&format!("{guests}/{}.qcow2", disk.target)),
        backing: ["d", "b"]
            .map(|c| value(&format!("{guests}/chain/sha256-{}.qcow2", c.repeat(64))))
            .to_vec(),
    });
    InstanceSpec {
        name: value("instance-2"),
        uuid: uuid::Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
        virt,
        disks: disks.collect(),
        macs: (0..domain.interfaces.len())
            .map(|index| (index, value(&format!("52:54:00:99:00:{index:02x}"))))
            .collect::<BTreeMap<_, _>>(),
        nvram: Some(value("/var/lib/miniascape/guests/instance-2/nvram.fd")),
        serial_log: Some(value("/var/log/miniascape/instance-2.log")),
        mark: vec![
            ("package", value("vm-service-1")),
            ("version", value("0.1 \"beta\"")),
        ],
    }
}
