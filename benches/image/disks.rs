//! The test disks: one with a file system full of real files, and a clone of it of which 2 % are changed.

use fs_err as fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the disk and of the files on it, in bytes.
const DISK: &str = "8G";
const FILES: u64 = 2_200 << 20;
const CLUSTER: u64 = 65536;

/// Where the test disks are.
pub(crate) struct Disks {
    pub(crate) dir: PathBuf,
    pub(crate) disk: PathBuf,
    pub(crate) clone: PathBuf,
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(status.success(), "{program} {arguments:?}");
}

impl Disks {
    /// Makes the disks unless an earlier run has left them, and reads them once.
    pub(crate) fn prepare(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("a place for the test disks");
        let disks = Self {
            dir: dir.to_owned(),
            disk: dir.join("disk.qcow2"),
            clone: dir.join("clone.qcow2"),
        };
        if !disks.clone.exists() {
            disks.make();
        }
        for image in [&disks.disk, &disks.clone] {
            let bytes = std::io::copy(
                &mut fs::File::open(image).expect("it was made"),
                &mut std::io::sink(),
            );
            println!(
                "{}: {} MB",
                image.display(),
                bytes.expect("it can be read") / 1_000_000
            );
        }
        disks
    }

    fn make(&self) {
        let text = |path: &Path| path.to_str().expect("a plain name").to_owned();
        let (tree, raw) = (self.dir.join("tree"), self.dir.join("raw"));
        let _ = fs::remove_dir_all(&tree);
        let _ = fs::remove_file(&raw);
        gather(&tree);
        run(
            "mke2fs",
            &["-q", "-t", "ext4", "-d", &text(&tree), &text(&raw), DISK],
        );
        fs::remove_dir_all(&tree).expect("it is ours");
        run(
            "qemu-img",
            &[
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                &text(&raw),
                &text(&self.disk),
            ],
        );
        change(&raw);
        let part = self.dir.join("clone.part");
        run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "qcow2", &text(&raw), &text(&part)],
        );
        fs::remove_file(&raw).expect("it is ours");
        fs::rename(part, &self.clone).expect("in one directory");
    }
}

/// Links or copies files of this machine's `/usr`, in the order of their names.
fn gather(tree: &Path) {
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new("/usr")
        .sort_by_file_name()
        .into_iter()
        .flatten()
    {
        let to = tree.join(entry.path().strip_prefix("/").expect("it is absolute"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&to).expect("a new directory");
        } else if entry.file_type().is_file() && bytes < FILES {
            if fs::hard_link(entry.path(), &to).is_err() && fs::copy(entry.path(), &to).is_err() {
                continue;
            }
            bytes += entry.metadata().map_or(0, |meta| meta.len());
        }
    }
}

/// Changes 2 % of the clusters that have data: half of them in runs of 1 to 32, half alone; 70 % whole clusters, 30 %
/// one page of them.
fn change(raw: &Path) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(raw)
        .expect("it was made");
    let mut buffer = vec![0; usize::try_from(CLUSTER).expect("small")];
    let clusters = file.metadata().expect("it is open").len() / CLUSTER;
    let used: Vec<u64> = (0..clusters)
        .filter(|cluster| {
            file.read_exact_at(&mut buffer, cluster * CLUSTER)
                .expect("whole clusters");
            buffer.iter().any(|byte| *byte != 0)
        })
        .collect();
    let mut state = 42u64;
    let mut dice = move |below: usize| {
        // Knuth's MMIX generator; the upper bits are good enough here.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let wanted = used.len() / 50;
    let mut changed = 0;
    while changed < wanted {
        let run = if changed < wanted / 2 { 1 + dice(32) } else { 1 };
        let first = dice(used.len());
        for cluster in used.iter().skip(first).take(run) {
            let length = if dice(10) < 7 { buffer.len() } else { 4096 };
            for byte in &mut buffer[..length] {
                *byte = u8::try_from(dice(256)).expect("a byte");
            }
            file.write_all_at(&buffer[..length], cluster * CLUSTER)
                .expect("the disk has room");
            changed += 1;
        }
    }
}
