//! The build tree, `vm-NAME-repacked-VERSION`: what a packager expects to find, as a directory and as a tar file.
//!
//! Each image has two names: that of its disk, which is known before it is read, and that of its digest. In the tar
//! file each image is a compressed piece of its own, so the pieces are the same as in the image packages.

use super::archive::{self, Archive};
use super::error::RepackError;
use super::files::Content;
use super::manifest::{Manifest, Role};
use super::render::GuestTexts;
use super::rpm::SourceRpm;
use super::set::{Built, Set};
use super::stream::{Listing, Sink};
use crate::host::{Program, files};
use crate::name::Digest;
use fs_err as fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name of an image's file beside the one that its digest gives it: `DISK-base.qcow2`, `DISK.qcow2`.
pub(super) fn plain_name(target: &str, role: Role) -> String {
    match role {
        Role::Base => format!("{target}-base.qcow2"),
        Role::Delta => format!("{target}.qcow2"),
    }
}

/// A small file of the tree.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// The files of the tree besides the images, by name.
pub(super) fn texts(
    set: &Set<'_>,
    manifest: &Manifest,
    texts: &GuestTexts<'_>,
    contents: &[Content<'_>],
) -> Result<Vec<Text>, RepackError> {
    let mut files = Vec::new();
    let mut add = |name: &str, mode, content: Vec<u8>| {
        files.push(Text {
            name: name.to_owned(),
            mode,
            content,
        });
    };
    for (name, template) in [
        (format!("{}.spec", manifest.package.name).as_str(), "guest.spec"),
        ("README.md", "README.md"),
        ("configure.ac", "configure.ac"),
        ("Makefile.am", "Makefile.am"),
        ("m4/miniascape.m4", "miniascape.m4"),
        ("install.md", "install.md"),
    ] {
        add(name, 0o644, texts.text(template)?.into_bytes());
    }
    let dir = format!("deb/{}", manifest.package.name);
    let installed: usize = contents.iter().map(|file| file.bytes.len()).sum();
    let control = texts.guest_control(installed as u64)?;
    add(&format!("{dir}/control"), 0o644, control.into_bytes());
    for name in ["postinst", "postrm"] {
        add(&format!("{dir}/{name}"), 0o755, texts.text(name)?.into_bytes());
    }
    for layer in manifest.images() {
        let control = set
            .texts
            .image("control-image", set, &layer.digest, layer.file_size)?;
        add(
            &format!("deb/{}/control", layer.package),
            0o644,
            control.into_bytes(),
        );
    }
    for file in contents {
        add(file.name, file.mode, file.bytes.to_vec());
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The tree as a directory, while it is made.
pub(super) struct Tree {
    dir: PathBuf,
    image: Option<fs::File>,
}

impl Tree {
    /// Makes the directory `dir`.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        files::make_dir(dir, 0o700)?;
        Ok(Self {
            dir: dir.to_owned(),
            image: None,
        })
    }

    /// Begins the image that will be known as `name`.
    pub(super) fn begin(&mut self, name: &str) -> io::Result<()> {
        self.image = Some(fs::File::create_new(self.dir.join(name))?);
        Ok(())
    }

    /// Ends the image that has turned out to be `digest`.
    pub(super) fn end(&mut self, digest: &Digest) -> io::Result<()> {
        let Some(file) = self.image.take() else {
            return Ok(());
        };
        file.set_permissions(std::fs::Permissions::from_mode(0o444))?;
        file.sync_all()?;
        let named = self.dir.join(digest.file_name());
        match fs::hard_link(file.path(), &named) {
            // Another disk has the same base.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // No hard links here: the name that the delta refers to is the one that counts.
            Err(_) => fs::rename(file.path(), &named),
            Ok(()) => Ok(()),
        }
    }

    /// Adds the other files, and `configure` where autoconf and automake are at hand.
    pub(super) fn finish(self, texts: &[Text]) -> Result<PathBuf, RepackError> {
        for text in texts {
            files::write(&self.dir.join(&text.name), &text.content, text.mode)?;
        }
        let tools = [
            ("autoreconf", "autoconf"),
            ("automake", "automake"),
            ("aclocal", "automake"),
        ];
        if let [Ok(autoreconf), Ok(_), Ok(_)] = tools.map(|(name, package)| Program::find(name, package)) {
            autoreconf.run().arg("--install").arg(&self.dir).output()?;
            files::remove_dir(&self.dir.join("autom4te.cache"))?;
        }
        Ok(self.dir)
    }
}

impl Sink for Tree {
    fn plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.image {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }
}

/// The tree as a tar file and as what a source package holds, while it is made.
pub(super) struct Tarball<'a> {
    set: &'a Set<'a>,
    file: Option<fs::File>,
    source: Option<SourceRpm<'a>>,
    /// Bytes of the image that is passing, and of the tar header before it.
    size: u64,
    before: usize,
    /// Digest names and what they are other names of.
    links: Vec<(String, String)>,
}

impl<'a> Tarball<'a> {
    /// Begins the tar file `file`, the source package `source`, or both.
    pub(super) fn create(
        set: &'a Set<'a>,
        file: Option<&Path>,
        source: Option<SourceRpm<'a>>,
    ) -> Result<Self, RepackError> {
        let file = file.map(fs::File::create_new).transpose()?;
        let mut tarball = Self {
            set,
            file,
            source,
            size: 0,
            before: 0,
            links: Vec::new(),
        };
        let mut tar = tarball.archive();
        tar.directory(&tarball.path(""), 0o755);
        tarball.packed(&set.codec.whole(&tar.into_bytes())?)?;
        Ok(tarball)
    }

    /// Begins the image that will be known as `name`.
    pub(super) fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        let mut tar = self.archive();
        tar.begin(&self.path(name), 0o444, size);
        self.size = size;
        let tar = tar.into_bytes();
        self.before = tar.len();
        let opened = self.set.codec.open(&tar)?;
        self.packed(&opened)
    }

    /// Ends the image `name` that has turned out to be `digest`.
    pub(super) fn end(&mut self, name: &str, digest: &Digest, image: &Listing) -> io::Result<()> {
        let closed = self
            .set
            .codec
            .close(self.before, image, &archive::padding(self.size));
        self.packed(&closed)?;
        let named = digest.file_name();
        if self.links.iter().all(|(known, _)| *known != named) {
            self.links.push((named, name.to_owned()));
        }
        Ok(())
    }

    /// Adds the other files; `spec` is one of them, and goes into the source package beside the tar file, too.
    pub(super) fn finish(mut self, texts: &[Text]) -> Result<(Option<PathBuf>, Option<Built>), RepackError> {
        let mut tar = self.archive();
        for (name, target) in &self.links {
            tar.link(&self.path(name), 0o444, &self.path(target));
        }
        for text in texts {
            tar.file(&self.path(&text.name), text.mode, &text.content);
        }
        let mut tar = tar.into_bytes();
        tar.extend(archive::end());
        self.packed(&self.set.codec.whole(&tar)?)?;
        let name = format!("{}.spec", self.set.package);
        let spec = texts.iter().find(|text| text.name == name);
        let source = match (self.source, spec) {
            (Some(source), Some(spec)) => Some(source.finish(&spec.content)?),
            _ => None,
        };
        Ok((self.file.map(|file| file.path().to_owned()), source))
    }

    fn archive(&self) -> Archive {
        Archive::new(self.set.seconds().into())
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.set.tree_name())
    }
}

impl Sink for Tarball<'_> {
    fn packed(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        match &mut self.source {
            Some(source) => source.append(bytes),
            None => Ok(()),
        }
    }
}
