//! `miniascape net`, as far as it goes without libvirt.

use super::{files, miniascape};
use fs_err as fs;
use std::path::Path;

const BAD: &str = "tests/data/network/bad";
const GOOD: &str = "tests/data/network/good";

#[test]
fn a_bad_definition_ends_with_2_and_its_place_and_leaves_nothing_behind() {
    for file in files(BAD) {
        let file = file.to_str().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let output = dir.path().join("output");
        for arguments in [
            &["net", "validate", file][..],
            &["net", "compile", file, "--output", output.to_str().unwrap()],
            &["net", "register", file, "--state-dir", state.to_str().unwrap()],
        ] {
            let run = miniascape(arguments);
            assert_eq!(run.status, 2, "{arguments:?}: {run:?}");
            assert_eq!(run.stdout, "", "{arguments:?}");
            let place = run
                .stderr
                .strip_prefix(&format!("error: {file}:"))
                .unwrap_or_else(|| panic!("{run:?}"));
            let numbers: Vec<_> = place.splitn(3, ':').collect();
            assert!(
                numbers[..2].iter().all(|n| n.parse::<u32>().is_ok_and(|n| n > 0)),
                "{run:?}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{file}");
    }
}

#[test]
fn all_definitions_are_checked_although_one_is_bad() {
    let bad = format!("{BAD}/gateway.yaml");
    let run = miniascape(["net", "validate", &bad, "networks/net-1.yaml"]);
    assert_eq!(run.status, 2);
    assert_eq!(
        run.stdout,
        "networks/net-1.yaml: network net-1, 150 hosts, fine\n"
    );
    insta::assert_snapshot!(run.stderr, @r"
    error: tests/data/network/bad/gateway.yaml:5:46: 192.168.151.255 is the broadcast address of 192.168.151.0/24
        5 |   ipv4: { subnet: 192.168.151.0/24, gateway: 192.168.151.255 }
          |                                              ^^^^^^^^^^^^^^^
    help: use an address from 192.168.151.1 to 192.168.151.254
    ");
}

#[test]
fn json_has_the_places_too() {
    let bad = format!("{BAD}/duplicate-host.yaml");
    let warned = format!("{GOOD}/warnings.yaml");
    let run = miniascape(["--format", "json", "net", "validate", &bad, &warned]);
    assert_eq!((run.status, run.stderr.as_str()), (2, ""));
    let lines: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["valid"], false);
    assert_eq!(lines[0]["errors"][1]["line"], 9);
    assert_eq!(lines[0]["errors"][1]["column"], 23);
    assert_eq!(lines[0]["errors"][1]["also"]["line"], 7);
    assert_eq!(lines[1]["valid"], true);
    assert_eq!(lines[1]["warnings"].as_array().unwrap().len(), 5);

    let run = miniascape([
        "--format",
        "json",
        "net",
        "compile",
        &bad,
        "--output",
        "/nonexistent",
    ]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["problems"].as_array().unwrap().len(), 3);
}

#[test]
fn a_missing_file_and_an_unknown_name_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for network in ["./no-such.yaml", "no-such", "../etc/passwd", "-x", "a\nb"] {
        let run = miniascape([
            "--root",
            dir.path().to_str().unwrap(),
            "net",
            "validate",
            "--",
            network,
        ]);
        assert_eq!(run.status, 2, "{network:?}: {run:?}");
        assert!(!run.stderr.contains("a\nb"), "{run:?}");
    }
}

#[test]
fn compile_writes_what_a_registration_would_and_changes_nothing_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("net-1");
    let compile = || {
        let run = miniascape([
            "--state-dir",
            "/srv/lab",
            "net",
            "compile",
            "networks/net-1.yaml",
            "--output",
            output.to_str().unwrap(),
        ]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
        let mut files: Vec<_> = fs::read_dir(&output)
            .unwrap()
            .map(|entry| entry.unwrap())
            .collect();
        files.sort_by_key(fs_err::DirEntry::path);
        files
            .iter()
            .map(|file| {
                let name = file.file_name().into_string().unwrap();
                (name, file.metadata().unwrap().modified().unwrap())
            })
            .collect::<Vec<_>>()
    };
    let first = compile();
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "addn-hosts",
            "dhcp-hostsfile",
            "dhcp-optsfile",
            "dnsmasq.conf",
            "libvirt.xml"
        ]
    );
    assert_eq!(compile(), first);
    let conf = fs::read_to_string(output.join("dnsmasq.conf")).unwrap();
    let paths: Vec<_> = conf.lines().filter_map(|line| line.split_once("=/")).collect();
    assert!(
        paths
            .iter()
            .filter(|(_, path)| Path::new(path).starts_with("srv/lab/var/lib/miniascape/networks/net-1"))
            .count()
            == 6,
        "{conf}"
    );
}
