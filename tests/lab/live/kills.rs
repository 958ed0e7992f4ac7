//! `kill -9` at the steps of a live pack, and what the next command makes of it.
//!
//! strace kills the real program when it enters a chosen system call: each one by which it changes something, each message
//! to libvirt, and the wait for each of libvirt's answers, when libvirt is at work for one who has died. After each kill the daemon, or
//! the same command, runs: then nothing is left, and the guest goes on. Some of the points are taken; all with
//! MINIASCAPE_TEST_FULL.

use super::{Pulse, assert_clean, is_frozen, nothing_is_lost, pair, sh, wait_for_agent};
use crate::support::{Host, HostOptions, MINIASCAPE, Output, note};
use std::collections::BTreeMap;

const TRACE: &str = "/root/trace";
const CALLS: &str = "openat,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,fsync,fdatasync,fchmod,ftruncate,connect,write,poll";
/// Of how many points one is taken.
const EVERY: usize = 17;

/// A moment of a run: the call, how many of its kind the first thread has made before, and what it does, for messages.
struct Point {
    call: String,
    ordinal: usize,
    what: String,
}

const PACK: [&str; 9] = [
    MINIASCAPE,
    "repack",
    "pair",
    "--live",
    "--with-tpm",
    "--to",
    "deb",
    "--output",
    "/root/out",
];

/// Packs under strace, which may kill it.
fn traced(host: &Host, inject: Option<&str>) -> Output {
    let trace = format!("--trace={CALLS}");
    let strace = [
        "strace",
        "--follow-forks",
        "--signal=none",
        "--string-limit=300",
        "--output",
        TRACE,
        &trace,
    ];
    host.run(strace.into_iter().chain(inject).chain(PACK))
}

/// The points of an undisturbed run, from where the guest is locked on.
fn points(trace: &str) -> Vec<Point> {
    let first = trace.split_whitespace().next().expect("process numbers");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut points, mut begun, mut asked) = (Vec::new(), false, false);
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if process != first || call.contains(' ') {
            continue;
        }
        let count = counts.entry(call).or_default();
        *count += 1;
        begun |= call == "openat" && arguments.contains("/live-");
        let message = call == "write" && arguments.contains(", \"\\0\\0") && !arguments.contains("\", 8)");
        let taken = !rest.contains(" = -1 E")
            && match call {
                "write" => message || arguments.contains(", \"{\\n"),
                "openat" => arguments.contains("O_CREAT"),
                "poll" => std::mem::take(&mut asked),
                _ => true,
            };
        asked |= message;
        if begun && taken {
            points.push(Point {
                call: call.to_owned(),
                ordinal: *count,
                what: arguments.chars().take(100).collect(),
            });
        }
    }
    points
}

/// Whatever lies beside the disks is read after all disks are held, and before the guest may go on.
fn assert_order(trace: &str) {
    let notes: Vec<usize> = trace
        .match_indices("rename")
        .filter(|(at, _)| {
            trace[*at..]
                .lines()
                .next()
                .is_some_and(|line| line.contains("/live-"))
        })
        .map(|(at, _)| at)
        .collect();
    let begun = trace.find("domainbackup").expect("a backup job");
    let read = begun
        + trace[begun..]
            .find("tpm2-00.permall")
            .expect("the TPM's state is read");
    // Noted; noted that it may be frozen; noted that it is not any more.
    assert!(
        notes.len() == 3 && notes[1] < begun && read < notes[2],
        "{notes:?} {begun} {read}"
    );
}

/// Kills at a point, and lets the daemon or the same command undo what is left; false if the run came to its end, because the
/// number of libvirt's wakings is not always the same.
fn killed_at(host: &Host, point: &Point, by_daemon: bool) -> bool {
    let Point { call, ordinal, what } = point;
    let place = format!("after a kill at {call} number {ordinal} ({what})");
    let inject = format!("--inject={call}:signal=SIGKILL:when={ordinal}");
    let run = traced(host, Some(&inject));
    let again = if by_daemon {
        sh(host, "rm -rf /root/out");
        host.miniascape(["daemon", "--once"])
    } else {
        host.run(PACK)
    };
    assert!(again.ok(), "{place}: {again}");
    assert!(!is_frozen(host), "{place}: {again}");
    assert_clean(host);
    sh(host, "rm -rf /root/out");
    !run.ok()
}

pub(crate) fn a_live_pack_killed_at_any_point_is_undone_and_the_guest_goes_on() {
    let host = Host::start(HostOptions::default());
    // Where swtpm's own certificate authority would be, if it had been used before.
    sh(&host, "install -d -o tss -g tss -m 0750 /var/lib/swtpm-localca");
    let mut console = pair(
        &host,
        "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>",
    );
    console.wait_ready();
    wait_for_agent(&host);
    console.ask("count", "COUNTING");
    let mut pulse = Pulse::default();

    // Once for what stays: directories.
    host.check(PACK);
    let undisturbed = traced(&host, None);
    assert!(undisturbed.ok(), "{undisturbed}");
    let trace = host.read_file(TRACE);
    assert_order(&trace);
    let points = points(&trace);
    sh(&host, "rm -rf /root/out");
    let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
    let chosen: Vec<&Point> = points.iter().step_by(if full { 1 } else { EVERY }).collect();
    let mut killed = 0;
    for (number, point) in chosen.iter().enumerate() {
        killed += usize::from(killed_at(&host, point, number % 3 != 0));
        pulse.goes_on(&mut console);
    }
    note(format_args!(
        "a live pack: killed {killed} times, at {} of {} points",
        chosen.len(),
        points.len()
    ));
    assert!(killed * 10 >= chosen.len() * 8, "{killed} of {}", chosen.len());

    // Without an agent nothing has to be thawed, and nobody waits for one.
    console.ask("run killall qemu-ga", "DONE");
    let begin = |point: &&Point| point.call == "write" && point.what.contains("domainbackup");
    if let Some(point) = points.iter().find(begin) {
        let inject = format!("--inject=write:signal=SIGKILL:when={}", point.ordinal);
        traced(&host, Some(&inject));
        host.miniascape_check(["daemon", "--once"]);
        sh(&host, "rm -rf /root/out");
        assert_clean(&host);
    }
    pulse.goes_on(&mut console);
    nothing_is_lost(&host, &mut console);
}
