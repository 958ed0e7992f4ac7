//! Packages put on and off another root by real rpm and dpkg.

use crate::guest::{Bench, domain, request, run, stdout, version};
use fs_err as fs;
use miniascape::host::Layout;
use miniascape::name::Digest;
use miniascape::package::{self, InstalledError, Presence, Repacked, Target};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn packed(bench: &Bench, guest: &str, targets: &[Target], mark: u8) -> Repacked {
    if !bench.path("b.raw").exists() {
        bench.raw("b.raw");
    }
    let disk = bench.overlay(&format!("{guest}.qcow2"), "b.raw", "raw", "12M");
    run("qemu-io", |c| {
        c.args(["-c", &format!("write -P {mark} 0 4k")]).arg(&disk)
    });
    package::repack(
        &request(domain(guest, &disk, "qcow2")),
        &bench.options(targets),
        &(),
    )
    .unwrap()
}

/// An empty root with the package databases that dpkg or rpm need.
pub(crate) fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
    root
}

/// dpkg on another root, with and without privileges; scriptlets run outside of it and see `DPKG_ROOT`.
pub(crate) fn dpkg(root: &Path) -> Command {
    let mut command = Command::new("dpkg");
    command
        .arg(format!("--root={}", root.display()))
        .arg(format!("--log={}", root.join("dpkg.log").display()))
        .args([
            "--force-not-root",
            "--force-bad-path",
            "--force-script-chrootless",
        ])
        .env("LC_ALL", "C.UTF-8");
    command
}

pub(crate) fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// A package `miniascape` without a program: what guests depend on.
pub(crate) fn stub_deb(bench: &Bench) -> std::path::PathBuf {
    let stage = bench.path("stub");
    fs::create_dir_all(stage.join("DEBIAN")).unwrap();
    let control =
        "Package: miniascape\nVersion: 0\nArchitecture: all\nMaintainer: t <t@localhost>\nDescription: t\n";
    fs::write(stage.join("DEBIAN/control"), control).unwrap();
    let deb = bench.path("miniascape.deb");
    run("dpkg-deb", |c| c.arg("--build").arg(&stage).arg(&deb));
    deb
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What lies in a root after all of `repacked` was installed.
fn installed_well(root: &Path, repacked: &Repacked) {
    let layout = Layout::other_root(root);
    let listed = package::list(&layout).unwrap();
    let package = &repacked.manifest.package.name;
    let installed = listed
        .into_iter()
        .map(Result::unwrap)
        .find(|installed| installed.package == *package)
        .expect("the guest package");
    assert_eq!(installed.manifest, repacked.manifest);
    assert_eq!(installed.images, [Presence::Present; 2]);
    assert!(installed.domain_xml.on_disk().is_file());
    assert_eq!(mode(layout.packaged_images().on_disk()), 0o700);
    assert_eq!(mode(layout.images().on_disk()), 0o711);
    for layer in repacked.manifest.images() {
        assert_eq!(mode(layout.packaged_image(&layer.digest).on_disk()), 0o444);
    }
}

#[test]
fn dpkg_installs_two_guests_on_one_base_and_removes_them() {
    let bench = Bench::new();
    let root = root();
    let one = packed(&bench, "one", &[Target::Deb], 1);
    let two = packed(&bench, "two", &[Target::Deb], 2);
    assert_eq!(one.manifest.images()[0].digest, two.manifest.images()[0].digest);
    let mut debs: Vec<_> = one
        .files
        .iter()
        .chain(&two.files)
        .map(|f| f.path.clone())
        .collect();
    debs.sort();
    debs.dedup();
    assert_eq!(debs.len(), 5);
    let stub = stub_deb(&bench);
    // A guest without its images, or without miniascape, is not configured.
    let mut alone = dpkg(root.path());
    alone.arg("-i").arg(&one.files[0].path);
    assert!(!alone.output().unwrap().status.success());
    let mut install = dpkg(root.path());
    install.arg("-i").arg(&stub).args(&debs);
    done(install);
    installed_well(root.path(), &one);
    installed_well(root.path(), &two);
    let mut verify = dpkg(root.path());
    verify.arg("--verify");
    assert_eq!(done(verify), "");

    // The shared base stays as long as one guest needs it.
    let base = one.manifest.images()[0].package.to_string();
    let mut early = dpkg(root.path());
    early.args(["--remove", &base]);
    assert!(!early.output().unwrap().status.success());
    let mut remove = dpkg(root.path());
    remove.args(["--remove", "vm-one", "vm-two", &base]);
    done(remove);
    let layout = Layout::other_root(root.path());
    assert!(package::list(&layout).unwrap().is_empty());
    assert!(
        !layout
            .packaged_image(&one.manifest.images()[0].digest)
            .on_disk()
            .exists()
    );
}

#[test]
fn purge_says_where_disks_are_kept_even_without_miniascape() {
    let bench = Bench::new();
    let root = root();
    let one = packed(&bench, "one", &[Target::Deb], 1);
    let stub = stub_deb(&bench);
    let mut install = dpkg(root.path());
    install
        .arg("-i")
        .arg(&stub)
        .args(one.files.iter().map(|f| &f.path));
    done(install);
    let layout = Layout::other_root(root.path());
    for (guest, package) in [("one", "vm-one"), ("copy", "vm-one"), ("other", "vm-one-2")] {
        let guest = guest.parse().unwrap();
        fs::create_dir_all(layout.instance_disks(&guest).on_disk()).unwrap();
        fs::create_dir_all(layout.instance(&guest).on_disk()).unwrap();
        let record = serde_json::json!({ "package": package });
        fs::write(
            layout.instance(&guest).join("instance.json").on_disk(),
            record.to_string(),
        )
        .unwrap();
    }
    let mut remove = dpkg(root.path());
    remove.args(["--remove", "vm-one", "miniascape"]);
    done(remove);
    let mut purge = dpkg(root.path());
    purge.args(["--purge", "vm-one"]);
    let text = done(purge);
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("vm-one:")).collect();
    let kept = |guest: &str| {
        let dir = layout
            .instance_disks(&guest.parse().unwrap())
            .on_disk()
            .display()
            .to_string();
        format!("vm-one: the disks of the guest {guest} are kept in {dir}")
    };
    assert_eq!(said, [kept("copy"), kept("one")]);
}

