//! What happens to miniascape's packages on a machine, the same with both formats: they come, serve a guest that is packed
//! and installed as a package, are upgraded under it, boot with the machine, and go.

use crate::machine::Machine;
use crate::packages::{Kind, OLD};
use crate::support::guest::{BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{Output, wait_for, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// In net-1 no machine has this one: it gets an address of the range.
const MAC: &str = "52:54:00:00:00:66";
const REFERENCE: [&str; 3] = ["net-1", "net-2", "net-3"];

/// A network of the user's own.
const OWN: &str = "network: { name: lab, mode: isolated, bridge: virbr90, domain: lab.internal, \
    ipv4: { subnet: 10.90.1.0/24 }, dhcp: { ranges: [ { start: 10.90.1.100, end: 10.90.1.199 } ] } }\n";

pub(crate) struct Story {
    kind: Kind,
    machine: Machine,
}

impl Story {
    /// A booted machine with the older packages, from its repository.
    pub(crate) fn begin(name: &str, kind: Kind) -> Self {
        let machine = Machine::new(name).unwrap_or_else(|error| panic!("no machine: {error}"));
        kind.prepare(&machine);
        kind.publish_old(&machine);
        let mut story = Self { kind, machine };
        story.machine.boot();
        story.machine.is_healthy("before anything is installed");
        story
    }

    pub(crate) fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The networks that are registered and work.
    fn working(&self, networks: &[&str]) {
        for network in networks {
            wait_until(format_args!("{network} to work"), PATIENCE, || {
                self.machine
                    .try_sh(&format!("miniascape net status {network}"))
                    .ok()
            });
        }
    }

    /// libvirt's networks but its own default one.
    fn networks(&self) -> Vec<String> {
        let listed = self.machine.sh("virsh net-list --all --name").stdout;
        let mut names: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        names.retain(|name| name != "default");
        names.sort();
        names
    }

    fn pid(&self, network: &str) -> String {
        let show = format!("systemctl show --value --property MainPID miniascape-dnsmasq@{network}");
        self.machine.sh(&show).text().to_owned()
    }

    /// The lease time by which a network's dnsmasq was configured.
    fn lease_time(&self, network: &str) -> String {
        let conf = self
            .machine
            .read(&format!("/var/lib/miniascape/networks/{network}/dnsmasq.conf"));
        let range = conf
            .lines()
            .find(|line| line.starts_with("dhcp-range="))
            .unwrap_or_default();
        range.rsplit(',').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn install(&mut self) -> Output {
        let done = self.machine.sh(&self.kind.install("miniascape-refdata"));
        self.working(&REFERENCE);
        assert_eq!(self.networks(), REFERENCE);
        assert_eq!(
            (self.lease_time("net-1"), self.lease_time("net-3")),
            ("12h".into(), "6h".into())
        );
        // As Debian's presets have it: enabled; the other units are not of the kind that is enabled.
        let enabled =
            "systemctl is-enabled miniascaped miniascape-pending 'miniascape-dnsmasq@.service' || :";
        assert_eq!(self.machine.sh(enabled).text(), "enabled\nstatic\nindirect");
        self.machine.is_healthy("installed");
        done
    }

    /// Definitions are changed, one of the user's own is registered, and a guest boots in net-1.
    pub(crate) fn use_it(&mut self) {
        self.machine.write("/etc/miniascape/networks/lab.yaml", OWN);
        self.machine.sh("miniascape net register lab");
        self.machine
            .sh("sed -i 's/lease_time: .*/lease_time: 5h/' /etc/miniascape/networks/net-2.yaml");
        self.machine.sh("sed -i 's/lease_time: .*/lease_time: 3h/' /etc/miniascape/networks/net-1.yaml; miniascape net update net-1");
        assert_eq!(
            (self.lease_time("net-1"), self.lease_time("net-2")),
            ("3h".into(), "6h".into())
        );

        DiskSpec::new("m")
            .hostname("guest")
            .make(&self.machine, "/srv/g.qcow2");
        self.machine.sh(&format!(
            "miniascape guest create g --memory 256MiB --disk /srv/g.qcow2 --network net-1,mac={MAC} \
             --serial-log /var/log/libvirt/qemu/g-serial.log"
        ));
        self.machine
            .sh("miniascape guest start g --wait lease --timeout 200s");
        let mut console = Console::attach(&self.machine, "g");
        console.wait_ready();
        console.wait("LEASE", BOOT_TIMEOUT);
        assert_eq!(console.ask("ping 192.168.151.1", "PONG").0, "PONG 192.168.151.1");
        self.machine.is_healthy("in use");
    }

    /// The guest and its network go on under the upgrade, changed definitions stay, the others follow.
    pub(crate) fn upgrade(&mut self) {
        // A change that would cost the guest its network for a moment.
        self.machine
            .sh("sed -i.orig 's/virbr151/virbr159/' /etc/miniascape/networks/net-1.yaml");
        self.machine.write(
            "/etc/miniascape/networks/broken.yaml",
            "network:\n  name: broken\n  mode: nut\n",
        );
        let standing = |story: &Self| {
            let guest = story
                .machine
                .sh("pgrep -x qemu-system-x86; ls /sys/class/net/virbr151/brif");
            (guest.stdout, story.pid("net-1"), story.pid("lab"))
        };
        let before = standing(self);
        self.kind.publish_new(&self.machine);
        let done = self.machine.sh(&self.kind.upgrade());
        let told = format!("{}{}", done.stdout, done.stderr);
        assert!(told.contains("the network net-1 stays as it is for g"), "{done}");
        assert_eq!(
            standing(self),
            before,
            "the guest or its network was touched\n{done}"
        );
        let version = self.machine.sh("miniascape --version").text().to_owned();
        let installed = match self.kind {
            Kind::Deb => self
                .machine
                .sh("dpkg-query -W -f '${Version}\\n' miniascape miniascape-refdata"),
            Kind::Rpm => self
                .machine
                .sh("rpm -q --qf '%{VERSION}\\n' miniascape miniascape-refdata"),
        };
        assert!(
            !installed.stdout.contains(OLD) && !version.is_empty(),
            "{installed}"
        );
        assert_eq!(
            (self.lease_time("net-2"), self.lease_time("net-3")),
            ("5h".into(), "12h".into()),
            "{done}"
        );
        assert!(
            self.machine
                .read("/etc/miniascape/networks/net-2.yaml")
                .contains("lease_time: 5h")
        );
        self.machine
            .sh("cd /etc/miniascape/networks; mv net-1.yaml.orig net-1.yaml; rm broken.yaml");
        let mut console = Console::attach(&self.machine, "g");
        assert_eq!(console.ask("ping 192.168.151.1", "PONG").0, "PONG 192.168.151.1");
        self.working(&["lab", "net-1", "net-2", "net-3"]);
        self.machine.is_healthy("upgraded");
    }

    /// The guest is packed, deleted, and comes back as a package from the repository.
    pub(crate) fn pack(&mut self) {
        let format = match self.kind {
            Kind::Deb => "deb",
            Kind::Rpm => "rpm",
        };
        self.machine.sh("miniascape guest shutdown g --timeout 120s");
        self.machine.sh(&format!(
            "miniascape repack g --to {format} --output /srv/packed; miniascape guest delete g --yes --disks; \
             rm -f /srv/g.qcow2; cp /srv/packed/*.{format} /srv/repository/"
        ));
        self.kind.index(&self.machine);
        self.machine.sh(&self.kind.install("vm-g"));
        assert!(self.machine.sh("virsh list --all --name").stdout.contains("g\n"));
        self.machine
            .sh("virsh autostart g; miniascape guest start g --wait lease --timeout 200s");
        self.machine.is_healthy("with the guest's package");
    }

    /// Everything comes back in order, and leases are kept.
    pub(crate) fn reboot(&mut self) {
        let before = self.machine.leased(MAC).expect("the guest has one");
        self.machine.shut_down();
        self.machine.write("/var/log/libvirt/qemu/g-serial.log", "");
        self.machine.boot();
        assert_eq!(
            self.machine.leased(MAC).as_deref(),
            Some(&*before),
            "the lease is lost"
        );
        self.working(&["lab", "net-1", "net-2", "net-3"]);
        let ip = wait_for("the guest's lease", BOOT_TIMEOUT, || {
            let show = self
                .machine
                .try_sh("miniascape guest wait g --for lease --timeout 5s");
            show.ok().then(|| self.machine.leased(MAC)).flatten()
        });
        assert_eq!(ip, before);
        // dnsmasq served before libvirt began, which starts its networks, and never had to be started again.
        let order = "systemctl show --value --property ActiveEnterTimestampMonotonic 'miniascape-dnsmasq@*'
            systemctl show --value --property ExecMainStartTimestampMonotonic libvirtd
            systemctl show --value --property NRestarts 'miniascape-dnsmasq@*'";
        let told = self.machine.sh(order).stdout;
        let told: Vec<u64> = told.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        assert!(
            told.len() == 9 && told[..4].iter().all(|&active| active <= told[4]) && told[5..] == [0; 4],
            "{told:?}\n{}",
            self.machine
                .try_sh("journalctl --boot --no-pager --unit 'miniascape-dnsmasq@*' --lines 200")
                .stdout
        );
        self.machine.is_healthy("booted again");
    }

    /// The program goes under the running guest: what that uses stays, the rest comes back with the program.
    pub(crate) fn remove(&mut self) {
        let pids = |story: &Self| {
            (
                story.machine.sh("pgrep -x qemu-system-x86").stdout,
                story.machine.sh("pgrep -fc 'dnsmasq.*/net-1/'").stdout,
            )
        };
        let before = pids(self);
        let done = self.machine.sh(&self.kind.remove("miniascape"));
        let told = format!("{}{}", done.stdout, done.stderr);
        assert!(
            told.contains("the network net-1 stays: g has an interface in it"),
            "{done}"
        );
        // Of the packages that go the program is the last.
        assert!(!told.contains("not found"), "{done}");
        for place in [
            "/etc/miniascape",
            "/var/lib/miniascape",
            "/var/lib/libvirt/images/miniascape",
        ] {
            assert!(
                told.contains(&format!("miniascape: what is in {place} stays; it is yours")),
                "{place}: {done}"
            );
        }
        assert!(!self.machine.exists("/usr/bin/miniascape"));
        assert_eq!(pids(self), before, "{done}");
        assert_eq!(self.networks(), ["net-1"]);
        assert!(self.machine.exists("/var/lib/libvirt/images/miniascape/guests/g"));
        self.machine.is_healthy("removed");

        self.machine.sh(&self.kind.install("miniascape"));
        self.working(&["lab", "net-1"]);
        self.machine.is_healthy("back again");
        self.machine.sh("virsh destroy g");
        // What is known of the guest is finished by whoever comes next.
        self.machine.sh("miniascape net update --all");
        self.machine.sh(&self.kind.remove("miniascape"));
        assert_eq!(self.networks(), [""; 0]);
        self.machine.is_healthy("removed for good");
    }
}
