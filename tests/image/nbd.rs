//! What `qemu-nbd` serves, read by our client.

use super::generate::{Dice, chain};
use super::sure;
use fs_err as fs;
use miniascape::image::{Content, Disk, Export, Format, ImageError, Plan, content_digest};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that ends with this value.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(image: &Path, format: Format, more: &[&str]) -> Self {
        let socket = image.with_extension("sock");
        let child = Command::new("qemu-nbd")
            .args([
                "--read-only",
                "--persistent",
                "--shared",
                "0",
                "--export-name",
                "disk",
            ])
            .args(["--format", format.as_str(), "--socket"])
            .arg(&socket)
            .args(more)
            .arg(image)
            // An external data file is looked for there.
            .current_dir(image.parent().unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, socket };
        let begun = Instant::now();
        // Its file is there before anybody listens.
        while UnixStream::connect(&server.socket).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "qemu-nbd does not come up"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All bytes of the image that is planned of a disk.
fn planned(disk: &Arc<Disk>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let plan = Plan::flat(disk, 65536, &mut |_| {}).unwrap();
    plan.write_to(&mut bytes, &mut |_| {}).unwrap();
    bytes
}

#[test]
fn an_export_is_the_disk_that_it_exports() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut dice = Dice::new(seed + 7000);
        let made = chain(&mut dice, dir.path(), "served");
        let top = made.last().unwrap();
        let file = Arc::new(Disk::open(&top.path, top.format, &|_, _| true).unwrap());
        let server = Server::start(&top.path, top.format, &[]);
        let export = Arc::new(Export::open(&server.socket, "disk").unwrap());
        let disk = Arc::new(Disk::exported(export, None));
        assert_eq!(disk.virtual_size(), file.virtual_size(), "seed {seed}");
        let digest = |disk: &Disk| content_digest(disk, &mut |_| {}).unwrap();
        assert_eq!(digest(&disk), digest(&file), "seed {seed}");
        assert!(planned(&disk) == planned(&file), "seed {seed}");
        // Any place and length, also across what is fetched ahead.
        let (mut ours, mut theirs) = (disk.reader(), file.reader());
        for _ in 0..20 {
            let start = dice.below(disk.virtual_size());
            let length = dice.below((disk.virtual_size() - start).min(1 << 20)) + 1;
            let length = usize::try_from(length).unwrap();
            let (mut a, mut b) = (vec![1; length], vec![2; length]);
            ours.read(start, &mut a).unwrap();
            theirs.read(start, &mut b).unwrap();
            assert!(a == b, "seed {seed}: {length} bytes at {start}");
        }
        // A delta against the export's own bottom is that of nothing.
        let same = Plan::delta(&disk, &disk.bottom().unwrap(), 65536, &mut |_| {}).unwrap();
        assert_eq!(same.data_size(), 0, "seed {seed}");
    }
}

#[test]
fn much_data_is_read_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("much");
    let mut dice = Dice::new(7100);
    let piece: Vec<u8> = (0..1_000_448)
        .map(|_| u8::try_from(dice.below(256)).unwrap())
        .collect();
    fs::write(&path, piece.repeat(80)).unwrap();
    let file = Disk::open(&path, Format::Raw, &|_, _| false).unwrap();
    let server = Server::start(&path, Format::Raw, &[]);
    let disk = Disk::exported(Arc::new(Export::open(&server.socket, "disk").unwrap()), None);
    let digest = |disk: &Disk| content_digest(disk, &mut |_| {}).unwrap();
    assert_eq!(digest(&disk), digest(&file));
}

