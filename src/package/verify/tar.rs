//! Tar files: the members of a Debian package, and the build tree.

use super::content::{plain_path, plausible};
use super::input::{Checked, Fault, Source, Wanted};
use super::packing::{Frames, Packing, unpack};
use super::pax::Pax;
use super::{PackageKind, Verified, VerifiedFile};
use crate::name::{Digest, printable};
use crate::package::manifest::Manifest;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor, Read};

/// The longest name.
const MAX_NAME: u64 = 4096;
/// The longest extended header.
const MAX_PAX: u64 = 64 * 1024;
/// The most members.
const MAX_MEMBERS: usize = 4096;
/// Bytes of a tar block.
const BLOCK: usize = 512;

/// A member of a tar file.
#[derive(Debug)]
pub(super) struct Member {
    /// As it is written.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) size: u64,
}

/// Kinds of members that are not refused.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Directory,
    File,
    /// Another name of an earlier member.
    Link(String),
}

/// Whether extended headers may stand in a tar file: dpkg reads none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Extended {
    Read,
    Refused,
}

/// Reads a tar file to its end. `take` reads what a file holds.
pub(super) fn members(
    tar: &mut Source<&mut dyn Read>,
    extended: Extended,
    mut take: impl FnMut(&mut Source<&mut dyn Read>, Member) -> Checked<()>,
) -> Checked<()> {
    let (mut name, mut target, mut pax) = (None, None, Pax::default());
    for _ in 0..MAX_MEMBERS {
        let block = tar.exact(BLOCK)?;
        if block.iter().all(|b| *b == 0) {
            // Two such blocks are the end; many fill up to a multiple of something larger.
            tar.exact(BLOCK)?
                .iter()
                .all(|b| *b == 0)
                .then_some(())
                .ok_or_else(|| tar.fault("something follows the end"))?;
            tar.zeros_to_end()?;
            return tar.padding(BLOCK as u64);
        }
        let header = tar::Header::from_byte_slice(&block);
        let bad = |what: &str| tar.fault(what.to_owned());
        let sum = header.cksum().map_err(|_| bad("no checksum"))?;
        let sums = block.iter().enumerate().map(|(i, b)| {
            if (148..156).contains(&i) {
                32
            } else {
                u32::from(*b)
            }
        });
        if sums.sum::<u32>() != sum {
            return Err(bad("the checksum of a header is wrong"));
        }
        let size = header.size().map_err(|_| bad("no length"))?;
        let mode = header.mode().map_err(|_| bad("no mode"))?;
        let kind = header.entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            if size > MAX_NAME {
                return Err(bad("a name without end"));
            }
            let (_, text) = tar.content(size, MAX_NAME)?;
            tar.padding(BLOCK as u64)?;
            let text = String::from_utf8(text).map_err(|_| tar.fault("a name that is not UTF-8"))?;
            let slot = if kind.is_gnu_longname() {
                &mut name
            } else {
                &mut target
            };
            *slot = Some(text.trim_end_matches('\0').to_owned());
            continue;
        }
        if kind.is_pax_local_extensions() && extended == Extended::Read && size <= MAX_PAX {
            let (_, text) = tar.content(size, MAX_PAX)?;
            tar.padding(BLOCK as u64)?;
            pax = Pax::parse(&text).map_err(|what| tar.fault(what))?;
            continue;
        }
        let pax = std::mem::take(&mut pax);
        let size = pax.size.unwrap_or(size);
        let text =
            |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| bad("a name that is not UTF-8"));
        let path = match pax.path.or(name.take()) {
            Some(name) => name,
            None => text(&header.path_bytes())?,
        };
        let shown = printable(&path, 200);
        let refuse = |what: &str| Err(tar.fault(format!("{shown} is {what}")));
        if let Err(what) = plain_path(&path) {
            return Err(tar.fault(what));
        }
        if path.starts_with('/') {
            return refuse("an absolute path");
        }
        if let Err(what) = plausible(&path, size) {
            return Err(tar.fault(what));
        }
        let target = pax.link.or(target.take());
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_hard_link() {
            let short = header.link_name_bytes().unwrap_or_default();
            Kind::Link(match target {
                Some(target) => target,
                None => text(&short)?,
            })
        } else if kind.is_symlink() {
            return refuse("a symbolic link");
        } else {
            return refuse("neither file nor directory");
        };
        if kind != Kind::File && size != 0 {
            return refuse("no file, but has content");
        }
        take(
            tar,
            Member {
                path,
                kind,
                mode,
                size,
            },
        )?;
        tar.padding(BLOCK as u64)?;
    }
    Err(tar.fault("members without end"))
}

