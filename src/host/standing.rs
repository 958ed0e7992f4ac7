//! Whether the files around this process are those of the system that runs.

use super::Program;
use rustix::fs::{Stat, stat};
use rustix::io::Errno;

/// True in a chroot: an image that is being built, or another system that is being repaired. What runs outside is not
/// this system's, also where its sockets can be reached.
pub fn in_chroot() -> bool {
    let same = |one: &Stat, other: &Stat| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
    match (stat("/"), stat("/proc/1/root")) {
        (Ok(own), Ok(first)) => !same(&own, &first),
        // Root may look there, unless the first process has more rights still.
        (_, Err(Errno::ACCESS | Errno::PERM)) => is_below_its_namespace(),
        // Without /proc no system is running.
        _ => true,
    }
}

/// True if the root of this process is another one than that of its mount namespace, to which nsenter(1) goes (setns(2)).
/// Only root can find that out.
fn is_below_its_namespace() -> bool {
    let look = ["stat", "-L", "-c", "%d %i", "/"];
    let ask = |program: &'static str, words: &[&str]| {
        let found = Program::find(program, "util-linux").ok()?;
        Some(found.run().args(words).output().ok()?.text())
    };
    let own = ask(look[0], &look[1..]);
    let outside = ask("nsenter", &[&["--mount=/proc/self/ns/mnt"], &look[..]].concat());
    matches!((own, outside), (Some(own), Some(outside)) if own != outside)
}
