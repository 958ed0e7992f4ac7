//! `repack --repo` where no package manager is needed: usage, guests of libvirt, programs that are not there.

use crate::miniascape;
use crate::repack::{bench, names};
use std::process::Command;

#[test]
fn what_cannot_go_into_a_repository_is_wrong_usage_and_leaves_nothing() {
    let bench = bench();
    let (xml, repo) = (bench.path().join("web.xml"), bench.path().join("repo"));
    let (xml, repo) = (xml.to_str().unwrap(), repo.to_str().unwrap());
    for arguments in [
        &["--repo", repo, "--to", "tar", xml][..],
        &["--repo", repo, "--output", "elsewhere", xml],
        &["--repo", repo, "--all", xml],
        &["--repo", repo, "--created=-1", xml],
        &["--repo", repo],
        &["--all"],
        &[xml, xml],
    ] {
        let run = miniascape(["repack"].iter().chain(arguments));
        assert_eq!(run.status, 2, "{arguments:?}: {run:?}");
        assert!(!bench.path().join("repo").exists());
    }
}

/// libvirt's built-in simulator has one guest, and it runs.
#[test]
fn all_guests_are_those_of_libvirt() {
    let bench = bench();
    let repo = bench.path().join("repo");
    let repo = repo.to_str().unwrap();
    let run = miniascape([
        "--connect",
        "test:///default",
        "--format",
        "json",
        "repack",
        "--all",
        "--repo",
        repo,
    ]);
    assert_eq!(run.status, 1, "{run:?}");
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["guests"].as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(report["guests"][0]["guest"], "test");
    assert_eq!(report["guests"][0]["error"]["kind"], "refused");
    assert_eq!(report["indexes"], serde_json::json!([]));
}

/// The programs are hidden in a mount namespace of the run's own.
#[test]
fn a_program_that_is_not_installed_is_named_and_the_packages_are_there() {
    let bench = bench();
    let hide = "for program in createrepo_c apt-ftparchive; do mount --bind /dev/null /usr/bin/$program; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let output = command
        .args(["--mount", "sh", "-ec", hide, "sh"])
        .arg(env!("CARGO_BIN_EXE_miniascape"))
        .args(["repack", "--to", "rpm,deb", "--format", "json", "--repo"])
        .arg(bench.path().join("repo"))
        .arg(bench.path().join("web.xml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for program in ["createrepo-c", "apt-utils"] {
        assert!(said.contains(program), "{said}");
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for index in report["indexes"].as_array().unwrap() {
        assert_eq!(index["state"], "program missing", "{report:#}");
    }
    assert_eq!(names(&bench.path().join("repo")).len(), 6);
}
