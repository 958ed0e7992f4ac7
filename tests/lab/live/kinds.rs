//! Live packs of guests of every kind: disks wherever they lie and however they are attached, guests that stand still, several
//! in one run. None of them needs a system, so that all of it takes seconds.

use super::{PENDING, sh};
use crate::carried::block_device;
use crate::support::guest::DomainSpec;
use crate::support::{Host, HostOptions, Output, note};
use serde_json::Value;
use std::fmt::Write;

/// Makes the disks. Most hold a MiB of their own; the last two hardly anything of many GiB.
const DISKS: &str = r#"
    mkdir -p /srv/images; cd /srv/images
    disk() { qemu-img create -q -f qcow2 $1 64M; fill $1 $2 1M; }
    fill() { qemu-io -f qcow2 -c "write -P $2 $3 1M" $1 >/dev/null; }
    over() { qemu-img create -q -f qcow2 -b $1 -F qcow2 $2; }
    disk snap.qcow2 1; qemu-img snapshot -c before snap.qcow2; disk read.qcow2 2; disk direct.qcow2 3
    disk d1.qcow2 4; over d1.qcow2 d2.qcow2; over d2.qcow2 d3.qcow2; over d2.qcow2 e3.qcow2
    fill d2.qcow2 5 2M; fill d3.qcow2 6 3M; fill e3.qcow2 7 3M
    truncate -s 1M cd.iso; truncate -s 64M plain.raw; qemu-io -f raw -c 'write -P 8 1M 1M' plain.raw >/dev/null
    qemu-img create -q -f qcow2 zeros.qcow2 8G; fill zeros.qcow2 9 4G; qemu-io -f qcow2 -c 'write -z 5G 1G' zeros.qcow2 >/dev/null
    truncate -s 8G holes.raw; qemu-io -f raw -c 'write -P 10 6G 64k' holes.raw >/dev/null
"#;

fn disk(kind: &str, source: &str, driver: &str, target: &str, more: &str) -> String {
    let attribute = if kind == "block" { "dev" } else { "file" };
    format!(
        "<disk type='{kind}' device='disk'><driver name='qemu' {driver}/><source {attribute}='{source}'/>\
         <target dev='{target}' bus='virtio'/>{more}</disk>"
    )
}

