//! Which packages rpm and dpkg have on a system: they are asked by name, and nothing is changed.

use super::InstallError;
use crate::host::{Layout, Program};
use serde::Serialize;
use std::collections::HashMap;

/// Who owns an installed package's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// rpm, and what stands on it.
    Rpm,
    /// dpkg, and what stands on it.
    Dpkg,
}

impl Manager {
    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Dpkg => "dpkg",
        }
    }
}

/// A package in a package manager's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// Who has it.
    pub manager: Manager,
    /// Version and release.
    pub version: String,
}

/// Those of the packages `names` that rpm or dpkg have, by name. Below a state directory they have none.
pub fn managed(layout: &Layout, names: &[String]) -> Result<HashMap<String, Managed>, InstallError> {
    let mut found = HashMap::new();
    if names.is_empty() || layout.is_live() && !layout.is_standard() {
        return Ok(found);
    }
    for (manager, told) in [
        (Manager::Rpm, rpm(layout, names)?),
        (Manager::Dpkg, dpkg(layout, names)?),
    ] {
        // What is not there is told of in other words, and with another status.
        for line in told.lines() {
            if let ["installed", name, version] = line.split(' ').collect::<Vec<_>>()[..] {
                let version = version.to_owned();
                found.insert(name.to_owned(), Managed { manager, version });
            }
        }
    }
    Ok(found)
}

fn rpm(layout: &Layout, names: &[String]) -> Result<String, InstallError> {
    let Ok(rpm) = Program::find("rpm", "rpm") else {
        return Ok(String::new());
    };
    // A question would make a database where there is none.
    let place = rpm.run().args(["--eval", "%{_dbpath}"]).output()?.stdout;
    let place = String::from_utf8_lossy(&place)
        .trim()
        .trim_start_matches('/')
        .to_owned();
    let database = layout.system().join(&place);
    if place.is_empty() || !database.on_disk().is_dir() {
        return Ok(String::new());
    }
    let mut run = rpm.run();
    if !layout.is_live() {
        run = run.arg("--root").arg(layout.system().on_disk());
    }
    let form = "installed %{NAME} %{VERSION}-%{RELEASE}\\n";
    let done = run
        .args(["--query", "--queryformat", form, "--"])
        .args(names)
        .finish()?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn dpkg(layout: &Layout, names: &[String]) -> Result<String, InstallError> {
    let database = layout.system().join("var/lib/dpkg/status");
    let Ok(query) = Program::find("dpkg-query", "dpkg") else {
        return Ok(String::new());
    };
    if !database.on_disk().is_file() {
        return Ok(String::new());
    }
    let admin = layout.system().join("var/lib/dpkg");
    let done = query
        .run()
        .arg("--admindir")
        .arg(admin.on_disk())
        .args([
            "--show",
            "--showformat",
            "${db:Status-Status} ${Package} ${Version}\\n",
            "--",
        ])
        .args(names)
        .finish()?;
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    // Whatever is neither gone nor gone but for its settings has its files here.
    let there = told.lines().filter_map(|line| {
        let (status, rest) = line.split_once(' ')?;
        (!matches!(status, "not-installed" | "config-files")).then(|| format!("installed {rest}\n"))
    });
    Ok(there.collect())
}
