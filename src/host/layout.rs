//! Where things live on a host: every path that miniascape reads or writes has its method here and nowhere else.

use super::inside;
use crate::name::{Digest, GuestName, NetworkName};
use crate::package::Word;
use std::path::{Path, PathBuf};

/// A file or directory with its two names: where it is reached now, and what generated files call it.
///
/// The two differ only below another system's root (`--root`), whose files name paths as seen inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    disk: PathBuf,
    named: PathBuf,
    /// The other system's root, if it is one's.
    root: Option<PathBuf>,
}

impl Place {
    /// A path that a user gave, which is the same for everyone.
    pub fn given(path: impl Into<PathBuf>) -> Self {
        let disk = path.into();
        Self {
            named: disk.clone(),
            disk,
            root: None,
        }
    }

    /// The path to open.
    pub fn on_disk(&self) -> &Path {
        &self.disk
    }

    /// The path to write into generated files.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// The place of `part`, a relative path, inside this directory.
    #[must_use]
    pub fn join(&self, part: impl AsRef<Path>) -> Self {
        let part = part.as_ref();
        debug_assert!(
            part.is_relative(),
            "{} would replace the whole path",
            part.display()
        );
        let named = self.named.join(part);
        Self {
            disk: match &self.root {
                Some(root) => inside::resolve(root, &named),
                None => self.disk.join(part),
            },
            named,
            root: self.root.clone(),
        }
    }
}

/// The name of the file of host entries that came from virsh, among those that guests brought.
const ADOPTED: &str = "adopted";

/// Which root the paths hang from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    disk: PathBuf,
    named: PathBuf,
    live: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            disk: "/".into(),
            named: "/".into(),
            live: true,
        }
    }
}

impl Layout {
    /// Another system's root below `dir`: nothing live is contacted, and generated files name paths as that
    /// system will see them. Its symbolic links are followed as inside it, never out into this host.
    pub fn other_root(dir: impl Into<PathBuf>) -> Self {
        Self {
            disk: dir.into(),
            named: "/".into(),
            live: false,
        }
    }

