//! From domain XML to finished packages: look at the disks, plan, then build.
//!
//! The two halves are apart, so that a caller can show what will not travel before any byte is copied.

use super::disks::{DiskChoice, Selected, Volume};
use super::error::RepackError;
use super::files::GuestFile;
use super::manifest::{DiskSection, FORMAT, Manifest, PackageSection, Timestamp};
use super::plan::{Activity, Plan, PlanError, Reservation, plan, select};
use super::progress::{Progress, Step};
use super::render::{Texts, tree_name};
use super::results::Results;
use super::rpm::Built;
use super::target::{OutputFile, Target};
use super::text::Line;
use super::tree::Tree;
use super::work::{self, WorkDir};
use super::{deb, firmware, images, rpm};
use crate::domain::Domain;
use crate::host::{access, files};
use crate::image::{self, Format};
use crate::name::PackageVersion;
use fs_err as fs;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// RPM release and Debian revision of all packages.
const RELEASE: u32 = 1;

/// What is to be packed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The domain XML, that of the stopped domain.
    pub xml: String,
    /// True if everyone on this host can read that XML; libvirt keeps it for root.
    pub xml_is_public: bool,
    /// Whether the guest is off.
    pub activity: Activity,
    /// The guest package's version.
    pub version: PackageVersion,
    /// What the user has decided about disks.
    pub disks: DiskChoice,
    /// Where libvirt has the volumes that the domain XML names.
    pub volumes: Vec<Volume>,
    /// The state of the guest's emulated TPM goes into the package, with the keys that are in it.
    pub with_tpm: bool,
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
    /// The user on whose behalf root runs this, if so: his directories may be used, too.
    pub caller: Option<u32>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repacked {
    /// The results, guest package first in each kind.
    pub files: Vec<OutputFile>,
    /// The manifest that is in them.
    pub manifest: Manifest,
}

/// Looks at the guest's disks and decides what will be done. Reads headers only and writes nothing.
pub fn prepare(request: &Request) -> Result<Plan, RepackError> {
    let domain = Domain::parse(&request.xml).map_err(PlanError::from)?;
    let mut disks = Vec::new();
    for disk in select(&domain, request.activity, &request.disks, &request.volumes)? {
        let chain = image::chain(&disk.path, disk.format, &|backing, format| {
            may_open(&disk, &request.allowed_backing, backing, format)
        })?;
        for image in &chain.0 {
            image::ensure_unused(image)?;
        }
        disks.push((disk, chain));
    }
    let mut files: Vec<GuestFile> = firmware::variables(&domain)?.into_iter().collect();
    if request.with_tpm {
        files.push(firmware::tpm_state(&domain)?);
    }
    let reservations = &request.reservations;
    let plan = plan(
        &request.xml,
        disks,
        files,
        &request.disks,
        request.version.clone(),
        reservations,
    )?;
    Ok(Plan {
        private: plan.private || !request.xml_is_public,
        ..plan
    })
}

/// Whether a backing file of `disk` may be opened.
fn may_open(disk: &Selected, allowed: &[PathBuf], backing: &Path, format: Format) -> bool {
    let Ok(real) = fs::canonicalize(backing) else {
        // Not there: opening it says so.
        return true;
    };
    let is = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == real);
    let has = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| real.starts_with(path));
    let own_dir = fs::canonicalize(disk.path.parent().unwrap_or(Path::new("/"))).ok();
    // Only a raw "image" can be a file that was never a disk.
    format == Format::Qcow2
        || real.parent() == own_dir.as_deref()
        || disk.declared_backing.iter().any(is)
        || allowed.iter().any(has)
}

/// Carries a plan out.
pub fn build(plan: &Plan, options: &Options, progress: &dyn Progress) -> Result<Repacked, RepackError> {
    let output = std::path::absolute(&options.output)?;
    let tree_path = output.join(tree_name(&plan.package, &plan.version));
    if options.targets.contains(&Target::BuildTree) && tree_path.symlink_metadata().is_ok() {
        return Err(RepackError::TreeExists { path: tree_path });
    }
    let made = !output.exists();
    let result = build_in(&output, plan, options, progress);
    if made && result.is_err() {
        work::remove_if_empty(&output);
    }
    result
}

fn build_in(
    output: &Path,
    plan: &Plan,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Repacked, RepackError> {
    let parent = options.work.as_ref().map(std::path::absolute).transpose()?;
    let parent = parent.as_deref().unwrap_or(output);
    for dir in [output, parent] {
        fs::create_dir_all(dir)?;
        if let Some(reason) = access::in_other_hands(dir, options.caller)? {
            return Err(RepackError::OtherHands {
                path: dir.to_owned(),
                reason,
            });
        }
    }
    let work = WorkDir::create(parent)?;
    let dir = work.path().join("tree");
    files::make_dir(&dir, 0o700)?;
    let mut disks = Vec::new();
    for disk in &plan.disks {
        disks.push(DiskSection {
            target: disk.target.clone(),
            bus: disk.bus.clone(),
            format: Format::Qcow2,
            layers: images::write(disk, &dir, progress)?,
        });
    }
    let manifest = manifest(plan, disks, options.created);
    let texts = Texts::new(&manifest)?;
    let tree = Tree::complete(&dir, &manifest, &texts, plan)?;
    let bytes: u64 = manifest.images().iter().map(|layer| layer.file_size).sum();
    let step = |target: Target| {
        progress.step(&Step {
            name: target.as_str(),
            title: format!("make the {}", target.title()),
            bytes: Some(bytes),
        });
    };
    let wanted = |target| options.targets.contains(&target);
    let of_guest = |file| Built {
        file,
        package: plan.package.to_string(),
    };
    let mut results = Results::default();
    if wanted(Target::Rpm) || wanted(Target::SourceTarball) {
        step(Target::SourceTarball);
        let file = work.path().join(format!("{}.tar.zst", tree.name));
        let mtime = rpm::epoch(manifest.created);
        tree.tarball(&file, mtime, &mut |bytes| progress.advance(bytes))?;
        if wanted(Target::Rpm) {
            step(Target::Rpm);
            results.add(Target::Rpm, rpm::build(&tree, &manifest, work.path())?);
        }
        if wanted(Target::SourceTarball) {
            results.add(Target::SourceTarball, vec![of_guest(file)]);
        }
    }
    if wanted(Target::Deb) {
        step(Target::Deb);
        results.add(Target::Deb, deb::build(&tree, &manifest, &texts, work.path())?);
    }
    if wanted(Target::BuildTree) {
        results.add(Target::BuildTree, vec![of_guest(tree.dir)]);
    }
    let files = results.publish(output, if plan.private { 0o600 } else { 0o644 })?;
    Ok(Repacked { files, manifest })
}

/// [`prepare`] and [`build`] in one.
pub fn repack(
    request: &Request,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Repacked, RepackError> {
    build(&prepare(request)?, options, progress)
}

fn manifest(plan: &Plan, disks: Vec<DiskSection>, created: Timestamp) -> Manifest {
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
        disks,
        networks: plan.networks.clone(),
        files: plan.files.iter().map(|file| file.section.clone()).collect(),
        not_packed: plan.not_packed.clone(),
        warnings: plan.warnings.clone(),
    }
}
