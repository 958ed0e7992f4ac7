//! What comes out of a repack: images, manifest, tree, RPM and Debian packages.

use crate::guest::{Bench, CREATED, domain, request, run, stdout, version};
use fs_err as fs;
use miniascape::image::{self, Format};
use miniascape::name::Digest;
use miniascape::package::{
    self, Codec, FirmwareKind, HostSection, ImagePackage, Layer, Line, Manifest, Progress, Repacked, Request,
    Reservation, Role, Step, Target,
};
use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Repacks the disk to a build tree and checks everything that holds whatever the disk was.
fn tree_of(bench: &Bench, disk: &Path, format: &str) -> (PathBuf, Repacked) {
    let repacked = package::repack(
        &request(domain("web", disk, format)),
        &bench.options(&[Target::BuildTree]),
        &(),
    )
    .unwrap();
    assert_eq!(bench.results(), ["vm-web-repacked-0.1"]);
    let tree = bench.output().join("vm-web-repacked-0.1");
    let layers = &repacked.manifest.disks[0].layers;
    assert_eq!(
        layers.iter().map(|l| l.role).collect::<Vec<_>>(),
        [Role::Base, Role::Delta]
    );
    for layer in layers {
        let file = tree.join(layer.digest.file_name());
        image::check(&file).unwrap();
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(meta.len(), layer.file_size);
        assert_eq!(meta.permissions().mode() & 0o7777, 0o444);
        assert_eq!(image::sha256_file(&file, &mut |_| {}).unwrap(), layer.digest);
    }
    let delta = tree.join(layers[1].digest.file_name());
    let info = image::info(&delta, Format::Qcow2).unwrap();
    let backing = info.backing.unwrap();
    assert_eq!(backing.recorded, layers[0].digest.file_name());
    assert_eq!(backing.format, Some(Format::Qcow2));
    assert!(same(&delta, disk, format), "the delta is not the disk");
    assert_eq!(content(disk, format, bench), layers[1].content_digest.to_string());
    (tree, repacked)
}

fn same(image: &Path, disk: &Path, format: &str) -> bool {
    image::compare(image, Format::Qcow2, disk, Format::from_name(format).unwrap()).unwrap()
}

/// The content digest of a disk by its definition, over a raw copy.
fn content(disk: &Path, format: &str, bench: &Bench) -> String {
    let raw = bench.path("content.raw");
    run("qemu-img", |c| {
        c.args(["convert", "-f", format, "-O", "raw"]).arg(disk).arg(&raw)
    });
    let mut bytes = fs::read(&raw).unwrap();
    bytes.resize(bytes.len().next_multiple_of(65536), 0);
    let mut outer = blake3::Hasher::new();
    for (index, block) in bytes.chunks(65536).enumerate() {
        if block.iter().any(|b| *b != 0) {
            outer.update(&(index as u64 * 65536).to_le_bytes());
            outer.update(blake3::hash(block).as_bytes());
        }
    }
    outer.finalize().to_string()
}

#[test]
fn a_raw_disk_becomes_a_base_with_an_empty_delta() {
    let bench = Bench::new();
    let disk = bench.raw("disks/a disk.raw");
    let (tree, repacked) = tree_of(&bench, &disk, "raw");
    let [base, delta] = &repacked.manifest.disks[0].layers[..] else {
        panic!()
    };
    assert!(same(&tree.join(base.digest.file_name()), &disk, "raw"));
    assert_eq!(base.content_digest, delta.content_digest);
    assert_eq!((base.virtual_size, delta.virtual_size), (10_486_272, 10_486_272));
    assert!(
        delta.file_size < 300_000,
        "an empty delta takes {} bytes",
        delta.file_size
    );
}

#[test]
fn a_qcow2_disk_without_backing_file_becomes_a_base() {
    let bench = Bench::new();
    let raw = bench.raw("a.raw");
    let disk = bench.qcow2(&raw, "a.qcow2");
    run("qemu-img", |c| c.args(["snapshot", "-c", "before"]).arg(&disk));
    let (tree, repacked) = tree_of(&bench, &disk, "qcow2");
    let base = &repacked.manifest.disks[0].layers[0];
    let file = tree.join(base.digest.file_name());
    assert!(same(&file, &raw, "raw"));
    assert!(image::info(&file, Format::Qcow2).unwrap().snapshots.is_empty());
    let left: Vec<_> = repacked
        .manifest
        .not_packed
        .iter()
        .map(|n| n.what.as_str())
        .collect();
    assert!(
        left.contains(&"internal snapshot before of the disk vda"),
        "{left:?}"
    );
}

