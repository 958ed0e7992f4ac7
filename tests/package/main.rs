//! Repack with the real qemu-img, rpmbuild and dpkg-deb, looked at with rpm, dpkg and qemu-img again. No libvirt.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod base;
mod build;
mod damage;
mod firmware;
mod guest;
mod hostile;
mod install;
mod kills;
mod large;
mod many;
mod refuse;
mod since;
mod tools;
mod unpack;
mod verify;
mod what;
