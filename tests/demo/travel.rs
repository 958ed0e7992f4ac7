//! The guest's life on host two: from Debian packages, then from RPMs.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::Options;
use super::screen::{Screen, Show};
use super::shell::Shell;
use super::story::{self, GUEST, Markers, PACKAGES};
use crate::support::guest::Console;
use crate::support::{Output, Running};

/// Debian's rpm says each time that alien is the better choice.
const OF_RPM: Show<'_> = Show::Only(&["registered"]);
const INSTANCE: &str = "/var/lib/libvirt/images/miniascape/guests/app-1";

/// Installs miniascape on host two and registers net-1.
pub(crate) fn prepare(screen: &mut Screen, two: Shell<'_>, options: &Options) -> Running {
    screen.step("Host two: miniascape from its own package");
    let package = bring(two, &options.deb);
    two.run(
        screen,
        &format!("dpkg -i {package}"),
        Show::Only(&["Setting up", "Creating user"]),
    );
    two.site().reload_bus();
    two.run(
        screen,
        "cp /usr/share/miniascape/networks/net-1.yaml /etc/miniascape/networks/",
        Show::All,
    );
    let daemon = story::daemon(screen, two);
    two.run(screen, "miniascape net register net-1", Show::All);
    story::registered(screen, two);
    daemon
}

/// Copies a file of the machine to root's home, and returns its name.
fn bring(shell: Shell<'_>, file: &Path) -> String {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    shell
        .site()
        .copy_from_machine(file, Path::new("/root").join(&name));
    name
}

/// Copies the guest's packages and nothing else from host one to host two.
pub(crate) fn carry(screen: &mut Screen, one: Shell<'_>, two: Shell<'_>) {
    one.site().copy_to(two.site(), &[PACKAGES]);
    screen.say("The package files, and nothing else, are carried from host one to host two:");
    two.run(screen, "ls packages; virsh list --all --name", Show::All);
    let alike = one.site().list_dir(PACKAGES) == two.site().list_dir(PACKAGES);
    screen.check(
        "host two has the packages; it knows no guest and no disk image",
        alike && two.site().domains().is_empty() && !two.site().exists("/srv/images"),
        "",
    );
}

/// The guest from its Debian packages.
pub(crate) fn debs(screen: &mut Screen, two: Shell<'_>, markers: &Markers) {
    screen.step("Host two: the guest from DEBs");
    two.run(
        screen,
        "dpkg -i packages/*.deb",
        Show::Only(&["Setting up", "registered"]),
    );
    two.run(screen, "miniascape package list", Show::All);
    live(screen, two, markers);
    let images = "$(dpkg -l | awk '/^ii  miniascape-image/ { print $2 }')";
    let verified = two.run(screen, &format!("dpkg -V vm-app-1 {images}"), Show::All);
    clean(screen, &verified);
    two.run(
        screen,
        &format!("dpkg -r vm-app-1 {images}"),
        Show::Only(&["Removing", "unregistered"]),
    );
    kept(screen, two);
}

/// The guest from its RPM packages. `daemon` is the one of the Debian package, which makes way for the RPM.
pub(crate) fn rpms(
    screen: &mut Screen,
    two: Shell<'_>,
    package: &Path,
    daemon: Running,
    markers: &Markers,
) -> Running {
    screen.step("Host two: the guest from RPMs");
    screen.say(
        "Nothing of the DEBs is to help: the kept disk goes, and miniascape itself comes as an RPM now.",
    );
    two.run(screen, &format!("rm -r {INSTANCE}"), Show::All);
    end(screen, two, daemon);
    two.run(screen, "dpkg -r miniascape", Show::Only(&["Removing"]));
    let package = bring(two, package);
    two.site().write_file(
        "/root/build-rpm-stub",
        include_str!("../../packaging/build-rpm-stub"),
    );
    screen.say("rpm does not know what Debian has installed: an empty package says it.");
    two.run(
        screen,
        &format!("sh build-rpm-stub stub.rpm {package} packages/*.rpm"),
        Show::All,
    );
    two.run(screen, &format!("rpm -i stub.rpm {package}"), OF_RPM);
    let daemon = story::daemon(screen, two);
    two.run(screen, "miniascape net list", Show::All);
    story::registered(screen, two);

    two.run(screen, "rpm -i packages/*.rpm", OF_RPM);
    live(screen, two, markers);
    let verified = two.run(
        screen,
        "rpm -V vm-app-1 $(rpm -qa 'miniascape-image-*')",
        Show::All,
    );
    clean(screen, &verified);
    two.run(screen, "rpm -e vm-app-1 $(rpm -qa 'miniascape-image-*')", OF_RPM);
    kept(screen, two);
    daemon
}

/// Ends the daemon as a service manager would.
fn end(screen: &Screen, shell: Shell<'_>, daemon: Running) {
    shell.told(screen, "kill %1     # the daemon");
    daemon.signal(Signal::TERM);
    daemon.wait(Duration::from_secs(30)).expect_code(0);
}

/// The installed guest boots, has its disk and its address, and shuts down.
fn live(screen: &mut Screen, two: Shell<'_>, markers: &Markers) {
    two.run(screen, "miniascape guest list", Show::All);
    story::boot(screen, two);
    let mut console = Console::attach(two.site(), GUEST);
    story::show_markers(screen, &mut console, markers);
    let disks = two.run(screen, "virsh domblklist app-1", Show::Only(&["vda"]));
    screen.check(
        "it writes to an overlay of its own",
        disks.stdout.contains(&format!("{INSTANCE}/vda.qcow2")),
        &disks,
    );
    story::shut_down(screen, two);
}

fn clean(screen: &mut Screen, verified: &Output) {
    let silent = verified.text().is_empty() && verified.stderr.trim().is_empty();
    screen.check("its packaged files are as they were installed", silent, verified);
}

/// Checks that the guest is gone from libvirt and its disk is not.
fn kept(screen: &mut Screen, two: Shell<'_>) {
    let disk = format!("{INSTANCE}/vda.qcow2");
    let listed = two.run(screen, &format!("ls -sh {disk}"), Show::All);
    let gone = !two.site().domains().contains(&GUEST.to_owned());
    screen.check(
        "the guest is gone from libvirt; what it wrote is kept there",
        gone,
        &listed,
    );
}