/// An overlay on a backing file: the backing file becomes the base and only the rest the delta.
fn overlay_case(backing_file: &str, recorded: &dyn Fn(&Path) -> String, format: &str) {
    let bench = Bench::new();
    let raw = bench.raw("raw");
    let base_file = if format == "raw" {
        bench.raw(backing_file)
    } else {
        bench.qcow2(&raw, backing_file)
    };
    // Larger than its backing file.
    let disk = bench.overlay("my disks/top.qcow2", &recorded(&base_file), format, "12M");
    let (tree, repacked) = tree_of(&bench, &disk, "qcow2");
    let [base, delta] = &repacked.manifest.disks[0].layers[..] else {
        panic!()
    };
    let base_image = tree.join(base.digest.file_name());
    assert!(same(&base_image, &raw, "raw"), "the base is not the backing file");
    assert_eq!(
        (base.virtual_size, delta.virtual_size),
        (10_486_272, 12 * 1024 * 1024)
    );
    assert_ne!(base.content_digest, delta.content_digest);
    assert!(
        delta.file_size < 1_000_000,
        "the delta takes {} bytes",
        delta.file_size
    );
    let delta_image = tree.join(delta.digest.file_name());
    fs::rename(&base_image, tree.join("elsewhere")).unwrap();
    assert!(image::compare(&delta_image, Format::Qcow2, &disk, Format::Qcow2).is_err());
}

#[test]
fn a_relative_backing_name_is_followed() {
    overlay_case("my disks/the base", &|_| "the base".into(), "qcow2");
    overlay_case("base dir/b.qcow2", &|_| "../base dir/b.qcow2".into(), "qcow2");
}

#[test]
fn an_absolute_backing_name_is_followed() {
    overlay_case("base dir/b.qcow2", &|file| file.to_str().unwrap().into(), "qcow2");
    overlay_case("my disks/b.raw", &|file| file.to_str().unwrap().into(), "raw");
}

#[test]
fn the_same_disk_gives_the_same_base_for_every_guest() {
    let bench = Bench::new();
    let base = bench.raw("b.raw");
    let digests = ["one", "two"].map(|name| {
        let disk = bench.overlay(&format!("{name}.qcow2"), "b.raw", "raw", "12M");
        run("qemu-io", |c| {
            c.args(["-c", &format!("write -P {} 0 4k", name.len() + name.len() % 2)])
                .arg(&disk)
        });
        run("qemu-io", |c| {
            c.args(["-c", &format!("write -P {} 4k 4k", name.as_bytes()[0])])
                .arg(&disk)
        });
        let mut options = bench.options(&[Target::BuildTree]);
        options.output = bench.path(&format!("out-{name}"));
        let repacked = package::repack(&request(domain(name, &disk, "qcow2")), &options, &()).unwrap();
        let [base, delta] = &repacked.manifest.disks[0].layers[..] else {
            panic!()
        };
        (base.digest, delta.digest)
    });
    assert_eq!(digests[0].0, digests[1].0);
    assert_ne!(digests[0].1, digests[1].1);
    assert!(base.is_file());
}

#[test]
fn the_manifest_tells_everything_and_reads_back() {
    let bench = Bench::new();
    let disk = bench.raw("a.raw");
    let mut request = request(domain("Web Server", &disk, "raw"));
    let reserve = |network: &str, mac: &str| Reservation {
        network: network.into(),
        host: HostSection {
            name: "web".parse().unwrap(),
            mac: mac.parse().unwrap(),
            addresses: vec!["192.168.151.10".parse().unwrap()],
        },
    };
    request.reservations = vec![
        reserve("net-1", "52:54:00:01:00:10"),
        reserve("net-1", "52:54:00:01:00:11"),
        reserve("net-10", "52:54:00:01:00:10"),
    ];
    request.version = version("2.0~rc1");
    let repacked = package::repack(&request, &bench.options(&[Target::BuildTree]), &()).unwrap();
    let tree = &repacked.files[0].path;
    let text = fs::read_to_string(tree.join("manifest.json")).unwrap();
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), repacked.manifest);
    insta::assert_snapshot!(steady(&text, &repacked.manifest));
    let xml = fs::read_to_string(tree.join("domain.xml")).unwrap();
    insta::assert_snapshot!(xml);
    assert!(!text.contains("hidden-1234") && !xml.contains("hidden-1234"));
    let readme = fs::read_to_string(tree.join("README.md")).unwrap();
    insta::assert_snapshot!(steady(&readme, &repacked.manifest));
}