/// Checks the tar file of a build tree.
pub(super) fn verify<R: Read>(source: &mut Source<R>, wanted: &mut Option<Wanted<'_>>) -> Checked<Verified> {
    let mut packed = BufReader::new(source);
    let start = packed
        .fill_buf()
        .map_err(|e| Fault::new("the file", e.to_string()))?;
    let packing = Packing::of_start(start);
    if packing == Packing::Plain && start.get(257..262) != Some(b"ustar") {
        return Err(Fault::new(
            "its beginning",
            "neither RPM, Debian package nor tar file",
        ));
    }
    let mut found: HashMap<String, (u64, Digest)> = HashMap::new();
    let mut small: HashMap<String, Vec<u8>> = HashMap::new();
    let mut tree = None;
    unpack("the tar file", packed, packing, Frames::Any, |tar| {
        members(tar, Extended::Read, |tar, member| {
            let shown = printable(&member.path, 200);
            let (dir, rest) = member.path.split_once('/').unwrap_or((&member.path, ""));
            if tree.get_or_insert_with(|| dir.to_owned()) != dir {
                return Err(tar.fault(format!("{shown} lies outside the tree")));
            }
            if member.mode & 0o7022 != 0 {
                return Err(tar.fault(format!("{shown} has the mode {:o}", member.mode)));
            }
            let (size, digest) = match &member.kind {
                Kind::Directory => return Ok(()),
                Kind::File => {
                    let keep = if rest == "manifest.json" {
                        super::content::SMALL
                    } else {
                        0
                    };
                    let (digest, content) = tar.content_of(rest, member.size, keep, wanted)?;
                    small.insert(rest.to_owned(), content);
                    (member.size, digest)
                }
                Kind::Link(target) => {
                    let inside = target
                        .split_once('/')
                        .filter(|(of, _)| *of == dir)
                        .map(|(_, name)| name);
                    match inside.and_then(|name| found.get(name)) {
                        Some(known) => *known,
                        None => return Err(tar.fault(format!("{shown} is a link to something else"))),
                    }
                }
            };
            if found.insert(rest.to_owned(), (size, digest)).is_some() {
                return Err(tar.fault(format!("{shown} comes twice")));
            }
            Ok(())
        })
    })?;
    let json = small.get("manifest.json");
    let json = json.ok_or_else(|| Fault::new("the tar file", "manifest.json is missing"))?;
    let manifest = Manifest::parse(json).map_err(|e| Fault::new("manifest.json", e.to_string()))?;
    for layer in manifest.images() {
        let name = layer.digest.file_name();
        match found.get(&name) {
            Some((size, digest)) if *digest == layer.digest && *size == layer.file_size => {}
            Some((_, digest)) => return Err(Fault::new(name, format!("its SHA-256 is {digest}"))),
            None => return Err(Fault::new("the tar file", format!("{name} is missing"))),
        }
    }
    for section in &manifest.files {
        let name = section.name.to_string();
        match found.get(&name) {
            Some((size, digest)) if *digest == section.digest && *size == section.size => {}
            Some(_) => return Err(Fault::new(name, "it is not the one that the manifest lists")),
            None => return Err(Fault::new("the tar file", format!("{name} is missing"))),
        }
    }
    let mut files: Vec<VerifiedFile> = found
        .into_iter()
        .map(|(path, (size, digest))| VerifiedFile { path, size, digest })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Verified {
        kind: PackageKind::Tar,
        package: manifest.package.name.to_string(),
        version: format!("{}-{}", manifest.package.version, manifest.package.release),
        files,
    })
}

/// A tar file in memory.
pub(super) fn in_memory(
    name: &'static str,
    bytes: Vec<u8>,
    take: impl FnMut(&mut Source<&mut dyn Read>, Member) -> Checked<()>,
) -> Checked<()> {
    let mut cursor = Cursor::new(bytes);
    let mut source = Source::new(name, &mut cursor as &mut dyn Read);
    members(&mut source, Extended::Refused, take)
}
