//! Our packages in the hands of others: linters, repositories, signatures.

use crate::guest::{Bench, domain, request, run, stdout};
use crate::install::{stub_deb, stub_rpm};
use fs_err as fs;
use miniascape::package::{self, Codec, Repacked, Target};
use std::path::{Path, PathBuf};
use std::process::Command;

fn packed(bench: &Bench, target: Target) -> Repacked {
    bench.raw("b.raw");
    let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
    let request = request(domain("web", &disk, "qcow2"));
    package::repack(&request, &bench.options(&[target]), &()).unwrap()
}

/// The packages in a directory that a repository's address can name.
fn repository(bench: &Bench, repacked: &Repacked, stub: &Path) -> PathBuf {
    let dir = bench.path("repository");
    fs::create_dir(&dir).unwrap();
    for path in repacked
        .files
        .iter()
        .map(|file| file.path.as_path())
        .chain([stub])
    {
        fs::copy(path, dir.join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn lintian_has_nothing_to_say_but_for_reasons() {
    let bench = Bench::new();
    let tags: Vec<&str> = include_str!("../data/lint/lintian")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(tags.len() <= 8);
    for file in packed(&bench, Target::Deb).files {
        let said = |suppressed: &[&str]| -> Vec<String> {
            let mut command = Command::new("lintian");
            command.args(["--allow-root", "--tag-display-limit", "0", "--suppress-tags"]);
            let all = lines(command.arg(suppressed.join(",")).arg(&file.path));
            all.into_iter()
                .filter(|line| !line.starts_with("running with root"))
                .collect()
        };
        assert_eq!(said(&tags), [""; 0]);
        // It does look: without our reasons it has something to say.
        assert!(said(&["no-changelog"]).len() > 3);
    }
}

#[test]
fn rpmlint_has_nothing_to_say_but_for_reasons() {
    let bench = Bench::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lint/rpmlint.toml");
    let filters = fs::read_to_string(&config).unwrap();
    assert!(filters.lines().filter(|line| line.starts_with("    '")).count() <= 8);
    for file in packed(&bench, Target::Rpm).files {
        let said = lines(Command::new("rpmlint").arg("-c").arg(&config).arg(&file.path));
        let end = said.iter().find(|line| line.contains("packages and")).unwrap();
        assert!(end.contains("0 errors, 0 warnings"), "{said:?}");
        let said = lines(Command::new("rpmlint").arg(&file.path));
        assert!(said.iter().any(|line| line.contains("no-signature")), "{said:?}");
    }
}

#[test]
fn dnf_installs_from_a_repository() {
    let bench = Bench::below("repository-");
    let repacked = packed(&bench, Target::Rpm);
    let dir = repository(&bench, &repacked, &stub_rpm(&bench));
    run("createrepo_c", |c| c.arg("-q").arg(&dir));
    let root = tempfile::tempdir().unwrap();
    dnf_install(&dir, root.path(), &["vm-web"]);
    installed(root.path(), &repacked);
}

/// All images of a guest are there, whole.
fn installed(root: &Path, repacked: &Repacked) {
    for layer in repacked.manifest.images() {
        let image = root.join("var/lib/libvirt/images/miniascape/packaged");
        let digest = miniascape::image::sha256_file(&image.join(layer.digest.file_name()), &mut |_| {});
        assert_eq!(digest.unwrap(), layer.digest);
    }
}

/// Has dnf install packages of the repository `dir` into `root`.
pub(crate) fn dnf_install(dir: &Path, root: &Path, packages: &[&str]) {
    let mut dnf = Command::new("dnf");
    dnf.args([
        "-q",
        "-y",
        "--releasever=40",
        "--setopt=reposdir=/dev/null",
        "--nogpgcheck",
    ])
    .arg("--setopt=tsflags=noscripts")
    .arg(format!("--installroot={}", root.display()))
    .arg(format!("--repofrompath=guests,file://{}", dir.display()))
    .arg("install")
    .args(packages);
    let output = dnf.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn apt_installs_from_a_repository_and_debsums_agrees() {
    let bench = Bench::below("repository-");
    let repacked = packed(&bench, Target::Deb);
    let dir = repository(&bench, &repacked, &stub_deb(&bench));
    let index = stdout("apt-ftparchive", |c| c.arg("packages").arg(".").current_dir(&dir));
    fs::write(dir.join("Packages"), index).unwrap();
    let root = tempfile::tempdir().unwrap();
    apt_install(&dir, root.path(), &["vm-web"]);
    installed(root.path(), &repacked);
    let debsums = |status: bool| {
        let output = Command::new("debsums")
            .arg(format!("--root={}", root.path().display()))
            .arg("vm-web")
            .output()
            .unwrap();
        assert_eq!(output.status.success(), status, "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(debsums(true).contains("manifest.json"));
    fs::write(
        root.path().join("usr/share/miniascape/guests/web/manifest.json"),
        "changed",
    )
    .unwrap();
    assert!(debsums(false).contains("FAILED"));
}

/// Has apt install packages of the repository `dir` into the empty directory `root`.
pub(crate) fn apt_install(dir: &Path, root: &Path, packages: &[&str]) {
    for dir in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "lists/partial",
        "cache/archives/partial",
        "log",
        "etc",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(
        root.join("etc/sources.list"),
        format!("deb [trusted=yes] file:{} ./\n", dir.display()),
    )
    .unwrap();
    let apt = |arguments: &[&str]| {
        let option = |name: &str, path: PathBuf| format!("{name}={}", path.display());
        let mut command = Command::new("apt-get");
        for set in [
            option("Dir::State::status", root.join("var/lib/dpkg/status")),
            option("Dir::State::lists", root.join("lists")),
            option("Dir::State::extended_states", root.join("extended")),
            option("Dir::Cache", root.join("cache")),
            option("Dir::Etc::sourcelist", root.join("etc/sources.list")),
            option("Dir::Etc::sourceparts", root.join("etc/none")),
            option("Dir::Log", root.join("log")),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "Dpkg::Options::=--force-not-root".to_owned(),
            "Dpkg::Options::=--force-bad-path".to_owned(),
            "Dpkg::Options::=--force-script-chrootless".to_owned(),
            format!("Dpkg::Options::=--log={}", root.join("dpkg.log").display()),
            format!("Dpkg::Options::=--root={}", root.display()),
        ] {
            command.arg("-o").arg(set);
        }
        let output = command.args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    apt(&["update"]);
    apt(&[&["-y", "install"], packages].concat());
}

/// rpmsign writes into the place that was kept for it; the rest stays whole.
#[test]
fn rpms_can_be_signed() {
    let bench = Bench::below("signed-");
    let repacked = packed(&bench, Target::Rpm);
    let home = bench.path("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let key = "Tester <tester@example.org>";
    run("gpg", |c| {
        c.args([
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-generate-key",
            key,
            "rsa2048",
            "sign",
            "never",
        ])
        .env("GNUPGHOME", &home)
    });
    let public = bench.path("key.asc");
    run("gpg", |c| {
        c.args(["--armor", "--export", "-o"])
            .arg(&public)
            .env("GNUPGHOME", &home)
    });
    let db = bench.path("db");
    run("rpm", |c| c.arg("--dbpath").arg(&db).arg("--import").arg(&public));
    for file in &repacked.files {
        let before = fs::metadata(&file.path).unwrap().len();
        run("rpmsign", |c| {
            c.args([
                "--addsign",
                "--define",
                "_gpg_name Tester",
                "--define",
                "__gpg /usr/bin/gpg",
            ])
            .arg(&file.path)
            .env("GNUPGHOME", &home)
            .env("HOME", bench.path("."))
        });
        let said = stdout("rpm", |c| c.arg("--dbpath").arg(&db).arg("-Kv").arg(&file.path));
        assert!(said.contains("Signature") && said.contains(": OK"), "{said}");
        assert_eq!(
            fs::metadata(&file.path).unwrap().len(),
            before,
            "the package was rewritten"
        );
        package::verify(&file.path, &mut |_| {}).unwrap();
    }
    // The agent that gpg started goes with its directory.
    run("gpgconf", |c| c.args(["--kill", "all"]).env("GNUPGHOME", &home));
}

/// Installs with the real rpm; the images are there, whole.
fn rpm_unpacks(repacked: &Repacked) {
    let root = tempfile::tempdir().unwrap();
    let rpms = repacked.files.iter().filter(|file| file.kind == Target::Rpm);
    run("rpm", |c| {
        c.args(["-i", "--nodeps", "--noscripts", "--dbpath", "/db", "--root"])
            .arg(root.path())
            .args(rpms.map(|file| &file.path))
    });
    for layer in repacked.manifest.images() {
        let image = root.path().join("var/lib/libvirt/images/miniascape/packaged");
        let digest = miniascape::image::sha256_file(&image.join(layer.digest.file_name()), &mut |_| {});
        assert_eq!(digest.unwrap(), layer.digest);
    }
}

/// Packages without compression are packages, too, and so are those that xz compressed, for old hosts.
#[test]
fn other_tools_read_every_compression() {
    for (codec, name) in [(Codec::None, "(none)"), (Codec::Xz(6), "xz")] {
        let bench = Bench::new();
        bench.raw("b.raw");
        let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
        let mut options = bench.options(&[Target::Rpm, Target::Srpm, Target::Deb, Target::Tar]);
        options.codec = codec;
        let repacked = package::repack(&request(domain("web", &disk, "qcow2")), &options, &()).unwrap();
        for file in &repacked.files {
            package::verify(&file.path, &mut |_| {}).unwrap();
            match file.kind {
                Target::Deb => {
                    let members = stdout("ar", |c| c.arg("t").arg(&file.path));
                    let of = |name: &str| format!("{name}{}", if is_xz(codec) { ".xz" } else { "" });
                    let wanted = format!("debian-binary\n{}\n{}\n", of("control.tar"), of("data.tar"));
                    assert_eq!(members, wanted);
                    // All of it, with the image in it.
                    let out = bench.path("unpacked");
                    run("dpkg-deb", |c| c.arg("-x").arg(&file.path).arg(&out));
                    fs::remove_dir_all(out).unwrap();
                    run("dpkg-deb", |c| c.arg("-I").arg(&file.path))
                }
                Target::Tar => {
                    assert_eq!(
                        file.path.extension().unwrap(),
                        if is_xz(codec) { "xz" } else { "tar" }
                    );
                    run("tar", |c| c.arg("-xOf").arg(&file.path))
                }
                kind => {
                    run("rpm", |c| c.arg("-K").arg(&file.path));
                    let word = stdout("rpm", |c| {
                        c.args(["-qp", "--qf", "%{PAYLOADCOMPRESSOR}"]).arg(&file.path)
                    });
                    // The tar file in a source package is compressed already.
                    assert_eq!(word, if kind == Target::Srpm { "(none)" } else { name });
                    run("rpm2archive", |c| c.arg("-n").arg(&file.path))
                }
            };
        }
        rpm_unpacks(&repacked);
    }
}

fn is_xz(codec: Codec) -> bool {
    matches!(codec, Codec::Xz(_))
}
