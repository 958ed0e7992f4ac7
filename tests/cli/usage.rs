//! Wrong usage, hostile words, options common to all commands, and reading commands against libvirt's simulator.

use crate::{Outcome, miniascape};
use fs_err as fs;
use serde_json::Value;

const SIMULATOR: [&str; 2] = ["--connect", "test:///default"];
/// A libvirt that is not there.
const DOWN: &str = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";

fn run(line: &str) -> Outcome {
    miniascape(line.split_whitespace())
}

#[test]
fn misspelt_words_end_with_2_and_a_suggestion() {
    for (line, meant) in [
        ("gest list", "'guest'"),
        ("nett list", "'net'"),
        ("net regsiter net-1", "'register'"),
        ("guest strat web", "'start'"),
        ("lease wach", "'watch'"),
        ("package shwo vm-web", "'show'"),
        ("package prefligt x.deb", "'preflight'"),
        ("net list --frmat json", "'--format'"),
        ("net register net-1 --dryrun", "'--dry-run'"),
        ("--state_dir /x net list", "'--state-dir'"),
        ("net list --format jsn", "'json'"),
        ("guest wait web --for leas", "'lease'"),
    ] {
        let run = run(line);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}: {run:?}");
        assert!(run.stderr.starts_with("error: "), "{line}: {run:?}");
        let tip = run.stderr.lines().find(|line| line.contains("tip:"));
        assert!(tip.is_some_and(|tip| tip.contains(meant)), "{line}: {run:?}");
    }
}

