//! `package verify`: what is whole passes, and nothing else does. Every refusal names the place.

use crate::guest::{Bench, domain, request, run};
use fs_err as fs;
use miniascape::package::{self, PackageKind, Target, Verified};
use std::path::{Path, PathBuf};

/// One package of each kind.
fn packages(bench: &Bench) -> Vec<PathBuf> {
    bench.raw("b.raw");
    let disk = bench.overlay("top.qcow2", "b.raw", "raw", "12M");
    let options = bench.options(&[Target::Rpm, Target::Srpm, Target::Deb, Target::Tar]);
    let repacked = package::repack(&request(domain("web", &disk, "qcow2")), &options, &()).unwrap();
    repacked.files.into_iter().map(|file| file.path).collect()
}

pub(crate) fn check(path: &Path) -> Result<Verified, String> {
    package::verify(path, &mut |_| {}).map_err(|e| e.to_string())
}

#[test]
fn whole_packages_pass_with_the_digests_of_their_files() {
    let bench = Bench::new();
    for path in packages(&bench) {
        let mut read = 0;
        let found = package::verify(&path, &mut |bytes| read += bytes).unwrap();
        assert_eq!(read, fs::metadata(&path).unwrap().len());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with(&found.package), "{name}");
        let count = match (found.kind, found.package.starts_with("vm-")) {
            (PackageKind::Tar, _) => 18,
            (PackageKind::Srpm, _) => 2,
            (_, true) => 3,
            (_, false) => 1,
        };
        assert_eq!(found.files.len(), count, "{found:?}");
        for file in found.files.iter().filter(|file| file.path.contains("sha256-")) {
            assert!(file.path.contains(&file.digest.to_string()));
        }
    }
}

#[test]
fn reordered_pieces_are_refused() {
    let bench = Bench::new();
    for path in packages(&bench) {
        let good = fs::read(&path).unwrap();
        if good.len() < 100_000 {
            continue;
        }
        let mut swapped = good.clone();
        let (a, b) = (good.len() / 3, good.len() / 2);
        swapped[a..a + 4096].copy_from_slice(&good[b..b + 4096]);
        swapped[b..b + 4096].copy_from_slice(&good[a..a + 4096]);
        let bad = bench.path("bad");
        fs::write(&bad, swapped).unwrap();
        check(&bad).unwrap_err();
    }
}

/// A member of a Debian package.
pub(crate) fn ar_member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        100_644,
        content.len()
    )
    .into_bytes();
    assert_eq!(out.len(), 60);
    out.extend(content);
    out.extend((content.len() % 2 == 1).then_some(b'\n'));
    out
}

/// A Debian package as a stranger would put it together.
pub(crate) fn deb(control: &[(&str, &[u8])], data: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut first = tar::Builder::new(Vec::new());
    for (name, content) in control {
        entry(&mut first, name, 0o644, content);
    }
    let mut second = tar::Builder::new(Vec::new());
    data(&mut second);
    [
        b"!<arch>\n".to_vec(),
        ar_member("debian-binary", b"2.0\n"),
        ar_member("control.tar", &first.into_inner().unwrap()),
        ar_member("data.tar", &second.into_inner().unwrap()),
    ]
    .concat()
}

/// Adds a file under exactly this name, which the builder itself would refuse.
pub(crate) fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn link(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, &b""[..]).unwrap();
}

pub(crate) const CONTROL: &[u8] = b"Package: vm-web\nVersion: 0.1-1\nDescription: x\n y\n";
pub(crate) const GUEST: &str = "./usr/share/miniascape/guests/web";

