//! `package install` of tar files into another system's root: what is put there, what goes again, and what is refused
//! without leaving anything.

use crate::repack::{bench, names, repack};
use crate::{Outcome, miniascape};
use fs_err as fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn json(outcome: &Outcome) -> serde_json::Value {
    assert_eq!(outcome.status, 0, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

fn tar(dir: &Path, version: &str, more: &[&str]) -> PathBuf {
    let fixed = ["--to", "tar", "--package-version", version, "--compress", "none"];
    let run = repack(dir, &[&fixed, more].concat());
    assert_eq!(run.status, 0, "{run:?}");
    dir.join(format!("out/vm-web-repacked-{version}.tar"))
}

/// `package WORDS --root ROOT FILE…`.
fn package(root: &Path, words: &[&str], files: &[&Path]) -> Outcome {
    let mut all = vec!["package", "--root", root.to_str().unwrap()];
    all.extend(words);
    all.extend(files.iter().map(|file| file.to_str().unwrap()));
    miniascape(all)
}

/// Every file below `root`, with its mode, but not what is pending there.
fn found(root: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().is_file() && !entry.path().to_string_lossy().contains("/pending/"))
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            format!("{} {mode:o}", entry.path().strip_prefix(root).unwrap().display())
        })
        .collect()
}

#[test]
fn a_tar_file_is_unpacked_upgraded_and_removed() {
    let bench = bench();
    let dir = bench.path();
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    let one = tar(dir, "1", &[]);
    fs::write(dir.join("disk.raw"), vec![8; 65536]).unwrap();
    let two = tar(dir, "2", &[]);
    let plan = json(&package(
        &root,
        &["install", "--dry-run", "--format", "json"],
        &[&one],
    ));
    assert_eq!(
        (&plan["go"], &plan["command"]),
        (&true.into(), &serde_json::Value::Null)
    );
    assert_eq!(found(&root), [""; 0]);

    let run = package(&root, &["install"], &[&one]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.starts_with("vm-web 1-1 is installed"), "{run:?}");
    let first = found(&root);
    let tail = |ending: &str| first.iter().filter(|path| path.ends_with(ending)).count();
    assert_eq!(
        (
            tail(".qcow2 444"),
            tail("guests/web/domain.xml 600"),
            tail("guests/web/manifest.json 644")
        ),
        (2, 1, 1),
        "{first:?}"
    );
    assert_eq!(tail("unpacked/web.json 644"), 1, "{first:?}");
    assert_eq!(first.len(), 6, "{first:?}");
    let show = package(&root, &["show", "vm-web"], &[]);
    assert!(
        show.status == 0 && show.stdout.contains("  kind       tar\n"),
        "{show:?}"
    );
    let list = json(&package(&root, &["list", "--format", "json"], &[]));
    assert_eq!(
        (&list[0]["kind"], &list[0]["instances"]),
        (&"tar".into(), &serde_json::json!([]))
    );
    let sizes = list[0]["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["size"].as_u64().unwrap());
    assert_eq!(list[0]["size"], sizes.sum::<u64>());
    let file = package(&root, &["show"], &[&one]);
    assert!(
        file.status == 0 && file.stdout.contains(".qcow2, ") && file.stdout.contains(", in the file"),
        "{file:?}"
    );

    // What a killed run has left goes with the next one; the images of the first version go, too.
    let images = root.join("var/lib/libvirt/images/miniascape/packaged");
    fs::write(images.join(".miniascape-draft-x"), "half").unwrap();
    fs::create_dir(root.join("usr/share/miniascape/.miniascape-draft-y")).unwrap();
    assert_eq!(package(&root, &["install"], &[&two]).status, 0);
    let second = found(&root);
    assert!(second.len() == 6 && second != first, "{second:?}");
    assert_eq!(names(&root.join("usr/share/miniascape")), ["guests"]);
    assert_eq!(package(&root, &["install"], &[&one]).status, 0);
    assert_eq!(found(&root), first);

    let gone = json(&package(&root, &["remove", "vm-web", "--format", "json"], &[]));
    assert_eq!(gone["images"].as_array().map(Vec::len), Some(2), "{gone}");
    assert_eq!(found(&root), [""; 0]);
    let again = package(&root, &["remove", "vm-web"], &[]);
    assert!(
        again.status == 1 && again.stderr.contains("is not installed"),
        "{again:?}"
    );
}

/// Gives the member whose name ends in `name` another length, as base-256 numbers of GNU tar.
fn with_length(tar: &[u8], name: &str, length: u64) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let headers = (0..tar.len()).step_by(512);
    let at = headers
        .rev()
        .find(|at| {
            let header = &tar[*at..(*at + 512).min(tar.len())];
            let end = header.iter().position(|byte| *byte == 0).unwrap_or(0).min(100);
            header.len() == 512
                && header[257..].starts_with(b"ustar")
                && header[..end].ends_with(name.as_bytes())
        })
        .unwrap();
    let header = &mut tar[at..at + 512];
    header[124..136].fill(0);
    header[124] = 0x80;
    header[128..136].copy_from_slice(&length.to_be_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

#[test]
fn what_is_not_sound_leaves_nothing_behind() {
    let bench = bench();
    let dir = bench.path();
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    let good = tar(dir, "1", &[]);
    let bytes = fs::read(&good).unwrap();
    let bad = dir.join("bad.tar");
    let refused = |word: &str| {
        let run = package(&root, &["install"], &[&bad]);
        assert!(
            run.status == 2 && run.stderr.contains("bad.tar") && run.stderr.contains(word),
            "{word}: {run:?}"
        );
        assert_eq!(names(&root), [""; 0], "{word}");
    };
    let mut flipped = bytes.clone();
    flipped[4096] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    refused("its SHA-256 is");
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    refused("it ends here");
    for (name, length, word) in [
        ("/manifest.json", 1 << 62, "larger than"),
        ("/domain.xml", u64::MAX >> 1, "larger than"),
        ("-base.qcow2", 1 << 62, "it ends here"),
        ("-base.qcow2", u64::MAX, "larger than any file"),
    ] {
        fs::write(&bad, with_length(&bytes, name, length)).unwrap();
        refused(word);
    }
    fs::write(dir.join("evil"), "evil").unwrap();
    fs::write(&bad, &bytes).unwrap();
    let append = Command::new("tar")
        .args([
            "-P",
            "--transform=s,^,vm-web-repacked-1/../../../,",
            "-rf",
            "bad.tar",
            "evil",
        ])
        .current_dir(dir)
        .status();
    assert!(append.unwrap().success());
    refused("climbs out");
    fs::write(
        &bad,
        "nothing of the kind, but long enough for somebody to look at it",
    )
    .unwrap();
    refused("neither RPM, Debian package nor tar file");

    let run = repack(dir, &["--to", "deb,srpm"]);
    assert_eq!(run.status, 0, "{run:?}");
    let made = |ending: &str| {
        let all = names(&dir.join("out"));
        let name = all
            .into_iter()
            .find(|name| name.starts_with("vm-web") && name.ends_with(ending));
        dir.join("out").join(name.unwrap())
    };
    let (deb, srpm) = (made(".deb"), made(".src.rpm"));
    let mixed = package(&root, &["install"], &[&good, &deb]);
    assert!(
        mixed.status == 2 && mixed.stderr.contains("is a tar file, and"),
        "{mixed:?}"
    );
    for file in [&deb, &srpm] {
        let elsewhere = package(&root, &["install"], &[file]);
        assert!(
            elsewhere.status == 2 && elsewhere.stderr.contains("no --root"),
            "{elsewhere:?}"
        );
    }
    let none = package(&root, &["install"], &[Path::new("/none.tar")]);
    assert_eq!(none.status, 1, "{none:?}");
    assert_eq!(names(&root), [""; 0]);
}
