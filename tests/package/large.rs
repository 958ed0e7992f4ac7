//! Images past the limits of 32 bits, and of Debian packages. They take a minute or two, so `make test-packages` runs
//! them; what the headers say of such sizes is tested with every build.

use crate::guest::{Bench, domain, run, stdout};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CLUSTER: usize = 1 << 21;

/// A qcow2 image of clusters of 2 MiB that are full of data and take a few kilobytes each, being compressed.
fn dense(bench: &Bench, clusters: u64) -> PathBuf {
    let content: Vec<u8> = (1..=251).cycle().take(CLUSTER).collect();
    let mut packed = miniz_oxide::deflate::compress_to_vec(&content, 6);
    packed.resize(packed.len().next_multiple_of(512), 0);
    let length = packed.len();
    let stored = u64::try_from(length).unwrap();
    let unit = CLUSTER as u64;
    let first = 5 * unit;
    let end = (first + clusters * stored).next_multiple_of(unit);
    let mut head = vec![0; 5 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    // Magic, version, clusters of 2^21 bytes, the size, L1 with one entry, the refcount table.
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &21u32.to_be_bytes());
    put(24, &(clusters * unit).to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &(3 * unit).to_be_bytes());
    put(48, &unit.to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(CLUSTER, &(2 * unit).to_be_bytes());
    put(3 * CLUSTER, &((4 * unit) | (1 << 63)).to_be_bytes());
    let mut counts = vec![1u16; 5];
    counts.resize(usize::try_from(end / unit).unwrap(), 0);
    for number in 0..clusters {
        let at = first + number * stored;
        for host in at / unit..=(at + stored - 1) / unit {
            counts[usize::try_from(host).unwrap()] += 1;
        }
        // Bit 62: compressed; above bit 49 the sectors after the first.
        let entry = (1 << 62) | ((stored / 512 - 1) << 49) | at;
        put(
            4 * CLUSTER + usize::try_from(number).unwrap() * 8,
            &entry.to_be_bytes(),
        );
    }
    for (number, count) in counts.iter().enumerate() {
        put(2 * CLUSTER + number * 2, &count.to_be_bytes());
    }
    for _ in 0..clusters {
        head.extend(&packed);
    }
    head.resize(usize::try_from(end).unwrap(), 0);
    let path = bench.path("dense.qcow2");
    fs::write(&path, head).unwrap();
    run("qemu-img", |c| c.args(["check", "-q"]).arg(&path));
    path
}

fn repack(bench: &Bench, disk: &Path, arguments: &[&str]) -> Output {
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", disk, "qcow2")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(["repack", "--quiet", "--output"])
        .arg(bench.output())
        .arg(xml)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
#[ignore = "a minute: make test-packages"]
fn an_rpm_holds_an_image_over_four_gibibytes() {
    let bench = Bench::new();
    let disk = dense(&bench, 2100);
    let done = repack(&bench, &disk, &["--to", "rpm,srpm,tar"]);
    assert!(done.status.success(), "{done:?}");
    let mut large = 0;
    for name in bench.results() {
        let path = bench.output().join(&name);
        let found = miniascape::package::verify(&path, &mut |_| {}).unwrap();
        let size = found.files.iter().map(|file| file.size).max().unwrap();
        if !name.ends_with(".noarch.rpm") || size < 1 << 32 {
            continue;
        }
        large += 1;
        run("rpm", |c| c.arg("-K").arg(&path));
        let listed = stdout("rpm", |c| c.args(["-qplv"]).arg(&path));
        assert!(listed.contains(&size.to_string()), "{size}: {listed}");
        let told = stdout("rpm", |c| c.args(["-qp", "--qf", "%{LONGSIZE}"]).arg(&path));
        assert_eq!(told, size.to_string());
        let root = tempfile::tempdir_in(bench.path(".")).unwrap();
        run("rpm", |c| {
            c.args(["-i", "--nodeps", "--dbpath", "/db", "--root"])
                .arg(root.path())
                .arg(&path)
        });
        let file = &found.files[0];
        let image = root.path().join(file.path.trim_start_matches('/'));
        assert_eq!(
            miniascape::image::sha256_file(&image, &mut |_| {}).unwrap(),
            file.digest
        );
        let same = [image.as_path(), &disk];
        run("qemu-img", |c| c.args(["compare", "-q"]).args(same));
    }
    assert_eq!(large, 1);
}

#[test]
#[ignore = "a minute: make test-packages"]
fn what_no_debian_package_holds_is_refused_and_nothing_is_left() {
    let bench = Bench::new();
    let disk = dense(&bench, 4769);
    let done = repack(&bench, &disk, &["--to", "deb", "--compress", "none"]);
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{text}");
    for word in ["vda", "9999999999", "--to rpm,tar"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!bench.output().exists());
}
