//! Tests of the program itself that need no daemon: arguments, messages, exit statuses, generated files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod base;
mod book;
mod dropins;
mod hook;
mod image;
mod import;
mod install;
mod lacking;
mod manual;
mod net;
mod offline;
mod pending;
mod repack;
mod repository;
mod setup;
mod show;
mod usage;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run of the program left.
#[derive(Debug)]
struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program with nothing of our own environment.
fn miniascape<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    Outcome {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The files in a directory of the repository, as paths from its top, sorted; never none.
fn files(directory: &str) -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = fs_err::read_dir(top.join(directory))
        .unwrap()
        .map(|entry| Path::new(directory).join(entry.unwrap().file_name()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} is empty");
    files
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    for arguments in [&["nonsense"][..], &["net", "regsiter", "net-1"], &["net"], &[]] {
        let run = miniascape(arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {run:?}");
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{run:?}");
    }
    let run = miniascape(["net", "regsiter", "net-1"]);
    assert!(run.stderr.contains("'register'"), "{}", run.stderr);
}
