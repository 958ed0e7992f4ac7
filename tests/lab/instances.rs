//! Instances of one package side by side: what each transaction of the package manager makes of them, and what their
//! users have changed.
//!
//! A story is a list of steps on one host. Each step leaves the host so that the next can begin; whoever adds one adds
//! a line to the list.

use crate::support::guest::Console;
use crate::support::{Host, Output, note};
use crate::travel::{Kind, all_are_linked, below, packages, target};
use serde_json::Value;
use std::time::Duration;

const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const PENDING: &str = "/var/lib/miniascape/pending";

const BY_CONTENT: &str = "compared by content, not by what was written to";

/// What a step works with.
pub(crate) struct Lab<'a> {
    pub(crate) host: &'a Host,
    pub(crate) kind: Kind,
}

/// A step with its name, which is told when it fails.
pub(crate) type Step = (&'static str, fn(&Lab<'_>));

impl Lab<'_> {
    pub(crate) fn run(&self, steps: &[Step]) {
        for (name, step) in steps {
            note(format_args!("step: {name}"));
            step(self);
            self.nothing_is_lost(name);
        }
    }

    /// What holds after every step: no pending work, no half-made file, packaged files as the package manager knows them.
    fn nothing_is_lost(&self, step: &str) {
        let hidden = self
            .host
            .run(["find", GUESTS, "/var/lib/miniascape", "-name", ".*"]);
        assert_eq!(
            (hidden.text(), self.host.list_dir(PENDING)),
            ("", vec![]),
            "after: {step}"
        );
    }

    pub(crate) fn tool<const N: usize>(&self, words: [&str; N]) -> Output {
        self.host.miniascape_check(words)
    }

    /// The definition that the next start uses.
    fn xml(&self, guest: &str) -> String {
        self.host
            .check(["virsh", "dumpxml", "--inactive", "--security-info", guest])
            .stdout
    }

    /// Changes a definition as `virsh edit` does.
    fn edit(&self, guest: &str, from: &str, to: &str) {
        let xml = self.xml(guest);
        assert!(xml.contains(from), "{xml}");
        self.host
            .write_file("/root/edited.xml", xml.replacen(from, to, 1));
        self.host.check(["virsh", "define", "/root/edited.xml"]);
    }

    pub(crate) fn sh(&self, script: &str) -> Output {
        self.host.check(["sh", "-e", "-c", script])
    }

    fn start(&self, guest: &str) {
        self.tool(["guest", "start", guest, "--wait", "lease"]);
    }

    /// What the running guest's disk says that it wrote.
    fn reads(&self, guest: &str) -> String {
        let markers = Console::attach(self.host, guest).ask("markers", "MARKER");
        assert_eq!(markers.value("base"), packages().base);
        markers.value("guest").to_owned()
    }

    fn writes(&self, guest: &str, text: &str) {
        Console::attach(self.host, guest).write_marker(text);
    }

    fn stop(&self, guests: &[&str]) {
        for guest in guests {
            self.tool(["guest", "shutdown", guest]);
        }
    }

    fn inode(&self, guest: &str) -> String {
        let disk = format!("{GUESTS}/{guest}/vda.qcow2");
        self.host.check(["stat", "-c", "%i", &disk]).text().to_owned()
    }

    /// The hardware address and, if it is known, the address of a guest.
    fn addresses(&self, guest: &str) -> (String, Option<String>) {
        let list = self
            .host
            .miniascape_check(["guest", "list", "--format", "json"])
            .json();
        let all = list.as_array().expect("a list");
        let found = all
            .iter()
            .find(|entry| entry["name"] == guest)
            .expect("the guest");
        let address = found["addresses"][0]["ip"].as_str().map(str::to_owned);
        let xml = self.xml(guest);
        let mac = xml
            .split("<mac address='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        (mac.expect("an interface").to_owned(), address)
    }
}

