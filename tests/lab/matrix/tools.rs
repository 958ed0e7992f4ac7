//! The same transactions by dpkg, apt-get, rpm and dnf. apt-get and dnf install from a repository of the host that
//! apt-ftparchive or createrepo_c has made the index of; dpkg and rpm take the files.

use crate::support::{Command, Host, Output};
use crate::travel::Kind;

/// Where the repository is that grows with every version that is published.
const REPOSITORY: &str = "/srv/repository";

/// apt-get, for this repository only.
const APT: &str = "apt-get -y -q -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root \
    -o Dir::Etc::sourcelist=/root/apt.list -o Dir::Etc::sourceparts=/root/none";

/// dnf, for this repository only. What nobody needs any more goes by `autoremove` alone, as with the others.
const DNF: &str = "dnf -y --releasever=40 --setopt=reposdir=/dev/null --nogpgcheck --refresh \
    --setopt=clean_requirements_on_remove=False --repofrompath=guests,file:///srv/repository";

/// A program that installs packages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tool {
    Dpkg,
    Apt,
    Rpm,
    Dnf,
}

/// The versions of the guests' packages that there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Version {
    /// Of both guests.
    First,
    /// Of the one.
    Next,
    /// Of that one, under another name.
    Renamed,
}

impl Version {
    /// Where the package files are.
    pub(super) const fn dir(self) -> &'static str {
        match self {
            Self::First => "/root/packages",
            Self::Next => "/root/next",
            Self::Renamed => "/root/renamed",
        }
    }

    pub(super) const fn number(self) -> &'static str {
        match self {
            Self::First => "0.1",
            Self::Next => "0.2",
            Self::Renamed => "0.3",
        }
    }
}

