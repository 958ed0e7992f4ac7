//! From domain XML to finished packages: look at the disks, plan, then build.
//!
//! The two halves are apart, so that a caller can show what will not travel before any byte is copied.

use super::disks::{Base, DiskChoice, DiskPlan, KnownBase, Selected, Split, Volume};
use super::error::RepackError;
use super::estimate::{self, Witness};
use super::files::{GuestFile, NetworkFiles};
use super::firmware;
use super::images;
use super::make::Maker;
use super::manifest::{DiskSection, FORMAT, Layer, Manifest, PackageSection, Role, Timestamp};
use super::name::GuestPackage;
use super::plan::{Activity, Plan, PlanError, Reservation, plan, select};
use super::progress::Progress;
use super::render::Texts;
use super::seal::{self, Seal};
use super::set::Set;
use super::shared::Shared;
use super::since::{Below, Earlier};
use super::stream::{Codec, Payload as _};
use super::target::{OutputFile, Target};
use super::text::Line;
use super::work::{self, WorkDir};
use crate::domain::{Domain, InterfaceSource};
use crate::host::access;
use crate::image::{self, Content, Format, ImageError};
use crate::name::{Digest, PackageVersion};
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
    /// True if it is libvirt's definition of a domain of this host.
    pub libvirt_knows: bool,
    /// Whether the guest is off.
    pub activity: Activity,
    /// The guest package's version.
    pub version: PackageVersion,
    /// What its package was called before.
    pub renamed_from: Vec<GuestPackage>,
    /// What the user has decided about disks.
    pub disks: DiskChoice,
    /// Where libvirt has the volumes that the domain XML names.
    pub volumes: Vec<Volume>,
    /// The state of the guest's emulated TPM goes into the package, with the keys that are in it.
    pub with_tpm: bool,
    /// Definitions of networks of this host that go into the package if the guest is plugged into them.
    pub definitions: Vec<NetworkFiles>,
    /// Reset in the copy what clones must not share.
    pub seal: Option<Seal>,
    /// The package set that this one goes on from: RPM and Debian packages only.
    pub earlier: Option<Earlier>,
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
    /// Where the build tree goes, and what is needed meanwhile; `None` is the output directory.
    pub work: Option<PathBuf>,
    /// How the packages are compressed.
    pub codec: Codec,
    /// The output directory is a repository: an image package that it holds already is checked, and not made again.
    pub repository: bool,
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
    /// Packages of its images that the repository had already.
    pub shared: Vec<OutputFile>,
    /// The manifest that is in them.
    pub manifest: Manifest,
}

/// Looks at the guest's disks and decides what will be done. Reads headers only and writes nothing.
pub fn prepare(request: &Request) -> Result<Plan, RepackError> {
    let domain = Domain::parse(&request.xml).map_err(PlanError::from)?;
    if request.seal.is_some() {
        seal::available()?;
    }
    let in_use = request.activity == Activity::Live;
    let mut disks = Vec::new();
    for disk in select(&domain, request.activity, &request.disks, &request.volumes)? {
        let chain = image::chain(&disk.path, disk.format, &|backing, format| {
            may_open(&disk, &request.allowed_backing, backing, format)
        })?;
        // What a running guest writes to is read as its hypervisor exports it; below that nobody may write.
        for image in &chain.0[usize::from(in_use)..] {
            image::ensure_unused(image)?;
        }
        let base = request.disks.base.as_ref().filter(|base| match &base.target {
            Some(target) => *target == disk.target.as_str(),
            None => disks.is_empty(),
        });
        let base = base.map(known_base).transpose()?;
        disks.push((disk, chain, base));
    }
    let reservations = &request.reservations;
    let mut plan = plan(
        &request.xml,
        disks,
        beside(request, &domain)?,
        &request.disks,
        request.version.clone(),
        reservations,
    )?;
    for disk in &mut plan.disks {
        disk.in_use = in_use;
    }
    if let Some(earlier) = &request.earlier {
        earlier.refuse(&plan.package, &request.renamed_from, &plan.version)?;
        for disk in &mut plan.disks {
            earlier.go_on(disk)?;
        }
    }
    let told = match request.seal {
        Some(_) => seal::warnings(&plan.disks),
        None => vec![seal::SHARED.to_owned()],
    };
    let mut warnings = plan.warnings;
    warnings.extend(told.iter().map(|line| Line::lossy(line)));
    Ok(Plan {
        private: plan.private || !request.xml_is_public,
        seal: request.seal,
        warnings,
        renamed_from: renamed_from(&plan.package, &request.renamed_from)?,
        ..plan
    })
}

