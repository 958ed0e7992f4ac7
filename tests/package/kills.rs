//! `kill -9` at the steps of `repack`, `image convert` and `image delta`, and what the next run makes of it.
//!
//! strace kills the real program when it enters a chosen system call by which it changes something; an undisturbed run
//! tells which there are. After each kill whatever has its name is byte for byte what it should be, the same command
//! finishes, and then there is nothing but the results. Some of the points are taken; all with MINIASCAPE_TEST_FULL.

use crate::guest::{Bench, domain};
use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// System calls that change something.
pub(crate) const CALLS: &str = "write,pwrite64,openat,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,\
                     symlink,symlinkat,fsync,fdatasync,fchmod,chmod,fchmodat,ftruncate,copy_file_range,fallocate";

/// Runs a program without autoconf, whose own files nobody counts.
const WITHOUT_AUTOCONF: &str = r#"
    ! test -e /usr/bin/autoreconf || mount --bind /dev/null /usr/bin/autoreconf
    exec "$@"
"#;

/// A command whose results are all that is in `results`.
struct Operation<'a> {
    bench: &'a Bench,
    arguments: &'a [String],
    results: &'a str,
    /// Of how many points one is taken.
    every: usize,
}

impl Operation<'_> {
    /// Runs it under `strace` if that has arguments, with results of the number `lane`.
    fn run(&self, strace: &[String], lane: usize) -> Output {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.args([WITHOUT_AUTOCONF, "sh"]);
        if !strace.is_empty() {
            command.args(["strace", "--follow-forks", "--signal=none"]);
            command.arg(format!("--trace={CALLS}")).args(strace);
        }
        command.arg(env!("CARGO_BIN_EXE_miniascape"));
        let results = self.place(lane).display().to_string();
        command.args(self.arguments.iter().map(|word| word.replace("@OUT@", &results)));
        command.output().expect("unshare")
    }

    fn place(&self, lane: usize) -> std::path::PathBuf {
        self.bench.path(&format!("{}-{lane}", self.results))
    }

    /// Makes an empty place for the results.
    fn reset(&self, lane: usize) {
        let place = self.place(lane);
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        fs::create_dir(&place).unwrap();
    }

    /// Every file with its content, by its path in the results.
    fn files(&self, lane: usize) -> BTreeMap<String, Vec<u8>> {
        let place = self.place(lane);
        let entries = walkdir::WalkDir::new(&place).into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.path() != place);
        files
            .map(|entry| {
                let path = entry.path().strip_prefix(&place).unwrap();
                let content = if entry.file_type().is_file() {
                    fs::read(entry.path()).unwrap()
                } else {
                    Vec::new()
                };
                (path.display().to_string(), content)
            })
            .collect()
    }

    /// The calls of an undisturbed run by which something changes: name, and its number among those of that name.
    fn points(&self) -> BTreeSet<(String, usize)> {
        let trace = self.bench.path("trace");
        let run = self.run(&["--output".into(), trace.display().to_string()], 0);
        assert!(run.status.success(), "{run:?}");
        let text = fs::read_to_string(trace).unwrap();
        // strace counts the calls of each thread, and the first thread that comes to a number dies with all others.
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut points = BTreeSet::new();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            let Some((call, arguments)) = rest.trim_start().split_once('(') else {
                continue;
            };
            if !CALLS.split(',').any(|known| known == call) {
                continue;
            }
            let count = counts.entry((thread, call)).or_default();
            *count += 1;
            let changes = match call {
                "openat" => arguments.contains("O_CREAT"),
                "write" => !arguments.starts_with("1,") && !arguments.starts_with("2,"),
                _ => true,
            };
            if changes {
                points.insert((call.to_owned(), *count));
            }
        }
        points
    }

    #[expect(clippy::print_stdout, reason = "with --nocapture it tells what was tried")]
    fn killed_at_its_points(&self) {
        self.reset(0);
        let points = self.points();
        let wanted = self.files(0);
        let every = if std::env::var_os("MINIASCAPE_TEST_FULL").is_some() {
            1
        } else {
            self.every
        };
        let chosen: Vec<_> = points.iter().step_by(every).collect();
        let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for lane in 1..=2 {
                let (next, killed, chosen, wanted) = (&next, &killed, &chosen, &wanted);
                scope.spawn(move || {
                    while let Some((call, number)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.killed_at(call, *number, lane, wanted) {
                            killed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let killed = killed.into_inner();
        println!("{killed} kills at {} of {} points", chosen.len(), points.len());
        assert!(killed * 10 >= chosen.len() * 9, "{killed} kills");
    }

    /// One kill and what comes after; false if the run was not killed.
    fn killed_at(&self, call: &str, number: usize, lane: usize, wanted: &BTreeMap<String, Vec<u8>>) -> bool {
        self.reset(lane);
        let point = format!("{call} number {number}");
        let inject = format!("--inject={call}:signal=SIGKILL:when={number}");
        let run = self.run(&["--output=/dev/null".into(), inject], lane);
        // A program that it runs may have come to that number first.
        let other = String::from_utf8_lossy(&run.stderr).contains("SIGKILL");
        let killed = run.status.signal() == Some(9) || other;
        assert!(killed || run.status.success(), "{point}: {run:?}");
        let mut there = self.files(lane);
        there.retain(|path, _| !path.starts_with(".miniascape-"));
        for (path, content) in &there {
            assert!(
                wanted.get(path) == Some(content),
                "after {point}: {path} is not whole"
            );
        }
        // A tree that is there may be someone's work; it comes last, so nothing is missing then.
        if let Some(tree) = there.keys().find(|path| path.ends_with("-repacked-0.1")) {
            assert!(
                there.keys().eq(wanted.keys()),
                "after {point}: {:?}",
                there.keys()
            );
            let again = self.run(&[], lane);
            let text = String::from_utf8_lossy(&again.stderr);
            assert!(
                again.status.code() == Some(3) && text.contains("is there already"),
                "{text}"
            );
            fs::remove_dir_all(self.place(lane).join(tree)).unwrap();
        }
        let again = self.run(&[], lane);
        assert!(again.status.success(), "after {point}: {again:?}");
        let now = self.files(lane);
        assert!(
            now.keys().eq(wanted.keys()),
            "after {point} and again: {:?}",
            now.keys()
        );
        assert!(now == *wanted, "after {point} and again: other bytes");
        killed
    }
}

/// A guest of a few clusters: a raw base with an overlay.
pub(crate) fn small(bench: &Bench) -> std::path::PathBuf {
    let mut content = vec![0; 1 << 20];
    for (at, byte) in content[300_000..420_000].iter_mut().enumerate() {
        *byte = ((at * 7919) >> 3).to_le_bytes()[0];
    }
    fs::write(bench.path("b.raw"), content).unwrap();
    bench.overlay("top.qcow2", "b.raw", "raw", "12M")
}

fn words(arguments: &[&str], paths: &[&Path]) -> Vec<String> {
    let paths = paths.iter().map(|path| path.display().to_string());
    arguments
        .iter()
        .map(|word| (*word).to_owned())
        .chain(paths)
        .collect()
}

#[test]
fn a_repack_killed_at_any_point_is_made_up_for() {
    let bench = Bench::new();
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", &small(&bench), "qcow2")).unwrap();
    let fixed = [
        "repack",
        "--to",
        "rpm,srpm,deb,tar,build-tree",
        "--output",
        "@OUT@",
        "--created",
        "1767323045",
        "--quiet",
    ];
    let operation = Operation {
        bench: &bench,
        arguments: &words(&fixed, &[&xml]),
        results: "packages",
        every: 7,
    };
    operation.killed_at_its_points();
    for (path, _) in operation
        .files(0)
        .iter()
        .filter(|(path, _)| !path.contains("-repacked-0.1"))
    {
        miniascape::package::verify(&operation.place(0).join(path), &mut |_| {}).unwrap();
    }
}

/// The base is unpacked beside the results first: the next run takes that away, too.
#[test]
fn a_repack_on_a_packages_base_killed_at_any_point_is_made_up_for() {
    let bench = Bench::new();
    let xml = bench.path("web.xml");
    fs::write(&xml, domain("web", &small(&bench), "qcow2")).unwrap();
    let repack = |more: &[&str], output: &str| {
        let fixed = ["repack", "--to", "deb", "--created", "1767323045", "--quiet"];
        words(&[&fixed[..], more, &["--output", output]].concat(), &[&xml])
    };
    let first = bench.path("first");
    let made = Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(repack(&[], &first.display().to_string()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let base = image_of_base(&first).display().to_string();
    let operation = Operation {
        bench: &bench,
        arguments: &repack(&["--base", &base], "@OUT@"),
        results: "based",
        every: 5,
    };
    operation.killed_at_its_points();
}

/// The largest package of an image in `dir`: that of the base.
fn image_of_base(dir: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let images = entries.filter(|path| path.to_string_lossy().contains("miniascape-image-"));
    images
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .expect("the package of an image")
}

#[test]
fn a_new_image_killed_at_any_point_is_made_up_for() {
    let bench = Bench::new();
    let disk = small(&bench);
    let base = bench.path("b.raw").display().to_string();
    for arguments in [
        words(&["image", "convert", "--force", "--compress"], &[&disk]),
        words(&["image", "convert", "--force", "--to", "raw"], &[&disk]),
        words(
            &[
                "image",
                "delta",
                "--force",
                "--backing-name",
                "b.raw",
                "--base",
                &base,
            ],
            &[&disk],
        ),
    ] {
        let operation = Operation {
            bench: &bench,
            arguments: &[arguments, vec!["@OUT@/new".to_owned()]].concat(),
            results: "images",
            every: 1,
        };
        operation.killed_at_its_points();
    }
}
