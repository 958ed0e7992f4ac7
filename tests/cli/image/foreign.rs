//! Sources that qemu-img reads for us: what is converted is what it reads, anything else is refused.

use super::{qemu_img, qemu_io};
use crate::miniascape;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Refused by all that reads images itself, with the way out.
fn only_converted(dir: &Path, image: &str, what: &str) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for arguments in [
        vec!["info", image],
        vec!["verify", image],
        vec!["delta", "--base", &at("base.qcow2"), image, &at("delta")],
        vec!["delta", "--base", image, &at("base.qcow2"), &at("delta")],
    ] {
        let refused = miniascape(["image"].iter().chain(&arguments));
        assert_eq!(refused.status, 2, "{arguments:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(&format!("{what} are only converted"))
                && refused.stderr.contains("image convert IN OUT"),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
    assert!(!dir.join("delta").exists());
}

/// Converts, and holds the copy and a delta of it against what qemu-img reads from the source.
fn convert(dir: &Path, arguments: &[&str], source: &str, format: &str) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let copy = at("copy.qcow2");
    let planned = miniascape(
        ["image", "convert"]
            .iter()
            .chain(arguments)
            .chain(&[copy.as_str(), "--dry-run"]),
    );
    assert_eq!(planned.status, 0, "{}", planned.stderr);
    assert!(planned.stdout.contains("would be written"), "{}", planned.stdout);
    assert!(!dir.join("copy.qcow2").exists());
    let done = miniascape(
        ["image", "convert"]
            .iter()
            .chain(arguments)
            .chain(&[copy.as_str()]),
    );
    assert_eq!(done.status, 0, "{format}: {}", done.stderr);
    assert!(
        done.stderr.contains(&format!("({format}) is read by qemu-img")),
        "{}",
        done.stderr
    );
    qemu_img(
        &["compare", "-q", "-f", format, "-F", "qcow2", source, &copy],
        dir,
    );
    let delta = miniascape([
        "image",
        "delta",
        "--base",
        &at("base.qcow2"),
        &copy,
        &at("delta.qcow2"),
    ]);
    assert_eq!(delta.status, 0, "{}", delta.stderr);
    qemu_img(
        &[
            "compare",
            "-q",
            "-f",
            format,
            "-F",
            "qcow2",
            source,
            "delta.qcow2",
        ],
        dir,
    );
    let names: Vec<_> = fs_err::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().starts_with(".miniascape")),
        "{names:?}"
    );
    fs_err::remove_file(dir.join("copy.qcow2")).unwrap();
    fs_err::remove_file(dir.join("delta.qcow2")).unwrap();
}

fn base(dir: &Path) {
    qemu_img(&["create", "-q", "-f", "qcow2", "base.qcow2", "8M"], dir);
    qemu_io("write -q -P 7 0 256k", "qcow2", "base.qcow2", dir);
}

#[test]
fn formats_of_others_are_converted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    base(dir);
    for (format, options) in [
        ("vdi", &[][..]),
        ("vhdx", &[]),
        ("vpc", &["-o", "force_size=on"]),
        ("vpc", &["-o", "force_size=on,subformat=fixed"]),
        ("vmdk", &[]),
    ] {
        let image = dir.join("foreign");
        let image = image.to_str().unwrap();
        let create = [&["create", "-q", "-f", format], options, &[image, "8M"]];
        qemu_img(&create.concat(), dir);
        qemu_io("write -q -P 7 0 192k", format, image, dir);
        qemu_io("write -q -P 9 5M 128k", format, image, dir);
        only_converted(dir, image, &format!("images in the format {format}"));
        if format == "vmdk" {
            let copy = dir.join("copy.qcow2");
            let refused = miniascape(["image", "convert", image, copy.to_str().unwrap()]);
            assert_eq!(refused.status, 3, "{}", refused.stderr);
            assert!(refused.stderr.contains("--trust-source"), "{}", refused.stderr);
            convert(dir, &[image, "--trust-source"], image, format);
        } else {
            convert(dir, &[image], image, format);
        }
        fs_err::remove_file(image).unwrap();
    }
}

/// qemu-nbd; it goes with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sources_on_the_network_are_converted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    base(dir);
    qemu_img(&["create", "-q", "-f", "raw", "served", "8M"], dir);
    qemu_io("write -q -P 9 5M 128k", "raw", "served", dir);
    let socket = dir.join("socket");
    let server = Command::new("qemu-nbd")
        .args(["-r", "-f", "raw", "-t", "-k"])
        .args([&socket, &dir.join("served")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(server);
    let begun = Instant::now();
    // The socket is there before anyone listens.
    while UnixStream::connect(&socket).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "qemu-nbd does not come up"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("nbd+unix:///?socket={}", socket.to_str().unwrap());
    only_converted(dir, &url, "images on the network");
    convert(dir, &[&url], &url, "raw");
    drop(server);
    let copy = dir.join("copy.qcow2");
    let gone = miniascape(["image", "convert", &url, copy.to_str().unwrap()]);
    assert_eq!(gone.status, 1);
    assert!(
        gone.stderr.contains("qemu-img") && gone.stderr.contains("connect"),
        "{}",
        gone.stderr
    );
    assert!(!copy.exists());
}
