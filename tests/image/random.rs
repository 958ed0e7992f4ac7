//! Random images: what qemu-img reads from them is what we read, and what we write of them is sound and the same to it.
//!
//! `MINIASCAPE_TEST_IMAGES` is the number of cases (100 without it), `MINIASCAPE_TEST_SEED` the first one's seed. A
//! failure names the seed of its case.

use super::generate::{Dice, Made, chain, clone};
use super::sure;
use fs_err::File;
use miniascape::image::{Allow, Content, Disk, Format, Plan, content_digest};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
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
    if ours != theirs {
        let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
        panic!("{what}: the byte {differs:?} is the first different one");
    }
}

fn create(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap()
}

/// A sound image to qemu-img and to us; nothing is leaked.
fn sound(dir: &Path, name: &str) {
    sure("qemu-img", dir, &["check", "-q", "-f", "qcow2", name]);
    let made = Made {
        path: dir.join(name),
        format: Format::Qcow2,
    };
    let found = &open(&made).verify().unwrap()[0];
    assert_eq!((&found.problems, found.leaked), (&Vec::new(), 0), "{name}");
}

/// The same disk to qemu-img, and to us.
fn equal(dir: &Path, made: &Made, name: &str, format: Format) {
    let source = made.path.to_str().unwrap();
    sure(
        "qemu-img",
        dir,
        &[
            "compare",
            "-q",
            "-f",
            made.format.as_str(),
            "-F",
            format.as_str(),
            source,
            name,
        ],
    );
    let written = Made {
        path: dir.join(name),
        format,
    };
    same(&content(&open(&written)), &content(&open(made)), name);
}

/// Writes the plan in all ways, and looks at each.
fn write(dir: &Path, dice: &mut Dice, plan: &Plan, made: &Made, name: &str) {
    let file = create(&dir.join(name));
    plan.write_file(&file, &mut |_| {}).unwrap();
    assert_eq!(
        file.metadata().unwrap().len(),
        plan.size(),
        "{name}: planned size"
    );
    let bytes = fs_err::read(dir.join(name)).unwrap();
    let mut stream = Vec::new();
    plan.stream().read_to_end(&mut stream).unwrap();
    same(&stream, &bytes, "the stream");
    sound(dir, name);
    equal(dir, made, name, Format::Qcow2);
    let packed = format!("{name}-packed");
    let file = create(&dir.join(&packed));
    let size = plan.write_packed(&file, dice.pick(&[1, 3]), &mut |_| {}).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size, "{packed}: size");
    sound(dir, &packed);
    equal(dir, made, &packed, Format::Qcow2);
}

fn case(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut dice = Dice::new(seed);
    let layers = chain(&mut dice, dir, "image");
    let top = layers.last().unwrap();
    let disk = Arc::new(open(top));
    same(&content(&disk), &reference(dir, top), "reading");
    // The map covers the disk.
    let mut at = 0;
    for extent in disk.map().unwrap() {
        assert_eq!(extent.start, at);
        at = extent.end();
    }
    assert_eq!(at, disk.virtual_size());
    for found in disk.verify().unwrap() {
        assert_eq!(found.problems, Vec::<String>::new(), "{}", found.path.display());
    }

    let cluster = 65536 << dice.pick(&[0, 0, 1, 3, 5]);
    let digest = |disk: &Disk| content_digest(disk, &mut |_| {}).unwrap();
    // With digests or without, the plan is the same; with them its stream is checked.
    let (flat, known) = Plan::flat_with_content(&disk, cluster, &mut |_| {}).unwrap();
    assert_eq!(known.digest(), digest(&disk));
    let simple = Plan::flat(&disk, cluster, &mut |_| {}).unwrap();
    assert_eq!(
        (simple.size(), simple.data_size()),
        (flat.size(), flat.data_size())
    );
    write(dir, &mut dice, &flat, top, "flat");
    let file = create(&dir.join("raw"));
    flat.write_raw(&file, &mut |_| {}).unwrap();
    equal(dir, top, "raw", Format::Raw);

    // Against its own lowest image, an unrelated program's clone of it, or something else.
    let (image, base) = match dice.below(3) {
        0 => (top, &layers[0]),
        1 => (&clone(&mut dice, dir, top, "clone"), top),
        _ => (top, &clone(&mut dice, dir, &layers[0], "other")),
    };
    let disk = Arc::new(open(image));
    let below = open(base);
    let known = Content::of(&below, &mut |_| {}).unwrap();
    let (delta, content) =
        Plan::delta_with_content(&disk, &below, Some(&known), cluster, &mut |_| {}).unwrap();
    assert_eq!(content.digest(), digest(&disk));
    let simple = Plan::delta(&disk, &below, cluster, &mut |_| {}).unwrap();
    assert_eq!(
        (simple.size(), simple.data_size()),
        (delta.size(), delta.data_size())
    );
    let delta = delta
        .on(base.path.file_name().unwrap().to_str().unwrap(), base.format)
        .unwrap();
    write(dir, &mut dice, &delta, image, "delta");
    disk.ensure_unchanged().unwrap();
    // Who has the delta and the disk can do without either.
    let again = Arc::new(open(&Made {
        path: dir.join("delta"),
        format: Format::Qcow2,
    }));
    assert_eq!(digest(&again), digest(&disk));
    let flattened = |disk| {
        let mut bytes = Vec::new();
        let plan = Plan::flat(disk, 65536, &mut |_| {}).unwrap();
        plan.write_to(&mut bytes, &mut |_| {}).unwrap();
        bytes
    };
    same(
        &flattened(&again),
        &flattened(&disk),
        "equal disks in different files",
    );
}

#[test]
fn random_images_there_and_back() {
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
