//! A package set that goes on from an earlier one: one image more for a disk that has changed, and the earlier ones stay.

use crate::guest::{Bench, domain, request, run, version};
use crate::install::{done, dpkg, root, stub_deb};
use fs_err as fs;
use miniascape::host::Layout;
use miniascape::package::{self, Earlier, OutputFile, RepackError, Repacked, Request, Target};
use std::path::{Path, PathBuf};

const BOTH: [Target; 2] = [Target::Rpm, Target::Deb];

fn write(disk: &Path, what: &str) {
    run("qemu-io", |c| c.args(["-f", "qcow2", "-c", what]).arg(disk));
}

fn guest_package(repacked: &Repacked, kind: Target) -> PathBuf {
    let mut files = repacked.files.iter();
    files.find(|file| file.kind == kind).unwrap().path.clone()
}

fn names(repacked: &Repacked, kind: Target) -> Vec<String> {
    let files = repacked.files.iter().filter(|file| file.kind == kind);
    files.map(|file| file.package.clone()).collect()
}

/// Packs what has changed since the package `from`.
fn go_on(bench: &Bench, request: &Request, from: &Path, later: &str) -> Result<Repacked, RepackError> {
    let (earlier, _unpacked) = Earlier::of_file(from, &bench.output(), None, &())?;
    let request = Request {
        earlier: Some(earlier),
        version: version(later),
        ..request.clone()
    };
    package::repack(&request, &bench.options(&BOTH), &())
}

/// The package of the uppermost image.
fn image_package(repacked: &Repacked) -> PathBuf {
    let mut files = repacked.files.iter();
    let top = repacked.manifest.disks[0].layers.last().unwrap();
    let is = |file: &&OutputFile| file.kind == Target::Deb && file.package == top.package.as_str();
    files.find(is).unwrap().path.clone()
}

