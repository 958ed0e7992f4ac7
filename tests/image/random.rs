//! Random images: what qemu-img reads from them is what we read.
//!
//! `MINIASCAPE_TEST_IMAGES` is the number of cases (100 without it), `MINIASCAPE_TEST_SEED` the first one's seed. A
//! failure names the seed of its case.

use super::generate::{Dice, Made, chain};
use super::sure;
use miniascape::image::{Allow, Disk};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var_os(variable) {
        Some(value) => value.to_str().unwrap().parse().unwrap(),
        None => default,
    }
}

fn open(made: &Made) -> Disk {
    let allow = Allow::beside(&made.path);
    Disk::open(&made.path, made.format, &|file, _| allow.permits(file)).unwrap()
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(disk.virtual_size()).unwrap()];
    disk.reader().read(0, &mut bytes).unwrap();
    bytes
}

/// What qemu-img reads.
fn reference(dir: &Path, made: &Made) -> Vec<u8> {
    let path = made.path.to_str().unwrap();
    sure(
        "qemu-img",
        dir,
        &[
            "convert",
            "-f",
            made.format.as_str(),
            "-O",
            "raw",
            path,
            "reference",
        ],
    );
    fs_err::read(dir.join("reference")).unwrap()
}

fn same(ours: &[u8], theirs: &[u8], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}: size");
    let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: first different byte");
}

fn case(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut dice = Dice::new(seed);
    let layers = chain(&mut dice, dir, "image");
    let top = layers.last().unwrap();
    let disk = open(top);
    same(&content(&disk), &reference(dir, top), "reading");
    // The map covers the disk.
    let mut at = 0;
    for extent in disk.map().unwrap() {
        assert_eq!(extent.start, at);
        at = extent.end();
    }
    assert_eq!(at, disk.virtual_size());
}

#[test]
fn random_images_are_read_as_qemu_img_reads_them() {
    let (first, count) = (
        number("MINIASCAPE_TEST_SEED", 1),
        number("MINIASCAPE_TEST_IMAGES", 100),
    );
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let good = catch_unwind(AssertUnwindSafe(|| case(seed))).is_ok();
                    assert!(good, "the case of MINIASCAPE_TEST_SEED={seed} failed");
                }
            });
        }
    });
}
