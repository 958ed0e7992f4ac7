//! Writes the files of a package set side by side: each image is read once, and passes to every kind of package that
//! was asked for. Everything is made in working directories and named when it is whole.

use super::deb::{self, ImageDeb};
use super::error::RepackError;
use super::files::{self, GuestFile};
use super::manifest::{Manifest, Role};
use super::progress::{Progress, Step};
use super::results::Results;
use super::rpm::{self, ImageRpm, SourceRpm};
use super::set::{Built, Set};
use super::shared::Shared;
use super::stream::{Payload, Sink, pump};
use super::target::{OutputFile, Target};
use super::text::Word;
use super::tree::{self, Tarball, Tree, plain_name};
use crate::image::ImageError;
use crate::name::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// A package set that is being made.
pub(super) struct Maker<'a> {
    set: &'a Set<'a>,
    targets: &'a BTreeSet<Target>,
    /// Where packages and tar file are written: beside the place that they will have.
    beside: &'a Path,
    tree: Option<Tree>,
    tarball: Option<Tarball<'a>>,
    /// What is finished, images first.
    made: Vec<(Target, Built)>,
    /// Images that have a package.
    packed: HashSet<Digest>,
    /// Packages that are there already.
    shared: Option<Shared>,
    drafts: u32,
}

impl<'a> Maker<'a> {
    /// Begins. The tree, if it is wanted, is made as the directory `tree`.
    pub(super) fn new(
        set: &'a Set<'a>,
        targets: &'a BTreeSet<Target>,
        beside: &'a Path,
        tree: &Path,
    ) -> Result<Self, RepackError> {
        let wanted = |target| targets.contains(&target);
        let source = wanted(Target::Srpm).then(|| {
            let guest = set.package.guest();
            let summary = set.texts.named("summary-guest", guest)?;
            let description = set.texts.named("description-guest", guest)?;
            SourceRpm::create(set, summary, description, &beside.join("source.rpm"))
        });
        let source = source.transpose()?;
        let file = wanted(Target::Tar).then(|| beside.join("tarball"));
        let tarball = (source.is_some() || file.is_some())
            .then(|| Tarball::create(set, file.as_deref(), source))
            .transpose()?;
        let tree = wanted(Target::BuildTree)
            .then(|| Tree::create(tree))
            .transpose()?;
        Ok(Self {
            set,
            targets,
            beside,
            tree,
            tarball,
            made: Vec::new(),
            packed: HashSet::new(),
            shared: None,
            drafts: 0,
        })
    }

    /// Says that the image of `digest` has a package elsewhere, and needs no other unless it is for a repository.
    pub(super) fn has_package(&mut self, digest: Digest) {
        if self.shared.is_none() {
            self.packed.insert(digest);
        }
    }

    /// Shares these packages where they hold the same images.
    pub(super) fn share(&mut self, shared: Shared) {
        self.shared = Some(shared);
    }

    /// Takes the next image: of the disk `target`, in the role `role`. Returns its digest.
    pub(super) fn image(
        &mut self,
        target: &Word,
        role: Role,
        payload: &dyn Payload,
        progress: &dyn Progress,
    ) -> Result<Digest, RepackError> {
        let size = payload.size();
        if self.wanted(Target::Deb) {
            deb::fits(self.set, target.as_str(), size)?;
        }
        // Reading twice costs less than compressing for nothing.
        if role == Role::Base
            && self.tree.is_none()
            && self.tarball.is_none()
            && self.shared.as_ref().is_some_and(Shared::any)
        {
            progress.step(&Step {
                name: "digest",
                title: format!("digest of the base of {target}"),
                bytes: Some(size),
            });
            let digest = digest(payload, progress).map_err(of_image)?;
            if self.is_packed(&digest, progress) {
                return Ok(digest);
            }
        }
        progress.step(&Step {
            name: "pack",
            title: format!("pack the {} of {target}", role.as_str()),
            bytes: Some(size),
        });
        let name = plain_name(target.as_str(), role);
        let mut rpm = if self.wanted(Target::Rpm) {
            Some(ImageRpm::create(self.set, &self.draft(), size)?)
        } else {
            None
        };
        let mut deb = if self.wanted(Target::Deb) {
            Some(ImageDeb::create(self.set, &self.draft(), size)?)
        } else {
            None
        };
        let mut sinks: Vec<&mut dyn Sink> = Vec::new();
        if let Some(tree) = &mut self.tree {
            tree.begin(&name)?;
            sinks.push(tree);
        }
        if let Some(tarball) = &mut self.tarball {
            tarball.begin(&name, size)?;
            sinks.push(tarball);
        }
        sinks.extend(rpm.as_mut().map(|rpm| rpm as &mut dyn Sink));
        sinks.extend(deb.as_mut().map(|deb| deb as &mut dyn Sink));
        let (digest, listing) = pump(payload, self.set.codec, &mut sinks, progress).map_err(of_image)?;
        if let Some(tree) = &mut self.tree {
            tree.end(&digest)?;
        }
        if let Some(tarball) = &mut self.tarball {
            tarball.end(&name, &digest, &listing)?;
        }
        // An image that has its package already needs no other; the working directory takes the draft away.
        if !self.is_packed(&digest, progress) {
            self.packed.insert(digest);
            if let Some(rpm) = rpm {
                self.made.push((Target::Rpm, rpm.finish(&digest, &listing)?));
            }
            if let Some(deb) = deb {
                self.made.push((Target::Deb, deb.finish(&digest, &listing)?));
            }
        }
        Ok(digest)
    }

