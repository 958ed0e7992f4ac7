//! `man`: the manual pages, made of the command line's own definition and of the tables by which files are read.

mod commands;
mod files;

use super::{Context, Failure};
use miniascape::schema::DOCUMENTS;
use roff::{Inline, bold, roman};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape man . && man ./miniascape-net-register.1")]
pub(crate) struct Args {
    /// The directory that the pages are written into; made if it is not there
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

/// A page: the name of its file, and its source for man.
struct Page {
    name: String,
    source: Vec<u8>,
}

pub(crate) fn run(context: &Context, args: &Args, program: clap::Command) -> Result<ExitCode, Failure> {
    let made = commands::pages(program).and_then(|mut pages| {
        for document in DOCUMENTS {
            pages.push(files::page(document)?);
        }
        Ok(pages)
    });
    let pages = made.map_err(|e| Failure::failed(format!("cannot make the pages: {e}")))?;
    for page in &pages {
        let path = args.dir.join(&page.name);
        miniascape::host::files::write(&path, &page.source, 0o644)
            .map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?;
    }
    let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
    context.output().report(&json!({ "written": names }), || {
        format!("{} pages in {}", names.len(), args.dir.display())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The words between backticks of `text` in bold, the rest as it is.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

/// The references of a page to others: `name(section)`.
fn references(all: &[(String, u8)]) -> Vec<Inline> {
    let mut line = Vec::new();
    for (name, section) in all {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(name));
        line.push(roman(format!("({section})")));
    }
    line
}
