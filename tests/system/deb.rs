//! The Debian packages, by apt-get from a repository with an index of apt-ftparchive's.

use crate::packages::Kind;
use crate::story::Story;

pub(crate) fn the_packages_come_serve_are_upgraded_and_go() {
    let mut story = Story::begin("deb", Kind::Deb);
    story.install();
    story.use_it();
    story.upgrade();
    story.pack();
    story.reboot();
    story.remove();

    // Purged, nothing is left but what is the user's.
    let machine = story.machine();
    let done = machine.sh("dpkg --purge miniascape miniascape-refdata vm-g");
    assert!(done.stdout.contains("what is in /etc/miniascape stays"), "{done}");
    assert!(
        machine.exists("/etc/miniascape/networks/lab.yaml")
            && !machine.exists("/etc/miniascape/networks/net-1.yaml")
    );
    let left = "find /usr /etc /lib/systemd -name '*miniascape*' ! -path '/etc/miniascape*'";
    assert_eq!(machine.sh(left).stdout, "");
    assert!(
        machine.exists("/var/lib/libvirt/images/miniascape/guests/g/vda.qcow2"),
        "the guest's disk"
    );
    machine.is_healthy("purged");
}
