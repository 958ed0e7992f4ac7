//! What all packages of one set have in common, and what has been made of one.

use super::manifest::Timestamp;
use super::name::GuestPackage;
use super::render::Texts;
use super::stream::Codec;
use crate::name::PackageVersion;
use std::path::PathBuf;

/// What is known before any image has been read.
#[derive(Debug)]
pub(super) struct Set<'a> {
    pub(super) package: &'a GuestPackage,
    pub(super) version: &'a PackageVersion,
    /// RPM release and Debian revision of all packages.
    pub(super) release: u32,
    pub(super) created: Timestamp,
    pub(super) codec: Codec,
    pub(super) texts: &'a Texts,
}

impl Set<'_> {
    /// The time of everything, in seconds since 1970, which is where RPM's and tar's clocks begin.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.created.epoch().max(0)).unwrap_or(u32::MAX)
    }

    /// The file name of the source package that the others come from.
    pub(super) fn source_rpm(&self) -> String {
        format!("{}-{}-{}.src.rpm", self.package, self.version, self.release)
    }

    /// `vm-NAME-repacked-VERSION`: the build tree, and all that is made of it.
    pub(super) fn tree_name(&self) -> String {
        format!("{}-repacked-{}", self.package, self.version)
    }
}

/// A finished file in the working directory.
#[derive(Debug)]
pub(super) struct Built {
    /// Where it is.
    pub(super) file: PathBuf,
    /// What it is called where people look for it.
    pub(super) name: String,
    /// The package that it holds or makes.
    pub(super) package: String,
}
