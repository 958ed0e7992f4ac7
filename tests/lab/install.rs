//! `package install` and `package remove`: package files handed to the host's package manager, tar files unpacked.

use crate::support::guest::Console;
use crate::support::{Host, Output};
use crate::travel::{File, Kind, packages, target};
use serde_json::Value;

const PACKAGED: &str = "/var/lib/libvirt/images/miniascape/packaged";
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const RECORDS: &str = "/var/lib/miniascape/unpacked";
const PENDING: &str = "/var/lib/miniascape/pending";

/// A place with the tar files of the guests.
fn carry_tars(host: &Host, files: &[File], dir: &str) {
    for (name, content) in files.iter().filter(|(name, _)| name.contains(".tar")) {
        host.write_file(format!("{dir}/{name}"), content);
    }
}

/// Runs `package` with words of a shell, and JSON for an answer.
fn package(host: &Host, words: &str) -> Output {
    host.run(["sh", "-c", &format!("miniascape package --format json {words}")])
}

fn done(host: &Host, words: &str) -> Value {
    let output = package(host, words);
    output.expect_code(0);
    output.json()
}

fn everything(host: &Host) -> String {
    let look = "find /var/lib/miniascape /var/lib/libvirt/images /usr/share/miniascape -type f -printf '%p %m %s\\n' | sort; \
                virsh list --all; dpkg-query -W; test ! -d ~/.rpmdb || rpm -qa";
    host.run(["sh", "-c", look]).stdout
}

/// Boots the guest, reads what its disk says, and shuts it down.
fn reads(host: &Host, guest: &str) -> String {
    host.miniascape_check(["guest", "start", guest, "--wait", "lease"]);
    let markers = Console::attach(host, guest).ask("markers", "MARKER");
    assert_eq!(markers.value("base"), packages().base);
    let text = markers.value("guest").to_owned();
    host.miniascape_check(["guest", "shutdown", guest]);
    text
}

fn registered(told: &Value, version: &str) {
    let package = &told["packages"][0];
    assert_eq!(package["installed"], version, "{told}");
    assert_eq!(package["guests"][0]["registered"], true, "{told}");
    assert_eq!(package["pending"], serde_json::json!([]), "{told}");
}

/// Everything that is the guest package's or an image's, with owner and mode.
fn own_files(host: &Host) -> String {
    let find = format!(
        "find {PACKAGED} /usr/share/miniascape/guests/web ! -type d -printf '%p %m %u %g %s\\n' | sort; stat -c '%a %U' {PACKAGED}"
    );
    host.check(["sh", "-c", &find]).stdout
}

/// What both package managers do: images are taken along, everything twice, up and down, and away.
fn by_its_package_manager(host: &Host, kind: Kind, tool: &str, [old, new]: [&str; 2]) {
    let before = everything(host);
    let plan = done(host, &format!("install --dry-run {old}"));
    assert_eq!(plan["beside"].as_array().map(Vec::len), Some(2), "{plan}");
    assert_eq!(plan["command"][0], format!("/usr/bin/{tool}"), "{plan}");
    assert_eq!(everything(host), before);
    let output = package(host, &format!("install {old}"));
    output.expect_code(0);
    registered(&output.json(), "0.1-1");
    // What the package manager says is seen, and is not among the results.
    assert!(output.stderr.contains("web registered; start it"), "{output}");
    registered(&done(host, &format!("install {old}")), "0.1-1");
    registered(&done(host, &format!("install {new}")), "0.2-1");
    registered(&done(host, &format!("install {old}")), "0.1-1");
    kind.assert_clean(host);
    let list = host.miniascape_check(["package", "list"]);
    assert!(list.stdout.contains("vm-web"), "{list}");
}

