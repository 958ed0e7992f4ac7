//! The most memory that the program takes for disks of 1 GiB and of 200 GiB: both hold the same 256 MiB of data, spread
//! over all of the disk.

use super::{disks::Disks, file, qemu_img, text};
use fs_err as fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Command;

const PIECE: usize = 1 << 20;
const PIECES: u64 = 256;

pub(crate) fn memory(disks: &Disks) {
    println!("peak memory of the program, and its seconds");
    for gibibytes in [1, 200] {
        let at = |name: &str| disks.dir.join(format!("memory-{name}"));
        let (raw, base, disk, out) = (at("raw"), at("base"), at("disk"), at("out"));
        let spread = |changed: u64| {
            let size = gibibytes << 30;
            let file = file(&raw);
            file.set_len(size).expect("a sparse file");
            let mut random = fs::File::open("/dev/urandom").expect("Linux has it");
            let mut piece = vec![0; PIECE];
            for number in 0..PIECES {
                if number < changed {
                    random.read_exact(&mut piece).expect("it never ends");
                } else {
                    // As good as any text that can be compressed, and the same in both disks.
                    piece
                        .iter_mut()
                        .zip((number..).step_by(7))
                        .for_each(|(byte, n)| *byte = u8::try_from(n % 251).expect("it is below 251"));
                }
                file.file()
                    .write_all_at(&piece, size / PIECES * number)
                    .expect("there is room");
            }
        };
        for (image, changed) in [(&base, 0), (&disk, 5)] {
            spread(changed);
            qemu_img(&["convert", "-f", "raw", "-O", "qcow2", text(&raw), text(image)]);
        }
        fs::remove_file(&raw).expect("it is ours");
        for arguments in [
            &["convert", text(&disk), text(&out)][..],
            &["convert", text(&disk), text(&out), "--compress"],
            &[
                "convert",
                text(&disk),
                text(&out),
                "--cluster-size",
                "2M",
                "--compress",
            ],
            &["convert", text(&disk), text(&out), "--to", "raw"],
            &["delta", "--base", text(&base), text(&disk), text(&out)],
            &["verify", text(&disk), "--content"],
        ] {
            let told = Command::new("time")
                .args(["-f", "%M %e", env!("CARGO_BIN_EXE_miniascape"), "-q", "image"])
                .args(arguments)
                .output()
                .expect("GNU time is installed");
            let said = String::from_utf8_lossy(&told.stderr);
            assert!(told.status.success(), "{arguments:?}: {said}");
            let (peak, seconds) = said.trim().split_once(' ').expect("two numbers");
            let peak: u64 = peak.parse().expect("KiB");
            let shown: Vec<_> = arguments
                .iter()
                .filter(|word| !word.starts_with('/'))
                .copied()
                .collect();
            println!(
                "  {gibibytes:3} GiB  {:32} {:4} MB {seconds:>7} s",
                shown.join(" "),
                peak * 1024 / 1_000_000
            );
            let _ = fs::remove_file(&out);
        }
        for image in [base, disk] {
            fs::remove_file(image).expect("it is ours");
        }
    }
    println!();
}