#[test]
fn the_plan_names_firmware_variables_and_what_the_other_host_needs() {
    let bench = Bench::new();
    let xml = domain("web", &bench.raw("a.raw"), "raw")
        .replace(
            "<boot dev='hd'/>",
            "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>\
             <nvram template='/usr/share/OVMF/OVMF_VARS_4M.ms.fd'>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>",
        )
        .replace("<interface type='network'>", "<interface type='bridge'>")
        .replace("<source network='net-1'/>", "<source bridge='br0'/>");
    let plan = package::prepare(&request(xml)).unwrap();
    assert_eq!(plan.domain.firmware.kind, FirmwareKind::Uefi);
    assert!(plan.domain.firmware.secure);
    let kinds: Vec<&str> = plan.not_packed.iter().map(|item| item.kind.as_str()).collect();
    assert!(kinds.contains(&"firmware-variables"), "{kinds:?}");
    let warnings: Vec<&str> = plan.warnings.iter().map(Line::as_str).collect();
    assert!(
        warnings.contains(&"bridge br0: needed on the other host too"),
        "{warnings:?}"
    );
    assert!(plan.networks.is_empty());
    assert!(
        !plan.xml.contains("web_VARS.fd") && !plan.xml.contains("uuid"),
        "{}",
        plan.xml
    );
    assert_eq!(plan.disks[0].chain.len(), 1);
}

/// `text` with digests and sizes, which depend on the version of qemu-img, replaced by names.
fn steady(text: &str, manifest: &Manifest) -> String {
    let mut text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    for (layer, name) in manifest.images().into_iter().zip(["BASE", "DELTA"]) {
        text = text
            .replace(&layer.digest.to_string(), &format!("{name}-DIGEST"))
            .replace(&layer.digest.short(), &format!("{name}-16"))
            .replace(&layer.content_digest.to_string(), "CONTENT")
            .replace(&format!(": {},", layer.file_size), &format!(": {name}-SIZE,"));
    }
    text
}

/// The guest's package was called otherwise before.
fn renamed(request: Request) -> Request {
    Request {
        renamed_from: vec!["vm-old-web".parse().unwrap()],
        ..request
    }
}

/// One repack of everything, and what it made.
fn everything(bench: &Bench) -> Repacked {
    bench.raw("b.raw");
    let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
    package::repack(
        &renamed(request(domain("web", &disk, "qcow2"))),
        &bench.options(&Target::ALL),
        &(),
    )
    .unwrap()
}

fn layers(repacked: &Repacked) -> [&Layer; 2] {
    repacked.manifest.images().try_into().unwrap()
}

#[test]
fn all_results_are_there_complete_and_nothing_else() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let [base, delta] = layers(&repacked).map(|layer| layer.digest.short());
    let mut expected = vec![
        format!("miniascape-image-{base}-1-1.noarch.rpm"),
        format!("miniascape-image-{base}_1-1_all.deb"),
        format!("miniascape-image-{delta}-1-1.noarch.rpm"),
        format!("miniascape-image-{delta}_1-1_all.deb"),
        "vm-web-0.1-1.noarch.rpm".to_owned(),
        "vm-web-0.1-1.src.rpm".to_owned(),
        "vm-web-repacked-0.1".to_owned(),
        "vm-web-repacked-0.1.tar.zst".to_owned(),
        "vm-web_0.1-1_all.deb".to_owned(),
    ];
    expected.sort();
    assert_eq!(bench.results(), expected);
    assert_eq!(repacked.files.len(), expected.len());
    for file in repacked
        .files
        .iter()
        .filter(|file| file.kind != Target::BuildTree)
    {
        assert_eq!(fs::metadata(&file.path).unwrap().len(), file.size);
    }
    let tree: Vec<_> = fs::read_dir(bench.output().join("vm-web-repacked-0.1"))
        .unwrap()
        .collect();
    assert!(tree.len() >= 13, "{tree:?}");
}

