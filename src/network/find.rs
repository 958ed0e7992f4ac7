//! From what a user types to a definition: a name stands for a file in `/etc/miniascape/networks`, or for a shipped
//! reference network; anything that looks like a path is one.

use super::clash::{Host, Surroundings};
use super::dropin::{Brought, Part};
use super::{Chosen, Network, NetworkError, Origin, Warning, dropin, whole};
use crate::host::{Layout, Libvirt, files};
use crate::name::{GuestName, NameError, NetworkName, is_path};
use crate::package::{named_network, network_file};
use crate::yaml::{Problem, Problems};
use fs_err as fs;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Why there is no definition.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// What was typed is neither a path nor a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No file of that name.
    #[error("there is no definition of a network {name}: neither {} nor {} exists", own.display(), shipped.display())]
    Unknown {
        /// The name.
        name: NetworkName,
        /// Where the user's would be.
        own: PathBuf,
        /// Where a shipped one would be.
        shipped: PathBuf,
    },
    /// The file defines a network of another name.
    #[error("{} defines the network {found}, not {wanted}: the file of a network has its name", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        wanted: NetworkName,
        /// The name in the file.
        found: NetworkName,
    },
    /// The definition has mistakes, or cannot be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A definition that was found and checked.
#[derive(Debug)]
pub struct Found {
    /// The network.
    pub network: Network,
    /// What may not be meant.
    pub warnings: Vec<Warning>,
    /// What clashes with the running host, if that was looked at: reasons not to register or update the network.
    pub clashes: Vec<Problem>,
    /// What `auto` stands for in it.
    pub chosen: Chosen,
    /// False if some of that was chosen just now, and is on no record.
    pub is_on_record: bool,
    /// The file.
    pub path: PathBuf,
}

impl Found {
    /// How many of the network's hosts stand in the definition itself, in people's files beside it, and in guests'.
    pub fn hosts_by_origin(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for host in self.network.hosts() {
            counts[match host.origin {
                Origin::Definition => 0,
                Origin::DropIn(_) => 1,
                Origin::Guest(_) => 2,
            }] += 1;
        }
        counts
    }
}

/// What a definition is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    /// Nothing else.
    Itself,
    /// The host's other definitions and its configuration.
    Files,
    /// These, and the running host.
    Host,
}

/// Finds definitions and reads them with all that belongs to them. What is around them is gathered once.
pub struct Finder<'a> {
    layout: &'a Layout,
    against: Against,
    register: bool,
    libvirt: &'a dyn Fn() -> Option<Libvirt>,
    /// What guests are assumed to have brought.
    assumed: Vec<(PathBuf, String)>,
    around: OnceCell<Result<Surroundings, Problems>>,
    host: OnceCell<Host>,
}

impl<'a> Finder<'a> {
    /// Finds definitions for looking at them: nothing is checked but they themselves. Where `subnet: auto` was not chosen
    /// yet, the choice minds all that can be seen without libvirt.
    pub fn new(layout: &'a Layout) -> Self {
        Self {
            layout,
            against: Against::Itself,
            register: false,
            libvirt: &|| None,
            assumed: Vec::new(),
            around: OnceCell::new(),
            host: OnceCell::new(),
        }
    }

    /// Finds definitions for validating them: those of this host are also checked against each other and against what its
    /// configuration reserves. `libvirt` is asked at most once, and only to make a choice that is not on record.
    pub fn to_validate(layout: &'a Layout, libvirt: &'a dyn Fn() -> Option<Libvirt>) -> Self {
        Self {
            against: Against::Files,
            libvirt,
            ..Self::new(layout)
        }
    }

    /// Finds definitions of networks that are about to be made real, which takes in what guests brought for them and
    /// checks them also against the running host. `libvirt` is asked at most once for its networks.
    pub fn to_register(layout: &'a Layout, libvirt: &'a dyn Fn() -> Option<Libvirt>) -> Self {
        Self {
            against: Against::Host,
            register: true,
            libvirt,
            ..Self::new(layout)
        }
    }

    /// Finds definitions of networks that are this host's, into which guests bring something or from which they go.
    pub fn to_refresh(layout: &'a Layout) -> Self {
        Self {
            register: true,
            ..Self::new(layout)
        }
    }

    /// Assumes that `guest` brought this into `network`.
    #[must_use]
    pub fn assuming(mut self, network: &NetworkName, guest: &GuestName, entries: &[Brought]) -> Self {
        let path = self.layout.guest_hosts(network, guest).on_disk().to_owned();
        self.assumed.push((path, Brought::to_yaml(entries, guest)));
        self
    }

    /// Assumes that a file of guests' entries has this content.
    #[must_use]
    pub(super) fn assuming_file(mut self, path: &Path, content: &str) -> Self {
        self.assumed.push((path.to_owned(), content.to_owned()));
        self
    }