/// Runs a scriptlet's text with a stand-in for the program that records its arguments, and what it should not see
/// of the environment, and fails.
fn called(script: &str, arguments: &[&str], bench: &Bench) -> (String, bool) {
    let log = bench.path("calls");
    fs::remove_file(&log).ok();
    let program = bench.path("miniascape");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho \"$*${{MINIASCAPE_STATE_DIR-}}${{LIBVIRT_DEFAULT_URI-}}\" >>'{}'\nexit 1\n",
            log.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.replace("/usr/bin/miniascape", "\"$PROGRAM\"");
    let output = Command::new("sh")
        .args(["-ec", &script, "scriptlet"])
        .args(arguments)
        .env("PROGRAM", &program)
        .env("MINIASCAPE_STATE_DIR", "/elsewhere")
        .env("LIBVIRT_DEFAULT_URI", "test:///default")
        .env_remove("DPKG_ROOT")
        .output()
        .unwrap();
    let calls = fs::read_to_string(&log).unwrap_or_default();
    (calls.trim_end().to_owned(), output.status.success())
}

#[test]
fn scriptlets_call_at_the_right_moments_and_never_fail() {
    let bench = Bench::new();
    let repacked = packed(&bench, "one", &[Target::Rpm, Target::Deb], 1);
    let path = |kind| &repacked.files.iter().find(|f| f.kind == kind).unwrap().path;
    let rpm = |tag: &str| {
        stdout("rpm", |c| {
            c.args(["-q", "--qf", &format!("%{{{tag}}}"), "-p"])
                .arg(path(Target::Rpm))
        })
    };
    run("dpkg-deb", |c| {
        c.arg("-e").arg(path(Target::Deb)).arg(bench.path("control"))
    });
    let deb = |name: &str| fs::read_to_string(bench.path("control").join(name)).unwrap();
    let register = "guest register vm-one";
    let unregister = "guest unregister vm-one";
    for (script, arguments, calls) in [
        (rpm("postin"), &["1"][..], register),
        (rpm("postin"), &["2"], register),
        (rpm("postun"), &["0"], unregister),
        (rpm("postun"), &["1"], ""),
        (deb("postinst"), &["configure"], register),
        (deb("postinst"), &["configure", "0.1-1"], register),
        (deb("postinst"), &["abort-remove"], ""),
        (deb("postrm"), &["remove"], unregister),
        (deb("postrm"), &["upgrade", "0.2-1"], ""),
        (deb("postrm"), &["purge"], ""),
    ] {
        assert_eq!(
            called(&script, arguments, &bench),
            (calls.to_owned(), true),
            "{arguments:?}\n{script}"
        );
    }
}