#[test]
fn rpm_names_places_dependencies_and_scriptlets() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let rpms: Vec<_> = repacked.files.iter().filter(|f| f.kind == Target::Rpm).collect();
    let mut text = String::new();
    for rpm in &rpms {
        let query = |what: &[&str]| stdout("rpm", |c| c.args(what).arg("-p").arg(&rpm.path));
        text.extend(["== ", &rpm.package, "\n"]);
        text += &query(&[
            "-q",
            "--qf",
            "%{name} %{version} %{release} %{arch} %{payloadcompressor} %{filedigestalgo}\n",
        ]);
        text += &query(&[
            "-q",
            "--qf",
            "[%{filemodes:perms} %{fileusername} %{filegroupname} %{filenames}\n]",
        ]);
        text += &query(&[
            "-q",
            "--qf",
            "[requires %{requireflags:deptype} %{requirenevrs}\n]",
        ]);
        text += &query(&["-q", "--recommends"]);
        text += &query(&["-q", "--provides"]);
        text += &query(&["-q", "--qf", "[obsoletes %{obsoletenevrs}\n]"]);
        text += &query(&["-q", "--scripts"]);
    }
    let text: Vec<&str> = text.lines().filter(|line| !line.contains("rpmlib(")).collect();
    insta::assert_snapshot!(steady(&text.join("\n"), &repacked.manifest));
    for (rpm, layer) in rpms[1..].iter().zip(layers(&repacked)) {
        let digests = stdout("rpm", |c| {
            c.args(["-q", "--qf", "[%{filedigests}\n]", "-p"]).arg(&rpm.path)
        });
        assert_eq!(
            digests.split_whitespace().last().unwrap(),
            layer.digest.to_string()
        );
    }
}

#[test]
fn deb_names_places_dependencies_and_scriptlets() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let mut text = String::new();
    for deb in repacked.files.iter().filter(|f| f.kind == Target::Deb) {
        text.extend(["== ", &deb.package, "\n"]);
        text += &stdout("dpkg-deb", |c| c.arg("-f").arg(&deb.path));
        text += &stdout("dpkg-deb", |c| c.arg("-c").arg(&deb.path).env("TZ", "UTC"));
        let control = bench.path(&format!("control of {}", deb.package));
        run("dpkg-deb", |c| c.arg("-e").arg(&deb.path).arg(&control));
        for name in ["postinst", "postrm"] {
            if let Ok(script) = fs::read_to_string(control.join(name)) {
                text.extend(["-- ", name, "\n", &script]);
                run("sh", |c| c.arg("-n").arg(control.join(name)));
            }
        }
    }
    let text: Vec<String> = text.lines().map(without_size).collect();
    insta::assert_snapshot!(steady(&text.join("\n"), &repacked.manifest));
}

/// A line of `tar -tv` with the size replaced: sizes of images depend on the version of qemu-img.
fn without_size(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    if line.contains("root/root") {
        [words[0], words[1], words[3], words[4], words[5]].join(" ")
    } else if line.starts_with("Installed-Size:") {
        "Installed-Size: SIZE".into()
    } else {
        line.to_owned()
    }
}