    /// Adds what describes the images, and the guest's own packages.
    pub(super) fn finish(
        mut self,
        manifest: &Manifest,
        xml: &str,
        files: &[GuestFile],
    ) -> Result<(Results, Vec<OutputFile>), RepackError> {
        let json = manifest.to_json();
        let contents = files::contents(xml, &json, files);
        let texts = self.set.texts.guest(self.set, manifest)?;
        let mut results = Results::default();
        if self.wanted(Target::Rpm) {
            let built = rpm::guest(self.set, manifest, &texts, &contents, &self.draft())?;
            self.made.push((Target::Rpm, built));
        }
        if self.wanted(Target::Deb) {
            let built = deb::guest(self.set, manifest, &texts, &contents, &self.draft())?;
            self.made.push((Target::Deb, built));
        }
        let of_guest = |file: PathBuf, name: String| Built {
            file,
            name,
            package: manifest.package.name.to_string(),
        };
        let name = self.set.tree_name();
        let mut tree = None;
        if self.tarball.is_some() || self.tree.is_some() {
            let texts = tree::texts(self.set, manifest, &texts, &contents)?;
            if let Some(tarball) = self.tarball {
                let (file, source) = tarball.finish(&texts)?;
                if let Some(file) = file {
                    let name = format!("{name}.tar{}", self.set.codec.suffix());
                    results.add(Target::Tar, of_guest(file, name));
                }
                if let Some(source) = source {
                    results.add(Target::Srpm, source);
                }
            }
            if let Some(made) = self.tree {
                tree = Some(of_guest(made.finish(&texts)?, name));
            }
        }
        for (target, built) in self.made {
            results.add(target, built);
        }
        // A tree that is there keeps the next run from starting: with it everything is there.
        if let Some(tree) = tree {
            results.add(Target::BuildTree, tree);
        }
        let shared = self.shared.map(Shared::into_found).unwrap_or_default();
        Ok((results, shared))
    }

    /// Whether the image of `digest` has a package of each kind that is wanted.
    fn is_packed(&mut self, digest: &Digest, progress: &dyn Progress) -> bool {
        if self.packed.contains(digest) {
            return true;
        }
        let kinds = [Target::Rpm, Target::Deb].map(|kind| (kind, self.wanted(kind)));
        let Some(shared) = &mut self.shared else {
            return false;
        };
        let all = kinds
            .iter()
            .all(|(kind, wanted)| !wanted || shared.has(*kind, digest, progress));
        if all {
            self.packed.insert(*digest);
        } else {
            shared.forget(digest);
        }
        all
    }

    fn wanted(&self, target: Target) -> bool {
        self.targets.contains(&target)
    }

    /// A name for a file that has none yet.
    fn draft(&mut self) -> PathBuf {
        self.drafts += 1;
        self.beside.join(format!("draft-{}", self.drafts))
    }
}

/// What reads the image has errors of its own.
fn of_image(error: io::Error) -> RepackError {
    match error.downcast::<ImageError>() {
        Ok(ImageError::Changed { path }) => RepackError::SourceChanged { path },
        Ok(error) => RepackError::Image(error),
        Err(error) => error.into(),
    }
}

/// The SHA-256 of an image.
fn digest(payload: &dyn Payload, progress: &dyn Progress) -> io::Result<Digest> {
    let mut from = payload.open();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            n => {
                hasher.update(&buffer[..n]);
                progress.advance(n as u64);
            }
        }
    }
}
