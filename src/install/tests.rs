//! Packages registered in turn in libvirt's simulator, with real images.

use super::*;
use crate::domain::VirtType;
use crate::host::{Layout, Libvirt};
use crate::image::{self, Format};
use crate::package::ImagePackage;
use fs_err as fs;
use serde_json::json;
use std::os::unix::fs::MetadataExt;

/// A host with its own files. The simulator is shared by all tests of the process, so each uses a name of its own.
struct Bench {
    _dir: tempfile::TempDir,
    layout: Layout,
    libvirt: Libvirt,
    package: GuestPackage,
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
        register(&self.layout, &self.libvirt, &self.package, VirtType::Qemu, false)
    }

    /// Takes up pending work; for each piece that was tried, whether it is done.
    fn finish(&self) -> Vec<bool> {
        let all = finish(&self.layout, &self.libvirt, || Ok(VirtType::Qemu)).unwrap();
        all.iter().map(|done| done.result.is_ok()).collect()
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
    check_images(&bench.layout, bench.name()).unwrap();

    // The layer that is used is the one that is watched.
    fs::remove_file(chain.join(old[1].file_name()).on_disk()).unwrap();
    let gone = check_images(&bench.layout, bench.name()).unwrap_err();
    assert!(
        matches!(gone, InstallError::Swapped { what: "removed", .. }),
        "{gone}"
    );
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
    check_images(&bench.layout, bench.name()).unwrap();
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
    for refused in [
        bench.register().map(drop),
        check_images(&bench.layout, bench.name()),
    ] {
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
    bench.publish(
        "0.1",
        &layers,
        "<interface type='bridge'><source bridge='br7'/></interface>",
    );
    let notes = bench.register().unwrap().notes;
    assert_eq!(notes, ["this host has to have: bridge br7"]);
}

#[test]
fn pending_work_is_done_only_where_it_belongs() {
    let bench = Bench::new("elsewhere");
    bench.install("0.1", 2);
    let kind = PendingKind::RegisterGuest {
        package: bench.package.clone(),
    };
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
    let kind = PendingKind::RegisterGuest {
        package: bench.package.clone(),
    };
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
    assert!(matches!(refused, InstallError::NameTaken(_)), "{refused}");
    let kind = PendingKind::RegisterGuest {
        package: bench.package.clone(),
    };
    note_failure(&bench.layout, &bench.libvirt, &kind, &refused).unwrap();
    assert!(bench.finish().is_empty());
    bench.libvirt.undefine_domain("name-taken").unwrap();
    assert_eq!(bench.finish(), [true]);
}