/// The spec of the tree is the same package set, whoever builds it.
#[test]
fn rpmbuild_makes_the_same_packages_of_the_spec() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let top = tempfile::tempdir().unwrap();
    // rpmbuild itself takes no path with a space.
    let sources = top.path().join("SOURCES");
    fs::create_dir(&sources).unwrap();
    let tarball = "vm-web-repacked-0.1.tar.zst";
    fs::copy(bench.output().join(tarball), sources.join(tarball)).unwrap();
    let spec = top.path().join("vm-web.spec");
    fs::copy(bench.output().join("vm-web-repacked-0.1/vm-web.spec"), &spec).unwrap();
    run("rpmbuild", |c| {
        c.args(["-ba", "--quiet", "--define"])
            .arg(format!("_topdir {}", top.path().display()))
            .arg("--define")
            .arg(format!("_dbpath {}", top.path().join("db").display()))
            .arg(&spec)
            .env("HOME", top.path())
            .env("SOURCE_DATE_EPOCH", CREATED.to_string())
    });
    for rpm in repacked
        .files
        .iter()
        .filter(|f| matches!(f.kind, Target::Rpm | Target::Srpm))
    {
        let dir = if rpm.kind == Target::Rpm {
            "RPMS/noarch"
        } else {
            "SRPMS"
        };
        let again = top.path().join(dir).join(rpm.path.file_name().unwrap());
        let facts = |path: &Path| -> Vec<String> {
            let words = [
                "--dump",
                "--requires",
                "--recommends",
                "--provides",
                "--obsoletes",
                "--conflicts",
                "--scripts",
                "--info",
            ];
            // The same values in larger fields need a feature more; the rest is about the builder and the copy.
            let other = |line: &&str| {
                ["rpmlib(", "Signature ", "Source RPM "]
                    .iter()
                    .all(|word| !line.starts_with(word))
            };
            let text = stdout("rpm", |c| c.arg("-q").args(words).arg("-p").arg(path));
            let mut lines: Vec<String> = text.lines().filter(other).map(str::to_owned).collect();
            if rpm.kind == Target::Srpm {
                // Its files keep their times, and nothing is provided by a source package.
                lines.retain(|line| !line.contains("-1") && !line.starts_with("Size "));
                for line in &mut lines {
                    let words: Vec<&str> = line.split(' ').collect();
                    if line.starts_with("vm-web") {
                        *line = [words[0], words[1], words[3]].join(" ");
                    }
                }
            }
            lines
        };
        assert_eq!(facts(&again), facts(&rpm.path));
    }
}

/// What rpm makes of the source package, unpacked and built again.
#[test]
fn the_source_package_holds_tar_file_and_spec() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let find = |kind| &repacked.files.iter().find(|f| f.kind == kind).unwrap().path;
    let top = tempfile::tempdir().unwrap();
    run("rpm", |c| {
        c.args(["-i", "--define"])
            .arg(format!("_topdir {}", top.path().display()))
            .args(["--dbpath".as_ref(), top.path().join("db").as_os_str()])
            .arg(find(Target::Srpm))
    });
    let tarball = fs::read(top.path().join("SOURCES/vm-web-repacked-0.1.tar.zst")).unwrap();
    assert_eq!(tarball, fs::read(find(Target::Tar)).unwrap());
    let spec = fs::read(top.path().join("SPECS/vm-web.spec")).unwrap();
    assert_eq!(
        spec,
        fs::read(find(Target::BuildTree).join("vm-web.spec")).unwrap()
    );
}

/// Plain GNU tar unpacks the tree, and its images are whole under both names.
#[test]
fn gnu_tar_reads_the_tar_file() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    let tarball = &repacked
        .files
        .iter()
        .find(|f| f.kind == Target::Tar)
        .unwrap()
        .path;
    let out = bench.path("unpacked");
    fs::create_dir(&out).unwrap();
    run("tar", |c| c.arg("-xf").arg(tarball).arg("-C").arg(&out));
    let tree = bench.output().join("vm-web-repacked-0.1");
    run("diff", |c| {
        // Only where the tree was written is there a configure.
        c.args(["-x", "configure", "-x", "Makefile.in", "-x", "aclocal.m4"])
            .args(["-x", "install-sh", "-x", "missing", "-r"])
            .arg(&tree)
            .arg(out.join("vm-web-repacked-0.1"))
    });
    assert!(tree.join("vda.qcow2").is_file() && tree.join("vda-base.qcow2").is_file());
    let text = fs::read_to_string(tree.join("install.md")).unwrap();
    insta::assert_snapshot!(steady(&text, &repacked.manifest));
}

