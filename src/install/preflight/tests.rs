//! Manifests and facts in, findings out.

use super::capabilities::{self, MachineCapabilities};
use super::gather::{Around, Host, Kernel, Pool};
use super::{Check, Finding, Verdict, judge};
use crate::install::managed::{Managed, Manager};
use crate::name::Digest;
use crate::package::{Contents, GuestContents, ImagePackage, Manifest, PackageKind, Verified};
use serde_json::{Value, json};

const CAPABILITIES: &str = "<capabilities><host><cpu><arch>x86_64</arch></cpu>\
    <secmodel><model>apparmor</model><doi>0</doi></secmodel><secmodel><model>dac</model></secmodel></host>\
    <guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu</emulator>\
    <machine maxCpus='255' canonical='pc-q35-7.2'>q35</machine><domain type='qemu'/>\
    <domain type='kvm'><machine>pc-odd-1</machine></domain></arch></guest>\
    <guest><os_type>xen</os_type><arch name='i686'/></guest></capabilities>";
const MACHINE: &str = "<domainCapabilities><os supported='yes'><enum name='firmware'><value>bios</value><value>efi</value>\
    </enum><loader supported='yes'><enum name='secure'><value>no</value></enum></loader></os><cpu>\
    <mode name='host-passthrough' supported='no'/><mode name='maximum' supported='yes'/>\
    <mode name='host-model' supported='yes'/>\
    <mode name='custom' supported='yes'><model usable='yes'>Old</model><model usable='no'>New</model></mode></cpu>\
    </domainCapabilities>";

fn digest() -> Digest {
    Digest::from_bytes([7; 32])
}

/// A manifest with `change` at the JSON pointer `at`.
fn manifest(at: &str, change: Value) -> Manifest {
    let digest = digest();
    let mut manifest = json!({
        "format": 1, "tool": "test", "created": "2026-01-01T00:00:00Z",
        "package": { "name": "vm-web", "version": "1", "release": 1, "guest": "web" },
        "domain": {
            "type": "kvm", "arch": "x86_64", "machine": "pc-q35-7.2", "cpu": {}, "firmware": { "kind": "bios" },
            "memory": 1, "vcpus": 1,
            "interfaces": [{ "mac": "52:54:00:00:00:01", "network": "lab" }],
        },
        "disks": [{ "target": "vda", "format": "qcow2", "layers": [{
            "role": "base", "digest": digest, "file_size": 1000, "virtual_size": 5000,
            "content_digest": "0".repeat(64), "package": ImagePackage::of(&digest),
            "capability": ImagePackage::rpm_capability(&digest),
        }] }],
    });
    if !at.is_empty() {
        *manifest.pointer_mut(at).expect("a place in the manifest") = change;
    }
    Manifest::parse(manifest.to_string().as_bytes()).expect("a manifest")
}

