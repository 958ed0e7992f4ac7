//! `miniascape image`, as far as it is arguments, messages and statuses.

use super::miniascape;
use std::path::Path;
use std::process::Command;

fn qemu_img(arguments: &[&str], dir: &Path) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn looks_at_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"], dir.path());
    qemu_img(
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "base.qcow2",
            "-F",
            "qcow2",
            "top.qcow2",
            "2M",
        ],
        dir.path(),
    );
    let info = miniascape(["image", "info", &at("top.qcow2")]);
    assert_eq!(info.status, 0, "{}", info.stderr);
    assert!(
        info.stdout.contains("stands on  base.qcow2, format qcow2"),
        "{}",
        info.stdout
    );
    let chain = miniascape(["image", "chain", &at("top.qcow2"), "--format", "json"]);
    let images: serde_json::Value = serde_json::from_str(&chain.stdout).unwrap();
    assert_eq!(images[1]["path"], at("base.qcow2"));
    let map = miniascape(["image", "map", &at("top.qcow2"), "--format", "json"]);
    let entries: serde_json::Value = serde_json::from_str(&map.stdout).unwrap();
    assert_eq!(
        entries,
        serde_json::json!([
            { "start": 0, "length": 2 << 20, "zero": true, "data": false, "compressed": false }
        ])
    );
}

#[test]
fn files_elsewhere_need_leave() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (base, top) = (other.path().join("base"), dir.path().join("top"));
    qemu_img(&["create", "-q", "-f", "qcow2", "base", "1M"], other.path());
    let backing = base.to_str().unwrap();
    qemu_img(
        &["create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", "top"],
        dir.path(),
    );
    let top = top.to_str().unwrap();
    let refused = miniascape(["image", "chain", top]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&format!("--allow-backing '{backing}'")),
        "{}",
        refused.stderr
    );
    assert_eq!(
        miniascape(["image", "chain", top, "--allow-backing", backing]).status,
        0
    );
    // Looking at one image opens no other.
    assert_eq!(miniascape(["image", "info", top]).status, 0);
}

#[test]
fn what_is_no_image_is_said() {
    let missing = miniascape(["image", "info", "/nonexistent/x.qcow2"]);
    assert_eq!(missing.status, 1);
    assert!(missing.stderr.contains("does not exist"), "{}", missing.stderr);
    let text = miniascape(["image", "info", "--source-format", "qcow2", "Cargo.toml"]);
    assert!(text.stderr.contains("magic number"), "{}", text.stderr);
    assert_eq!(text.status, 2);
}
