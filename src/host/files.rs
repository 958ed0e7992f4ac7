//! Writing files so that a reader, or a crash, sees the old content or the new, never a part; reading them without
//! being held up; and locks between runs of this program. What goes into the files is decided elsewhere.

use fs_err as fs;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the names of files begin that are still being written.
const DRAFT: &str = ".miniascape-draft-";

/// Longer than any file of our own, in bytes.
const LARGEST: u64 = 64 << 20;

/// Makes `path` hold `content` with permission bits `mode`; true if that changed anything.
///
/// The content goes to a temporary file in the same directory, is synced, and renamed into place; then the
/// directory is synced. Missing parent directories are made with mode 0755.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    if is_already(path, content, mode)? {
        return Ok(false);
    }
    let dir = parent(path)?;
    make_parents(dir)?;
    // Held until the rename: what another holder left as a draft is dead.
    let gate = fs::File::open(dir)?;
    if rustix::fs::flock(&gate, FlockOperation::LockExclusive).is_ok() {
        remove_drafts(dir)?;
    }
    let mut file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(dir)?;
    file.write_all(content)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)
        .map_err(|e| io::Error::new(e.error.kind(), format!("{}: {}", path.display(), e.error)))?;
    sync_dir(dir)?;
    Ok(true)
}

/// A file in `dir` that is a draft until it gets its name.
pub fn draft(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(DRAFT).tempfile_in(dir)
}

/// A directory in `dir` that is a draft until it gets its name. Killed runs leave it to [`remove_draft_dirs`].
pub fn draft_dir(dir: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(DRAFT).tempdir_in(dir)
}

/// Removes draft directories that killed runs left in `dir`. The caller sees to it that nobody works there.
pub fn remove_draft_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) && entry.file_type()?.is_dir() {
            remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

/// Puts the draft directory `draft` in the place of `path`, which is there afterwards whole, the old one or the new one.
/// Where the file system cannot exchange directories, it is away for a moment; `mark`, a file in it, goes first then, and
/// what was without it was on its way.
pub fn put_dir(draft: tempfile::TempDir, path: &Path, mark: &str) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if path.exists() {
        let exchanged = renameat_with(CWD, draft.path(), CWD, path, RenameFlags::EXCHANGE);
        if exchanged.is_ok() {
            sync_dir(parent(path)?)?;
            // What was there goes with the draft's name.
            return draft.close();
        }
        remove(&path.join(mark))?;
        remove_dir(path)?;
    }
    fs::rename(draft.keep(), path)?;
    sync_dir(parent(path)?)
}

/// Removes drafts that killed runs left in `dir`. The caller sees to it that nobody writes there.
pub fn remove_drafts(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) && entry.file_type()?.is_file()
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// As [`remove_drafts`], unless somebody writes there, who does it anyway.
pub fn remove_dead_drafts(dir: &Path) -> io::Result<()> {
    let gate = fs::File::open(dir)?;
    match rustix::fs::flock(&gate, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => remove_drafts(dir),
        Err(_) => Ok(()),
    }
}

/// True if `dir` is a directory in which nothing is, or only what killed runs left.
pub fn has_only_drafts(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    for entry in entries {
        if !entry?
            .file_name()
            .as_encoded_bytes()
            .starts_with(DRAFT.as_bytes())
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_already(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_file()
            && meta.len() == content.len() as u64
            && meta.permissions().mode() & 0o7777 == mode
            && fs::read(path)? == content),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes a file; false if there was none.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            sync_dir(parent(path)?)?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes a directory with all its content; false if there was none.
pub fn remove_dir(path: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(path) {
        Ok(()) => {
            sync_dir(parent(path)?)?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The content of the regular file `path`. A device, FIFO or socket, which might never end or wait for ever, is
/// refused ([`io::ErrorKind::InvalidInput`]) unopened, and so is a file longer than `limit` bytes
/// ([`io::ErrorKind::FileTooLarge`]).
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let text = format!("{}: larger than {limit} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

/// Opens the regular file `path` for reading; anything else is refused as by [`read_at_most`].
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    refuse_irregular(path, &fs::metadata(path)?)?;
    let mut options = fs::OpenOptions::new();
    options.read(true);
    // A FIFO that has come meanwhile must not hold us up.
    options
        .options_mut()
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    refuse_irregular(path, &file.metadata()?)?;
    Ok(file)
}

fn refuse_irregular(path: &Path, meta: &std::fs::Metadata) -> io::Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    let text = format!("{}: not a regular file", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The file's content, or `None` if there is no such file. For files of our own, with the refusals of
/// [`read_at_most`].
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_at_most(path, LARGEST) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes a directory with permission bits `mode` if it is not there; one that is there keeps its own. Its parent has
/// to be there.
pub fn make_dir_once(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        Ok(())
    } else {
        make_dir(path, mode).map(drop)
    }
}

/// Makes a directory, and its parents, with permission bits `mode` for the last one; true if it was not there.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<bool> {
    let made = !path.is_dir();
    make_parents(path)?;
    let current = fs::metadata(path)?.permissions().mode() & 0o7777;
    if current != mode {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(made)
}

/// Makes the directories that are missing on the way to `path` and itself, with mode 0755 whatever the umask: others read
/// what is below.
fn make_parents(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
        .collect();
    for dir in missing.into_iter().rev() {
        match fs::create_dir(dir) {
            Ok(()) => fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?,
            // Somebody else has made it meanwhile; or it is something else.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes that can still be written into `dir`.
pub fn free_space(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The file system that holds a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Its number, as of stat(2).
    pub device: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that can still be written into it.
    pub free: u64,
    /// Files that it can have, and how many more; 0 of 0 where they are made as needed.
    pub inodes: (u64, u64),
}

/// The file system that holds `dir`.
pub fn file_system(dir: &Path) -> io::Result<FileSystem> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(FileSystem {
        device: fs::metadata(dir)?.dev(),
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: (stat.f_files, stat.f_favail),
    })
}

/// Writes the directory's entries to the disk, so that a rename in it survives a crash.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(dir) => Ok(dir),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} has no directory", path.display()),
        )),
    }
}

/// A lock between processes, held until it is dropped or the process dies (flock(2)). Its file goes with it; that of
/// a killed process is taken over by the next.
#[derive(Debug)]
pub struct Lock {
    file: fs::File,
    path: PathBuf,
}

impl Lock {
    /// Waits until the lock at `path` is ours.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        loop {
            let file = lock_file(path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| refused(path, e))?;
            // While we waited the holder may have removed it, and someone else made a new one.
            if is_the_one(&file, path)? {
                return Ok(Self {
                    file,
                    path: path.to_owned(),
                });
            }
        }
    }

    /// Takes the lock at `path` if nobody holds it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = lock_file(path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_the_one(&file, path)? => {
                    return Ok(Some(Self {
                        file,
                        path: path.to_owned(),
                    }));
                }
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(refused(path, e)),
            }
        }
    }
}