/// Takes the digests of blocks out of a guest package's directory.
fn forget_digests(dir: &Path) {
    let path = dir.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let files = manifest["files"].as_array_mut().unwrap();
    let all = files.len();
    files.retain(|file| file["role"] != "block-digests");
    assert_eq!(files.len() + 1, all);
    if files.is_empty() {
        manifest.as_object_mut().unwrap().remove("files");
    }
    fs::write(&path, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    fs::remove_file(dir.join("blocks-vda")).unwrap();
}

/// The same Debian package without digests of blocks, beside the packages of its images, in a directory of its own.
fn without_digests(bench: &Bench, package: &Path) -> PathBuf {
    let (dir, tree) = (bench.path("bare"), bench.path("tree"));
    fs::create_dir(&dir).unwrap();
    run("dpkg-deb", |c| c.arg("-R").arg(package).arg(&tree));
    forget_digests(&tree.join("usr/share/miniascape/guests/web"));
    let bare = dir.join(package.file_name().unwrap());
    run("dpkg-deb", |c| {
        c.args(["--root-owner-group", "-Zzstd", "-b"])
            .arg(&tree)
            .arg(&bare)
    });
    for entry in fs::read_dir(package.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.extension() == package.extension() && name != package.file_name().unwrap() {
            fs::copy(&path, dir.join(name)).unwrap();
        }
    }
    bare
}

#[test]
fn only_what_has_changed_is_packed_and_it_installs_over_the_earlier_one() {
    let bench = Bench::new();
    bench.raw("golden.raw");
    let disk = bench.overlay("disk.qcow2", "golden.raw", "raw", "12M");
    let request = request(domain("web", &disk, "qcow2"));
    let first = package::repack(&request, &bench.options(&BOTH), &()).unwrap();
    let before = first.manifest.disks[0].layers.clone();

    // Data where there was some, data where there was none, and zeros in place of data of base and delta.
    write(&disk, "write -P 0xe1 5M 64k");
    write(&disk, "write -P 0xe2 8M 70k");
    write(&disk, "write -z 3100000 131072");
    let second = go_on(&bench, &request, &guest_package(&first, Target::Deb), "0.2").unwrap();
    let layers = &second.manifest.disks[0].layers;
    assert_eq!((layers.len(), &layers[..2]), (3, &before[..]));
    for kind in BOTH {
        assert_eq!(names(&second, kind), ["vm-web", layers[2].package.as_ref()]);
    }
    assert!(layers[2].file_size < 1 << 20, "{}", layers[2].file_size);

    // From RPM packages the same comes out; from the second one, a fourth image; without a change, none.
    let again = go_on(&bench, &request, &guest_package(&first, Target::Rpm), "0.2").unwrap();
    assert_eq!(again.manifest, second.manifest);
    write(&disk, "write -P 0xe3 9M 1k");
    let third = go_on(&bench, &request, &guest_package(&second, Target::Deb), "0.3").unwrap();
    assert_eq!(third.manifest.disks[0].layers.len(), 4);
    assert_eq!(third.manifest.disks[0].layers[..3], layers[..]);
    let fourth = go_on(&bench, &request, &guest_package(&third, Target::Deb), "0.4").unwrap();
    assert_eq!(fourth.manifest.disks, third.manifest.disks);
    assert_eq!(names(&fourth, Target::Deb), ["vm-web"]);

    // Nothing of the earlier images is needed, but where a package does not have the digests of their blocks: then they
    // are, and the same comes out. So it is with one that is installed.
    let bare = without_digests(&bench, &guest_package(&third, Target::Deb));
    write(&disk, "write -P 0xe4 2M 3k");
    write(&disk, "write -z 8M 64k");
    let fifth = go_on(&bench, &request, &bare, "0.5").unwrap();
    assert_eq!(fifth.manifest.disks[0].layers.len(), 5);
    fs::remove_dir_all(bare.parent().unwrap()).unwrap();
    let lone = bench.path("lone.deb");
    fs::copy(guest_package(&third, Target::Deb), &lone).unwrap();
    let by_digests = go_on(&bench, &request, &lone, "0.5").unwrap();
    assert_eq!(by_digests.manifest, fifth.manifest);

    // As a package manager does it: first one version, then the later one over it.
    let root = root();
    let install = |files: &[PathBuf]| {
        let mut command = dpkg(root.path());
        command.arg("-i").args(files);
        done(command);
    };
    install(&[stub_deb(&bench)]);
    let since_installed = || {
        let layout = Layout::other_root(root.path());
        let installed = package::show(&layout, &"vm-web".parse().unwrap()).unwrap();
        Earlier::installed(&layout, &installed).and_then(|earlier| {
            let request = Request {
                earlier: Some(earlier),
                version: version("0.5"),
                ..request.clone()
            };
            package::repack(&request, &bench.options(&BOTH), &())
        })
    };
    for repacked in [&first, &second, &third] {
        let files = repacked.files.iter().filter(|file| file.kind == Target::Deb);
        install(&files.map(|file| file.path.clone()).collect::<Vec<_>>());
    }
    assert_eq!(since_installed().unwrap().manifest, fifth.manifest);
    let own = root.path().join("usr/share/miniascape/guests/web");
    let list = own.join("blocks-vda");
    let mut bytes = fs::read(&list).unwrap();
    bytes[40] ^= 1;
    fs::write(&list, &bytes).unwrap();
    let damaged = since_installed().unwrap_err().to_string();
    assert!(damaged.contains("blocks-vda is damaged"), "{damaged}");
    forget_digests(&own);
    assert_eq!(since_installed().unwrap().manifest, fifth.manifest);

    install(&[guest_package(&fifth, Target::Deb), image_package(&fifth)]);
    let last = &fifth.manifest.disks[0].layers[4];
    let image = Layout::other_root(root.path()).packaged_image(&last.digest);
    run("qemu-img", |c| {
        c.args(["compare", "-f", "qcow2", "-F", "qcow2"])
            .arg(image.on_disk())
            .arg(&disk)
    });
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let bench = Bench::new();
    bench.raw("golden.raw");
    let disk = bench.overlay("disk.qcow2", "golden.raw", "raw", "12M");
    let web = request(domain("web", &disk, "qcow2"));
    let other = request(domain("other", &disk, "qcow2"));
    let first = package::repack(&web, &bench.options(&BOTH), &()).unwrap();
    let from = guest_package(&first, Target::Deb);
    let reason = |request: &Request, from: &Path, later: &str| match go_on(&bench, request, from, later) {
        Err(error @ RepackError::NoEarlier { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(reason(&web, &from, "0.1").contains("--package-version"));
    assert!(reason(&other, &from, "0.2").contains("vm-other"));
    let image = first
        .files
        .iter()
        .find(|file| file.kind == Target::Deb && file.package != "vm-web");
    let image = image.unwrap().path.clone();
    assert!(reason(&web, &image, "0.2").contains("no guest package"));
    let bare = without_digests(&bench, &from);
    fs::remove_file(bare.with_file_name(image.file_name().unwrap())).unwrap();
    assert!(reason(&web, &bare, "0.2").contains("is not beside it"));
}
