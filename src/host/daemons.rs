//! How libvirt and systemd are arranged on this host, and the commands that follow from that, as people would type them.

use super::{Distribution, Program};
use std::path::Path;

/// What libvirt needs of the distribution, by Debian's names.
const PACKAGES: [&str; 3] = ["libvirt-daemon-system", "libvirt-clients", "qemu-system-x86"];

/// The arrangement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daemons {
    /// True under systemd.
    pub systemd: bool,
    /// True if one of libvirt's daemons is installed.
    pub installed: bool,
    /// True if libvirt is a daemon for each of its parts here.
    pub modular: bool,
    /// The distribution.
    pub distribution: Distribution,
}

impl Daemons {
    /// That of this host.
    pub fn here() -> Self {
        let units = [
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
            "/etc/systemd/system",
        ];
        let enabled = Path::new("/etc/systemd/system/sockets.target.wants/virtqemud.socket").exists();
        let monolithic = Program::find("libvirtd", PACKAGES[0]).is_ok();
        let modular = Program::find("virtqemud", PACKAGES[0]).is_ok();
        let mut units = units.iter().map(|dir| Path::new(dir).join("libvirtd.service"));
        let unit = units.any(|unit| unit.exists());
        Self {
            // sd_booted(3)
            systemd: Path::new("/run/systemd/system").is_dir(),
            installed: monolithic || modular,
            modular: modular && (enabled || !(monolithic && unit)),
            distribution: Distribution::here(),
        }
    }

    /// What makes libvirt answer: it is installed, or started.
    pub fn start_libvirt(&self) -> String {
        if !self.installed {
            return self.distribution.install(&PACKAGES);
        }
        match (self.systemd, self.modular) {
            (true, true) => "systemctl enable --now virtqemud.socket virtnetworkd.socket virtstoraged.socket",
            (true, false) => "systemctl enable --now libvirtd.service",
            (false, true) => "virtnetworkd --daemon && virtstoraged --daemon && virtqemud --daemon",
            (false, false) => "libvirtd --daemon",
        }
        .to_owned()
    }

    /// What makes libvirt write its firewall rules anew: it looks whether its chains are there, and asked, only when it
    /// starts. Guests do not notice.
    pub fn restart_networks(&self) -> String {
        let daemon = if self.modular { "virtnetworkd" } else { "libvirtd" };
        if self.systemd {
            format!("systemctl restart {daemon}")
        } else {
            format!(
                "pid=$(cat /run/{daemon}.pid) && kill $pid && while kill -0 $pid 2>/dev/null; do sleep 0.1; done && \
                 {daemon} --daemon"
            )
        }
    }

    /// What starts our own daemon where systemd does not.
    pub const START_OURS: &str = "setsid miniascape daemon </dev/null >>/var/log/miniascape.log 2>&1 &";
}