#[test]
fn rpm_installs_two_guests_on_one_base_and_removes_them() {
    let bench = Bench::new();
    let one = packed(&bench, "one", &[Target::Rpm], 1);
    let two = packed(&bench, "two", &[Target::Rpm], 2);
    let mut rpms: Vec<_> = one
        .files
        .iter()
        .chain(&two.files)
        .map(|f| f.path.clone())
        .collect();
    rpms.sort();
    rpms.dedup();
    let stub = stub_rpm(&bench);
    let root = tempfile::tempdir().unwrap();
    let rpm = |arguments: &[&str], files: &[std::path::PathBuf]| {
        // The scriptlets need a shell inside the root; `noscripts` leaves that to tests on a whole system.
        Command::new("rpm")
            .arg("--root")
            .arg(root.path())
            .args(["--dbpath", "/var/lib/rpm"])
            .args(arguments)
            .args(files)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", root.path())
            .output()
            .unwrap()
    };
    let ok = |output: std::process::Output| {
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text
    };
    let alone = rpm(&["-i", "--noscripts"], &[stub.clone(), one.files[0].path.clone()]);
    let text = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(
        !alone.status.success() && text.contains("miniascape-image(sha256:"),
        "{text}"
    );
    rpms.push(stub);
    ok(rpm(&["-i", "--noscripts"], &rpms));
    installed_well(root.path(), &one);
    installed_well(root.path(), &two);
    assert_eq!(ok(rpm(&["-Va", "--nouser", "--nogroup"], &[])), "");
    let base = one.manifest.images()[0].package.to_string();
    assert!(!rpm(&["-e", "--noscripts", &base], &[]).status.success());
    ok(rpm(&["-e", "--noscripts", "vm-one", "vm-two", &base], &[]));
    assert!(
        package::list(&Layout::other_root(root.path()))
            .unwrap()
            .is_empty()
    );
}

/// A package that provides what guests need from a whole system.
pub(crate) fn stub_rpm(bench: &Bench) -> std::path::PathBuf {
    let top = tempfile::tempdir().unwrap();
    let spec = top.path().join("stub.spec");
    fs::write(
        &spec,
        "Name: miniascape\nVersion: 0\nRelease: 1\nSummary: t\nLicense: t\nBuildArch: noarch\nProvides: /bin/sh\n\
         %description\nt\n%files\n",
    )
    .unwrap();
    run("rpmbuild", |c| {
        c.args(["-bb", "--quiet", "--define"])
            .arg(format!("_topdir {}", top.path().display()))
            .arg("--define")
            .arg(format!("_dbpath {}", top.path().join("db").display()))
            .arg(&spec)
            .env("HOME", top.path())
    });
    let rpm = bench.path("miniascape.rpm");
    fs::copy(top.path().join("RPMS/noarch/miniascape-0-1.noarch.rpm"), &rpm).unwrap();
    rpm
}

#[test]
fn damaged_installations_are_reported_not_hidden() {
    let bench = Bench::new();
    let one = packed(&bench, "one", &[Target::BuildTree], 1);
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::other_root(root.path());
    assert!(package::list(&layout).unwrap().is_empty());
    let place = |name: &str| layout.guest_package(&name.parse().unwrap()).join("manifest.json");
    let put = |name: &str, text: &str| {
        let path = place(name);
        fs::create_dir_all(path.on_disk().parent().unwrap()).unwrap();
        fs::write(path.on_disk(), text).unwrap();
    };
    put("one", &one.manifest.to_json());
    put("two", &one.manifest.to_json());
    put("broken", "{");
    fs::create_dir_all(layout.guest_package(&"empty".parse().unwrap()).on_disk()).unwrap();
    let images = layout.packaged_images();
    fs::create_dir_all(images.on_disk()).unwrap();
    let base: Digest = one.manifest.images()[0].digest;
    fs::write(layout.packaged_image(&base).on_disk(), "short").unwrap();

    let listed = package::list(&layout).unwrap();
    let names: Vec<String> = listed
        .iter()
        .map(|result| match result {
            Ok(installed) => installed.package.to_string(),
            Err(InstalledError::Manifest { package, source, .. }) => format!("{package}: {source}"),
            Err(other) => panic!("{other}"),
        })
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names[0].starts_with("vm-broken: the manifest cannot be read"),
        "{names:?}"
    );
    assert_eq!(names[1], "vm-one");
    assert!(names[2].contains("it is that of vm-one"), "{names:?}");
    let shown = package::show(&layout, &"vm-one".parse().unwrap()).unwrap();
    assert_eq!(shown.images, [Presence::Damaged, Presence::Missing]);
    let missing = package::show(&layout, &"vm-three".parse().unwrap()).unwrap_err();
    assert!(matches!(missing, InstalledError::Missing(_)));
    assert_eq!(one.manifest.package.version, version("0.1"));
}
