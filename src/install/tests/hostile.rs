//! Packages of strangers.

use super::*;

/// What a stranger's domain may want of the host, and the words of the refusal.
pub(super) const WANTS: [(&str, &str); 43] = [
    ("<emulator>/host/evil</emulator>", "emulator /host/evil"),
    (
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>",
        "host device usb 0001:0002",
    ),
    (
        "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='0' slot='1' function='0'/>\
         </source></hostdev>",
        "host device pci 0000:00:01.0",
    ),
    (
        "<hostdev mode='capabilities' type='storage'><source><block>/host/sda</block></source></hostdev>",
        "/host/sda",
    ),
    (
        "<interface type='hostdev'><source><address type='pci' domain='0' bus='0' slot='1' function='0'/></source></interface>",
        "host device pci 0000:00:01.0",
    ),
    (
        "<input type='evdev'><source dev='/host/event0'/></input>",
        "input device /host/event0",
    ),
    (
        "<input type='passthrough' bus='virtio'><source evdev='/host/event0'/></input>",
        "input device /host/event0",
    ),
    // Disks.
    (
        "<disk type='block' device='cdrom'><source dev='/host/sda'/><target dev='sdb'/></disk>",
        "medium /host/sda",
    ),
    (
        "<disk type='file' device='floppy'><source file='/host/shadow'/><target dev='fda'/></disk>",
        "medium /host/shadow",
    ),
    (
        "<disk type='file' device='cdrom'><backingStore type='file'><format type='raw'/><source file='/host/shadow'/>\
         </backingStore><target dev='sdb'/></disk>",
        "medium /host/shadow",
    ),
    (
        "<filesystem><source dir='/host'/><target dir='all'/></filesystem>",
        "shared directory /host",
    ),
    (
        "<filesystem type='mount'><driver type='virtiofs'/><source socket='/host/fs.sock'/><target dir='all'/></filesystem>",
        "shared directory /host/fs.sock",
    ),
    (
        "<lease><lockspace>a</lockspace><key>b</key><target path='/host/lease'/></lease>",
        "lease of a lock /host/lease",
    ),
    // Networks.
    (
        "<interface type='ethernet'><script path='/host/evil'/></interface>",
        "network script /host/evil",
    ),
    (
        "<interface type='ethernet'><downscript path='/host/evil'/></interface>",
        "network script /host/evil",
    ),
    (
        "<interface type='ethernet'><target dev='host-tap' managed='no'/></interface>",
        "network device host-tap",
    ),
    (
        "<interface type='bridge'><source bridge='host-br'/></interface>",
        "bridge host-br",
    ),
    (
        "<interface type='direct'><source dev='host-eth0'/></interface>",
        "network device host-eth0",
    ),
    (
        "<interface type='vdpa'><source dev='/host/vhost-vdpa-0'/></interface>",
        "network device /host/vhost-vdpa-0",
    ),
    (
        "<interface type='vhostuser'><source type='unix' path='/host/vhost.sock' mode='client'/></interface>",
        "network socket /host/vhost.sock",
    ),
    (
        "<interface type='server'><source address='host-a' port='22'/></interface>",
        "network socket server host-a:22",
    ),
    (
        "<interface type='user'><backend type='passt' logFile='/host/log'/></interface>",
        "log of the network's back end /host/log",
    ),
    (
        "<interface type='user'><backend type='passt'/><portForward proto='tcp' address='host-a'><range start='22'/>\
         </portForward></interface>",
        "forwarded tcp ports of host-a",
    ),
    (
        "<interface type='user'><model type='virtio'/><rom file='/host/rom'/></interface>",
        "option ROM /host/rom",
    ),
    // Ends of character devices.
    (
        "<serial type='file'><source path='/host/cron.d/evil'/></serial>",
        "serial file /host/cron.d/evil",
    ),
    (
        "<serial type='dev'><source path='/host/ttyS0'/></serial>",
        "serial dev /host/ttyS0",
    ),
    (
        "<parallel type='pipe'><source path='/host/fifo'/></parallel>",
        "parallel pipe /host/fifo",
    ),
    (
        "<serial type='pty'><log file='/host/log'/></serial>",
        "log of the serial /host/log",
    ),
    (
        "<console type='tcp'><source mode='bind' host='host-a' service='22'/></console>",
        "console tcp host-a:22",
    ),
    (
        "<channel type='unix'><source mode='connect' path='/host/libvirt-sock'/><target type='virtio' name='a'/></channel>",
        "channel unix /host/libvirt-sock",
    ),
    // A path that looks like one that libvirt makes up, and leads elsewhere.
    (
        "<channel type='unix'><source mode='bind' path='/qemu/channel/x./../../../host/sock'/>\
         <target type='virtio' name='/../../../host/sock'/></channel>",
        "channel unix /qemu/channel/x./../../../host/sock",
    ),
    (
        "<smartcard mode='passthrough' type='unix'><source mode='connect' path='/host/card'/></smartcard>",
        "/host/card",
    ),
    ("<smartcard mode='host'/>", "smartcard of the host"),
    (
        "<redirdev bus='usb' type='unix'><source mode='connect' path='/host/usb'/></redirdev>",
        "redirected over unix",
    ),
    (
        "<tpm><backend type='passthrough'><device path='/host/tpm0'/></backend></tpm>",
        "TPM of the host",
    ),
    (
        "<tpm><backend type='external'><source type='unix' mode='connect' path='/host/tpm.sock'/></backend></tpm>",
        "TPM of the host",
    ),
    (
        "<tpm><backend type='emulator'><source type='dir' path='/host/tpm'/></backend></tpm>",
        "place of the TPM's state /host/tpm",
    ),
    (
        "<rng model='virtio'><backend model='random'>/host/shadow</backend></rng>",
        "random numbers from /host/shadow",
    ),
    (
        "<graphics type='vnc' socket='/host/vnc.sock'/>",
        "socket of the display /host/vnc.sock",
    ),
    (
        "<memory model='nvdimm'><source><path>/host/memory</path></source><target><size>1</size></target></memory>",
        "memory shared with the host /host/memory",
    ),
    (
        "<shmem name='s'><server path='/host/shm.sock'/></shmem>",
        "server of shared memory /host/shm.sock",
    ),
    (
        "<audio id='1' type='file' path='/host/a.wav'/>",
        "sound /host/a.wav",
    ),
    // A second element that libvirt takes where this program looks at the first.
    (
        "<interface type='ethernet'><script/><script path='/host/evil'/></interface>",
        "a second <script> in <interface>",
    ),
];

