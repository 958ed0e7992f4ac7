//! The judgement: a manifest and what is around it in, findings out. Pure.

use super::gather::{Around, Host};
use super::{Check, Finding, Verdict};
use crate::install::managed::Manager;
use crate::name::Digest;
use crate::package::{Contents, FirmwareKind, Line, Manifest, PackageKind};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Room for an empty overlay of each disk, with the directories around it.
const OVERLAY: u64 = 512 << 10;
/// Kinds of pools whose directory is a place where something is mounted.
const MOUNTED: [&str; 4] = ["fs", "netfs", "gluster", "vstorage"];

/// What concerns all packages together.
pub(super) fn host(host: &Host, packages: &[Contents]) -> Vec<Finding> {
    let mut findings = images(host, packages);
    findings.extend(twice(packages));
    findings.extend(space(host, packages));
    findings.extend(pool(host));
    findings.push(security(host));
    findings
}

fn manifests(packages: &[Contents]) -> impl Iterator<Item = &Manifest> {
    packages
        .iter()
        .filter_map(|package| Some(&package.guest.as_ref()?.manifest))
}

/// A package manager takes one version of a package, and nobody says which was meant.
fn twice(packages: &[Contents]) -> Vec<Finding> {
    let mut seen = HashSet::new();
    let names = manifests(packages).map(|manifest| &manifest.package.name);
    let again = names.filter(|name| !seen.insert(*name));
    again
        .map(|name| Finding {
            package: Some(name.clone()),
            ..Finding::new(Check::Name, Verdict::No, "it is twice among the files").hint("give one of them")
        })
        .collect()
}

fn images(host: &Host, packages: &[Contents]) -> Vec<Finding> {
    let carried: HashMap<Digest, u64> = packages
        .iter()
        .flat_map(|package| package.images.iter().copied())
        .collect();
    let mut findings = Vec::new();
    for manifest in manifests(packages) {
        let missing: Vec<String> = manifest
            .images()
            .into_iter()
            .filter(|layer| !carried.contains_key(&layer.digest) && !host.there.contains(&layer.digest))
            .map(|layer| layer.package.to_string())
            .collect();
        let finding = if missing.is_empty() {
            let what = format!("all {} are here or come along", manifest.images().len());
            Finding::new(Check::Images, Verdict::Ok, what)
        } else {
            let what = format!("neither here nor among the files: {}", missing.join(", "));
            Finding::new(Check::Images, Verdict::No, what).hint("give the files of these packages, too")
        };
        findings.push(Finding {
            package: Some(manifest.package.name.clone()),
            ..finding
        });
    }
    findings
}

fn space(host: &Host, packages: &[Contents]) -> Vec<Finding> {
    // The sizes of the images in the files, and of those that the manifests promise, each image once.
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let promised = manifests(packages)
        .flat_map(Manifest::images)
        .map(|layer| (layer.digest, layer.file_size));
    let carried = packages.iter().flat_map(|package| package.images.iter().copied());
    for (digest, size) in promised.chain(carried) {
        if !host.there.contains(&digest) {
            sizes.insert(digest.to_string(), size);
        }
    }
    let disks = || manifests(packages).flat_map(|manifest| &manifest.disks);
    let overlays = OVERLAY.saturating_mul(disks().count() as u64);
    let needed = sizes
        .values()
        .fold(overlays, |sum, size| sum.saturating_add(*size));
    let dir = host.images.display();
    let what = format!("{dir}: {needed} bytes are needed, {} are free", host.free);
    if needed > host.free {
        let hint = format!("free {} bytes on that file system", needed - host.free);
        return vec![Finding::new(Check::Space, Verdict::No, what).hint(hint)];
    }
    let mut findings = vec![Finding::new(Check::Space, Verdict::Ok, what)];
    findings.extend(copies(host, packages));
    let full = disks()
        .filter_map(|disk| disk.layers.last())
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.virtual_size));
    if full > host.free - needed {
        let left = host.free - needed;
        let what = format!("the guests' disks can grow to {full} bytes, and {left} are left for that");
        findings.push(Finding::new(Check::Space, Verdict::Warning, what));
    }
    findings
}

/// Where instances are on another file system than the images, links of their own are copies.
fn copies(host: &Host, packages: &[Contents]) -> Option<Finding> {
    let free = host.free_apart?;
    let images = manifests(packages).flat_map(Manifest::images);
    let needed = images.fold(0_u64, |sum, layer| sum.saturating_add(layer.file_size));
    let what = format!(
        "the guests' disks are on a file system of their own, so their images are copied: {needed} bytes, {free} are free"
    );
    Some(if needed > free {
        let hint = format!("free {} bytes there", needed - free);
        Finding::new(Check::Space, Verdict::No, what).hint(hint)
    } else {
        Finding::new(Check::Space, Verdict::Warning, what)
    })
}

