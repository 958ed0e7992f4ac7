//! What the packages of miniascape itself claim, compared with what is so: versions, licences, and what `make install`
//! and `make uninstall` leave. The packages themselves are looked at by lintian and rpmlint (`make lint-packages`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).expect("a file of the source")
}

/// What a program of the source writes to standard output; it has to succeed.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(top())
        .env("LC_ALL", "C.UTF-8")
        .env_remove("MAKEFLAGS")
        .output()
        .expect("a program of the source");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// An SPDX expression whose parts are joined by AND, as a set of sets of alternatives.
fn licences(expression: &str) -> BTreeSet<BTreeSet<&str>> {
    expression
        .split(" AND ")
        .map(|part| part.trim_matches(['(', ')']).split(" OR ").collect())
        .collect()
}

#[test]
fn packages_have_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION").replace('-', "~");
    let spec = text("packaging/miniascape.spec");
    assert!(
        spec.contains(&format!("%global package_version {version}}}")),
        "miniascape.spec"
    );
    assert!(
        spec.contains(&format!(" - {version}-1\n")),
        "%changelog of miniascape.spec"
    );
    let changelog = text("packaging/debian/changelog");
    assert!(
        changelog.starts_with(&format!("miniascape ({version}-1) ")),
        "debian/changelog"
    );
}

#[test]
fn every_licence_of_a_linked_crate_is_named_by_the_packages() {
    let crates = output("packaging/crates", &["licences"]);
    let spec = text("packaging/miniascape.spec");
    let claimed = spec
        .lines()
        .find_map(|line| line.strip_prefix("License:"))
        .expect("a License tag")
        .trim();
    let claimed = licences(claimed);
    for line in crates.lines() {
        for part in licences(line) {
            assert!(
                claimed.contains(&part),
                "miniascape.spec does not name {part:?}, which is a crate's licence"
            );
        }
    }
    // Nor more than that: a crate that has gone takes its licence with it.
    let own = ["(MIT OR Apache-2.0)", "0BSD"].join(" AND ");
    let linked: BTreeSet<_> = crates.lines().chain([&*own]).flat_map(licences).collect();
    let more: Vec<_> = claimed.difference(&linked).collect();
    assert!(
        more.is_empty(),
        "miniascape.spec names {more:?}, which no crate has"
    );
    // What stands in debian/copyright for each crate is made of Cargo.lock; the texts that it refers to are written there.
    let copyright = text("packaging/debian/copyright");
    for licence in claimed.iter().flatten() {
        let name = match *licence {
            "MIT" => "Expat",
            "LGPL-2.1-only" => "LGPL-2.1",
            "LGPL-2.1-or-later" => "LGPL-2.1+",
            "Apache-2.0 WITH LLVM-exception" => "Apache-2.0-with-LLVM-exception",
            other => other,
        };
        assert!(
            copyright.contains(&format!("\nLicense: {name}\n ")),
            "debian/copyright has no text for {name}"
        );
    }
    let allowed = text("deny.toml");
    for part in &claimed {
        assert!(
            part.iter()
                .any(|licence| allowed.contains(&format!("\"{licence}\""))),
            "deny.toml allows none of {part:?}"
        );
    }
}

#[test]
fn what_is_installed_is_taken_away_again() {
    let root = tempfile::tempdir().expect("a temporary directory");
    // What was there before stays, also where it is empty.
    let before = ["usr/local/bin", "usr/local/share/man"].map(|dir| root.path().join(dir));
    for dir in &before {
        fs::create_dir_all(dir).expect("a directory");
    }
    let other = before[0].join("other");
    fs::write(&other, "of someone else").expect("a file");

    let program = format!("PROGRAM={}", env!("CARGO_BIN_EXE_miniascape"));
    let destination = format!("DESTDIR={}", root.path().display());
    let make = |target| {
        output(
            "make",
            &["-s", target, &program, &destination, "PREFIX=/usr/local"],
        )
    };
    let all = || -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(root.path()).sort_by_file_name();
        entries
            .into_iter()
            .map(|entry| entry.expect("an entry").into_path())
            .collect()
    };
    let untouched = all();
    make("install");
    let installed = all();
    for path in [
        "usr/local/bin/miniascape",
        "usr/local/share/man/man1/miniascape.1",
        "usr/local/share/miniascape/networks/net-1.yaml",
        "etc/dbus-1/system.d/org.miniascape.dnsmasq.conf",
    ] {
        assert!(installed.contains(&root.path().join(path)), "{path}");
    }
    let unit = fs::read_to_string(
        root.path()
            .join("usr/local/lib/systemd/system/miniascaped.service"),
    );
    assert!(
        unit.expect("a unit")
            .contains("ExecStart=/usr/local/bin/miniascape ")
    );
    make("install");
    assert_eq!(all(), installed, "a second time");
    make("uninstall");
    assert_eq!(all(), untouched);
    make("uninstall");
}
