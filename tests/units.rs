//! What the packages bring for systemd, checked by systemd's own tools: a unit with a misspelt key, a missing
//! program or a wrong section fails here. No service is started; that is the business of the lab.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fs_err as fs;

const UNITS: [&str; 3] = [
    "miniascape-dnsmasq@.service",
    "miniascaped.service",
    "miniascape-pending.service",
];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Copies the units to a directory of their own, with the freshly built program in place of the installed one.
fn staged_units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for unit in UNITS {
        let text =
            fs::read_to_string(packaging().join("systemd").join(unit)).expect("a unit of the packages");
        let text = text.replace("/usr/bin/miniascape", env!("CARGO_BIN_EXE_miniascape"));
        fs::write(directory.path().join(unit), text).expect("a copy of the unit");
    }
    directory
}

/// Runs `systemd-analyze verify`; its absence is a failure, not a reason to skip.
fn verify(unit: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-analyze is needed; packaging/setup installs it")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn units_pass_verify_without_a_warning() {
    let units = staged_units();
    for name in [
        "miniascape-dnsmasq@net-1.service",
        "miniascape-dnsmasq@a.b_c.service",
        "miniascaped.service",
        "miniascape-pending.service",
    ] {
        let output = verify(&units.path().join(name));
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name}:\n{}",
            stderr(&output)
        );
    }
}

#[test]
fn verify_would_notice_a_broken_unit() {
    let units = staged_units();
    let unit = units.path().join("miniascaped.service");
    let text = fs::read_to_string(&unit)
        .unwrap()
        .replace("RestartSec=", "RestartSeconds=");
    fs::write(&unit, text).unwrap();
    assert!(stderr(&verify(&unit)).contains("RestartSeconds"));
}

#[test]
fn the_units_are_shut_off_from_most_of_the_system() {
    let units = staged_units();
    // systemd's own exposure scale goes from 0 (sealed) to 10, here in tenths.
    let limit = 21;
    for unit in UNITS {
        let output = Command::new("systemd-analyze")
            .args([
                "security",
                "--offline=yes",
                "--no-pager",
                &format!("--threshold={limit}"),
            ])
            .arg(units.path().join(unit))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("systemd-analyze is needed; packaging/setup installs it");
        let table = String::from_utf8_lossy(&output.stdout);
        let verdict = table.lines().last().unwrap_or_default();
        assert!(
            output.status.success(),
            "{unit}, wanted at most {limit} tenths: {verdict}\n{}",
            stderr(&output)
        );
    }
}

/// dnsmasq stands ready before libvirt starts networks and guests; what is pending comes when libvirt is there.
#[test]
fn the_units_have_their_place_in_the_boot() {
    let names = |unit: &str, key: &str| -> Vec<String> {
        let text = fs::read_to_string(packaging().join("systemd").join(unit)).unwrap();
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    };
    for libvirt in ["libvirtd.service", "virtnetworkd.service", "virtqemud.service"] {
        let libvirt = libvirt.to_owned();
        assert!(names(UNITS[0], "Before").contains(&libvirt), "{libvirt}");
        for unit in &UNITS[1..] {
            assert!(names(unit, "After").contains(&libvirt), "{unit}: {libvirt}");
            assert!(
                names(unit, "After").contains(&libvirt.replace("service", "socket")),
                "{unit}: {libvirt}"
            );
        }
        // None of them brings a libvirt along that the host does not use.
        for unit in UNITS {
            assert!(!names(unit, "Wants").contains(&libvirt) && !names(unit, "Requires").contains(&libvirt));
        }
    }
    assert_eq!(
        names(UNITS[2], "ConditionDirectoryNotEmpty"),
        ["/var/lib/miniascape/pending"]
    );
}

#[test]
fn the_instance_name_reaches_paths_unchanged() {
    let text = fs::read_to_string(packaging().join("systemd").join(UNITS[0])).unwrap();
    let settings: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(
        settings.iter().all(|line| !line.contains("%I")),
        "%I turns the hyphen of net-1 into a slash"
    );
    let paths = settings
        .iter()
        .filter(|line| line.contains("/var/lib/miniascape/networks/%i"))
        .count();
    assert!(
        paths >= 4,
        "assertion, lease file, configuration and write access name the instance's directory"
    );
}

#[test]
fn sysusers_makes_the_user_that_the_unit_and_the_bus_policy_name() {
    let output = Command::new("systemd-sysusers")
        .arg("--dry-run")
        .arg(format!(
            "--root={}",
            tempfile::tempdir().unwrap().path().display()
        ))
        .arg(packaging().join("sysusers.d/miniascape.conf"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-sysusers is needed; packaging/setup installs it");
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("user 'miniascape-dnsmasq'"), "{log}");

    let unit = fs::read_to_string(packaging().join("systemd").join(UNITS[0])).unwrap();
    assert!(unit.contains("\nUser=miniascape-dnsmasq\n"));
    let policy = fs::read_to_string(packaging().join("dbus/org.miniascape.dnsmasq.conf")).unwrap();
    assert!(policy.contains("<policy user=\"miniascape-dnsmasq\">"));
}