/// What the package was called before, each name once.
fn renamed_from(package: &GuestPackage, names: &[GuestPackage]) -> Result<Vec<GuestPackage>, PlanError> {
    let mut all: Vec<GuestPackage> = Vec::new();
    for name in names {
        if name == package {
            return Err(PlanError::OwnName {
                package: package.clone(),
            });
        }
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all.sort();
    Ok(all)
}

/// The files of the guest package besides domain XML and manifest.
fn beside(request: &Request, domain: &Domain) -> Result<Vec<GuestFile>, RepackError> {
    let mut files: Vec<GuestFile> = firmware::variables(domain, request.libvirt_knows)?
        .into_iter()
        .collect();
    if request.with_tpm {
        files.push(firmware::tpm_state(domain)?);
    }
    for network in &request.definitions {
        let source = InterfaceSource::Network(network.name.to_string());
        if domain
            .interfaces
            .iter()
            .any(|interface| interface.source == source)
        {
            files.extend(network.files());
        }
    }
    Ok(files)
}

/// Reads anew what belongs to the guest besides its disks: they and its disks have to be of one moment.
pub fn read_beside(request: &Request) -> Result<Vec<GuestFile>, RepackError> {
    beside(request, &Domain::parse(&request.xml).map_err(PlanError::from)?)
}

/// Looks at an image that a disk shall stand on.
fn known_base(base: &Base) -> Result<KnownBase, ImageError> {
    let image = image::info(&base.path, base.format)?;
    image::ensure_unused(&image)?;
    if image.backing.is_some() || image.encrypted {
        return Err(ImageError::Unsupported {
            path: image.path,
            what: "a base that stands on another image, or is encrypted,".to_owned(),
            hint: "make it one plain image with `qemu-img convert -O qcow2`",
        });
    }
    Ok(KnownBase {
        image,
        packaged: base.packaged,
        has_package: base.has_package,
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

/// About how many bytes the images take in each kind of package, from a sample of the disks.
pub fn estimate_packed(plan: &Plan, codec: Codec) -> Result<u64, RepackError> {
    let mut sum = 0;
    for disk in &plan.disks {
        sum += estimate::packed(disk, codec)?;
    }
    Ok(sum)
}

/// Carries a plan out.
pub fn build(plan: &Plan, options: &Options, progress: &dyn Progress) -> Result<Repacked, RepackError> {
    build_while(plan, options, progress, &|| true)
}

/// Carries a plan out. The results get their names only if the sources are `still` what they were.
pub fn build_while(
    plan: &Plan,
    options: &Options,
    progress: &dyn Progress,
    still: &dyn Fn() -> bool,
) -> Result<Repacked, RepackError> {
    let output = std::path::absolute(&options.output)?;
    let trees = options.work.as_ref().map(std::path::absolute).transpose()?;
    let trees = trees.as_deref().unwrap_or(&output);
    let made = !output.exists();
    let result = build_in(&output, trees, plan, options, progress, still);
    // After a failure, and where the tree alone was wanted, and elsewhere.
    if made {
        work::remove_if_empty(&output);
    }
    result
}

fn build_in(
    output: &Path,
    trees: &Path,
    plan: &Plan,
    options: &Options,
    progress: &dyn Progress,
    still: &dyn Fn() -> bool,
) -> Result<Repacked, RepackError> {
    let texts = Texts::new()?;
    let set = Set {
        package: &plan.package,
        version: &plan.version,
        release: RELEASE,
        created: options.created,
        codec: options.codec,
        texts: &texts,
    };
    let tree = trees.join(set.tree_name());
    if options.targets.contains(&Target::BuildTree) && tree.symlink_metadata().is_ok() {
        return Err(RepackError::TreeExists { path: tree });
    }
    if options.targets.contains(&Target::Deb) {
        for disk in &plan.disks {
            estimate::fits_deb(disk, options.codec)?;
        }
    }
    let witness = Witness::of(&plan.disks)?;
    for dir in [output, trees] {
        work::make(dir)?;
        if let Some(reason) = access::in_other_hands(dir, options.caller)? {
            return Err(RepackError::OtherHands {
                path: dir.to_owned(),
                reason,
            });
        }
    }
    // Packages are written beside the place they will have, so that they only have to be renamed.
    let beside = WorkDir::create(output)?;
    let scratch = WorkDir::create(trees)?;
    let mut maker = Maker::new(
        &set,
        &options.targets,
        beside.path(),
        &scratch.path().join("tree"),
    )?;
    if options.repository {
        maker.share(Shared::new(output, RELEASE));
    }
    for disk in &plan.disks {
        images::check(disk, progress)?;
    }
    let mut remarks = Vec::new();
    let sealed = match plan.seal {
        Some(how) => {
            let (sealed, said) = seal::seal(&plan.disks, how, scratch.path(), progress)?;
            remarks = said;
            Some(sealed)
        }
        None => None,
    };
    let mut disks = Vec::new();
    let mut files = plan.files.clone();
    for disk in sealed.as_ref().unwrap_or(&plan.disks) {
        let (layers, content) = layers(disk, &mut maker, progress)?;
        // Nobody can go on from a package that was sealed.
        if sealed.is_none()
            && let Some(list) = content.list()
        {
            files.extend(GuestFile::blocks(&disk.target, list));
        }
        disks.push(DiskSection {
            target: disk.target.clone(),
            bus: disk.bus.clone(),
            format: Format::Qcow2,
            layers,
        });
    }
    let mut manifest = manifest(plan, disks, &files, options.created);
    manifest
        .warnings
        .extend(remarks.iter().map(|line| Line::lossy(line)));
    let (results, shared) = maker.finish(&manifest, &plan.xml, &files)?;
    witness.ensure_unchanged()?;
    if !still() {
        return Err(RepackError::SourceGone);
    }
    let files = results.publish(output, trees, if plan.private { 0o600 } else { 0o644 })?;
    Ok(Repacked {
        files,
        shared,
        manifest,
    })
}

/// Packs the images of one disk. With what a guest reads through them.
fn layers(
    disk: &DiskPlan,
    maker: &mut Maker<'_>,
    progress: &dyn Progress,
) -> Result<(Vec<Layer>, Content), RepackError> {
    let mut layers: Vec<Layer> = Vec::new();
    let roles: &[Role] = match &disk.split {
        Split::Bottom => &[Role::Base, Role::Delta],
        Split::Flat => &[Role::Base],
        Split::Known(base) => {
            if let Some(digest) = base.packaged.filter(|_| base.has_package) {
                maker.has_package(digest);
            }
            &[Role::Base, Role::Delta]
        }
        Split::Since(below) => return go_on(disk, below, maker, progress),
    };
    let mut below: Option<(Digest, Content)> = None;
    for &role in roles {
        let image = match &below {
            None => images::base(disk, progress)?,
            Some((digest, content)) => images::delta(disk, digest, Some(content), progress)?,
        };
        let digest = maker.image(&disk.target, role, &image, progress)?;
        if let (Role::Base, Split::Known(base)) = (role, &disk.split)
            && base.packaged.is_some_and(|packaged| packaged != digest)
        {
            return Err(RepackError::Image(ImageError::Damaged {
                path: base.image.path.clone(),
                reason: "it is not what its name says; reinstall its package".to_owned(),
            }));
        }
        layers.push(Layer::new(
            role,
            digest,
            image.size(),
            image.virtual_size,
            image.content.digest(),
        ));
        below = Some((digest, image.content));
    }
    let (_, content) = below.expect("each disk has a base");
    Ok((layers, content))
}

/// Packs what of a disk differs from an earlier package set, if anything does.
fn go_on(
    disk: &DiskPlan,
    below: &Below,
    maker: &mut Maker<'_>,
    progress: &dyn Progress,
) -> Result<(Vec<Layer>, Content), RepackError> {
    let mut layers = below.layers.clone();
    let top = below.top();
    let image = images::delta(disk, &top.digest, None, progress)?;
    let content = image.content.digest();
    if (content, image.virtual_size) != (top.content_digest, top.virtual_size) {
        let digest = maker.image(&disk.target, Role::Delta, &image, progress)?;
        layers.push(Layer::new(
            Role::Delta,
            digest,
            image.size(),
            image.virtual_size,
            content,
        ));
    }
    Ok((layers, image.content))
}

/// [`prepare`] and [`build`] in one.
pub fn repack(
    request: &Request,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Repacked, RepackError> {
    build(&prepare(request)?, options, progress)
}

fn manifest(plan: &Plan, disks: Vec<DiskSection>, files: &[GuestFile], created: Timestamp) -> Manifest {
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
        renamed_from: plan.renamed_from.clone(),
        sealed: plan.seal.is_some(),
        domain: plan.domain.clone(),
        disks,
        networks: plan.networks.clone(),
        files: files.iter().map(|file| file.section.clone()).collect(),
        not_packed: plan.not_packed.clone(),
        warnings: plan.warnings.clone(),
    }
}