/// Removes the files of locks in `dir` that nobody holds, but not `except`: killed runs leave them, and nobody may want
/// the same lock again. What may not be removed, or not be seen, stays.
pub fn remove_stale_locks(dir: &Path, except: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension() == Some("lock".as_ref()) && path != except {
            // Taken and dropped: that removes it.
            drop(Lock::try_acquire(&path));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that nobody can hold two locks of one name. One that stays does no harm.
        if is_the_one(&self.file, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_file(path: &Path) -> io::Result<fs::File> {
    fs::create_dir_all(parent(path)?)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.options_mut().mode(0o600);
    options.open(path)
}

fn refused(path: &Path, error: Errno) -> io::Error {
    io::Error::other(format!("cannot lock {}: {error}", path.display()))
}

/// Whether `file`, which is locked, is the one that others find at `path`.
fn is_the_one(file: &fs::File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn writing_twice_changes_once_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(write(&path, b"one", 0o640).unwrap());
        assert!(!write(&path, b"one", 0o640).unwrap());
        assert!(write(&path, b"two", 0o640).unwrap());
        assert!(write(&path, b"two", 0o600).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, fifo) = (dir.path().join("file"), dir.path().join("fifo"));
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_at_most(&file, 5).unwrap(), b"12345");
        let kind = |path: &Path, limit| read_at_most(path, limit).unwrap_err().kind();
        assert_eq!(kind(&file, 4), io::ErrorKind::FileTooLarge);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for path in [&fifo, dir.path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            assert_eq!(kind(path, 5), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        assert_eq!(kind(&dir.path().join("none"), 5), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_keeps_a_second_holder_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path).unwrap();
        let second = fs::File::open(&path).unwrap();
        assert!(rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(held);
        assert!(rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive).is_ok());
        assert!(!path.exists(), "a lock that nobody holds leaves no file");
    }

    #[test]
    fn locks_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["dead.lock", "daemon.lock", "other"] {
            fs::write(at(name), "").unwrap();
        }
        let held = Lock::acquire(&at("held.lock")).unwrap();
        remove_stale_locks(dir.path(), &at("daemon.lock"));
        let there = ["dead.lock", "daemon.lock", "other", "held.lock"].map(|name| at(name).exists());
        assert_eq!(there, [false, true, true, true]);
        drop(held);
    }

    #[test]
    fn only_one_holds_a_lock_although_its_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let holders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = Lock::acquire(&path).unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{DRAFT}dead")), "half").unwrap();
        fs::create_dir(dir.path().join(format!("{DRAFT}directory"))).unwrap();
        assert!(has_only_drafts(dir.path()).unwrap() && !has_only_drafts(&dir.path().join("no")).unwrap());
        let held = fs::File::open(dir.path()).unwrap();
        rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        remove_dead_drafts(dir.path()).unwrap();
        assert!(dir.path().join(format!("{DRAFT}dead")).exists());
        drop(held);
        remove_dead_drafts(dir.path()).unwrap();
        assert!(!dir.path().join(format!("{DRAFT}dead")).exists());
        fs::write(dir.path().join(format!("{DRAFT}dead")), "half").unwrap();
        write(&dir.path().join("a"), b"whole", 0o644).unwrap();
        assert!(!has_only_drafts(dir.path()).unwrap());
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [format!("{DRAFT}directory"), "a".to_owned()]);
    }
}
