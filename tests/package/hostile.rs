//! Package files that someone made to do harm: sizes without end, bombs, members in another order. Reading them takes
//! little memory, and leaves nothing.

use crate::guest::Bench;
use crate::verify::{CONTROL, GUEST, ar_member, check, deb, entry};
use fs_err as fs;
use std::io::Write;
use std::process::Command;

/// What `package verify` says of the file, with little memory and an empty directory to leave things in.
fn refused(bench: &Bench, name: &str, bytes: &[u8], word: &str) {
    let bad = bench.path(name);
    fs::write(&bad, bytes).unwrap();
    let empty = bench.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let output = Command::new("prlimit")
        .args([
            "--as=300000000",
            "--core=0",
            env!("CARGO_BIN_EXE_miniascape"),
            "package",
            "verify",
        ])
        .arg(&bad)
        .current_dir(&empty)
        .env("TMPDIR", &empty)
        .output()
        .expect("prlimit");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}: {text}");
    assert!(text.contains(name) && text.contains(word), "{word}: {text}");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    fs::remove_file(bad).unwrap();
}

/// `size` zeros, a thousandth of that packed.
fn zeros(size: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&piece).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn bombs_are_refused_in_little_memory() {
    let bench = Bench::new();
    let control = deb(&[("control", CONTROL)], |_| {});
    let front = control
        .windows(8)
        .position(|window| window == b"data.tar")
        .unwrap();
    let with_data = |name: &str, data: &[u8]| [&control[..front], &ar_member(name, data)].concat();

    // Nothing but zeros, far more than memory.
    let many = zeros(2 << 30);
    refused(&bench, "zeros.tar.zst", &many, "zeros without end");
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, "t/x", 0o644, b"x");
    let start = zstd::encode_all(&tar.into_inner().unwrap()[..1024], 1).unwrap();
    refused(
        &bench,
        "after.tar.zst",
        &[start, many.clone()].concat(),
        "zeros without end",
    );
    refused(
        &bench,
        "zeros.deb",
        &with_data("data.tar.zst", &many),
        "zeros without end",
    );
    let big = ar_member("control.tar.zst", &many);
    let front = control
        .windows(11)
        .position(|window| window == b"control.tar")
        .unwrap();
    refused(
        &bench,
        "control.deb",
        &[&control[..front], &big].concat(),
        "control.tar",
    );

    // A text that is larger than any text.
    let mut header = tar::Header::new_gnu();
    header.set_path("t/README.md").unwrap();
    header.set_mode(0o644);
    header.set_size(2 << 30);
    header.set_cksum();
    let start = zstd::encode_all(&header.as_bytes()[..], 1).unwrap();
    refused(&bench, "text.tar.zst", &[start, many].concat(), "larger than");

    // Windows that would take all memory.
    let mut window = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8];
    window.extend([1, 0, 0]);
    refused(&bench, "window.tar.zst", &window, "memory");
    let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    options
        .dict_size(512 << 20)
        .match_finder(liblzma::stream::MatchFinder::HashChain3);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let stream =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(&[1; 2000]).unwrap();
    refused(&bench, "window.tar.xz", &encoder.finish().unwrap(), "memory");
}

#[test]
fn sizes_orders_and_repetitions_that_lie_are_refused() {
    let bench = Bench::new();
    // Lengths that no file has.
    for size in [i64::MAX.cast_unsigned(), u64::MAX, 1 << 62] {
        let data = |tar: &mut tar::Builder<Vec<u8>>| {
            let mut header = tar::Header::new_gnu();
            header.set_path(format!("{GUEST}/domain.xml")).unwrap();
            header.set_mode(0o600);
            header.set_size(size);
            header.set_cksum();
            tar.append(&header, &b"x"[..]).unwrap();
        };
        refused(
            &bench,
            "long.deb",
            &deb(&[("control", CONTROL)], data),
            "larger than",
        );
    }
    let mut long = deb(&[("control", CONTROL)], |_| {});
    let at = long.windows(8).position(|window| window == b"data.tar").unwrap();
    long[at + 48..at + 58].copy_from_slice(b"9999999999");
    refused(&bench, "size.deb", &long, "the file ends");
    long[at + 48..at + 58].copy_from_slice(b"-1        ");
    refused(&bench, "size.deb", &long, "without length");

    // The same file twice, and members in another order.
    let twice = deb(&[("control", CONTROL)], |tar| {
        for content in [b"x", b"y"] {
            entry(tar, &format!("{GUEST}/domain.xml"), 0o600, content);
        }
    });
    refused(&bench, "twice.deb", &twice, "twice");
    let whole = deb(&[("control", CONTROL)], |_| {});
    let [control, data] = [&b"control.tar"[..], b"data.tar"]
        .map(|name| whole.windows(name.len()).position(|w| w == name).unwrap());
    let swapped = [&whole[..control], &whole[data..], &whole[control..data]].concat();
    refused(&bench, "order.deb", &swapped, "not control.tar");

    // Extended headers that lead elsewhere, and one that dpkg would not read.
    let extended = |text: &str| {
        // The length counts its own two digits.
        let record = format!("{} {text}\n", text.len() + 4);
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_path("x").unwrap();
        header.set_size(record.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, record.as_bytes()).unwrap();
        entry(&mut tar, "t/x", 0o644, b"x");
        tar.into_inner().unwrap()
    };
    refused(
        &bench,
        "pax.tar",
        &extended("path=t/../../etc/passwd"),
        "climbs out",
    );
    refused(&bench, "pax.tar", &extended("path=/etc/passwd"), "absolute");
    refused(
        &bench,
        "pax.tar",
        &extended("size=9999999999999999999"),
        "larger than",
    );
    refused(&bench, "pax.tar", &extended("GNU.sparse.major=1"), "GNU.sparse");
    let data = extended("comment=dpkg reads none");
    let front = &whole[..data_start(&whole)];
    refused(
        &bench,
        "pax.deb",
        &[front, &ar_member("data.tar", &data)].concat(),
        "neither file nor directory",
    );
    assert!(check(&bench.path("none")).is_err());
}

fn data_start(deb: &[u8]) -> usize {
    deb.windows(8).position(|window| window == b"data.tar").unwrap()
}
