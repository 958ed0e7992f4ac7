//! Everything that makes a guest out of the tar file of its tree, in one pass: images and the guest's own files as
//! drafts, synced, which get their names when all of the file was read and is what it was before.

use super::contents::{Contents, DOMAIN_XML, MANIFEST};
use super::progress::{Progress, Step};
use super::verify::{self, Outlet, VerifyError};
use crate::host::files;
use crate::name::Digest;
use fs_err as fs;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The directory of the images.
    pub images: &'a Path,
    /// The directory that becomes the guest package's own.
    pub guest: &'a Path,
}

/// Takes the guest's files and those of its images for which `wanted` is true out of the tar file that `contents` was
/// read from. Each image is returned with its draft.
pub fn take_out(
    contents: &Contents,
    to: Destination<'_>,
    wanted: &dyn Fn(&Digest) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<(Digest, tempfile::NamedTempFile)>, VerifyError> {
    let path = &contents.path;
    progress.step(&Step {
        name: "unpack",
        title: format!("unpack {}", path.display()),
        bytes: Some(fs::metadata(path)?.len()),
    });
    let changed = || VerifyError::Refused {
        path: path.clone(),
        place: "the file".to_owned(),
        fault: "it was changed while it was unpacked".to_owned(),
    };
    let Some(guest) = &contents.guest else {
        return Err(changed());
    };
    let files = guest.manifest.files.iter();
    let mut modes: HashMap<&str, u32> = files.map(|file| (file.name.as_str(), file.mode())).collect();
    modes.extend([(MANIFEST, 0o644), (DOMAIN_XML, 0o600)]);
    let needed: HashSet<Digest> = guest.manifest.images().iter().map(|layer| layer.digest).collect();
    let digests = contents.found.files.iter();
    let digests = digests.map(|file| (file.path.as_str(), file.digest));
    let mut taken = Taken {
        to,
        modes,
        images: digests
            .filter(|(_, digest)| needed.contains(digest) && wanted(digest))
            .collect(),
        open: None,
        done: Vec::new(),
    };
    let again = verify::take(path, &mut taken, &mut |bytes| progress.advance(bytes))?;
    let done = taken.done;
    if again != contents.found {
        return Err(changed());
    }
    for (_, draft) in &done {
        draft.as_file().sync_all()?;
    }
    files::sync_dir(to.guest)?;
    Ok(done)
}

struct Taken<'a> {
    to: Destination<'a>,
    /// The guest's own files.
    modes: HashMap<&'a str, u32>,
    /// Names of wanted images in the tree: each image has two.
    images: HashMap<&'a str, Digest>,
    open: Option<Open>,
    done: Vec<(Digest, tempfile::NamedTempFile)>,
}

enum Open {
    Image(Digest, tempfile::NamedTempFile),
    File(fs::File),
}

impl Outlet for Taken<'_> {
    fn begin(&mut self, path: &str) -> io::Result<bool> {
        self.open = None;
        if let Some(digest) = self.images.get(path) {
            if self.done.iter().all(|(done, _)| done != digest) {
                self.open = Some(Open::Image(*digest, files::draft(self.to.images)?));
            }
        } else if let Some(mode) = self.modes.get(path) {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            options.options_mut().mode(0o600);
            // A plain name: the manifest's rules and the two constants see to that.
            let file = options.open(self.to.guest.join(path))?;
            file.set_permissions(std::fs::Permissions::from_mode(*mode))?;
            self.open = Some(Open::File(file));
        }
        Ok(self.open.is_some())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.open {
            Some(Open::Image(_, draft)) => draft.write_all(bytes),
            Some(Open::File(file)) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    fn end(&mut self, digest: &Digest) -> io::Result<()> {
        match self.open.take() {
            Some(Open::Image(wanted, _)) if wanted != *digest => {
                Err(io::Error::other("the image was changed while it was unpacked"))
            }
            Some(Open::Image(wanted, draft)) => {
                let mode = std::fs::Permissions::from_mode(0o444);
                draft.as_file().set_permissions(mode)?;
                self.done.push((wanted, draft));
                Ok(())
            }
            Some(Open::File(file)) => file.sync_all(),
            None => Ok(()),
        }
    }
}
