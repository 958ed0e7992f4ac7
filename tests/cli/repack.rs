//! `repack` of domain XML in a file, and `package` on what it made.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use crate::{Outcome, miniascape};
use fs_err as fs;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A guest with a raw disk, in a directory of its own.
pub(crate) fn bench() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.raw");
    fs::write(&disk, vec![7; 65536]).unwrap();
    let xml = include_str!("../data/package/domain.xml")
        .replace("@NAME@", "web")
        .replace("@FORMAT@", "raw")
        .replace("@DISK@", disk.to_str().unwrap());
    fs::write(dir.path().join("web.xml"), xml).unwrap();
    dir
}

pub(crate) fn repack(dir: &Path, arguments: &[&str]) -> Outcome {
    let file = dir.join("web.xml").display().to_string();
    let output = dir.join("out").display().to_string();
    let fixed = ["repack", &file, "--output", &output];
    miniascape(fixed.iter().chain(arguments))
}

#[test]
fn a_file_becomes_packages_and_the_rest_is_named_first() {
    let bench = bench();
    let run = repack(
        bench.path(),
        &[
            "--to",
            "deb,build-tree",
            "--package-version",
            "1.5",
            "--created",
            "1767323045",
        ],
    );
    assert_eq!(run.status, 0, "{run:?}");
    let first = "not packed: medium /srv/install.iso in the drive sda: stays, but empty\n";
    assert!(run.stderr.starts_with(first), "{}", run.stderr);
    assert!(run.stdout.contains("vm-web_1.5-1_all.deb"), "{}", run.stdout);
    assert_eq!(fs::read_dir(bench.path().join("out")).unwrap().count(), 4);

    // The tree that was made is what an installed package looks like.
    let installed = bench.path().join("root/usr/share/miniascape/guests/web");
    fs::create_dir_all(&installed).unwrap();
    let manifest = bench.path().join("out/vm-web-repacked-1.5/manifest.json");
    fs::copy(manifest, installed.join("manifest.json")).unwrap();
    let root = bench.path().join("root").display().to_string();
    let list = miniascape(["package", "list", "--root", &root]);
    assert_eq!((list.status, list.stderr.as_str()), (0, ""), "{list:?}");
    let words: Vec<&str> = list.stdout.split_whitespace().collect();
    assert_eq!(
        words[..11],
        [
            "PACKAGE",
            "VERSION",
            "KIND",
            "INSTANCES",
            "IMAGES",
            "SIZE",
            "vm-web",
            "1.5",
            "-",
            "-",
            "2"
        ],
        "{}",
        list.stdout
    );
    assert_eq!(words[11], "incomplete");
    let show = miniascape(["package", "show", "vm-web", "--root", &root, "--format", "json"]);
    assert_eq!(show.status, 1, "images are missing: {show:?}");
    let value: serde_json::Value = serde_json::from_str(&show.stdout).unwrap();
    assert_eq!(value["manifest"]["package"]["version"], "1.5");
    assert_eq!(value["images"][1]["state"], "missing");
    let missing = miniascape(["package", "show", "vm-other", "--root", &root]);
    assert_eq!(missing.status, 1);
    assert!(missing.stderr.contains("package list"), "{}", missing.stderr);
    assert_eq!(miniascape(["package", "show", "web"]).status, 2);
}

#[test]
fn a_renamed_guests_package_says_what_it_was_before() {
    let bench = bench();
    let renamed = |package, version: &[&str]| {
        let fixed = [
            "--to",
            "deb",
            "--renamed-from",
            "vm-old",
            "--renamed-from",
            package,
        ];
        repack(bench.path(), &[&fixed, version].concat())
    };
    for (run, word) in [
        // Whatever was packed before as 0.1 would stay.
        (renamed("vm-older", &[]), "--package-version"),
        (renamed("vm-web", &["--package-version", "2"]), "vm-web itself"),
        (renamed("web", &["--package-version", "2"]), "vm-"),
    ] {
        assert!(run.status == 2 && run.stderr.contains(word), "{word}: {run:?}");
        assert!(!bench.path().join("out").exists());
    }
    let run = renamed("vm-older", &["--package-version", "2"]);
    assert_eq!(run.status, 0, "{run:?}");
    let deb = bench.path().join("out/vm-web_2-1_all.deb");
    let fields = Command::new("dpkg-deb")
        .arg("-f")
        .arg(&deb)
        .args(["Replaces", "Provides"])
        .output();
    assert_eq!(
        String::from_utf8(fields.unwrap().stdout).unwrap(),
        "Replaces: vm-old (<< 2-1), vm-older (<< 2-1)\nProvides: vm-old (= 2-1), vm-older (= 2-1)\n"
    );
    let verified = miniascape(["package", "verify", deb.to_str().unwrap()]);
    assert_eq!(verified.status, 0, "{verified:?}");
}