/// A packager's way through the tree; what comes out are packages of ours, all of them.
#[test]
fn the_tree_builds_itself() {
    for (codec, suffix) in [(Codec::default(), "zst"), (Codec::Xz(1), "xz")] {
        let bench = Bench::below("tree-");
        let mut options = bench.options(&[Target::BuildTree]);
        options.work = Some(bench.path("work"));
        options.codec = codec;
        let request = renamed(request(domain("web", &bench.raw("a.raw"), "raw")));
        package::repack(&request, &options, &()).unwrap();
        let tree = bench.path("work/vm-web-repacked-0.1");
        let script = "./configure --quiet && make -s && make -s dist && make -s rpm srpm deb";
        run("sh", |c| {
            c.args(["-c", script])
                .current_dir(&tree)
                .env("HOME", bench.path("."))
        });
        let mut made = 0;
        for dir in [
            tree.clone(),
            tree.join("rpmbuild/RPMS/noarch"),
            tree.join("rpmbuild/SRPMS"),
        ] {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path
                    .extension()
                    .is_some_and(|e| e == "deb" || e == "rpm" || e == suffix)
                {
                    package::verify(&path, &mut |_| {}).unwrap();
                    made += 1;
                }
            }
        }
        assert_eq!(made, 8);
        assert!(tree.join(format!("vm-web-repacked-0.1.tar.{suffix}")).is_file());
        assert!(tree.join("rpmbuild/SRPMS/vm-web-0.1-1.src.rpm").is_file());
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bench = Bench::new();
    bench.raw("b.raw");
    let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
    let xml = domain("web", &disk, "qcow2");
    let digests = |codec| -> Vec<Digest> {
        let mut options = bench.options(&[Target::Rpm, Target::Srpm, Target::Deb, Target::Tar]);
        options.codec = codec;
        let repacked = package::repack(&request(xml.clone()), &options, &()).unwrap();
        let digest = |path: &Path| image::sha256_file(path, &mut |_| {}).unwrap();
        repacked.files.iter().map(|file| digest(&file.path)).collect()
    };
    for codec in [Codec::Zstd(3), Codec::Xz(6), Codec::None] {
        let first = digests(codec);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(first, digests(codec));
    }
}

#[test]
fn a_private_source_gives_private_packages() {
    let bench = Bench::new();
    let disk = bench.raw("a.raw");
    let mut request = request(domain("web", &disk, "raw"));
    let modes = |request: &Request| {
        let repacked = package::repack(request, &bench.options(&[Target::Deb]), &()).unwrap();
        let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        repacked
            .files
            .iter()
            .map(|file| mode(&file.path))
            .collect::<Vec<_>>()
    };
    let chmod = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chmod(&disk, 0o644);
    chmod(disk.parent().unwrap(), 0o700);
    assert_eq!(modes(&request), [0o600; 3], "the directory is closed");
    chmod(disk.parent().unwrap(), 0o755);
    assert_eq!(modes(&request), [0o644; 3]);
    chmod(&disk, 0o600);
    assert_eq!(modes(&request), [0o600; 3], "the disk is closed");
    chmod(&disk, 0o644);
    request.xml_is_public = false;
    assert_eq!(modes(&request), [0o600; 3], "the XML is closed");
}

#[derive(Default)]
struct Recorder(RefCell<Vec<(Step, u64)>>);

impl Progress for Recorder {
    fn step(&self, step: &Step) {
        self.0.borrow_mut().push((step.clone(), 0));
    }

    fn advance(&self, bytes: u64) {
        self.0.borrow_mut().last_mut().expect("a step came first").1 += bytes;
    }
}

#[test]
fn progress_names_each_step_and_counts_its_bytes() {
    let bench = Bench::new();
    let disk = bench.raw("a.raw");
    let recorder = Recorder::default();
    package::repack(
        &request(domain("web", &disk, "raw")),
        &bench.options(&[Target::Deb]),
        &recorder,
    )
    .unwrap();
    let steps = recorder.0.into_inner();
    let names: Vec<&str> = steps.iter().map(|(step, _)| step.name).collect();
    assert_eq!(names, ["plan", "pack", "plan", "pack"]);
    for (step, done) in &steps {
        assert_eq!(step.bytes, Some(*done), "{}", step.title);
    }
}

#[test]
fn image_capabilities_are_the_ones_that_guests_need() {
    let bench = Bench::new();
    let repacked = everything(&bench);
    for layer in layers(&repacked) {
        assert_eq!(layer.capability, ImagePackage::rpm_capability(&layer.digest));
        assert_eq!(layer.package, ImagePackage::of(&layer.digest));
    }
}
