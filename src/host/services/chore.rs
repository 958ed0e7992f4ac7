//! When the daemon takes up pending work: at its start, when some is put on record or an image comes (inotify), and, as
//! long as some is left, again after pauses that grow. Nothing is polled while nothing is pending. What the work is, is the caller's
//! business.

use crate::host::{Layout, files};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// First pause before another attempt.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause while libvirt is away; a connection that fails costs next to nothing.
const LONGEST_AWAY: Duration = Duration::from_secs(10);
/// Longest pause when what is left was tried and could not be done.
const LONGEST_REFUSED: Duration = Duration::from_secs(60);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Nothing is left.
    Done,
    /// What it needs is not there yet.
    Waits,
    /// Something could not be done.
    Refused,
}

/// Calls `chore` whenever there may be something to do, for ever.
pub(super) fn repeat(layout: &Layout, mut chore: impl FnMut() -> Chore) {
    let watch = watch(layout)
        .inspect_err(|error| tracing::warn!(%error, "pending work is looked for now and then only"))
        .ok();
    let mut pause = FIRST;
    loop {
        if let Some(watch) = &watch {
            watch_images(layout, &watch.images);
            drain(&watch.images);
        }
        let outcome = chore();
        // What was put on record meanwhile is either done or left; news of it would only come from our own writing.
        if let Some(watch) = &watch {
            drain(&watch.pending);
        }
        let outcome = match outcome {
            // Put on record between the attempt and the draining; or damaged, and told so at each attempt.
            Chore::Done if has_files(layout) => Chore::Refused,
            outcome => outcome,
        };
        let again = match outcome {
            Chore::Done if watch.is_some() => None,
            Chore::Done => Some(LONGEST_REFUSED),
            Chore::Waits => Some(pause.min(LONGEST_AWAY)),
            Chore::Refused => Some(pause),
        };
        pause = if outcome == Chore::Done { FIRST } else { pause * 2 }.min(LONGEST_REFUSED);
        if sleep(watch.as_ref(), again) {
            pause = FIRST;
        }
    }
}

/// What tells of new work.
struct Watch {
    pending: OwnedFd,
    /// Apart, since what comes while the daemon is at work is not to be missed.
    images: OwnedFd,
}

/// Watches the directory of pending work, which is made for that.
fn watch(layout: &Layout) -> io::Result<Watch> {
    let dir = layout.pending();
    files::make_dir(dir.on_disk(), 0o755)?;
    let new = || init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
    let watch = Watch {
        pending: new()?,
        images: new()?,
    };
    // Files are written under another name and renamed.
    add_watch(&watch.pending, dir.on_disk(), WatchFlags::MOVED_TO)?;
    Ok(watch)
}

/// Watches the packaged images, as soon as there is a directory of them. They come without any scriptlet.
fn watch_images(layout: &Layout, watch: &OwnedFd) {
    let dir = layout.packaged_images();
    match add_watch(watch, dir.on_disk(), WatchFlags::MOVED_TO) {
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => tracing::debug!(%error, "packaged images are not watched"),
    }
}

fn has_files(layout: &Layout) -> bool {
    fs_err::read_dir(layout.pending().on_disk()).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.path().extension() == Some("json".as_ref())))
    })
}

fn drain(watch: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(watch, &mut buffer);
    while reader.next().is_ok() {}
}

/// Waits for `pause`, or for ever; true if something was put on record meanwhile.
fn sleep(watch: Option<&Watch>, pause: Option<Duration>) -> bool {
    let Some(watch) = watch else {
        std::thread::sleep(pause.unwrap_or(LONGEST_REFUSED));
        return false;
    };
    let limit = pause.and_then(|pause| Timespec::try_from(pause).ok());
    loop {
        let fds =
            [&watch.pending, &watch.images].map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        match poll(&mut { fds }, limit.as_ref()) {
            Err(Errno::INTR) => {}
            result => return result.is_ok_and(|ready| ready > 0),
        }
    }
}
