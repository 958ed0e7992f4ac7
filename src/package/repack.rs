//! From domain XML to finished packages: look at the disks, plan, then build.
//!
//! The two halves are apart, so that a caller can show what will not travel before any byte is copied.

use super::manifest::{DiskSection, FORMAT, Manifest, PackageSection, Timestamp};
use super::plan::{Activity, Plan, PlanError, Reservation, plan, select};
use super::progress::{Progress, Step};
use super::render::Texts;
use super::text::Line;
use super::tree::Tree;
use super::work::{WorkDir, publish};
use super::{deb, images, rpm};
use crate::domain::Domain;
use crate::host::CommandError;
use crate::image::{self, Format, ImageError};
use crate::name::{Digest, PackageVersion};
use fs_err as fs;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// RPM release and Debian revision of all packages.
const RELEASE: u32 = 1;

/// Why a guest could not be packed. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// It cannot be packed as it is; nothing was written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An image could not be read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A program is missing or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The build tree is there already; it may hold someone's work.
    #[error("{} is there already: remove it or choose another output directory", path.display())]
    TreeExists {
        /// The tree.
        path: PathBuf,
    },
    /// A compiled-in template is broken.
    #[error("a text of the package could not be made: {0}")]
    Template(#[from] tera::Error),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What to make of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// RPM packages.
    Rpm,
    /// Debian packages.
    Deb,
    /// The build tree as a `.tar.zst`, which `rpmbuild -ta` takes.
    SourceTarball,
    /// The build tree itself, a directory.
    BuildTree,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rpm, Self::Deb, Self::SourceTarball, Self::BuildTree];

    /// The name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Deb => "deb",
            Self::SourceTarball => "source-tarball",
            Self::BuildTree => "build-tree",
        }
    }
}

/// What is to be packed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The domain XML, that of the stopped domain.
    pub xml: String,
    /// Whether the guest is off.
    pub activity: Activity,
    /// The guest package's version.
    pub version: PackageVersion,
    /// What this host's networks reserve; entries for other guests are ignored.
    pub reservations: Vec<Reservation>,
    /// Directories (or files) outside the disk's own directory where a raw backing file may lie. A qcow2 backing
    /// file may lie anywhere, and so may one that the domain XML names itself.
    pub allowed_backing: Vec<PathBuf>,
}

/// Where and how the results are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to make.
    pub targets: BTreeSet<Target>,
    /// Where the results go; made when missing.
    pub output: PathBuf,
    /// Where the working directory is made; `None` is beside the results, so that they need not be copied.
    pub work: Option<PathBuf>,
    /// The time that everything made carries.
    pub created: Timestamp,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// What it is.
    pub kind: Target,
    /// The package it holds, or the guest package that it makes.
    pub package: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes; for a tree that of all files.
    pub size: u64,
    /// SHA-256; none for a tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repacked {
    /// The results, guest package first in each kind.
    pub files: Vec<OutputFile>,
    /// The manifest that is in them.
    pub manifest: Manifest,
}

/// Looks at the guest's disk and decides what will be done. Reads headers only and writes nothing.
pub fn prepare(request: &Request) -> Result<Plan, RepackError> {
    let domain = Domain::parse(&request.xml).map_err(PlanError::from)?;
    let disk = select(&domain, request.activity)?;
    let own_dir = fs::canonicalize(disk.path.parent().unwrap_or(Path::new("/"))).ok();
    let allow = |backing: &Path, format: Format| {
        let Ok(real) = fs::canonicalize(backing) else {
            // Not there: opening it says so.
            return true;
        };
        let declared = || {
            disk.declared_backing
                .iter()
                .any(|path| fs::canonicalize(path).is_ok_and(|path| path == real))
        };
        let allowed = || {
            request
                .allowed_backing
                .iter()
                .any(|path| fs::canonicalize(path).is_ok_and(|path| real.starts_with(path)))
        };
        // Only a raw "image" can be a file that was never a disk.
        format == Format::Qcow2 || real.parent() == own_dir.as_deref() || declared() || allowed()
    };
    let chain = image::chain(&disk.path, disk.format, &allow)?;
    let reservations = &request.reservations;
    Ok(plan(
        &request.xml,
        &disk,
        chain,
        request.version.clone(),
        reservations,
    )?)
}

