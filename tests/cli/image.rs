//! `miniascape image`, as far as it is arguments, messages and statuses.

mod foreign;
mod hostile;

use super::miniascape;
use std::path::Path;
use std::process::Command;

fn sure(program: &str, arguments: &[&str], dir: &Path) {
    let output = Command::new(program)
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

fn qemu_img(arguments: &[&str], dir: &Path) {
    sure("qemu-img", arguments, dir);
}

fn qemu_io(command: &str, format: &str, image: &str, dir: &Path) {
    sure("qemu-io", &["-f", format, "-c", command, image], dir);
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

#[test]
fn converts_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"], dir.path());
    qemu_io("write -q -P 5 0 128k", "qcow2", "base.qcow2", dir.path());
    let planned = miniascape([
        "image",
        "convert",
        &at("base.qcow2"),
        &at("copy"),
        "--dry-run",
        "--format",
        "json",
    ]);
    assert!(!dir.path().join("copy").exists());
    let done = miniascape([
        "image",
        "convert",
        &at("base.qcow2"),
        &at("copy"),
        "--format",
        "json",
    ]);
    let size = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["size"].as_u64();
    assert_eq!(size(&planned.stdout), size(&done.stdout), "{}", planned.stderr);
    let length = fs_err::metadata(dir.path().join("copy")).unwrap().len();
    assert_eq!(Some(length), size(&done.stdout));
    // What is there stays, unless it is to be replaced; what is read always does.
    assert_eq!(
        miniascape(["image", "convert", &at("base.qcow2"), &at("copy")]).status,
        3
    );
    let packed = miniascape([
        "image",
        "convert",
        &at("base.qcow2"),
        &at("copy"),
        "--force",
        "--compress",
    ]);
    assert_eq!(packed.status, 0, "{}", packed.stderr);
    assert_eq!(
        miniascape(["image", "convert", &at("copy"), &at("copy"), "--force"]).status,
        3
    );
    qemu_img(&["compare", "-q", "copy", "base.qcow2"], dir.path());

    let delta = miniascape([
        "image",
        "delta",
        "--base",
        &at("base.qcow2"),
        &at("copy"),
        &at("delta"),
    ]);
    assert_eq!(delta.status, 0, "{}", delta.stderr);
    qemu_img(&["compare", "-q", "delta", "base.qcow2"], dir.path());
    let chain = miniascape(["image", "chain", &at("delta")]);
    assert!(chain.stdout.contains("base.qcow2"), "{}", chain.stdout);
    assert_eq!(
        fs_err::read_dir(dir.path()).unwrap().count(),
        3,
        "nothing else is left"
    );
}

#[test]
fn progress_is_told_as_by_repack() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "base", "3M"], dir.path());
    qemu_img(&["create", "-q", "-f", "vdi", "vdi", "3M"], dir.path());
    qemu_io("write -q -P 5 0 128k", "qcow2", "base", dir.path());
    qemu_io("write -q -P 6 64k 128k", "vdi", "vdi", dir.path());
    let told = |arguments: &[&str]| {
        let done = miniascape(["image"].iter().chain(arguments).chain(&["--progress", "json"]));
        assert_eq!(done.status, 0, "{}", done.stderr);
        let lines = done.stderr.lines();
        let steps = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        let ended = steps.filter(|step| step["state"] == "done");
        ended
            .map(|step| {
                assert!(step["rate"].is_u64() && step["seconds"].is_f64(), "{step}");
                (
                    step["step"].as_str().unwrap().to_owned(),
                    step["bytes"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    let step = |name: &str, bytes: u64| (name.to_owned(), bytes);
    let (disk, two) = (3 << 20, 128 << 10);
    assert_eq!(
        told(&["convert", &at("vdi"), &at("copy")]),
        [step("copy", 0), step("look", disk), step("write", two)]
    );
    assert_eq!(
        told(&["delta", "--base", &at("base"), &at("copy"), &at("delta")]),
        [step("compare", disk), step("write", two)]
    );
    let digest = Command::new("sha256sum").arg(at("delta")).output().unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    let file = fs_err::metadata(at("delta")).unwrap().len();
    assert_eq!(
        told(&["verify", &at("delta"), "--content", "--digest", &digest[..64]]),
        [step("tables", 0), step("digest", file), step("content", disk)]
    );
    // What fails has not been done.
    let failed = miniascape([
        "image",
        "convert",
        &at("vdi"),
        &at("raw"),
        "--source-format",
        "vpc",
        "--progress",
        "json",
    ]);
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains(r#""state":"failed""#), "{}", failed.stderr);
}

#[test]
fn verify_finds_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.qcow2");
    let name = path.to_str().unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "a.qcow2", "1M"], dir.path());
    assert_eq!(miniascape(["image", "verify", name]).status, 0);
    let mut bytes = fs_err::read(&path).unwrap();
    // The first refcount block follows the refcount table: its first count is the header's.
    bytes[2 * 65536 + 1] = 0;
    fs_err::write(&path, bytes).unwrap();
    let verified = miniascape(["image", "verify", name]);
    assert_eq!(verified.status, 1);
    assert!(
        verified
            .stderr
            .contains("the cluster at 0 is used 1 times, and counted 0 times"),
        "{}",
        verified.stderr
    );
    let digest = "0".repeat(64);
    let wrong = miniascape(["image", "verify", name, "--digest", &digest]);
    assert!(wrong.stderr.contains("its SHA-256 is"), "{}", wrong.stderr);
}