#[test]
fn debian_packages_of_strangers_are_refused_with_the_place() {
    let bench = Bench::new();
    let bad = bench.path("bad.deb");
    let refused = |word: &str, bytes: Vec<u8>| {
        fs::write(&bad, bytes).unwrap();
        let text = check(&bad).unwrap_err();
        assert!(text.contains(word), "{word}: {text}");
    };

    for path in ["../../etc/passwd", "./usr/../etc/passwd", "./.."] {
        refused(
            "climbs out",
            deb(&[("control", CONTROL)], |tar| entry(tar, path, 0o644, b"x")),
        );
    }
    refused(
        "absolute",
        deb(&[("control", CONTROL)], |tar| {
            entry(tar, "/etc/passwd", 0o644, b"x");
        }),
    );
    refused(
        "symbolic link",
        deb(&[("control", CONTROL)], |tar| {
            link(
                tar,
                tar::EntryType::Symlink,
                &format!("{GUEST}/domain.xml"),
                "/etc/shadow",
            );
        }),
    );
    refused(
        "is a link",
        deb(&[("control", CONTROL)], |tar| {
            link(
                tar,
                tar::EntryType::Link,
                &format!("{GUEST}/domain.xml"),
                "./etc/shadow",
            );
        }),
    );
    refused(
        "neither file nor directory",
        deb(&[("control", CONTROL)], |tar| {
            link(tar, tar::EntryType::Block, &format!("{GUEST}/domain.xml"), "");
        }),
    );
}

#[test]
fn debian_packages_with_other_content_are_refused() {
    let bench = Bench::new();
    let bad = bench.path("bad.deb");
    let refused = |word: &str, bytes: Vec<u8>| {
        fs::write(&bad, bytes).unwrap();
        let text = check(&bad).unwrap_err();
        assert!(text.contains(word), "{word}: {text}");
    };
    refused("2 files", {
        deb(
            &[(
                "control",
                b"Package: miniascape-image-0123456789abcdef\nVersion: 1-1\n",
            )],
            |tar| {
                entry(tar, "./var/a", 0o444, b"a");
                entry(tar, "./var/b", 0o444, b"b");
            },
        )
    });
    refused("its SHA-256 is ca978112ca1bbdca", {
        deb(
            &[(
                "control",
                b"Package: miniascape-image-0123456789abcdef\nVersion: 1-1\n",
            )],
            |tar| {
                entry(
                    tar,
                    "./var/lib/libvirt/images/miniascape/packaged/sha256-0123456789abcdef.qcow2",
                    0o444,
                    b"a",
                );
            },
        )
    });
    for (fields, word) in [
        (
            "Conflicts: bash\nReplaces: bash\n",
            "it would remove the package bash",
        ),
        ("Breaks: bash\n", "its relation to bash"),
        ("Replaces: bash\n", "its relation to bash"),
    ] {
        let control = format!("Package: miniascape-image-0123456789abcdef\nVersion: 1-1\n{fields}");
        let bytes = deb(&[("control", control.as_bytes())], |tar| {
            entry(tar, "./var/a", 0o444, b"a");
        });
        refused(word, bytes);
    }
    refused(
        "domain.xml is missing",
        deb(&[("control", CONTROL)], |tar| {
            entry(tar, "./etc/passwd", 0o600, b"x");
            entry(tar, &format!("{GUEST}/manifest.json"), 0o644, b"{}");
        }),
    );
    refused(
        "manifest cannot be read",
        deb(&[("control", CONTROL)], |tar| {
            entry(tar, &format!("{GUEST}/domain.xml"), 0o600, b"x");
            entry(tar, &format!("{GUEST}/manifest.json"), 0o644, b"{}");
        }),
    );
    refused("postinst in control.tar", {
        deb(&[("control", CONTROL), ("postinst", b"#!/bin/sh\nid\n")], |_| {})
    });
    refused(
        "preinst in control.tar",
        deb(&[("control", CONTROL), ("preinst", b"#!/bin/sh\n")], |_| {}),
    );
    refused(
        "no package of miniascape",
        deb(&[("control", b"Package: bash\nVersion: 1\n")], |_| {}),
    );
    refused("not control.tar", {
        let mut bytes = deb(&[("control", CONTROL)], |_| {});
        let at = bytes.windows(11).position(|w| w == b"control.tar").unwrap();
        bytes[at..at + 11].copy_from_slice(b"control.foo");
        bytes
    });
}

