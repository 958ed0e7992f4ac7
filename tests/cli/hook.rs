//! What the scriptlets of miniascape's packages call, where nothing can be done now: it ends with 0, names what is
//! wrong, and leaves the rest on record. What it does to a running host is the business of the booted container.

use crate::{Outcome, miniascape};
use fs_err as fs;
use serde_json::Value;
use std::path::Path;

const DOWN: &str = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";

fn hook(place: [&str; 2], line: &str) -> Outcome {
    let fixed = ["--connect", DOWN, place[0], place[1], "hook"];
    let run = miniascape(fixed.into_iter().chain(line.split_whitespace()));
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{line}: {run:?}");
    run
}

/// The networks that wait, and what for.
fn waiting(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("var/lib/miniascape/pending")) else {
        return Vec::new();
    };
    let mut all: Vec<String> = entries
        .map(|entry| {
            let wish: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
            format!(
                "{} {}",
                wish["work"].as_str().unwrap(),
                wish["network"].as_str().unwrap()
            )
        })
        .collect();
    all.sort();
    all
}

fn define(dir: &Path, name: &str) {
    let definitions = dir.join("etc/miniascape/networks");
    fs::create_dir_all(&definitions).unwrap();
    fs::copy(
        format!("networks/{name}.yaml"),
        definitions.join(format!("{name}.yaml")),
    )
    .unwrap();
}

#[test]
fn in_an_image_everything_is_ready_for_the_first_boot_and_a_broken_definition_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = ["--root", dir.path().to_str().unwrap()];
    define(dir.path(), "net-1");
    define(dir.path(), "net-2");
    let broken = dir.path().join("etc/miniascape/networks/broken.yaml");
    fs::write(&broken, "network:\n  name: broken\n  mode: nut\n").unwrap();

    // The program's own package has nothing to do, and leaves nothing.
    assert_eq!(hook(root, "post-install").stderr, "");
    assert!(!dir.path().join("var").exists());

    let shipped = "--network net-1 --network broken --network net-2";
    let first = hook(root, &format!("post-install {shipped}"));
    assert!(first.stderr.contains("broken.yaml:3:9"), "{first:?}");
    assert!(
        first
            .stderr
            .contains("the networks net-1, net-2 are made when this system has started"),
        "{first:?}"
    );
    let both = ["register-network net-1", "register-network net-2"];
    assert_eq!(waiting(dir.path()), both);
    let again = hook(root, &format!("post-install {shipped}"));
    assert!(
        again.stderr.contains("broken.yaml:3:9") && !again.stderr.contains("net-1"),
        "{again:?}"
    );
    assert_eq!(waiting(dir.path()), both);

    // One that people took away stays away, also when it could not be registered before.
    let run = miniascape(["--root", root[1], "net", "unregister", "net-2"]);
    assert_eq!(run.status, 0, "{run:?}");
    hook(root, &format!("post-install {shipped}"));
    let one = ["register-network net-1", "unregister-network net-2"];
    assert_eq!(waiting(dir.path()), one);

    // With its package what waits is taken back; with the program's it waits for that to come again.
    hook(root, "pre-remove");
    assert_eq!(waiting(dir.path()), one);
    for _ in 0..2 {
        hook(root, &format!("pre-remove {shipped}"));
        let none = ["unregister-network net-1", "unregister-network net-2"];
        assert_eq!(waiting(dir.path()), none);
    }
    assert!(!dir.path().join("var/lib/miniascape/brought.json").exists());
}

#[test]
fn while_libvirt_is_down_networks_wait_and_registered_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = ["--state-dir", dir.path().to_str().unwrap()];
    define(dir.path(), "net-1");
    let run = hook(state, "post-install --network net-1");
    assert!(
        run.stderr
            .contains("the network net-1 is made when `miniascape daemon` runs: there is no systemd here"),
        "{run:?}"
    );
    assert_eq!(waiting(dir.path()), ["register-network net-1"]);

    // A network that is registered, from a definition that is nowhere else, and one whose definition has gone.
    let lab = dir.path().join("lab.yaml");
    fs::write(
        &lab,
        "network: { name: lab, mode: isolated, domain: lab.internal, ipv4: { subnet: 10.99.7.0/24 } }\n",
    )
    .unwrap();
    for (name, source) in [("lab", lab.to_str().unwrap()), ("gone", "/nonexistent/gone.yaml")] {
        let place = dir.path().join("var/lib/miniascape/networks").join(name);
        fs::create_dir_all(&place).unwrap();
        let record = format!(
            r#"{{ "format": 1, "name": "{name}", "dnsmasq": true, "files": {{}}, "source": "{source}" }}"#
        );
        fs::write(place.join("applied.json"), record).unwrap();
    }
    let run = hook(state, "post-install");
    assert!(!run.stderr.contains("gone"), "{run:?}");
    assert_eq!(
        waiting(dir.path()),
        ["register-network lab", "register-network net-1"]
    );
    let run = hook(state, "pre-remove");
    assert!(
        run.stderr
            .contains("the network lab stays: libvirt cannot be asked"),
        "{run:?}"
    );
    assert_eq!(
        waiting(dir.path()),
        ["register-network lab", "register-network net-1"]
    );
}

#[test]
fn a_disk_that_takes_nothing_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    define(dir.path(), "net-1");
    // Nothing can be made below a file.
    fs::write(dir.path().join("var"), "").unwrap();
    let run = hook(
        ["--root", dir.path().to_str().unwrap()],
        "post-install --network net-1",
    );
    assert!(run.stderr.contains("error: "), "{run:?}");
}

#[test]
fn the_scriptlets_of_the_reference_networks_name_each_of_them() {
    let all: String = crate::files("networks")
        .iter()
        .map(|path| format!(" --network {}", path.file_stem().unwrap().to_str().unwrap()))
        .collect();
    for (file, verbs) in [
        (
            "packaging/debian/miniascape-refdata.postinst",
            &["post-install"][..],
        ),
        ("packaging/debian/miniascape-refdata.prerm", &["pre-remove"]),
        ("packaging/miniascape.spec", &["post-install", "pre-remove"]),
    ] {
        let text = fs::read_to_string(file).unwrap();
        for verb in verbs {
            let line = format!("miniascape hook {verb}{all} || :\n");
            assert_eq!(text.matches(&line).count(), 1, "{file}: {line}");
        }
    }
}