fn pool(host: &Host) -> Vec<Finding> {
    let dir = host.images.display();
    let judge = |pool: &super::gather::Pool| {
        let what = format!("{dir} is in the pool {} ({})", pool.name, pool.kind);
        if pool.active || !MOUNTED.contains(&pool.kind.as_str()) {
            return Finding::new(Check::Pool, Verdict::Ok, what);
        }
        let what = format!("{what}, which is not mounted: it would hide the images when it starts");
        let hint = format!("start it first: virsh pool-start {}", pool.name);
        Finding::new(Check::Pool, Verdict::No, what).hint(hint)
    };
    if host.pools.is_empty() {
        let what = format!("{dir} is in no pool, and needs none");
        return vec![Finding::new(Check::Pool, Verdict::Ok, what)];
    }
    host.pools.iter().map(judge).collect()
}

fn security(host: &Host) -> Finding {
    let Some(capabilities) = &host.capabilities else {
        let what = "libvirt's capabilities cannot be read: it is not known what confines guests";
        return Finding::new(Check::Security, Verdict::Warning, what);
    };
    let used = |name: &str| capabilities.confined_by.iter().any(|model| model == name);
    let kernel = &host.kernel;
    let dir = host.images.display();
    let elsewhere = !host.usual_place;
    if used("selinux") && kernel.selinux == Some(true) {
        let what = format!("SELinux enforces, and libvirt labels guests and their disks in {dir}");
        if elsewhere {
            let hint = format!(
                "label it: semanage fcontext -a -t virt_image_t '{dir}(/.*)?' && restorecon -R {dir}"
            );
            return Finding::new(
                Check::Security,
                Verdict::Warning,
                format!("{what}, which is not its usual place"),
            )
            .hint(hint);
        }
        return Finding::new(Check::Security, Verdict::Ok, what);
    }
    if used("apparmor") && kernel.apparmor {
        let what = "AppArmor is on, and libvirt gives each guest a profile with its disks";
        if elsewhere {
            let hint = format!(
                "let virt-aa-helper read {dir}: a line in /etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper"
            );
            return Finding::new(
                Check::Security,
                Verdict::Warning,
                format!("{what}; {dir} is not a place that its rules know"),
            )
            .hint(hint);
        }
        return Finding::new(Check::Security, Verdict::Ok, what);
    }
    let what = match (kernel.apparmor, kernel.selinux) {
        (true, _) => "AppArmor is on, and libvirt does not use it: guests are not confined",
        (_, Some(true)) => "SELinux enforces, and libvirt does not use it: guests are not confined",
        (_, Some(false)) => "SELinux only reports: guests are not confined",
        (false, None) => "neither AppArmor nor SELinux is on: guests are not confined",
    };
    Finding::new(Check::Security, Verdict::Ok, what)
}

/// What concerns one guest.
pub(super) fn guest(host: &Host, around: &Around, manifest: &Manifest, kind: PackageKind) -> Vec<Finding> {
    let mut findings = vec![package(host, around, manifest, kind)];
    findings.extend(names(around, manifest));
    findings.extend(trust(around));
    findings.extend(machine(host, around, manifest));
    findings.extend(networks(host, manifest));
    findings.extend(addresses(around, manifest));
    findings
}

/// What is here of the package. Two package managers would each take its files for theirs.
fn package(host: &Host, around: &Around, manifest: &Manifest, kind: PackageKind) -> Finding {
    let (section, name) = (&manifest.package, &manifest.package.name);
    let new = format!("{}-{}", section.version, section.release);
    let finding = |verdict, what: String| Finding::new(Check::Package, verdict, what);
    let own = match kind {
        PackageKind::Rpm | PackageKind::Srpm => Some(Manager::Rpm),
        PackageKind::Deb => Some(Manager::Dpkg),
        PackageKind::Tar => None,
    };
    match (host.managed.get(name.as_str()), &around.installed) {
        (Some(there), _) if own != Some(there.manager) => {
            let manager = there.manager.as_str();
            let what = format!(
                "{name} {} is installed by {manager}, to which its files belong",
                there.version
            );
            let hint = format!(
                "give the package for {manager}, or first `miniascape package remove {name}` (the disks of its guests stay)"
            );
            finding(Verdict::No, what).hint(hint)
        }
        (Some(there), _) if there.version == new => finding(Verdict::Ok, format!("{new} is installed")),
        (Some(there), _) => finding(Verdict::Ok, format!("{new} replaces {}", there.version)),
        (None, Some(there)) if own.is_some() => finding(
            Verdict::Warning,
            format!("{new} takes over {there}, which came by no package manager"),
        ),
        (None, Some(there)) if *there == new => finding(Verdict::Ok, format!("{new} is installed")),
        (None, Some(there)) => finding(Verdict::Ok, format!("{new} replaces {there}")),
        (None, None) => finding(Verdict::Ok, format!("{new} is not installed yet")),
    }
}

