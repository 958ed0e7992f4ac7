//! Guests: a disk that really boots and a console that answers, from Debian's kernel and busybox.

mod cache;
mod disk;
mod domain;
mod initramfs;
mod kernel;

pub(crate) use cache::{CACHE_VARIABLE, cache_dir};
pub(crate) use disk::{DiskSpec, Markers, boot_image, boot_images};
pub(crate) use domain::{BOOT_TIMEOUT, Console, DomainSpec, Line, create};