fn the_other_kinds_are_refused(host: &Host, own: &str) {
    let before = everything(host);
    let other = package(host, "install /root/tars/vm-web-repacked-0.1*");
    other.expect_code(3);
    let findings = other.json()["findings"].clone();
    let of_package = findings
        .as_array()
        .expect("a list")
        .iter()
        .find(|f| f["check"] == "package");
    let what = of_package.expect("a finding")["what"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(what.contains("vm-web 0.1-1 is installed by"), "{what}");
    let mixed = package(host, &format!("install {own} /root/tars/vm-web-repacked-0.1*"));
    mixed.expect_code(2);
    assert!(
        mixed.stderr.contains("is a tar file: nothing was installed"),
        "{mixed}"
    );
    assert_eq!(everything(host), before);
}

pub(crate) fn debian_packages_and_tar_files_come_and_go() {
    let (host, _daemon) = target(Kind::Deb);
    Kind::Deb.carry(&host, &packages().next, "/root/next");
    carry_tars(&host, &packages().files, "/root/tars");
    carry_tars(&host, &packages().next, "/root/next-tars");
    let (old, new) = ("/root/packages/vm-web_0.1*.deb", "/root/next/vm-web_0.2*.deb");
    by_its_package_manager(&host, Kind::Deb, "apt-get", [old, new]);
    the_other_kinds_are_refused(&host, old);
    let as_packaged = own_files(&host);
    let gone = done(&host, "remove vm-web");
    assert_eq!(gone["undefined"], serde_json::json!(["web"]), "{gone}");
    assert_eq!(host.domains(), [""; 0]);
    // Images came for the guest's sake: nobody asked for them.
    let sh = |script: &str| host.check(["sh", "-e", "-c", script]).stdout;
    assert_eq!(sh("apt-mark showauto 'miniascape-image-*'").lines().count(), 3);

    // Its images are dpkg's: they are shared, and stay. Its disk is adopted.
    let own = |host: &Host| host.list_dir(RECORDS);
    registered(&done(&host, "install /root/tars/vm-web-repacked-0.1*"), "0.1-1");
    assert_eq!(own_files(&host), as_packaged);
    assert_eq!(sh(&format!("grep -c sha256 {RECORDS}/web.json || :")).trim(), "0");
    registered(&done(&host, "install /root/next-tars/vm-web-*"), "0.2-1");
    let gone = done(&host, "remove vm-web");
    assert_eq!(
        (&gone["images"], own(&host)),
        (&serde_json::json!([]), vec![]),
        "{gone}"
    );
    assert_eq!(host.list_dir(PACKAGED).len(), 3);
    sh("dpkg -r $(dpkg-query -W -f '${Package}\n' 'miniascape-image-*')");
    assert_eq!(host.list_dir(PACKAGED), [""; 0]);

    tar_files_are_upgraded_and_share_images(&host);
    what_is_not_declared_needs_trust(&host);
    another_root_is_filled_and_emptied(&host);
}

fn tar_files_are_upgraded_and_share_images(host: &Host) {
    let sh = |script: &str| host.check(["sh", "-e", "-c", script]).stdout;
    // A new disk, on images of our own.
    sh(&format!("rm -r {GUESTS}/web /var/lib/miniascape/guests/web"));
    let before = everything(host);
    let told = done(host, "install /root/tars/*.tar*");
    assert_eq!(told["packages"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(host.domains(), ["web", "web2"]);
    // No image is there twice.
    assert_eq!(sh(&format!("find {GUESTS} -path '*/chain/*' -links 1")), "");
    // A damaged image is brought again, and a run that changes nothing changes nothing.
    let delta = sh(&format!("ls -S {PACKAGED} | sed -n 2p"));
    let delta = delta.trim();
    sh(&format!(
        "printf x | dd of={PACKAGED}/{delta} bs=1 seek=9000 conv=notrunc status=none"
    ));
    done(host, "install /root/tars/*.tar*");
    sh(&format!(
        "cd {PACKAGED}; for f in *; do echo \"${{f#sha256-}} $f\" | sed 's/.qcow2 /  /'; done | sha256sum -c --quiet"
    ));
    let state = everything(host);
    done(host, "install /root/tars/*.tar*");
    assert_eq!(everything(host), state);
    // Up: the old delta goes, the instance keeps its own. Down: it comes back, and the new one goes.
    let images = || host.list_dir(PACKAGED);
    let first = images();
    registered(&done(host, "install /root/next-tars/vm-web-*"), "0.2-1");
    let second = images();
    assert_eq!(second.len(), 3);
    assert!(first != second, "{first:?}");
    assert_eq!(reads(host, "web"), packages().delta);
    registered(&done(host, "install /root/tars/vm-web-repacked-0.1*"), "0.1-1");
    assert_eq!(images(), first);

    // The base stays as long as another needs it.
    let plan = done(host, "remove --dry-run vm-web");
    assert_eq!(plan["undefined"], serde_json::json!(["web"]), "{plan}");
    assert_eq!(
        (images(), host.domains()),
        (first, vec!["web".to_owned(), "web2".to_owned()])
    );
    let gone = done(host, "remove vm-web");
    assert_eq!(gone["images"].as_array().map(Vec::len), Some(1), "{gone}");
    assert_eq!(host.domains(), ["web2"]);
    assert_eq!(images().len(), 2);
    done(host, "remove vm-web2");
    sh(&format!("rm -r {GUESTS}/* /var/lib/miniascape/guests/*"));
    assert_eq!(everything(host), before);
    let none = package(host, "remove vm-web2");
    none.expect_code(1);
    assert!(none.stderr.contains("vm-web2 is not installed"), "{none}");
}

fn what_is_not_declared_needs_trust(host: &Host) {
    let xml = "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>odd</name>\
               <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
               <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/odd.raw'/>\
               <target dev='vda' bus='virtio'/></disk></devices>\
               <qemu:commandline><qemu:arg value='-nodefaults'/></qemu:commandline></domain>";
    host.write_file("/root/odd.xml", xml);
    host.check(["sh", "-c", "head -c 65536 /dev/zero > /srv/odd.raw"]);
    host.miniascape_check([
        "repack",
        "/root/odd.xml",
        "--to",
        "deb,tar",
        "--output",
        "/root/odd",
    ]);
    for files in ["/root/odd/*.tar*", "/root/odd/vm-odd*.deb"] {
        let before = everything(host);
        let refused = package(host, &format!("install {files}"));
        refused.expect_code(3);
        assert!(
            refused.stdout.contains("without trust") && refused.stdout.contains("qemu:commandline"),
            "{refused}"
        );
        assert_eq!(everything(host), before);
        registered(&done(host, &format!("install --trust {files}")), "0.1-1");
        assert_eq!(host.domains(), ["odd"]);
        done(host, "remove vm-odd");
        assert_eq!(host.domains(), [""; 0]);
        host.check(["sh", "-c", "rm -r /var/lib/miniascape/guests/odd"]);
    }
}

fn another_root_is_filled_and_emptied(host: &Host) {
    host.check(["mkdir", "/srv/root"]);
    let told = done(host, "--root /srv/root install /root/tars/vm-web-repacked-0.1*");
    assert_eq!(told["packages"][0]["installed"], "0.1-1", "{told}");
    assert_eq!(host.list_dir(format!("/srv/root{PACKAGED}")).len(), 2);
    assert_eq!(
        host.list_dir(format!("/srv/root{PENDING}")),
        ["guest-vm-web.json"]
    );
    done(host, "--root /srv/root remove vm-web");
    assert_eq!(
        host.check(["find", "/srv/root", "-type", "f", "-not", "-path", "*/pending/*"])
            .text(),
        ""
    );
    assert_eq!(host.domains(), [""; 0]);
    let deb = package(host, "--root /srv/root install /root/packages/vm-web_0.1*.deb");
    deb.expect_code(2);
    assert!(deb.stderr.contains("dpkg --root"), "{deb}");
}

pub(crate) fn rpm_packages_come_and_go() {
    let (host, _daemon) = target(Kind::Rpm);
    Kind::Rpm.carry(&host, &packages().next, "/root/next");
    carry_tars(&host, &packages().files, "/root/tars");
    let (old, new) = ("/root/packages/vm-web-0.1*.rpm", "/root/next/vm-web-0.2*.rpm");
    by_its_package_manager(&host, Kind::Rpm, "dnf", [old, new]);
    the_other_kinds_are_refused(&host, old);
    done(&host, "remove vm-web");
    // dnf takes what only this version needed; the image of the other one is for `dnf autoremove`.
    assert_eq!((host.domains(), host.list_dir(PACKAGED).len()), (vec![], 1));
    // Where there is no dnf, rpm does it.
    host.check(["sh", "-c", "rm /usr/bin/dnf*"]);
    by_its_package_manager(&host, Kind::Rpm, "rpm", [old, new]);
    done(&host, "remove vm-web");
    assert_eq!(host.domains(), [""; 0]);
}

/// Killed when it gives something its name, and in the middle of registering: the next run makes up for it. The steps of
/// unpacking alone are killed one by one without a lab (`tests/package`).
pub(crate) fn killed_runs_are_made_up_for() {
    let (host, _daemon) = crate::networks::host_with_daemon();
    let xml = "<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
               <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
               <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/web.raw'/>\
               <target dev='vda' bus='virtio'/></disk></devices></domain>";
    host.write_file("/root/web.xml", xml);
    host.check([
        "sh",
        "-c",
        "mkdir -p /srv /var/lib/libvirt/images; head -c 65536 /dev/urandom > /srv/web.raw",
    ]);
    host.miniascape_check(["repack", "/root/web.xml", "--to", "tar", "--output", "/root/tars"]);
    let install = "install /root/tars/vm-web-*";
    let look = format!(
        "find /usr/share/miniascape/guests {PACKAGED} {RECORDS} {PENDING} {GUESTS} -printf '%p %m\\n' | sort; \
         virsh dumpxml web | grep -v uuid"
    );
    let state = || host.check(["sh", "-c", &look]).stdout;
    let away = || {
        done(&host, "remove vm-web");
        host.check([
            "sh",
            "-c",
            &format!("rm -r {GUESTS}/web /var/lib/miniascape/guests/web"),
        ]);
    };
    registered(&done(&host, install), "0.1-1");
    let wanted = state();
    away();
    for point in [
        "rename,renameat,renameat2:signal=SIGKILL:when=2",
        "rename,renameat,renameat2:signal=SIGKILL:when=5",
        "linkat,link:signal=SIGKILL:when=1",
    ] {
        let strace =
            format!("strace -o /dev/null --signal=none --inject={point} miniascape package {install}");
        let killed = host.run(["sh", "-c", &strace]);
        assert!(
            !killed.ok() && !killed.stdout.contains("is registered"),
            "{point}: {killed}"
        );
        registered(&done(&host, install), "0.1-1");
        assert_eq!(state(), wanted, "{point}");
        away();
    }
}
