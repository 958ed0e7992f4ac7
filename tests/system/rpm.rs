//! The RPM packages, by dnf from a repository with an index of createrepo_c's. The machine is Debian: a stub package
//! provides what it has and rpm's database does not know of.

use crate::packages::Kind;
use crate::story::Story;

pub(crate) fn the_packages_come_serve_are_upgraded_and_go() {
    let mut story = Story::begin("rpm", Kind::Rpm);
    story.install();
    story.use_it();
    story.upgrade();
    assert!(
        story
            .machine()
            .exists("/etc/miniascape/networks/net-2.yaml.rpmnew")
    );
    story.pack();
    story.reboot();
    story.remove();
    let machine = story.machine();
    assert!(machine.exists("/etc/miniascape/networks/lab.yaml"));
    // What had been changed is kept under another name, what had not has gone.
    assert!(
        machine.exists("/etc/miniascape/networks/net-2.yaml.rpmsave")
            && !machine.exists("/etc/miniascape/networks/net-3.yaml")
    );
    assert_eq!(
        machine.sh("find /usr /lib/systemd -name '*miniascape*'").stdout,
        ""
    );
}