#[test]
fn one_core_and_all_give_the_same_bytes() {
    let bench = bench();
    // More than two threads compress at a time, so that several of them have work.
    let mut state = 1u32;
    let content: Vec<u8> = (0..20 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"miniascape packs"[(state >> 28) as usize]
        })
        .collect();
    fs::write(bench.path().join("disk.raw"), content).unwrap();
    let made = |output: &str, wrapper: &[&str]| -> Vec<(String, Vec<u8>)> {
        let mut command = wrapper.to_vec();
        command.push(env!("CARGO_BIN_EXE_miniascape"));
        command.extend(["-q", "repack", "web.xml", "--to", "rpm,srpm,deb,tar"]);
        command.extend(["--created", "1767323045", "--output", output]);
        let status = Command::new(command[0])
            .args(&command[1..])
            .current_dir(bench.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{command:?}");
        let mut files: Vec<_> = fs::read_dir(bench.path().join(output))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let (all, one) = (made("all", &[]), made("one", &["taskset", "-c", "0"]));
    assert_eq!(all.len(), 8);
    for (all, one) in all.iter().zip(&one) {
        assert!(all == one, "{} and {}", all.0, one.0);
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let bench = bench();
    let run = repack(bench.path(), &["--to", "rpm", "--dry-run", "--format", "json"]);
    assert_eq!(run.status, 0, "{run:?}");
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["plan"]["package"], "vm-web");
    assert_eq!(value["plan"]["disks"][0]["chain"][0]["virtual_size"], 65536);
    assert_eq!(value["targets"], serde_json::json!(["rpm"]));
    assert!(value["bytes"].as_u64().unwrap() >= 65536, "{value}");
    // 64 KiB of one letter.
    assert!(value["packed_about"].as_u64().unwrap() < 1000, "{value}");
    assert!(!bench.path().join("out").exists());
}

#[test]
fn progress_in_json_is_nothing_but_json_and_ends_each_step() {
    let bench = bench();
    let run = repack(
        bench.path(),
        &["--to", "deb,tar", "--progress", "json", "--format", "json"],
    );
    assert_eq!(run.status, 0, "{run:?}");
    let lines: Vec<serde_json::Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let of = |state: &str| -> Vec<&serde_json::Value> {
        lines
            .iter()
            .filter(|line| line["state"] == state)
            .map(|line| &line["step"])
            .collect()
    };
    assert_eq!(of("begun"), of("done"));
    // Warnings are lines of their own among them.
    assert!(lines.iter().any(|line| {
        line["warning"]
            .as_str()
            .is_some_and(|text| text.starts_with("not sealed"))
    }));
    assert!(of("done").contains(&&"pack".into()), "{lines:?}");
    let packed = lines
        .iter()
        .find(|line| line["step"] == "pack" && line["state"] == "done")
        .unwrap();
    assert_eq!(packed["bytes"], packed["total"]);
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(result["seconds_by_step"]["pack"].as_f64().unwrap() <= result["seconds"].as_f64().unwrap());
    // People get one line with sizes, ratios and times.
    let told = repack(bench.path(), &["--to", "deb,tar"]);
    assert!(told.stderr.contains(" of images became deb "), "{}", told.stderr);
    let quiet = repack(bench.path(), &["--to", "deb", "--quiet", "--progress", "none"]).stderr;
    assert!(
        quiet.starts_with("warning: not sealed") && quiet.lines().count() == 1,
        "{quiet}"
    );
}

#[test]
fn a_packager_may_stop_at_each_stage() {
    let bench = bench();
    let work = bench.path().join("work");
    for (stage, made) in [("tree", 0), ("tarball", 1), ("srpm", 2)] {
        let run = repack(
            bench.path(),
            &["--until", stage, "--workdir", work.to_str().unwrap()],
        );
        assert_eq!(run.status, 0, "{run:?}");
        assert_eq!(names(&work), ["vm-web-repacked-0.1"]);
        let out = bench.path().join("out");
        assert_eq!(out.exists(), made > 0, "an empty directory is no result");
        assert!(made == 0 || names(&out).len() == made);
        fs::remove_dir_all(&work).unwrap();
    }
    assert_eq!(
        repack(bench.path(), &["--until", "tree", "--to", "rpm"]).status,
        2
    );
}

#[test]
fn whole_packages_are_verified_and_damaged_ones_named() {
    let bench = bench();
    assert_eq!(repack(bench.path(), &["--to", "rpm"]).status, 0);
    let out = bench.path().join("out");
    let files: Vec<String> = names(&out)
        .iter()
        .map(|name| out.join(name).display().to_string())
        .collect();
    let verify = |more: &[&str]| {
        miniascape(
            ["package", "verify"]
                .into_iter()
                .chain(files.iter().map(String::as_str))
                .chain(more.iter().copied()),
        )
    };
    let run = verify(&[]);
    assert_eq!((run.status, run.stdout.lines().count()), (0, 4), "{run:?}");
    let bad = &files[0];
    let mut content = fs::read(bad).unwrap();
    let middle = content.len() - 200;
    content[middle] ^= 1;
    fs::write(bad, content).unwrap();
    let run = verify(&["--format", "json"]);
    assert_eq!(run.status, 2, "{run:?}");
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&value[0]["whole"], &value[1]["whole"]),
        (&false.into(), &true.into())
    );
    assert!(
        value[0]["error"].as_str().unwrap().starts_with(bad.as_str()),
        "{value}"
    );
    let run = miniascape(["package", "verify", bad]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
    assert!(
        run.stderr.contains("byte ") || run.stderr.contains("tag "),
        "{run:?}"
    );
    assert_eq!(miniascape(["package", "verify", "/dev/null"]).status, 2);
    assert_eq!(miniascape(["package", "verify", "/no/such"]).status, 1);
}

