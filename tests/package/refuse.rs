//! What repack refuses, with which words, and that nothing is left behind.

use crate::guest::{Bench, domain, request, run};
use fs_err as fs;
use miniascape::image::ImageError;
use miniascape::package::{self, Activity, Manifest, PlanError, RepackError, Request, Target};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The error of a repack that must fail before anything is written.
fn refused(bench: &Bench, request: &Request) -> (RepackError, String) {
    let error = package::repack(request, &bench.options(&Target::ALL), &()).unwrap_err();
    assert_eq!(bench.results(), [""; 0]);
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_running_guest() {
    let bench = Bench::new();
    let mut request = request(domain("web", &bench.raw("a.raw"), "raw"));
    request.activity = Activity::Active;
    let (error, text) = refused(&bench, &request);
    assert!(matches!(error, RepackError::Plan(PlanError::Active { .. })));
    assert!(text.contains("web is not shut off"), "{text}");
}

#[test]
fn a_disk_that_someone_writes_to() {
    let bench = Bench::new();
    let disk = bench.qcow2(&bench.raw("a.raw"), "a.qcow2");
    let mut writer = Command::new("qemu-io")
        .args(["-f", "qcow2"])
        .arg(&disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its prompt says that it has opened the image.
    let mut prompt = [0; 8];
    writer.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    let request = request(domain("web", &disk, "qcow2"));
    let (error, _) = refused(&bench, &request);
    assert!(
        matches!(error, RepackError::Image(ImageError::InUse { .. })),
        "{error}"
    );
    drop(writer.stdin.take());
    writer.wait().unwrap();
    assert!(package::prepare(&request).is_ok());
}

#[test]
fn a_missing_disk_or_backing_file_by_its_path() {
    let bench = Bench::new();
    let gone = bench.path("gone.raw");
    let (error, text) = refused(&bench, &request(domain("web", &gone, "raw")));
    assert!(matches!(error, RepackError::Image(ImageError::Missing { .. })));
    assert!(text.contains(gone.to_str().unwrap()), "{text}");

    bench.raw("b.raw");
    let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
    fs::remove_file(bench.path("b.raw")).unwrap();
    let (error, text) = refused(&bench, &request(domain("web", &disk, "qcow2")));
    assert!(matches!(
        error,
        RepackError::Image(ImageError::MissingBacking { .. })
    ));
    assert!(text.contains("b.raw") && text.contains("top.qcow2"), "{text}");
}

#[test]
fn disks_of_other_kinds() {
    let bench = Bench::new();
    let disk = bench.raw("a.raw");
    let xml = domain("web", &disk, "raw");
    let from = xml.find("    <disk type='file' device='disk'>").unwrap();
    let to = from + xml[from..].find("</disk>").unwrap() + "</disk>".len();
    let one = &xml[from..to];
    for (with, word) in [
        (String::new(), "no disk"),
        (one.replace("vda", "v da"), "target of <disk>"),
        (
            "<disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vda'/></disk>"
                .into(),
            "libvirt has to be reached",
        ),
        (one.replace("type='raw'", "type='vmdk'"), "format vmdk"),
        (
            one.replace("<target", "<encryption format='luks'/><target"),
            "encrypted",
        ),
        (
            "<disk type='network' device='disk'><source protocol='nbd' name='x'/><target dev='vda'/></disk>"
                .into(),
            "network (nbd)",
        ),
    ] {
        let (_, text) = refused(&bench, &request(xml.replace(one, &with)));
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn images_that_lie() {
    let bench = Bench::new();
    let raw = bench.raw("a.raw");
    // A raw disk that claims to be qcow2, and a format that is not what the domain says.
    let (_, text) = refused(&bench, &request(domain("web", &raw, "qcow2")));
    assert!(text.contains("magic number"), "{text}");

    // A backing file in a place that no image has a business in.
    let secret = bench.path("elsewhere/shadow");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, vec![b'x'; 1024]).unwrap();
    let top = bench.path("top.qcow2");
    run("qemu-img", |c| {
        c.args(["create", "-q", "-u", "-f", "qcow2", "-b"])
            .arg(&secret)
            .args(["-F", "raw"])
            .arg(&top)
            .arg("1M")
    });
    let mut outside = request(domain("web", &top, "qcow2"));
    let (error, text) = refused(&bench, &outside);
    assert!(matches!(
        error,
        RepackError::Image(ImageError::BackingNotAllowed { .. })
    ));
    assert!(text.contains("shadow"), "{text}");
    outside.allowed_backing = vec![bench.path("elsewhere")];
    assert!(package::prepare(&outside).is_ok());

    // No recorded format; a name that is no file; an external data file; encryption.
    let create = |arguments: &[&str]| {
        fs::remove_file(&top).ok();
        run("qemu-img", |c| {
            c.args(["create", "-q", "-f", "qcow2"])
                .args(arguments)
                .arg(&top)
                .arg("1M")
        });
        refused(&bench, &request(domain("web", &top, "qcow2"))).1
    };
    let json = create(&[
        "-u",
        "-b",
        "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
        "-F",
        "raw",
    ]);
    assert!(json.contains("only plain files"), "{json}");
    let external = create(&[
        "-o",
        &format!("data_file={},data_file_raw=on", bench.path("data").display()),
    ]);
    assert!(external.contains("external data file"), "{external}");
    let encrypted = create(&[
        "--object",
        "secret,id=s,data=abc",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=s",
    ]);
    assert!(encrypted.contains("encrypted"), "{encrypted}");
}

#[test]
fn damaged_headers_without_a_panic() {
    let bench = Bench::new();
    let raw = bench.raw("a.raw");
    let good = fs::read(bench.qcow2(&raw, "a.qcow2")).unwrap();
    let disk = bench.path("bad.qcow2");
    for at in (4..112).step_by(4) {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&[0xff; 4]);
        fs::write(&disk, &bad).unwrap();
        // Some fields may be anything; what counts is that every answer is an answer.
        if let Err(error) = package::prepare(&request(domain("web", &disk, "qcow2"))) {
            assert!(error.to_string().contains("bad.qcow2"), "{error}");
        }
    }
    for length in [0, 3, 4, 20, 71, 103] {
        fs::write(&disk, &good[..length]).unwrap();
        let (_, text) = refused(&bench, &request(domain("web", &disk, "qcow2")));
        assert!(text.contains("bad.qcow2"), "{text}");
    }
}

#[test]
fn names_that_would_act_in_a_spec_or_a_shell() {
    let bench = Bench::new();
    let disk = bench.raw("a.raw");
    let hostile = "%(touch pwned) $(touch pwned) `touch pwned`;'\"\\";
    let xml =
        domain("x", &disk, "raw").replace("<name>x</name>", &format!("<name><![CDATA[{hostile}]]></name>"));
    let options = bench.options(&[Target::Rpm, Target::Deb, Target::BuildTree]);
    let repacked = package::repack(&request(xml), &options, &()).unwrap();
    assert_eq!(repacked.manifest.package.guest.as_str(), hostile);
    let name = repacked.manifest.package.name.to_string();
    assert!(name.starts_with("vm-touch-pwned----touch-pwned---"), "{name}");
    for file in &repacked.files {
        if file.kind == Target::BuildTree {
            let spec = fs::read_to_string(file.path.join(format!("{name}.spec"))).unwrap();
            assert!(!spec.contains("%(") && !spec.contains("$("), "{spec}");
        }
        assert!(file.path.exists());
    }
    assert!(!std::path::Path::new("pwned").exists());
}

#[test]
fn directories_that_would_act_in_rpmbuild_or_a_shell() {
    let bench = Bench::below("%(touch pwned) $(touch pwned) `touch pwned` '\"%{name}\\ ");
    let request = request(domain("web", &bench.raw("a.raw"), "raw"));
    let repacked = package::repack(&request, &bench.options(&Target::ALL), &()).unwrap();
    assert_eq!(repacked.files.len(), 9);
    assert_eq!(bench.results().len(), 9);
    assert!(!std::path::Path::new("pwned").exists());
}

#[test]
fn a_tree_that_is_there_already() {
    let bench = Bench::new();
    let request = request(domain("web", &bench.raw("a.raw"), "raw"));
    let work = bench.output().join("vm-web-repacked-0.1");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("notes"), "mine").unwrap();
    let error = package::repack(&request, &bench.options(&[Target::BuildTree]), &()).unwrap_err();
    assert!(matches!(error, RepackError::TreeExists { .. }));
    assert_eq!(bench.results(), ["vm-web-repacked-0.1"]);
    assert_eq!(fs::read(work.join("notes")).unwrap(), b"mine");
}

#[test]
fn a_build_that_fails_half_way_leaves_nothing() {
    let bench = Bench::new();
    let raw = bench.raw("a.raw");
    let disk = bench.qcow2(&raw, "a.qcow2");
    let plan = package::prepare(&request(domain("web", &disk, "qcow2"))).unwrap();
    // The source is cut short between plan and build. QEMU would read zeros where data is missing.
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    file.set_len(300_000).unwrap();
    let error = package::build(&plan, &bench.options(&Target::ALL), &()).unwrap_err();
    assert!(
        matches!(error, RepackError::Image(ImageError::Damaged { .. })),
        "{error}"
    );
    assert_eq!(bench.results(), [""; 0]);
}

/// Does something to a source when the step of that number begins.
struct Meddler<'a> {
    at: usize,
    begun: AtomicUsize,
    act: &'a (dyn Fn() + Sync),
}

