//! How images get into packages: read once, compressed once, written to every kind of package at the same time.
//!
//! What stands around an image in a package is the business of `rpm`, `deb` and `tree`.

mod blocks;
mod codec;
mod crc32;
mod draft;
mod frame;
mod pump;
mod xz;

pub use codec::Codec;
pub(super) use codec::Listing;
pub(super) use crc32::Crc32;
pub(super) use draft::Draft;
pub(super) use pump::{Payload, Sink, pump};
