//! What is told where private hosts are refused, as in an ordinary container: the same story as far as it goes
//! without them, and what is missing.

use super::Options;
use super::cell::Cell;
use super::screen::{Screen, Show};
use super::shell::Shell;
use super::story::{GUEST, MAC, Markers, show_markers};
use crate::support::guest::{BOOT_TIMEOUT, Console, DiskSpec, DomainSpec, boot_image};
use crate::support::{LabError, Output};

/// QEMU's user-mode network gives every guest this address.
const ADDRESS: &str = "10.0.2.15";
/// Where images lie below the root of a system.
const PACKAGED: &str = "var/lib/libvirt/images/miniascape/packaged";

/// What cannot be shown, and what would allow it.
#[derive(Debug)]
struct Missing {
    what: String,
    remedy: String,
}

/// Shows what works, lists what is missing with the commands that would allow it.
pub(crate) fn tell(screen: &mut Screen, options: &Options, obstacles: &[LabError]) {
    let remedy = remedy(obstacles);
    let missing = |what: &str, remedy: &str| Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    let mut left_out = vec![
        missing(
            "net-1 made real: a libvirt network, its dnsmasq, leases followed by D-Bus signals",
            &remedy,
        ),
        missing("a guest with the address that net-1 reserves", &remedy),
        missing("a second host, whose dpkg and rpm install the packages", &remedy),
    ];
    screen.say("Here is what works without them. What is missing is listed at the end.");
    let image = boot_image();
    screen.begin(
        "miniascape: a network from a file, a guest as packages",
        if image.is_ok() { 5 } else { 1 },
    );
    {
        let cell = Cell::make().unwrap_or_else(|error| panic!("{error}"));
        let shell = Shell::new(&cell, "$");
        network(screen, shell);
        match image {
            Ok(_) => left_out.extend(with_guest(screen, shell, options)),
            Err(error) => {
                let remedy = error.remedy_text().unwrap_or("no command is known").to_owned();
                left_out.push(Missing {
                    what: format!("a guest: {}", error.what()),
                    remedy,
                });
            }
        }
    }
    screen.summary();
    screen.head("");
    screen.head("Not shown, because this machine does not allow it:");
    for (index, part) in left_out.iter().enumerate() {
        screen.say(&format!("- {}", part.what));
        if left_out
            .get(index + 1)
            .is_none_or(|next| next.remedy != part.remedy)
        {
            screen.say("  to make it possible:");
            screen.verbatim(&format!("    {}", part.remedy.replace('\n', "\n    ")));
        }
    }
    screen.ended(&format!(
        "This was not the whole demo: {} parts could not be shown on this machine (exit status 4).",
        left_out.len()
    ));
}

/// The command that would allow private hosts.
fn remedy(obstacles: &[LabError]) -> String {
    let remedies: Vec<&str> = obstacles.iter().filter_map(LabError::remedy_text).collect();
    let mut text = remedies.join("; and ");
    if text.is_empty() {
        text = obstacles
            .iter()
            .map(LabError::what)
            .collect::<Vec<_>>()
            .join("; ");
    }
    if text.contains("--privileged") {
        text.push_str(
            ", as in:\ndocker run --rm -it --privileged -v \"$PWD:/src\" -w /src debian:12 \\\n    \
             sh -c 'apt-get update && apt-get install -y git make && make demo'",
        );
    }
    text
}

fn network(screen: &mut Screen, shell: Shell<'_, Cell>) {
    screen.step("A network from a file, compiled and checked");
    shell.run(screen, "miniascape net validate ./net-1.yaml", Show::All);
    shell.run(
        screen,
        "miniascape net compile ./net-1.yaml --output net-1",
        Show::All,
    );
    shell.run(screen, "cat net-1/libvirt.xml", Show::All);
    let tested = shell.try_run(screen, "dnsmasq --test --conf-file=net-1/dnsmasq.conf", Show::All);
    screen.check("dnsmasq accepts its configuration", tested.ok(), &tested);
}