#[test]
fn a_dirty_bitmap_says_what_is_not_as_below() {
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| sure(program, dir.path(), arguments);
    run("qemu-img", &["create", "-q", "-f", "qcow2", "disk", "20M"]);
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write -P 1 0 9M",
            "-c",
            "write -P 2 19M 1M",
            "disk",
        ],
    );
    run("qemu-img", &["convert", "-O", "qcow2", "disk", "before"]);
    run("qemu-img", &["bitmap", "--add", "disk", "since"]);
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write -P 3 5M 200k",
            "-c",
            "write -z 19M 64k",
            "disk",
        ],
    );
    let open = |name: &str| Disk::open(&dir.path().join(name), Format::Qcow2, &|_, _| true).unwrap();
    let before = Content::of(&open("before"), &mut |_| {}).unwrap();
    let bytes = |plan: &Plan| {
        let mut bytes = Vec::new();
        plan.write_to(&mut bytes, &mut |_| {}).unwrap();
        bytes
    };
    let truth = Arc::new(open("disk"));
    let by_images = Plan::delta(&truth, &open("before"), 65536, &mut |_| {}).unwrap();
    // Only what was written to can differ: 200 KiB in clusters of 64 KiB.
    assert_eq!(by_images.data_size(), 4 << 16);
    let (by_content, content) = Plan::since(&truth, &before, false, &mut |_| {}).unwrap();
    assert_eq!(content.digest(), content_digest(&truth, &mut |_| {}).unwrap());
    assert!(bytes(&by_content) == bytes(&by_images));

    let exported = |bitmap: &str, file: &str| {
        let server = Server::start(&dir.path().join(file), Format::Qcow2, &["--bitmap", bitmap]);
        let export = Export::open_with_changes(&server.socket, "disk", bitmap).unwrap();
        assert!(export.knows_changes());
        (Arc::new(Disk::exported(Arc::new(export), None)), server)
    };
    let (disk, server) = exported("since", "disk");
    let (by_bitmap, known) = Plan::since(&disk, &before, true, &mut |_| {}).unwrap();
    assert_eq!(known, content);
    assert!(bytes(&by_bitmap) == bytes(&by_images));
    drop((disk, server));

    // A bitmap that has missed a write is found out, and by content nothing is missed.
    run("qemu-img", &["bitmap", "--add", "disk", "late"]);
    let (disk, _server) = exported("late", "disk");
    let error = Plan::since(&disk, &before, true, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ImageError::WrongBitmap { .. }), "{error}");
    let (by_content, _) = Plan::since(&disk, &before, false, &mut |_| {}).unwrap();
    assert!(bytes(&by_content) == bytes(&by_images));
}

#[test]
fn a_server_that_goes_away_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| sure(program, dir.path(), arguments);
    run("qemu-img", &["create", "-q", "-f", "raw", "disk", "8M"]);
    run("qemu-io", &["-f", "raw", "-c", "write -P 1 0 8M", "disk"]);
    let server = Server::start(&dir.path().join("disk"), Format::Raw, &[]);
    let socket = server.socket.clone();
    let refused = Export::open(&socket, "other").unwrap_err().to_string();
    assert!(
        refused.contains("`other`") && refused.contains("refuses"),
        "{refused}"
    );
    let export = Arc::new(Export::open(&socket, "disk").unwrap());
    let disk = Disk::exported(export, None);
    drop(server);
    let error = disk.reader().read(0, &mut [0; 512]).unwrap_err().to_string();
    assert!(error.contains("has closed the connection"), "{error}");
    let error = Export::open(&socket, "disk").unwrap_err().to_string();
    assert!(error.contains("cannot reach the NBD server at"), "{error}");
}

/// The second reading of an export is that of the guest's own files as long as they have what was planned; where a guest
/// has written to them meanwhile, or they are none any more, it is the export's.
#[test]
fn what_is_read_twice_comes_from_the_files_if_it_is_the_same() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut dice = Dice::new(seed + 9000);
        let made = chain(&mut dice, dir.path(), "served");
        let top = made.last().unwrap();
        let open = |path: &Path| Disk::open(path, top.format, &|_, _| true).unwrap();
        let truth = planned(&Arc::new(open(&top.path)));
        let planned_beside = |files: Option<Disk>| {
            let server = Server::start(&top.path, top.format, &[]);
            let export = Arc::new(Export::open(&server.socket, "disk").unwrap());
            let disk = Arc::new(Disk::exported(export, files));
            let (plan, _) = Plan::flat_with_content(&disk, 65536, &mut |_| {}).unwrap();
            (plan, server)
        };
        let bytes = |plan: &Plan| {
            let mut bytes = Vec::new();
            plan.write_to(&mut bytes, &mut |_| {}).map(|()| bytes)
        };
        // Nobody is asked who is not there.
        let (plan, server) = planned_beside(Some(open(&top.path)));
        drop(server);
        assert!(bytes(&plan).unwrap() == truth, "seed {seed}");
        if plan.data_size() > 0 {
            let (plan, server) = planned_beside(None);
            drop(server);
            bytes(&plan).unwrap_err();
        }
        // A copy of the same chain that goes on to change, down to its tables.
        let copy = top.path.with_extension("copy");
        fs_err::copy(&top.path, &copy).unwrap();
        let (plan, _server) = planned_beside(Some(open(&copy)));
        let length = fs_err::metadata(&copy).unwrap().len();
        let file = fs_err::OpenOptions::new().write(true).open(&copy).unwrap();
        for _ in 0..40 {
            let junk: Vec<u8> = (0..512).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
            std::os::unix::fs::FileExt::write_all_at(file.file(), &junk, dice.below(length)).unwrap();
        }
        assert!(bytes(&plan).unwrap() == truth, "seed {seed}");
        file.set_len(length / 2).unwrap();
        assert!(bytes(&plan).unwrap() == truth, "seed {seed}");
        file.set_len(0).unwrap();
        assert!(bytes(&plan).unwrap() == truth, "seed {seed}");
    }
}
