//! The story: a network and a guest on host one, the guest as packages, and its life on host two.
//!
//! This is host one and the end of both; host two is in [`travel`](super::travel).

use std::time::Duration;

use super::screen::{Screen, Show, seconds};
use super::shell::Shell;
use super::{Options, travel};
use crate::support::guest::{BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{BusPolicy, Host, HostOptions, Running, wait_until};

/// The guest; net-1 reserves an address for a host of this name.
pub(crate) const GUEST: &str = "app-1";
/// What net-1 reserves for [`MAC`].
const ADDRESS: &str = "192.168.151.30";
pub(crate) const MAC: &str = "52:54:00:01:00:30";
/// How long anything but a guest's boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the guest's packages are, on both hosts.
pub(crate) const PACKAGES: &str = "/root/packages";

/// What is on the guest's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Put there before the guest first started.
    pub(crate) base: String,
    /// Written by the running guest.
    pub(crate) guest: String,
}

impl Markers {
    /// Two random words.
    pub(crate) fn random() -> Self {
        let word = |word: &str| {
            let random = uuid::Uuid::new_v4().simple().to_string();
            format!("{word}-{}", &random[..8])
        };
        Self {
            base: word("base"),
            guest: word("guest"),
        }
    }
}

/// Tells the story; panics where something is not as it has to be.
pub(crate) fn tell(screen: &mut Screen, options: &Options) {
    screen.begin(
        "miniascape: a network from a file, a guest as packages, and both on another host",
        if options.short { 7 } else { 8 },
    );
    on_two_hosts(screen, options);
    // The hosts are gone by now.
    let elapsed = screen.summary();
    let ways = if options.short {
        "as DEBs"
    } else {
        "as DEBs and as RPMs"
    };
    screen.ended(&format!(
        "All of it worked, in {}: the guest went from host one to host two {ways}, with its disk and its address; \
         nothing of it is left on this machine.",
        seconds(elapsed)
    ));
}

fn on_two_hosts(screen: &mut Screen, options: &Options) {
    let (one, two) = hosts(screen);
    let (one, two) = (Shell::new(&one, "one $"), Shell::new(&two, "two $"));

    screen.step("Host one: a network from a file");
    let _daemon = daemon(screen, one);
    network(screen, one);

    let markers = Markers::random();
    guest(screen, one, &markers);
    pack(screen, one, options);

    let daemon = travel::prepare(screen, two, options);
    travel::carry(screen, one, two);
    travel::debs(screen, two, &markers);
    let _daemon = match &options.rpm {
        Some(rpm) if !options.short => travel::rpms(screen, two, rpm, daemon, &markers),
        _ => daemon,
    };
    unregister(screen, &[one, two]);
}

fn hosts(screen: &mut Screen) -> (Host, Host) {
    screen.step("Two private hosts");
    screen.say(
        "Namespaces with the machine's programs, and with files, package databases, network, message bus and \
         libvirt of their own. This machine's libvirt, firewall, packages and files stay as they are.",
    );
    let one = Host::start(HostOptions::default().name("one"));
    // On host two dnsmasq may speak on the message bus only because miniascape's package allows it.
    let two = HostOptions::default().name("two").without_miniascape();
    let two = Host::start(two.bus_policy(BusPolicy::Distribution));
    let shell = Shell::new(&one, "one $");
    shell.run(screen, "miniascape --version", Show::All);
    let empty = one.networks().is_empty() && one.domains().is_empty();
    screen.check(
        "host one is up: miniascape, an empty libvirt",
        empty,
        "it is not empty",
    );
    let bare = !two.exists("/usr/bin/miniascape") && two.domains().is_empty();
    screen.check(
        "host two is up: no miniascape yet, an empty libvirt",
        bare,
        "it is not empty",
    );
    (one, two)
}

/// Starts `miniascape daemon`, and waits until it answers.
pub(crate) fn daemon(screen: &Screen, shell: Shell<'_>) -> Running {
    let daemon = shell.background(screen, "miniascape daemon");
    wait_until("the daemon to be ready", PATIENCE, || {
        daemon.transcript().contains("ready:")
    });
    daemon
}

fn network(screen: &mut Screen, one: Shell<'_>) {
    one.site().write_file(
        "/etc/miniascape/networks/net-1.yaml",
        include_str!("../../networks/net-1.yaml"),
    );
    one.run(
        screen,
        "sed -n '/^network:/,/ hosts:/p' /etc/miniascape/networks/net-1.yaml",
        Show::All,
    );
    one.run(screen, "miniascape net validate net-1", Show::All);
    one.run(screen, "miniascape net register net-1", Show::All);
    one.run(screen, "miniascape net status net-1", Show::All);
    registered(screen, one);
}