impl package::Progress for Meddler<'_> {
    fn step(&self, _: &package::Step) {
        if self.begun.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.act)();
        }
    }

    fn advance(&self, _: u64) {}
}

/// Written to, cut, exchanged or removed at any step: it is noticed, the file is named, and nothing is left.
#[test]
fn a_source_that_changes_meanwhile_or_goes() {
    let targets = [Target::Rpm, Target::Srpm, Target::Deb, Target::Tar];
    let mut at = 0;
    loop {
        let mut begun = 0;
        for file in ["b.raw", "top.qcow2"] {
            for act in 0..4 {
                let bench = Bench::new();
                let request = request(domain("web", &crate::kills::small(&bench), "qcow2"));
                let plan = package::prepare(&request).unwrap();
                let path = bench.path(file);
                let act = || match act {
                    0 => {
                        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(300_000)).unwrap();
                        std::io::Write::write_all(&mut file, b"meddled").unwrap();
                    }
                    1 => fs::OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .unwrap()
                        .set_len(200_000)
                        .unwrap(),
                    2 => {
                        fs::copy(&path, bench.path("other")).unwrap();
                        fs::rename(bench.path("other"), &path).unwrap();
                    }
                    _ => fs::remove_file(&path).unwrap(),
                };
                let meddler = Meddler {
                    at,
                    begun: AtomicUsize::new(0),
                    act: &act,
                };
                let result = package::build(&plan, &bench.options(&targets), &meddler);
                begun = meddler.begun.into_inner();
                if begun <= at {
                    // There is no such step any more.
                    result.unwrap();
                    assert!(at > 4, "{at} steps");
                    return;
                }
                let error = result.expect_err(&format!("step {at}, {file}"));
                assert!(matches!(
                    error,
                    RepackError::SourceChanged { .. } | RepackError::Image(_) | RepackError::Io(_)
                ));
                assert!(error.to_string().contains(file), "step {at}, {file}: {error}");
                assert_eq!(bench.results(), [""; 0]);
            }
        }
        assert!(begun > at);
        at += 1;
    }
}

