//! Several instances, their names and addresses, and what users have changed about them.

use super::*;

#[test]
fn several_instances_of_one_package_have_names_and_addresses_of_their_own() {
    let bench = Bench::new("many");
    let layers = bench.install("0.1", 2);
    bench.publish("0.1", &layers, NIC);
    assert!(bench.register().unwrap().changed);
    assert_eq!(mac(&bench, "many"), "52:54:00:01:00:77");
    let second = bench.register_as(Some("many-b"), false).unwrap();
    assert_eq!((second.guest.as_str(), second.changed), ("many-b", true));
    assert!(!bench.register_as(Some("many-b"), false).unwrap().changed);
    let other = mac(&bench, "many-b");
    assert_ne!(other, "52:54:00:01:00:77");
    let uuid = |name: &str| bench.libvirt.domain(name).unwrap().unwrap().uuid;
    assert_ne!(uuid("many"), uuid("many-b"));
    // No image is read twice, or there twice.
    let base = bench.layout.packaged_image(&layers[0]);
    assert_eq!(fs::metadata(base.on_disk()).unwrap().nlink(), 3);

    // An upgrade is for both, under whatever names their domains go now.
    bench.publish("0.2", &layers, NIC);
    assert!(bench.register().unwrap().changed);
    for name in ["many", "many-b"] {
        assert!(
            bench
                .libvirt
                .domain(name)
                .unwrap()
                .unwrap()
                .xml
                .contains("<title>0.2"),
            "{name}"
        );
    }
    assert_eq!(mac(&bench, "many-b"), other);

    // Without their records they are still known by what their domains say of themselves.
    for name in ["many", "many-b"] {
        let record = bench.layout.instance(&name.parse().unwrap());
        fs::remove_dir_all(record.on_disk()).unwrap();
    }
    bench.register().unwrap();
    assert_eq!(Instance::all(&bench.layout).unwrap().len(), 2);
    assert_eq!(mac(&bench, "many-b"), other);
    bench.uninstall();
    let gone = unregister(&bench.layout, &bench.libvirt, &bench.package, false).unwrap();
    assert_eq!(gone.undefined.len(), 2, "{gone:?}");
}

#[test]
fn a_taken_hardware_address_is_left_to_its_owner() {
    let bench = Bench::new("taken-mac");
    let layers = bench.install("0.1", 2);
    let nic = NIC.replace(":77", ":78");
    bench.publish("0.1", &layers, &nic);
    let other = format!(
        "<domain type='test'><name>mac-owner</name><memory>65536</memory><os><type>hvm</type></os>\
         <devices>{nic}</devices></domain>"
    );
    bench.libvirt.define_domain("mac-owner", &other).unwrap();
    let done = bench.register().unwrap();
    assert!(
        done.notes[0].contains("another guest has 52:54:00:01:00:78"),
        "{done:?}"
    );
    let own = mac(&bench, "taken-mac");
    assert_ne!(own, "52:54:00:01:00:78");
    bench.libvirt.undefine_domain("mac-owner").unwrap();
    bench.publish("0.2", &layers, &nic);
    bench.register().unwrap();
    assert_eq!(mac(&bench, "taken-mac"), own);
}

#[test]
fn a_package_under_another_name_takes_the_instances_over() {
    let mut bench = Bench::new("renamed-old");
    let layers = bench.install("0.1", 2);
    bench.register().unwrap();
    let inode = fs::metadata(bench.overlay()).unwrap().ino();
    let old = std::mem::replace(&mut bench.package, "vm-renamed-new".parse().unwrap());
    bench.renamed_from.push(old.clone());
    bench.publish("0.2", &layers, "");
    // dpkg runs the old package's last script before the new one's, rpm the other way round.
    fs::remove_dir_all(bench.layout.guest_package(old.guest()).on_disk()).unwrap();
    let left = unregister(&bench.layout, &bench.libvirt, &old, false).unwrap();
    assert_eq!(left.left_to.as_ref(), Some(&bench.package));
    let done = bench.register().unwrap();
    assert_eq!(done.guest.as_str(), "renamed-old");
    let xml = bench.libvirt.domain("renamed-old").unwrap().unwrap().xml;
    assert!(
        xml.contains("vm-renamed-new") && xml.contains("<title>0.2"),
        "{xml}"
    );
    assert!(bench.libvirt.domain("renamed-new").unwrap().is_none());
    let left = unregister(&bench.layout, &bench.libvirt, &old, false).unwrap();
    assert_eq!(left.undefined, []);
    let overlay = bench.layout.instance_disk(old.guest(), &"vda".parse().unwrap());
    assert_eq!(fs::metadata(overlay.on_disk()).unwrap().ino(), inode);
    bench.libvirt.undefine_domain("renamed-old").unwrap();
}

#[test]
fn edits_survive_upgrades_removal_and_return() {
    let bench = Bench::new("edited");
    let layers = bench.install("0.1", 2);
    bench.publish("0.1", &layers, &NIC.replace(":77", ":79"));
    bench.register().unwrap();
    let edit = |from: &str, to: &str| {
        let domain = bench.libvirt.domain("edited").unwrap().unwrap();
        assert!(domain.xml.contains(from), "{}", domain.xml);
        bench
            .libvirt
            .define_domain("edited", &domain.xml.replace(from, to))
            .unwrap();
    };
    edit("<vcpu placement='static'>1<", "<vcpu placement='static'>3<");
    let now = || bench.libvirt.domain("edited").unwrap().unwrap().xml;
    for version in ["0.2", "0.3", "0.1"] {
        bench.publish(version, &layers, &NIC.replace(":77", ":79"));
        let done = bench.register().unwrap();
        assert_eq!(
            done.kept
                .iter()
                .map(|edit| edit.place.as_str())
                .collect::<Vec<_>>(),
            ["vcpu"],
            "{done:?}"
        );
        assert!(
            now().contains(">3</vcpu>") && now().contains(&format!("<title>{version}")),
            "{}",
            now()
        );
        assert!(!bench.register().unwrap().changed);
    }
    bench.uninstall();
    unregister(&bench.layout, &bench.libvirt, &bench.package, false).unwrap();
    assert!(bench.libvirt.domain("edited").unwrap().is_none());
    bench.publish("0.4", &layers, &NIC.replace(":77", ":79"));
    bench.register().unwrap();
    assert!(
        now().contains(">3</vcpu>") && now().contains("<title>0.4"),
        "{}",
        now()
    );
}
