//! RPM packages: lead, signature header, header, archive.

use super::content::{self, Claims, Entry, SMALL, judge};
use super::header::Tags;
use super::input::{Checked, Fault, Source, Wanted};
use super::packing::{Frames, Packing, unpack};
use super::{PackageKind, Verified};
use crate::name::{Digest, printable};
use crate::package::name::GuestPackage;
use crate::package::render::Texts;
use crate::package::rpm::{cpio, header};
use sha2::{Digest as _, Sha256};
use std::io::Read;

/// Scriptlets and triggers that no package of ours has.
const FOREIGN: [u32; 20] = [
    1023, 1025, 1065, 1066, 1067, 1068, 1069, 1079, 1085, 1087, 1091, 1092, 1151, 1152, 1153, 1154, 5066,
    5067, 5076, 5077,
];
/// The archive of an image package, as it is read.
const ARCHIVE: &str = "the archive";

/// Checks the package that begins here; the file has `length` bytes.
pub(super) fn verify<R: Read>(
    source: &mut Source<R>,
    length: u64,
    texts: &Texts,
    wanted: &mut Option<Wanted<'_>>,
) -> Checked<Verified> {
    let lead = source.exact(96)?;
    if lead[4] != 3 {
        return Err(source.fault("the lead is not that of an RPM of version 3 or 4"));
    }
    let signature = Tags::read(source, "the signature header", header::SIGNATURES)?;
    source.padding(8)?;
    let tags = Tags::read(source, "the header", header::IMMUTABLE)?;
    let digest = Digest::from_bytes(Sha256::digest(&tags.bytes).into());
    if signature.text(273)? != digest.to_string() {
        return Err(signature.fault(273, format!("the SHA-256 of the header is {digest}")));
    }
    let rest = length - source.at().min(length);
    let size = tags.bytes.len() as u64 + rest;
    if signature.either(270, 1000)? != [size] {
        return Err(signature.fault(270, format!("header and archive have {size} bytes")));
    }
    let name = tags.text(1000)?.to_owned();
    let source_package = tags.numbers(1106)? == [1];
    scriptlets(&tags, &name, source_package, texts)?;
    let mut entries = entries(&tags, source_package)?;
    let version = format!("{}-{}", tags.text(1001)?, tags.text(1002)?);
    let plain = archive(source, &tags, &mut entries, source_package, wanted)?;
    let told = signature.either(271, 1007)?;
    if !told.is_empty() && told != [plain] {
        return Err(signature.fault(271, format!("the unpacked archive has {plain} bytes")));
    }
    let claims = Claims {
        kind: if source_package {
            PackageKind::Srpm
        } else {
            PackageKind::Rpm
        },
        name: &name,
        version: &version,
        provides: tags.texts(1047)?.to_vec(),
        requires: tags.texts(1049)?.to_vec(),
        replaces: [tags.texts(1054)?, tags.texts(1090)?].concat(),
    };
    if !source_package {
        return judge(&claims, &entries);
    }
    let [tarball, spec] = entries.as_slice() else {
        return Err(tags.fault(1117, "a source package has a tar file and a spec"));
    };
    let expected = format!("{name}.spec");
    if name.parse::<GuestPackage>().is_err() || spec.path != expected || !tarball.path.starts_with(&name) {
        return Err(tags.fault(
            1117,
            "these are not the files of a source package of miniascape's",
        ));
    }
    Ok(Verified {
        kind: claims.kind,
        version,
        files: entries.iter().filter_map(Entry::told).collect(),
        package: name,
    })
}

/// The scriptlets are those that miniascape writes, and nothing else is run.
fn scriptlets(tags: &Tags, name: &str, source_package: bool, texts: &Texts) -> Checked<()> {
    if let Some(tag) = FOREIGN.into_iter().find(|tag| tags.has(*tag)) {
        return Err(tags.fault(tag, "a scriptlet that miniascape does not write"));
    }
    let guest = name.parse::<GuestPackage>().ok().filter(|_| !source_package);
    for (tag, program, template) in [(1024, 1086, "rpm-post"), (1026, 1088, "rpm-postun")] {
        let Some(guest) = &guest else {
            if tags.has(tag) || tags.has(program) {
                return Err(tags.fault(tag, "a scriptlet that miniascape does not write"));
            }
            continue;
        };
        let ours = texts.scriptlet(template, guest).unwrap_or_default();
        if tags.text(tag)? != ours.trim_end() || tags.text(program)? != "/bin/sh" {
            return Err(tags.fault(tag, "a scriptlet that miniascape does not write"));
        }
    }
    Ok(())
}