/// The same for what stands beside the devices, or in `<os>`.
pub(super) const WANTS_OUTSIDE: [(&str, &str, &str); 13] = [
    ("<os>", "<kernel>/host/kernel</kernel>", "kernel /host/kernel"),
    (
        "<os>",
        "<initrd>/host/initrd</initrd>",
        "initial RAM disk /host/initrd",
    ),
    ("<os>", "<dtb>/host/dtb</dtb>", "device tree /host/dtb"),
    ("<os>", "<loader>/host/loader</loader>", "firmware /host/loader"),
    (
        "<os>",
        "<nvram template='/host/shadow'/>",
        "template of the firmware variables /host/shadow",
    ),
    (
        "<os>",
        "<nvram>/host/shadow</nvram>",
        "firmware variables /host/shadow",
    ),
    (
        "<os>",
        "<acpi><table type='slic'>/host/table</table></acpi>",
        "ACPI table /host/table",
    ),
    (
        "</title>",
        "<os><kernel>/host/kernel</kernel></os>",
        "a second <os> in <domain>",
    ),
    (
        "</title>",
        "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='/host/x'/></commandline>",
        "commandline for QEMU",
    ),
    (
        "</title>",
        "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='/host'/></q:override>",
        "q:override for QEMU",
    ),
    (
        "</title>",
        "<seclabel type='none'/>",
        "no confinement by everything",
    ),
    (
        "</title>",
        "<launchSecurity type='sev'><dhCert>/host</dhCert></launchSecurity>",
        "memory encryption sev",
    ),
    (
        "</title>",
        "<sysinfo type='fwcfg'><entry name='opt/a' file='/host/shadow'/></sysinfo>",
        "firmware configuration file /host/shadow",
    ),
];

#[test]
fn layers_that_name_other_files_are_refused() {
    let bench = Bench::new("leaky");
    let draft = bench
        .layout
        .packaged_images()
        .join("draft.qcow2")
        .on_disk()
        .to_owned();
    let secret = bench
        .layout
        .packaged_images()
        .join("secret.qcow2")
        .on_disk()
        .to_owned();
    image::create(&secret, Format::Qcow2, 1 << 20).unwrap();
    image::create_overlay(&draft, secret.to_str().unwrap(), Format::Qcow2, None).unwrap();
    let base = bench.keep(&draft);
    bench.publish("0.1", &[base], "");
    let refused = bench.register().unwrap_err();
    assert!(matches!(refused, InstallError::Layer { .. }), "{refused}");
    assert!(!bench.overlay().exists());
}