#[test]
fn each_refusal_has_its_status_and_leaves_nothing() {
    let bench = bench();
    let refused = |status: i32, word: &str, arguments: &[&str]| {
        let run = repack(bench.path(), arguments);
        assert_eq!(run.status, status, "{run:?}");
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert!(!bench.path().join("out").exists());
    };
    refused(2, "build-tree", &["--to", "msi"]);
    refused(2, "package version", &["--package-version", "1-%{x}"]);
    refused(2, "no time", &["--created=-1"]);
    let file = bench.path().join("web.xml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("</devices>", "</device>")).unwrap();
    refused(2, "line ", &[]);
    fs::write(&file, good.replace("disk.raw", "gone.raw")).unwrap();
    refused(1, "gone.raw", &[]);
    refused(1, "hint: ", &[]);
    let missing = miniascape(["repack", "./no-such-file.xml"]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("no-such-file.xml"), "{}", missing.stderr);
}

/// libvirt's built-in simulator has one guest, and it runs.
#[test]
fn a_running_guest_is_refused_and_an_unknown_one_not_found() {
    let connect = ["--connect", "test:///default", "repack"];
    let run = miniascape(connect.iter().chain(&["test"]));
    assert_eq!(run.status, 3, "{run:?}");
    assert!(run.stderr.contains("guest shutdown test"), "{}", run.stderr);
    let run = miniascape(connect.iter().chain(&["tes"]));
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains("guest list"), "{}", run.stderr);
}