/// The list of files, without their content.
fn entries(tags: &Tags, source_package: bool) -> Checked<Vec<Entry>> {
    let (bases, dirs) = (tags.texts(1117)?, tags.texts(1118)?);
    let indexes = tags.numbers(1116)?;
    let (modes, sizes) = (tags.numbers(1030)?, tags.either(5008, 1028)?);
    let (digests, links) = (tags.texts(1035)?, tags.texts(1036)?);
    let lengths = [
        indexes.len(),
        modes.len(),
        sizes.len(),
        digests.len(),
        links.len(),
    ];
    if lengths.iter().any(|length| *length != bases.len()) {
        return Err(tags.fault(1117, "the lists of files have different lengths"));
    }
    if tags.numbers(5011)? != [8] {
        return Err(tags.fault(5011, "the digests of files are not SHA-256"));
    }
    let mut entries = Vec::new();
    for (i, base) in bases.iter().enumerate() {
        let dir = usize::try_from(indexes[i]).ok().and_then(|index| dirs.get(index));
        let path = format!(
            "{}{base}",
            dir.ok_or_else(|| tags.fault(1116, "no such directory"))?
        );
        let shown = printable(&path, 200);
        let absolute = path.starts_with('/');
        if absolute == source_package || base.contains('/') {
            return Err(tags.fault(1117, format!("the path {shown} is not a plain one")));
        }
        content::plain_path(&path).map_err(|what| tags.fault(1117, what))?;
        if !source_package {
            content::plausible(&path, sizes[i]).map_err(|what| tags.fault(5008, what))?;
        }
        let directory = match modes[i] & 0o170_000 {
            0o040_000 => true,
            0o100_000 => false,
            0o120_000 => return Err(tags.fault(1030, format!("{shown} is a symbolic link"))),
            _ => return Err(tags.fault(1030, format!("{shown} is neither file nor directory"))),
        };
        if !links[i].is_empty() {
            return Err(tags.fault(1036, format!("{shown} is a link")));
        }
        let digest = match (directory, digests[i].parse()) {
            (true, _) => None,
            (false, Ok(digest)) => Some(digest),
            (false, Err(_)) => return Err(tags.fault(1035, format!("no digest of {shown}"))),
        };
        entries.push(Entry {
            path,
            directory,
            mode: u32::try_from(modes[i] & 0o7777).unwrap_or(0),
            size: if directory { 0 } else { sizes[i] },
            digest,
            content: Vec::new(),
        });
    }
    Ok(entries)
}

/// Reads the archive and compares it with the list; returns its length, unpacked.
fn archive<R: Read>(
    source: &mut Source<R>,
    tags: &Tags,
    entries: &mut [Entry],
    source_package: bool,
    wanted: &mut Option<Wanted<'_>>,
) -> Checked<u64> {
    if tags.text(1124)? != "cpio" {
        return Err(tags.fault(1124, "the archive is not a cpio one"));
    }
    let packing = match tags.text(1125) {
        Ok(name) => Packing::of_name(name),
        Err(_) if !tags.has(1125) => Some(Packing::Plain),
        Err(_) => None,
    };
    let packing = packing.ok_or_else(|| tags.fault(1125, "neither zstd, xz nor gzip"))?;
    // rpm itself reads several frames of zstd, but one stream of xz.
    let frames = if packing == Packing::Zstd {
        Frames::Any
    } else {
        Frames::One
    };
    if tags.numbers(5093)? != [8] {
        return Err(tags.fault(5093, "the digest of the archive is not SHA-256"));
    }
    let mut packed = Source::digested("the packed archive", source);
    let mut seen = vec![false; entries.len()];
    let plain = unpack(ARCHIVE, &mut packed, packing, frames, |archive| {
        while let Some((index, size)) = next(archive, entries, source_package)? {
            let entry = &mut entries[index];
            if std::mem::replace(&mut seen[index], true) {
                return Err(archive.fault(format!("{} comes twice", printable(&entry.path, 200))));
            }
            if size.is_some_and(|size| size != entry.size) {
                return Err(archive.fault(format!("{} has another length", printable(&entry.path, 200))));
            }
            if !entry.directory {
                let (digest, content) = archive.content_of(&entry.path, entry.size, SMALL, wanted)?;
                if entry.digest != Some(digest) {
                    let what = format!("the SHA-256 of {} is {digest}", printable(&entry.path, 200));
                    return Err(archive.fault(what));
                }
                entry.content = content;
                archive.padding(4)?;
            }
        }
        let plain = archive.at();
        archive.zeros_to_end()?;
        Ok(plain)
    })?;
    let (digest, _) = packed.finish();
    if tags.texts(5092)? != [digest.to_string()] {
        return Err(tags.fault(5092, format!("the SHA-256 of the archive is {digest}")));
    }
    match seen.iter().position(|seen| !seen) {
        Some(missing) => {
            let path = printable(&entries[missing].path, 200);
            Err(Fault::new(ARCHIVE, format!("{path} is missing")))
        }
        None => Ok(plain),
    }
}

/// The next entry of the archive: its number in the list, and its length if it says that.
fn next(
    archive: &mut Source<&mut dyn Read>,
    entries: &[Entry],
    source_package: bool,
) -> Checked<Option<(usize, Option<u64>)>> {
    let magic = archive.exact(6)?;
    if magic == cpio::MAGIC {
        let index = hex(archive, 8)?;
        archive.padding(4)?;
        let index = usize::try_from(index).ok().filter(|index| *index < entries.len());
        return match index {
            Some(index) => Ok(Some((index, None))),
            None => Err(archive.fault("an entry for a file that is not in the list")),
        };
    }
    if magic != b"070701" {
        return Err(archive.fault("no cpio entry begins here"));
    }
    let mut fields = [0; 13];
    for field in &mut fields {
        *field = hex(archive, 8)?;
    }
    let (size, length) = (fields[6], usize::try_from(fields[11]).unwrap_or(usize::MAX));
    if length > 4096 {
        return Err(archive.fault("a name without end"));
    }
    let name = archive.exact(length)?;
    archive.padding(4)?;
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end_matches('\0');
    if name == "TRAILER!!!" {
        return Ok(None);
    }
    let path = if source_package {
        name
    } else {
        name.strip_prefix('.').unwrap_or(name)
    };
    match entries.iter().position(|entry| entry.path == path) {
        Some(index) => {
            let size = if entries[index].directory { 0 } else { size };
            Ok(Some((index, Some(size))))
        }
        None => Err(archive.fault(format!("{} is not in the list of files", printable(name, 200)))),
    }
}

fn hex(archive: &mut Source<&mut dyn Read>, digits: usize) -> Checked<u64> {
    let bytes = archive.exact(digits)?;
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| !text.starts_with('+'));
    let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    number.ok_or_else(|| archive.fault("a number is missing"))
}
