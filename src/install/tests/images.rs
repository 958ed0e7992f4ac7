//! Which images an instance stands on, and that it is told when they are not those.

use super::*;

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
fn images_that_come_back_alone_are_linked_once_and_damaged_ones_not() {
    let bench = Bench::new("alone");
    let [base, _] = bench.install("0.1", 2);
    bench.register().unwrap();
    let held = bench.layout.instance_chain(bench.name()).join(base.file_name());
    let packaged = bench.layout.packaged_image(&base).on_disk().to_owned();
    let same = || {
        let inode = |path| fs::metadata(path).unwrap().ino();
        inode(held.on_disk()) == inode(packaged.as_path())
    };
    let reinstall = |content: &[u8]| {
        let draft = packaged.with_extension("draft");
        fs::write(&draft, content).unwrap();
        fs::rename(&draft, &packaged).unwrap();
    };
    let good = fs::read(&packaged).unwrap();
    assert!(!is_any_unlinked(&bench.layout));
    // Also while its guest's package is away.
    bench.uninstall();
    unregister(&bench.layout, &bench.libvirt, &bench.package, false).unwrap();
    for content in [&good[..], b"damaged", &good] {
        reinstall(content);
        assert!(is_any_unlinked(&bench.layout));
        link_returned(&bench.layout).unwrap();
        assert_eq!(same(), content == good);
        // What cannot be linked is not read again and again.
        assert!(!is_any_unlinked(&bench.layout));
        assert!(fs::read(held.on_disk()).unwrap() == good);
    }
}
