//! What of a guest is carried: disks wherever they lie, on chains, several of them; the variables of its firmware; the
//! state of its TPM.

use crate::support::guest::{Console, DiskSpec};
use crate::support::{Host, HostOptions, needs_user_namespace, note, wait_until};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";

/// A host with miniascape from its package and nothing else.
fn target() -> Host {
    let tool = std::env::var_os("MINIASCAPE_TEST_DEB")
        .expect("MINIASCAPE_TEST_DEB has to name the package of miniascape: run this through `make test`");
    let host = Host::start(HostOptions::default().without_miniascape());
    host.copy_from_machine(tool, "/root/miniascape.deb");
    host.check(["dpkg", "-i", "/root/miniascape.deb"]);
    host
}

/// Brings packages from one host to the other and installs them.
fn carry(from: &Host, to: &Host, dir: &str) {
    from.copy_to(to, &[dir]);
    let installed = to.check(["sh", "-c", &format!("dpkg -i {dir}/*.deb")]);
    assert!(installed.stdout.contains("registered"), "{installed}");
}

fn sh(host: &Host, script: &str) {
    host.check(["sh", "-e", "-c", script]);
}

/// The bytes of 64 KiB at 1 MiB of a disk's image are all `byte`.
fn holds(host: &Host, image: &str, byte: u8) -> bool {
    let read = format!("read -P {byte} 1M 64k");
    let read = host.check(["qemu-io", "-r", "-U", "-f", "qcow2", "-c", &read, image]);
    !read.stdout.contains("verification failed")
}

/// Makes the raw file `path` of 64 MiB with one run of `byte`, and holes.
pub(crate) fn raw(host: &Host, path: &str, byte: u8) {
    let write = format!("write -P {byte} 1M 64k");
    let script = "mkdir -p ${0%/*}; truncate -s 64M $0; qemu-io -f raw -c \"$1\" $0 >/dev/null";
    host.check(["sh", "-e", "-c", script, path, &write]);
}

pub(crate) fn disks_of_every_place_and_depth() {
    let source = Host::start(HostOptions::default());
    DiskSpec::new("golden")
        .hostname("multi")
        .make(&source, "/srv/images/golden.qcow2");
    sh(
        &source,
        "cd /srv/images
         qemu-img create -q -f qcow2 -b golden.qcow2 -F qcow2 middle.qcow2
         qemu-img create -q -f qcow2 -b /srv/images/middle.qcow2 -F qcow2 top.qcow2",
    );
    // A storage pool, with a raw volume that nothing but libvirt can place.
    raw(&source, "/srv/pool/data.img", 0x5a);
    sh(
        &source,
        "truncate -s 1M /srv/x.iso; virsh pool-define-as lab dir --target /srv/pool; virsh pool-start lab",
    );
    let mut disks = vec![
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/images/top.qcow2'/>\
         <target dev='vda' bus='virtio'/></disk>"
            .to_owned(),
        "<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='lab' volume='data.img'/>\
         <target dev='vdb' bus='virtio'/></disk>"
            .to_owned(),
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/srv/x.iso'/>\
         <target dev='sda' bus='sata'/><readonly/></disk>"
            .to_owned(),
    ];
    let device = block_device(&source);
    if let Some(device) = &device {
        disks.push(format!(
            "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='{device}'/>\
             <target dev='vdc' bus='virtio'/></disk>"
        ));
    }
    source.write_file(
        "/root/multi.xml",
        format!(
            "<domain type='qemu'><name>multi</name><memory unit='MiB'>192</memory>\
             <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features><devices>{}\
             <serial type='pty'><log file='/var/log/libvirt/qemu/multi-console.log' append='off'/></serial>\
             <memballoon model='none'/></devices></domain>",
            disks.concat()
        ),
    );
    sh(
        &source,
        "virsh define --validate /root/multi.xml; virsh start multi",
    );
    let mut console = Console::attach(&source, "multi");
    console.wait_ready();
    console.write_marker("in-the-top");
    source.miniascape_check(["guest", "shutdown", "multi"]);

    let packed = source.miniascape_check(["repack", "multi", "--to", "deb", "--output", "/root/out"]);
    let told = "not packed: medium /srv/x.iso in the drive sda: stays, but empty\n";
    assert!(packed.stderr.starts_with(told), "{packed}");
    // Holes stay holes: packages of 64 MiB disks with 64 KiB in them are small.
    let size = source.check(["sh", "-c", "du -k --apparent-size /root/out | cut -f 1"]);
    assert!(size.text().parse::<u64>().is_ok_and(|kib| kib < 40_000), "{size}");

    let target = target();
    carry(&source, &target, "/root/out");
    let manifest = target.read_file("/usr/share/miniascape/guests/multi/manifest.json");
    let manifest: Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
    for (disk, layers) in manifest["disks"].as_array().expect("disks").iter().zip([2, 2, 2]) {
        assert_eq!(disk["layers"].as_array().map(Vec::len), Some(layers), "{disk}");
    }
    target.miniascape_check(["guest", "start", "multi"]);
    let markers = Console::attach(&target, "multi").ask("markers", "MARKER");
    assert_eq!(
        (markers.value("base"), markers.value("guest")),
        ("golden", "in-the-top")
    );
    assert!(holds(&target, &format!("{GUESTS}/multi/vdb.qcow2"), 0x5a));
    if device.is_some() {
        assert!(holds(&target, &format!("{GUESTS}/multi/vdc.qcow2"), 0x3c));
    }
}

