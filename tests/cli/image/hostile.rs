//! Images that lie, are cut or damaged: refused with the file, the place and a status, and nothing is left behind.

use super::{qemu_img, qemu_io};
use crate::{Outcome, miniascape};
use std::path::Path;

/// The offset bits of a table's entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// An image of 8 MiB with some clusters of data.
fn sound(dir: &Path) -> Vec<u8> {
    qemu_img(&["create", "-q", "-f", "qcow2", "sound", "8M"], dir);
    qemu_io("write -q -P 7 0 256k", "qcow2", "sound", dir);
    fs_err::read(dir.join("sound")).unwrap()
}

fn number(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn convert(dir: &Path, image: &str) -> Outcome {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let before = fs_err::read_dir(dir).unwrap().count();
    let done = miniascape([
        "image",
        "convert",
        "--source-format",
        "qcow2",
        &at(image),
        &at("out"),
    ]);
    assert_eq!(
        fs_err::read_dir(dir).unwrap().count(),
        before,
        "{image} leaves nothing behind"
    );
    done
}

fn said(image: &str, run: &Outcome, status: i32, words: &[&str]) {
    assert_eq!(run.status, status, "{image}: {}", run.stderr);
    for word in words.iter().chain(&[image]) {
        assert!(run.stderr.contains(word), "{image}: {word}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn images_that_lie_are_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bytes = sound(dir);
    let l1 = number(&bytes, 40);
    let l2 = number(&bytes, l1) & OFFSET;
    let data = number(&bytes, l2) & OFFSET;
    let cut = |length: u64| bytes[..usize::try_from(length).unwrap()].to_vec();
    let with = |at: u64, value: u64| {
        let mut bytes = bytes.clone();
        put(&mut bytes, at, value);
        bytes
    };
    for (name, bytes, words) in [
        ("empty", cut(0), "magic number"),
        ("cut-header", cut(60), "it ends inside its header, after 60 bytes"),
        ("cut-l1", cut(l1), "was it cut?"),
        ("cut-l2", cut(l2 + 100), "was it cut?"),
        ("cut-data", cut(data), "was it cut?"),
        ("version", with(4, 7 << 32), "version 7 is unknown"),
        ("endless", with(24, 1 << 62), "its L1 table has"),
        ("negative", with(24, u64::MAX), "a disk cannot have"),
        (
            "large-l1",
            with(36, u64::from(u32::MAX) << 32),
            "L1 table of 4294967295 entries is too large",
        ),
        (
            "large-refcounts",
            with(56, u64::from(u32::MAX) << 32),
            "refcount table of 4294967295 clusters is too large",
        ),
        ("snapshots", with(60, 0x0fff_ffff << 32), "snapshots are too many"),
        ("clusters", with(20, u64::from(40u32) << 32), "2^40"),
        ("features", with(72, 1 << 40), "incompatible feature 40"),
        ("odd-l2", with(l1, l2 + 512), "within a cluster"),
        (
            "far-data",
            with(l2, 1 << 50),
            "guest byte 0 is said to start at 1125899906842624",
        ),
    ] {
        fs_err::write(dir.join(name), bytes).unwrap();
        let run = convert(dir, name);
        said(name, &run, 2, &[words]);
    }
}

#[test]
fn chains_that_cannot_be_followed_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let create = |name: &str, backing: &str| {
        qemu_img(
            &[
                "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", name, "1M",
            ],
            dir,
        );
    };
    create("a-circle", "b-circle");
    create("b-circle", "a-circle");
    said(
        "a-circle",
        &convert(dir, "a-circle"),
        2,
        &["b-circle", "stands on"],
    );
    create("itself", "./itself");
    said("itself", &convert(dir, "itself"), 2, &["stands on"]);
    create("alone", "nowhere");
    said(
        "alone",
        &convert(dir, "alone"),
        1,
        &["nowhere, which does not exist"],
    );
    let template = {
        create("0000", "0001");
        fs_err::read(dir.join("0000")).unwrap()
    };
    let at = template.windows(4).position(|word| word == b"0001").unwrap();
    for number in 0..1000 {
        let mut image = template.clone();
        image[at..at + 4].copy_from_slice(format!("{:04}", number + 1).as_bytes());
        fs_err::write(dir.join(format!("{number:04}")), image).unwrap();
    }
    said(
        "0199",
        &convert(dir, "0000"),
        2,
        &["it is number 200 of its chain", "no more are followed"],
    );
    // A format that only guessing could tell.
    let mut image = template.clone();
    let extension = image
        .windows(4)
        .position(|word| word == [0xe2, 0x79, 0x2a, 0xca])
        .unwrap();
    image[extension] = 0x62;
    fs_err::write(dir.join("unsaid"), image).unwrap();
    said(
        "unsaid",
        &convert(dir, "unsaid"),
        2,
        &[
            "does not record the format of its backing file",
            "qemu-img rebase -u",
        ],
    );
}

#[test]
fn verify_names_damaged_refcounts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bytes = sound(dir);
    let table = number(&bytes, 48);
    let block = number(&bytes, table);
    let l2 = number(&bytes, number(&bytes, 40)) & OFFSET;
    let data = number(&bytes, l2) & OFFSET;
    let count = |offset: u64| block + offset / 65536 * 2;
    let with = |at: u64, value: u16| {
        let mut bytes = bytes.clone();
        let at = usize::try_from(at).unwrap();
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let wide = |at: u64, value: u64| {
        let mut bytes = bytes.clone();
        put(&mut bytes, at, value);
        bytes
    };
    for (name, bytes, words) in [
        (
            "uncounted",
            with(count(data), 0),
            format!("the cluster at {data} is used 1 times, and counted 0 times"),
        ),
        (
            "shared",
            with(count(data), 3),
            "marked as used once, and counted 3 times".to_owned(),
        ),
        (
            "far-block",
            wide(table, 1 << 50),
            format!("refcount block 0 is said to lie at {}", 1u64 << 50),
        ),
        (
            "odd-block",
            wide(table, block + 512),
            "refcount block 0 is said to start at".to_owned(),
        ),
        (
            "doubled",
            wide(l2 + 8, 1 << 63 | data),
            format!("the cluster at {data} is used 2 times, and counted 1 times"),
        ),
    ] {
        fs_err::write(dir.join(name), bytes).unwrap();
        let path = dir.join(name);
        let run = miniascape(["image", "verify", path.to_str().unwrap()]);
        said(name, &run, 1, &[&words]);
        let run = miniascape(["image", "verify", path.to_str().unwrap(), "--format", "json"]);
        let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(value["sound"], false);
        // qemu-img sees it, too.
        let checked = std::process::Command::new("qemu-img")
            .args(["check", "-q"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(!checked.status.success(), "{name}");
    }
}
