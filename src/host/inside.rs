//! Paths inside another system's root: its symbolic links are followed as that system would follow them, never out
//! into this host. Which paths there are is `layout`'s business.

use fs_err as fs;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many links in one path as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Nothing can be below this: what stands for a path that leads nowhere cannot be read, made or removed.
const NOWHERE: &str = "/dev/null";

/// Where `path`, a path inside `root`, is on this host. Links that lead to `/` or above it end at `root`, as after
/// chroot(2). What is not there yet is taken as it stands. The answer holds no link, so that using it cannot leave
/// `root`, as long as nobody changes links there meanwhile.
///
/// A path that follows its own links for ever gets a place where nothing can be, with the reason as its name.
pub(super) fn resolve(root: &Path, path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    // The next part last.
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let candidate = root.join(&found).join(&part);
        let Ok(target) = fs::read_link(&candidate) else {
            // No link, or nothing there.
            found.push(part);
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            let name = candidate.display().to_string().replace('/', "\\");
            return Path::new(NOWHERE).join(format!("too many symbolic links at {name}"));
        }
        if target.is_absolute() {
            found = PathBuf::new();
        }
        rest.extend(parts(&target));
    }
    root.join(found)
}

/// The parts of a path, the last one first; `/` and `.` are none.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    let mut parts: Vec<_> = path.components().filter_map(part).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Layout, files};
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib", root.join("absolute")).unwrap();
        symlink("../../../../../usr", root.join("usr/above")).unwrap();
        symlink("/proc/../etc", root.join("proc")).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        for (path, real) in [
            ("usr/lib/x", "usr/lib/x"),
            ("lib/x", "usr/lib/x"),
            ("absolute/x/../y", "usr/lib/y"),
            ("usr/above/lib", "usr/lib"),
            ("usr/above/above/new/deep", "usr/new/deep"),
            ("../../etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(resolve(&root, Path::new(path)), root.join(real), "{path}");
        }
        let nowhere = resolve(&root, Path::new("a/etc/passwd"));
        assert!(nowhere.starts_with(NOWHERE), "{}", nowhere.display());
        assert!(files::write(&nowhere, b"", 0o644).is_err() && files::remove(&nowhere).is_err());
        assert!(resolve(&root, Path::new("proc/x")).starts_with(NOWHERE));
    }

    #[test]
    fn nothing_is_written_outside_of_another_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir_all(root.join("var/lib/miniascape/networks")).unwrap();
        symlink(&outside, root.join("var/lib/miniascape/pending")).unwrap();
        symlink(&outside, root.join("var/lib/miniascape/networks/n")).unwrap();
        let layout = Layout::other_root(&root);
        let network = layout.network(&"n".parse().unwrap());
        for place in [layout.pending(), network] {
            files::make_dir(place.on_disk(), 0o700).unwrap();
            files::write(place.join("file").on_disk(), b"text", 0o600).unwrap();
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let inside = root.join(outside.strip_prefix("/").unwrap()).join("file");
        assert_eq!(fs::read(inside).unwrap(), b"text");
    }
}
