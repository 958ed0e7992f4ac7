//! `miniascape package preflight`: would these packages work on this host?

use crate::cli::output::table;
use crate::cli::{Context, Failure};
use miniascape::guest;
use miniascape::install::{self, Finding, Verdict};
use miniascape::package;
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
pub(super) fn run(context: &Context, files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let libvirt = context.local_libvirt(true)?;
    let mut packages = Vec::new();
    for path in files {
        packages.push(package::contents(path)?);
    }
    let (virt, _) = guest::virt_type(context.layout(), true)?;
    let findings = install::preflight(context.layout(), &libvirt, virt, &packages)?;
    let go = findings.iter().all(|finding| finding.verdict != Verdict::No);
    let told = Told {
        go,
        findings: &findings,
    };
    context.output().result(&told, || {
        let rows: Vec<_> = findings.iter().map(row).collect();
        let hints: Vec<String> = findings
            .iter()
            .filter_map(|finding| Some(format!("{}: {}", finding.check.as_str(), finding.hint.as_ref()?)))
            .collect();
        let mut text = table(["PACKAGE", "CHECK", "VERDICT", "FOUND"], &rows, "");
        for hint in hints {
            text.push_str("\nhint: ");
            text.push_str(&hint);
        }
        text
    })?;
    // What was found is the answer; a message beside it would only repeat it.
    Ok(if go { ExitCode::SUCCESS } else { ExitCode::from(3) })
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
