//! Which program of the host's package manager installs or removes packages, and with which arguments. Nothing is run here.
//!
//! Downgrades are allowed to all of them, since the files were named. Whoever can waits for another run of its own.

use super::managed::Manager;
use crate::host::CommandError;
use crate::host::Program;
use crate::host::command::Run;
use std::path::PathBuf;

/// What installs `files`, which have absolute paths, in one transaction.
pub fn install_run(manager: Manager, files: &[PathBuf]) -> Result<Run, CommandError> {
    let run = match manager {
        Manager::Dpkg => {
            if let Some(run) = apt(&["install", "--allow-downgrades"]) {
                run
            } else {
                Program::find("dpkg", "dpkg")?
                    .run()
                    .args(["--install", "--force-downgrade"])
            }
        }
        Manager::Rpm => {
            if let Some(run) = dnf("install") {
                run
            } else if let Ok(zypper) = Program::find("zypper", "zypper") {
                let words = [
                    "--non-interactive",
                    "install",
                    "--allow-unsigned-rpm",
                    "--oldpackage",
                ];
                zypper.run().args(words)
            } else {
                let words = ["--upgrade", "--oldpackage", "--replacepkgs"];
                Program::find("rpm", "rpm")?.run().args(words)
            }
        }
    };
    Ok(run.args(files).to_its_end())
}

/// What removes the package `name`, and its images where that is the package manager's custom.
pub fn remove_run(manager: Manager, name: &str) -> Result<Run, CommandError> {
    let run = match manager {
        Manager::Dpkg => match apt(&["remove"]) {
            Some(run) => run,
            None => Program::find("dpkg", "dpkg")?.run().arg("--remove"),
        },
        Manager::Rpm => {
            if let Some(run) = dnf("remove") {
                run
            } else if let Ok(zypper) = Program::find("zypper", "zypper") {
                zypper.run().args(["--non-interactive", "remove", "--clean-deps"])
            } else {
                Program::find("rpm", "rpm")?.run().arg("--erase")
            }
        }
    };
    Ok(run.arg(name).to_its_end())
}

/// What notes that the packages `names` are there for others only, so that the package manager may remove them when nobody
/// needs them any more; none where that is not its custom.
pub fn mark_run(manager: Manager, names: &[&str]) -> Option<Run> {
    if names.is_empty() {
        return None;
    }
    let run = match manager {
        Manager::Dpkg => {
            apt(&[])?;
            Program::find("apt-mark", "apt").ok()?.run().arg("auto")
        }
        Manager::Rpm => match Program::find("dnf5", "dnf") {
            Ok(dnf) => dnf.run().args(["--assumeyes", "mark", "dependency"]),
            Err(_) => Program::find("dnf", "dnf")
                .ok()?
                .run()
                .args(["--assumeyes", "mark", "remove"]),
        },
    };
    Some(run.args(names))
}

fn apt(words: &[&str]) -> Option<Run> {
    let apt = Program::find("apt-get", "apt").ok()?;
    // It reads the files as root: their directory may be closed to its own user.
    let settings = [
        "--option",
        "DPkg::Lock::Timeout=300",
        "--option",
        "APT::Sandbox::User=root",
    ];
    let run = apt.run().args(["--yes"]).args(settings).args(words);
    Some(run.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn dnf(word: &str) -> Option<Run> {
    let names = ["dnf5", "dnf"];
    let dnf = names
        .into_iter()
        .find_map(|name| Program::find(name, "dnf").ok())?;
    Some(dnf.run().args(["--assumeyes", word]))
}