impl Tool {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Dpkg | Self::Apt => Kind::Deb,
            Self::Rpm | Self::Dnf => Kind::Rpm,
        }
    }

    /// Makes the host one on which the tool can work.
    pub(super) fn prepare(self, host: &Host) {
        if self.kind() == Kind::Deb {
            // What the machine has is none of autoremove's business.
            sh(
                host,
                "mkdir -p /root/none /var/lib/apt/lists/partial /var/cache/apt/archives/partial; : >/var/lib/apt/extended_states",
            );
            host.write_file(
                "/root/apt.list",
                format!("deb [trusted=yes] file:{REPOSITORY} ./\n"),
            );
        }
        self.publish(host, Version::First);
    }

    /// Adds the packages of a version to the repository.
    pub(super) fn publish(self, host: &Host, version: Version) {
        let index = match self.kind() {
            Kind::Deb => format!("apt-ftparchive packages . >Packages; {APT} update"),
            Kind::Rpm => "createrepo_c -q .".to_owned(),
        };
        let dir = version.dir();
        sh(
            host,
            &format!("mkdir -p {REPOSITORY}; cp {dir}/* {REPOSITORY}; cd {REPOSITORY}; {index}"),
        );
    }

    /// The script that installs guests in a version, with the images that they need.
    pub(super) fn installing(self, guests: &[&str], version: Version) -> String {
        match self {
            Self::Dpkg => format!("dpkg -i {} {}", files(self, guests, version), images(version)),
            Self::Apt => format!("{APT} install {}", exact(guests, version, '=')),
            Self::Rpm => format!(
                "rpm -U --replacepkgs {} {}",
                files(self, guests, version),
                images(version)
            ),
            Self::Dnf => format!("{DNF} install {}", exact(guests, version, '-')),
        }
    }

    /// The script that installs a guest whose images are there.
    pub(super) fn installing_guest(self, guest: &str, version: Version) -> String {
        match self {
            Self::Dpkg => format!("dpkg -i {}", files(self, &[guest], version)),
            Self::Rpm => format!("rpm -U --replacepkgs {}", files(self, &[guest], version)),
            Self::Apt | Self::Dnf => self.installing(&[guest], version),
        }
    }

    /// Installs images alone, all of a version.
    pub(super) fn installing_images(self, host: &Host, version: Version) -> String {
        match self {
            Self::Dpkg => format!("dpkg -i {}", images(version)),
            Self::Rpm => format!("rpm -U --replacepkgs {}", images(version)),
            Self::Apt | Self::Dnf => {
                let names = sh(host, &format!("ls {}", images(version))).stdout;
                let names: Vec<String> = names.lines().map(image_name).collect();
                let program = if self == Self::Apt { APT } else { DNF };
                format!("{program} install {}", names.join(" "))
            }
        }
    }

    /// The script that brings the one guest from the first version to the next, which is published.
    pub(super) fn upgrading(self) -> String {
        match self {
            Self::Apt => format!("{APT} upgrade --with-new-pkgs"),
            Self::Dnf => format!("{DNF} upgrade"),
            Self::Dpkg | Self::Rpm => self.installing(&["vm-web"], Version::Next),
        }
    }

    /// The script that brings the one guest back to the first version.
    pub(super) fn downgrading(self) -> String {
        let (guests, version) = (["vm-web"], Version::First);
        let files = files(self, &guests, version);
        match self {
            Self::Dpkg => format!("dpkg -i --force-downgrade {files} {}", images(version)),
            Self::Apt => format!(
                "{APT} install --allow-downgrades {}",
                exact(&guests, version, '=')
            ),
            Self::Rpm => format!("rpm -U --oldpackage --replacepkgs {files} {}", images(version)),
            Self::Dnf => format!("{DNF} downgrade {}", exact(&guests, version, '-')),
        }
    }

    /// The script that installs a guest and all images anew that are there.
    pub(super) fn reinstalling(self, host: &Host, guest: &str, version: Version) -> String {
        match self {
            Self::Dpkg | Self::Rpm => self.installing(&[guest], version),
            Self::Apt => format!(
                "{APT} install --reinstall {} {}",
                exact(&[guest], version, '='),
                installed(self.kind(), host)
            ),
            Self::Dnf => format!("{DNF} reinstall {guest} {}", installed(self.kind(), host)),
        }
    }

    /// The script that installs the guest under its other name, which is published.
    pub(super) fn renaming(self) -> String {
        match self {
            // Only RPM has a word for it that upgrades follow.
            Self::Dnf => format!("{DNF} upgrade"),
            _ => self.installing(&["vm-site"], Version::Renamed),
        }
    }

    /// The script that installs this file, whatever is in it.
    pub(super) fn installing_file(self, file: &str) -> String {
        match self {
            Self::Dpkg => format!("dpkg -i {file}"),
            Self::Apt => format!("{APT} install {file}"),
            Self::Rpm => format!("rpm -U {file}"),
            Self::Dnf => format!("{DNF} install {file}"),
        }
    }

    /// The script that removes packages, in one transaction.
    pub(super) fn removing(self, packages: &str) -> String {
        match self {
            Self::Dpkg => format!("dpkg -r {packages}"),
            Self::Apt => format!("{APT} remove {packages}"),
            Self::Rpm => format!("rpm -e {packages}"),
            Self::Dnf => format!("{DNF} remove {packages}"),
        }
    }

    /// The script that removes a package with all that it may leave: for RPM that is the same.
    pub(super) fn purging(self, packages: &str) -> String {
        match self {
            Self::Dpkg => format!("dpkg -P {packages}"),
            Self::Apt => format!("{APT} purge {packages}"),
            Self::Rpm | Self::Dnf => self.removing(packages),
        }
    }

    /// The script that removes images that nobody needs.
    pub(super) fn removing_unneeded(self, host: &Host) -> String {
        match self {
            // What came by another tool they take for wanted, unless they are told.
            Self::Apt => format!("apt-mark auto {}; {APT} autoremove", installed(self.kind(), host)),
            Self::Dnf => format!(
                "{DNF} mark remove {}; {DNF} autoremove",
                installed(self.kind(), host)
            ),
            // They know of dependencies, and refuse what is needed.
            Self::Dpkg | Self::Rpm => {
                let all = installed(self.kind(), host);
                format!("for image in {all}; do {} || :; done", self.removing("$image"))
            }
        }
    }

    /// What an administrator does after the package manager was killed.
    pub(super) fn repairing(self, guest: &str, version: Version) -> String {
        match self {
            Self::Dpkg => "dpkg --configure -a".to_owned(),
            Self::Apt => format!("dpkg --configure -a; {APT} -f install"),
            Self::Rpm => self.installing(&[guest], version),
            Self::Dnf => format!("{DNF} reinstall {guest}"),
        }
    }
}

/// A shell in the host, with the patience that a package manager may need.
pub(super) fn shell(host: &Host, script: &str) -> Command {
    host.command(["sh", "-c", script])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
}

/// Runs a script that has to succeed in all its parts.
pub(super) fn sh(host: &Host, script: &str) -> Output {
    shell(host, &format!("set -e; {script}")).check()
}

/// The image packages that are installed.
pub(super) fn installed(kind: Kind, host: &Host) -> String {
    let query = match kind {
        Kind::Deb => {
            "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n' 'miniascape-image-*' 2>/dev/null | sed -n 's/^.i *//p'"
        }
        Kind::Rpm => "rpm -qa --qf '%{name}\\n' 'miniascape-image-*'",
    };
    sh(host, query)
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn files(tool: Tool, guests: &[&str], version: Version) -> String {
    let sign = if tool.kind() == Kind::Deb { '_' } else { '-' };
    let file = |guest: &&str| format!("{}/{guest}{sign}0*", version.dir());
    guests.iter().map(file).collect::<Vec<_>>().join(" ")
}

fn images(version: Version) -> String {
    format!("{}/miniascape-image-*", version.dir())
}

fn exact(guests: &[&str], version: Version, sign: char) -> String {
    let one = |guest: &&str| format!("{guest}{sign}{}-1", version.number());
    guests.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The package in an image package's file.
fn image_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split(['_', '.'])
        .next()
        .unwrap_or_default()
        .trim_end_matches("-1-1")
        .to_owned()
}
