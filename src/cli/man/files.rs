//! A page of section 5 for each YAML file: its keys, out of the tables by which it is read.

use super::{Page, marked, references};
use miniascape::schema::DOCUMENTS;
use miniascape::yaml::{Document, Key, Known, Shape};
use roff::{Roff, bold, italic, roman};
use std::io;

/// The name of a file's page.
pub(super) fn name(document: &Document) -> String {
    format!("miniascape-{}", document.name)
}

pub(super) fn page(document: &Document) -> io::Result<Page> {
    let name = name(document);
    let mut roff = Roff::new();
    roff.control(
        "TH",
        [
            name.to_uppercase().as_str(),
            "5",
            "",
            concat!("miniascape ", env!("CARGO_PKG_VERSION")),
            "miniascape",
        ],
    );
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", document.title))]);
    roff.control("SH", ["SYNOPSIS"]);
    for (at, file) in document.files.iter().enumerate() {
        if at > 0 {
            roff.control("br", []);
        }
        roff.text([bold(*file)]);
    }
    roff.control("SH", ["DESCRIPTION"]);
    roff.text(marked(
        "A YAML file (version 1.2) with the keys below. Any other key is a mistake, which is told with its place, \
         and nothing is done then. Keys marked with an asterisk have to be there.",
    ));
    roff.control("SH", ["KEYS"]);
    keys(&mut roff, document.keys, "");
    if !document.old_keys.is_empty() {
        roff.control("SH", ["THE FORM OF THE FIRST RELEASES"]);
        roff.text(marked(
            "Files of miniascape's first releases are read as they stand. What their keys are now:",
        ));
        keys(&mut roff, document.old_keys, "");
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in document.example.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    let others = DOCUMENTS.iter().filter(|other| other.name != document.name);
    let mut all = vec![("miniascape".to_owned(), 1), ("miniascape-schema".to_owned(), 1)];
    all.extend(others.map(|other| (self::name(other), 5)));
    roff.text(references(&all));
    let mut source = Vec::new();
    roff.to_writer(&mut source)?;
    Ok(Page {
        name: format!("{name}.5"),
        source,
    })
}

/// The keys of a mapping whose own path is `above`, each followed by those within its value.
fn keys(roff: &mut Roff, keys: &[Key], above: &str) {
    for key in keys.iter().filter_map(Key::known) {
        let path = if above.is_empty() {
            key.name.to_owned()
        } else {
            format!("{above}.{}", key.name)
        };
        roff.control("TP", []);
        let star = if key.needed { "*" } else { "" };
        roff.text([bold(&path), roman(star), roman("  "), italic(form(&key.shape))]);
        roff.text(marked(&sentence(key)));
        within(roff, &key.shape, &path);
    }
}

/// The keys of the mappings in a value.
fn within(roff: &mut Roff, shape: &Shape, path: &str) {
    match shape {
        Shape::Map(inner) => keys(roff, inner, path),
        Shape::List(item) | Shape::Several(item) => within(roff, item, &format!("{path}[]")),
        Shape::Any(all) => {
            for one in *all {
                within(roff, one, &alternative(one, path));
            }
        }
        _ => {}
    }
}

/// The path of one of several mappings that may stand at `path`: with the key that tells which it is, as `net diff`
/// writes it.
fn alternative(shape: &Shape, path: &str) -> String {
    let tells = match shape {
        Shape::Map(keys) => keys.iter().find_map(Key::known),
        _ => None,
    };
    match (path.strip_suffix("[]"), tells) {
        (Some(list), Some(key)) => format!("{list}[{} …]", key.name),
        _ => path.to_owned(),
    }
}

/// A key's meaning as a sentence.
fn sentence(key: &Known) -> String {
    let mut text = key.about.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}

/// What a value looks like, in a few words.
fn form(shape: &Shape) -> String {
    match shape {
        Shape::Text(what) | Shape::Pattern(what, _) => (*what).to_owned(),
        Shape::Words(words) => words.join("|"),
        Shape::Flag => "true|false".to_owned(),
        Shape::Number(least, most) => format!("{least} to {most}"),
        Shape::List(item) => format!("list of {}", form(item)),
        Shape::Several(item) => format!("{}, or a list", form(item)),
        Shape::Map(_) => "mapping".to_owned(),
        Shape::Names(_, item) => format!("mapping of names to {}", form(item)),
        Shape::Any(all) => {
            let mut forms: Vec<String> = all.iter().map(form).collect();
            forms.dedup();
            forms.join("|")
        }
    }
}