fn names(around: &Around, manifest: &Manifest) -> Vec<Finding> {
    let guest = manifest.package.name.guest();
    if !around.names.is_empty() {
        let clashes = around.names.iter();
        return clashes
            .map(|(what, remedy)| Finding::new(Check::Name, Verdict::No, what).hint(remedy))
            .collect();
    }
    let what = match &around.known[..] {
        [] => format!("{guest} is free"),
        [one] => format!("{one} is here, and follows the package"),
        many => {
            let many: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("{} are here, and follow the package", many.join(", "))
        }
    };
    vec![Finding::new(Check::Name, Verdict::Ok, what)]
}

fn trust(around: &Around) -> Vec<Finding> {
    match &around.trust {
        Some(Err(what)) => {
            let hint = "if you trust it: miniascape package install --trust FILE…";
            vec![Finding::new(Check::Trust, Verdict::No, what).hint(hint)]
        }
        Some(Ok(needs)) => needs
            .iter()
            .map(|need| Finding::new(Check::Trust, Verdict::Warning, need))
            .collect(),
        None => Vec::new(),
    }
}

/// Emulator, machine type, processor and firmware.
fn machine(host: &Host, around: &Around, manifest: &Manifest) -> Vec<Finding> {
    let Some(capabilities) = &host.capabilities else {
        let what = "libvirt's capabilities cannot be read: nothing is known of its machines";
        return vec![Finding::new(Check::Emulator, Verdict::Warning, what)];
    };
    let arch = &around.arch;
    let Some(emulator) = capabilities.emulators.get(arch) else {
        let what = format!("libvirt has no emulator for {arch}");
        let hint = format!("install QEMU for {arch}, then restart libvirt");
        return vec![Finding::new(Check::Emulator, Verdict::No, what).hint(hint)];
    };
    let path = &emulator.path;
    let virt = &around.virt;
    if !emulator.kinds.contains(virt) {
        let what = format!("{path} cannot run {arch} guests by {virt} here");
        let hint = "see `virsh capabilities`; restart libvirt if QEMU or KVM came after it";
        return vec![Finding::new(Check::Emulator, Verdict::No, what).hint(hint)];
    }
    let mut findings = vec![Finding::new(
        Check::Emulator,
        Verdict::Ok,
        format!("{path} ({virt})"),
    )];
    match &manifest.domain.machine {
        Some(machine) if !emulator.machines.iter().any(|known| known == machine.as_str()) => {
            let what = format!("{path} has no machine type {machine}");
            let hint = "install the QEMU of the host where it was packed, or a later one";
            findings.push(Finding::new(Check::Machine, Verdict::No, what).hint(hint));
        }
        Some(machine) => findings.push(Finding::new(Check::Machine, Verdict::Ok, machine.as_str())),
        None => findings.push(Finding::new(Check::Machine, Verdict::Ok, "libvirt's choice")),
    }
    match &around.machine {
        None => {}
        Some(Err(error)) => {
            let what = format!("not known, libvirt does not tell: {error}");
            findings.push(Finding::new(Check::Cpu, Verdict::Warning, &what));
            findings.push(Finding::new(Check::Firmware, Verdict::Warning, &what));
        }
        Some(Ok(machine)) => {
            findings.push(cpu(machine, virt, manifest));
            findings.push(firmware(machine, around, manifest));
        }
    }
    findings
}

fn cpu(machine: &super::capabilities::MachineCapabilities, virt: &str, manifest: &Manifest) -> Finding {
    let cpu = &manifest.domain.cpu;
    let yes = |what: String| Finding::new(Check::Cpu, Verdict::Ok, what);
    let no = |what: String| Finding::new(Check::Cpu, Verdict::No, what);
    let mode = match (&cpu.mode, &cpu.model) {
        (Some(mode), _) => mode.as_str(),
        (None, Some(_)) => "custom",
        (None, None) => return yes("libvirt's choice".to_owned()),
    };
    if virt != "kvm" && mode.starts_with("host-") {
        let what = format!("{mode} needs KVM; emulated, the guest gets `maximum` instead");
        return Finding::new(Check::Cpu, Verdict::Warning, what);
    }
    if !machine.modes.iter().any(|known| known == mode) {
        return no(format!("the mode {mode} is not supported here"));
    }
    let Some(model) = cpu.model.as_ref().filter(|_| mode == "custom") else {
        return yes(mode.to_owned());
    };
    let usual = "pack the guest with a model that both hosts have; `virsh domcapabilities` lists this host's";
    match machine.models.get(model.as_str()) {
        None => no(format!("libvirt knows no model {model} for this machine")).hint(usual),
        Some(false) => no(format!(
            "this host's processor cannot give all of the model {model}"
        ))
        .hint(usual),
        Some(true) => match cpu.features.values().filter(|f| f.as_str() == "require").count() {
            0 => yes(model.to_string()),
            count => yes(format!(
                "{model}; libvirt checks the {count} single features that it requires at the start"
            )),
        },
    }
}

