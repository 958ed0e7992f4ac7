//! The guest's disk: it boots by itself from a BIOS, without any file of the host.
//!
//! A master boot record and a FAT partition with syslinux, kernel and initramfs, which is the same for all
//! guests and cached; then an ext4 partition with the guest's data, which is made inside the host, so that
//! nothing stays on the machine whenever the test dies.

use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::{Digest, Sha256};

use super::cache;
use super::initramfs;
use super::kernel::{self, Kernel};
use crate::support::command::Command;
use crate::support::error::{Context, LabError, Result};
use crate::support::site::Site;

const SECTOR: u64 = 512;
const MIB: u64 = 1024 * 1024;
/// Where the FAT partition starts.
const BOOT_START: u64 = MIB;
/// Room for a kernel of a size that distributions ship, and its initramfs.
const BOOT_SIZE: u64 = 24 * MIB;
/// Where the data partition starts.
const DATA_START: u64 = BOOT_START + BOOT_SIZE;
const DATA_SIZE: u64 = 12 * MIB;

const MBR_CODE: [&str; 2] = ["/usr/lib/SYSLINUX/mbr.bin", "/usr/lib/syslinux/mbr/mbr.bin"];

/// Self-tests of ciphers and waiting for quiet moments are most of what an emulated kernel's boot need not do.
const SYSLINUX_CONFIG: &str = "DEFAULT lab\nPROMPT 0\nTIMEOUT 0\nLABEL lab\nKERNEL vmlinuz\nINITRD initrd\n\
APPEND console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on \
cryptomgr.notests rcupdate.rcu_expedited=1 audit=0 apparmor=0\n";

/// What a guest's disk is to be.
#[derive(Debug, Clone)]
pub(crate) struct DiskSpec {
    base_marker: String,
    hostname: String,
    format: &'static str,
    agent: bool,
}

impl DiskSpec {
    /// A qcow2 disk whose data partition holds this marker (one line without spaces).
    pub(crate) fn new(base_marker: &str) -> Self {
        assert!(
            !base_marker.is_empty() && !base_marker.contains(char::is_whitespace),
            "a word"
        );
        Self {
            base_marker: base_marker.to_owned(),
            hostname: "guest".to_owned(),
            format: "qcow2",
            agent: false,
        }
    }

    /// With QEMU's guest agent, which runs where the domain has a channel for it.
    pub(crate) fn agent(mut self) -> Self {
        self.agent = true;
        self
    }

    /// The name that the guest tells the DHCP server; by default `guest`.
    pub(crate) fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.hostname);
        self
    }

    /// A raw disk.
    pub(crate) fn raw(mut self) -> Self {
        self.format = "raw";
        self
    }

    /// Makes the disk at `path`, where `site` can write it. The virtual size is below 64 MiB.
    #[track_caller]
    pub(crate) fn make(&self, site: &dyn Site, path: &str) {
        self.try_make(site, path)
            .unwrap_or_else(|error| panic!("no guest disk: {error}"));
    }

    /// [`make`](Self::make) for those who can go on without.
    pub(crate) fn try_make(&self, site: &dyn Site, path: &str) -> Result<()> {
        let boot = boot_image_with(self.agent)?;
        let work = site.at(&["mktemp", "-d"]).try_check()?.text().to_owned();
        let raw = format!("{work}/disk");
        // Written by the program itself, because another user's pipe cannot be opened by its name.
        let output = format!("of={raw}");
        let copy = [
            "dd",
            "status=none",
            "conv=sparse",
            "bs=64K",
            "iflag=fullblock",
            &output,
        ];
        Command::machine(["cat".as_ref(), "--".as_ref(), boot.as_os_str()]).check_into(&site.at(&copy));
        for (name, content) in [("base-marker", &self.base_marker), ("hostname", &self.hostname)] {
            let file = format!("{work}/data/{name}");
            site.at(&["sh", "-c", "mkdir -p \"${0%/*}\" && cat >\"$0\"", &file])
                .stdin(format!("{content}\n"))
                .try_check()?;
        }
        site.at(&["truncate", "-s", &(DATA_START + DATA_SIZE).to_string(), &raw])
            .try_check()?;
        let place = format!("offset={DATA_START},root_owner=0:0");
        let size = format!("{}k", DATA_SIZE / 1024);
        let data = format!("{work}/data");
        site.at(&[
            "mke2fs", "-q", "-F", "-t", "ext4", "-d", &data, "-E", &place, &raw, &size,
        ])
        .try_check()?;
        if let Some(dir) = Path::new(path).parent().and_then(Path::to_str) {
            site.at(&["mkdir", "-p", dir]).try_check()?;
        }
        site.at(&["qemu-img", "convert", "-f", "raw", "-O", self.format, &raw, path])
            .try_check()?;
        site.at(&["rm", "-r", &work]).try_check()?;
        Ok(())
    }
}

/// The markers on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markers {
    /// The one that the disk was made with.
    pub(crate) base: Option<String>,
    /// The one that the running guest wrote.
    pub(crate) guest: Option<String>,
}

