//! `package preflight` before real packages on a host with a real libvirt.

use crate::networks::host_with_daemon;
use crate::support::{Host, Output};

const IMAGES: &str = "/var/lib/libvirt/images";

/// Packs a guest of that definition, as the RPM, the Debian packages or the tar file of a directory.
fn pack(host: &Host, name: &str, from: &str, to: &str, kinds: &str) {
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><cpu mode='maximum'/><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/{name}.raw'/>\
         <target dev='vda' bus='virtio'/></disk>\
         <interface type='network'><mac address='52:54:00:01:00:77'/><source network='net-1'/></interface>\
         </devices></domain>"
    );
    assert!(xml.contains(from), "{xml}");
    host.write_file("/root/odd.xml", xml.replace(from, to));
    // Nothing that could be packed tighter.
    let fill = format!("head -c 4194304 /dev/urandom > /srv/{name}.raw");
    host.check(["sh", "-c", &fill]);
    let output = format!("/root/{name}");
    host.miniascape_check(["repack", "/root/odd.xml", "--to", kinds, "--output", &output]);
}

fn preflight(host: &Host, files: &str) -> Output {
    let files = host.check(["sh", "-c", &format!("ls -d {files}")]).stdout;
    let mut words = vec!["package", "preflight", "--format", "json"];
    words.extend(files.lines());
    host.miniascape(words)
}

/// The verdicts and words of a check.
fn found(told: &Output, check: &str) -> Vec<(String, String)> {
    let told = told.json();
    let all = told["findings"].as_array().expect("a list").iter();
    let word = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    all.filter(|finding| finding["check"] == check)
        .map(|finding| (word(&finding["verdict"]), word(&finding["what"])))
        .collect()
}

/// The checks that say no.
fn noes(told: &Output) -> Vec<String> {
    let told = told.json();
    let all = told["findings"].as_array().expect("a list").iter();
    all.filter(|finding| finding["verdict"] == "no")
        .map(|finding| finding["check"].as_str().expect("a word").to_owned())
        .collect()
}

fn everything(host: &Host) -> String {
    let dirs = "find /var/lib/miniascape /var/lib/libvirt/images /usr/share/miniascape /run/miniascape -type f | sort; \
                virsh list --all; virsh net-list --all; virsh pool-list --all";
    host.run(["sh", "-c", dirs]).stdout
}

