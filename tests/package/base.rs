//! Guests of one origin share one base package, whatever copied it for them, and wherever the base is taken from.

use crate::guest::{Bench, domain, request, run};
use crate::install::{done, dpkg, root, stub_deb, stub_rpm};
use fs_err as fs;
use miniascape::host::Layout;
use miniascape::image::Format;
use miniascape::package::{self, Base, RepackError, Repacked, Request, Target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The base as it is given for the first guest.
fn golden(path: &Path) -> Base {
    Base {
        target: None,
        path: path.to_owned(),
        format: Format::Raw,
        packaged: None,
        has_package: false,
    }
}

fn write(disk: &Path, format: &str, what: &str) {
    run("qemu-io", |c| c.args(["-f", format, "-c", what]).arg(disk));
}

/// Two guests that know nothing of each other: an overlay, and a raw copy.
fn guests(bench: &Bench) -> [(PathBuf, Request); 2] {
    let raw = bench.raw("golden.raw");
    let one = bench.overlay("one.qcow2", "golden.raw", "raw", "12M");
    let two = bench.path("two.raw");
    fs::copy(&raw, &two).unwrap();
    write(&two, "raw", "write -P 0xb2 7M 128k");
    let requests = [("one", &one, "qcow2"), ("two", &two, "raw")]
        .map(|(name, disk, format)| request(domain(name, disk, format)));
    let [of_one, of_two] = requests;
    [(one, of_one), (two, of_two)]
}

fn pack(bench: &Bench, request: &Request, targets: &[Target]) -> Repacked {
    package::repack(request, &bench.options(targets), &()).unwrap()
}

/// The second guest packed on a base out of `file`.
fn pack_on(bench: &Bench, request: &Request, file: &Path, targets: &[Target]) -> Repacked {
    let unpacked = package::unpack_base(file, None, &bench.output(), None, &()).unwrap();
    let mut request = request.clone();
    request.disks.base = Some(Base {
        format: Format::Qcow2,
        packaged: Some(unpacked.digest),
        has_package: unpacked.has_package,
        ..golden(&unpacked.path)
    });
    pack(bench, &request, targets)
}

fn paths(repacked: &Repacked, kind: Target) -> Vec<PathBuf> {
    let files = repacked.files.iter().filter(|file| file.kind == kind);
    files.map(|file| file.path.clone()).collect()
}

/// The installed disk of a guest is that of the original.
fn same(root: &Path, repacked: &Repacked, original: &Path, format: &str) {
    let delta = repacked.manifest.disks[0].layers.last().unwrap();
    let image = Layout::other_root(root).packaged_image(&delta.digest);
    run("qemu-img", |c| {
        c.args(["compare", "-f", "qcow2", "-F", format])
            .arg(image.on_disk())
            .arg(original)
    });
}

#[test]
fn the_second_guest_ships_only_what_differs() {
    let bench = Bench::new();
    let [(one, mut first), (two, second)] = guests(&bench);
    first.disks.base = Some(golden(&bench.path("golden.raw")));
    let both = [Target::Rpm, Target::Deb];
    let first = pack(&bench, &first, &both);
    let base = &first.manifest.disks[0].layers[0];
    let of_base = |kind| {
        let made = paths(&first, kind);
        let name = |path: &&PathBuf| path.to_string_lossy().contains(base.package.as_str());
        made.iter().find(name).expect("the base's package").clone()
    };

    // From the Debian package and from the RPM it is the same, and nothing is left behind.
    let from_deb = pack_on(&bench, &second, &of_base(Target::Deb), &both);
    let from_rpm = pack_on(&bench, &second, &of_base(Target::Rpm), &both);
    assert_eq!(from_deb, from_rpm);
    assert_eq!(from_deb.manifest.disks[0].layers[0], *base);
    assert_eq!(from_deb.files.len(), 4, "{:?}", from_deb.files);
    assert!(!bench.results().iter().any(|name| name.starts_with('.')));

    let root_of_debs = root();
    let mut install = dpkg(root_of_debs.path());
    install.arg("-i").arg(stub_deb(&bench));
    install
        .args(paths(&first, Target::Deb))
        .args(paths(&from_deb, Target::Deb));
    done(install);
    let mut verify = dpkg(root_of_debs.path());
    verify.arg("--verify");
    assert_eq!(done(verify), "");

    let root_of_rpms = tempfile::tempdir().unwrap();
    let rpm = |arguments: &[&str]| {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(root_of_rpms.path());
        command.args(["--dbpath", "/var/lib/rpm"]).args(arguments);
        command.env("LC_ALL", "C.UTF-8").env("HOME", root_of_rpms.path());
        command
    };
    let mut install = rpm(&["-i", "--noscripts"]);
    install.arg(stub_rpm(&bench));
    install
        .args(paths(&first, Target::Rpm))
        .args(paths(&from_deb, Target::Rpm));
    done(install);
    assert_eq!(done(rpm(&["-Va", "--nouser", "--nogroup"])), "");

    for root in [root_of_debs.path(), root_of_rpms.path()] {
        let images = fs::read_dir(Layout::other_root(root).packaged_images().on_disk());
        assert_eq!(images.unwrap().count(), 3, "a base and two deltas");
        same(root, &first, &one, "qcow2");
        same(root, &from_deb, &two, "raw");
    }
}

#[test]
fn a_tar_files_base_gets_its_package() {
    let bench = Bench::new();
    let [(_, mut first), (_, second)] = guests(&bench);
    first.disks.base = Some(golden(&bench.path("golden.raw")));
    let first = pack(&bench, &first, &[Target::Tar]);
    let base = &first.manifest.disks[0].layers[0];
    let second = pack_on(&bench, &second, &paths(&first, Target::Tar)[0], &[Target::Deb]);
    assert_eq!(second.manifest.disks[0].layers[0], *base);
    assert_eq!(second.files.len(), 3, "{:?}", second.files);
}

#[test]
fn what_holds_no_base_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let [(_, first), _] = guests(&bench);
    let made = pack(&bench, &first, &[Target::Deb, Target::Srpm]);
    let place = bench.path("elsewhere/out");
    let refused = |file: &Path| {
        let error = package::unpack_base(file, None, &place, None, &()).unwrap_err();
        assert!(!place.exists(), "{error}");
        error
    };
    let of_guest = &paths(&made, Target::Deb)[0];
    let text = refused(of_guest).to_string();
    assert!(text.contains("miniascape-image-"), "{text}");
    assert!(matches!(
        refused(&paths(&made, Target::Srpm)[0]),
        RepackError::NoBase { .. }
    ));
    let image = &paths(&made, Target::Deb)[1];
    let mut content = fs::read(image).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    let bad = bench.path("bad.deb");
    fs::write(&bad, content).unwrap();
    assert!(matches!(refused(&bad), RepackError::Verify(_)));
}
