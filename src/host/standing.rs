//! Whether the files around this process are those of the system that runs.

use rustix::fs::{Stat, stat};
use rustix::io::Errno;

/// True in a chroot: an image that is being built, or another system that is being repaired. What runs outside is not
/// this system's, also where its sockets can be reached.
pub fn in_chroot() -> bool {
    let same = |one: &Stat, other: &Stat| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
    match (stat("/"), stat("/proc/1/root")) {
        (Ok(own), Ok(first)) => !same(&own, &first),
        // Only root may look there; for others it makes no difference.
        (_, Err(Errno::ACCESS | Errno::PERM)) => false,
        // Without /proc no system is running.
        _ => true,
    }
}
