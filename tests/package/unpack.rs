//! `package install` and `remove` of tar files, killed wherever they change something. After each kill no file is half
//! there and the guest's own files are all of one version; the same command finishes, and nothing else is left.
//!
//! Another system's root is filled, which needs no libvirt. Some of the points are taken; all with MINIASCAPE_TEST_FULL.

use crate::guest::{Bench, domain};
use crate::kills::{CALLS, small};
use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GUEST: &str = "usr/share/miniascape/guests/web/";
const DRAFT: &str = ".miniascape-draft-";

type Files = BTreeMap<String, Vec<u8>>;

/// A command on a root that is as `before` first.
struct Step<'a> {
    before: &'a Path,
    root: PathBuf,
    words: Vec<String>,
}

fn files(root: &Path) -> Files {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let path = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    files
        .map(|entry| (path(entry.path()), fs::read(entry.path()).unwrap()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// The guest's own files.
fn of_guest(files: &Files) -> Files {
    let own = files.iter().filter(|(path, _)| path.starts_with(GUEST));
    own.map(|(path, content)| (path.clone(), content.clone()))
        .collect()
}

impl Step<'_> {
    fn run(&self, strace: &[String]) -> Output {
        let mut command = if strace.is_empty() {
            Command::new(env!("CARGO_BIN_EXE_miniascape"))
        } else {
            let mut command = Command::new("strace");
            command.args(["--follow-forks", "--signal=none", &format!("--trace={CALLS}")]);
            command.args(strace).arg(env!("CARGO_BIN_EXE_miniascape"));
            command
        };
        command
            .args(["package", "--root"])
            .arg(&self.root)
            .args(&self.words);
        command.output().expect("the program")
    }

    /// The calls of an undisturbed run by which something changes; the root is as after it.
    fn points(&self, trace: &Path) -> BTreeSet<(String, usize)> {
        copy(self.before, &self.root);
        let run = self.run(&[format!("--output={}", trace.display())]);
        assert!(run.status.success(), "{run:?}");
        let text = fs::read_to_string(trace).unwrap();
        let first = text.split_whitespace().next().unwrap().to_owned();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut points = BTreeSet::new();
        for line in text.lines() {
            let (process, rest) = line.split_once(char::is_whitespace).unwrap();
            let Some((call, arguments)) = rest.trim_start().split_once('(') else {
                continue;
            };
            if process != first || !CALLS.split(',').any(|known| known.trim() == call) {
                continue;
            }
            let count = counts.entry(call.to_owned()).or_default();
            *count += 1;
            let changes = match call {
                "openat" => arguments.contains("O_CREAT"),
                "write" => !arguments.starts_with("1,") && !arguments.starts_with("2,"),
                _ => true,
            };
            if changes && !rest.contains(" = -1 E") {
                points.insert((call.to_owned(), *count));
            }
        }
        points
    }

    #[expect(clippy::print_stdout, reason = "with --nocapture it tells what was tried")]
    fn killed_at_its_points(&self, trace: &Path) {
        let points = self.points(trace);
        let wanted = files(&self.root);
        let before = files(self.before);
        let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
        let chosen: Vec<_> = points.iter().step_by(if full { 1 } else { 9 }).collect();
        let mut killed = 0;
        for (call, number) in &chosen {
            let point = format!("{:?} at {call} number {number}", self.words);
            copy(self.before, &self.root);
            let inject = format!("--inject={call}:signal=SIGKILL:when={number}");
            let run = self.run(&["--output=/dev/null".into(), inject]);
            killed += usize::from(run.status.signal() == Some(9));
            let mut there = files(&self.root);
            there.retain(|path, _| !path.contains(DRAFT));
            for (path, content) in &there {
                let ours = path.contains("/unpacked/") || path.contains("/pending/");
                let known = [&before, &wanted]
                    .iter()
                    .any(|all| all.get(path) == Some(content));
                assert!(ours || known, "after {point}: {path} is not whole");
            }
            let guest = of_guest(&there);
            let whole = [&before, &wanted].iter().any(|all| of_guest(all) == guest);
            let going = !guest.contains_key(&format!("{GUEST}manifest.json"));
            assert!(
                whole || going,
                "after {point}: the guest's files are of two versions"
            );

            let again = self.run(&[]);
            let gone = String::from_utf8_lossy(&again.stderr).contains("is not installed");
            assert!(again.status.success() || gone, "after {point}: {again:?}");
            let now = files(&self.root);
            assert!(
                now.keys().eq(wanted.keys()),
                "after {point} and again: {:?}",
                now.keys()
            );
            assert!(now == wanted, "after {point} and again: other bytes");
            let entries = walkdir::WalkDir::new(&self.root).into_iter().map(Result::unwrap);
            let drafts = entries.filter(|entry| entry.path().to_string_lossy().contains(DRAFT));
            assert_eq!(drafts.count(), 0, "after {point} and again: drafts");
        }
        println!("{killed} kills at {} of {} points", chosen.len(), points.len());
        assert!(
            killed * 10 >= chosen.len() * 8,
            "{killed} kills at {} points",
            chosen.len()
        );
    }
}

#[test]
fn tar_files_killed_at_any_point_come_whole_or_not_at_all() {
    let bench = Bench::new();
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", &small(&bench), "qcow2")).unwrap();
    let tar = |version: &str| {
        let made = Command::new(env!("CARGO_BIN_EXE_miniascape"))
            .args([
                "repack",
                "--to",
                "tar",
                "--quiet",
                "--package-version",
                version,
                "--output",
            ])
            .arg(bench.output())
            .arg(&xml)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        bench
            .output()
            .join(format!("vm-web-repacked-{version}.tar.zst"))
            .display()
            .to_string()
    };
    let first = tar("1");
    // What the guest has written since is another delta on the same base.
    let io = Command::new("qemu-io")
        .args(["-c", "write -P 9 4M 64k"])
        .arg(bench.path("top.qcow2"))
        .output();
    assert!(io.unwrap().status.success());
    let second = tar("2");
    let at = |name: &str| bench.path(name);
    fs::create_dir(at("empty")).unwrap();
    let step = |before: &Path, words: &[&str]| {
        let step = Step {
            before,
            root: at("root"),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        step.killed_at_its_points(&at("trace"));
    };
    step(&at("empty"), &["install", &first]);
    copy(&at("root"), &at("one"));
    step(&at("one"), &["install", &second]);
    let two = files(&at("root"));
    assert_eq!(
        two.keys().filter(|path| path.contains("/sha256-")).count(),
        2,
        "{:?}",
        two.keys()
    );
    copy(&at("root"), &at("two"));
    step(&at("two"), &["remove", "vm-web"]);
    assert!(files(&at("root")).keys().all(|path| path.contains("/pending/")));
}
