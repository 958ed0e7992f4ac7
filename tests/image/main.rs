//! The image engine beside qemu-img: what one writes the other reads, over many random images; and images that lie.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod generate;
mod hostile;
mod nbd;
mod random;

use std::path::Path;
use std::process::Command;

/// Runs a program that has to succeed.
fn sure(program: &str, dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
