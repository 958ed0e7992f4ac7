//! The hooks where things are not as they should be.

use crate::machine::Machine;
use crate::packages::Kind;
use crate::support::{Command, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn debian(name: &str) -> Machine {
    let machine = Machine::new(name).unwrap_or_else(|error| panic!("no machine: {error}"));
    Kind::Deb.prepare(&machine);
    Kind::Deb.publish_new(&machine);
    machine
}

pub(crate) fn whatever_is_wrong_ends_no_transaction() {
    let mut machine = debian("wrong");
    machine.boot();
    // net-1 is somebody else's, and net-2's bridge has an address that is in use.
    machine.write(
        "/root/net-1.xml",
        "<network><name>net-1</name><bridge name='virbr7'/><ip address='192.168.7.1' netmask='255.255.255.0'/></network>",
    );
    machine.sh("virsh net-define /root/net-1.xml; virsh net-start net-1");
    machine
        .sh("ip link add dummy0 type bridge; ip addr add 192.168.152.1/24 dev dummy0; ip link set dummy0 up");
    let foreign = machine.sh("virsh net-dumpxml net-1").stdout;
    let done = machine.sh(&Kind::Deb.install("miniascape-refdata"));
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(
        told.contains("libvirt already has a network net-1") || told.contains("net-1 clashes"),
        "{done}"
    );
    assert!(told.contains("192.168.152.0/24"), "{done}");
    assert_eq!(machine.sh("virsh net-dumpxml net-1").stdout, foreign);
    machine.sh("miniascape net status net-3");
    assert_eq!(
        machine
            .sh("virsh net-list --all --name | grep -c net-2 || :")
            .text(),
        "0"
    );
    // With these out of the way the next installation brings them.
    machine.sh("virsh net-destroy net-1; virsh net-undefine net-1; ip link delete dummy0");
    machine.sh("dpkg-reconfigure miniascape-refdata 2>/dev/null || /var/lib/dpkg/info/miniascape-refdata.postinst configure 0.0.9");
    for network in ["net-1", "net-2", "net-3"] {
        machine.sh(&format!("miniascape net status {network}"));
    }

    // A definition that was broken since: it is named, its network goes on, and the others follow theirs.
    machine.sh(
        "cd /etc/miniascape/networks; cp net-3.yaml /root; sed -i 's/mode: .*/mode: nut/' net-3.yaml; \
         sed -i 's/lease_time: .*/lease_time: 4h/' net-2.yaml",
    );
    let broken = machine.sh("miniascape hook post-install");
    assert!(
        broken.stderr.contains("/etc/miniascape/networks/net-3.yaml:18:9"),
        "{broken}"
    );
    machine.sh("grep -q 4h /var/lib/miniascape/networks/net-2/dnsmasq.conf; systemctl is-active miniascape-dnsmasq@net-3; virsh net-info net-3");
    machine.sh("cp /root/net-3.yaml /etc/miniascape/networks/");

    // Twice, and in the wrong order.
    let info = "DPKG_MAINTSCRIPT_PACKAGE=miniascape /var/lib/dpkg/info";
    for script in [
        "miniascape.postinst configure 0.0.9",
        "miniascape-refdata.postinst configure 0.0.9",
    ] {
        let again = machine.sh(&format!("{info}/{script}"));
        assert_eq!(again.stderr, "", "{again}");
    }
    machine.sh(&format!("{info}/miniascape.prerm remove; {info}/miniascape-refdata.prerm remove; {info}/miniascape-refdata.prerm remove"));
    assert_eq!(
        machine
            .sh("virsh net-list --all --name | grep -c net- || :")
            .text(),
        "0"
    );
    machine.sh(&format!(
        "{info}/miniascape-refdata.postinst configure ''; {info}/miniascape.postinst configure ''"
    ));
    machine.sh("miniascape net status net-1");
    machine.is_healthy_but("hooks in any order", &[]);

    a_killed_hook_is_made_up_for(&machine);
    without_libvirt_everything_waits(&mut machine);
}

/// Killed at some of the points where it changes something, and finished by the daemon.
fn a_killed_hook_is_made_up_for(machine: &Machine) {
    for call in ["renameat2", "rename", "fsync", "unlink"] {
        for point in [1, 3, 6] {
            machine.sh("miniascape hook pre-remove --network net-2");
            let kill = format!(
                "strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={point} \
                 miniascape hook post-install --network net-2 || :"
            );
            machine.try_sh(&kill);
            // dpkg runs the script again; with rpm the daemon has it, if it had begun.
            machine.sh("miniascape hook post-install --network net-2");
            machine.sh("miniascape net status net-2");
            machine.wait_done(PATIENCE);
        }
    }
}

fn without_libvirt_everything_waits(machine: &mut Machine) {
    machine.sh("miniascape hook pre-remove --network net-2");
    machine.sh("systemctl stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket");
    let waits = machine.sh("miniascape hook post-install --network net-2; miniascape hook post-install");
    assert!(
        waits
            .stderr
            .contains("the network net-2 is made when libvirt answers"),
        "{waits}"
    );
    let kept = machine.sh("miniascape hook pre-remove");
    assert!(
        kept.stderr
            .contains("the network net-1 stays: libvirt cannot be asked"),
        "{kept}"
    );
    machine.sh("systemctl start libvirtd.socket libvirtd-ro.socket");
    machine.wait_done(PATIENCE);
    for network in ["net-1", "net-2", "net-3"] {
        machine.sh(&format!("miniascape net status {network}"));
    }
    machine.is_healthy_but("libvirt was away", &["libvirt"]);

    // A full disk.
    machine.sh("mount -t tmpfs -o size=64k full /var/lib/miniascape/pending; head -c 1M /dev/zero >/var/lib/miniascape/pending/x || :");
    machine.sh("sed -i 's/lease_time: .*/lease_time: 7h/' /etc/miniascape/networks/net-2.yaml");
    let full = machine.sh("miniascape hook post-install; umount /var/lib/miniascape/pending");
    assert!(full.stderr.contains("No space left on device"), "{full}");
    machine.sh("miniascape net status net-2");
    machine.sh("miniascape hook post-install; grep -q 7h /var/lib/miniascape/networks/net-2/dnsmasq.conf");
}

pub(crate) fn an_image_is_ready_at_its_first_boot() {
    let mut machine = debian("image");
    // A chroot of this machine, whose libvirt and systemd are reached by what is bound into it.
    let script = format!(
        "set -eu; for dir in proc sys run; do mount --rbind /$dir \"$0/$dir\"; done; \
         chroot \"$0\" bash -ec '{}'; umount -R \"$0/proc\" \"$0/sys\" \"$0/run\"",
        Kind::Deb.install("miniascape-refdata")
    );
    let root = machine.root();
    let done = Command::machine(["sh".as_ref(), "-c".as_ref(), script.as_ref(), root.as_os_str()])
        .timeout(Duration::from_secs(300))
        .check();
    assert!(
        done.stderr
            .contains("the networks net-1, net-2, net-3 are made when this system has started"),
        "{done}"
    );
    assert!(machine.exists("/var/lib/miniascape/pending/network-net-1.json"));
    machine.boot();
    machine.wait_done(PATIENCE);
    for network in ["net-1", "net-2", "net-3"] {
        wait_until(format_args!("{network} to work"), PATIENCE, || {
            machine.try_sh(&format!("miniascape net status {network}")).ok()
        });
    }
    machine.is_healthy("first boot");
}

/// What makes libvirt installed: its client library, its daemons and their units.
const LIBVIRT: &str = "usr/lib/x86_64-linux-gnu/libvirt*.so* usr/sbin/libvirtd usr/sbin/virtl*d usr/bin/virsh \
    lib/systemd/system/libvirt* lib/systemd/system/virt*";

pub(crate) fn without_libvirt_installed_the_networks_wait_for_it() {
    let mut machine = debian("lacking");
    let away = format!("cd \"$0\"; tar --create --remove-files --file root/libvirt.tar {LIBVIRT}");
    let root = machine.root();
    Command::machine(["sh".as_ref(), "-ec".as_ref(), away.as_ref(), root.as_os_str()]).check();
    machine.boot();
    machine.is_healthy("without libvirt");
    // dpkg believes that libvirt0 is there; with its files gone it does not matter what it believes.
    let done = machine.sh(&Kind::Deb.install("miniascape-refdata"));
    let said: Vec<&str> = done.stderr.lines().chain(done.stdout.lines()).collect();
    let ours: Vec<&str> = said
        .into_iter()
        .filter(|line| line.starts_with("miniascape: "))
        .collect();
    assert_eq!(
        ours,
        [
            "miniascape: the networks net-1, net-2, net-3 are made when libvirt answers: libvirt is not installed here \
             (`apt-get install libvirt-daemon-system libvirt-clients qemu-system-x86`)"
        ],
        "{done}"
    );
    let again = machine.sh("miniascape hook post-install --network net-1; miniascape hook post-install");
    assert_eq!(again.stderr, "");
    let told = machine.try_sh("miniascape net list");
    assert!(told.stderr.contains("`apt-get install libvirt0`"), "{told}");
    machine.is_healthy("installed without libvirt");
    // At boot nothing is tried in vain.
    machine.shut_down();
    machine.boot();
    machine.is_healthy("booted without libvirt");

    // A library that is damaged.
    machine.sh("echo rubbish >/usr/lib/x86_64-linux-gnu/libvirt.so.0; touch /usr/sbin/libvirtd");
    machine.sh("rm /var/lib/miniascape/pending/network-net-2.json /var/lib/miniascape/brought.json");
    let broken = machine.sh("miniascape hook post-install --network net-2");
    assert!(
        broken.stderr.starts_with(
            "miniascape: the network net-2 is made when libvirt answers: libvirt's client library cannot be loaded: "
        ) && broken.stderr.lines().count() == 1,
        "{broken}"
    );
    let told = machine.try_sh("miniascape net list");
    assert!(
        told.stderr.contains("`apt-get install --reinstall libvirt0`"),
        "{told}"
    );
    assert_eq!(machine.sh("miniascape hook pre-remove").stderr, "");

    // It comes, and the daemon, which runs all the time, has the networks made.
    machine.sh("tar -C / -xf /root/libvirt.tar; systemctl daemon-reload; systemctl start libvirtd.socket");
    machine.wait_done(PATIENCE);
    for network in ["net-1", "net-2", "net-3"] {
        machine.sh(&format!("miniascape net status {network}"));
    }
    machine.is_healthy("libvirt has come");
}
