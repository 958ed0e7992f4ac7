//! `miniascape net show`: what a definition means, without libvirt and without root.

use super::{files, miniascape};
use fs_err as fs;

#[test]
fn defaults_and_the_places_of_entries_are_shown() {
    let run = miniascape([
        "net",
        "show",
        "tests/data/network/good/original-reservations.yaml",
    ]);
    assert_eq!(run.status, 0, "{run:?}");
    insta::assert_snapshot!(run.stdout, @r#"
    # tests/data/network/good/original-reservations.yaml
    # in the form of the first releases; `net import` rewrites it in this one
    network:
      name: old-4
      mode: isolated
      bridge: ms-old-4                                                  # default
      domain: old-4.example
      ipv4: { subnet: 10.4.0.0/16, gateway: 10.4.0.1 }
      dns: { serve: true, forward: false }                              # default: serve, forward
      dhcp: { lease_time: 1h }                                          # default: lease_time
      hosts:
        - { name: service-0, mac: "52:54:00:04:00:10", ip: 10.4.0.10 }  # original-reservations.yaml
    "#);
    assert!(
        run.stderr.contains("DHCP is served beside libvirt now"),
        "{run:?}"
    );
}

#[test]
fn what_is_shown_is_a_definition_of_the_same_network() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = files("tests/data/network/good");
    all.extend(files("networks"));
    for file in all {
        let shown = dir.path().join("shown.yaml");
        let show = |file: &std::path::Path| {
            let run = miniascape(["net", "show", file.to_str().unwrap(), "--quiet"]);
            assert_eq!(run.status, 0, "{run:?}");
            run.stdout
        };
        let first = show(&file);
        fs::write(&shown, &first).unwrap();
        let plain = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines
                .map(|line| line.split("  # ").next().unwrap().trim_end().to_owned())
                .collect()
        };
        assert_eq!(plain(&show(&shown)), plain(&first), "{}", file.display());
    }
}

#[test]
fn json_has_the_native_form_the_defaults_and_the_origins() {
    let run = miniascape([
        "net",
        "show",
        "tests/data/network/good/alias.yaml",
        "--format",
        "json",
    ]);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["form"], "native");
    assert_eq!(value["network"]["ipv4"]["gateway"], "192.168.11.1");
    assert_eq!(
        value["defaults"],
        serde_json::json!(["bridge", "ipv4.gateway", "dns.serve", "dns.forward"])
    );
    let run = miniascape(["net", "show", "networks/net-2.yaml", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["entries"].as_array().unwrap().len(), 80);
    assert_eq!(
        value["entries"][79],
        serde_json::json!({ "path": "hosts.79", "from": "definition", "file": "networks/net-2.yaml" })
    );
    assert_eq!(value["network"]["hosts"][79]["name"], "guest-10");
}

#[test]
fn the_shipped_networks_are_found_and_listed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = dir.path().join("usr/share/miniascape/networks");
    fs::create_dir_all(&shipped).unwrap();
    for file in files("networks") {
        fs::copy(&file, shipped.join(file.file_name().unwrap())).unwrap();
    }
    let root = dir.path().to_str().unwrap();
    let run = miniascape(["--root", root, "net", "show", "net-3"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.contains("  bridge: virbr153\n"), "{run:?}");
    let run = miniascape(["--root", root, "net", "list", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|n| &n["name"]).collect();
    assert_eq!(names, ["net-1", "net-2", "net-3"]);
    assert_eq!(miniascape(["--root", root, "net", "show", "net-4"]).status, 2);
}

#[test]
fn a_bad_definition_is_not_shown() {
    let run = miniascape(["net", "show", "tests/data/network/bad/original-mixed.yaml"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
    assert!(
        run.stderr.contains("original-mixed.yaml:5:3: `gateway` belongs"),
        "{run:?}"
    );
}