/// Checks from outside that net-1 is what it has to be.
pub(crate) fn registered(screen: &mut Screen, shell: Shell<'_>) {
    let listed = shell.run(screen, "virsh net-list --all", Show::All);
    let words: Vec<&str> = listed
        .text()
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    screen.check(
        "libvirt's network net-1 is active and starts with the host",
        words == ["net-1", "active", "yes", "yes"],
        &listed,
    );
    let servers = shell.run(screen, "pgrep -a dnsmasq", Show::All);
    let ours = servers.text().lines().count() == 1 && servers.stdout.contains("/networks/net-1/dnsmasq.conf");
    screen.check(
        "one dnsmasq runs, net-1's own; libvirt has started none",
        ours,
        &servers,
    );
}

fn guest(screen: &mut Screen, one: Shell<'_>, markers: &Markers) {
    screen.step("Host one: a guest with a reserved address");
    one.run(
        screen,
        "grep ' app-1,' /etc/miniascape/networks/net-1.yaml",
        Show::All,
    );
    screen.say("A small real Linux on a disk image that boots from a BIOS, and an overlay over it:");
    DiskSpec::new(&markers.base)
        .hostname(GUEST)
        .make(one.site(), "/srv/images/golden.qcow2");
    one.run(
        screen,
        "qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 /srv/images/app-1.qcow2",
        Show::All,
    );
    one.run(
        screen,
        "miniascape guest create app-1 --memory 256MiB --disk /srv/images/app-1.qcow2 \\\n    \
         --network net-1,mac=52:54:00:01:00:30 \\\n    --serial-log /var/log/libvirt/qemu/app-1-serial.log",
        Show::All,
    );
    let mut watch = one.background(screen, "miniascape lease watch net-1");
    wait_until("`lease watch` to follow", PATIENCE, || {
        watch.transcript().contains("watching")
    });
    boot(screen, one);
    let event = watch.wait_line(PATIENCE, |line| line.contains(MAC));
    screen.output(&event, Show::All, Duration::ZERO);
    screen.check(
        "`lease watch` and `guest start` heard that from dnsmasq's D-Bus signal; nothing was polled",
        event.starts_with("added") && event.contains(ADDRESS),
        watch.transcript(),
    );
    let mut console = Console::attach(one.site(), GUEST);
    console.wait_ready();
    screen.say("The guest's serial console said while it booted, and is told to write to its disk:");
    screen.say(&console.wait("MARKER", BOOT_TIMEOUT).0);
    drop(screen.command("app-1 >", &format!("write-marker {}", markers.guest)));
    console.write_marker(&markers.guest);
    show_markers(screen, &mut console, markers);
    shut_down(screen, one);
}

/// Starts the guest and waits for its lease.
pub(crate) fn boot(screen: &mut Screen, shell: Shell<'_>) {
    let started = shell.run(screen, "miniascape guest start app-1 --wait lease", Show::All);
    screen.check(
        &format!("it has the address that net-1 reserves for {MAC}"),
        started
            .stdout
            .contains(&format!("{GUEST} has {ADDRESS} in net-1")),
        &started,
    );
}

/// Asks the running guest what is on its disk.
pub(crate) fn show_markers(screen: &mut Screen, console: &mut Console, markers: &Markers) {
    drop(screen.command("app-1 >", "markers"));
    let answer = console.ask("markers", "MARKER");
    screen.say(&answer.0);
    screen.check(
        "on its disk: the marker it was made with, and the one it wrote while running",
        (answer.value("base"), answer.value("guest")) == (&markers.base, &markers.guest),
        console.transcript(),
    );
}

/// Shuts the guest down as its power button would.
pub(crate) fn shut_down(screen: &Screen, shell: Shell<'_>) {
    shell.run(screen, "miniascape guest shutdown app-1", Show::All);
}

fn pack(screen: &mut Screen, one: Shell<'_>, options: &Options) {
    screen.step("Host one: the guest as packages");
    let kinds = if options.short { "deb" } else { "deb,rpm" };
    one.run(
        screen,
        &format!("miniascape repack app-1 --to {kinds} --output packages"),
        Show::Only(&["not packed", "write the", "KIND", ".rpm", ".deb"]),
    );
    let files = one.site().list_dir(PACKAGES);
    let count = |end: &str| files.iter().filter(|name| name.ends_with(end)).count();
    let expected = (3, if options.short { 0 } else { 3 });
    screen.say(
        "The base is what the guest was made from, and can be shared; the delta is what it has become since.",
    );
    screen.check(
        "a base, a delta and the guest, each a package",
        (count(".deb"), count(".rpm")) == expected,
        files.join("\n"),
    );
}

fn unregister(screen: &mut Screen, shells: &[Shell<'_>]) {
    screen.step("Both hosts: everything unregistered");
    for shell in shells {
        if shell.site().domains().contains(&GUEST.to_owned()) {
            shell.run(screen, "virsh undefine app-1", Show::All);
        }
        shell.run(screen, "miniascape net unregister net-1", Show::All);
        let left = shell.site().run(["pgrep", "-a", "dnsmasq"]);
        let gone = shell.site().networks().is_empty()
            && !left.ok()
            && !shell.site().exists("/sys/class/net/virbr151");
        screen.check("no network, no bridge, no dnsmasq is left", gone, &left);
    }
}
