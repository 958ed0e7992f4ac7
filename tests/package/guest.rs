//! Guests to pack: disks with known content, and domain XML that names them.

use fs_err as fs;
use miniascape::name::PackageVersion;
use miniascape::package::{Activity, Codec, DiskChoice, Options, Request, Target, Timestamp};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// 2026-01-02 03:04:05 UTC.
pub(crate) const CREATED: i64 = 1_767_323_045;

/// A directory with a guest's disks and a place for results.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// The path has a space in it, because nothing may depend on its absence.
    pub(crate) fn new() -> Self {
        Self::below("a bench ")
    }

    pub(crate) fn below(prefix: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .expect("a temporary directory");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.path("out put")
    }

    /// A raw image of 10 MiB and 512 bytes with some text, some noise and many holes.
    pub(crate) fn raw(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let mut content = vec![0u8; 10 * 1024 * 1024 + 512];
        let mut state = 1u32;
        for byte in &mut content[3_000_000..3_300_000] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
        content[1_048_576..1_048_576 + 11].copy_from_slice(b"base marker");
        let end = content.len();
        content[end - 3..].copy_from_slice(b"end");
        fs::create_dir_all(path.parent().expect("a directory")).expect("the disk's directory");
        fs::write(&path, content).expect("a raw disk");
        path
    }

    /// A qcow2 copy of `raw`.
    pub(crate) fn qcow2(&self, raw: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("the disk's directory");
        run("qemu-img", |c| {
            c.args(["convert", "-f", "raw", "-O", "qcow2"])
                .arg(raw)
                .arg(&path)
        });
        path
    }

    /// An overlay whose header names `backing` as given, with data of its own, and with a part of the base zeroed.
    pub(crate) fn overlay(&self, name: &str, backing: &str, format: &str, size: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("the disk's directory");
        run("qemu-img", |c| {
            c.args(["create", "-q", "-f", "qcow2", "-b", backing, "-F", format])
                .arg(&path)
                .arg(size)
        });
        for write in [
            "write -P 0xd1 5M 100k",
            "write -z 3000000 65536",
            "write -P 0xd2 10M 512",
        ] {
            run("qemu-io", |c| c.args(["-f", "qcow2", "-c", write]).arg(&path));
        }
        path
    }

    pub(crate) fn options(&self, targets: &[Target]) -> Options {
        Options {
            repository: false,
            targets: targets.iter().copied().collect(),
            output: self.output(),
            work: None,
            codec: Codec::default(),
            created: Timestamp::from_epoch(CREATED).expect("a moment"),
            caller: None,
        }
    }

    /// Names of all that is in the output directory, hidden files too; empty if there is none.
    pub(crate) fn results(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.output()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

/// The test domain's XML with these values filled in.
pub(crate) fn domain(name: &str, disk: &Path, format: &str) -> String {
    include_str!("../data/package/domain.xml")
        .replace("@NAME@", name)
        .replace("@DISK@", &disk.to_str().expect("UTF-8").replace('\'', "&apos;"))
        .replace("@FORMAT@", format)
}

pub(crate) fn request(xml: String) -> Request {
    Request {
        xml,
        xml_is_public: true,
        libvirt_knows: false,
        activity: Activity::Off,
        version: version("0.1"),
        renamed_from: Vec::new(),
        disks: DiskChoice::default(),
        volumes: Vec::new(),
        with_tpm: false,
        definitions: Vec::new(),
        seal: None,
        earlier: None,
        reservations: Vec::new(),
        allowed_backing: Vec::new(),
    }
}

pub(crate) fn version(text: &str) -> PackageVersion {
    text.parse().expect("a version")
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8");
    let output = arguments(&mut command).output().expect(program);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Standard output of a program that must succeed.
pub(crate) fn stdout(program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> String {
    String::from_utf8(run(program, arguments).stdout).expect("UTF-8")
}