/// Carries a plan out.
pub fn build(plan: &Plan, options: &Options, progress: &dyn Progress) -> Result<Repacked, RepackError> {
    let output = std::path::absolute(&options.output)?;
    let tree_path = output.join(format!("{}-repacked-{}", plan.package, plan.version));
    if options.targets.contains(&Target::BuildTree) && tree_path.symlink_metadata().is_ok() {
        return Err(RepackError::TreeExists { path: tree_path });
    }
    fs::create_dir_all(&output)?;
    let work = match &options.work {
        Some(parent) => WorkDir::create(&std::path::absolute(parent)?)?,
        None => WorkDir::create(&output)?,
    };
    let dir = work.path().join("tree");
    crate::host::files::make_dir(&dir, 0o700)?;
    let layers = images::write(&plan.disk, &dir, progress)?;
    let manifest = manifest(plan, layers, options.created);
    let texts = Texts::new(&manifest)?;
    let tree = Tree::complete(&dir, &manifest, &texts, &plan.xml)?;
    let mut results = Results {
        files: Vec::new(),
        output,
        mode: if plan.private { 0o600 } else { 0o644 },
        progress,
    };
    let bytes: u64 = manifest.images().iter().map(|layer| layer.file_size).sum();
    let wanted = |target| options.targets.contains(&target);
    let tarball = work.path().join(format!("{}.tar.zst", tree.name));
    if wanted(Target::Rpm) || wanted(Target::SourceTarball) {
        progress.step(&Step {
            name: Target::SourceTarball.as_str(),
            title: "make the source tarball".to_owned(),
            bytes: Some(bytes),
        });
        let mtime = rpm::epoch(manifest.created);
        tree.tarball(&tarball, mtime, &mut |bytes| progress.advance(bytes))?;
    }
    for target in &options.targets {
        if *target != Target::SourceTarball {
            progress.step(&Step {
                name: target.as_str(),
                title: format!("make the {}", target.title()),
                bytes: Some(bytes),
            });
        }
        match target {
            Target::Rpm => results.packages(*target, &rpm::build(&tree, &manifest, work.path())?)?,
            Target::Deb => results.packages(*target, &deb::build(&tree, &manifest, &texts, work.path())?)?,
            Target::SourceTarball => results.file(*target, plan.package.as_str(), &tarball)?,
            // The last of all, because the tree moves away.
            Target::BuildTree => results.tree(&tree, plan.package.as_str())?,
        }
    }
    Ok(Repacked {
        files: results.files,
        manifest,
    })
}

/// [`prepare`] and [`build`] in one.
pub fn repack(
    request: &Request,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Repacked, RepackError> {
    build(&prepare(request)?, options, progress)
}

fn manifest(plan: &Plan, layers: Vec<super::manifest::Layer>, created: Timestamp) -> Manifest {
    Manifest {
        format: FORMAT,
        tool: Line::lossy(concat!("miniascape ", env!("CARGO_PKG_VERSION"))),
        created,
        package: PackageSection {
            name: plan.package.clone(),
            version: plan.version.clone(),
            release: RELEASE,
            guest: plan.guest.clone(),
        },
        renamed_from: Vec::new(),
        domain: plan.domain.clone(),
        disks: vec![DiskSection {
            target: plan.disk.target.clone(),
            bus: plan.disk.bus.clone(),
            format: Format::Qcow2,
            layers,
        }],
        networks: plan.networks.clone(),
        not_packed: plan.not_packed.clone(),
        warnings: plan.warnings.clone(),
    }
}

impl Target {
    const fn title(self) -> &'static str {
        match self {
            Self::Rpm => "RPM packages",
            Self::Deb => "Debian packages",
            Self::SourceTarball => "source tarball",
            Self::BuildTree => "build tree",
        }
    }
}

/// Collects the results in the output directory.
struct Results<'a> {
    files: Vec<OutputFile>,
    output: PathBuf,
    mode: u32,
    progress: &'a dyn Progress,
}

impl Results<'_> {
    fn packages(&mut self, kind: Target, built: &[rpm::Built]) -> Result<(), RepackError> {
        built
            .iter()
            .try_for_each(|package| self.file(kind, &package.package, &package.file))
    }

    fn file(&mut self, kind: Target, package: &str, source: &Path) -> Result<(), RepackError> {
        let path = self
            .output
            .join(source.file_name().expect("results are named files"));
        let size = fs::metadata(source)?.len();
        let digest = image::sha256_file(source, &mut |_| {})?;
        publish(source, &path, self.mode)?;
        self.files.push(OutputFile {
            kind,
            package: package.to_owned(),
            path,
            size,
            digest: Some(digest),
        });
        Ok(())
    }

    fn tree(&mut self, tree: &Tree, package: &str) -> Result<(), RepackError> {
        let path = self.output.join(&tree.name);
        let mut size = 0;
        for entry in fs::read_dir(&tree.dir)? {
            size += entry?.metadata()?.len();
        }
        self.progress.advance(size);
        move_dir(&tree.dir, &path)?;
        self.files.push(OutputFile {
            kind: Target::BuildTree,
            package: package.to_owned(),
            path,
            size,
            digest: None,
        });
        Ok(())
    }
}

/// Moves a flat directory; on another file system its copy gets its name when it is complete.
fn move_dir(source: &Path, target: &Path) -> io::Result<()> {
    match fs::rename(source, target) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let work = WorkDir::create(target.parent().unwrap_or(Path::new(".")))?;
            let copy = work.path().join("tree");
            fs::create_dir(&copy)?;
            fs::set_permissions(&copy, fs::metadata(source)?.permissions())?;
            for entry in fs::read_dir(source)? {
                let entry = entry?;
                fs::copy(entry.path(), copy.join(entry.file_name()))?;
            }
            fs::rename(&copy, target)
        }
        other => other,
    }
}