/// A block device of 64 MiB that goes when the host goes. An ordinary user can have none.
pub(crate) fn block_device(host: &Host) -> Option<String> {
    if needs_user_namespace() {
        note("no user but root can make a block device: that kind of disk is left out here");
        return None;
    }
    raw(host, "/srv/device.img", 0x3c);
    sh(
        host,
        "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
         for n in $(seq 0 63); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done",
    );
    let device = host
        .check(["losetup", "--find", "--show", "/srv/device.img"])
        .text()
        .to_owned();
    // Detached while it is held open, the device goes with its last user, whatever ends that.
    let holder = host.spawn([
        "sh",
        "-c",
        "exec 3<>$0; losetup -d $0; echo held; exec sleep 3600",
        &device,
    ]);
    wait_until("the holder of the device", PATIENCE, || {
        holder.transcript().contains("held")
    });
    std::mem::forget(holder);
    Some(device)
}

/// What swtpm and QEMU write at the first boot is what the guest has on the other host.
pub(crate) fn firmware_variables_and_tpm_state() {
    let source = Host::start(HostOptions::default());
    source.write_file(
        "/root/fw.xml",
        "<domain type='qemu'><name>fw</name><memory unit='MiB'>256</memory>\
         <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>\
         <firmware><feature enabled='no' name='secure-boot'/></firmware></os>\
         <features><acpi/></features><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/fw.img'/>\
         <target dev='vda' bus='virtio'/></disk>\
         <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>\
         <memballoon model='none'/></devices></domain>",
    );
    raw(&source, "/srv/fw.img", 1);
    // Where swtpm's own certificate authority would be, if it had been used before.
    sh(&source, "install -d -o tss -g tss -m 0750 /var/lib/swtpm-localca");
    sh(&source, "virsh define --validate /root/fw.xml; virsh start fw");
    let uuid = source.check(["virsh", "domuuid", "fw"]).text().to_owned();
    let nvram = "/var/lib/libvirt/qemu/nvram/fw_VARS.fd";
    let same = |host: &Host, a: &str, b: &str| host.run(["cmp", "-s", a, b]).ok();
    wait_until("variables that the firmware wrote", PATIENCE, || {
        source.exists(nvram) && !same(&source, nvram, "/usr/share/OVMF/OVMF_VARS_4M.fd")
    });
    sh(&source, "virsh destroy fw");

    let without = source.miniascape_check(["repack", "fw", "--to", "deb", "--output", "/root/no-tpm"]);
    assert!(
        without.stderr.contains("not packed: state of the emulated TPM")
            && !without.stderr.contains("VARS.fd: left out"),
        "{without}"
    );
    source.miniascape_check([
        "repack",
        "fw",
        "--to",
        "deb",
        "--with-tpm",
        "--output",
        "/root/out",
    ]);
    let mode = source.check(["sh", "-c", "stat -c %a /root/out/vm-fw*.deb"]);
    assert_eq!(mode.text(), "600", "everyone may read the keys");

    let target = target();
    carry(&source, &target, "/root/out");
    let new = target.check(["virsh", "domuuid", "fw"]).text().to_owned();
    assert_ne!(new, uuid);
    let own = "/var/lib/miniascape/guests/fw/nvram.fd";
    let state = |uuid: &str| format!("/var/lib/libvirt/swtpm/{uuid}/tpm2/tpm2-00.permall");
    for (from, to) in [(nvram, own), (&state(&uuid), &state(&new))] {
        let digest = |host: &Host, path: &str| host.check(["sha256sum", path]).stdout[..64].to_owned();
        assert_eq!(digest(&source, from), digest(&target, to), "{to}");
    }
    let owner = target.check(["stat", "-c", "%U %a", &state(&new)]);
    assert_eq!(owner.text(), "tss 600");
    let xml = target.check(["virsh", "dumpxml", "--inactive", "fw"]).stdout;
    assert!(xml.contains(own), "{xml}");
    target.miniascape_check(["guest", "start", "fw", "--wait", "running"]);

    // The package goes and comes back: both are still there, as the guest left them.
    sh(
        &target,
        "virsh destroy fw; echo changed >>/var/lib/miniascape/guests/fw/nvram.fd",
    );
    sh(&target, "dpkg -r vm-fw; ! virsh dominfo fw 2>/dev/null");
    sh(&target, "dpkg -i /root/out/vm-fw*.deb");
    let tail = target.check(["tail", "-c", "8", own]);
    assert_eq!(tail.text(), "changed", "the variables were written over");
    assert!(target.exists(state(&new)), "the TPM's state has gone");
    let variables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    target.check(["cp", variables, own]);
    all_that_libvirt_keeps_goes_and_comes_back(&target, &state(&new), own);
}

