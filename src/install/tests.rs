//! Packages registered in turn in libvirt's simulator, with real images.

use super::*;
use crate::domain::VirtType;
use crate::host::{Layout, Libvirt};
use crate::image::{self, Format};
use crate::package::ImagePackage;
use fs_err as fs;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt;

/// A host with its own files. The simulator is shared by all tests of the process, so each uses a name of its own.
struct Bench {
    _dir: tempfile::TempDir,
    layout: Layout,
    libvirt: Libvirt,
    package: GuestPackage,
    renamed_from: Vec<GuestPackage>,
}

/// Base and delta of a package, from the base upwards.
type Layers = [Digest; 2];

impl Bench {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        fs::create_dir_all(layout.packaged_images().on_disk()).unwrap();
        Self {
            layout,
            _dir: dir,
            libvirt: Libvirt::connect("test:///default").unwrap(),
            package: format!("vm-{name}").parse().unwrap(),
            renamed_from: Vec::new(),
        }
    }

    fn name(&self) -> &GuestName {
        self.package.guest()
    }

    /// Moves an image to where its package would have it.
    fn keep(&self, draft: &std::path::Path) -> Digest {
        let digest = image::sha256_file(draft, &mut |_| {}).unwrap();
        fs::rename(draft, self.layout.packaged_image(&digest).on_disk()).unwrap();
        digest
    }

    /// Installs a version of the package whose delta has a size of its own.
    fn install(&self, version: &str, mebibytes: u64) -> Layers {
        let draft = self
            .layout
            .packaged_images()
            .join("draft.qcow2")
            .on_disk()
            .to_owned();
        image::create(&draft, Format::Qcow2, 1 << 20).unwrap();
        let base = self.keep(&draft);
        image::create_overlay(&draft, &base.file_name(), Format::Qcow2, Some(mebibytes << 20)).unwrap();
        let layers = [base, self.keep(&draft)];
        self.publish(version, &layers, "");
        layers
    }

    /// Writes manifest and domain XML of a package with these images; `devices` are added to the machine.
    fn publish(&self, version: &str, layers: &[Digest], devices: &str) {
        self.declare(version, layers, devices, &[]);
    }

    /// The package manager takes the guest package away.
    fn uninstall(&self) {
        fs::remove_dir_all(self.layout.guest_package(self.name()).on_disk()).unwrap();
    }

    /// As [`Bench::publish`], with the manifest's warnings.
    fn declare(&self, version: &str, layers: &[Digest], devices: &str, warnings: &[&str]) {
        let layer = |(index, digest): (usize, &Digest)| {
            json!({
                "role": if index == 0 { "base" } else { "delta" },
                "digest": digest,
                "file_size": 1,
                "virtual_size": 1,
                "content_digest": "0".repeat(64),
                "package": ImagePackage::of(digest),
                "capability": ImagePackage::rpm_capability(digest),
            })
        };
        let layers: Vec<_> = layers.iter().enumerate().map(layer).collect();
        let manifest = json!({
            "format": 1, "tool": "test", "created": "2026-01-01T00:00:00Z",
            "package": { "name": self.package, "version": version, "release": 1, "guest": self.name() },
            "domain": {
                "type": "qemu", "cpu": {}, "firmware": { "kind": "bios" },
                "memory": 1, "vcpus": 1, "interfaces": [],
            },
            "renamed_from": self.renamed_from, "warnings": warnings,
            "disks": [{ "target": "vda", "format": "qcow2", "layers": layers }],
        });
        let place = self.layout.guest_package(self.name());
        fs::create_dir_all(place.on_disk()).unwrap();
        fs::write(place.join("manifest.json").on_disk(), manifest.to_string()).unwrap();
        let xml = format!(
            "<domain type='qemu'><name>{}</name><title>{version}</title><memory>65536</memory>\
             <os><type>hvm</type></os><devices><disk type='file' device='disk'>\
             <driver name='qemu' type='qcow2'/><source file='/x.qcow2'/><target dev='vda'/></disk>\
             {devices}</devices></domain>",
            self.name()
        );
        fs::write(place.join("domain.xml").on_disk(), xml).unwrap();
    }

    fn register(&self) -> Result<Registered, InstallError> {
        self.register_as(None, false)
    }

    fn register_as(&self, name: Option<&str>, trust: bool) -> Result<Registered, InstallError> {
        let name: Option<GuestName> = name.map(|name| name.parse().unwrap());
        let wish = Wish {
            package: &self.package,
            name: name.as_ref(),
            trust,
            virt: VirtType::Qemu,
            dry_run: false,
        };
        register(&self.layout, &self.libvirt, &wish).map(|mut done| done.remove(0))
    }

    fn kind(&self) -> PendingKind {
        PendingKind::RegisterGuest {
            package: self.package.clone(),
            name: None,
            trust: false,
        }
    }

    /// Takes up pending work; for each piece that was tried, whether it is done.
    fn finish(&self) -> Vec<bool> {
        let all = finish(&self.layout, &self.libvirt, || Ok(VirtType::Qemu)).unwrap();
        all.iter().map(|done| done.result.is_ok()).collect()
    }

    /// What `guest start` looks at.
    fn check(&self) -> Result<(), InstallError> {
        let instance = Instance::read(&self.layout, self.name())?.unwrap();
        check_images(&self.layout, instance.uuid)
    }

    fn overlay(&self) -> std::path::PathBuf {
        self.layout
            .instance_disk(self.name(), &"vda".parse().unwrap())
            .on_disk()
            .to_owned()
    }

    /// The images below the overlay as libvirt is told, from the base upwards.
    fn chain(&self) -> Vec<String> {
        let xml = self.libvirt.domain(self.name().as_str()).unwrap().unwrap().xml;
        let domain = crate::domain::Domain::parse(&xml).unwrap();
        let mut files: Vec<String> = xml
            .split('\'')
            .filter_map(|part| Some(part.rsplit_once("/chain/")?.1.to_owned()))
            .collect();
        files.reverse();
        assert_eq!(domain.disks.len(), 1);
        files
    }
}

