//! Who else on this host may read a file, or change what is in a directory. Reading and writing files is next door, in `files`.

use super::command::{CommandError, Program};
use fs_err as fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everyone may read (the file) or search (the directory).
const OTHERS_READ: u32 = 0o004;
const OTHERS_SEARCH: u32 = 0o001;
/// Everyone may make, rename and remove files in the directory, others' too unless it is sticky.
const OTHERS_WRITE: u32 = 0o002;

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

/// True if the process `pid`, without any rights beyond those of its user and groups, can read the file `path`, or with
/// `directory` get at what is in that directory, as it sees the file system. We have to be root.
pub fn readable_by(pid: u32, path: &Path, directory: bool) -> Result<bool, CommandError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (Some(user), Some(group)) = (ids("Uid:").into_iter().nth(1), ids("Gid:").into_iter().nth(1)) else {
        return Ok(true);
    };
    if !rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    let groups = match ids("Groups:") {
        none if none.is_empty() => "--clear-groups".to_owned(),
        groups => format!("--groups={}", groups.join(",")),
    };
    let (kind, right) = if directory { ("-d", "-x") } else { ("-f", "-r") };
    let finished = Program::find("nsenter", "util-linux")?
        .run()
        .arg(format!("--target={pid}"))
        .args(["--mount", "setpriv"])
        .args([format!("--reuid={user}"), format!("--regid={group}"), groups])
        .arg("test")
        .args([
            kind.as_ref(),
            path.as_os_str(),
            "-a".as_ref(),
            right.as_ref(),
            path.as_os_str(),
        ])
        .finish()?;
    match finished.status.code() {
        Some(0) => Ok(true),
        Some(1) if finished.stderr.is_empty() => Ok(false),
        _ => Err(CommandError::Failed {
            command: finished.command,
            status: finished.status,
            stderr: finished.stderr,
        }),
    }
}

/// If we are root: why `dir`, a directory that root is about to build in, is in other users' hands; `None` if it is
/// not. `caller` is a user on whose behalf root acts, as with sudo, and whose own directories are therefore fine.
pub fn in_other_hands(dir: &Path, caller: Option<u32>) -> io::Result<Option<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let meta = fs::metadata(dir)?;
    Ok(other_hands(meta.uid(), meta.mode(), caller))
}

fn other_hands(owner: u32, mode: u32, caller: Option<u32>) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    if owner != 0 && Some(owner) != caller {
        Some("belongs to another user")
    } else if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        Some("can be written by everyone")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_trusts_its_own_and_its_callers_directories() {
        for (owner, mode, caller, fine) in [
            (0, 0o755, None, true),
            (0, 0o1777, None, true),
            (0, 0o777, None, false),
            (1000, 0o700, None, false),
            (1000, 0o755, Some(1000), true),
            (1000, 0o777, Some(1000), false),
            (1001, 0o755, Some(1000), false),
            (1001, 0o1777, None, false),
        ] {
            assert_eq!(
                other_hands(owner, mode, caller).is_none(),
                fine,
                "{owner} {mode:o} {caller:?}"
            );
        }
    }
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