/// Each disk's target, what it is compared with, and its format.
type Sources = Vec<(String, String, &'static str)>;

/// A guest with firmware variables, a TPM, a snapshot, and all disks. It stands in its firmware for good.
fn many(host: &Host, device: Option<&str>) -> Sources {
    let direct = "dd if=/dev/zero of=/srv/direct oflag=direct bs=4k count=1; rm /srv/direct";
    let direct = if host.run(["sh", "-e", "-c", direct]).ok() {
        " cache='none' io='native' iothread='1'"
    } else {
        note("this kernel's tmpfs knows no direct access: a disk with cache='none' is left out here");
        " iothread='1'"
    };
    let file = |name: &str| format!("/srv/images/{name}");
    let mut sources = Sources::new();
    let mut disks = String::new();
    for (name, format, driver, more) in [
        ("snap.qcow2", "qcow2", "", ""),
        ("read.qcow2", "qcow2", "", "<readonly/>"),
        ("direct.qcow2", "qcow2", direct, ""),
        ("d3.qcow2", "qcow2", "", ""),
        ("e3.qcow2", "qcow2", "", ""),
        ("plain.raw", "raw", "", ""),
        ("zeros.qcow2", "qcow2", "", ""),
        ("holes.raw", "raw", " discard='unmap'", ""),
    ] {
        let target = format!("vd{}", (b'a' + u8::try_from(sources.len()).expect("few")) as char);
        disks += &disk(
            "file",
            &file(name),
            &format!("type='{format}'{driver}"),
            &target,
            more,
        );
        sources.push((target, file(name), format));
    }
    if let Some(device) = device {
        disks += &disk("block", device, "type='raw'", "vdz", "");
        sources.push(("vdz".to_owned(), device.to_owned(), "raw"));
    }
    host.write_file(
        "/root/many.xml",
        format!(
            "<domain type='qemu'><name>many</name><memory unit='MiB'>64</memory><iothreads>1</iothreads>\
             <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>\
             <firmware><feature enabled='no' name='secure-boot'/></firmware></os><features><acpi/></features>\
             <devices>{disks}<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>\
             <source file='/srv/images/cd.iso'/><target dev='sda' bus='sata'/><readonly/></disk>\
             <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk>\
             <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><memballoon model='none'/></devices></domain>"
        ),
    );
    sh(
        host,
        "virsh define --validate /root/many.xml; virsh start many --paused",
    );
    sources
}

/// The disks in a build tree are, byte for byte, those of the guest, each of so many images.
#[track_caller]
fn assert_same(host: &Host, out: &str, sources: &Sources, images: usize) {
    let tree = format!("{out}/vm-many-repacked-0.1");
    let manifest = host.read_file(format!("{tree}/manifest.json"));
    let manifest: Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
    let mut script = String::new();
    for (disk, (target, source, format)) in manifest["disks"].as_array().expect("disks").iter().zip(sources) {
        let layers = disk["layers"].as_array().expect("layers");
        assert!(
            disk["target"] == target.as_str() && layers.len() == images,
            "{disk}"
        );
        let top = layers[images - 1]["digest"].as_str().expect("a digest");
        writeln!(script, "same {source} {format} {top}").expect("a String takes everything");
    }
    sh(
        host,
        &format!("cd {tree}; same() {{ qemu-img compare -q -U -f $2 $1 sha256-$3.qcow2; }}\n{script}"),
    );
}

#[track_caller]
fn assert_clean(host: &Host) {
    let left = sh(
        host,
        &format!(
            "ls -A {PENDING} 2>/dev/null || :; find /srv /root /var/lib/libvirt -name '*miniascape-live*' -o -name '.miniascape-*'
             for guest in $(virsh list --name); do virsh domjobinfo $guest | grep 'Job type' | grep -v None || :; done"
        ),
    );
    assert_eq!(left.text(), "", "{left}");
}

#[track_caller]
fn pack(host: &Host, more: &[&str]) -> Output {
    let fixed = ["repack", "many", "--live", "--to", "build-tree"];
    let packed = host.miniascape_check(fixed.iter().chain(more));
    assert_clean(host);
    packed
}

pub(crate) fn guests_of_every_kind_are_packed_while_they_run() {
    let host = Host::start(HostOptions::default());
    sh(&host, "install -d -o tss -g tss -m 0750 /var/lib/swtpm-localca");
    sh(&host, DISKS);
    let device = block_device(&host);
    let sources = many(&host, device.as_deref());

    // It has not been let go yet.
    let packed = pack(&host, &["--output", "/root/paused"]);
    assert!(
        packed.stderr.contains("not frozen: the guest is paused"),
        "{packed}"
    );
    assert_eq!(host.check(["virsh", "domstate", "many"]).text(), "paused");
    assert_same(&host, "/root/paused", &sources, 2);
    assert!(
        packed
            .stderr
            .contains("internal snapshot before of the disk vda: left out"),
        "{packed}"
    );
    host.remove("/root/paused");

    chains(&host, &sources);
    nothing_is_read_where_nothing_is(&host, device.is_some());
    what_is_beside(&host);
    several(&host);
}

/// Firmware variables and the TPM's state are in the package as they are now.
fn what_is_beside(host: &Host) {
    let nvram = "/var/lib/libvirt/qemu/nvram/many_VARS.fd";
    sh(
        host,
        &format!("printf changed | dd of={nvram} bs=1 seek=100000 conv=notrunc status=none"),
    );
    pack(host, &["--with-tpm", "--output", "/root/beside"]);
    let packed = sh(
        host,
        &format!(
            "uuid=$(virsh domuuid many)
             for file in {nvram} /var/lib/libvirt/swtpm/$uuid/tpm2/tpm2-00.permall; do
                 sum=$(sha256sum <$file); find /root/beside -type f -size -2M -exec sh -c 'sha256sum <$0' {{}} \\; | grep -c \"$sum\" || :
             done; rm -rf /root/beside"
        ),
    );
    assert_eq!(packed.stdout, "1\n1\n");
}

fn chains(host: &Host, sources: &Sources) {
    // A delta over the very bottom, over a given image, and all in one.
    for (more, images) in [
        (&[][..], 2),
        (&["--base", "vdd=/srv/images/d2.qcow2"], 2),
        (&["--base", "vdd=/srv/images/d1.qcow2"], 2),
        (&["--flatten"], 1),
    ] {
        if more.last() == Some(&"vdd=/srv/images/d2.qcow2") {
            let refused = host.miniascape(
                ["repack", "many", "--live", "--output", "/root/no"]
                    .iter()
                    .chain(more),
            );
            refused.expect_code(1);
            assert!(refused.stderr.contains("stands on another image"), "{refused}");
            assert_clean(host);
            continue;
        }
        pack(host, &[more, &["--output", "/root/chains"]].concat());
        assert_same(host, "/root/chains", sources, images);
        host.remove("/root/chains");
    }
}

/// What comes from QEMU is little more than what the disks hold, of 16 GiB. A device has no holes that anyone knows of.
fn nothing_is_read_where_nothing_is(host: &Host, with_device: bool) {
    let words = "strace --follow-forks --trace=recvfrom --output=/root/trace miniascape repack many --live --to tar --output /root/holes";
    let device = ["--without-disk", "vdz"].into_iter().filter(|_| with_device);
    host.check(words.split(' ').chain(device));
    let received = sh(
        host,
        "awk '/recvfrom/ && $NF > 0 { sum += $NF } END { print sum }' /root/trace; rm -rf /root/holes",
    );
    let received: u64 = received.text().parse().expect("a number");
    note(format_args!(
        "a live pack of 16 GiB with 13 MiB in them has received {received} bytes"
    ));
    // Each is read once for its digests; what is packed comes from the files.
    assert!((8 << 20..14 << 20).contains(&received), "{received}");
}

/// Three that run, one of them in other hands, and one that is off.
fn several(host: &Host) {
    sh(
        host,
        "cd /srv/images; for name in one two off; do qemu-img create -q -f qcow2 -b d1.qcow2 -F qcow2 $name.qcow2; done
         qemu-io -f qcow2 -c 'write -P 20 5M 1M' one.qcow2 >/dev/null",
    );
    for name in ["one", "two", "off"] {
        DomainSpec::new(name, &format!("/srv/images/{name}.qcow2")).start(host);
    }
    host.write_file(
        "/root/foreign.xml",
        "<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/foreign.sock'/>\
         <disks><disk name='vda' backup='yes' type='file'><scratch file='/srv/foreign'/></disk></disks></domainbackup>",
    );
    sh(
        host,
        "virsh destroy off; virsh snapshot-create-as one before; virsh backup-begin two /root/foreign.xml",
    );
    let fixed = [
        "repack",
        "--all",
        "--live",
        "--to",
        "deb",
        "--repo",
        "/root/repo",
        "--format",
        "json",
    ];
    let done = host.miniascape(fixed);
    done.expect_code(1);
    let report: Value = serde_json::from_str(&done.stdout).expect("a report is JSON");
    let states: Vec<_> = report["guests"].as_array().expect("guests").iter().collect();
    let states: Vec<_> = states
        .iter()
        .map(|guest| (guest["guest"].as_str(), guest["state"].as_str()))
        .collect();
    let (packed, failed) = (Some("packed"), Some("failed"));
    assert_eq!(
        states,
        [
            (Some("many"), packed),
            (Some("off"), packed),
            (Some("one"), packed),
            (Some("two"), failed)
        ]
    );
    assert!(
        done.stderr
            .contains("a backup job of the guest two runs that is not ours"),
        "{done}"
    );
    sh(
        host,
        "virsh backup-dumpxml two; virsh domjobabort two
         sed 's,</disk>,<transient/></disk>,' /root/off.xml >/root/transient.xml
         virsh undefine off; virsh define /root/transient.xml; virsh start off",
    );
    let refused = host.miniascape(["repack", "off", "--live", "--output", "/root/no"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("the disk vda of the guest off is <transient/>"),
        "{refused}"
    );
    assert_clean(host);
    let two = host.miniascape_check([
        "repack",
        "one",
        "two",
        "--live",
        "--to",
        "deb",
        "--repo",
        "/root/repo",
    ]);
    assert!(two.stdout.contains("two    packed"), "{two}");
    let verified = sh(
        host,
        "for file in /root/repo/*.deb; do miniascape package verify $file; done",
    );
    assert!(verified.stdout.contains("vm-two"), "{verified}");
    assert_clean(host);
}