#[test]
fn a_stranger_gets_nothing_of_the_host() {
    let bench = Bench::new("stranger");
    let layers = bench.install("0.1", 2);
    for (devices, word) in WANTS {
        bench.publish("0.1", &layers, devices);
        let refused = bench.register().expect_err(devices);
        assert!(
            matches!(&refused, InstallError::HostBound { what, .. } if what.contains(word)),
            "{refused}"
        );
        assert!(bench.libvirt.domain("stranger").unwrap().is_none());
        assert!(!bench.overlay().exists());
    }
    bench.publish("0.1", &layers, "");
    let xml = bench.layout.guest_package(bench.name()).join("domain.xml");
    let good = fs::read_to_string(xml.on_disk()).unwrap();
    for (behind, want, word) in WANTS_OUTSIDE {
        fs::write(
            xml.on_disk(),
            good.replacen(behind, &format!("{behind}{want}"), 1),
        )
        .unwrap();
        let refused = bench.register().expect_err(want);
        assert!(
            matches!(&refused, InstallError::HostBound { what, .. } if what.contains(word)),
            "{refused}"
        );
        assert!(bench.libvirt.domain("stranger").unwrap().is_none());
    }
    // What lets it run anything, leads elsewhere, or may be read in two ways, no manifest can declare.
    for (devices, what) in [
        ("<emulator>/tmp/evil</emulator>", "emulator /tmp/evil: left out"),
        (
            "</devices><seclabel type='none' model='apparmor'/><devices>",
            "no confinement by apparmor: needed on the other host too",
        ),
        (
            "<interface type='user'><rom file='/usr/share/qemu/../../../etc/shadow'/></interface>",
            "option ROM /usr/share/qemu/../../../etc/shadow: needed on the other host too",
        ),
        (
            "</devices><os><type>hvm</type></os><devices>",
            "a second <os> in <domain>: needed on the other host too",
        ),
    ] {
        bench.declare("0.1", &layers, devices, &[what]);
        let refused = bench.register().expect_err(devices).to_string();
        assert!(refused.contains(what.split(": ").next().unwrap()), "{refused}");
    }
    // What the manifest declares is given and told; what it does not, only on trust, which stays with the instance.
    let bridge = "<interface type='bridge'><source bridge='br7'/></interface>";
    bench.publish("0.1", &layers, bridge);
    let refused = bench.register().unwrap_err();
    assert!(refused.to_string().contains("bridge br7"), "{refused}");
    bench.declare(
        "0.1",
        &layers,
        bridge,
        &["bridge br7: needed on the other host too"],
    );
    assert_eq!(
        bench.register().unwrap().notes,
        ["this host has to have: bridge br7"]
    );
    let more = "<interface type='bridge'><source bridge='br8'/></interface>";
    bench.publish("0.2", &layers, more);
    assert!(matches!(bench.register(), Err(InstallError::HostBound { .. })));
    assert!(bench.register_as(None, true).unwrap().changed);
    bench.publish("0.3", &layers, more);
    assert!(bench.register().unwrap().changed);
}

