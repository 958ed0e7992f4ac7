//! The guest's kernel, modules, busybox and DHCPv6 client: from Debian's packages, downloaded and unpacked, not installed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use fs_err as fs;
use walkdir::WalkDir;

use super::cache;
use super::initramfs::Parts;
use crate::support::command::Command;
use crate::support::error::{Context, LabError, Result};

/// The modules that a guest needs where they are not built into the kernel.
const MODULES: [&str; 7] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "ext4",
    "button",
    "evdev",
];

/// A kernel and what goes with it into an initramfs.
pub(super) struct Kernel {
    /// The bootable image.
    pub(super) image: PathBuf,
    /// busybox and modules.
    pub(super) parts: Parts,
}

impl Kernel {
    /// Finds it in the cache or downloads it.
    pub(super) fn load() -> Result<Self> {
        let tree = cache::entry("guest-packages", |tree| {
            fs::create_dir(tree).context("the lab's cache")?;
            download("linux-image-cloud-amd64", true, tree)?;
            download("busybox-static", false, tree)?;
            decompress_modules(tree)
        })?;
        let find = |dir: &str, prefix: &str| {
            fs::read_dir(tree.join(dir))
                .into_iter()
                .flatten()
                .flatten()
                .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path())
                .ok_or_else(|| {
                    let dir = tree.display();
                    LabError::new(format!("no {prefix} in {dir}"))
                        .remedy(format!("rm -r {dir}, then run again"))
                })
        };
        let client = cache::entry("guest-dhcpcd", |tree| {
            fs::create_dir(tree).context("the lab's cache")?;
            download("dhcpcd-base", false, tree)
        })?;
        let client = ["usr/sbin/dhcpcd", "sbin/dhcpcd"].map(|place| client.join(place));
        let client = client
            .iter()
            .find(|path| path.exists())
            .ok_or_else(|| LabError::new("the package dhcpcd-base has no dhcpcd"))?;
        // Either place, before and after the merge of /bin into /usr/bin.
        let busybox = find("bin", "busybox").or_else(|_| find("usr/bin", "busybox"))?;
        let modules = find("lib/modules", "").or_else(|_| find("usr/lib/modules", ""))?;
        Ok(Self {
            image: find("boot", "vmlinuz-")?,
            parts: Parts {
                busybox: fs::read(busybox).context("the guest's busybox")?,
                modules: modules_in_order(&modules)?,
                dhcp6_client: fs::read(client).context("the guest's DHCPv6 client")?,
                libraries: libraries(client)?,
                agent: Vec::new(),
            },
        })
    }
}

/// QEMU's guest agent with the libraries that it needs, by their paths from the root.
pub(super) fn agent() -> Result<Vec<(String, Vec<u8>)>> {
    let tree = cache::entry("guest-agent", |tree| {
        fs::create_dir(tree).context("the lab's cache")?;
        download("qemu-guest-agent", false, tree)
    })?;
    let program = tree.join("usr/sbin/qemu-ga");
    let mut files = libraries(&program)?;
    files.push((
        "bin/qemu-ga".to_owned(),
        fs::read(program).context("the guest's agent")?,
    ));
    Ok(files)
}

/// Downloads a package (the one that it depends on for a `meta` package) and unpacks it into `tree`.
fn download(package: &str, meta: bool, tree: &Path) -> Result<()> {
    let update = |error: LabError| {
        LabError::new(format!("cannot download the Debian package {package}: {error}"))
            .remedy("apt-get update (as root), and a network or a Debian mirror")
    };
    let mut name = package.to_owned();
    if meta {
        let depends = Command::machine(["apt-cache", "depends", "--important", package])
            .try_check()
            .map_err(update)?;
        name = depends
            .stdout
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
            .map(|version| format!("linux-image-{version}"))
            .ok_or_else(|| update(LabError::new("no candidate")))?;
    }
    let dir = tempfile::tempdir_in(tree.parent().unwrap_or(tree)).context("the lab's cache")?;
    // The empty cache names keep apt from writing anything but the package.
    let quiet = [
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "APT::Sandbox::User=root",
    ];
    let options = quiet.iter().flat_map(|option| ["-o", option]);
    let fetch = ["apt-get", "-q"]
        .into_iter()
        .chain(options)
        .chain(["download", &name]);
    Command::machine(fetch)
        .cwd(dir.path())
        .try_check()
        .map_err(update)?;
    let file = fs::read_dir(dir.path())
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .ok_or_else(|| update(LabError::new("apt-get left no file")))?;
    Command::machine([
        "dpkg-deb".as_ref(),
        "-x".as_ref(),
        file.path().as_os_str(),
        tree.as_os_str(),
    ])
    .try_check()?;
    Ok(())
}

/// The shared libraries that a program of the machine's own distribution needs, by the paths at which it looks for them.
fn libraries(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let listed = Command::machine(["ldd".as_ref(), program.as_os_str()]).try_check()?;
    // `NAME => PATH (ADDRESS)`, or the loader's path alone; the kernel's own library has no path.
    let paths = listed.stdout.lines().filter_map(|line| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(str::to_owned)
    });
    let mut all = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).context("a library of a program of the guest")?;
        all.push((path.trim_start_matches('/').to_owned(), bytes));
    }
    match listed.stdout.lines().find(|line| line.contains("not found")) {
        Some(missing) => Err(LabError::new(format!(
            "a program of the guest needs {}",
            missing.trim()
        ))),
        None => Ok(all),
    }
}

/// Newer kernels come with compressed modules.
fn decompress_modules(tree: &Path) -> Result<()> {
    let is_compressed = |path: &Path| path.to_string_lossy().ends_with(".ko.xz");
    let files: Vec<PathBuf> = WalkDir::new(tree)
        .into_iter()
        .flatten()
        .map(walkdir::DirEntry::into_path)
        .filter(|path| is_compressed(path))
        .collect();
    for some in files.chunks(500) {
        Command::machine(
            ["xz".as_ref(), "-d".as_ref()]
                .into_iter()
                .chain(some.iter().map(|f| f.as_os_str())),
        )
        .try_check()?;
    }
    Ok(())
}

/// The wanted modules with everything that they depend on, dependencies first.
fn modules_in_order(dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let builtin = fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
    let mut known: HashSet<String> = builtin
        .lines()
        .filter_map(|line| module_name(Path::new(line)))
        .collect();
    let files: HashMap<String, PathBuf> = WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((module_name(entry.path())?, entry.into_path())))
        .collect();
    let mut order = Vec::new();
    for module in MODULES {
        insert(module, &files, &mut known, &mut order)?;
    }
    Ok(order)
}

fn insert(
    module: &str,
    files: &HashMap<String, PathBuf>,
    known: &mut HashSet<String>,
    order: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if !known.insert(module.to_owned()) {
        return Ok(());
    }
    let file = files
        .get(module)
        .ok_or_else(|| LabError::new(format!("the guest's kernel has no {module}")))?;
    let bytes = fs::read(file).context("a kernel module")?;
    for needed in depends(&bytes) {
        insert(&needed, files, known, order)?;
    }
    order.push((module.to_owned(), bytes));
    Ok(())
}

/// The name of the module in a file `NAME.ko`; the kernel takes hyphens for underscores.
fn module_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".ko")?.replace('-', "_"))
}

/// What the module says in its `.modinfo` section: `depends=a,b`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}
