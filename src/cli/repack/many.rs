//! `repack --repo`: any number of guests into one directory that dnf and apt install from. One that fails does not stop
//! the others.

use super::{Args, Packed, created, pack};
use crate::cli::output::{size, table};
use crate::cli::progress;
use crate::cli::{Context, Failure};
use miniascape::name::printable;
use miniascape::package::{self, GuestPackage, Plan, RepackError, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// What became of a guest.
type Outcome = Result<Packed, Failure>;

pub(super) fn run(context: &Context, args: &Args, dir: &Path) -> Result<ExitCode, Failure> {
    let kinds = args.targets();
    if let Some(other) = kinds
        .iter()
        .find(|kind| !matches!(kind, Target::Rpm | Target::Deb))
    {
        return Err(Failure::usage(format!(
            "a repository holds RPM and Debian packages (--to rpm,deb), no {}",
            other.as_str()
        )));
    }
    if !args.renamed_from.is_empty() && args.guests.len() > 1 {
        return Err(Failure::usage(
            "--renamed-from is about one guest: its earlier package can become one package only",
        ));
    }
    created(args.created)?;
    let guests = if args.all {
        let mut names: Vec<String> = context
            .local_libvirt(true)?
            .domains()?
            .into_iter()
            .map(|domain| domain.name)
            .collect();
        names.sort();
        names
    } else {
        args.guests.clone()
    };
    // Which guest a package was made of: two that would have the same one are not mixed up.
    let mut made: BTreeMap<GuestPackage, String> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for guest in guests {
        let shown = printable(&guest, 200);
        let outcome = pack(
            context,
            args,
            &guest,
            &|plan: &Plan| match made.get(&plan.package) {
                Some(other) => Err(Failure::refused(format!(
                    "its package {} has just been made of {other}",
                    plan.package
                ))
                .hint("pack guests of the same name into different directories")),
                None => Ok(()),
            },
        );
        let outcome = outcome.and_then(|packed| {
            // Its packages are there even if its backup job could not be ended.
            made.insert(packed.repacked.manifest.package.name.clone(), shown.clone());
            match packed.ended {
                Ok(()) => Ok(packed),
                Err(left) => Err(left.into()),
            }
        });
        if let Err(failure) = &outcome {
            failure.tell(context.format(), &shown);
        }
        outcomes.push((shown, outcome));
    }
    let mut failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count();
    let mut indexes = Vec::new();
    // Where nothing was made there may be no directory.
    for kind in kinds.into_iter().filter(|_| dir.is_dir()) {
        let state = match package::index(dir, kind, args.caller) {
            Ok(()) => json!({ "kind": kind, "state": "made" }),
            Err(error) => {
                let missing = matches!(&error, RepackError::Command(command) if command.is_missing());
                let failure = Failure::from(error);
                let what = format!("no index of the {} packages was made", kind.as_str());
                if missing {
                    let text = format!("{what}: {}", failure.message());
                    progress::warn(context, args.progress, &text);
                } else {
                    failure.tell(context.format(), &what);
                    failed += 1;
                }
                let state = if missing { "program missing" } else { "failed" };
                json!({ "kind": kind, "state": state, "error": failure.json() })
            }
        };
        indexes.push(state);
    }
    report(context, dir, &outcomes, &indexes, failed)?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn report(
    context: &Context,
    dir: &Path,
    outcomes: &[(String, Outcome)],
    indexes: &[Value],
    failed: usize,
) -> Result<(), Failure> {
    let guests: Vec<Value> = outcomes
        .iter()
        .map(|(guest, outcome)| match outcome {
            Ok(packed) => {
                let mut value = packed.json();
                value["guest"] = json!(guest);
                value["state"] = json!("packed");
                value
            }
            Err(failure) => json!({ "guest": guest, "state": "failed", "error": failure.json() }),
        })
        .collect();
    let value = json!({ "repository": dir, "guests": guests, "indexes": indexes, "failed": failed });
    context.output().report(&value, || {
        let rows: Vec<_> = outcomes
            .iter()
            .map(|(guest, outcome)| match outcome {
                Ok(Packed { repacked, .. }) => {
                    let section = &repacked.manifest.package;
                    [
                        guest.clone(),
                        "packed".to_owned(),
                        format!("{} {}", section.name, section.version),
                        size(repacked.files.iter().map(|file| file.size).sum()),
                        size(repacked.shared.iter().map(|file| file.size).sum()),
                    ]
                }
                Err(_) => [guest.as_str(), "failed", "-", "-", "-"].map(str::to_owned),
            })
            .collect();
        table(
            ["GUEST", "STATE", "PACKAGE", "NEW", "SHARED"],
            &rows,
            "there are no guests",
        )
    })
}