/// Whatever a killed run was doing: finished files are complete, and the next run removes the rest.
#[test]
fn a_killed_run_leaves_nothing_that_the_next_one_does_not_remove() {
    let bench = bench();
    let mut noise = vec![0u8; 48 * 1024 * 1024];
    let mut state = 1u64;
    for chunk in noise.chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    fs::write(bench.path().join("disk.raw"), noise).unwrap();
    let out = bench.path().join("out");
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_miniascape"))
            .args(["repack", "--quiet", "--to", "rpm,deb", "--output"])
            .arg(&out)
            .arg(bench.path().join("web.xml"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let complete = |name: &str| {
        let checked = match Path::new(name).extension().and_then(OsStr::to_str) {
            Some("rpm") => Command::new("rpm").arg("-K").arg(out.join(name)).output(),
            Some("deb") => Command::new("dpkg-deb").arg("-c").arg(out.join(name)).output(),
            _ => panic!("{name}"),
        };
        assert!(checked.unwrap().status.success(), "{name}");
    };
    let (mut killed, mut pause) = (0, Duration::from_millis(20));
    loop {
        let mut run = start();
        std::thread::sleep(pause);
        let finished = run.try_wait().unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        for name in names(&out).iter().filter(|name| !name.starts_with('.')) {
            complete(name);
        }
        match finished {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => killed += 1,
        }
        pause = pause * 3 / 2;
    }
    assert!(killed >= 3, "only {killed} runs were killed");
    // Programs of the last killed run may have lived on for a moment.
    assert!(start().wait().unwrap().success());
    let left = names(&out);
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn only_a_regular_file_is_read_as_xml() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.xml");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in ["/dev/zero", fifo.to_str().unwrap(), dir.path().to_str().unwrap()] {
        let run = miniascape(["repack", path]);
        assert_eq!(run.status, 2, "{path}: {run:?}");
        assert!(run.stderr.contains("not a regular file"), "{path}: {run:?}");
    }
    let run = miniascape(["net", "validate", "/dev/zero"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("not a regular file"), "{run:?}");
}

#[test]
fn root_makes_no_packages_where_others_could_change_them() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let bench = bench();
    let out = bench.path().join("out");
    fs::create_dir(&out).unwrap();
    if chown(&out, Some(12345), None).is_err() {
        // An ordinary user's directories are his own business.
        fs::set_permissions(&out, PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(repack(bench.path(), &["--to", "build-tree"]).status, 0);
        return;
    }
    let run = repack(bench.path(), &["--to", "build-tree"]);
    assert_eq!(run.status, 3, "{run:?}");
    assert!(run.stderr.contains("belongs to another user"), "{run:?}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    let run = repack(bench.path(), &["--to", "build-tree", "--caller", "12345"]);
    assert_eq!(run.status, 0, "{run:?}");
}

#[test]
fn colours_are_for_terminals_and_those_who_like_them() {
    let bench = bench();
    let command = format!(
        "{} repack {} --dry-run -vv",
        env!("CARGO_BIN_EXE_miniascape"),
        bench.path().join("web.xml").display()
    );
    let said = |variables: &[(&str, &str)]| {
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("qemu-img"), "{text}");
        text
    };
    assert!(said(&[]).contains('\u{1b}'));
    assert!(!said(&[("NO_COLOR", "1")]).contains('\u{1b}'));
}

/// `net register` and its like find what a package brought, after the user's own and the shipped ones.
#[test]
fn a_network_that_came_with_a_guest_is_found() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, title: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(
            "network:\n  name: brought\n  title: {title}\n  mode: isolated\n  domain: brought.internal\n  ipv4: {{ subnet: 10.9.9.0/24, gateway: 10.9.9.1 }}\n"
        );
        fs::write(path, text).unwrap();
    };
    let dir = root.path().display().to_string();
    let shown = || miniascape(["net", "show", "brought", "--root", &dir]);
    assert_ne!(shown().status, 0);
    write("usr/share/miniascape/guests/web/network-brought.yaml", "of web");
    write("usr/share/miniascape/guests/app/network-brought.yaml", "of app");
    let run = shown();
    assert!(run.status == 0 && run.stdout.contains("of app"), "{run:?}");
    let list = miniascape(["net", "list", "--root", &dir]);
    assert!(list.stdout.contains("brought"), "{list:?}");
    write("etc/miniascape/networks/brought.yaml", "the user's own");
    assert!(shown().stdout.contains("own"), "{:?}", shown());
}
