//! `cargo bench --bench image [WHAT…]`: the image engine beside qemu-img, on a disk of 8 GiB that holds 2.2 GiB of this
//! machine's own files. WHAT is convert, synced, delta, packed or memory (the
//! program's own); all of them by default. Figures are printed; nothing passes or fails by them.
//!
//! The test disks are kept in `target/bench-image`, or in the directory `MINIASCAPE_BENCH_IMAGES`; 12 GB have to be free there.
//! `MINIASCAPE_BENCH_RUNS` is the number of runs. qemu-img, mke2fs, GNU time and a `/usr` are needed.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

mod disks;
mod memory;

use disks::Disks;
use fs_err as fs;
use miniascape::image::{Disk, Format, Plan};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// Each thing is measured so often, in turns with what it is compared with.
const RUNS: usize = 5;

type Race = fn(&Disks);
const RACES: [(&str, Race); 5] = [
    ("convert", convert),
    ("synced", synced),
    ("delta", delta),
    ("packed", packed),
    ("memory", memory::memory),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for word in &wanted {
        assert!(RACES.iter().any(|(name, _)| name == word), "unknown: {word}");
    }
    let dir = std::env::var_os("MINIASCAPE_BENCH_IMAGES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-image"),
        PathBuf::from,
    );
    let disks = Disks::prepare(&dir);
    println!(
        "medians of {} runs in turns, page cache warm, nothing synced unless said\n",
        runs()
    );
    for (name, race) in RACES {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            race(&disks);
        }
    }
}

fn runs() -> usize {
    let text = std::env::var_os("MINIASCAPE_BENCH_RUNS");
    text.map_or(RUNS, |text| {
        text.to_str()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    })
}

fn open(path: &Path) -> Arc<Disk> {
    Arc::new(Disk::open(path, Format::Qcow2, &|_, _| false).expect("the test disk is sound"))
}

fn file(path: &Path) -> fs::File {
    fs::File::create(path).expect("the directory is ours")
}

fn qemu_img(arguments: &[&str]) {
    let status = Command::new("qemu-img")
        .args(arguments)
        .status()
        .expect("qemu-img is installed");
    assert!(status.success(), "qemu-img {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// What is measured: its name, and how it writes the file that it is given.
type Thing<'a> = (&'a str, &'a dyn Fn(&Path));

/// Runs the things in turns and prints the medians, the sizes of what they wrote, and the ratio to the first.
fn race(title: &str, disks: &Disks, things: &[Thing<'_>]) {
    let out = disks.dir.join("out.qcow2");
    let mut seconds = vec![Vec::new(); things.len()];
    let mut sizes = vec![0; things.len()];
    for _ in 0..runs() {
        for (number, (_, work)) in things.iter().enumerate() {
            let _ = fs::remove_file(&out);
            rustix::fs::sync();
            let begun = Instant::now();
            work(&out);
            seconds[number].push(begun.elapsed().as_secs_f64());
            sizes[number] = fs::metadata(&out).expect("it was written").len();
        }
    }
    println!("{title}");
    let median = |runs: &[f64]| {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let reference = median(&seconds[0]);
    for ((name, _), (runs, size)) in things.iter().zip(seconds.iter().zip(sizes)) {
        let spent = median(runs);
        println!(
            "  {name:44} {spent:7.2} s  {:6.2} of the first  {:6} MB",
            spent / reference,
            size / 1_000_000
        );
    }
    println!();
    let _ = fs::remove_file(&out);
}

fn convert_by_us(from: &Path, out: &Path) -> fs::File {
    let plan = Plan::flat(&open(from), 65536, &mut |_| {}).expect("it can be read");
    let out = file(out);
    plan.write_file(&out, &mut |_| {}).expect("there is room");
    out
}

fn convert(disks: &Disks) {
    race(
        "qcow2 to qcow2",
        disks,
        &[
            ("qemu-img convert -m 16 -W", &|out| {
                qemu_img(&[
                    "convert",
                    "-m",
                    "16",
                    "-W",
                    "-O",
                    "qcow2",
                    text(&disks.disk),
                    text(out),
                ]);
            }),
            ("image convert", &|out| drop(convert_by_us(&disks.disk, out))),
        ],
    );
}

fn synced(disks: &Disks) {
    race(
        "qcow2 to qcow2, and synced",
        disks,
        &[
            ("qemu-img convert -m 16 -W, sync", &|out| {
                qemu_img(&[
                    "convert",
                    "-m",
                    "16",
                    "-W",
                    "-O",
                    "qcow2",
                    text(&disks.disk),
                    text(out),
                ]);
                fs::File::open(out)
                    .and_then(|file| file.sync_all())
                    .expect("a file can be synced");
            }),
            ("image convert", &|out| {
                convert_by_us(&disks.disk, out)
                    .sync_all()
                    .expect("a file can be synced");
            }),
        ],
    );
}

fn packed(disks: &Disks) {
    let ours = |cluster: u64, level: i32, out: &Path| {
        let plan = Plan::flat(&open(&disks.disk), cluster, &mut |_| {}).expect("it can be read");
        plan.write_packed(&file(out), level, &mut |_| {})
            .expect("there is room");
    };
    let theirs = |options: &str, out: &Path| {
        qemu_img(&[
            "convert",
            "-c",
            "-o",
            options,
            "-m",
            "16",
            "-W",
            "-O",
            "qcow2",
            text(&disks.disk),
            text(out),
        ]);
    };
    race(
        "qcow2 to qcow2, clusters of 64 KiB compressed by zstd",
        disks,
        &[
            ("qemu-img convert -c -m 16 -W", &|out| {
                theirs("compression_type=zstd", out);
            }),
            ("image convert --compress", &|out| ours(65536, 3, out)),
            ("image convert --compress --level 1", &|out| ours(65536, 1, out)),
        ],
    );
    race(
        "the same with clusters of 2 MiB",
        disks,
        &[
            ("qemu-img convert -c -m 16 -W", &|out| {
                theirs("compression_type=zstd,cluster_size=2M", out);
            }),
            ("image convert --compress", &|out| ours(2 << 20, 3, out)),
            ("image convert --compress --level 2", &|out| ours(2 << 20, 2, out)),
            ("image convert --compress --level 1", &|out| ours(2 << 20, 1, out)),
        ],
    );
}

fn delta(disks: &Disks) {
    race(
        "delta of a clone with 2 % of its clusters changed",
        disks,
        &[
            ("overlay on the clone's copy, qemu-img rebase", &|out| {
                qemu_img(&[
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-b",
                    text(&disks.clone),
                    "-F",
                    "qcow2",
                    text(out),
                ]);
                qemu_img(&[
                    "rebase",
                    "-f",
                    "qcow2",
                    "-b",
                    text(&disks.disk),
                    "-F",
                    "qcow2",
                    text(out),
                ]);
            }),
            ("image delta", &|out| {
                let base = open(&disks.disk);
                let plan =
                    Plan::delta(&open(&disks.clone), &base, 65536, &mut |_| {}).expect("they can be read");
                let plan = plan.on("disk.qcow2", Format::Qcow2).expect("a short name");
                plan.write_file(&file(out), &mut |_| {}).expect("there is room");
            }),
        ],
    );
}