/// What is otherwise than on a good host, and what is said of it.
type Change = (fn(&mut Host, &mut Around), Check, Verdict, &'static str);

/// A host where the guest can be installed.
fn good() -> (Host, Around) {
    let host = Host {
        images: "/images".into(),
        usual_place: true,
        free: 1 << 20,
        capabilities: capabilities::read(CAPABILITIES),
        networks: [("lab".to_owned(), true), ("off".to_owned(), false)].into(),
        defined: vec!["later".to_owned()],
        kernel: Kernel {
            apparmor: true,
            selinux: None,
        },
        ..Host::default()
    };
    let around = Around {
        virt: "kvm".to_owned(),
        arch: "x86_64".to_owned(),
        machine: Some(Ok(capabilities::read_machine(MACHINE).expect("capabilities"))),
        ..Around::default()
    };
    (host, around)
}

fn has(host: &mut Host, manager: Manager) {
    let version = "0-1".to_owned();
    host.managed.insert("vm-web".into(), Managed { manager, version });
}

fn package(manifest: Manifest, images: &[(Digest, u64)]) -> Contents {
    Contents {
        path: "x.deb".into(),
        found: Verified {
            kind: PackageKind::Deb,
            package: manifest.package.name.to_string(),
            version: "1-1".to_owned(),
            files: Vec::new(),
        },
        images: images.to_vec(),
        guest: Some(GuestContents {
            manifest,
            domain_xml: String::new(),
        }),
    }
}

/// The worst verdict of the check, and the first words that go with it.
fn worst(findings: &[Finding], check: Check) -> (Verdict, &str) {
    let of = findings.iter().filter(|finding| finding.check == check);
    of.map(|finding| (finding.verdict, finding.what.as_str()))
        .reduce(|worst, other| if other.0 > worst.0 { other } else { worst })
        .unwrap_or_else(|| panic!("nothing on {check:?}: {findings:?}"))
}

#[test]
fn a_guest_that_fits_is_told_so_in_every_respect() {
    let (host, around) = good();
    let manifest = manifest("", Value::Null);
    let mut findings = judge::guest(&host, &around, &manifest, PackageKind::Deb);
    findings.extend(judge::host(&host, &[package(manifest, &[(digest(), 1000)])]));
    let bad: Vec<_> = findings.iter().filter(|f| f.verdict != Verdict::Ok).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(worst(&findings, Check::Emulator).1, "/usr/bin/qemu (kvm)");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_a_guest_needs_and_the_host_has_not_is_named() {
    let cpu = |mode: &str, model: &str| json!({ "mode": mode, "model": model });
    let efi = |secure: bool| json!({ "kind": "uefi", "chosen_by_libvirt": true, "secure": secure });
    let network = |name: &str| json!([{ "network": name }]);
    for (at, change, check, verdict, words) in [
        (
            "/domain/machine",
            json!("pc-q35-99"),
            Check::Machine,
            Verdict::No,
            "no machine type pc-q35-99",
        ),
        (
            "/domain/machine",
            json!("q35"),
            Check::Machine,
            Verdict::Ok,
            "q35",
        ),
        (
            "/domain/machine",
            json!("pc-odd-1"),
            Check::Machine,
            Verdict::Ok,
            "pc-odd-1",
        ),
        (
            "/domain/cpu",
            cpu("custom", "Old"),
            Check::Cpu,
            Verdict::Ok,
            "Old",
        ),
        (
            "/domain/cpu",
            cpu("custom", "New"),
            Check::Cpu,
            Verdict::No,
            "cannot give all of the model New",
        ),
        (
            "/domain/cpu",
            cpu("custom", "None"),
            Check::Cpu,
            Verdict::No,
            "no model None",
        ),
        (
            "/domain/cpu",
            json!({ "model": "New" }),
            Check::Cpu,
            Verdict::No,
            "cannot give all of the model New",
        ),
        (
            "/domain/cpu",
            json!({ "mode": "host-passthrough" }),
            Check::Cpu,
            Verdict::No,
            "host-passthrough is not",
        ),
        (
            "/domain/cpu",
            json!({ "mode": "host-model" }),
            Check::Cpu,
            Verdict::Ok,
            "host-model",
        ),
        (
            "/domain/firmware",
            efi(false),
            Check::Firmware,
            Verdict::Ok,
            "chosen by libvirt",
        ),
        (
            "/domain/firmware",
            efi(true),
            Check::Firmware,
            Verdict::No,
            "no UEFI for secure boot",
        ),
        (
            "/domain/interfaces",
            network("off"),
            Check::Network,
            Verdict::Warning,
            "not started",
        ),
        (
            "/domain/interfaces",
            network("later"),
            Check::Network,
            Verdict::Warning,
            "not registered",
        ),
        (
            "/domain/interfaces",
            network("none"),
            Check::Network,
            Verdict::No,
            "none is not there",
        ),
    ] {
        let (host, around) = good();
        let findings = judge::guest(&host, &around, &manifest(at, change.clone()), PackageKind::Deb);
        let (found, what) = worst(&findings, check);
        assert!(
            found == verdict && what.contains(words),
            "{at} {change}: {findings:?}"
        );
    }
}

#[test]
fn what_is_taken_or_missing_around_it_is_named() {
    let changes: [Change; 11] = [
        (
            |_, a| a.arch = "s390x".into(),
            Check::Emulator,
            Verdict::No,
            "no emulator for s390x",
        ),
        (
            |_, a| a.virt = "xen".into(),
            Check::Emulator,
            Verdict::No,
            "cannot run",
        ),
        (
            |h, _| h.capabilities = None,
            Check::Emulator,
            Verdict::Warning,
            "cannot be read",
        ),
        (
            |_, a| a.machine = Some(Err("why".into())),
            Check::Cpu,
            Verdict::Warning,
            "does not tell: why",
        ),
        (
            |_, a| a.missing = vec!["/fw".into()],
            Check::Firmware,
            Verdict::No,
            "/fw",
        ),
        (
            |_, a| a.names = vec![("taken".into(), "do".into())],
            Check::Name,
            Verdict::No,
            "taken",
        ),
        (
            |_, a| a.known = vec!["web".parse().unwrap()],
            Check::Name,
            Verdict::Ok,
            "follows the package",
        ),
        (
            |_, a| a.trust = Some(Err("a script".into())),
            Check::Trust,
            Verdict::No,
            "a script",
        ),
        (
            |_, a| a.trust = Some(Ok(vec!["a file".into()])),
            Check::Trust,
            Verdict::Warning,
            "a file",
        ),
        (
            |_, a| {
                a.macs.insert("52:54:00:00:00:01".parse().unwrap(), "db".into());
            },
            Check::Mac,
            Verdict::Warning,
            "db has 52:54:00:00:00:01",
        ),
        (
            |_, a| a.addresses = vec!["db has 192.0.2.1".into()],
            Check::Address,
            Verdict::Warning,
            "db has",
        ),
    ];
    are_found(changes);
    let (host, around) = good();
    let emulated = Around {
        virt: "qemu".into(),
        machine: Some(Ok(MachineCapabilities::default())),
        ..around
    };
    let passthrough = manifest("/domain/cpu", json!({ "mode": "host-passthrough" }));
    let findings = judge::guest(&host, &emulated, &passthrough, PackageKind::Deb);
    assert_eq!(worst(&findings, Check::Cpu).0, Verdict::Warning);
}

/// Each change is found, in a Debian package.
fn are_found<const N: usize>(changes: [Change; N]) {
    for (change, check, verdict, words) in changes {
        let (mut host, mut around) = good();
        change(&mut host, &mut around);
        let findings = judge::guest(&host, &around, &manifest("", Value::Null), PackageKind::Deb);
        let (found, what) = worst(&findings, check);
        assert!(found == verdict && what.contains(words), "{words}: {findings:?}");
    }
}

#[test]
fn whoever_has_the_package_is_named() {
    are_found([
        (
            |_, a| a.installed = Some("0-1".into()),
            Check::Package,
            Verdict::Warning,
            "takes over 0-1",
        ),
        (
            |h, _| has(h, Manager::Dpkg),
            Check::Package,
            Verdict::Ok,
            "1-1 replaces 0-1",
        ),
        (
            |h, _| has(h, Manager::Rpm),
            Check::Package,
            Verdict::No,
            "vm-web 0-1 is installed by rpm",
        ),
    ]);
}

#[test]
fn room_images_pools_and_confinement_are_judged_for_all_packages_together() {
    let one = || package(manifest("", Value::Null), &[(digest(), 1000)]);
    let overlay = 512 << 10;
    let judged = |host: &Host, check: Check, packages: &[Contents]| {
        let findings = judge::host(host, packages);
        let (verdict, what) = worst(&findings, check);
        (verdict, what.to_owned())
    };
    let (host, _) = good();
    // To the byte; what is there already needs no room.
    for (free, there, verdict) in [
        (overlay + 999, false, Verdict::No),
        (overlay + 1000, false, Verdict::Warning),
        (overlay + 6000, false, Verdict::Ok),
        (overlay + 999, true, Verdict::Warning),
        (overlay - 1, true, Verdict::No),
    ] {
        let host = Host {
            free,
            there: there.then(digest).into_iter().collect(),
            ..host.clone()
        };
        let (found, what) = judged(&host, Check::Space, &[one()]);
        assert_eq!(found, verdict, "{free}, {there}: {what}");
    }
    for (apart, verdict) in [(999, Verdict::No), (1000, Verdict::Warning)] {
        let host = Host {
            free_apart: Some(apart),
            ..host.clone()
        };
        assert_eq!(judged(&host, Check::Space, &[one()]).0, verdict);
    }
    let bare = || package(manifest("", Value::Null), &[]);
    let (verdict, what) = judged(&host, Check::Images, &[bare()]);
    assert!(
        verdict == Verdict::No && what.contains("miniascape-image-"),
        "{what}"
    );
    let twice = judged(&host, Check::Name, &[one(), one()]);
    assert_eq!(twice, (Verdict::No, "it is twice among the files".to_owned()));
    for (kind, active, verdict) in [
        ("dir", false, Verdict::Ok),
        ("netfs", true, Verdict::Ok),
        ("netfs", false, Verdict::No),
    ] {
        let pool = Pool {
            name: "p".into(),
            kind: kind.into(),
            active,
        };
        let host = Host {
            pools: vec![pool],
            ..host.clone()
        };
        assert_eq!(judged(&host, Check::Pool, &[one()]).0, verdict, "{kind} {active}");
    }
    for (apparmor, usual_place, verdict, words) in [
        (true, true, Verdict::Ok, "a profile"),
        (true, false, Verdict::Warning, "not a place that its rules know"),
        (false, true, Verdict::Ok, "not confined"),
    ] {
        let kernel = Kernel {
            apparmor,
            selinux: None,
        };
        let host = Host {
            usual_place,
            kernel,
            ..host.clone()
        };
        let (found, what) = judged(&host, Check::Security, &[one()]);
        assert!(found == verdict && what.contains(words), "{what}");
    }
    let selinux = CAPABILITIES.replace("apparmor", "selinux");
    for (usual_place, verdict) in [(true, Verdict::Ok), (false, Verdict::Warning)] {
        let host = Host {
            capabilities: capabilities::read(&selinux),
            kernel: Kernel {
                apparmor: false,
                selinux: Some(true),
            },
            usual_place,
            ..host.clone()
        };
        let (found, what) = judged(&host, Check::Security, &[one()]);
        assert!(found == verdict && what.contains("SELinux enforces"), "{what}");
    }
}
