//! `miniascape image verify`: are an image and what it stands on whole?

use super::super::output::table;
use super::super::progress::{ProgressArgs, Teller};
use super::super::{Context, Failure};
use super::{Below, Source, shown};
use miniascape::image::{self, Soundness};
use miniascape::name::Digest;
use miniascape::package::Step;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  miniascape image verify web.qcow2
  miniascape image verify web.qcow2 --content --format json")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The SHA-256 that the file has to have [default: the one in its name, if it is named sha256-….qcow2]
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Read all that a guest would read, and tell the digest of that
    #[arg(long)]
    content: bool,
    #[command(flatten)]
    below: Below,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let path = &args.source.path;
    let disk = args.below.open(path, args.source.own_format()?)?;
    let teller = Teller::new(context, args.progress.style);
    let step = |name, title, bytes| Step { name, title, bytes };
    let tables = step("tables", format!("check the tables of {}", shown(path)), None);
    let found = teller.run(&tables, |_| disk.verify())?;
    let wanted = args.digest.or_else(|| named(path));
    let digest = match &wanted {
        Some(_) => {
            let bytes = fs_err::metadata(path)?.len();
            let step = step("digest", format!("read {}", shown(path)), Some(bytes));
            Some(teller.run(&step, |tell| image::sha256_file(path, tell))?)
        }
        None => None,
    };
    let mut problems: Vec<String> = Vec::new();
    for file in &found {
        let name = shown(&file.path);
        problems.extend(file.problems.iter().map(|problem| format!("{name}: {problem}")));
        let untold = file.problem_count - file.problems.len() as u64;
        if untold > 0 {
            problems.push(format!("{name}: {untold} more"));
        }
    }
    if let (Some(wanted), Some(digest)) = (&wanted, &digest)
        && wanted != digest
    {
        problems.push(format!(
            "{}: its SHA-256 is {digest}, not {wanted}",
            path.display()
        ));
    }
    // Bytes that damaged tables lead to mean nothing.
    let content = if args.content && problems.is_empty() {
        let title = format!("read the disk of {}", shown(path));
        let step = step("content", title, Some(disk.virtual_size()));
        Some(teller.run(&step, |tell| image::content_digest(&disk, tell))?)
    } else {
        None
    };
    let value = json!({
        "sound": problems.is_empty(),
        "files": found,
        "sha256": digest,
        "content": content,
    });
    context.output().result(&value, || {
        let mut text = table(["PROBLEMS", "LEAKED", "CLUSTERS", "FILE"], &rows(&found), "");
        if let Some(digest) = &digest {
            text.extend(["\nsha256   ", &digest.to_string()]);
        }
        if let Some(content) = &content {
            text.extend(["\ncontent  ", &content.to_string()]);
        }
        text
    })?;
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::failed(problems.join("\n"))
        .hint("`qemu-img check -r all` may repair tables; lost data it cannot"))
}

fn rows(found: &[Soundness]) -> Vec<[String; 4]> {
    let row = |file: &Soundness| {
        let leaked = if file.dirty {
            "unknown".to_owned()
        } else {
            file.leaked.to_string()
        };
        let path = shown(&file.path);
        [
            file.problem_count.to_string(),
            leaked,
            file.used.to_string(),
            path,
        ]
    };
    found.iter().map(row).collect()
}

/// The digest in the name of a packaged image.
fn named(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    Digest::of_file_name(name)
}
