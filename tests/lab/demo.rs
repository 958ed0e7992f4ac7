//! The demo itself: it works as root and as an ordinary user, and nothing of it is left on the machine, whenever
//! it is interrupted or killed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::guest::{CACHE_VARIABLE, cache_dir};
use crate::support::{self, Command, Footprint, Output, Who};

/// The first argument that makes the executable the demo; the demo's own follow.
pub(crate) const DEMO_ARGUMENT: &str = "--lab-demo";
/// The first argument that makes the executable run [`check`]: alone, so that every difference is its own. What
/// to check and the packages of the program follow.
pub(crate) const CHECK_ARGUMENT: &str = "--lab-demo-check";

/// More than the whole demo takes, in an emulated machine too.
const TIMEOUT: Duration = Duration::from_secs(900);

pub(crate) fn the_whole_demo_works_and_leaves_nothing_behind() {
    check_aside(Who::Root, "whole");
}

pub(crate) fn an_ordinary_user_sees_the_same_demo() {
    if support::needs_user_namespace() {
        support::note("an ordinary user runs these tests: all of them are the proof");
        return;
    }
    check_aside(Who::OrdinaryUser, "short");
}

pub(crate) fn nothing_is_left_behind_whenever_the_demo_is_killed() {
    check_aside(Who::Root, "killed");
}

fn check_aside(who: Who, what: &str) {
    let packages = ["DEB", "RPM"].map(|kind| {
        let option = format!("MINIASCAPE_TEST_{kind}");
        let package = std::env::var_os(&option).unwrap_or_else(|| {
            panic!("{option} has to name a package of miniascape: run this through `make test`")
        });
        PathBuf::from(package)
    });
    let names = packages
        .each_ref()
        .map(|p| p.file_name().unwrap_or_default().to_owned());
    let args = [OsString::from(CHECK_ARGUMENT), what.into()]
        .into_iter()
        .chain(names);
    let run = support::aside_with(who, &packages, args).expect("the lab can go aside");
    let output = run.timeout(TIMEOUT).check();
    // How long it took.
    support::note(output.stderr.trim());
}

/// Runs the demo, and compares the machine before and after.
pub(crate) fn check(what: &str, deb: &Path, rpm: &Path) {
    let before = Footprint::take();
    match what {
        "whole" => drop(finish(&demo(deb, &["--rpm".as_ref(), rpm.as_ref()]))),
        "short" => drop(finish(&demo(deb, &["--short".as_ref()]))),
        _ => kill(&before, &demo(deb, &["--short".as_ref()])),
    }
    before.assert_unchanged();
}

/// The demo, which finds program and cache where this process does.
fn demo(deb: &Path, args: &[&OsStr]) -> Command {
    let program = support::under_test().expect("the program is there");
    let argv = [
        support::own_executable().into_os_string(),
        DEMO_ARGUMENT.into(),
        "--program".into(),
        program.into(),
        "--deb".into(),
        deb.into(),
    ];
    let cache = cache_dir().expect("the cache is there");
    let argv = argv.iter().map(OsString::as_os_str).chain(args.iter().copied());
    Command::machine(argv).env(CACHE_VARIABLE, cache).timeout(TIMEOUT)
}

/// Runs the demo to its end.
fn finish(demo: &Command) -> Output {
    let output = demo.check();
    let last = output
        .text()
        .lines()
        .rev()
        .take(2)
        .any(|line| line.starts_with("All of it worked"));
    assert!(last, "{output}");
    support::note(format_args!("the demo took {:.1?}", output.elapsed));
    output
}

/// Interrupts the demo once and kills it ten times, at random moments of the time that it takes.
fn kill(before: &Footprint, demo: &Command) {
    let whole = finish(demo).elapsed;
    before.assert_unchanged();
    let interrupted = |moment: Duration| {
        let running = demo.spawn();
        std::thread::sleep(moment);
        running.signal(Signal::INT);
        let output = running.wait(Duration::from_secs(30));
        output.expect_code(130);
        nothing_is_left(before, "interrupted", moment);
    };
    let killed = |moment: Duration| {
        let mut running = demo.spawn();
        std::thread::sleep(moment);
        running.kill();
        nothing_is_left(before, "killed", moment);
    };
    interrupted(whole.mul_f64(0.9 * random()));
    for tenth in 0..10 {
        // One in each tenth, so that no part of the demo is spared.
        killed(whole.mul_f64((f64::from(tenth) + random()) / 10.0));
    }
}

fn nothing_is_left(before: &Footprint, how: &str, moment: Duration) {
    let changes = before.changes(Duration::from_secs(10));
    assert!(
        changes.is_empty(),
        "{how} after {moment:.1?}, the demo left:\n  {}",
        changes.join("\n  ")
    );
}

/// A random number from 0 to 1.
fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
