//! `cargo bench --bench pack [-- DIR]`: how fast a guest becomes packages, beside `zstd` on the same image and rpmbuild on
//! the same spec, in one run. Figures are printed; nothing passes or fails by them.
//!
//! Needs root's tools only: mke2fs, qemu-img, zstd, rpmbuild and GNU time. About 15 GB in DIR (default `target/bench-pack`), where the
//! disk is kept for the next run. `MINIASCAPE_BENCH_GZIP=1` adds rpmbuild with the distribution's default payload, which takes minutes.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs of each thing; the median of their seconds counts.
const RUNS: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let dir = args
        .first()
        .map_or_else(|| PathBuf::from("target/bench-pack"), PathBuf::from);
    fs::create_dir_all(&dir).expect("a directory");
    let dir = fs::canonicalize(dir).expect("it is there");
    disk(&dir);
    let size = fs::metadata(dir.join("disk.qcow2")).expect("the disk").len();
    println!("the image has {} MB", size / 1_000_000);
    println!(
        "what                                 seconds  processor  peak MB  written MB  result MB  to zstd"
    );
    let image = dir.join("disk.qcow2").display().to_string();
    let out = dir.join("out").display().to_string();
    let zstd = [
        "zstd",
        "-q",
        "-f",
        "-T0",
        "-3",
        &image,
        "-o",
        &format!("{out}/image.zst"),
    ];
    let program = env!("CARGO_BIN_EXE_miniascape");
    let xml = dir.join("web.xml").display().to_string();
    let repack = |kinds: &'static str| vec![program, "repack", "-q", "--to", kinds, "--output", &out, &xml];
    let floor = measure(&dir, "zstd -T0 -3", &zstd, RUNS, None);
    for kinds in ["rpm", "deb", "tar", "rpm,deb,tar"] {
        measure(
            &dir,
            &format!("repack --to {kinds}"),
            &repack(kinds),
            RUNS,
            Some(floor),
        );
    }
    rpmbuild(&dir, program, &xml, floor);
    memory(&dir, program);
}

/// An ext4 file system of 8 GiB with about 2.2 GB of this machine's own /usr, as a qcow2 image, and a guest on it.
fn disk(dir: &Path) {
    let script = r#"
        set -e
        cd "$1"
        test -e disk.qcow2 && exit 0
        mkdir -p tree
        (cd /usr && find . -xdev -type f -size -60M -printf '%s %i %p\n' | sort -k2n |
            awk '{ s += $1; if (s < 2250000000) { sub(/^[0-9]+ [0-9]+ /, ""); print } }' |
            cpio -pd --quiet "$1/tree")
        mke2fs -q -t ext4 -d tree disk.raw 8G
        qemu-img convert -f raw -O qcow2 disk.raw part.qcow2
        rm -rf tree disk.raw
        mv part.qcow2 disk.qcow2
    "#;
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(dir)
        .status()
        .expect("sh");
    assert!(status.success(), "the disk could not be made");
    guest(dir, "web.xml", "qcow2", &dir.join("disk.qcow2"));
}

fn guest(dir: &Path, name: &str, format: &str, disk: &Path) {
    let xml = include_str!("../../tests/data/package/domain.xml")
        .replace("@NAME@", "web")
        .replace("@FORMAT@", format)
        .replace("@DISK@", disk.to_str().expect("UTF-8"));
    fs::write(dir.join(name), xml).expect("the guest");
}

/// Runs a command several times into an empty `out`, prints a line, and returns the seconds.
fn measure(dir: &Path, what: &str, command: &[&str], runs: usize, floor: Option<f64>) -> f64 {
    let out = dir.join("out");
    let mut all = Vec::new();
    let mut result = 0;
    for _ in 0..runs {
        if out.exists() {
            fs::remove_dir_all(&out).expect("the results of before");
        }
        fs::create_dir(&out).expect("a directory");
        // What earlier runs left to be written must not hold up this one.
        rustix::fs::sync();
        let told = dir.join("time");
        let status = Command::new("time")
            .args(["-f", "%e %U %S %M %O", "-o"])
            .arg(&told)
            .args(command)
            .current_dir(dir)
            .status()
            .expect("GNU time");
        assert!(status.success(), "{command:?}");
        let text = fs::read_to_string(&told).expect("figures");
        let figures: Vec<f64> = text
            .split_whitespace()
            .map(|word| word.parse().expect("a number"))
            .collect();
        all.push(figures);
        result = bytes(&out);
    }
    all.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let middle = &all[all.len() / 2];
    let ratio = floor.map_or(1.0, |floor| middle[0] / floor);
    println!(
        "{what:<36} {:>7.1} {:>10.1} {:>8.0} {:>11.0} {:>10} {ratio:>8.2}",
        middle[0],
        middle[1] + middle[2],
        middle[3] * 1024.0 / 1e6,
        middle[4] * 512.0 / 1e6,
        result / 1_000_000,
    );
    middle[0]
}

fn bytes(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

/// The same packages made by rpmbuild from the source tar file.
fn rpmbuild(dir: &Path, program: &str, xml: &str, floor: f64) {
    let tar = dir.join("tar").display().to_string();
    let made = Command::new(program)
        .args(["repack", "-q", "--to", "tar", "--output", &tar, xml])
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let tarball = format!("{tar}/vm-web-repacked-0.1.tar.zst");
    let top = format!("_topdir {}/out", dir.display());
    let db = format!("_dbpath {}/out/db", dir.display());
    let build = ["rpmbuild", "-tb", "--quiet", "--define", &top, "--define", &db];
    let threaded = [&build[..], &[&tarball]].concat();
    measure(dir, "rpmbuild, w3T0.zstdio", &threaded, 1, Some(floor));
    if std::env::var_os("MINIASCAPE_BENCH_GZIP").is_some() {
        // The spec says how to compress; without that line it is the distribution's default.
        let plain = dir.join("plain");
        let script = "set -e; rm -rf \"$2\"; mkdir \"$2\"; tar -xf \"$1\" -C \"$2\"; cd \"$2\"; \
                      sed -i '/_binary_payload/d' */*.spec; tar -cf plain.tar vm-*; rm -rf vm-*";
        let status = Command::new("sh")
            .args(["-c", script, "sh", &tarball])
            .arg(&plain)
            .status()
            .expect("sh");
        assert!(status.success());
        let tarball = plain.join("plain.tar").display().to_string();
        let gzip = [&build[..], &[&tarball]].concat();
        measure(dir, "rpmbuild, default payload", &gzip, 1, Some(floor));
        fs::remove_dir_all(plain).expect("it is there");
    }
    fs::remove_dir_all(tar).expect("it is there");
}

/// The peak must not depend on the disk's size: 1 GiB of data on a disk of 1 GiB, and on one of 200 GiB.
fn memory(dir: &Path, program: &str) {
    for gib in [1u64, 200] {
        let disk = dir.join(format!("sparse-{gib}.raw"));
        let status = Command::new("sh")
            .args([
                "-c",
                "head -c 1073741824 /dev/urandom >\"$1\" && truncate -s \"$2\" \"$1\"",
                "sh",
            ])
            .arg(&disk)
            .arg((gib << 30).to_string())
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        guest(dir, "sparse.xml", "raw", &disk);
        let xml = dir.join("sparse.xml").display().to_string();
        let out = dir.join("out").display().to_string();
        let command = [program, "repack", "-q", "--to", "rpm", "--output", &out, &xml];
        measure(
            dir,
            &format!("1 GiB of noise on {gib} GiB, raw"),
            &command,
            1,
            None,
        );
        fs::remove_file(disk).expect("it is there");
    }
}
