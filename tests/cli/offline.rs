//! `--root DIR`: another system's files, nothing live. And packing without libvirt: what is made by default, and what a
//! packager can do with it.

use crate::repack::{bench, names, repack};
use crate::{Outcome, miniascape};
use fs_err as fs;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use walkdir::WalkDir;

/// Runs with the root `dir` and a libvirt that is not there: whoever asked it would fail.
fn in_root<A: AsRef<OsStr>>(dir: &Path, arguments: impl IntoIterator<Item = A>) -> Outcome {
    let fixed = [
        "--connect",
        "qemu+unix:///system?socket=/nonexistent",
        "--format",
        "json",
        "--root",
    ]
    .map(OsStr::new);
    let arguments: Vec<A> = arguments.into_iter().collect();
    miniascape(
        fixed
            .into_iter()
            .chain([dir.as_os_str()])
            .chain(arguments.iter().map(AsRef::as_ref)),
    )
}

fn json_of(run: &Outcome) -> Value {
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut files: Vec<String> = WalkDir::new(dir)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(dir).unwrap().display().to_string())
        .collect();
    files.sort();
    files
}

#[test]
fn a_network_is_registered_below_a_root_for_its_first_boot() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let definitions = root.join("etc/miniascape/networks");
    fs::create_dir_all(&definitions).unwrap();
    fs::copy("networks/net-1.yaml", definitions.join("net-1.yaml")).unwrap();
    let before = files(root);

    let dry = json_of(&in_root(root, ["net", "register", "net-1", "--dry-run"]));
    assert_eq!(dry["steps"], json!(["write-files", "defer"]));
    assert_eq!(files(root), before);

    let first = json_of(&in_root(root, ["net", "register", "net-1"]));
    assert_eq!(
        (&first["changed"], &first["steps"]),
        (&true.into(), &dry["steps"])
    );
    let state = root.join("var/lib/miniascape/networks/net-1");
    assert_eq!(
        (&first["pending"], state.join("applied.json").exists()),
        (&true.into(), false)
    );
    let wish = root.join("var/lib/miniascape/pending/network-net-1.json");
    let wish = || -> Value { serde_json::from_slice(&fs::read(&wish).unwrap()).unwrap() };
    assert_eq!(
        (&wish()["work"], &wish()["uri"]),
        (&"register-network".into(), &"qemu:///system".into())
    );
    // Everything names itself as the other system will see it.
    let outside = root.to_str().unwrap();
    let after = files(root);
    assert!(after.len() > before.len() + 5, "{after:?}");
    for file in &after {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(!text.contains(outside), "{file} names {outside}");
    }
    let conf = fs::read_to_string(state.join("dnsmasq.conf")).unwrap();
    assert!(
        conf.contains("\naddn-hosts=/var/lib/miniascape/networks/net-1/addn-hosts\n"),
        "{conf}"
    );
    assert_eq!(
        wish()["source"],
        "/var/lib/miniascape/networks/net-1/definition.yaml"
    );

    let second = json_of(&in_root(root, ["net", "register", "net-1"]));
    assert_eq!((&second["changed"], files(root)), (&false.into(), after.clone()));
    let list = json_of(&in_root(root, ["net", "list"]));
    assert_eq!(
        list,
        json!([{
            "name": "net-1", "defined": true, "registered": false, "pending": "register",
            "active": null, "bridge": null, "owner": null,
        }])
    );

    // Taking it away is left for that system too: its libvirt may know the network by then.
    let gone = ["net", "unregister", "net-1"];
    let dry = json_of(&in_root(root, gone.iter().chain(&["--dry-run"])));
    assert_eq!(dry["steps"], json!(["defer"]));
    assert_eq!(json_of(&in_root(root, gone))["changed"], true);
    assert_eq!(json_of(&in_root(root, gone))["changed"], false);
    assert_eq!(
        json_of(&in_root(root, ["net", "list"]))[0]["pending"],
        "unregister"
    );
    assert_eq!(
        (files(root), &wish()["work"]),
        (after, &"unregister-network".into())
    );
    // And back again.
    assert_eq!(
        json_of(&in_root(root, ["net", "register", "net-1"]))["changed"],
        true
    );
    assert_eq!(json_of(&in_root(root, ["net", "list"]))[0]["pending"], "register");
}