fn names(layers: &[Digest]) -> Vec<String> {
    layers.iter().map(Digest::file_name).collect()
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(Some(domain)) = self.libvirt.domain(self.package.guest().as_str()) {
            let _ = self.libvirt.undefine_domain(&domain.name);
        }
    }
}

#[test]
fn an_upgrade_leaves_the_instance_on_its_own_images() {
    let bench = Bench::new("upgraded");
    let old = bench.install("0.1", 2);
    assert!(bench.register().unwrap().changed);
    assert_eq!(bench.chain(), names(&old));
    assert!(!bench.register().unwrap().changed);

    let inode = fs::metadata(bench.overlay()).unwrap().ino();
    let new = bench.install("0.2", 3);
    assert_ne!(old, new);
    // The package manager takes the old delta away with its package.
    fs::remove_file(bench.layout.packaged_image(&old[1]).on_disk()).unwrap();
    let upgraded = bench.register().unwrap();
    assert!(
        upgraded.changed && upgraded.notes.iter().any(|n| n.contains("stays on the images")),
        "{upgraded:?}"
    );
    assert_eq!(bench.chain(), names(&old));
    assert_eq!(fs::metadata(bench.overlay()).unwrap().ino(), inode);
    let chain = bench.layout.instance_chain(bench.name());
    assert!(
        !chain.join(new[1].file_name()).on_disk().exists(),
        "an image that nothing uses"
    );
    bench.check().unwrap();

    // The layer that is used is the one that is watched.
    fs::remove_file(chain.join(old[1].file_name()).on_disk()).unwrap();
    let gone = bench.check().unwrap_err();
    assert!(
        matches!(gone, InstallError::Swapped { what: "removed", .. }),
        "{gone}"
    );
}

#[test]
fn a_swapped_or_cut_layer_is_refused_with_both_digests() {
    let bench = Bench::new("swapped");
    let layers = bench.install("0.1", 2);
    bench.register().unwrap();
    let base = bench
        .layout
        .instance_chain(bench.name())
        .join(layers[0].file_name());
    let good = fs::read(base.on_disk()).unwrap();
    let put = |content: &[u8]| {
        fs::remove_file(base.on_disk()).unwrap();
        fs::write(base.on_disk(), content).unwrap();
    };
    let mut other = good.clone();
    other[200] ^= 1;
    for bad in [&other[..], &good[..good.len() / 2], b""] {
        put(bad);
        let refused = bench.check().unwrap_err().to_string();
        let found = Digest::from_bytes(Sha256::digest(bad).into());
        for word in [
            layers[0].to_string(),
            found.to_string(),
            "is not started".to_owned(),
        ] {
            assert!(refused.contains(&word), "{refused}");
        }
    }
    // The same content in another file is the same image.
    put(&good);
    bench.check().unwrap();
    bench.check().unwrap();
}

