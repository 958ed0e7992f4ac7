//! Debian packages: three members, the second with what dpkg runs, the third with what it unpacks.

use super::content::{Claims, Entry, SMALL, judge};
use super::input::{Checked, Fault, Source, Wanted};
use super::packing::{Frames, Packing, unpack};
use super::tar::{self, Extended, Kind};
use super::{PackageKind, Verified};
use crate::name::printable;
use crate::package::deb::ar;
use crate::package::name::GuestPackage;
use crate::package::render::Texts;
use std::collections::{BTreeSet, HashMap};
use std::io::{Cursor, Read};

/// The most bytes of `control.tar`.
const MAX_CONTROL: u64 = 4 * 1024 * 1024;

/// Checks the package that begins here; the file has `length` bytes.
pub(super) fn verify<R: Read>(
    source: &mut Source<R>,
    length: u64,
    texts: &Texts,
    wanted: &mut Option<Wanted<'_>>,
) -> Checked<Verified> {
    source.exact(ar::MAGIC.len())?;
    let (name, size) = member(source)?;
    if name != "debian-binary" || size != 4 || source.exact(4)? != b"2.0\n" {
        return Err(source.fault("the first member is not debian-binary 2.0"));
    }
    let (name, size) = member(source)?;
    let packing = packed(source, &name, "control.tar")?;
    if size > MAX_CONTROL {
        return Err(source.fault("control.tar without end"));
    }
    let bytes = source.exact(usize::try_from(size).unwrap_or(0))?;
    end_of_member(source, size)?;
    let mut files = HashMap::new();
    let mut control = Vec::new();
    unpack("control.tar", Cursor::new(bytes), packing, Frames::One, |tar| {
        tar.take_all(MAX_CONTROL, &mut control)
    })?;
    tar::in_memory("control.tar", control, |tar, member| {
        if member.kind == Kind::File {
            let (_, content) = tar.content(member.size, MAX_CONTROL)?;
            let name = member.path.trim_start_matches("./").to_owned();
            let text = String::from_utf8(content).map_err(|_| tar.fault("not UTF-8"))?;
            if files.insert(name, text).is_some() {
                return Err(tar.fault(format!("{} comes twice", printable(&member.path, 200))));
            }
        }
        Ok(())
    })?;
    let fields = fields(files.get("control").map_or("", String::as_str))?;
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    scripts(&files, field("Package"), texts)?;

    let (name, size) = member(source)?;
    let packing = packed(source, &name, "data.tar")?;
    let at = source.at();
    let end = at + size + ar::padding(size).len() as u64;
    if end != length {
        return Err(source.fault(format!(
            "data.tar has {size} bytes, and the file ends {} later",
            length - at
        )));
    }
    let mut entries = Vec::new();
    unpack(
        "data.tar",
        Read::take(&mut *source, size),
        packing,
        Frames::One,
        |tar| {
            tar::members(tar, Extended::Refused, |tar, member| {
                let path = member.path.trim_start_matches('.').trim_end_matches('/');
                let mut entry = Entry {
                    path: if path.is_empty() {
                        "/".into()
                    } else {
                        path.to_owned()
                    },
                    directory: member.kind == Kind::Directory,
                    mode: member.mode,
                    size: member.size,
                    digest: None,
                    content: Vec::new(),
                };
                match member.kind {
                    Kind::Directory => {}
                    Kind::File => {
                        let (digest, content) = tar.content_of(&entry.path, member.size, SMALL, wanted)?;
                        (entry.digest, entry.content) = (Some(digest), content);
                    }
                    Kind::Link(_) => return Err(tar.fault(format!("{} is a link", printable(path, 200)))),
                }
                entries.push(entry);
                Ok(())
            })
        },
    )?;
    end_of_member(source, size)?;
    source.end()?;
    let list = |name| {
        field(name)
            .split(',')
            .map(|item| item.trim().to_owned())
            .collect()
    };
    let claims = Claims {
        kind: PackageKind::Deb,
        name: field("Package"),
        version: field("Version"),
        provides: list("Provides"),
        requires: list("Depends"),
        replaces: replaces(&fields)?,
    };
    judge(&claims, &entries)
}

/// The header of the member that begins here: its name and length.
fn member<R: Read>(source: &mut Source<R>) -> Checked<(String, u64)> {
    let header = source.exact(ar::HEADER)?;
    let text = std::str::from_utf8(&header)
        .ok()
        .filter(|text| text.ends_with("`\n") && text.is_ascii());
    let Some(text) = text else {
        return Err(source.fault("no ar member begins here"));
    };
    let size = text[48..58].trim_end().parse();
    let name = text[..16].trim_end().trim_end_matches('/').to_owned();
    size.map(|size| (name, size))
        .map_err(|_| source.fault("a member without length"))
}

fn end_of_member<R: Read>(source: &mut Source<R>, size: u64) -> Checked<()> {
    let padding = ar::padding(size);
    if source.exact(padding.len())? == padding {
        Ok(())
    } else {
        Err(source.fault("the padding of a member is wrong"))
    }
}

/// How the member called `name` is packed, which has to be `wanted`.
fn packed<R: Read>(source: &Source<R>, name: &str, wanted: &str) -> Checked<Packing> {
    let packing = name.strip_prefix(wanted).and_then(Packing::of_suffix);
    packing.ok_or_else(|| {
        let shown = printable(name, 40);
        source.fault(format!("{shown} is not {wanted}, plain or with .zst, .xz or .gz"))
    })
}

/// The fields of a control file.
fn fields(text: &str) -> Checked<HashMap<String, String>> {
    let mut fields = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let field = line.split_once(": ");
        let (name, value) = field.ok_or_else(|| Fault::new("control", "a line that is no field"))?;
        if fields.insert(name.to_owned(), value.trim().to_owned()).is_some() {
            return Err(Fault::new(
                "control",
                format!("the field {} comes twice", printable(name, 40)),
            ));
        }
    }
    Ok(fields)
}

/// The packages that this one takes the place of. One that it only pushes aside, or only overwrites, is not replaced.
fn replaces(fields: &HashMap<String, String>) -> Checked<Vec<String>> {
    let names = |field: &str| -> BTreeSet<String> {
        let items = fields.get(field).map_or("", String::as_str).split([',', '|']);
        let names = items.filter_map(|item| item.split_whitespace().next());
        names.map(str::to_owned).collect()
    };
    let (conflicts, replaces) = (names("Conflicts"), names("Replaces"));
    let other = names("Breaks").into_iter().next();
    match other.or_else(|| conflicts.symmetric_difference(&replaces).next().cloned()) {
        Some(name) => Err(Fault::new(
            "control",
            format!(
                "its relation to {} is none that miniascape writes",
                printable(&name, 80)
            ),
        )),
        None => Ok(conflicts.into_iter().collect()),
    }
}

/// dpkg runs nothing but what miniascape writes.
fn scripts(files: &HashMap<String, String>, package: &str, texts: &Texts) -> Checked<()> {
    let guest = package.parse::<GuestPackage>().ok();
    for (name, text) in files {
        let ours = match (name.as_str(), &guest) {
            ("control" | "md5sums", _) => continue,
            ("postinst" | "postrm", Some(guest)) => texts.scriptlet(name, guest).ok(),
            _ => None,
        };
        if ours.as_deref() != Some(text) {
            let place = format!("{} in control.tar", printable(name, 40));
            return Err(Fault::new(place, "a script that miniascape does not write"));
        }
    }
    Ok(())
}