    /// The definition that `text`, a path or a network's name, stands for.
    pub fn find(&self, text: &str) -> Result<Found, FindError> {
        if is_path(text) {
            return Ok(self.read(Path::new(text))?);
        }
        let name: NetworkName = text.parse()?;
        let file = format!("{name}.yaml");
        let dirs = [self.layout.definitions(), self.layout.reference_networks()];
        let [own, shipped] = dirs.map(|dir| dir.join(&file).on_disk().to_owned());
        let known = [&own, &shipped].into_iter().find(|path| path.exists()).cloned();
        let Some(path) = known.or_else(|| brought(self.layout, &name)) else {
            return Err(FindError::Unknown { name, own, shipped });
        };
        let found = self.read(&path)?;
        if *found.network.name() != name {
            return Err(FindError::OtherName {
                path,
                wanted: name,
                found: found.network.name().clone(),
            });
        }
        Ok(found)
    }

    /// The definition at `path`.
    pub fn read(&self, path: &Path) -> Result<Found, NetworkError> {
        whole::read(self, path, path)
    }

    /// The definition that is to stand at `source`, from a draft of it.
    pub fn read_for(&self, draft: &Path, source: &Path) -> Result<Found, NetworkError> {
        whole::read(self, draft, source)
    }

    /// As [`Finder::find`], and what `auto` stands for is put on record, unless there are clashes.
    pub fn settle(&self, text: &str) -> Result<Found, FindError> {
        self.settle_by(|finder| finder.find(text))
    }

    /// As [`Finder::read`], and what `auto` stands for is put on record, unless there are clashes. `path` is the definition
    /// `source`, or a copy of it; people's files are looked for beside `source`.
    pub fn settle_at(&self, path: &Path, source: &Path) -> Result<Found, NetworkError> {
        self.settle_by(|finder| whole::read(finder, path, source))
    }

    fn settle_by<E: From<NetworkError>>(&self, find: impl Fn(&Self) -> Result<Found, E>) -> Result<Found, E> {
        let found = find(self)?;
        if found.is_on_record || !found.clashes.is_empty() {
            return Ok(found);
        }
        // Two runs at a time could choose the same, so it is chosen again, with a new look around.
        let _lock = if self.layout.is_live() {
            let lock = files::Lock::acquire(self.layout.choosing_lock().on_disk());
            Some(lock.map_err(NetworkError::Record)?)
        } else {
            None
        };
        let again = Self {
            assumed: self.assumed.clone(),
            around: OnceCell::new(),
            host: OnceCell::new(),
            ..*self
        };
        let found = find(&again)?;
        if found.clashes.is_empty() {
            let written = found.chosen.write(self.layout, found.network.name());
            written.map_err(NetworkError::Record)?;
        }
        Ok(found)
    }

    pub(super) const fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// The files that belong to the definition of `name` at `path`.
    pub(super) fn parts(&self, path: &Path, name: &NetworkName) -> Vec<Part> {
        dropin::load(self.layout, path, name, self.register, &self.assumed)
    }

    /// What to check the definition at `path` against: other files, and the running host.
    pub(super) fn checks(&self, path: &Path, name: &NetworkName) -> (bool, bool) {
        let own = self.register || dropin::is_own(self.layout, path, name);
        (
            own && self.against != Against::Itself,
            self.against == Against::Host,
        )
    }

    /// What other files there are around the definition at `path`.
    pub(super) fn around(&self, path: &Path) -> Result<&Surroundings, Problems> {
        // Whoever makes a network real finds this one definition only.
        let own = self.register.then_some(path);
        let gather = || Surroundings::of_files(self.layout, own);
        self.around.get_or_init(gather).as_ref().map_err(Clone::clone)
    }

    /// The running host; none for files of another system.
    pub(super) fn host(&self) -> Option<&Host> {
        let gather = || Host::gather((self.libvirt)().as_ref());
        self.layout.is_live().then(|| self.host.get_or_init(gather))
    }
}

/// The definition that `text`, a path or a network's name, stands for, with what stands beside it.
pub fn find(layout: &Layout, text: &str) -> Result<Found, FindError> {
    Finder::new(layout).find(text)
}

/// The definition of `name` that a guest package brought; of several, that of the first package by name.
fn brought(layout: &Layout, name: &NetworkName) -> Option<PathBuf> {
    let mut guests: Vec<PathBuf> = packages(layout);
    guests.sort();
    let files = guests.into_iter().map(|guest| guest.join(network_file(name)));
    files.into_iter().find(|file| file.is_file())
}

/// The directories of the installed guest packages.
fn packages(layout: &Layout) -> Vec<PathBuf> {
    let entries = fs::read_dir(layout.guest_packages().on_disk());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// The names that have a definition file, with that file; the user's before the shipped one, and that before one that
/// came with a guest.
pub fn defined(layout: &Layout) -> Vec<(NetworkName, PathBuf)> {
    let mut all: Vec<(NetworkName, PathBuf)> = Vec::new();
    for dir in [layout.definitions(), layout.reference_networks()] {
        let Ok(entries) = fs::read_dir(dir.on_disk()) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some(name) = name_of(&path)
                && !all.iter().any(|(known, _)| *known == name)
            {
                all.push((name, path));
            }
        }
    }
    for file in packages(layout).iter().flat_map(fs::read_dir).flatten().flatten() {
        let name = file.file_name();
        if let Some(name) = name.to_str().and_then(named_network)
            && !all.iter().any(|(known, _)| *known == name)
            && let Some(path) = brought(layout, &name)
        {
            all.push((name, path));
        }
    }
    all.sort();
    all
}

fn name_of(path: &Path) -> Option<NetworkName> {
    if path.extension()? != "yaml" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