/// Variables, TPM state, a snapshot and the memory of a guest that sleeps, all of one guest at once.
fn all_that_libvirt_keeps_goes_and_comes_back(host: &Host, tpm: &str, variables: &str) {
    // libvirt takes no internal snapshot of a guest with such firmware, so its disk goes on in another file.
    sh(
        host,
        "virsh snapshot-create-as fw before --disk-only; virsh start fw; virsh managedsave fw",
    );
    let memory = "/var/lib/libvirt/qemu/save/fw.save";
    let facts = || {
        let script = format!(
            "virsh snapshot-list fw --tree; virsh snapshot-current fw --name; virsh dumpxml --inactive fw; sha256sum {tpm} {variables} {GUESTS}/fw/vda*; \
             sha256sum {memory}; stat -c '%n %U %a' {tpm} {variables} {GUESTS}/fw/vda*"
        );
        host.check(["sh", "-e", "-c", &script]).stdout
    };
    let before = facts();
    assert!(
        before.contains("vda.before") && before.contains("before\n"),
        "{before}"
    );
    sh(host, "dpkg -r vm-fw; ! virsh dominfo fw 2>/dev/null");
    sh(host, "dpkg -i /root/out/vm-fw*.deb");
    assert_eq!(facts(), before);
    // It goes on where it fell asleep, on the file that the snapshot made.
    let started = host.miniascape_check(["guest", "start", "fw", "--wait", "running"]);
    assert!(!host.exists(memory), "{started}");
    let log = host.read_file("/var/log/libvirt/qemu/fw.log");
    assert_eq!(log.matches("-incoming").count(), 1, "{log}");
    sh(host, "virsh destroy fw");
}

/// A Linux of a few files, which virt-sysprep takes for one.
const SYSTEM: &str = "mkdir -p s/etc/ssh s/etc/systemd/system s/bin s/sbin s/usr/bin s/lib/systemd s/var/log s/var/lib/systemd \
    s/var/lib/dhcp s/var/lib/dpkg s/root s/home s/tmp s/proc s/sys s/dev s/run s/boot s/usr/lib
    echo 12 >s/etc/debian_version; printf 'ID=debian\\nVERSION_ID=\"12\"\\n' >s/etc/os-release
    echo '/dev/vda / ext4 defaults 0 1' >s/etc/fstab; echo root:x:0:0:root:/root:/bin/sh >s/etc/passwd
    touch s/etc/shadow s/etc/group s/var/lib/dpkg/status; cp /bin/busybox s/bin/sh
    echo 0123456789abcdef0123456789abcdef >s/etc/machine-id; echo PRIVATE-HOST-KEY >s/etc/ssh/ssh_host_ed25519_key
    echo SEED >s/var/lib/systemd/random-seed; echo LEASE >s/var/lib/dhcp/dhclient.leases
    echo LOGGED >s/var/log/syslog; echo TYPED >s/root/.bash_history; echo kept >s/root/kept
    truncate -s 96M disk.raw; mke2fs -q -t ext4 -b 4096 -d s disk.raw; sha256sum disk.raw >disk.sum";

