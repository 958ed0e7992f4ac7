//! Beginning anew.

use super::*;

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
fn a_reset_that_was_killed_is_finished_and_takes_no_disk_twice() {
    let bench = Bench::new("reset-killed");
    bench.install("0.1", 2);
    bench.register().unwrap();
    let new = bench.install("0.2", 3);
    let virt = VirtType::Qemu;
    super::super::reset(&bench.layout, &bench.libvirt, "reset-killed", false, virt, false).unwrap();
    let disk = DiskRecord {
        target: "vda".parse().unwrap(),
        layers: new.to_vec(),
        version: Some("0.2".parse().unwrap()),
    };
    let inode = |path: &std::path::Path| fs::metadata(path).map(|meta| meta.ino()).ok();
    for (phase, swapped, aside) in [
        (ResetPhase::Removing, false, None),
        (ResetPhase::Removing, false, Some("one")),
        (ResetPhase::Removing, true, None),
        (ResetPhase::Removing, true, Some("two")),
        (ResetPhase::Making, true, Some("three")),
    ] {
        let before = inode(&bench.overlay());
        let mut instance = Instance::read(&bench.layout, bench.name()).unwrap().unwrap();
        overlay::prepare(&bench.layout, bench.name(), &disk).unwrap();
        let kept = aside.map(|suffix| bench.overlay().with_file_name(format!("vda.{suffix}.qcow2")));
        if swapped {
            overlay::take_place(&bench.layout, bench.name(), &disk, kept.as_deref()).unwrap();
        }
        if phase == ResetPhase::Making {
            instance.disks = vec![disk.clone()];
        }
        instance.resetting = Some(Resetting {
            phase,
            aside: aside.map(str::to_owned),
            disks: vec![disk.clone()],
        });
        instance.write(&bench.layout).unwrap();
        let kind = PendingKind::ResetGuest {
            package: bench.package.clone(),
            guest: bench.name().clone(),
        };
        kind.note(&bench.layout, bench.libvirt.uri(), "killed").unwrap();
        assert_eq!(bench.finish(), [true]);
        assert_eq!(bench.chain(), names(&new));
        assert_ne!(inode(&bench.overlay()), before);
        if let Some(kept) = kept {
            assert_eq!(inode(&kept), before);
        }
        assert_eq!(pending(&bench.layout).unwrap(), []);
        let instance = Instance::read(&bench.layout, bench.name()).unwrap().unwrap();
        assert_eq!(instance.resetting, None);
    }
    // One that was killed before it had begun leaves no draft behind.
    overlay::prepare(&bench.layout, bench.name(), &disk).unwrap();
    let kind = PendingKind::ResetGuest {
        package: bench.package.clone(),
        guest: bench.name().clone(),
    };
    kind.note(&bench.layout, bench.libvirt.uri(), "killed").unwrap();
    assert_eq!(bench.finish(), [true]);
    let disks = bench.layout.instance_disks(bench.name());
    let hidden = fs::read_dir(disks.on_disk()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
}
