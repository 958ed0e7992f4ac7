//! The steps of a walk, in order. Each leaves the host so that the next can begin.

use super::tools::{Tool, Version, installed, sh, shell};
use super::{GUESTS, PATIENCE, Turn, Walk};
use crate::support::{Host, Output, Running, wait_for, wait_until};
use crate::travel::{self, Kind, packages};

const PACKAGED: &str = "/var/lib/libvirt/images/miniascape/packaged";
/// The file system of the images: a small one while a step wants that.
pub(super) const DISK: &str = "/var/lib/libvirt/images";

/// A step with its name, and whose turn it is.
pub(super) type Step = (&'static str, Turn, fn(&mut Walk));

pub(super) const STEPS: &[Step] = &[
    ("disk full", Turn::Files, disk_full),
    ("install", Turn::Names, install),
    ("libvirt down at install", Turn::Files, libvirt_down_at_install),
    ("run", Turn::Names, run),
    ("write", Turn::Names, write),
    ("upgrade while running", Turn::Names, upgrade_while_running),
    ("downgrade", Turn::Files, downgrade),
    ("scriptlet interrupted", Turn::Files, scriptlet_interrupted),
    ("package manager killed", Turn::Names, package_manager_killed),
    (
        "scriptlet killed before its first word",
        Turn::Names,
        killed_before_its_first_word,
    ),
    ("removal that fails", Turn::Files, removal_that_fails),
    ("reinstall", Turn::Names, reinstall),
    ("remove while running", Turn::Files, remove_while_running),
    ("purge", Turn::Names, purge),
    ("autoremove", Turn::Names, autoremove),
    (
        "guest and base in one transaction",
        Turn::Files,
        guest_and_base_in_one_transaction,
    ),
    ("images come back alone", Turn::Names, images_come_back_alone),
    ("install again", Turn::Files, install_again),
    ("package rename", Turn::Names, package_rename),
    (
        "purge after miniascape itself is gone",
        Turn::Files,
        purge_without_miniascape,
    ),
    ("everything again", Turn::Names, everything_again),
];

/// Leaves so many KiB on the file system of the images; `None` for plenty.
fn leave(host: &Host, kib: Option<u64>) {
    let used = host.check(["df", "--output=used", "-k", DISK]);
    let used: u64 = used
        .stdout
        .lines()
        .nth(1)
        .and_then(|line| line.trim().parse().ok())
        .expect("df");
    let size = kib.map_or("4g".to_owned(), |kib| format!("{}k", used + kib));
    host.check(["mount", "-o", &format!("remount,size={size}"), DISK]);
}

fn disk_full(walk: &mut Walk) {
    let install = walk.tool.installing(&["vm-web2"], Version::First);
    // No room for the base.
    leave(&walk.host, Some(1024));
    let failed = walk.try_sh(&install);
    assert!(!failed.ok(), "{failed}");
    assert_eq!(walk.host.domains(), [""; 0], "{failed}");
    let drafts = walk.try_sh(&format!("find {PACKAGED} -type f ! -name 'sha256-*.qcow2'"));
    assert_eq!(drafts.text(), "", "{failed}");
    // Room for the images, and none for what the guest would write to.
    leave(&walk.host, None);
    walk.sh(&walk.tool.installing_images(&walk.host, Version::First));
    if walk.host.domains() == ["web2"] {
        // apt-get finishes at once what it had begun.
        walk.sh(&walk.tool.removing("vm-web2"));
        walk.miniascape(["guest", "delete", "web2", "--disks", "--yes"]);
    }
    leave(&walk.host, Some(64));
    let installed = walk.sh(&walk.tool.installing_guest("vm-web2", Version::First));
    assert_eq!(walk.host.domains(), [""; 0], "{installed}");
    assert_eq!(walk.pending(), ["guest-vm-web2.json"], "{installed}");
    let reason = walk
        .host
        .read_file("/var/lib/miniascape/pending/guest-vm-web2.json");
    assert!(reason.contains("No space left"), "{reason}");
    leave(&walk.host, None);
    walk.settle("the guest for which there was no room");
    assert_eq!(walk.host.domains(), ["web2"]);
}

fn install(walk: &mut Walk) {
    // The last one that goes takes its disks along if it is told to.
    walk.sh(&walk.tool.removing("vm-web2"));
    walk.miniascape(["guest", "delete", "web2", "--disks", "--yes"]);
    assert!(!walk.host.exists(format!("{GUESTS}/web2")));
    let installed = walk.sh(&walk.tool.installing(&["vm-web2"], Version::First));
    assert!(installed.stdout.contains("web2 registered"), "{installed}");
    assert_eq!(walk.host.domains(), ["web2"]);
}

fn libvirt_down_at_install(walk: &mut Walk) {
    walk.host.stop_libvirtd();
    let installed = walk.sh(&walk.tool.installing(&["vm-web"], Version::First));
    assert!(
        format!("{}{}", installed.stdout, installed.stderr).contains("recorded as pending"),
        "{installed}"
    );
    assert_eq!(walk.pending(), ["guest-vm-web.json"]);
    walk.host.start_libvirtd();
    wait_until("the daemon to finish what was pending", PATIENCE, || {
        walk.pending().is_empty()
    });
    assert_eq!(walk.host.domains(), ["web", "web2"]);
    travel::packages_hold_what_they_should(&walk.host);
    travel::instances_have_their_modes(&walk.host);
    travel::registering_again_is_a_no_op(&walk.host);
}

fn run(walk: &mut Walk) {
    walk.start(&[travel::WEB, travel::WEB2]);
    // The same bytes as on the host where it was packed.
    assert_eq!(walk.digests("web"), packages().hash);
    walk.expected.insert("web", packages().hash.all.clone());
    let other = walk.digests("web2");
    assert!(other.base == packages().hash.base && other.all != packages().hash.all);
    walk.expected.insert("web2", other.all);
    travel::their_network_stays(&walk.host);
}

fn write(walk: &mut Walk) {
    walk.write("web", "written-here");
    walk.write("web2", "written-too");
}

fn manifest_version(walk: &Walk) -> String {
    travel::manifest(&walk.host, "web")["package"]["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn upgrade_while_running(walk: &mut Walk) {
    let below = travel::below(&walk.host, "web");
    walk.tool
        .kind()
        .carry(&walk.host, &packages().next, Version::Next.dir());
    walk.tool.publish(&walk.host, Version::Next);
    let upgraded = walk.sh(&walk.tool.upgrading());
    let told = format!("{}{}", upgraded.stdout, upgraded.stderr);
    assert!(
        told.contains("stays on the images that it was made from")
            && told.contains("the new definition takes effect at its next start"),
        "{upgraded}"
    );
    assert_eq!(
        (manifest_version(walk), walk.version("web")),
        ("0.2".into(), "0.2".into())
    );
    assert_eq!(travel::below(&walk.host, "web"), below);
}

fn downgrade(walk: &mut Walk) {
    walk.sh(&walk.tool.downgrading());
    assert_eq!(
        (manifest_version(walk), walk.version("web")),
        ("0.1".into(), "0.1".into())
    );
}

/// A lock that keeps the scriptlet's miniascape where it is, as long as this lives.
fn hold(host: &Host, lock: &str) -> Running {
    let path = format!("/run/miniascape/{lock}.lock");
    let mut holder = host.spawn([
        "flock",
        "--no-fork",
        &path,
        "sh",
        "-c",
        "echo held; exec sleep 600",
    ]);
    holder.wait_line(PATIENCE, |line| line == "held");
    holder
}

/// The miniascape that a scriptlet runs for the package.
fn scriptlets_miniascape(host: &Host, verb: &str, package: &str) -> String {
    let command = format!("^/usr/bin/miniascape guest {verb} {package}");
    wait_for("the scriptlet", PATIENCE, || {
        let found = host.run(["pgrep", "-f", &command]);
        found.ok().then(|| found.text().to_owned())
    })
}

/// Runs `script`, and kills the miniascape of its scriptlet while that waits for `lock`.
fn kill_scriptlet(walk: &Walk, script: &str, lock: &str) -> Output {
    let _holder = hold(&walk.host, lock);
    let manager = shell(&walk.host, script).spawn();
    let miniascape = scriptlets_miniascape(&walk.host, "register", "vm-web");
    // It has said on record what it is at before it waits for the guest.
    if lock.starts_with("guest-") {
        wait_until("what it is at to be on record", PATIENCE, || {
            !walk.pending().is_empty()
        });
    }
    walk.host.check(["kill", "-9", &miniascape]);
    let ended = manager.wait(PATIENCE);
    assert!(ended.ok(), "no scriptlet fails its package manager: {ended}");
    ended
}

fn scriptlet_interrupted(walk: &mut Walk) {
    kill_scriptlet(
        walk,
        &walk.tool.installing(&["vm-web"], Version::Next),
        "guest-web",
    );
    walk.settle("what the killed scriptlet had begun");
    assert_eq!(
        (manifest_version(walk), walk.version("web")),
        ("0.2".into(), "0.2".into())
    );
}

/// The package manager dies, with all that it has started, from the top down.
const KILL_ALL: &str =
    "tree() { echo $1; for child in $(pgrep -P $1); do tree $child; done; }; kill -9 $(tree $0)";

fn package_manager_killed(walk: &mut Walk) {
    let holder = hold(&walk.host, "guest-web");
    let script = walk.tool.reinstalling(&walk.host, "vm-web", Version::Next);
    let manager = shell(&walk.host, &script).spawn();
    scriptlets_miniascape(&walk.host, "register", "vm-web");
    let pid = manager.pid_inside().expect("it runs").to_string();
    walk.host.check(["sh", "-c", KILL_ALL, &pid]);
    manager.wait(PATIENCE);
    drop(holder);
    walk.sh(&walk.tool.repairing("vm-web", Version::Next));
    walk.settle("what the killed package manager had begun");
    assert_eq!(
        (manifest_version(walk), walk.version("web")),
        ("0.2".into(), "0.2".into())
    );
    assert_eq!(walk.host.domains(), ["web", "web2"]);
}

fn killed_before_its_first_word(walk: &mut Walk) {
    kill_scriptlet(walk, &walk.tool.downgrading(), "package-web");
    assert_eq!(walk.pending(), [""; 0]);
    assert_eq!(
        (manifest_version(walk), walk.version("web")),
        ("0.1".into(), "0.2".into())
    );
    // Nobody has said that there is something to do; the next run that changes anything sees it.
    walk.settle("what nobody had put on record");
    assert_eq!(walk.version("web"), "0.1");
}

/// A package that depends on the guest, and cannot be removed.
fn keeper(walk: &Walk) {
    match walk.kind() {
        Kind::Deb => {
            let control = "Package: keeper\nVersion: 1\nArchitecture: all\nMaintainer: Lab <lab@localhost>\n\
                Depends: vm-web\nDescription: cannot be removed\n";
            walk.host.write_file("/root/keeper/DEBIAN/control", control);
            walk.host
                .write_file("/root/keeper/DEBIAN/prerm", "#!/bin/sh\nexit 1\n");
            walk.sh(
                "chmod 755 /root/keeper/DEBIAN/prerm; dpkg-deb --root-owner-group --build /root/keeper /root/keeper.deb; \
                 dpkg -i /root/keeper.deb",
            );
        }
        Kind::Rpm => {
            let spec = "Name: keeper\nVersion: 1\nRelease: 1\nSummary: cannot be removed\nLicense: MIT\n\
                BuildArch: noarch\nAutoReqProv: no\nRequires: vm-web\n%description\nx\n%preun\nexit 1\n%files\n";
            walk.host.write_file("/root/keeper.spec", spec);
            walk.sh(
                "rpmbuild -bb --quiet --define '_topdir /root/rpm' /root/keeper.spec; \
                 rpm -i /root/rpm/RPMS/noarch/keeper-1-1.noarch.rpm",
            );
        }
    }
}

fn removal_that_fails(walk: &mut Walk) {
    walk.tool
        .kind()
        .carry(&walk.host, &packages().renamed, Version::Renamed.dir());
    let before = walk.sh("virsh dumpxml --inactive web").stdout;
    // In favour of a package that turns out to be broken.
    walk.sh(&format!(
        "mkdir -p /root/broken; for file in {}/vm-site*; do head -c -900 $file >/root/broken/${{file##*/}}; done",
        Version::Renamed.dir()
    ));
    let file = walk.sh("echo /root/broken/*").text().to_owned();
    let failed = walk.try_sh(&walk.tool.installing_file(&file));
    assert!(!failed.ok(), "{failed}");
    if walk.tool == Tool::Dpkg {
        let log = walk.try_sh(&format!("dpkg -D2 -i {file}"));
        assert!(
            format!("{}{}", log.stdout, log.stderr).contains("abort-remove"),
            "{log}"
        );
    }
    // Because another package does not let itself be removed.
    keeper(walk);
    let failed = walk.try_sh(&walk.tool.removing("keeper vm-web"));
    assert!(!failed.ok(), "{failed}");
    match walk.kind() {
        Kind::Deb => walk.sh("printf '#!/bin/sh\\n' >/var/lib/dpkg/info/keeper.prerm; dpkg -r keeper"),
        // rpm erases what it can, also after a scriptlet of another package has failed.
        Kind::Rpm => {
            assert_eq!(walk.pending(), ["guest-vm-web.json"], "{failed}");
            walk.sh("rpm -e --noscripts keeper");
            walk.sh(&walk.tool.installing(&["vm-web"], Version::First))
        }
    };
    assert_eq!(walk.sh("virsh dumpxml --inactive web").stdout, before, "{failed}");
    assert_eq!(manifest_version(walk), "0.1");
}

fn reinstall(walk: &mut Walk) {
    let inodes = |walk: &Walk| {
        let script =
            format!("for link in {GUESTS}/web/chain/*; do stat -c '%i %n' {PACKAGED}/${{link##*/}}; done");
        let list = walk.sh(&script).stdout;
        list.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = inodes(walk);
    walk.sh(&walk.tool.reinstalling(&walk.host, "vm-web", Version::First));
    let after = inodes(walk);
    assert!(
        before.len() == after.len() && before.iter().all(|image| !after.contains(image)),
        "{before:?}, {after:?}"
    );
    all_are_linked(walk);
}

fn all_are_linked(walk: &Walk) {
    travel::all_are_linked(&walk.host);
}

fn remove_while_running(walk: &mut Walk) {
    let removed = walk.sh(&walk.tool.removing("vm-web"));
    assert!(
        removed
            .stdout
            .contains("web is running and stays until it is off"),
        "{removed}"
    );
    assert_eq!(walk.pending(), ["guest-vm-web.json"]);
    assert_eq!(walk.digests("web").all, walk.expected["web"]);
    walk.stop("web");
    walk.settle("the end of the guest that ran");
    assert_eq!(walk.host.domains(), ["web2"]);
}

fn purge(walk: &mut Walk) {
    let purged = walk.try_sh(&walk.tool.purging("vm-web"));
    match walk.kind() {
        Kind::Deb => assert!(
            purged.stdout.contains(&format!(
                "vm-web: the disks of the guest web are kept in {GUESTS}/web"
            )),
            "{purged}"
        ),
        Kind::Rpm => assert!(!walk.host.exists("/usr/share/miniascape/guests/web")),
    }
    assert!(walk.host.exists(format!("{GUESTS}/web/vda.qcow2")));
}

fn autoremove(walk: &mut Walk) {
    let removed = walk.sh(&walk.tool.removing_unneeded(&walk.host));
    // Base and delta of the one that is still there.
    let left = installed(walk.kind(), &walk.host);
    assert_eq!(left.split_whitespace().count(), 2, "{left}: {removed}");
    assert_eq!(walk.host.domains(), ["web2"]);
}

fn guest_and_base_in_one_transaction(walk: &mut Walk) {
    let images = installed(walk.kind(), &walk.host);
    let removed = walk.sh(&walk.tool.removing(&format!("vm-web2 {images}")));
    assert!(
        removed
            .stdout
            .contains("web2 is running and stays until it is off"),
        "{removed}"
    );
    assert_eq!(installed(walk.kind(), &walk.host), "");
    assert_eq!(walk.digests("web2").all, walk.expected["web2"]);
    // And both back in one.
    walk.sh(&walk.tool.installing(&["vm-web2"], Version::First));
    assert_eq!(walk.pending(), [""; 0]);
    all_are_linked(walk);
    // Away again, for the next step.
    walk.sh(&walk
        .tool
        .removing(&format!("vm-web2 {}", installed(walk.kind(), &walk.host))));
    walk.stop("web2");
    walk.settle("the end of the guest that ran");
    assert_eq!(walk.host.domains(), [""; 0]);
}

/// The chains hold the only copies, and nothing calls miniascape when image packages come.
fn images_come_back_alone(walk: &mut Walk) {
    let links = walk.sh(&format!("ls {GUESTS}/*/chain | grep -c sha256-"));
    assert_eq!(links.text(), "4");
    walk.sh(&walk.tool.installing_images(&walk.host, Version::First));
    all_are_linked(walk);
    // Without the daemon the next run does it.
    walk.daemon = None;
    walk.sh(&match walk.kind() {
        Kind::Deb => format!("dpkg -i {}/miniascape-image-*", Version::First.dir()),
        Kind::Rpm => format!("rpm -U --replacepkgs {}/miniascape-image-*", Version::First.dir()),
    });
    let apart = walk.sh(&format!(
        "for link in {GUESTS}/*/chain/*; do [ {PACKAGED}/${{link##*/}} -ef $link ] || echo $link; done"
    ));
    assert_eq!(apart.stdout.lines().count(), 4, "{apart}");
    walk.changing_run();
    all_are_linked(walk);
    walk.daemon = Some(crate::networks::daemon(&walk.host));
}

fn install_again(walk: &mut Walk) {
    let mut script = walk.tool.installing(&["vm-web"], Version::Next);
    script += "; ";
    script += &walk.tool.installing(&["vm-web2"], Version::First);
    walk.sh(&script);
    assert_eq!(walk.host.domains(), ["web", "web2"]);
    walk.start(&[travel::WEB, travel::WEB2]);
    let status = walk
        .miniascape(["guest", "status", "web", "--format", "json"])
        .json();
    assert_eq!(status["instance"]["disks"][0]["version"], "0.1", "{status}");
}

fn package_rename(walk: &mut Walk) {
    walk.tool.publish(&walk.host, Version::Renamed);
    walk.sh(&walk.tool.renaming());
    let list = walk.miniascape(["package", "list", "--format", "json"]).json();
    let found: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|package| package["package"].as_str())
        .collect();
    assert_eq!(found, ["vm-site", "vm-web2"]);
    assert_eq!(walk.host.domains(), ["web", "web2"]);
    assert_eq!(walk.version("web"), "0.3");
    let status = walk.miniascape(["guest", "status", "web"]);
    assert!(status.stdout.contains("vm-site"), "{status}");
}

fn purge_without_miniascape(walk: &mut Walk) {
    for guest in ["web", "web2"] {
        walk.stop(guest);
    }
    walk.daemon = None;
    // The low tools can be forced; the others take along what depends on it.
    let gone = match walk.tool {
        Tool::Dpkg => "dpkg -r --force-depends miniascape".to_owned(),
        Tool::Rpm => "rpm -e --nodeps miniascape".to_owned(),
        tool => tool.removing("miniascape"),
    };
    walk.sh(&gone);
    assert!(!walk.host.exists("/usr/bin/miniascape"));
    let purge = walk.tool.purging("vm-site vm-web2");
    let forced = matches!(walk.tool, Tool::Dpkg | Tool::Rpm);
    let purged = match walk.tool {
        // It is gone already, with all that it may leave.
        Tool::Dnf => walk.try_sh(&purge),
        _ => walk.sh(&purge),
    };
    if walk.kind() == Kind::Deb {
        for (package, guest) in [("vm-site", "web"), ("vm-web2", "web2")] {
            let told = format!("{package}: the disks of the guest {guest} are kept in {GUESTS}/{guest}");
            assert!(purged.stdout.contains(&told), "{purged}");
        }
    }
    let left = walk.host.domains();
    assert_eq!(left.is_empty(), !forced, "{left:?}");
    for guest in ["web", "web2"] {
        assert!(walk.host.exists(format!("{GUESTS}/{guest}/vda.qcow2")));
    }
    // When it is back it finds that they have gone.
    let back = match walk.kind() {
        Kind::Deb => "dpkg -i /root/miniascape.deb",
        Kind::Rpm => "rpm -U --replacepkgs /root/miniascape.rpm",
    };
    sh(&walk.host, back);
    // Its network, too, goes on only with a daemon.
    walk.daemon = Some(crate::networks::daemon(&walk.host));
    walk.settle("what happened while miniascape was away");
    assert_eq!(walk.host.domains(), [""; 0]);
}

fn everything_again(walk: &mut Walk) {
    walk.sh(&walk.tool.installing(&["vm-site"], Version::Renamed));
    walk.sh(&walk.tool.installing(&["vm-web2"], Version::First));
    walk.start(&[travel::WEB, travel::WEB2]);
}