#[test]
fn hostile_packages_make_nothing_and_say_so_in_plain_text() {
    let bench = Bench::new("hostile");
    let layers = bench.install("0.1", 2);
    let place = bench.layout.guest_package(bench.name());
    let (manifest, xml) = (place.join("manifest.json"), place.join("domain.xml"));
    let good_xml = fs::read_to_string(xml.on_disk()).unwrap();
    let refused = |what: &str| {
        let refused = bench.register().expect_err(what).to_string();
        assert!(
            !refused.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{refused:?}"
        );
        assert!(bench.libvirt.domain("hostile").unwrap().is_none(), "{what}");
        for made in [
            bench.layout.instance_disks(bench.name()),
            bench.layout.instance(bench.name()),
        ] {
            assert!(!made.on_disk().exists(), "{what}: {}", made.on_disk().display());
        }
    };
    let good: serde_json::Value = serde_json::from_slice(&fs::read(manifest.on_disk()).unwrap()).unwrap();
    let file =
        |name: &str| json!([{ "name": name, "role": "firmware-variables", "size": 1, "digest": layers[0] }]);
    let host = |name: &str| json!([{ "name": "net-1", "hosts": [{ "name": name, "mac": "52:54:00:00:00:01", "addresses": ["10.0.0.1"] }] }]);
    for (pointer, value) in [
        ("/files", file("../../../../etc/passwd")),
        ("/files", file("/etc/passwd")),
        ("/disks/0/target", json!("../../vda")),
        ("/disks/0/layers/0/digest", json!("../../../etc/passwd")),
        ("/disks/0/layers/0/file_size", json!(u64::MAX)),
        ("/disks/0/layers/0/file_size", json!(1e300)),
        ("/disks/0/layers/0/file_size", json!(-1)),
        ("/domain/memory", json!(u64::MAX)),
        ("/domain/vcpus", json!(0)),
        ("/domain/vcpus", json!(u64::from(u32::MAX) + 1)),
        ("/disks/0/layers/0/virtual_size", json!(u64::MAX)),
        (
            "/disks/0/layers",
            json!(vec![good["disks"][0]["layers"][0].clone(); 2]),
        ),
        ("/disks/0/target", json!("vda\u{1b}[31m")),
        ("/package/release", json!(-1)),
        ("/created", json!("9999999999-01-01T00:00:00Z")),
        ("/warnings", json!(vec!["w"; 5000])),
        ("/renamed_from", json!(["../vm-web"])),
        ("/package/name", json!("vm-../../etc")),
        ("/package/version", json!("1\u{1b}[2J")),
        ("/package/guest", json!("a\u{1b}]0;owned\u{7}")),
        ("/networks", host("a\u{1b}[31m")),
        ("/networks", host("a,b\ndhcp-script=/x")),
        ("/warnings", json!(["\u{202e}txt"])),
        ("/renamed_from", json!(["vm-web\n"])),
    ] {
        let mut bad = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value.clone();
        fs::write(manifest.on_disk(), bad.to_string()).unwrap();
        refused(&format!("{pointer} {value}"));
    }
    for text in [
        "{",
        "",
        "[[[[",
        &"[".repeat(100_000),
        &" ".repeat(5 << 20),
        "{\"format\": 99}",
    ] {
        fs::write(manifest.on_disk(), text).unwrap();
        refused("a manifest that is none");
    }
    fs::write(manifest.on_disk(), good.to_string()).unwrap();

    for text in bad_documents(&good_xml) {
        fs::write(xml.on_disk(), &text).unwrap();
        refused(&text.chars().take(60).collect::<String>());
    }
    fs::write(xml.on_disk(), [0xff, 0xfe, 0x00]).unwrap();
    refused("no text");
    fs::write(xml.on_disk(), good_xml).unwrap();
    assert!(bench.register().unwrap().changed);
}

/// Documents that are no domains, are too much, or hold what no domain may, made of a good one.
fn bad_documents(good: &str) -> Vec<String> {
    let mut all: Vec<String> = ["", "\u{0}", "<domain/>"].map(str::to_owned).to_vec();
    all.push("<!DOCTYPE d [<!ENTITY a '&b;&b;'><!ENTITY b '&a;&a;'>]><domain>&a;</domain>".to_owned());
    all.push(format!("<domain>{}</domain>", "<a>".repeat(100_000)));
    let many = "<a/>".repeat(200_000);
    let attributes: String = (0..200_000).map(|n| format!(" a{n}=''")).collect();
    let comment = format!("<!--{}-->", "x".repeat(5 << 20));
    for (from, to) in [
        ("</devices>", &*format!("{many}</devices>")),
        ("</devices>", &*format!("<a{attributes}/></devices>")),
        ("</devices>", &*format!("{comment}</devices>")),
        ("<memory>", "<memory unit='\u{1b}[31m'>"),
        (">65536<", ">99999999999999999999999999<"),
        ("<memory>65536<", "<memory unit='EiB'>18446744073709551615<"),
        ("<os>", "<vcpu>4294967295</vcpu><os>"),
        // libvirt would work on these until memory or patience runs out.
        ("<os>", "<iothreads>4000000000</iothreads><os>"),
        (
            "</disk>",
            "<address type='drive' controller='4294967294'/></disk>",
        ),
        ("</devices>", "<controller type='scsi' index='99999'/></devices>"),
        ("dev='vda'", "dev='sdzzzzzz'"),
        ("dev='vda'", "dev='sdzzzzzz1'"),
        ("dev='vda'", "dev='../../vda'"),
    ] {
        all.push(good.replacen(from, to, 1));
    }
    all
}
