//! Packages with random damage and random wishes: nothing panics, and a domain never gets a path of the host that its
//! manifest does not declare.

use super::hostile::{WANTS, WANTS_OUTSIDE};
use super::*;
use crate::domain::Domain;
use crate::package::Manifest;
use proptest::prelude::*;
use serde_json::Value;

const MANIFEST: &str = r#"{
  "format": 1, "tool": "test", "created": "2026-01-01T00:00:00Z",
  "package": { "name": "vm-m", "version": "0.1", "release": 1, "guest": "m" },
  "domain": { "type": "qemu", "cpu": {}, "firmware": { "kind": "bios" }, "memory": 1, "vcpus": 1,
              "interfaces": [{ "mac": "52:54:00:01:00:77", "model": "virtio", "network": "net-1" }] },
  "networks": [{ "name": "net-1", "hosts": [{ "name": "m", "mac": "52:54:00:01:00:77", "addresses": ["10.0.0.2"] }] }],
  "warnings": [], "not_packed": [], "renamed_from": [], "files": [],
  "disks": [{ "target": "vda", "format": "qcow2", "layers": [{
    "role": "base", "digest": "DIGEST", "file_size": 1, "virtual_size": 1, "content_digest": "DIGEST",
    "package": "miniascape-image-0123456789abcdef", "capability": "miniascape-image(sha256:DIGEST)" }] }]
}"#;

const XML: &str = "<domain type='kvm'><name>m</name><title>t</title><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type>\
    <boot dev='hd'/></os><cpu mode='host-passthrough'/><devices><disk type='file' device='disk'><driver name='qemu' \
    type='qcow2'/><source file='/x.qcow2'/><target dev='vda' bus='virtio'/></disk><interface type='network'><mac \
    address='52:54:00:01:00:77'/><source network='net-1'/></interface><serial type='pty'/></devices></domain>";

/// The package's domain as it would be defined, if it is not refused.
fn defined(manifest: &str, xml: &str) -> Option<String> {
    let manifest = Manifest::parse(manifest.as_bytes()).ok()?;
    let domain = Domain::parse(xml).ok()?;
    let package = manifest.package.name.clone();
    let mut instance = Instance::new(package.guest().clone(), package, Identity::Packaged);
    trust::check(&manifest, &domain, &mut instance, false).ok()?;
    let disks = manifest
        .disks
        .iter()
        .map(|disk| overlay::packaged(disk, &manifest));
    instance.disks = disks.collect();
    let macs = vec!["52:54:00:00:00:01".parse().unwrap(); domain.interfaces.len()];
    let layout = Layout::state_dir("/state");
    let wanted = define::wanted(&layout, &manifest, &instance, xml, &macs, VirtType::Qemu).ok()?;
    Some(wanted.xml)
}

fn manifest() -> String {
    let digest = "0123456789abcdef".repeat(4);
    MANIFEST.replace("DIGEST", &digest)
}

/// Every place in a JSON value.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), all)),
        Value::Array(list) => (0..list.len()).for_each(|i| pointers(&list[i], &format!("{at}/{i}"), all)),
        _ => {}
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("/host/shadow")),
        Just(json!("../../host/shadow")),
        Just(json!("vda/../../host")),
        Just(json!("\u{1b}[31m")),
        Just(json!("\u{9b}31m\u{202e}")),
        Just(json!(u64::MAX)),
        Just(json!(-1)),
        Just(json!(1e308)),
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["/host/shadow"])),
        Just(json!("a".repeat(3000))),
        "\\PC{0,12}".prop_map(|text| json!(text)),
    ]
}

/// A wish of a stranger, put behind a tag of the XML.
fn wish() -> impl Strategy<Value = (&'static str, &'static str)> {
    let device = prop_oneof![
        Just("<devices>"),
        Just("</disk>"),
        Just("</interface>"),
        Just("<serial type='pty'/>")
    ];
    prop_oneof![
        (device, 0..WANTS.len()).prop_map(|(behind, which)| (behind, WANTS[which].0)),
        (0..WANTS_OUTSIDE.len()).prop_map(|which| (WANTS_OUTSIDE[which].0, WANTS_OUTSIDE[which].1)),
        Just((
            "<disk type='file' device='disk'>",
            "<source file='/host/shadow'/>"
        )),
        Just((
            "<disk type='file' device='disk'>",
            "<mirror><source file='/host/shadow'/></mirror>"
        )),
        Just((
            "<source file='/x.qcow2'/>",
            "<backingStore type='file'><format type='raw'/><source file='/host/shadow'/></backingStore>"
        )),
        Just((" device='disk'", " snapshot='external'")),
    ]
}

fn damaged() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(""),
        Just("<"),
        Just("/>"),
        Just("'"),
        Just("&#x41;"),
        Just("<os>"),
        Just("</devices>")
    ];
    let damage = (any::<prop::sample::Index>(), 0_usize..12, piece);
    (
        prop::collection::vec(wish(), 0..3),
        prop::collection::vec(damage, 0..3),
    )
        .prop_map(|(wishes, damages)| {
            let mut xml = XML.to_owned();
            // First the damage, so that a wish is what it is meant to be.
            for (at, length, piece) in damages {
                let at = at.index(xml.len());
                let end = (at + length).min(xml.len());
                xml.replace_range(at..end, piece);
            }
            for (behind, wish) in wishes {
                xml = xml.replacen(behind, &format!("{behind}{wish}"), 1);
            }
            xml
        })
}

#[test]
fn the_package_without_damage_is_defined() {
    let xml = defined(&manifest(), XML).expect("it is good");
    assert!(xml.contains("/state/") && !xml.contains("/x.qcow2"), "{xml}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_domain_gets_more_than_is_declared(
        xml in damaged(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), value()), 0..3),
    ) {
        let mut manifest: Value = serde_json::from_str(&manifest()).unwrap();
        for (which, value) in changes {
            let mut all = Vec::new();
            pointers(&manifest, "", &mut all);
            let place = manifest.pointer_mut(&all[which.index(all.len())]).unwrap();
            *place = value;
        }
        if let Some(xml) = defined(&manifest.to_string(), &xml) {
            let of_the_host = ["/host", "host-a", "host-tap", "host-br", "host-eth0"];
            prop_assert!(!of_the_host.iter().any(|name| xml.contains(name)), "{}", xml);
            prop_assert!(!xml.contains("<source file='/x.qcow2'") && !xml.contains(".."), "{}", xml);
        }
    }
}
