//! Packages registered in turn in libvirt's simulator, with real images.

mod hostile;
mod images;
mod instances;
mod mutated;
mod reset;
mod waiting;

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

/// The hardware address of the only interface of a domain.
fn mac(bench: &Bench, name: &str) -> String {
    let xml = bench.libvirt.domain(name).unwrap().unwrap().xml;
    let domain = crate::domain::Domain::parse(&xml).unwrap();
    domain.interfaces[0].mac.clone().unwrap()
}

const NIC: &str = "<interface type='user'><mac address='52:54:00:01:00:77'/></interface>";