#[test]
fn what_is_missing_or_contradictory_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    for line in [
        "net",
        "net register",
        "net compile networks/net-1.yaml",
        "net validate",
        "guest wait web",
        "guest wait web --for lease --timeout soon",
        "guest create web --memory lots",
        "guest create web --disk new:0",
        "guest create web --network net-1,mac=01:00:5e:00:00:01",
        "guest shutdown web --timeout 1s --force-after 1s",
        "package preflight",
        "--connect test:///default package preflight Cargo.toml",
        "repack",
        "repack web --package-version a/b",
        "repack web --to msi",
        "--quiet --verbose net list",
        "--format yaml net list",
        &format!("--root {root} --state-dir {root} net list"),
        &format!("--root {root}/none net list"),
        &format!("--root {root} daemon"),
        &format!("--root {root} guest list"),
        &format!("--root {root} package preflight x.deb"),
        &format!("--root {root} net firewall net-1"),
        "net firewall",
    ] {
        let run = run(line);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}: {run:?}");
        assert!(!run.stderr.is_empty(), "{line}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Names go into paths, XML, units and specs; on the way to an error message they go to a terminal.
#[test]
fn hostile_names_are_refused_before_anything_is_touched_and_shown_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().display().to_string();
    let names = [
        "../../etc/passwd",
        "a/b",
        "a\nb",
        "a\u{1b}[31mred",
        "a%i",
        "a,b",
        "a b",
        "$(id)",
        "",
        ".",
        "ä",
        &"a".repeat(300),
    ];
    for name in names {
        let package = format!("vm-{name}");
        for words in [
            &["guest", "create", "--", name][..],
            &["guest", "register", "--", &package],
            &["guest", "unregister", "--", &package],
            &["package", "remove", "--", &package],
            &["lease", "list", "--", name],
            &["net", "status", "--", name],
            &["net", "unregister", "--", name],
            &["net", "register", "--", name],
        ] {
            let run = miniascape(SIMULATOR.iter().chain(&["--state-dir", &state]).chain(words));
            assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{words:?}: {run:?}");
            let plain = run.stderr.chars().all(|c| c == '\n' || !c.is_control());
            assert!(plain, "{words:?}: {run:?}");
        }
    }
    // Names of guests that others made may be odd: they are asked of libvirt as they are, and shown as text.
    let run = miniascape(SIMULATOR.iter().chain(&["guest", "start", "a\u{1b}[31mred"]));
    assert_eq!(run.status, 1, "{run:?}");
    assert!(
        run.stderr
            .starts_with("error: there is no guest a\\u{1b}[31mred\n"),
        "{run:?}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn common_options_stand_anywhere() {
    let before = run("--connect test:///default --format json net list");
    assert_eq!(before.status, 0, "{before:?}");
    for line in [
        "net --connect test:///default --format json list",
        "net list --format json --connect test:///default",
        "--format=json net list --connect=test:///default",
    ] {
        let run = run(line);
        assert_eq!((run.status, &run.stdout), (0, &before.stdout), "{line}: {run:?}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Programs read these: a key may be added with care, never renamed or dropped.
#[test]
fn reading_commands_work_against_any_libvirt_and_their_json_keeps_its_keys() {
    let read = |line: &str| -> Value {
        let line = format!("--connect test:///default --format json {line}");
        let run = run(&line);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{line}: {run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let networks = read("net list");
    assert_eq!(
        keys(&networks[0]),
        [
            "name",
            "defined",
            "registered",
            "pending",
            "active",
            "bridge",
            "owner"
        ]
    );
    let status = [
        "name",
        "registered",
        "pending",
        "in_libvirt",
        "active",
        "autostart",
        "owner",
        "bridge",
        "wants_dnsmasq",
        "dnsmasq_pid",
        "leases",
        "guests",
        "problems",
    ];
    assert_eq!(keys(&read("net status default")), status);
    let guests = read("guest list");
    assert_eq!(
        keys(&guests[0]),
        ["name", "uuid", "state", "ours", "networks", "addresses"]
    );
    assert_eq!(guests[0]["state"], "running");
    assert_eq!(read("lease list"), serde_json::json!([]));
    assert_eq!(read("package list"), serde_json::json!([]));
    let text = run("--connect test:///default guest list");
    assert_eq!(
        text.stdout,
        "NAME  STATE    NETWORKS  ADDRESSES\ntest  running  default   -\n"
    );
    let unknown = run("--connect test:///default --format json net status nosuch");
    assert_eq!((unknown.status, unknown.stdout.as_str()), (1, ""), "{unknown:?}");
    let error: Value = serde_json::from_str(&unknown.stderr).unwrap();
    assert_eq!(keys(&error["error"]), ["kind", "message", "hints"]);
}

#[test]
fn a_dry_run_tells_and_does_not() {
    let off = "shutdown test --dry-run";
    for (line, told) in [
        (off, "test would be shut down"),
        ("start test --dry-run", "test is running already"),
        ("create other --disk new:1MiB --dry-run", "other would be created"),
        ("unregister vm-web --dry-run", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display().to_string();
        let run = run(&format!(
            "--connect test:///default --state-dir {state} guest {line}"
        ));
        assert_eq!(run.status, 0, "{line}: {run:?}");
        assert!(run.stdout.starts_with(told), "{line}: {run:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{line}");
    }
}

/// "Down" is what connecting says; every command that needs libvirt now ends alike, and none has begun anything.
#[test]
fn without_libvirt_commands_end_with_4_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().display().to_string();
    for line in [
        "net list",
        "net status net-1",
        "guest list",
        "guest create web --disk new:1MiB",
        "guest start web",
        "guest shutdown web",
        "guest wait web --for running",
        "repack web",
    ] {
        let words = ["--connect", DOWN, "--state-dir", &state];
        let run = miniascape(words.into_iter().chain(line.split_whitespace()));
        assert_eq!((run.status, run.stdout.as_str()), (4, ""), "{line}: {run:?}");
        assert!(
            run.stderr.contains("cannot reach libvirt at")
                && run.stderr.contains("hint: is libvirt running?"),
            "{line}: {run:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{line}");
    }
    // What needs no libvirt goes on.
    for line in ["lease list", "package list", "net validate networks/net-1.yaml"] {
        let words = ["--connect", DOWN, "--state-dir", &state];
        let run = miniascape(words.into_iter().chain(line.split_whitespace()));
        assert_eq!(run.status, 0, "{line}: {run:?}");
    }
}

/// Lease files hold what strangers said; whatever got into one, a terminal is only ever given text.
#[test]
fn hostile_lease_files_are_shown_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let network = dir.path().join("var/lib/miniascape/networks/lab");
    fs::create_dir_all(&network).unwrap();
    let record =
        r#"{"format":1,"name":"lab","bridge":"virbr9","dnsmasq":true,"files":{},"source":"/lab.yaml"}"#;
    fs::write(network.join("applied.json"), record).unwrap();
    let leases = "1795276280 52:54:00:aa:bb:01 10.9.0.5 ev\u{1b}[31mil\u{7} *\n0 52:54:00:aa:bb:02 10.9.0.6 \u{202e}x *\n";
    fs::write(network.join("leases"), leases).unwrap();
    let state = dir.path().display().to_string();
    for format in ["text", "json"] {
        let run = run(&format!("--state-dir {state} --format {format} lease list"));
        assert_eq!(run.status, 0, "{run:?}");
        assert!(
            run.stdout.contains("10.9.0.5") && run.stdout.contains("10.9.0.6"),
            "{run:?}"
        );
        let plain = run.stdout.chars().all(|c| c == '\n' || !c.is_control());
        assert!(plain && !run.stdout.contains('\u{202e}'), "{run:?}");
    }
    fs::write(network.join("leases"), "who knows\n").unwrap();
    let run = run(&format!("--state-dir {state} lease list"));
    // A line that no dnsmasq writes hides no other, but is told.
    assert_eq!((run.status, run.stdout.as_str()), (0, "no leases\n"), "{run:?}");
    assert!(run.stderr.contains("/leases:1: passed over"), "{run:?}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let groups: [(&str, &[&str]); 4] = [
        (
            "net",
            &[
                "validate",
                "compile",
                "register",
                "unregister",
                "update",
                "list",
                "status",
            ],
        ),
        ("lease", &["list", "watch"]),
        (
            "guest",
            &[
                "list",
                "create",
                "start",
                "shutdown",
                "register",
                "unregister",
                "wait",
            ],
        ),
        ("package", &["list", "show"]),
    ];
    let commands = groups
        .iter()
        .flat_map(|(group, verbs)| verbs.iter().map(move |verb| format!("{group} {verb}")))
        .chain(["repack".to_owned(), "daemon".to_owned()]);
    for command in commands {
        let run = run(&format!("{command} --help"));
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{command}");
        let example = format!("Example: miniascape {command}");
        assert!(run.stdout.contains(&example), "{command}: {}", run.stdout);
    }
}