#[test]
fn a_guest_package_is_left_for_the_first_boot() {
    let bench = bench();
    let root = bench.path().join("root");
    fs::create_dir(&root).unwrap();
    let register = ["guest", "register", "vm-web"];
    // Not installed there: nothing is kept for later.
    let missing = in_root(&root, register);
    assert_eq!(missing.status, 1, "{missing:?}");
    assert!(files(&root).is_empty());

    let made = repack(bench.path(), &["--to", "build-tree"]);
    assert_eq!(made.status, 0, "{made:?}");
    let installed = root.join("usr/share/miniascape/guests/web");
    fs::create_dir_all(&installed).unwrap();
    for file in ["manifest.json", "domain.xml"] {
        let tree = bench.path().join("out/vm-web-repacked-0.1");
        fs::copy(tree.join(file), installed.join(file)).unwrap();
    }
    let before = files(&root);
    let dry = json_of(&in_root(&root, register.iter().chain(&["--dry-run"])));
    assert_eq!((&dry["pending"], files(&root)), (&true.into(), before));
    let pending = root.join("var/lib/miniascape/pending/guest-vm-web.json");
    for (verb, work) in [("register", "register-guest"), ("unregister", "unregister-guest")] {
        for _ in 0..2 {
            let done = json_of(&in_root(&root, ["guest", verb, "vm-web"]));
            assert_eq!(
                done,
                json!({ "work": work, "package": "vm-web", "pending": true, "dry_run": false })
            );
        }
        let kept: Value = serde_json::from_slice(&fs::read(&pending).unwrap()).unwrap();
        assert_eq!(kept["work"], work);
    }
    assert_eq!(files(&root).len(), 3);
}

#[test]
fn without_words_the_hosts_own_packages_are_made_here_as_version_0_1() {
    let bench = bench();
    let file = bench.path().join("web.xml");
    let output = Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(["repack", "web.xml"])
        .env_clear()
        .current_dir(bench.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let kind = if Path::new("/var/lib/dpkg/status").exists() {
        "deb"
    } else {
        "rpm"
    };
    let made: Vec<String> = names(bench.path())
        .into_iter()
        .filter(|name| name != "web.xml" && name != "disk.raw")
        .collect();
    assert_eq!(made.len(), 3, "{made:?}");
    assert!(made.iter().all(|name| name.ends_with(kind)), "{made:?}");
    assert!(
        made.iter()
            .any(|name| name.starts_with("vm-web") && name.contains("0.1-1")),
        "{made:?}"
    );
    // Said before a byte is copied: what is not in them.
    let said = String::from_utf8(output.stderr).unwrap();
    let copied = said.find("look at the base").unwrap();
    for what in [
        "medium /srv/install.iso",
        "password of the vnc",
        "host device pci",
    ] {
        assert!(said.find(what).is_some_and(|at| at < copied), "{what}: {said}");
    }
    assert!(file.exists());
}

/// A packager's way: the source tarball alone makes the packages, with nothing but rpmbuild.
#[test]
fn the_source_tarball_is_all_that_rpmbuild_needs() {
    let bench = bench();
    let made = repack(bench.path(), &["--to", "tar", "--package-version", "2.5"]);
    assert_eq!(made.status, 0, "{made:?}");
    assert_eq!(names(&bench.path().join("out")), ["vm-web-repacked-2.5.tar.zst"]);
    let top = bench.path().join("top");
    let built = Command::new("rpmbuild")
        .args(["-tb", "--quiet", "--define"])
        .arg(format!("_topdir {}", top.display()))
        .arg("--dbpath")
        .arg(bench.path().join("db"))
        .arg(bench.path().join("out/vm-web-repacked-2.5.tar.zst"))
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let rpms = files(&top.join("RPMS"));
    assert_eq!(rpms.len(), 3, "{rpms:?}");
    assert!(
        rpms.iter().any(|name| name.ends_with("vm-web-2.5-1.noarch.rpm")),
        "{rpms:?}"
    );
}
