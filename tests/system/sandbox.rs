//! The daemon inside the limits of its unit: everything that may wait for it is done by it.

use crate::machine::Machine;
use crate::packages::Kind;
use crate::support::guest::DiskSpec;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
const STOP: &str = "systemctl stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket";
const START: &str = "systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket";

/// A network with boot files, for which the firewall is opened.
const BOOT: &str = "network:\n  name: boot\n  mode: nat\n  bridge: virbr77\n  domain: boot.internal\n  \
    ipv4: { subnet: 10.77.1.0/24 }\n  dhcp:\n    ranges: [ { start: 10.77.1.100, end: 10.77.1.199 } ]\n    \
    boot: { tftp: /srv/tftp, file: x.kpxe }\n";

pub(crate) fn the_daemon_does_all_its_work_in_its_units_limits() {
    let mut machine = Machine::new("sandbox").unwrap_or_else(|error| panic!("no machine: {error}"));
    Kind::Deb.prepare(&machine);
    Kind::Deb.publish_new(&machine);
    machine.boot();
    machine.sh(&Kind::Deb.install("miniascape"));
    // The limits are there: it has no Internet sockets, and its root directory is not for writing.
    let limited = "pid=$(systemctl show --value --property MainPID miniascaped); grep -q '^Seccomp:.2' /proc/$pid/status; \
        ! nsenter --target $pid --mount touch /usr/x /etc/x 2>/dev/null";
    machine.sh(limited);

    // Networks: registered, changed and unregistered by the daemon alone.
    machine.write("/srv/tftp/x.kpxe", "x");
    machine.write("/etc/miniascape/networks/boot.yaml", BOOT);
    machine.sh(&format!("miniascape net register net-2; {STOP}"));
    machine
        .sh("miniascape net register boot; miniascape net register net-1; miniascape net unregister net-2");
    machine.sh(START);
    machine.wait_done(PATIENCE);
    machine.sh("miniascape net status boot; miniascape net status net-1; ! virsh net-info net-2 2>/dev/null");
    machine.sh("iptables -S | grep -q 'dport 69 .*miniascape:boot'");
    machine.sh(&format!("{STOP}; sed -i 's/10.77.1.199/10.77.1.150/' /etc/miniascape/networks/boot.yaml; miniascape net update boot; {START}"));
    machine.wait_done(PATIENCE);
    machine
        .sh("grep -q 10.77.1.150 /var/lib/miniascape/networks/boot/dnsmasq.conf; miniascape net status boot");

    // A guest's package that comes while libvirt is away.
    DiskSpec::new("m").make(&machine, "/srv/g.qcow2");
    machine.sh(
        "miniascape guest create g --memory 256MiB --disk /srv/g.qcow2 --network net-1; miniascape repack g --to deb --output /srv/packed; \
         miniascape guest delete g --yes --disks",
    );
    machine.sh(&format!(
        "{STOP}; dpkg -i /srv/packed/*.deb; ls /var/lib/miniascape/pending; {START}"
    ));
    machine.wait_done(PATIENCE);
    let guests = machine.sh("virsh list --all --name; ls /var/lib/libvirt/images/miniascape/guests/g /var/lib/libvirt/images/miniascape/guests/g/chain");
    assert!(
        guests.stdout.contains("g\n") && guests.stdout.contains("sha256-"),
        "{guests}"
    );
    machine.sh("miniascape guest start g; virsh domstate g | grep -q running; virsh destroy g");
    let told = machine.sh("journalctl -u miniascaped --no-pager").stdout;
    for work in [
        "register the network boot",
        "register the network net-1",
        "unregister the network net-2",
    ] {
        assert!(
            told.contains(&format!("finished pending work: {work}")),
            "{work}: {told}"
        );
    }

    // And by the unit that does it at boot, with the daemon out of the way.
    machine.sh(&format!(
        "systemctl disable --now miniascaped; {STOP}; miniascape net register net-3; dpkg -r vm-g; {START}"
    ));
    machine.shut_down();
    machine.boot();
    machine.wait_done(PATIENCE);
    machine.sh("miniascape net status net-3; ! virsh dominfo g 2>/dev/null");
    assert!(
        machine
            .sh("journalctl -b -u miniascape-pending --no-pager")
            .stdout
            .contains("finished pending work")
    );
    machine.is_healthy_but("everything done", &["libvirt"]);
}

/// Compiled, not enforced: the kernel of the container is this machine's.
pub(crate) fn policies_of_apparmor_and_selinux_are_taken_by_their_compilers() {
    let mut machine = Machine::new("policies").unwrap_or_else(|error| panic!("no machine: {error}"));
    Kind::Deb.prepare(&machine);
    Kind::Deb.publish_new(&machine);
    machine.boot();
    machine.sh(&Kind::Deb.install("miniascape"));
    let compile = "cd /usr/share/miniascape; apparmor_parser --skip-kernel-load --skip-cache --features-file=/etc/apparmor.d/abi/3.0 apparmor/miniascape-dnsmasq; \
        checkmodule -M -m -o /root/miniascape.mod selinux/miniascape.te; \
        semodule_package -o /root/miniascape.pp -m /root/miniascape.mod -f selinux/miniascape.fc";
    machine.sh(compile);
    assert!(machine.exists("/root/miniascape.pp"));
    let broken = "sed 's/^profile/profil/' /usr/share/miniascape/apparmor/miniascape-dnsmasq >/root/broken; \
        ! apparmor_parser --skip-kernel-load --skip-cache /root/broken 2>/dev/null";
    machine.sh(broken);
}