/// Everything that needs a guest's disk. What could not be shown is returned.
fn with_guest(screen: &mut Screen, shell: Shell<'_, Cell>, options: &Options) -> Option<Missing> {
    let cell = shell.site();
    let markers = Markers::random();
    DiskSpec::new(&markers.base)
        .hostname(GUEST)
        .make(cell, &cell.path("app-1.qcow2"));
    screen.step("A guest under an ordinary user's own libvirt");
    let (_libvirtd, missing) = match cell.libvirt() {
        Ok(libvirtd) => {
            shell.told(screen, "export LIBVIRT_DEFAULT_URI=qemu:///session");
            shell.told(screen, "libvirtd &");
            (Some(libvirtd), None)
        }
        Err(error) => {
            screen.say("No such libvirt can run here, so the guest is packed without having run.");
            let what = error.what().to_owned();
            let remedy = error.remedy_text().unwrap_or("no command is known").to_owned();
            (None, Some(Missing { what, remedy }))
        }
    };
    let runs = missing.is_none();
    if runs {
        guest(screen, shell, &markers);
    } else {
        cell.write(
            "app-1.xml",
            &DomainSpec::new(GUEST, &cell.path("app-1.qcow2")).xml(),
        );
    }

    screen.step("The guest as packages");
    let (kinds, name) = (
        if options.short { "deb" } else { "deb,rpm" },
        if runs { GUEST } else { "./app-1.xml" },
    );
    let line = format!("miniascape --state-dir one repack {name} --to {kinds} --output packages");
    let shown = Show::Only(&["not packed", "write the", "KIND", ".rpm", ".deb"]);
    let packed = shell.run(screen, &line, shown);
    let count = |kind: &str| packed.stdout.lines().filter(|line| line.ends_with(kind)).count();
    let alike = count(".deb") == 3 && (options.short || count(".rpm") == 3);
    screen.check("a base, a delta and the guest, each a package", alike, &packed);
    if runs {
        shell.run(screen, "virsh undefine app-1", Show::All);
    }

    screen.step("The guest from DEBs, unpacked in a directory");
    shell.run(
        screen,
        "mkdir -p two/var/lib/dpkg/info two/var/lib/dpkg/updates && touch two/var/lib/dpkg/status",
        Show::All,
    );
    shell.run(
        screen,
        "dpkg --root=two --force-not-root --log=two/dpkg.log --unpack packages/*.deb",
        Show::Only(&["Unpacking"]),
    );
    installed(screen, shell, "two", &markers, runs);
    if let (Some(rpm), false) = (&options.rpm, options.short) {
        screen.step("The guest from RPMs, unpacked in a directory");
        let package = cell.bring(rpm);
        shell.run(
            screen,
            &format!("sh build-rpm-stub stub.rpm {package} packages/*.rpm"),
            Show::All,
        );
        shell.run(
            screen,
            &format!(
                "rpm --root $PWD/three --dbpath /var/lib/rpm -i --noscripts \\\n    stub.rpm {package} packages/*.rpm"
            ),
            Show::Only(&["error"]),
        );
        installed(screen, shell, "three", &markers, runs);
    }
    missing
}

/// The guest is made, boots, and writes to its disk.
fn guest(screen: &mut Screen, shell: Shell<'_, Cell>, markers: &Markers) {
    shell.run(
        screen,
        "miniascape --state-dir one guest create app-1 --memory 256MiB --disk app-1.qcow2 \\\n    \
         --serial-log app-1.log",
        Show::All,
    );
    let nic = format!("<interface type='user'><mac address='{MAC}'/><model type='virtio'/></interface>\n");
    shell.site().write("user-mode.xml", &nic);
    screen.say("Its network is QEMU's own user-mode one, which needs no rights:");
    shell.run(
        screen,
        "virsh attach-device app-1 user-mode.xml --config",
        Show::All,
    );
    shell.run(
        screen,
        "miniascape --state-dir one guest start app-1 --wait running",
        Show::All,
    );
    let mut console = Console::attach(shell.site(), GUEST);
    screen.say(&console.wait("MARKER", BOOT_TIMEOUT).0);
    let lease = console.wait("LEASE", BOOT_TIMEOUT);
    screen.say(&lease.0);
    screen.check(
        "it has the address that QEMU gives",
        lease.value("ip") == ADDRESS,
        &lease.0,
    );
    drop(screen.command("app-1 >", &format!("write-marker {}", markers.guest)));
    console.write_marker(&markers.guest);
    show_markers(screen, &mut console, markers);
    shell.run(
        screen,
        "miniascape --state-dir one guest shutdown app-1",
        Show::All,
    );
}

/// The package files lie below `root`: they are what they were, and the guest lives from them.
fn installed(screen: &mut Screen, shell: Shell<'_, Cell>, root: &str, markers: &Markers, runs: bool) {
    let sums = shell.run(screen, &format!("cd {root}/{PACKAGED} && sha256sum *"), Show::All);
    screen.check(
        "each image has the digest that is its name",
        digests_match(&sums),
        &sums,
    );
    if !runs {
        return;
    }
    shell.run(
        screen,
        &format!("miniascape --state-dir {root} guest register vm-app-1"),
        Show::All,
    );
    shell.run(
        screen,
        &format!("miniascape --state-dir {root} guest start app-1 --wait running"),
        Show::All,
    );
    let mut console = Console::attach(shell.site(), GUEST);
    console.wait_ready();
    show_markers(screen, &mut console, markers);
    let disks = shell.run(screen, "virsh domblklist app-1", Show::Only(&["vda"]));
    let overlay = shell.site().path(&format!(
        "{root}/var/lib/libvirt/images/miniascape/guests/app-1/vda.qcow2"
    ));
    screen.check(
        "it writes to an overlay of its own",
        disks.stdout.contains(&overlay),
        &disks,
    );
    shell.run(
        screen,
        &format!("miniascape --state-dir {root} guest shutdown app-1"),
        Show::All,
    );
    shell.run(screen, "virsh undefine app-1", Show::All);
}

/// Every line of sha256sum is `HEX  sha256-HEX.qcow2`, and there are a base and a delta.
fn digests_match(sums: &Output) -> bool {
    let lines: Vec<_> = sums.stdout.lines().map(|line| line.split_once("  ")).collect();
    let named =
        |line: &Option<(&str, &str)>| line.is_some_and(|(hex, name)| name == format!("sha256-{hex}.qcow2"));
    lines.len() == 2 && lines.iter().all(named)
}