#[test]
fn a_removed_overlay_is_made_anew_on_the_installed_version() {
    let bench = Bench::new("fresh");
    bench.install("0.1", 2);
    bench.register().unwrap();
    let new = bench.install("0.2", 3);
    fs::remove_file(bench.overlay()).unwrap();
    bench.register().unwrap();
    assert_eq!(bench.chain(), names(&new));
    bench.check().unwrap();
}

#[test]
fn an_overlay_on_something_else_is_refused() {
    let bench = Bench::new("foreign-overlay");
    let old = bench.install("0.1", 2);
    bench.register().unwrap();
    let new = bench.install("0.2", 3);
    let chain = bench.layout.instance_chain(bench.name());
    fs::copy(
        bench.layout.packaged_image(&new[1]).on_disk(),
        chain.join(new[1].file_name()).on_disk(),
    )
    .unwrap();
    image::rebase(
        &bench.overlay(),
        &format!("chain/{}", new[1].file_name()),
        Format::Qcow2,
    )
    .unwrap();
    for refused in [bench.register().map(drop), bench.check()] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, InstallError::Overlay { .. }), "{refused}");
    }
    assert_eq!(bench.chain(), names(&old));
}

#[test]
fn layers_that_name_other_files_are_refused() {
    let bench = Bench::new("leaky");
    let draft = bench
        .layout
        .packaged_images()
        .join("draft.qcow2")
        .on_disk()
        .to_owned();
    let secret = bench
        .layout
        .packaged_images()
        .join("secret.qcow2")
        .on_disk()
        .to_owned();
    image::create(&secret, Format::Qcow2, 1 << 20).unwrap();
    image::create_overlay(&draft, secret.to_str().unwrap(), Format::Qcow2, None).unwrap();
    let base = bench.keep(&draft);
    bench.publish("0.1", &[base], "");
    let refused = bench.register().unwrap_err();
    assert!(matches!(refused, InstallError::Layer { .. }), "{refused}");
    assert!(!bench.overlay().exists());
}

#[test]
fn a_stranger_gets_nothing_of_the_host() {
    let bench = Bench::new("stranger");
    let layers = bench.install("0.1", 2);
    for (devices, word) in [
        ("<emulator>/tmp/evil</emulator>", "emulator /tmp/evil"),
        (
            "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>",
            "host device",
        ),
        (
            "<disk type='block' device='cdrom'><source dev='/dev/sda'/><target dev='sdb'/></disk>",
            "/dev/sda",
        ),
        (
            "<interface type='ethernet'><script path='/tmp/evil'/></interface>",
            "network script /tmp/evil",
        ),
        (
            "<filesystem><source dir='/'/><target dir='all'/></filesystem>",
            "shared directory /",
        ),
        (
            "</devices><commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-x'/>\
             </commandline><devices>",
            "commandline for QEMU",
        ),
    ] {
        bench.publish("0.1", &layers, devices);
        let refused = bench.register().unwrap_err();
        assert!(
            matches!(&refused, InstallError::HostBound { what, .. } if what.contains(word)),
            "{refused}"
        );
        assert!(bench.libvirt.domain("stranger").unwrap().is_none());
        assert!(!bench.overlay().exists());
    }
    // What the manifest declares is given and told; what it does not, only on trust, which stays with the instance.
    let bridge = "<interface type='bridge'><source bridge='br7'/></interface>";
    bench.publish("0.1", &layers, bridge);
    let refused = bench.register().unwrap_err();
    assert!(refused.to_string().contains("bridge br7"), "{refused}");
    bench.declare(
        "0.1",
        &layers,
        bridge,
        &["bridge br7: needed on the other host too"],
    );
    assert_eq!(
        bench.register().unwrap().notes,
        ["this host has to have: bridge br7"]
    );
    let more = "<interface type='bridge'><source bridge='br8'/></interface>";
    bench.publish("0.2", &layers, more);
    assert!(matches!(bench.register(), Err(InstallError::HostBound { .. })));
    assert!(bench.register_as(None, true).unwrap().changed);
    bench.publish("0.3", &layers, more);
    assert!(bench.register().unwrap().changed);
}

/// The hardware address of the only interface of a domain.
fn mac(bench: &Bench, name: &str) -> String {
    let xml = bench.libvirt.domain(name).unwrap().unwrap().xml;
    let domain = crate::domain::Domain::parse(&xml).unwrap();
    domain.interfaces[0].mac.clone().unwrap()
}