#[test]
fn tar_files_of_strangers_are_refused_with_the_place() {
    let bench = Bench::new();
    let bad = bench.path("bad.tar");
    let refused = |word: &str, fill: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut tar = tar::Builder::new(Vec::new());
        fill(&mut tar);
        fs::write(&bad, tar.into_inner().unwrap()).unwrap();
        let text = check(&bad).unwrap_err();
        assert!(text.contains(word), "{word}: {text}");
    };
    refused("climbs out", &|tar| entry(tar, "t/../../x", 0o644, b"x"));
    refused("outside the tree", &|tar| {
        entry(tar, "t/x", 0o644, b"x");
        entry(tar, "u/x", 0o644, b"x");
    });
    refused("symbolic link", &|tar| {
        link(tar, tar::EntryType::Symlink, "t/a", "/etc/shadow");
    });
    refused("link to something else", &|tar| {
        link(tar, tar::EntryType::Link, "t/a", "t/b");
    });
    refused("link to something else", &|tar| {
        link(tar, tar::EntryType::Link, "t/a", "/etc/shadow");
    });
    refused("comes twice", &|tar| {
        entry(tar, "t/x", 0o644, b"x");
        entry(tar, "t/x", 0o644, b"y");
    });
    refused("manifest.json is missing", &|tar| entry(tar, "t/x", 0o644, b"x"));
    refused("mode 4755", &|tar| entry(tar, "t/x", 0o4755, b"x"));

    // A sound tree with one image exchanged for another.
    let tarball = packages(&bench)
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "zst"));
    let tree = bench.path("tree");
    fs::create_dir(&tree).unwrap();
    run("tar", |c| c.arg("-xf").arg(tarball.unwrap()).arg("-C").arg(&tree));
    fs::remove_file(tree.join("vm-web-repacked-0.1/vda.qcow2")).unwrap();
    let images = fs::read_dir(tree.join("vm-web-repacked-0.1"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let images: Vec<PathBuf> = images
        .filter(|path| path.to_str().unwrap().contains("sha256-"))
        .collect();
    fs::rename(&images[0], &images[1]).unwrap();
    run("tar", |c| {
        c.arg("-cf")
            .arg(&bad)
            .arg("-C")
            .arg(&tree)
            .arg("vm-web-repacked-0.1")
    });
    let text = check(&bad).unwrap_err();
    assert!(
        text.contains("its SHA-256 is") || text.contains("is missing"),
        "{text}"
    );
}

#[test]
fn rpms_of_strangers_are_refused_with_the_place() {
    let bench = Bench::new();
    let top = tempfile::tempdir().unwrap();
    let refused = |word: &str, name: &str, rest: &str| {
        let spec = top.path().join("x.spec");
        let text = format!(
            "%global _binary_payload w3.zstdio\n%global _binary_filedigest_algorithm 8\nName: {name}\nVersion: 1\n\
             Release: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nAutoReqProv: no\n%description\nx\n{rest}"
        );
        fs::write(&spec, text).unwrap();
        run("rpmbuild", |c| {
            c.args(["-bb", "--quiet", "--define"])
                .arg(format!("_topdir {}", top.path().display()))
                .arg("--define")
                .arg(format!("_dbpath {}", top.path().join("db").display()))
                .arg(&spec)
                .env("HOME", top.path())
        });
        let file = top.path().join(format!("RPMS/noarch/{name}-1-1.noarch.rpm"));
        let text = check(&file).unwrap_err();
        assert!(text.contains(word), "{word}: {text}");
    };
    let file = |make: &str, list: &str| {
        format!("%install\nmkdir -p %{{buildroot}}/etc\ncd %{{buildroot}}/etc\n{make}\n%files\n{list}\n")
    };
    let image = "miniascape-image-0123456789abcdef";
    refused("symbolic link", image, &file("ln -s /etc/shadow a", "/etc/a"));
    refused("it should be /var/lib", image, &file("echo > a", "/etc/a"));
    refused("2 files", image, &file("echo > a; echo > b", "/etc/a\n/etc/b"));
    refused("tag 1023", image, "%pre\nid\n%files\n");
    refused("tag 1024", image, "%post\nid\n%files\n");
    refused("tag 1151", image, "%pretrans\nid\n%files\n");
    refused("tag 1065", image, "%triggerin -- bash\nid\n%files\n");
    refused(
        "tag 1024",
        "vm-web",
        "%post\n/usr/bin/miniascape guest register vm-other\n%files\n",
    );
    refused("tag 1024", "vm-web", "%files\n");
    refused("no package of miniascape", "bash", "%files\n");
    assert!(bench.results().is_empty());
}
