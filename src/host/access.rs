//! Who else on this host may read a file. Reading and writing files is next door, in `files`.

use fs_err as fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everyone may read (the file) or search (the directory).
const OTHERS_READ: u32 = 0o004;
const OTHERS_SEARCH: u32 = 0o001;

/// True if every user of this host may read the file `path`: it is readable by others itself, and all directories
/// above it, as the kernel walks to it, can be searched by others. Access control lists are not looked at.
pub fn world_readable(path: &Path) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    if fs::metadata(&path)?.mode() & OTHERS_READ == 0 {
        return Ok(false);
    }
    for dir in path.ancestors().skip(1) {
        if fs::metadata(dir)?.mode() & OTHERS_SEARCH == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_closed_directory_closes_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let (inner, outer) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&inner).unwrap();
        fs::create_dir(&outer).unwrap();
        let (file, link) = (inner.join("file"), outer.join("link"));
        fs::write(&file, "").unwrap();
        symlink("../a/file", &link).unwrap();
        for path in [dir.path(), &inner, &outer] {
            mode(path, 0o711);
        }
        mode(&file, 0o644);
        assert!(world_readable(&file).unwrap() && world_readable(&link).unwrap());
        mode(&inner, 0o750);
        assert!(!world_readable(&file).unwrap() && !world_readable(&link).unwrap());
        mode(&inner, 0o711);
        mode(dir.path(), 0o700);
        assert!(!world_readable(&file).unwrap());
        mode(dir.path(), 0o711);
        mode(&file, 0o640);
        assert!(!world_readable(&file).unwrap());
    }
}