/// Sealing for real takes minutes, so without MINIASCAPE_TEST_FULL only the refusal is looked at.
pub(crate) fn a_sealed_guest_leaves_its_identity_behind() {
    let host = Host::start(HostOptions::default().without_libvirtd());
    host.check(["mkdir", "-p", "/srv/seal"]);
    host.command(["sh", "-e", "-c", SYSTEM]).cwd("/srv/seal").check();
    host.write_file(
        "/srv/seal/web.xml",
        "<domain type='qemu'><name>web</name><memory unit='MiB'>192</memory><os><type arch='x86_64'>hvm</type></os>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/seal/disk.raw'/>\
         <target dev='vda' bus='virtio'/></disk></devices></domain>",
    );
    let repack = |more: &[&str]| {
        let fixed = [
            "repack",
            "/srv/seal/web.xml",
            "--to",
            "build-tree",
            "--output",
            "/srv/seal/out",
        ];
        host.miniascape_command(fixed.iter().chain(more))
            .timeout(Duration::from_secs(900))
            .run()
    };
    let unsealed = repack(&["--dry-run"]);
    assert!(
        unsealed.ok() && unsealed.stderr.contains("its clones share machine id"),
        "{unsealed}"
    );
    if std::env::var_os("MINIASCAPE_TEST_FULL").is_some() {
        give_a_kernel(&host);
        let sealed = repack(&["--seal"]);
        assert!(
            sealed.ok() && !sealed.stderr.contains("could not be cleared"),
            "{sealed}"
        );
        sh(
            &host,
            "cd /srv/seal; sha256sum -c disk.sum
             qemu-img convert -f qcow2 -O raw out/vm-web-repacked-0.1/sha256-*.qcow2 sealed.raw",
        );
        let show = |what: &str| {
            let shown = host.check(["debugfs", "-R", what, "/srv/seal/sealed.raw"]);
            shown.stdout
        };
        assert_eq!(show("cat /etc/machine-id"), "");
        assert_eq!(show("cat /root/kept"), "kept\n");
        for (dir, gone) in [
            ("/etc/ssh", "ssh_host"),
            ("/var/lib/systemd", "random-seed"),
            ("/var/lib/dhcp", "leases"),
            ("/root", "history"),
        ] {
            assert!(
                !show(&format!("ls {dir}")).contains(gone),
                "{gone} is still in {dir}"
            );
        }
        // Not in any block, either.
        for word in [
            "PRIVATE-HOST-KEY",
            "LOGGED",
            "TYPED",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert!(
                !host.run(["grep", "-q", word, "/srv/seal/sealed.raw"]).ok(),
                "{word} is still readable"
            );
        }
        host.remove("/srv/seal/out");
    } else {
        note("sealing itself is tried with MINIASCAPE_TEST_FULL=1 only");
    }
    host.remove("/usr/bin/virt-sysprep");
    let refused = repack(&["--seal"]);
    refused.expect_code(4);
    assert!(
        refused.stderr.contains("virt-sysprep") && refused.stderr.contains("guestfs-tools"),
        "{refused}"
    );
    assert!(!host.exists("/srv/seal/out"));
}

/// What libguestfs makes its own little machine of.
fn give_a_kernel(host: &Host) {
    crate::support::guest::boot_image().expect("the lab's guest");
    let tree = crate::support::guest::cache_dir()
        .expect("the lab's cache")
        .join("guest-packages");
    let pack = crate::support::Command::machine([
        "tar".as_ref(),
        "-C".as_ref(),
        tree.as_os_str(),
        "-c".as_ref(),
        "boot".as_ref(),
        "lib/modules".as_ref(),
    ]);
    pack.check_into(&host.command(["tar", "-C", "/usr", "-x"]));
    sh(
        host,
        "mkdir -p /boot; mv /usr/boot/* /boot/
         for dir in /usr/lib/modules/*; do depmod ${dir##*/}; done",
    );
}
