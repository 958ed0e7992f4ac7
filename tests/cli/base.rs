//! `repack --base`: an image, an installed package, a package file.

use crate::Outcome;
use crate::repack::{bench, names, repack};
use fs_err as fs;
use std::process::Command;

fn json(outcome: &Outcome) -> serde_json::Value {
    assert_eq!(outcome.status, 0, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// The digests of a dry run's known base, or of the first packed image.
fn base_of(outcome: &Outcome) -> serde_json::Value {
    json(outcome)["plan"]["disks"][0]["split"]["known"]["packaged"].clone()
}

#[test]
fn a_base_is_an_image_an_installed_package_or_a_package_file() {
    let bench = bench();
    let dir = bench.path();
    let golden = dir.join("golden.raw");
    fs::write(&golden, vec![7; 65536]).unwrap();
    let golden = golden.display().to_string();
    let first = repack(dir, &["--to", "deb", "--base", &golden, "--format", "json"]);
    assert_eq!(json(&first)["files"].as_array().unwrap().len(), 3);
    let out = dir.join("out");
    let root = dir.join("root");
    let made = names(&out);
    for name in &made {
        let unpack = Command::new("dpkg-deb")
            .arg("-x")
            .arg(out.join(name))
            .arg(&root)
            .status();
        assert!(unpack.unwrap().success());
    }
    let images = root.join("var/lib/libvirt/images/miniascape/packaged");
    let installed = names(&images);
    let base = made.iter().find(|name| {
        name.starts_with("miniascape-image-") && {
            let listed = Command::new("dpkg-deb")
                .arg("-c")
                .arg(out.join(name))
                .output()
                .unwrap();
            // Base and delta of 64 KiB: the base is the larger one.
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let size = |digest: &String| fs::metadata(images.join(digest)).unwrap().len();
            let largest = installed.iter().max_by_key(|digest| size(digest)).unwrap();
            listed.contains(largest.as_str())
        }
    });
    let base = base.unwrap();
    let package = base.split('_').next().unwrap();
    let root = root.display().to_string();
    let file = out.join(base).display().to_string();
    let dry = |more: &[&str]| {
        repack(
            dir,
            &[&["--to", "deb", "--dry-run", "--format", "json"], more].concat(),
        )
    };
    let digest = base_of(&dry(&["--base", &file]));
    assert!(
        digest
            .as_str()
            .unwrap()
            .starts_with(&package["miniascape-image-".len()..])
    );
    for name in [package, "vm-web", "vda=vm-web"] {
        assert_eq!(
            base_of(&dry(&["--root", &root, "--base", name])),
            digest,
            "{name}"
        );
    }
    assert_eq!(names(&out), made, "the unpacked base is still there");
    let gone = dry(&["--root", &root, "--base", "miniascape-image-0123456789abcdef"]);
    assert!(
        gone.status == 1 && gone.stderr.contains("is not installed"),
        "{gone:?}"
    );
    let gone = dry(&["--root", &root, "--base", "vm-other"]);
    assert!(
        gone.status == 1 && gone.stderr.contains("package list"),
        "{gone:?}"
    );
    let guests = out.join("vm-web_0.1-1_all.deb").display().to_string();
    let wrong = dry(&["--base", &guests]);
    assert!(
        wrong.status == 2 && wrong.stderr.contains("miniascape-image-"),
        "{wrong:?}"
    );
}
