//! Which files an image may make us open: those beside the image that a person named, and those that a person allowed.

use fs_err as fs;
use std::path::{Path, PathBuf};

/// The files and directory trees that backing and data files may lie in. Symbolic links are followed first.
#[derive(Debug, Clone, Default)]
pub struct Allow {
    trees: Vec<PathBuf>,
}

impl Allow {
    /// The directory that `image` lies in, with all below it. `/` is no such directory: everything is below it.
    pub fn beside(image: &Path) -> Self {
        let dir = fs::canonicalize(image)
            .ok()
            .and_then(|real| real.parent().map(Path::to_owned))
            .filter(|dir| dir.parent().is_some());
        Self {
            trees: dir.into_iter().collect(),
        }
    }

    /// The file or directory tree `path`, too. One that does not exist allows nothing.
    #[must_use]
    pub fn and(mut self, path: &Path) -> Self {
        self.trees.extend(fs::canonicalize(path));
        self
    }

    /// True if `file` lies there. One that does not exist is allowed: opening it says that it is missing.
    pub fn permits(&self, file: &Path) -> bool {
        let Ok(real) = fs::canonicalize(file) else {
            return true;
        };
        self.trees.iter().any(|tree| real.starts_with(tree))
    }
}
