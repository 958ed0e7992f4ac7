//! Images that lie: refused with the place, and nothing is opened that nobody allowed.

use super::sure;
use fs_err as fs;
use fs_err::os::unix::fs::{FileExt, symlink};
use miniascape::image::{Allow, Disk, Format, ImageError, Plan};
use std::path::Path;

fn open(path: &Path) -> Result<Disk, ImageError> {
    let allow = Allow::beside(path);
    Disk::open(path, Format::Qcow2, &|file, _| allow.permits(file))
}

fn refused(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

/// The error of reading all of the image.
fn unreadable(path: &Path) -> String {
    let disk = match open(path) {
        Ok(disk) => disk,
        Err(error) => return error.to_string(),
    };
    let mut buffer = vec![0; usize::try_from(disk.virtual_size()).unwrap()];
    disk.reader().read(0, &mut buffer).unwrap_err().to_string()
}

fn create(dir: &Path, arguments: &[&str]) {
    let mut all = vec!["create", "-q", "-u", "-f", "qcow2"];
    all.extend(arguments);
    sure("qemu-img", dir, &all);
}

/// A sound image of 1 MiB with one written cluster.
fn sound(dir: &Path) -> std::path::PathBuf {
    create(dir, &["sound", "1M"]);
    sure("qemu-io", dir, &["-c", "write -q -P 7 0 64k", "sound"]);
    dir.join("sound")
}

fn patched(dir: &Path, name: &str, at: u64, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::copy(sound(dir), &path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(bytes, at).unwrap();
    path
}

#[test]
fn files_outside_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, backing) in [
        ("plain", "/etc/shadow"),
        ("dots", "../../../../../../../etc/shadow"),
    ] {
        create(dir, &["-b", backing, "-F", "raw", name, "1M"]);
        let error = refused(&dir.join(name));
        assert!(
            error.contains("/etc/shadow") && error.contains("outside"),
            "{error}"
        );
    }
    symlink("/etc/shadow", dir.join("link")).unwrap();
    create(dir, &["-b", "link", "-F", "raw", "linked", "1M"]);
    assert!(refused(&dir.join("linked")).contains("/etc/shadow"));
    let data = patched(dir, "data", 79, &[4]);
    let name = b"DATA\0\0\0\x0b/etc/shadow\0\0\0\0\0\0";
    let file = fs::File::options().write(true).open(&data).unwrap();
    file.write_all_at(name, 112).unwrap();
    let error = refused(&data);
    assert!(
        error.contains("data file") && error.contains("/etc/shadow"),
        "{error}"
    );
    for name in [
        "nbd://localhost/x",
        "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
    ] {
        create(dir, &["-b", name, "-F", "raw", "protocol", "1M"]);
        assert!(refused(&dir.join("protocol")).contains("only plain files"));
    }
}

#[test]
fn chains_that_never_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    create(dir, &["-b", "b", "-F", "qcow2", "a", "1M"]);
    create(dir, &["-b", "a", "-F", "qcow2", "b", "1M"]);
    assert!(refused(&dir.join("a")).contains("stands on it"));
    // A thousand images: the first by qemu-img, the others copied from it.
    create(dir, &["-b", "0000", "-F", "qcow2", "n", "1M"]);
    let template = fs::read(dir.join("n")).unwrap();
    let at = template.windows(4).position(|w| w == b"0000").unwrap();
    for number in 0..1000 {
        let mut image = template.clone();
        image[at..at + 4].copy_from_slice(format!("{:04}", number + 1).as_bytes());
        fs::write(dir.join(format!("{number:04}")), image).unwrap();
    }
    let error = refused(&dir.join("0000"));
    assert!(error.contains("0199") && error.contains("200"), "{error}");
    // The last of them misses the one below.
    let error = refused(&dir.join("0900"));
    assert!(
        error.contains("0999") && error.contains("1000") && error.contains("does not exist"),
        "{error}"
    );
}

#[test]
fn a_backing_file_without_a_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    sound(dir);
    create(dir, &["-b", "sound", "-F", "qcow2", "top", "1M"]);
    let path = dir.join("top");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(4)
        .position(|w| w == [0xe2, 0x79, 0x2a, 0xca])
        .unwrap();
    bytes[at] = 0x62;
    fs::write(&path, bytes).unwrap();
    assert!(refused(&path).contains("does not record the format"));
}

#[test]
fn tables_that_lie_are_refused_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let length = fs::metadata(sound(dir)).unwrap().len();
    let bytes = fs::read(dir.join("sound")).unwrap();
    let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap());
    let l2 = u64::from_be_bytes(bytes[usize::try_from(l1).unwrap()..][..8].try_into().unwrap())
        & 0x00ff_ffff_ffff_fe00;
    let entry = |value: u64| value.to_be_bytes();
    for (name, at, bytes, said) in [
        (
            "l1-far",
            40,
            entry(length.next_multiple_of(65536)),
            "a table is said to lie at",
        ),
        (
            "l2-far",
            l1,
            entry(1 << 40),
            "a table is said to lie at 1099511627776",
        ),
        ("l2-odd", l1, entry(l2 + 512), "within a cluster"),
        (
            "data-far",
            l2,
            entry(1 << 40),
            "guest byte 0 is said to start at 1099511627776",
        ),
        (
            "data-odd",
            l2,
            entry(l2 + 512),
            "guest byte 0 is said to start at",
        ),
        (
            "packed-far",
            l2,
            entry(1 << 62 | 1 << 40),
            "guest byte 0 is said to start at",
        ),
        (
            "packed-rubbish",
            l2,
            entry(1 << 62 | 4),
            "the compressed cluster at 4 cannot be read",
        ),
    ] {
        let error = unreadable(&patched(dir, name, at, &bytes));
        assert!(error.contains(said) && error.contains(name), "{name}: {error}");
    }
    // One cluster for all of a table: 512 MiB out of a few hundred KiB.
    create(dir, &["large", "512M"]);
    let large = dir.join("large");
    let file = fs::File::options().write(true).open(&large).unwrap();
    file.set_len(5 << 16).unwrap();
    let table = entry(2 << 16).repeat(8192);
    file.write_all_at(&table, 4 << 16).unwrap();
    file.write_all_at(&entry(1 << 63 | 4 << 16), 3 << 16).unwrap();
    let disk = std::sync::Arc::new(open(&large).unwrap());
    let error = Plan::flat(&disk, 65536, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("more data than the file"), "{error}");
    assert!(disk.verify().unwrap()[0].problems[0].contains("is used 8193 times"));
    let cut = dir.join("cut");
    fs::write(&cut, &bytes[..usize::try_from(l2).unwrap() + 100]).unwrap();
    assert!(unreadable(&cut).contains("was it cut?"));
}