impl Markers {
    /// Reads the markers of an image from outside, through its backing chain; the guest must be
    /// off.
    #[track_caller]
    pub(crate) fn read(site: &dyn Site, image: &str) -> Self {
        let work = site.at(&["mktemp", "-d"]).check().text().to_owned();
        let raw = format!("{work}/disk");
        site.at(&["qemu-img", "convert", "-O", "raw", image, &raw])
            .check();
        let data = format!("{raw}?offset={DATA_START}");
        let marker = |name: &str| {
            let shown = site
                .at(&["debugfs", "-R", &format!("cat /{name}"), &data])
                .check();
            assert!(
                !shown.stderr.contains("Bad magic"),
                "{image} has no data partition: {shown}"
            );
            let text = shown.text();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let markers = Self {
            base: marker("base-marker"),
            guest: marker("guest-marker"),
        };
        site.at(&["rm", "-r", &work]).check();
        markers
    }
}

/// The part of the disk that is the same for all guests: a file of the cache.
pub(crate) fn boot_image() -> Result<PathBuf> {
    boot_image_with(false)
}

/// Makes all of them, where there is a way to get what they are made of.
pub(crate) fn boot_images() -> Result<()> {
    boot_image_with(false)?;
    boot_image_with(true).map(drop)
}

fn boot_image_with(agent: bool) -> Result<PathBuf> {
    let mut kernel = Kernel::load()?;
    if agent {
        kernel.parts.agent = kernel::agent()?;
    }
    let initramfs = initramfs::build(&kernel.parts);
    let mbr = MBR_CODE
        .iter()
        .find_map(|path| fs::read(path).ok())
        .ok_or_else(|| {
            LabError::new("syslinux' boot record was not found")
                .remedy("apt-get install syslinux syslinux-common mtools")
        })?;
    let mut hasher = Sha256::new();
    // The name has the version.
    hasher.update(kernel.image.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update(&initramfs);
    hasher.update(&mbr);
    hasher.update(SYSLINUX_CONFIG);
    hasher.update(BOOT_SIZE.to_le_bytes());
    let digest = hasher.finalize();
    let key = digest
        .iter()
        .take(8)
        .fold(0_u64, |key, byte| key << 8 | u64::from(*byte));
    cache::entry(&format!("boot-{key:016x}.img"), |target| {
        let dir = target.parent().unwrap_or(Path::new("/"));
        let fat = fat_partition(dir, &kernel.image, &initramfs)?;
        let mut image = boot_record(&mbr)?;
        image.resize(usize::try_from(BOOT_START).context("the boot image")?, 0);
        image.extend(fs::read(fat).context("the boot image")?);
        fs::write(target, image).context("the boot image")
    })
}

/// A FAT file system that syslinux boots from.
fn fat_partition(dir: &Path, kernel: &Path, initramfs: &[u8]) -> Result<PathBuf> {
    let fat = dir.join("fat");
    fs::File::create(&fat)
        .and_then(|file| file.set_len(BOOT_SIZE))
        .context("the boot image")?;
    let compressed = zstd::encode_all(initramfs, 9).context("the initramfs")?;
    fs::write(dir.join("initrd"), compressed).context("the initramfs")?;
    fs::write(dir.join("syslinux.cfg"), SYSLINUX_CONFIG).context("the boot image")?;
    fs::copy(kernel, dir.join("vmlinuz")).context("the boot image")?;
    let run = |argv: &[&str]| Command::machine(argv).cwd(dir).try_check();
    let (sectors, hidden) = (
        (BOOT_SIZE / SECTOR).to_string(),
        (BOOT_START / SECTOR).to_string(),
    );
    run(&[
        "mformat", "-i", "fat", "-H", &hidden, "-h", "16", "-s", "63", "-T", &sectors, "-v", "LAB", "::",
    ])?;
    run(&["syslinux", "--install", "fat"])?;
    run(&["mcopy", "-i", "fat", "vmlinuz", "initrd", "syslinux.cfg", "::"])?;
    Ok(fat)
}

/// The master boot record: syslinux' code and a table of two partitions.
fn boot_record(code: &[u8]) -> Result<Vec<u8>> {
    /// Where the disk's signature, the table and the mark at the end are.
    const SIGNATURE: usize = 440;
    const TABLE: usize = 446;
    const FAT16_LBA: u8 = 0x0e;
    const LINUX: u8 = 0x83;
    if code.len() > SIGNATURE {
        return Err(LabError::new("syslinux' boot record is too long"));
    }
    let mut record = code.to_vec();
    record.resize(SIGNATURE, 0);
    record.extend_from_slice(b"lab!");
    record.resize(TABLE, 0);
    for (active, kind, start, size) in [
        (0x80, FAT16_LBA, BOOT_START, BOOT_SIZE),
        (0x00, LINUX, DATA_START, DATA_SIZE),
    ] {
        // Cylinder, head and sector are all "beyond what can be said": readers use the sector numbers.
        record.extend_from_slice(&[active, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
        for bytes in [start, size] {
            let sectors = u32::try_from(bytes / SECTOR).context("the boot record")?;
            record.extend_from_slice(&sectors.to_le_bytes());
        }
    }
    record.resize(510, 0);
    record.extend_from_slice(&[0x55, 0xaa]);
    Ok(record)
}