#[test]
fn manifests_from_strangers() {
    let bench = Bench::new();
    let request = request(domain("web", &bench.raw("a.raw"), "raw"));
    let repacked = package::repack(&request, &bench.options(&[Target::BuildTree]), &()).unwrap();
    let good: serde_json::Value = serde_json::from_str(&repacked.manifest.to_json()).unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        Manifest::parse(changed.to_string().as_bytes())
    };
    assert!(
        with("/format", 2.into())
            .unwrap_err()
            .to_string()
            .contains("newer miniascape")
    );
    let layer = good.pointer("/disks/0/layers/0").unwrap().clone();
    for (pointer, value) in [
        ("/package/name", "vm-../../etc".into()),
        ("/package/name", "vm-%{x}".into()),
        ("/package/version", "1\n2".into()),
        ("/package/guest", "a\u{1b}[31m".into()),
        ("/domain/machine", "pc'><x".into()),
        ("/domain/memory", 0.into()),
        ("/domain/memory", u64::MAX.into()),
        ("/domain/vcpus", (-1).into()),
        ("/disks", serde_json::json!([])),
        ("/disks/0/target", "../vda".into()),
        ("/disks/0/format", "raw".into()),
        ("/disks/0/layers", serde_json::json!([])),
        ("/disks/0/layers/0/role", "delta".into()),
        ("/disks/0/layers/1", layer),
        ("/disks/0/layers/0/digest", "../../../etc/passwd".into()),
        ("/disks/0/layers/0/file_size", u64::MAX.into()),
        ("/disks/0/layers/0/virtual_size", 1e300.into()),
        (
            "/disks/0/layers/0/package",
            "miniascape-image-0123456789abcdef".into(),
        ),
        ("/disks/0/layers/0/capability", "miniascape".into()),
        ("/warnings", vec!["x"; 5000].into()),
        ("/created", "yesterday".into()),
    ] {
        assert!(with(pointer, value.clone()).is_err(), "{pointer} = {value}");
    }
    let mut later = good.clone();
    later["addition"] = true.into();
    later["disks"][0]["addition"] = 1.into();
    assert_eq!(
        Manifest::parse(later.to_string().as_bytes()).unwrap(),
        repacked.manifest
    );
    for text in ["", "[]", "null", "{\"format\":1}", &"[".repeat(100_000)] {
        assert!(Manifest::parse(text.as_bytes()).is_err());
    }
}

