//! The steps by which a host is set up, and whether each is made already.

use super::{SetupError, Wanted};
use crate::host::{CommandError, Layout, Place, Program, bus, files};
use crate::name::printable;
use serde::Serialize;
use std::path::PathBuf;

/// The group whose members libvirt lets do everything (libvirt's `libvirtd.socket` and polkit rules, in all distributions).
pub const GROUP: &str = "libvirt";
/// The user that each network's dnsmasq runs as.
const USER: &str = "miniascape-dnsmasq";
/// The policy of the message bus, as the packages bring it.
const POLICY: &str = include_str!("../../packaging/dbus/org.miniascape.dnsmasq.conf");

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// A directory is made.
    Directory {
        /// Which.
        path: PathBuf,
        /// With these permissions.
        mode: u32,
    },
    /// The user of dnsmasq is made.
    User {
        /// Its name.
        name: String,
    },
    /// The bus gets the policy for dnsmasq's names.
    BusPolicy {
        /// Its file.
        path: PathBuf,
    },
    /// A user joins a group.
    Join {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// A definition is written.
    Definition {
        /// Its file.
        path: PathBuf,
        /// What is written.
        #[serde(skip)]
        content: String,
    },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path, mode } => write!(f, "make the directory {} ({mode:04o})", path.display()),
            Self::User { name } => write!(f, "make the system user {name}, which dnsmasq runs as"),
            Self::BusPolicy { path } => write!(
                f,
                "let dnsmasq have its names on the message bus: {}",
                path.display()
            ),
            Self::Join { user, group } => write!(f, "put {user} into the group {group}"),
            Self::Definition { path, .. } => write!(f, "write {}", path.display()),
        }
    }
}

/// What is to be done, in this order; empty if all is there. `user` is to be let work with libvirt.
pub fn plan(layout: &Layout, user: Option<&str>, wanted: &[Wanted]) -> Result<Vec<Step>, SetupError> {
    let mut steps = Vec::new();
    for (place, mode) in directories(layout) {
        let path = place.on_disk().to_owned();
        if !path.is_dir() {
            steps.push(Step::Directory { path, mode });
        }
    }
    // With a state directory everything runs as whoever started it.
    if layout.is_standard() {
        if !is_known("passwd", USER)? {
            steps.push(Step::User {
                name: USER.to_owned(),
            });
        }
        let [shipped, own] = layout.bus_policies();
        if !shipped.on_disk().exists() && !own.on_disk().exists() {
            let path = own.on_disk().to_owned();
            steps.push(Step::BusPolicy { path });
        }
    }
    if let Some(user) = user {
        if !is_known("passwd", user)? {
            return Err(SetupError::NoUser(printable(user, 40)));
        }
        if is_known("group", GROUP)? && !is_member(user)? {
            steps.push(Step::Join {
                user: user.to_owned(),
                group: GROUP.to_owned(),
            });
        }
    }
    steps.extend(wanted.iter().filter_map(|wanted| {
        let content = wanted.content.clone()?;
        let path = wanted.path.clone();
        Some(Step::Definition { path, content })
    }));
    Ok(steps)
}

impl Step {
    /// Makes the step.
    pub fn apply(&self) -> Result<(), SetupError> {
        match self {
            Self::Directory { path, mode } => {
                files::make_dir(path, *mode)?;
            }
            Self::User { name } => {
                Program::find("useradd", "passwd")?
                    .run()
                    .args([
                        "--system",
                        "--user-group",
                        "--no-create-home",
                        "--home-dir",
                        "/var/lib/miniascape",
                    ])
                    .args([
                        "--shell",
                        "/usr/sbin/nologin",
                        "--comment",
                        "miniascape DHCP and DNS",
                        "--",
                        name,
                    ])
                    .to_its_end()
                    .output()?;
            }
            Self::BusPolicy { path } => {
                files::write(path, POLICY.as_bytes(), 0o644)?;
                if let Err(error) = bus::reload_policies() {
                    tracing::warn!(
                        "the message bus reads {} at its next start: {error}",
                        path.display()
                    );
                }
            }
            Self::Join { user, group } => {
                Program::find("usermod", "passwd")?
                    .run()
                    .args(["--append", "--groups", group, "--", user])
                    .to_its_end()
                    .output()?;
            }
            Self::Definition { path, content } => {
                files::write(path, content.as_bytes(), 0o644)?;
            }
        }
        Ok(())
    }
}

/// What the packages bring, too (`packaging/state-dirs`), from the top down.
fn directories(layout: &Layout) -> [(Place, u32); 9] {
    let definitions = layout.definitions();
    [
        (layout.settings(), 0o755),
        (definitions, 0o755),
        (layout.state(), 0o755),
        (layout.networks(), 0o755),
        (layout.instances(), 0o711),
        (layout.images(), 0o711),
        (layout.packaged_images(), 0o700),
        (layout.all_instance_disks(), 0o711),
        (layout.run(), 0o755),
    ]
}

/// True if the system's database has that name.
fn is_known(database: &str, name: &str) -> Result<bool, CommandError> {
    let asked = Program::find("getent", "libc-bin")?
        .run()
        .args([database, "--", name])
        .finish()?;
    Ok(asked.status.success())
}

fn is_member(user: &str) -> Result<bool, CommandError> {
    let groups = Program::find("id", "coreutils")?
        .run()
        .args(["-nG", "--", user])
        .output()?
        .text();
    Ok(groups.split_whitespace().any(|group| group == GROUP))
}
