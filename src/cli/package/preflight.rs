//! `miniascape package preflight`: would these packages work on this host?

use crate::cli::output;
use crate::cli::progress::{Style, Teller};
use crate::cli::{Context, Failure};
use miniascape::guest;
use miniascape::install::{self, Finding, Verdict};
use miniascape::name::printable;
use miniascape::package::{self, Contents};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--format json` tells.
#[derive(Serialize)]
struct Told<'a> {
    go: bool,
    findings: &'a [Finding],
}

/// One row per finding; the status is 3 if one of them is a no.
pub(super) fn run(context: &Context, files: &[PathBuf], style: Style) -> Result<ExitCode, Failure> {
    let libvirt = context.local_libvirt(true)?;
    let (packages, _) = read(context, files, style)?;
    let (virt, _) = guest::virt_type(context.layout(), true)?;
    let findings = install::preflight(context.layout(), &libvirt, virt, &packages, false)?;
    let go = findings.iter().all(|finding| finding.verdict != Verdict::No);
    let told = Told {
        go,
        findings: &findings,
    };
    context.output().result(&told, || table(&findings))?;
    // What was found is the answer; a message beside it would only repeat it.
    Ok(if go { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// What is in the files, and in those of image packages beside them that guests need; and which these are.
pub(super) fn read(
    context: &Context,
    files: &[PathBuf],
    style: Style,
) -> Result<(Vec<Contents>, Vec<PathBuf>), Failure> {
    let teller = Teller::new(context, style);
    let read = || -> Result<_, Failure> {
        let mut packages = Vec::new();
        for path in files {
            // Package managers take what has no slash for a name.
            packages.push(package::contents(&std::path::absolute(path)?, &teller)?);
        }
        let there = |layer: &package::Layer| package::is_there(context.layout(), layer);
        let beside = package::images_beside(&packages, &there, &teller)?;
        Ok((packages, beside))
    };
    let done = read();
    teller.finish(done.is_ok());
    let (mut packages, beside) = done?;
    let paths: Vec<PathBuf> = beside.iter().map(|package| package.path.clone()).collect();
    for path in &paths {
        let path = printable(&path.to_string_lossy(), 400);
        context.output().note(format!(
            "note: it lies beside, and comes along since a guest needs it: {path}"
        ));
    }
    packages.extend(beside);
    Ok((packages, paths))
}

/// The findings for people.
pub(super) fn table(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings.iter().map(row).collect();
    let hints = findings
        .iter()
        .filter_map(|finding| Some(format!("{}: {}", finding.check.as_str(), finding.hint.as_ref()?)));
    let mut text = output::table(["PACKAGE", "CHECK", "VERDICT", "FOUND"], &rows, "");
    for hint in hints {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

fn row(finding: &Finding) -> [String; 4] {
    let package = finding.package.as_ref();
    [
        package.map_or("-".to_owned(), ToString::to_string),
        finding.check.as_str().to_owned(),
        finding.verdict.as_str().to_owned(),
        finding.what.clone(),
    ]
}