/// A file system of a few megabytes, full at any point of the work: what is there is whole, the rest is gone.
#[test]
fn a_disk_that_is_full() {
    let bench = Bench::below("full-");
    let script = r#"
        set -e
        mount --make-rprivate /
        mount -t tmpfs -o size="$1" none "$2"
        status=0
        "$3" repack "$4" --to rpm,srpm,deb,tar,build-tree --quiet --output "$2/out" || status=$?
        for file in $(find "$2" -type f -not -path '*-repacked-*/*'); do "$3" package verify "$file" >/dev/null; done
        find "$2" -name '.miniascape*' -o -name 'draft-*'
        exit $status
    "#;
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", &bench.raw("a.raw"), "raw")).unwrap();
    let place = bench.path("small");
    fs::create_dir(&place).unwrap();
    let (mut failed, mut done) = (0, 0);
    for kib in [200, 700, 1100, 1500, 1900, 2300, 2700, 16_000] {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(format!("{kib}k"))
            .arg(&place)
            .arg(env!("CARGO_BIN_EXE_miniascape"))
            .arg(&xml)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{kib}: {text}");
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => {
                assert!(text.contains("space"), "{kib}: {text}");
                failed += 1;
            }
            _ => panic!("{kib}: {text}"),
        }
    }
    assert!(failed >= 3 && done >= 1, "{failed} failed, {done} done");
}

/// The image in a package is larger than the room that is left beside the results: said before it is unpacked.
#[test]
fn no_room_for_a_base() {
    let bench = Bench::below("room-");
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", &bench.raw("a.raw"), "raw")).unwrap();
    let script = r#"
        set -e
        mount --make-rprivate /
        "$2" repack "$1/web.xml" --to deb --quiet --output "$1/first"
        base=$(ls -S "$1"/first/miniascape-image-* | head -n 1)
        mkdir "$1/small"
        mount -t tmpfs -o size=200k none "$1/small"
        status=0
        "$2" repack "$1/web.xml" --to deb --quiet --base "$base" --output "$1/small/out" || status=$?
        ls -A "$1/small"
        exit $status
    "#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(bench.path(""))
        .arg(env!("CARGO_BIN_EXE_miniascape"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{text}");
    assert!(text.contains("bytes free"), "{text}");
}