fn a_second_one_is_made_beside_the_first(lab: &Lab<'_>) {
    let made = lab.tool(["guest", "register", "vm-web", "--as", "web-b", "--format", "json"]);
    assert_eq!(
        (&made.json()["guest"], &made.json()["changed"]),
        (&Value::from("web-b"), &Value::from(true))
    );
    let again = lab.tool(["guest", "register", "vm-web", "--as", "web-b", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    for guest in ["web", "web-b"] {
        lab.start(guest);
    }
    assert_eq!(
        (lab.reads("web"), lab.reads("web-b")),
        (packages().delta.clone(), packages().delta.clone())
    );
    lab.writes("web", "first");
    lab.writes("web-b", "second");
    let (first, second) = (lab.addresses("web"), lab.addresses("web-b"));
    assert!(
        first.0 != second.0 && first.1 != second.1 && second.1.is_some(),
        "{first:?}, {second:?}"
    );
    // A name that somebody has is refused, and nothing waits for it.
    let taken = lab
        .host
        .miniascape(["guest", "register", "vm-web2", "--as", "web-b"]);
    taken.expect_code(3);
    assert!(
        taken
            .stderr
            .contains("hint: miniascape guest register vm-web2 --as web-b-2"),
        "{taken}"
    );
}

fn an_upgrade_under_running_guests_keeps_disks_and_edits(lab: &Lab<'_>) {
    lab.edit(
        "web-b",
        "<memory unit='KiB'>262144<",
        "<memory unit='KiB'>294912<",
    );
    lab.edit(
        "web-b",
        "</devices>",
        "<input type='tablet' bus='usb'/></devices>",
    );
    let before = [lab.inode("web"), lab.inode("web-b")];
    let images = below(lab.host, "web-b");
    lab.kind.carry(lab.host, &packages().next, "/root/next");
    let upgraded = lab.kind.install(lab.host, "/root/next/*");
    assert!(
        upgraded
            .stderr
            .contains("web-b: kept as it was changed here: memory (changed)"),
        "{upgraded}"
    );
    assert!(
        upgraded
            .stderr
            .contains("web-b is running: the new definition takes effect"),
        "{upgraded}"
    );
    assert_eq!(
        (lab.reads("web"), lab.reads("web-b")),
        ("first".into(), "second".into())
    );
    lab.stop(&["web", "web-b"]);
    for guest in ["web", "web-b"] {
        lab.start(guest);
    }
    assert_eq!(
        (lab.reads("web"), lab.reads("web-b")),
        ("first".into(), "second".into())
    );
    assert_eq!([lab.inode("web"), lab.inode("web-b")], before);
    assert_eq!(below(lab.host, "web-b"), images);
    let xml = lab.xml("web-b");
    assert!(
        xml.contains(">294912</memory>") && xml.contains("type='tablet'"),
        "{xml}"
    );
    assert!(
        xml.contains("package-version='0.2'") || xml.contains("package-version=\"0.2\""),
        "{xml}"
    );
    assert!(lab.xml("web").contains(">262144</memory>"));
    lab.kind.assert_clean(lab.host);
}

fn a_downgrade_and_a_reinstallation_change_no_disk(lab: &Lab<'_>) {
    lab.stop(&["web", "web-b"]);
    let before = [lab.inode("web"), lab.inode("web-b")];
    for packages in [
        "/root/packages/vm-web_* /root/packages/miniascape-image-*",
        "/root/packages/vm-web_*",
    ] {
        let packages = match lab.kind {
            Kind::Deb => packages.to_owned(),
            Kind::Rpm => packages.replace("vm-web_*", "vm-web-0*"),
        };
        downgrade(lab, &packages);
        assert_eq!([lab.inode("web"), lab.inode("web-b")], before);
        let xml = lab.xml("web-b");
        assert!(
            xml.contains("0.1") && xml.contains(">294912</memory>") && xml.contains("tablet"),
            "{xml}"
        );
    }
}

fn downgrade(lab: &Lab<'_>, packages: &str) {
    match lab.kind {
        Kind::Deb => lab.sh(&format!("dpkg -i --force-downgrade {packages}")),
        Kind::Rpm => lab.sh(&format!("rpm -U --oldpackage --replacepkgs {packages}")),
    };
}

fn a_lost_record_is_made_anew_from_the_domain(lab: &Lab<'_>) {
    let uuid = lab.sh("virsh domuuid web-b").stdout;
    lab.sh("virsh domrename web-b web-renamed; rm /var/lib/miniascape/guests/*/instance.json");
    lab.tool(["guest", "register", "vm-web"]);
    assert_eq!(lab.sh("virsh domuuid web-renamed").stdout, uuid);
    lab.start("web-renamed");
    assert_eq!(lab.reads("web-renamed"), "second");
    lab.stop(&["web-renamed"]);
    lab.sh("virsh domrename web-renamed web-b");
}

/// Packs web-b, which runs, by what it wrote since it was packed last, if it was; leaves a checkpoint. What is told.
fn packed_with_a_checkpoint(lab: &Lab<'_>) -> String {
    let earlier = "ls -d /root/earlier/vm-*.deb 2>/dev/null | sed 's/^/--since /'";
    let packed = lab.sh(&format!(
        "rm -rf /root/now; miniascape repack web-b --live --checkpoint --to deb --output /root/now \
         --package-version 9.$(date +%s) --progress json $({earlier}); rm -rf /root/earlier; mv /root/now /root/earlier"
    ));
    let ours = lab.sh("virsh checkpoint-list web-b --name | grep -c miniascape- || :");
    assert_eq!(ours.text(), "1", "{packed}");
    packed.stderr
}

fn removed_and_back_they_are_what_they_were(lab: &Lab<'_>) {
    let before = [lab.inode("web"), lab.inode("web-b")];
    lab.start("web-b");
    packed_with_a_checkpoint(lab);
    lab.kind.remove(lab.host, "vm-web");
    assert_eq!(lab.host.domains(), ["web-b", "web2"]);
    // The one that runs goes when it is off and somebody looks.
    lab.stop(&["web-b"]);
    crate::support::wait_until("the end of the guest that ran", Duration::from_secs(60), || {
        lab.tool(["net", "register", "net-1"]);
        lab.host.domains() == ["web2"] && lab.host.list_dir(PENDING).is_empty()
    });
    lab.kind
        .install(lab.host, "/root/next/vm-web* /root/next/miniascape-image-*");
    assert_eq!([lab.inode("web"), lab.inode("web-b")], before);
    let xml = lab.xml("web-b");
    assert!(
        xml.contains(">294912</memory>") && xml.contains("tablet"),
        "{xml}"
    );
    lab.start("web-b");
    assert_eq!(lab.reads("web-b"), "second");
    let packed = packed_with_a_checkpoint(lab);
    assert!(packed.contains(BY_CONTENT), "{packed}");
    // QEMU applies no snapshot to an image with bitmaps.
    lab.sh("virsh checkpoint-delete web-b $(virsh checkpoint-list web-b --name)");
    lab.stop(&["web-b"]);
}

fn sleeping_and_with_a_snapshot_it_goes_and_comes_back(lab: &Lab<'_>) {
    lab.start("web-b");
    lab.sh("virsh snapshot-create-as web-b before");
    lab.writes("web-b", "after-the-snapshot");
    lab.sh("virsh managedsave web-b");
    let inode = lab.inode("web-b");
    lab.kind.remove(lab.host, "vm-web");
    assert_eq!(lab.host.domains(), ["web2"]);
    let away = lab.tool(["guest", "status", "web-b"]);
    assert!(away.stdout.contains("which is not installed"), "{away}");
    lab.kind.install(lab.host, "/root/next/vm-web*");
    assert_eq!(lab.inode("web-b"), inode);
    let snapshots = lab.sh("virsh snapshot-list web-b --name; virsh snapshot-current web-b --name");
    assert_eq!(
        snapshots.stdout.split_whitespace().collect::<Vec<_>>(),
        ["before", "before"]
    );
    // It wakes up where it fell asleep: nothing boots.
    let boot = "run cat /proc/sys/kernel/random/boot_id";
    lab.tool(["guest", "start", "web-b", "--wait", "running"]);
    let mut console = Console::attach(lab.host, "web-b");
    console.send(boot);
    console.wait("DONE", Duration::from_secs(60));
    assert!(
        !console.transcript().contains("READY"),
        "{}",
        console.transcript()
    );
    let markers = console.ask("markers", "MARKER");
    assert_eq!(markers.value("guest"), "after-the-snapshot");
    drop(console);
    lab.sh("virsh destroy web-b; virsh snapshot-revert web-b before");
    assert_eq!(lab.reads("web-b"), "second");
    lab.sh("virsh destroy web-b; virsh snapshot-delete web-b before");
}

fn reset_it_begins_anew_and_the_old_disk_is_kept(lab: &Lab<'_>) {
    let status = || lab.tool(["guest", "status", "web-b", "--format", "json"]).json()["instance"].clone();
    let before = status();
    assert_eq!(before["disks"][0]["current"], false, "{before}");
    assert_eq!(before["disks"][0]["version"], "0.1", "{before}");
    let edits: Vec<&str> = before["edits"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["place"].as_str())
        .collect();
    assert!(edits.contains(&"memory"), "{before}");
    let (inode, mac) = (lab.inode("web-b"), lab.addresses("web-b").0);
    let unsure = lab.host.miniascape(["guest", "reset", "web-b"]);
    unsure.expect_code(3);
    assert!(unsure.stderr.contains("hint: say so: --yes"), "{unsure}");
    lab.start("web-b");
    packed_with_a_checkpoint(lab);
    lab.stop(&["web-b"]);
    let done = lab.tool([
        "guest",
        "reset",
        "web-b",
        "--yes",
        "--keep-overlay",
        "--format",
        "json",
    ]);
    let aside = done.json()["aside"][0].as_str().expect("a path").to_owned();
    assert_eq!(lab.host.check(["stat", "-c", "%i", &aside]).text(), inode);
    let after = status();
    assert!(
        after["disks"][0]["current"] == true && after["edits"].as_array().is_some_and(Vec::is_empty),
        "{after}"
    );
    assert!(lab.xml("web-b").contains(">262144</memory>"));
    assert_eq!(lab.addresses("web-b").0, mac);
    lab.start("web-b");
    assert_eq!(lab.reads("web-b"), "second-version");
    let packed = packed_with_a_checkpoint(lab);
    assert!(packed.contains(BY_CONTENT), "{packed}");
    let running = lab.host.miniascape(["guest", "reset", "web-b", "--yes"]);
    running.expect_code(3);
    lab.stop(&["web-b"]);
    // The old disk still reads, in its place.
    let old = lab.sh(&format!(
        "qemu-img check -q {aside}; qemu-img info --backing-chain {aside}"
    ));
    assert!(old.stdout.matches("sha256-").count() >= 2, "{old}");
}

/// What a disk that was put aside stands on, and what a guest beside it has, comes back as much as what is in use.
fn images_of_disks_put_aside_are_linked_again(lab: &Lab<'_>) {
    let chain = lab.host.list_dir(format!("{GUESTS}/web-b/chain"));
    assert_eq!(chain.len(), 3, "base, and the delta of each version: {chain:?}");
    lab.sh("dpkg -i /root/packages/miniascape-image-* /root/next/miniascape-image-*");
    all_are_linked(lab.host);
    lab.start("web-b");
    assert_eq!(lab.reads("web-b"), "second-version");
    lab.stop(&["web-b"]);
}

fn one_of_several_is_deleted_and_stays_away(lab: &Lab<'_>) {
    lab.tool(["guest", "delete", "web-b", "--yes"]);
    lab.tool(["guest", "register", "vm-web"]);
    assert_eq!(lab.host.domains(), ["web", "web2"]);
    // Made again it finds its disk.
    let before = lab.inode("web-b");
    lab.tool(["guest", "register", "vm-web", "--as", "web-b"]);
    assert_eq!(lab.inode("web-b"), before);
    lab.start("web-b");
    assert_eq!(lab.reads("web-b"), "second-version");
    let packed = packed_with_a_checkpoint(lab);
    assert!(!packed.contains("read what was written to"), "{packed}");
    lab.stop(&["web-b"]);
    lab.tool(["guest", "delete", "web-b", "--yes", "--disks"]);
    assert!(!lab.host.exists(format!("{GUESTS}/web-b")));
    let last = lab.host.miniascape(["guest", "delete", "web", "--yes"]);
    last.expect_code(3);
    assert!(
        last.stderr.contains("the only one of the package vm-web"),
        "{last}"
    );
}

pub(crate) fn instances_live_side_by_side_through_everything() {
    let kind = Kind::Deb;
    let (host, _daemon) = target(kind);
    kind.install(&host, "/root/packages/*");
    Lab { host: &host, kind }.run(&[
        (
            "a second one beside the first",
            a_second_one_is_made_beside_the_first,
        ),
        (
            "upgrade under running guests",
            an_upgrade_under_running_guests_keeps_disks_and_edits,
        ),
        (
            "downgrade, reinstallation",
            a_downgrade_and_a_reinstallation_change_no_disk,
        ),
        ("lost records", a_lost_record_is_made_anew_from_the_domain),
        ("removal and return", removed_and_back_they_are_what_they_were),
        (
            "sleep and a snapshot",
            sleeping_and_with_a_snapshot_it_goes_and_comes_back,
        ),
        ("reset", reset_it_begins_anew_and_the_old_disk_is_kept),
        (
            "images of disks put aside",
            images_of_disks_put_aside_are_linked_again,
        ),
        ("deletion of one", one_of_several_is_deleted_and_stays_away),
    ]);
}