    /// This host and its live libvirt, with all our files below `dir`, an absolute path.
    pub fn state_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            disk: dir.clone(),
            named: dir,
            live: true,
        }
    }

    /// False when the files belong to a system that is not running here.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// True when the files are at their standard places, where the distribution's services find them.
    pub fn is_standard(&self) -> bool {
        self.live && self.disk == Path::new("/")
    }

    fn at(&self, path: &str) -> Place {
        let root = Place {
            disk: self.disk.clone(),
            named: self.named.clone(),
            root: (!self.live).then(|| self.disk.clone()),
        };
        root.join(path)
    }

    /// `/etc/miniascape`: what people write.
    pub fn settings(&self) -> Place {
        self.at("etc/miniascape")
    }

    /// `/var/lib/miniascape`: what miniascape keeps.
    pub fn state(&self) -> Place {
        self.at("var/lib/miniascape")
    }

    /// `/etc/miniascape/config.yaml`: the settings of the host.
    pub fn config(&self) -> Place {
        self.at("etc/miniascape/config.yaml")
    }

    /// `/etc/miniascape/networks`: network definitions written by people.
    pub fn definitions(&self) -> Place {
        self.at("etc/miniascape/networks")
    }

    /// Where the policy of the message bus for dnsmasq's names may be: a package's, and the administrator's.
    pub fn bus_policies(&self) -> [Place; 2] {
        ["usr/share/dbus-1/system.d", "etc/dbus-1/system.d"]
            .map(|dir| self.of_system(&format!("{dir}/org.miniascape.dnsmasq.conf")))
    }

    /// `/etc/miniascape/templates`: templates that replace shipped ones.
    pub fn templates(&self) -> Place {
        self.at("etc/miniascape/templates")
    }

    /// `/usr/share/miniascape/networks`: the reference networks as shipped.
    pub fn reference_networks(&self) -> Place {
        self.at("usr/share/miniascape/networks")
    }

    /// `/var/lib/miniascape/networks`: one directory of generated files per registered network.
    pub fn networks(&self) -> Place {
        self.at("var/lib/miniascape/networks")
    }

    /// Generated files and applied state of one network.
    pub fn network(&self, name: &NetworkName) -> Place {
        self.networks().join(name.as_str())
    }

    /// `/etc/miniascape/networks/NAME.d`: what people add to a network in files of their own.
    pub fn drop_ins(&self, name: &NetworkName) -> Place {
        self.definitions().join(format!("{name}.d"))
    }

    /// `/var/lib/miniascape/networks/NAME/hosts.d`: the host entries that guests brought, a file each.
    pub fn guests_hosts(&self, name: &NetworkName) -> Place {
        self.network(name).join("hosts.d")
    }

    /// The host entries that one guest brought into a network.
    pub fn guest_hosts(&self, name: &NetworkName, guest: &GuestName) -> Place {
        // A guest of that very name gives way.
        let same = guest
            .as_str()
            .strip_prefix(ADOPTED)
            .is_some_and(|rest| rest.bytes().all(|b| b == b'_'));
        let more = if same { "_" } else { "" };
        self.guests_hosts(name).join(format!("{guest}{more}.yaml"))
    }

    /// The host entries that were made with virsh, and kept.
    pub fn adopted_hosts(&self, name: &NetworkName) -> Place {
        self.guests_hosts(name).join(format!("{ADOPTED}.yaml"))
    }

    /// What `auto` stands for in a network: the record of what was chosen.
    pub fn chosen(&self, name: &NetworkName) -> Place {
        self.network(name).join("auto.yaml")
    }

    /// A copy of a network's definition, kept while its registration is pending.
    pub fn kept_definition(&self, name: &NetworkName) -> Place {
        self.network(name).join("definition.yaml")
    }

    /// The record of a network's registration.
    pub fn applied(&self, name: &NetworkName) -> Place {
        self.network(name).join("applied.json")
    }

    /// The network that was last applied to the end, for comparing definitions with it.
    pub fn applied_network(&self, name: &NetworkName) -> Place {
        self.network(name).join("applied-network.json")
    }

    /// The configuration of a network's dnsmasq.
    pub fn dnsmasq_conf(&self, name: &NetworkName) -> Place {
        self.network(name).join("dnsmasq.conf")
    }

    /// The file in which a network's dnsmasq keeps its leases.
    pub fn leases(&self, name: &NetworkName) -> Place {
        self.network(name).join("leases")
    }

    /// `/usr/share/miniascape/guests/NAME`: `domain.xml` and `manifest.json` of an installed guest package.
    pub fn guest_package(&self, package: &GuestName) -> Place {
        self.guest_packages().join(package.as_str())
    }

    /// `/usr/share/miniascape/guests`: all installed guest packages.
    pub fn guest_packages(&self) -> Place {
        self.at("usr/share/miniascape/guests")
    }

    /// `/var/lib/libvirt/images/miniascape`: all disk images of ours.
    pub fn images(&self) -> Place {
        self.at("var/lib/libvirt/images/miniascape")
    }

    /// `/var/lib/libvirt/images/miniascape/packaged`: images owned by image packages.
    pub fn packaged_images(&self) -> Place {
        self.images().join("packaged")
    }

    /// One image owned by its image package.
    pub fn packaged_image(&self, digest: &Digest) -> Place {
        self.packaged_images().join(digest.file_name())
    }

    /// `/var/lib/libvirt/images/miniascape/guests`: the disks of all instances.
    pub fn all_instance_disks(&self) -> Place {
        self.images().join("guests")
    }

    /// `/var/lib/libvirt/images/miniascape/guests/NAME`: an instance's overlays and its `chain/`.
    pub fn instance_disks(&self, guest: &GuestName) -> Place {
        self.all_instance_disks().join(guest.as_str())
    }

    /// An instance's own links to the images below its overlays.
    pub fn instance_chain(&self, guest: &GuestName) -> Place {
        self.instance_disks(guest).join("chain")
    }

    /// The overlay that an instance writes to, of the disk that its domain calls `target`.
    pub fn instance_disk(&self, guest: &GuestName, target: &Word) -> Place {
        self.instance_disks(guest).join(format!("{target}.qcow2"))
    }

    /// The root of the system whose files these are; with a state directory, this host's.
    pub fn system(&self) -> Place {
        self.of_system("")
    }

    /// `/etc/group` of the system whose files these are; with a state directory, this host's.
    pub fn groups(&self) -> Place {
        self.of_system("etc/group")
    }

    /// `/etc/passwd`, likewise.
    pub fn users(&self) -> Place {
        self.of_system("etc/passwd")
    }

    /// `/etc/libvirt/qemu.conf`, likewise.
    pub fn qemu_conf(&self) -> Place {
        self.of_system("etc/libvirt/qemu.conf")
    }

    /// Where libvirt writes down which guests the bridges of its networks have.
    pub fn libvirt_bridges(&self) -> Place {
        self.of_system("var/lib/libvirt/dnsmasq")
    }

    fn of_system(&self, path: &str) -> Place {
        if self.live {
            Self::default().at(path)
        } else {
            self.at(path)
        }
    }

    /// Where libvirt keeps the state of the emulated TPM of the domain `uuid`; with a state directory, this host's libvirt.
    pub fn tpm_state(&self, uuid: uuid::Uuid) -> Place {
        self.of_system(&format!("var/lib/libvirt/swtpm/{uuid}"))
    }

    /// Where libvirt's QEMU driver keeps its own things, among them a directory for each running domain.
    pub fn libvirt_qemu(&self) -> Place {
        self.of_system("var/lib/libvirt/qemu")
    }

    /// Where libvirt keeps the firmware variables of the domain `name` if that does not say so itself.
    pub fn nvram(&self, name: &str) -> Place {
        self.of_system(&format!("var/lib/libvirt/qemu/nvram/{name}_VARS.fd"))
    }

    /// Where libvirt keeps the memory of the domain `name` when that is put to sleep.
    pub fn saved_memory(&self, name: &str) -> Place {
        self.of_system(&format!("var/lib/libvirt/qemu/save/{name}.save"))
    }

    /// Beside that, where libvirt does not look: the memory of an instance whose package is away.
    pub fn kept_memory(&self, uuid: uuid::Uuid) -> Place {
        self.of_system(&format!("var/lib/libvirt/qemu/save/miniascape-{uuid}"))
    }

    /// The firmware variables of an instance.
    pub fn instance_nvram(&self, guest: &GuestName) -> Place {
        self.instance(guest).join("nvram.fd")
    }

    /// `/var/lib/miniascape/guests`: the records of all instances.
    pub fn instances(&self) -> Place {
        self.at("var/lib/miniascape/guests")
    }

    /// The file that says what an instance is.
    pub fn instance_record(&self, guest: &GuestName) -> Place {
        self.instance(guest).join("instance.json")
    }

    /// The domain XML that an instance was last given, before libvirt and its users had made anything of it.
    pub fn instance_applied(&self, guest: &GuestName) -> Place {
        self.instance(guest).join("applied.xml")
    }

    /// What libvirt made of that, without what users have changed.
    pub fn instance_defined(&self, guest: &GuestName) -> Place {
        self.instance(guest).join("defined.xml")
    }

    /// What libvirt knew of an instance when it was taken out.
    pub fn instance_kept(&self, guest: &GuestName) -> Place {
        self.instance(guest).join("kept")
    }

    /// The record of one instance: package, applied domain XML, NVRAM, pending work.
    pub fn instance(&self, guest: &GuestName) -> Place {
        self.instances().join(guest.as_str())
    }

    /// `/var/lib/miniascape/adopted`: what networks were in libvirt before they became ours.
    pub fn all_adopted(&self) -> Place {
        self.at("var/lib/miniascape/adopted")
    }

    /// libvirt's XML of a network before it became ours.
    pub fn adopted(&self, name: &NetworkName) -> Place {
        self.all_adopted().join(format!("{name}.xml"))
    }

    /// Which networks packages have brought, and which were taken away with the program.
    pub fn brought(&self) -> Place {
        self.at("var/lib/miniascape/brought.json")
    }

    /// `/var/lib/miniascape/unpacked`: a record of each guest package that was unpacked from a tar file.
    pub fn unpacked(&self) -> Place {
        self.at("var/lib/miniascape/unpacked")
    }

    /// The record of one of them.
    pub fn unpacked_record(&self, package: &GuestName) -> Place {
        self.unpacked().join(format!("{package}.json"))
    }

    /// Held while packages are unpacked or what was unpacked is removed.
    pub fn unpack_lock(&self) -> Place {
        self.run().join("unpack.lock")
    }

    /// `/var/lib/miniascape/pending`: one file per piece of work that could not be finished.
    pub fn pending(&self) -> Place {
        self.at("var/lib/miniascape/pending")
    }

    /// `/var/lib/miniascape/checkpoints`: which package the checkpoint of a guest belongs to, one file per guest.
    pub fn checkpoints(&self) -> Place {
        self.at("var/lib/miniascape/checkpoints")
    }

    /// The lock of pending work: held while a piece of it is looked at and changed.
    pub fn pending_lock(&self) -> Place {
        self.run().join("pending.lock")
    }

    /// `/run/miniascape`: sockets, locks, pid files.
    pub fn run(&self) -> Place {
        self.at("run/miniascape")
    }

    /// Where the daemon answers.
    pub fn daemon_socket(&self) -> Place {
        self.run().join("daemon.sock")
    }

    /// Held by the daemon as long as it lives.
    pub fn daemon_lock(&self) -> Place {
        self.run().join("daemon.lock")
    }

    /// The process id of a dnsmasq that the daemon runs.
    pub fn dnsmasq_pid(&self, name: &NetworkName) -> Place {
        self.run().join(format!("dnsmasq-{name}.pid"))
    }

    /// The lock of what `auto` stands for: held while something is chosen, for any network.
    pub fn choosing_lock(&self) -> Place {
        self.run().join("auto.lock")
    }

    /// The lock of the host's firewall: held while rules of ours are changed.
    pub fn firewall_lock(&self) -> Place {
        self.run().join("firewall.lock")
    }

    /// The lock of one network: held while it is changed.
    pub fn network_lock(&self, name: &NetworkName) -> Place {
        self.run().join(format!("network-{name}.lock"))
    }

    /// The lock of one package: held by the run that registers or unregisters its guests.
    pub fn package_lock(&self, package: &GuestName) -> Place {
        self.run().join(format!("package-{package}.lock"))
    }

    /// The lock of one guest: held while it is changed.
    pub fn guest_lock(&self, guest: &GuestName) -> Place {
        self.run().join(format!("guest-{guest}.lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_named_from_inside_and_a_state_directory_from_outside() {
        let name: NetworkName = "net-1".parse().unwrap();
        let inside = Layout::other_root("/mnt/image").network(&name);
        assert_eq!(
            inside.on_disk(),
            Path::new("/mnt/image/var/lib/miniascape/networks/net-1")
        );
        assert_eq!(inside.named(), Path::new("/var/lib/miniascape/networks/net-1"));
        let state = Layout::state_dir("/tmp/s").network(&name);
        assert_eq!(state.on_disk(), state.named());
        assert_eq!(Layout::default().run().on_disk(), Path::new("/run/miniascape"));
    }
}
