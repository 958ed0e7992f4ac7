//! `miniascape net import`, as far as it goes without libvirt's daemon.

use super::miniascape;
use fs_err as fs;

const DATA: &str = "tests/data/network/import";

#[test]
fn a_libvirt_networks_xml_becomes_a_definition_that_is_valid() {
    let run = miniascape(["net", "import", &format!("{DATA}/default.xml"), "--output", "-"]);
    assert_eq!(run.status, 0, "{run:?}");
    insta::assert_snapshot!(run.stdout, @r"
    # yaml-language-server: $schema=/usr/share/miniascape/schemas/network.json
    network:
      name: default
      mode: nat
      bridge: virbr0
      domain: default.internal
      ipv4: { subnet: 192.168.122.0/24, gateway: 192.168.122.1 }
      dhcp:
        ranges:
          - { start: 192.168.122.2, end: 192.168.122.254 }
    ");
    assert_eq!(
        run.stderr,
        "warning: libvirt's network has no domain; its names end in default.internal now\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("default.yaml");
    fs::write(&file, run.stdout).unwrap();
    let run = miniascape(["net", "validate", file.to_str().unwrap()]);
    assert_eq!(run.status, 0, "{run:?}");
}

#[test]
fn what_is_not_carried_over_is_listed() {
    let file = format!("{DATA}/everything.xml");
    let run = miniascape(["net", "import", &file, "--output", "-", "--format", "json"]);
    assert_eq!(run.status, 0, "{run:?}");
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let lost: Vec<_> = value["not_carried_over"].as_array().unwrap().iter().collect();
    for expected in [
        "<mtu size='9000'> is not carried over",
        "<dnsmasq:option value='interface-name=x'> is not carried over",
    ] {
        assert!(lost.iter().any(|lost| *lost == expected), "{lost:?}");
    }
    assert!(run.stderr.contains("warning: <mtu size='9000'>"), "{run:?}");
    assert!(
        value["definition"]
            .as_str()
            .unwrap()
            .contains("name: every_thing")
    );
}

#[test]
fn a_file_in_the_original_form_is_rewritten_where_networks_are() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let file = format!("{DATA}/comments.yaml");
    let import = |more: &[&str]| {
        let mut arguments = vec!["--root", root, "net", "import", &file];
        arguments.extend(more);
        miniascape(arguments)
    };
    let target = dir.path().join("etc/miniascape/networks/net-9.yaml");
    let run = import(&["--dry-run"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.contains("would be written"), "{run:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let run = import(&[]);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(run.stdout, format!("net-9 written to {}\n", target.display()));
    let text = fs::read_to_string(&target).unwrap();
    let modeline = "# yaml-language-server: $schema=/usr/share/miniascape/schemas/network.json\n";
    assert!(
        text.starts_with(&format!("{modeline}# net-9 of the old lab.\n")),
        "{text}"
    );
    assert!(
        text.contains("  # The world, through the host.\n  mode: nat  # as ever\n"),
        "{text}"
    );
    let show = |file: &str| {
        let run = miniascape(["net", "show", file, "--format", "json", "--quiet"]);
        let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        (value["form"].clone(), value["network"].clone())
    };
    let (old, new) = (show(&file), show(target.to_str().unwrap()));
    assert_eq!((old.0, new.0), ("original".into(), "native".into()));
    assert_eq!(old.1, new.1);

    // The second time there is nothing to do, and another file is not replaced.
    let run = import(&["--format", "json"]);
    assert_eq!(run.status, 0, "{run:?}");
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["changed"], false);
    fs::write(&target, "# mine\n").unwrap();
    let run = import(&[]);
    assert_eq!(run.status, 3, "{run:?}");
    assert!(run.stderr.contains("there is another"), "{run:?}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "# mine\n");
    assert_eq!(import(&["--force"]).status, 0);
    assert_eq!(fs::read_to_string(&target).unwrap(), text);
}

#[test]
fn what_cannot_be_imported_ends_with_2_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    for (file, message) in [
        (
            format!("{DATA}/macvtap.xml"),
            "cannot be described by a definition",
        ),
        (format!("{DATA}/bad-name.xml"), "`a b` is not a network name"),
        (
            format!("{DATA}/domain.xml"),
            "its outermost element is not <network>",
        ),
        (
            format!("{DATA}/broken.xml"),
            "broken.xml: network XML, line 2, column 10",
        ),
        (format!("{DATA}/none.xml"), "none.xml"),
        ("networks/net-1.yaml".to_owned(), "is in the present form already"),
        (
            "tests/data/network/bad/original-fixture.yaml".to_owned(),
            "original-fixture.yaml:11:15: `192.168.151.1.200` is not an IPv4 address",
        ),
        ("net-1".to_owned(), "needs libvirt, which --root does not contact"),
    ] {
        let run = miniascape(["--root", root, "net", "import", &file]);
        assert_eq!(run.status, 2, "{file}: {run:?}");
        assert!(run.stderr.contains(message), "{file}: {run:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_network_of_the_simulator_is_imported_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let import = |name: &str| {
        miniascape([
            "--connect",
            "test:///default",
            "--state-dir",
            state,
            "net",
            "import",
            name,
        ])
    };
    let run = import("default");
    assert_eq!(run.status, 0, "{run:?}");
    let written = fs::read_to_string(dir.path().join("etc/miniascape/networks/default.yaml")).unwrap();
    assert!(written.contains("name: default"), "{written}");
    assert_eq!(import("nosuch").status, 1);
}