fn firmware(
    machine: &super::capabilities::MachineCapabilities,
    around: &Around,
    manifest: &Manifest,
) -> Finding {
    let firmware = &manifest.domain.firmware;
    let finding = |verdict, what: String| Finding::new(Check::Firmware, verdict, what);
    if !around.missing.is_empty() {
        let what = format!("not on this host: {}", around.missing.join(", "));
        return finding(Verdict::No, what)
            .hint("install the firmware's package (Debian: ovmf, Fedora: edk2-ovmf)");
    }
    let secure = if firmware.secure { " for secure boot" } else { "" };
    let kind = match firmware.kind {
        FirmwareKind::Bios => return finding(Verdict::Ok, "the emulator's own".to_owned()),
        FirmwareKind::Uefi => "UEFI",
        FirmwareKind::Other => "a file of its own",
    };
    if firmware.chosen_by_libvirt {
        let has = machine.firmware.iter().any(|known| known == "efi");
        if !has || firmware.secure && !machine.secure {
            let what = format!("libvirt has no UEFI{secure} for this machine");
            return finding(Verdict::No, what)
                .hint("install the firmware's package (Debian: ovmf, Fedora: edk2-ovmf)");
        }
        return finding(Verdict::Ok, format!("{kind}{secure}, chosen by libvirt"));
    }
    finding(Verdict::Ok, format!("{kind}{secure}"))
}

fn networks(host: &Host, manifest: &Manifest) -> Vec<Finding> {
    let named = manifest
        .domain
        .interfaces
        .iter()
        .filter_map(|i| i.network.as_ref());
    let mut names: Vec<&str> = named.map(Line::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let brought: Vec<String> = manifest
        .files
        .iter()
        .filter_map(|file| Some(file.network()?.to_string()))
        .collect();
    let judge = |name: &str| {
        let finding = |verdict, what: String| Finding::new(Check::Network, verdict, what);
        let register = format!("miniascape net register {name}");
        match host.networks.get(name) {
            Some(true) => finding(Verdict::Ok, format!("{name} is there")),
            Some(false) => finding(Verdict::Warning, format!("{name} is there, and not started"))
                .hint(format!("virsh net-start {name}, before the guest starts")),
            None if brought.iter().any(|brought| brought == name) => finding(
                Verdict::Warning,
                format!("{name} comes with the package, and is to be registered"),
            )
            .hint(register),
            None if host.defined.iter().any(|defined| defined == name) => finding(
                Verdict::Warning,
                format!("{name} is defined here, and not registered"),
            )
            .hint(register),
            None => finding(
                Verdict::No,
                format!("{name} is not there: the guest could not start"),
            )
            .hint("define it, or plug the guest into another network before it is packed"),
        }
    };
    names.into_iter().map(judge).collect()
}

fn addresses(around: &Around, manifest: &Manifest) -> Vec<Finding> {
    let mut findings: Vec<Finding> = around
        .macs
        .iter()
        .map(|(mac, owner)| {
            let what = format!("{owner} has {mac} here: this guest gets another");
            Finding::new(Check::Mac, Verdict::Warning, what)
        })
        .collect();
    findings.extend(around.kept_macs.iter().map(|(mac, owner)| {
        let what = format!(
            "{owner} has {mac}, too, which a guest of the package keeps: let one of them run at a time"
        );
        Finding::new(Check::Mac, Verdict::Warning, what)
    }));
    if findings.is_empty() && !manifest.domain.interfaces.is_empty() {
        let here = !around.known.is_empty();
        let what = if here { "its guests keep theirs" } else { "free" };
        findings.push(Finding::new(Check::Mac, Verdict::Ok, what));
    }
    let otherwise = around.addresses.iter();
    findings.extend(otherwise.map(|what| Finding::new(Check::Address, Verdict::Warning, what)));
    let reserves = manifest.networks.iter().any(|network| !network.hosts.is_empty());
    if around.addresses.is_empty() && reserves {
        findings.push(Finding::new(Check::Address, Verdict::Ok, "free"));
    }
    findings
}