const NIC: &str = "<interface type='user'><mac address='52:54:00:01:00:77'/></interface>";

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
fn an_overlay_without_a_record_is_adopted_with_its_images() {
    let bench = Bench::new("adopted");
    let old = bench.install("0.1", 2);
    bench.register().unwrap();
    bench.libvirt.undefine_domain("adopted").unwrap();
    fs::remove_dir_all(bench.layout.instance(bench.name()).on_disk()).unwrap();
    let inode = fs::metadata(bench.overlay()).unwrap().ino();
    bench.install("0.2", 3);
    fs::remove_file(bench.layout.packaged_image(&old[1]).on_disk()).unwrap();
    bench.register().unwrap();
    assert_eq!(bench.chain(), names(&old));
    assert_eq!(fs::metadata(bench.overlay()).unwrap().ino(), inode);
    bench.check().unwrap();
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

#[test]
fn what_was_put_aside_is_linked_again_with_its_package() {
    let bench = Bench::new("aside");
    let old = bench.install("0.1", 2);
    bench.register().unwrap();
    bench.install("0.2", 3);
    let chain = bench.layout.instance_chain(bench.name());
    // A disk that was put aside stands on what the current one does not.
    fs::remove_file(bench.overlay()).unwrap();
    bench.register().unwrap();
    let held = chain.join(old[1].file_name()).on_disk().to_owned();
    let packaged = bench.layout.packaged_image(&old[1]).on_disk().to_owned();
    let copy = packaged.with_extension("copy");
    fs::copy(&packaged, &copy).unwrap();
    fs::rename(&copy, &packaged).unwrap();
    assert_ne!(
        fs::metadata(&held).unwrap().ino(),
        fs::metadata(&packaged).unwrap().ino()
    );
    bench.register().unwrap();
    assert_eq!(
        fs::metadata(&held).unwrap().ino(),
        fs::metadata(&packaged).unwrap().ino()
    );
}

#[test]
fn pending_work_is_done_only_where_it_belongs() {
    let bench = Bench::new("elsewhere");
    bench.install("0.1", 2);
    let kind = bench.kind();
    kind.note(&bench.layout, SYSTEM, "libvirt is down").unwrap();
    assert!(bench.finish().is_empty());
    assert!(bench.libvirt.domain("elsewhere").unwrap().is_none());
    assert_eq!(pending(&bench.layout).unwrap().len(), 1);

    kind.note(&bench.layout, bench.libvirt.uri(), "libvirt is down")
        .unwrap();
    // What runs guests is not known: no guess, the work stays.
    let unknown = || Err(std::io::Error::other("no answer").into());
    let failed = finish(&bench.layout, &bench.libvirt, unknown).unwrap();
    assert!(matches!(failed[0].result, Err(InstallError::Kvm(_))));
    assert_eq!(bench.finish(), [true]);
    assert!(bench.libvirt.domain("elsewhere").unwrap().is_some());
    assert_eq!(pending(&bench.layout).unwrap(), []);
}

#[test]
fn a_refusal_is_tried_again_when_something_has_changed() {
    let bench = Bench::new("refused");
    let layers = bench.install("0.1", 2);
    let delta = bench.layout.packaged_image(&layers[1]).on_disk().to_owned();
    let good = fs::read(&delta).unwrap();
    fs::write(&delta, "damaged").unwrap();
    let kind = bench.kind();
    kind.note(&bench.layout, bench.libvirt.uri(), "r").unwrap();
    assert_eq!(bench.finish(), [false]);
    let noted = pending(&bench.layout).unwrap();
    assert!(noted[0].reason.contains("is damaged"), "{noted:?}");
    assert!(bench.finish().is_empty());
    // A reinstallation puts another file there.
    fs::remove_file(&delta).unwrap();
    fs::write(&delta, good).unwrap();
    assert_eq!(bench.finish(), [true]);
}

#[test]
fn a_name_that_becomes_free_is_taken() {
    let bench = Bench::new("name-taken");
    bench.install("0.1", 2);
    let other =
        "<domain type='test'><name>name-taken</name><memory>65536</memory><os><type>hvm</type></os></domain>";
    bench.libvirt.define_domain("name-taken", other).unwrap();
    let refused = bench.register().unwrap_err();
    assert!(matches!(refused, InstallError::NameTaken { .. }), "{refused}");
    let kind = bench.kind();
    kind.note(&bench.layout, bench.libvirt.uri(), "r").unwrap();
    note_failure(&bench.layout, &bench.libvirt, &kind, &refused).unwrap();
    let noted = pending(&bench.layout).unwrap();
    assert!(
        noted[0]
            .reason
            .ends_with("; miniascape guest register vm-name-taken --as name-taken-2"),
        "{noted:?}"
    );
    assert!(bench.finish().is_empty());
    bench.libvirt.undefine_domain("name-taken").unwrap();
    assert_eq!(bench.finish(), [true]);
}

#[test]
fn a_reset_begins_anew_on_the_installed_version() {
    let bench = Bench::new("reset");
    let old = bench.install("0.1", 2);
    bench.register().unwrap();
    let new = bench.install("0.2", 3);
    bench.register().unwrap();
    let xml = bench.libvirt.domain("reset").unwrap().unwrap();
    let edited = xml.xml.replace(">1</vcpu>", ">2</vcpu>");
    bench.libvirt.define_domain("reset", &edited).unwrap();
    let status = || status(&bench.layout, &bench.libvirt, "reset").unwrap();
    let before = status();
    assert_eq!(
        (before.disks[0].current, &before.disks[0].layers[..]),
        (false, &old[..])
    );
    assert_eq!(before.disks[0].version.as_ref().unwrap().as_str(), "0.1");
    assert_eq!(before.edits[0].place, "vcpu");
    let told = format!(
        "disk vda: begins anew on sha256-{} of version 0.2",
        new[1].short()
    );
    assert!(before.reset[0].starts_with(&told), "{before:?}");
    let reset = |keep, dry_run| {
        reset(
            &bench.layout,
            &bench.libvirt,
            "reset",
            keep,
            VirtType::Qemu,
            dry_run,
        )
    };

    reset(false, true).unwrap();
    assert_eq!(status(), before);
    bench.libvirt.start_domain("reset").unwrap();
    assert!(matches!(reset(false, false), Err(InstallError::Running(_))));
    bench.libvirt.destroy_domain("reset").unwrap();
    // What it would stand on is looked at first.
    let delta = bench.layout.packaged_image(&new[1]).on_disk().to_owned();
    let good = fs::read(&delta).unwrap();
    fs::remove_file(&delta).unwrap();
    fs::write(&delta, "damaged").unwrap();
    assert!(matches!(reset(false, false), Err(InstallError::Digest { .. })));
    assert_eq!(status(), before);
    fs::write(&delta, good).unwrap();

    let inode = fs::metadata(bench.overlay()).unwrap().ino();
    let done = reset(true, false).unwrap();
    assert_eq!(fs::metadata(&done.aside[0]).unwrap().ino(), inode);
    assert_eq!(bench.chain(), names(&new));
    let after = status();
    assert!(
        after.disks[0].current && after.edits.is_empty() && after.pending.is_empty(),
        "{after:?}"
    );
    assert_eq!(after.uuid, before.uuid);
    // The old disk still stands on its images; when it has gone, the next reset clears them away.
    let chain = bench.layout.instance_chain(bench.name());
    let held = |layer: &Digest| chain.join(layer.file_name()).on_disk().exists();
    assert!(held(&old[1]) && held(&new[1]));
    bench.check().unwrap();
    fs::remove_file(&done.aside[0]).unwrap();
    reset(false, false).unwrap();
    assert!(!held(&old[1]) && held(&new[1]));
    assert!(!bench.register().unwrap().changed);
}

#[test]
fn a_reset_that_was_killed_is_finished() {
    let bench = Bench::new("reset-killed");
    bench.install("0.1", 2);
    bench.register().unwrap();
    let new = bench.install("0.2", 3);
    for phase in [ResetPhase::Removing, ResetPhase::Making] {
        let mut instance = Instance::read(&bench.layout, bench.name()).unwrap().unwrap();
        assert!(phase == ResetPhase::Making || bench.chain() != names(&new));
        instance.resetting = Some(Resetting { phase, aside: None });
        if phase == ResetPhase::Making {
            fs::remove_file(bench.overlay()).unwrap();
            instance.disks.clear();
        }
        instance.write(&bench.layout).unwrap();
        let kind = PendingKind::ResetGuest {
            package: bench.package.clone(),
            guest: bench.name().clone(),
        };
        kind.note(&bench.layout, bench.libvirt.uri(), "killed").unwrap();
        assert_eq!(bench.finish(), [true]);
        assert_eq!(bench.chain(), names(&new));
        assert_eq!(pending(&bench.layout).unwrap(), []);
        assert_eq!(
            Instance::read(&bench.layout, bench.name())
                .unwrap()
                .unwrap()
                .resetting,
            None
        );
    }
}

#[test]
fn hostile_packages_make_nothing_and_say_so_in_plain_text() {
    let bench = Bench::new("hostile");
    let layers = bench.install("0.1", 2);
    let place = bench.layout.guest_package(bench.name());
    let (manifest, xml) = (place.join("manifest.json"), place.join("domain.xml"));
    let good_xml = fs::read_to_string(xml.on_disk()).unwrap();
    let refused = |what: &str| {
        let refused = bench.register().expect_err(what).to_string();
        assert!(
            !refused.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{refused:?}"
        );
        assert!(bench.libvirt.domain("hostile").unwrap().is_none(), "{what}");
        for made in [
            bench.layout.instance_disks(bench.name()),
            bench.layout.instance(bench.name()),
        ] {
            assert!(!made.on_disk().exists(), "{what}: {}", made.on_disk().display());
        }
    };
    let good: serde_json::Value = serde_json::from_slice(&fs::read(manifest.on_disk()).unwrap()).unwrap();
    let file =
        |name: &str| json!([{ "name": name, "role": "firmware-variables", "size": 1, "digest": layers[0] }]);
    let host = |name: &str| json!([{ "name": "net-1", "hosts": [{ "name": name, "mac": "52:54:00:00:00:01", "addresses": ["10.0.0.1"] }] }]);
    for (pointer, value) in [
        ("/files", file("../../../../etc/passwd")),
        ("/files", file("/etc/passwd")),
        ("/disks/0/target", json!("../../vda")),
        ("/disks/0/layers/0/digest", json!("../../../etc/passwd")),
        ("/disks/0/layers/0/file_size", json!(u64::MAX)),
        ("/disks/0/layers/0/file_size", json!(1e300)),
        ("/disks/0/layers/0/file_size", json!(-1)),
        ("/domain/memory", json!(u64::MAX)),
        ("/domain/vcpus", json!(0)),
        ("/package/name", json!("vm-../../etc")),
        ("/package/version", json!("1\u{1b}[2J")),
        ("/package/guest", json!("a\u{1b}]0;owned\u{7}")),
        ("/networks", host("a\u{1b}[31m")),
        ("/networks", host("a,b\ndhcp-script=/x")),
        ("/warnings", json!(["\u{202e}txt"])),
        ("/renamed_from", json!(["vm-web\n"])),
    ] {
        let mut bad = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value.clone();
        fs::write(manifest.on_disk(), bad.to_string()).unwrap();
        refused(&format!("{pointer} {value}"));
    }
    for text in [
        "{",
        "",
        "[[[[",
        &"[".repeat(100_000),
        &" ".repeat(5 << 20),
        "{\"format\": 99}",
    ] {
        fs::write(manifest.on_disk(), text).unwrap();
        refused("a manifest that is none");
    }
    fs::write(manifest.on_disk(), good.to_string()).unwrap();

    let bomb = "<!DOCTYPE d [<!ENTITY a '&b;&b;'><!ENTITY b '&a;&a;'>]><domain>&a;</domain>";
    let deep = format!("<domain>{}</domain>", "<a>".repeat(100_000));
    let wide = good_xml.replace("</devices>", &format!("{}</devices>", "<a/>".repeat(200_000)));
    let long = good_xml.replace("</devices>", &format!("<!--{}--></devices>", "x".repeat(5 << 20)));
    let escape = good_xml.replace("<memory>", "<memory unit='\u{1b}[31m'>");
    let huge = good_xml.replace(">65536<", ">99999999999999999999999999<");
    let climbing = good_xml.replace("dev='vda'", "dev='../../vda'");
    for text in [
        bomb,
        &deep,
        &wide,
        &long,
        &escape,
        &huge,
        &climbing,
        "",
        "\u{0}",
        "<domain/>",
    ] {
        fs::write(xml.on_disk(), text).unwrap();
        refused(&text.chars().take(60).collect::<String>());
    }
    fs::write(xml.on_disk(), [0xff, 0xfe, 0x00]).unwrap();
    refused("no text");
    fs::write(xml.on_disk(), good_xml).unwrap();
    assert!(bench.register().unwrap().changed);
}
