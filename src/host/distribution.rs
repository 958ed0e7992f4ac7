//! The distribution that this host runs, from os-release(5), and what it calls the packages that we need. Packages go by
//! Debian's names everywhere else.

use std::path::Path;

/// Distributions that install packages in the same way and call them by the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu and what is made of them.
    Debian,
    /// Fedora, RHEL and what is made of them.
    Fedora,
    /// openSUSE and SLES.
    Suse,
    /// Arch Linux and what is made of it.
    Arch,
    /// Any other.
    Other,
}

/// Debian's name of a package, Fedora's, openSUSE's, Arch's. What is not here has the same name everywhere.
const NAMES: [(&str, &str, &str, &str); 17] = [
    ("libvirt0", "libvirt-libs", "libvirt-libs", "libvirt"),
    (
        "libvirt-daemon-system",
        "libvirt-daemon-kvm",
        "libvirt-daemon-qemu",
        "libvirt",
    ),
    ("libvirt-clients", "libvirt-client", "libvirt-client", "libvirt"),
    (
        "qemu-system-x86",
        // The name that Fedora and RHEL share.
        "qemu-kvm",
        "qemu-x86",
        "qemu-system-x86",
    ),
    ("qemu-utils", "qemu-img", "qemu-img", "qemu-img"),
    ("dnsmasq-base", "dnsmasq", "dnsmasq", "dnsmasq"),
    ("iproute2", "iproute", "iproute2", "iproute2"),
    ("dbus", "dbus-daemon", "dbus-1", "dbus"),
    ("guestfs-tools", "guestfs-tools", "guestfs-tools", "guestfs-tools"),
    ("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "edk2-ovmf"),
    ("dpkg-dev", "dpkg-dev", "dpkg", "dpkg"),
    ("apt", "apt", "apt", "apt"),
    ("libc-bin", "glibc-common", "glibc", "glibc"),
    ("rpm", "rpm", "rpm", "rpm-tools"),
    ("adduser", "shadow-utils", "shadow", "shadow"),
    ("passwd", "shadow-utils", "shadow", "shadow"),
    ("procps", "procps-ng", "procps", "procps-ng"),
];

impl Distribution {
    /// That of this host.
    pub fn here() -> Self {
        Self::of(Path::new("/"))
    }

    /// That of the system below `root`.
    pub fn of(root: &Path) -> Self {
        let read = |path: &str| fs_err::read_to_string(root.join(path));
        let text = read("etc/os-release").or_else(|_| read("usr/lib/os-release"));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let value = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
        let known = |id: &str| match id {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "suse" | "opensuse" | "sles" => Some(Self::Suse),
            "arch" => Some(Self::Arch),
            id if id.starts_with("opensuse") => Some(Self::Suse),
            _ => None,
        };
        ids.split_whitespace().find_map(known).unwrap_or(Self::Other)
    }

    /// What the distribution calls the package that Debian calls `package`.
    pub fn package<'p>(self, package: &'p str) -> &'p str
    where
        'static: 'p,
    {
        let Some((_, fedora, suse, arch)) = NAMES.iter().find(|names| names.0 == package) else {
            return package;
        };
        match self {
            Self::Debian | Self::Other => package,
            Self::Fedora => fedora,
            Self::Suse => suse,
            Self::Arch => arch,
        }
    }

    /// The command that installs packages, given by Debian's names. Where the distribution is not known, that of Debian,
    /// which says what is meant.
    pub fn install(self, packages: &[&str]) -> String {
        let mut names: Vec<&str> = packages.iter().map(|package| self.package(package)).collect();
        names.dedup();
        let names = names.join(" ");
        match self {
            Self::Debian | Self::Other => format!("apt-get install {names}"),
            Self::Fedora => format!("dnf install {names}"),
            Self::Suse => format!("zypper install {names}"),
            Self::Arch => format!("pacman -S {names}"),
        }
    }

    /// The command that installs a package, given by Debian's name, over one that is there and damaged.
    pub fn install_anew(self, package: &str) -> String {
        let name = self.package(package);
        match self {
            Self::Debian | Self::Other => format!("apt-get install --reinstall {name}"),
            Self::Fedora => format!("dnf reinstall {name}"),
            Self::Suse => format!("zypper install --force {name}"),
            Self::Arch => format!("pacman -S {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_themselves_or_by_what_they_are_like() {
        for (text, command) in [
            ("ID=debian\n", "apt-get install qemu-utils"),
            (
                "NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"",
                "apt-get install qemu-utils",
            ),
            ("ID=fedora\nVERSION_ID=40", "dnf install qemu-img"),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"",
                "dnf install qemu-img",
            ),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
                "zypper install qemu-img",
            ),
            ("ID=arch", "pacman -S qemu-img"),
            ("", "apt-get install qemu-utils"),
        ] {
            assert_eq!(
                Distribution::parse(text).install(&["qemu-utils"]),
                command,
                "{text}"
            );
        }
        assert_eq!(
            Distribution::Arch.install(&["libvirt-daemon-system", "libvirt-clients", "strace"]),
            "pacman -S libvirt strace"
        );
    }
}
