//! `cargo bench --bench pack [-- DIR]`: how fast a guest becomes packages, beside `zstd` on the same image and rpmbuild on
//! the same tree, in turns. Figures are printed; nothing passes or fails by them.
//!
//! Needs mke2fs, qemu-img, zstd, rpmbuild, cpio and GNU time, and 12 GB in DIR (default `target/bench-pack`; a tmpfs keeps the
//! disk's speed out of the figures), where the test disk is kept for the next run. `MINIASCAPE_BENCH_RUNS` is the number of rounds,
//! `MINIASCAPE_BENCH_GZIP=1` adds rpmbuild with the distribution's default payload, once, which takes minutes.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

mod measure;

use fs_err as fs;
use measure::{Figures, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rounds; in each one everything is run once.
const ROUNDS: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let dir = args
        .first()
        .map_or_else(|| PathBuf::from("target/bench-pack"), PathBuf::from);
    fs::create_dir_all(&dir).expect("a directory");
    let dir = fs::canonicalize(dir).expect("it is there");
    disk(&dir);
    let size = fs::metadata(dir.join("disk.qcow2")).expect("the disk").len();
    println!("the image has {} MB; load {}", size / 1_000_000, load());
    speed(&dir);
    memory(&dir);
    println!("load {}", load());
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

/// An ext4 file system of 8 GiB with about 2.2 GiB of this machine's own /usr, as a qcow2 image, and a guest on it.
fn disk(dir: &Path) {
    sh(
        r#"
        cd "$1"
        test ! -e disk.qcow2 || exit 0
        rm -rf tree
        mkdir tree
        (cd /usr && find . -xdev -type f -size -60M -printf '%s %i %p\n' | sort -k2n |
            awk '{ s += $1; if (s < 2250000000) { sub(/^[0-9]+ [0-9]+ /, ""); print } }' |
            cpio -pd --quiet "$1/tree")
        mke2fs -q -t ext4 -d tree disk.raw 8G
        qemu-img convert -f raw -O qcow2 disk.raw part.qcow2
        rm -rf tree disk.raw
        mv part.qcow2 disk.qcow2
        "#,
        &[dir],
    );
    guest(dir, "web.xml", "qcow2", &dir.join("disk.qcow2"));
}

/// Runs a script in a shell.
fn sh(script: &str, args: &[&Path]) {
    let status = Command::new("sh").args(["-ec", script, "sh"]).args(args).status();
    assert!(status.is_ok_and(|status| status.success()), "{script}");
}

fn guest(dir: &Path, name: &str, format: &str, disk: &Path) {
    let xml = include_str!("../../tests/data/package/domain.xml")
        .replace("@NAME@", "web")
        .replace("@FORMAT@", format)
        .replace("@DISK@", disk.to_str().expect("UTF-8"));
    fs::write(dir.join(name), xml).expect("the guest");
}

/// A command in words.
type Words = Vec<String>;

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn repack(kinds: &str, output: &str, xml: &str) -> Words {
    let program = env!("CARGO_BIN_EXE_miniascape");
    words(&[program, "repack", "-q", "--to", kinds, "--output", output, xml])
}

/// Everything that is compared with zstd on the image, and with making an RPM.
fn speed(dir: &Path) {
    let zstd = words(&[
        "zstd",
        "-q",
        "-f",
        "-T0",
        "-3",
        "disk.qcow2",
        "-o",
        "out/image.zst",
    ]);
    let mut things = vec![("zstd -T0 -3".to_owned(), zstd)];
    for kinds in ["rpm", "deb", "tar", "rpm,deb,tar"] {
        things.push((format!("repack --to {kinds}"), repack(kinds, "out", "web.xml")));
    }
    let rounds = std::env::var_os("MINIASCAPE_BENCH_RUNS").map_or(ROUNDS, |text| {
        let text = text.to_str().and_then(|text| text.parse().ok());
        text.expect("MINIASCAPE_BENCH_RUNS is a number")
    });
    things.push(("rpmbuild, w3T0.zstdio".to_owned(), rpmbuild(dir)));
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); things.len()];
    for _ in 0..rounds {
        for ((_, command), figures) in things.iter().zip(&mut all) {
            figures.push(run(dir, command));
        }
    }
    if std::env::var_os("MINIASCAPE_BENCH_GZIP").is_some() {
        things.push((
            "rpmbuild, default payload, once".to_owned(),
            rpmbuild_default(dir),
        ));
        let command = &things[things.len() - 1].1;
        // Of the same round as the last of the others, as far as ratios are concerned.
        all.push(vec![run(dir, command)]);
    }
    println!("medians of {rounds} rounds; ratios are medians of those in each round");
    println!(
        "{:<34} seconds  processor  peak MB  written MB  result MB  ratio  to zstd  to rpm",
        ""
    );
    for ((what, _), figures) in things.iter().zip(&all) {
        let ratio = |reference: &[Figures]| {
            let last = reference.len().min(figures.len());
            let pairs = figures.iter().zip(&reference[reference.len() - last..]);
            measure::median(pairs.map(|(ours, theirs)| ours.seconds / theirs.seconds))
        };
        println!(
            "{what:<34} {}  {:>7.2}  {:>6.2}",
            measure::line(figures),
            ratio(&all[0]),
            ratio(&all[1])
        );
    }
    fs::remove_dir_all(dir.join("source")).expect("it is there");
}

/// How rpmbuild makes the same packages from the tar file of the build tree; `repack` makes that first.
fn rpmbuild(dir: &Path) -> Words {
    let command = repack("tar", "source", "web.xml");
    let made = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(dir)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    rpmbuild_of(dir, "source/vm-web-repacked-0.1.tar.zst")
}

fn rpmbuild_of(dir: &Path, tarball: &str) -> Words {
    let out = dir.join("out").display().to_string();
    let define = |name: &str, value: String| format!("{name} {out}{value}");
    let mut command = words(&["rpmbuild", "-tb", "--quiet"]);
    for macro_ in [
        define("_topdir", String::new()),
        define("_tmppath", "/tmp".into()),
        define("_dbpath", "/db".into()),
    ] {
        command.extend(["--define".to_owned(), macro_]);
    }
    command.push(tarball.to_owned());
    command
}

/// The same without the line of the spec that says how to compress.
fn rpmbuild_default(dir: &Path) -> Words {
    sh(
        r#"
        cd "$1/source"
        tar -xf vm-*.tar.zst
        sed -i '/_binary_payload/d' */*.spec
        tar -cf plain.tar vm-*/
        rm -rf vm-*/
        "#,
        &[dir],
    );
    rpmbuild_of(dir, "source/plain.tar")
}

/// The peak must not depend on the disk's size: 1 GiB of noise on a disk of 1 GiB, and on one of 200 GiB.
fn memory(dir: &Path) {
    println!(
        "\n{:<34} seconds  processor  peak MB  written MB  result MB  ratio",
        ""
    );
    for gib in [1u64, 200] {
        let disk = dir.join(format!("sparse-{gib}.raw"));
        let size = (gib << 30).to_string();
        sh(
            "head -c 1073741824 /dev/urandom >\"$1\"; truncate -s \"$2\" \"$1\"",
            &[&disk, Path::new(&size)],
        );
        guest(dir, "sparse.xml", "raw", &disk);
        let figures = run(dir, &repack("rpm", "out", "sparse.xml"));
        let what = format!("1 GiB of noise on {gib} GiB, raw");
        println!("{what:<34} {}", measure::line(&[figures]));
        fs::remove_file(disk).expect("it is there");
    }
}
