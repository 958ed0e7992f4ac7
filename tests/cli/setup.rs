//! `miniascape init` and `doctor`, as far as they go without a host of their own.

use super::miniascape;
use fs_err as fs;

#[test]
fn what_init_is_told_is_checked_before_anything_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let init = |arguments: &[&str]| {
        let fixed = [
            "init",
            "--yes",
            "--connect",
            "test:///default",
            "--state-dir",
            state.to_str().unwrap(),
        ];
        miniascape(fixed.iter().chain(arguments))
    };
    for (arguments, told) in [
        (&["--network", "net-1=10.1.1.5/24"][..], "write 10.1.1.0/24"),
        (&["--network", "net-1=10.1.1.0/24,bridge=a/b"], "bridge: "),
        (&["--network", "net-1=10.1.1.0/24,colour=red"], "no `colour`"),
        (
            &["--network", "net-9"],
            "no network net-9 comes with miniascape: those are net-1, net-2, net-3",
        ),
        (&["--network", "net-1=10.1.1.0/25", "--dry-run"], "net-1.yaml:"),
        (
            &[
                "--network",
                "net-1=10.1.0.0/16",
                "--network",
                "net-2=10.1.2.0/24",
                "--dry-run",
            ],
            "net-1 and net-2 would both have addresses of 10.1.2.0/24",
        ),
        (
            &[
                "--network",
                "net-1=bridge=b",
                "--network",
                "net-2=bridge=b",
                "--dry-run",
            ],
            "net-1 and net-2 would both have the bridge b",
        ),
        (
            &["--network", "net-1", "--network", "net-1", "--dry-run"],
            "both have the same name",
        ),
        (&["--network", "net-1", "--no-network"], "cannot be used with"),
    ] {
        let run = init(arguments);
        assert!(
            run.status == 2 && run.stderr.contains(told),
            "{arguments:?}: {run:?}"
        );
        assert_eq!(run.stdout, "");
    }
    let dry = init(&["--dry-run", "--network", "net-1=10.1.1.0/24,domain=lab.example"]);
    assert_eq!(dry.status, 0, "{dry:?}");
    let definition = state.join("etc/miniascape/networks/net-1.yaml");
    assert!(
        dry.stdout.contains(&format!("write {}", definition.display()))
            && dry.stdout.contains("register the network net-1"),
        "{dry:?}"
    );
    assert!(!state.exists());
    // Nobody is there to be asked.
    let silent = miniascape([
        "init",
        "--no-network",
        "--connect",
        "test:///default",
        "--state-dir",
        state.to_str().unwrap(),
    ]);
    assert!(
        silent.status == 3 && silent.stderr.contains("hint: say so: --yes"),
        "{silent:?}"
    );
    assert!(!state.exists());
    assert_eq!(init(&["--no-network"]).status, 0);
    let again = init(&["--no-network"]);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
    // What is there and says otherwise is not overwritten.
    fs::write(
        &definition,
        "network: { name: net-1, mode: isolated, domain: n.internal, ipv4: { subnet: 10.7.0.0/24 } }\n",
    )
    .unwrap();
    let other = init(&["--dry-run", "--network", "net-1=10.1.1.0/24"]);
    assert!(
        other.status == 3 && other.stderr.contains("hint: edit it"),
        "{other:?}"
    );
    let kept = init(&["--dry-run", "--network", "net-1"]);
    assert!(kept.status == 0 && !kept.stdout.contains("write"), "{kept:?}");
}

#[test]
fn doctor_looks_at_this_host_only() {
    for (arguments, status) in [
        (&["doctor", "--root", "/"][..], 2),
        (&["doctor", "--connect", "qemu+ssh://far/system"], 3),
    ] {
        let run = miniascape(arguments);
        assert!(run.status == status && run.stdout.is_empty(), "{run:?}");
    }
}