pub(crate) fn what_stands_in_the_way_is_named_and_nothing_is_changed() {
    let (host, _daemon) = host_with_daemon();
    host.check(["mkdir", "-p", "/srv", IMAGES]);
    pack(&host, "good", "q35-7.2", "q35-7.2", "rpm,deb,tar");
    pack(&host, "machine", "q35-7.2", "q35-99.9", "deb");
    pack(&host, "network", "network='net-1'", "network='nowhere'", "deb");
    pack(
        &host,
        "cpu",
        "mode='maximum'/>",
        "mode='custom'><model>Abacus</model></cpu>",
        "deb",
    );

    let loader = "hvm</type><loader readonly='yes' type='pflash'>/usr/share/none/CODE.fd</loader>";
    pack(&host, "firmware", "hvm</type>", loader, "deb");
    pack(
        &host,
        "emulator",
        "arch='x86_64' machine='pc-q35-7.2'",
        "arch='s390x' machine='s390-ccw-virtio-7.2'",
        "deb",
    );

    // A network that is defined and not registered does not stop the installation.
    let told = preflight(&host, "/root/good/*.deb");
    told.expect_code(0);
    assert_eq!(
        found(&told, "network"),
        [(
            "warning".into(),
            "net-1 is defined here, and not registered".into()
        )]
    );
    host.miniascape_check(["net", "register", "net-1"]);
    let before = everything(&host);

    for files in ["*.deb", "*.noarch.rpm", "*.tar*"] {
        let told = preflight(&host, &format!("/root/good/{files}"));
        told.expect_code(0);
        assert_eq!(
            (told.json()["go"].clone(), noes(&told)),
            (true.into(), vec![]),
            "{told}"
        );
        assert_eq!(found(&told, "network"), [("ok".into(), "net-1 is there".into())]);
        assert_eq!(found(&told, "machine"), [("ok".into(), "pc-q35-7.2".into())]);
        assert_eq!(found(&told, "cpu"), [("ok".into(), "maximum".into())], "{told}");
        assert_eq!(found(&told, "mac"), [("ok".into(), "free".into())]);
        let emulator = &found(&told, "emulator")[0];
        assert!(emulator.1.contains("qemu-system-x86_64"), "{told}");
    }
    // The guest's package alone: its images lie beside it, or nowhere.
    preflight(&host, "/root/good/vm-good*.deb").expect_code(0);
    host.check([
        "sh",
        "-c",
        "mkdir /root/alone; cp /root/good/vm-good*.deb /root/alone",
    ]);
    let told = preflight(&host, "/root/alone/vm-good*.deb");
    told.expect_code(3);
    assert_eq!(noes(&told), ["images"], "{told}");

    for name in ["machine", "network", "cpu", "firmware", "emulator"] {
        let told = preflight(&host, &format!("/root/{name}/*.deb"));
        told.expect_code(3);
        assert_eq!(noes(&told), [name], "{told}");
    }
    let table = host.run(["sh", "-c", "miniascape package preflight /root/machine/*.deb"]);
    table.expect_code(3);
    assert!(
        table.stdout.contains("vm-machine  machine   no")
            && table.stdout.contains("has no machine type pc-q35-99.9"),
        "{table}"
    );
    assert!(
        table.stdout.contains("\nhint: machine: install the QEMU"),
        "{table}"
    );

    // Two guests with one hardware address: the second gets another, and is told so.
    let told = preflight(&host, "/root/good/*.deb /root/network/*.deb");
    assert!(
        found(&told, "mac").contains(&(
            "warning".into(),
            "vm-good has 52:54:00:01:00:77 here: this guest gets another".into()
        )),
        "{told}"
    );
    assert_eq!(everything(&host), before);
    names_and_addresses_are_those_of_others(&host);
    images_have_no_room_or_would_be_hidden(&host);
    preflight(&host, "/root/good/*.deb").expect_code(0);
}

fn names_and_addresses_are_those_of_others(host: &Host) {
    // The same from a guest that libvirt has; and one whose name is the package's.
    let other = |name: &str, mac: &str| {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os>\
             <devices><interface type='network'><mac address='{mac}'/><source network='net-1'/></interface>\
             </devices></domain>"
        );
        host.write_file("/root/other.xml", xml);
        host.check(["virsh", "define", "/root/other.xml"]);
    };
    other("other", "52:54:00:01:00:77");
    let told = preflight(host, "/root/good/*.deb");
    told.expect_code(0);
    assert_eq!(
        found(&told, "mac"),
        [(
            "warning".into(),
            "other has 52:54:00:01:00:77 here: this guest gets another".into()
        )]
    );
    other("good", "52:54:00:01:00:78");
    let told = preflight(host, "/root/good/*.deb");
    told.expect_code(3);
    assert_eq!(noes(&told), ["name"], "{told}");
    host.check(["virsh", "undefine", "good"]);
}

fn images_have_no_room_or_would_be_hidden(host: &Host) {
    // A pool that is not mounted would hide the images; a file system of 2 MiB cannot hold them.
    host.check([
        "sh",
        "-c",
        "virsh pool-list --all --name | xargs -r -n1 virsh pool-undefine",
    ]);
    let pool = format!(
        "<pool type='netfs'><name>far</name><source><host name='192.0.2.1'/><dir path='/x'/><format type='nfs'/></source>\
         <target><path>{IMAGES}</path></target></pool>"
    );
    host.write_file("/root/pool.xml", pool);
    host.check(["virsh", "pool-define", "/root/pool.xml"]);
    host.check(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", IMAGES]);
    let told = preflight(host, "/root/good/*.deb");
    told.expect_code(3);
    assert_eq!(noes(&told), ["space", "pool"], "{told}");
    host.check(["umount", IMAGES]);
    host.check(["virsh", "pool-undefine", "far"]);
}
