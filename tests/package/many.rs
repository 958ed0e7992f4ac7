//! Several guests in one repository, by the program itself, for real dnf and apt.

use crate::guest::{Bench, domain, run};
use crate::install::{stub_deb, stub_rpm};
use crate::tools::{apt_install, dnf_install};
use fs_err as fs;
use serde_json::Value;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// Three guests on one base, of which the second has a damaged disk.
fn guests() -> Bench {
    let bench = Bench::below("repository-");
    bench.raw("b.raw");
    for (name, mark) in [("one", 1), ("broken", 2), ("two", 3)] {
        let disk = bench.overlay(&format!("{name}.qcow2"), "b.raw", "raw", "12M");
        run("qemu-io", |c| {
            c.args(["-c", &format!("write -P {mark} 0 4k")]).arg(&disk)
        });
        fs::write(bench.path(&format!("{name}.xml")), domain(name, &disk, "qcow2")).unwrap();
        if name == "broken" {
            // The first entry of its L1 table points outside of the file.
            let mut file = fs::OpenOptions::new().read(true).write(true).open(&disk).unwrap();
            let mut place = [0; 8];
            file.seek(SeekFrom::Start(40)).unwrap();
            std::io::Read::read_exact(&mut file, &mut place).unwrap();
            file.seek(SeekFrom::Start(u64::from_be_bytes(place))).unwrap();
            file.write_all(&(1u64 << 63 | 1 << 40).to_be_bytes()).unwrap();
        }
    }
    bench
}

/// Runs `repack --repo`; its status, its report, and what it says besides.
fn pack(bench: &Bench, kinds: &str, guests: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(["--format", "json", "repack", "--to", kinds, "--repo"])
        .arg(bench.path("repo"))
        .args(guests.iter().map(|name| bench.path(&format!("{name}.xml"))))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).expect(&said);
    (output.status.code().unwrap(), report, said)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn states(report: &Value) -> Vec<&str> {
    let guests = report["guests"].as_array().unwrap();
    guests
        .iter()
        .map(|guest| guest["state"].as_str().unwrap())
        .collect()
}

#[test]
fn one_failure_does_not_stop_the_rest_and_dnf_and_apt_install_them() {
    let bench = guests();
    let (status, report, said) = pack(&bench, "rpm,deb", &["one", "broken", "two"]);
    assert_eq!(status, 1, "{said}");
    assert_eq!(states(&report), ["packed", "failed", "packed"], "{report:#}");
    assert_eq!(report["failed"], 1);
    let error = &report["guests"][1]["error"];
    assert!(
        error["message"].as_str().unwrap().contains("broken.qcow2"),
        "{error}"
    );
    assert!(said.contains("broken.qcow2"), "{said}");
    for index in report["indexes"].as_array().unwrap() {
        assert_eq!(index["state"], "made", "{report:#}");
    }
    // A base, two deltas and two guests of each kind; the second guest found the base there.
    let repo = bench.path("repo");
    let held = names(&repo);
    for (ending, count) in [(".rpm", 5), (".deb", 5)] {
        assert_eq!(
            held.iter().filter(|name| name.ends_with(ending)).count(),
            count,
            "{held:?}"
        );
    }
    assert_eq!(held.len(), 14, "{held:?}");
    assert!(report["guests"][0].get("shared").is_none(), "{report:#}");
    let shared = report["guests"][2]["shared"].as_array().unwrap();
    assert_eq!(shared.len(), 2, "{report:#}");
    run("gzip", |c| c.arg("-t").arg(repo.join("Packages.gz")));

    // What guests need from a whole system comes into the same indexes, by the next run.
    for stub in [stub_rpm(&bench), stub_deb(&bench)] {
        fs::copy(&stub, repo.join(stub.file_name().unwrap())).unwrap();
    }
    let base = Path::new(shared[0]["path"].as_str().unwrap());
    let made = |path: &Path| -> SystemTime { fs::metadata(path).unwrap().modified().unwrap() };
    let before = made(base);
    // What a killed createrepo_c leaves does not keep the next one from its work.
    fs::create_dir(repo.join(".repodata")).unwrap();
    let (status, report, said) = pack(&bench, "rpm,deb", &["two"]);
    assert_eq!((status, &report["failed"]), (0, &Value::from(0)), "{said}");
    // Base and delta are those of the first run.
    assert_eq!(report["guests"][0]["shared"].as_array().unwrap().len(), 4);
    assert_eq!(made(base), before);
    let packaged = |root: &Path| names(&root.join("var/lib/libvirt/images/miniascape/packaged")).len();
    let root = tempfile::tempdir().unwrap();
    dnf_install(&repo, root.path(), &["vm-one", "vm-two"]);
    assert_eq!(packaged(root.path()), 3);
    let root = tempfile::tempdir().unwrap();
    apt_install(&repo, root.path(), &["vm-one", "vm-two"]);
    assert_eq!(packaged(root.path()), 3);
}

#[test]
fn a_package_is_not_shared_by_its_name_alone_and_names_do_not_collide() {
    let bench = guests();
    let (status, first, said) = pack(&bench, "deb", &["one"]);
    assert_eq!(status, 0, "{said}");
    let files = first["guests"][0]["files"].as_array().unwrap();
    let images = || files.iter().map(|file| file["path"].as_str().unwrap()).skip(1);
    let whole: Vec<Vec<u8>> = images().map(|path| fs::read(path).unwrap()).collect();
    for (path, content) in images().zip(&whole) {
        let mut content = content.clone();
        let middle = content.len() - 100;
        content[middle] ^= 1;
        fs::write(path, content).unwrap();
    }
    // The same guest twice: the second one would take the first one's place.
    let (status, report, said) = pack(&bench, "deb", &["one", "one"]);
    assert_eq!(status, 1, "{said}");
    assert_eq!(states(&report), ["packed", "failed"]);
    assert_eq!(report["guests"][1]["error"]["kind"], "refused");
    assert!(report["guests"][0].get("shared").is_none(), "{report:#}");
    assert_eq!(said.matches("made again").count(), whole.len(), "{said}");
    for path in images() {
        let checked = miniascape::package::verify(Path::new(path), &mut |_| {});
        assert!(checked.is_ok(), "{checked:?}");
    }
}

#[test]
fn a_base_that_has_its_package_elsewhere_comes_into_the_repository_too() {
    let bench = guests();
    let (status, report, said) = pack(&bench, "deb", &["one"]);
    assert_eq!(status, 0, "{said}");
    let images = report["guests"][0]["files"].as_array().unwrap();
    let base = images[1]["path"].as_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_miniascape"))
        .args(["repack", "--to", "deb", "--base", base, "--repo"])
        .args([bench.path("other"), bench.path("two.xml")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let held = names(&bench.path("other"));
    assert_eq!(held.len(), 6, "two images, a guest and the index: {held:?}");
    assert!(
        held.iter().any(|name| base.ends_with(name.as_str())),
        "{base}: {held:?}"
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("GUEST") && told.contains("vm-two 0.1"), "{told}");
}
