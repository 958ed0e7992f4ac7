//! Booting over the network: the right file for each kind of firmware, through a firewall that drops what it does not
//! know, and real firmware that loads and runs it.

use crate::clients::Client;
use crate::networks::host_with_daemon;
use crate::support::{Host, Running, wait_until};
use std::time::Duration;

/// UEFI takes half a minute until it thinks of the network, on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(180);
const FILE: &str = "/etc/miniascape/networks/lab.yaml";
const BOOT: &str = "tftp: /srv/tftp, ipxe: start.ipxe, bios: undionly.kpxe, uefi: ipxe.efi, uefi_arm64: arm/ipxe.efi, file: other";

fn definition(boot: &str) -> String {
    format!(
        "network:\n  name: lab\n  mode: isolated\n  bridge: virbr66\n  domain: lab.internal\n  \
         ipv4: {{ subnet: 10.66.6.0/24 }}\n  dhcp:\n    ranges: [ {{ start: 10.66.6.100, end: 10.66.6.199 }} ]\n    boot: {{ {boot} }}\n  dnsmasq_options: [ no-ping ]\n"
    )
}

/// A host whose firewall drops whatever it was not told to let in, as its owner left it, and boot files.
fn strict_host() -> (Host, Running) {
    let (host, daemon) = host_with_daemon();
    for (file, text) in [
        (
            "start.ipxe",
            "#!ipxe\nchain tftp://${next-server}/${buildarch}-next.ipxe\n",
        ),
        ("i386-next.ipxe", "#!ipxe\nshell\n"),
        ("undionly.kpxe", "for a BIOS"),
        ("ipxe.efi", "for UEFI"),
        ("arm/ipxe.efi", "for ARM"),
        ("other", "for others"),
    ] {
        host.write_file(format!("/srv/tftp/{file}"), text);
    }
    host.check(["chmod", "-R", "a+rX", "/srv"]);
    host.check(["iptables", "-P", "INPUT", "DROP"]);
    host.write_file(FILE, definition(BOOT));
    (host, daemon)
}

/// iptables' rules but for libvirt's.
fn rules(host: &Host) -> String {
    let all = host.check(["iptables", "-S"]).stdout;
    let lines = all.lines().filter(|line| !line.contains("LIBVIRT"));
    lines.collect::<Vec<_>>().join("\n")
}

fn opening(host: &Host) -> usize {
    rules(host).matches("miniascape:lab").count()
}

/// What a client of this architecture is told to load: the file, and whether this host has it.
fn told(client: &Client<'_>, options: &[&str]) -> String {
    let lease = client.dhcp("52:54:00:00:00:66", options).expect("a lease");
    assert_eq!(lease["siaddr"], "10.66.6.1", "{lease:?}");
    lease["boot_file"].clone()
}

fn fetch(client: &Client<'_>, file: &str) -> Option<String> {
    let got = client.run(&[
        "timeout",
        "2",
        "busybox",
        "tftp",
        "-g",
        "-r",
        file,
        "-l",
        "/root/got",
        "10.66.6.1",
    ]);
    got.ok().then(|| client.check(&["cat", "/root/got"]).stdout)
}

pub(crate) fn each_firmware_gets_its_file_through_a_firewall_that_is_closed_again() {
    let (mut host, _daemon) = strict_host();
    let before = rules(&host);
    let registered = host.miniascape_check(["net", "register", "lab"]);
    assert!(
        registered.stdout.contains("open the firewall for boot files"),
        "{registered}"
    );
    assert_eq!(registered.stderr, "", "{registered}");
    host.miniascape_check(["net", "status", "lab"]);
    let again = host.miniascape_check(["net", "register", "lab"]);
    assert!(again.stdout.contains("nothing to do"), "{again}");

    let client = Client::plug(&host, "virbr66", "client");
    for (options, file, content) in [
        (&["-x", "0x5d:0000"][..], "undionly.kpxe", "for a BIOS"),
        (&["-x", "0x5d:0007"], "ipxe.efi", "for UEFI"),
        (&["-x", "0x5d:0009"], "ipxe.efi", "for UEFI"),
        (&["-x", "0x5d:000b"], "arm/ipxe.efi", "for ARM"),
        (&["-x", "0x5d:0006"], "other", "for others"),
        (&[], "other", "for others"),
        // iPXE on a PC with BIOS.
        (&["-x", "0x5d:0000", "-x", "0xaf:b00101"], "start.ipxe", "#!ipxe"),
    ] {
        assert_eq!(told(&client, options), file, "{options:?}");
        let got = fetch(&client, file).unwrap_or_else(|| panic!("{file} did not come"));
        assert!(got.starts_with(content), "{file}: {got}");
    }
    assert_eq!(fetch(&client, "../../etc/passwd"), None);
    assert_eq!(fetch(&client, "/etc/passwd"), None);

    // libvirt makes its own rules anew when it starts, and leaves ours; what somebody else removes is missed and made again.
    drop(client);
    host.stop_libvirtd();
    host.start_libvirtd();
    let client = Client::plug(&host, "virbr66", "client");
    assert!(client.dhcp("52:54:00:00:00:66", &[]).is_some());
    assert_eq!(opening(&host), 2);
    host.check(["iptables", "-F", "MINIASCAPE_INP"]);
    assert_eq!(fetch(&client, "other"), None, "the firewall lets everything in");
    let status = host.miniascape(["net", "status", "lab"]);
    status.expect_code(1);
    assert!(status.stdout.contains("miniascape net firewall lab"), "{status}");
    host.miniascape_check(["net", "firewall", "lab"]);
    assert!(fetch(&client, "other").is_some());
    host.miniascape_check(["net", "status", "lab"]);

    // Files that dnsmasq cannot read, and tables that drop by themselves, are told; nothing is done about them.
    host.check(["chmod", "600", "/srv/tftp/ipxe.efi"]);
    host.remove("/srv/tftp/other");
    host.check([
        "nft",
        "add table inet own; add chain inet own in { type filter hook input priority 10; policy drop; }",
    ]);
    let status = host.miniascape(["net", "status", "lab"]);
    status.expect_code(1);
    for said in [
        "/srv/tftp/ipxe.efi",
        "/srv/tftp/other",
        "nft insert rule inet own in iifname virbr66 udp dport 69 accept",
    ] {
        assert!(status.stdout.contains(said), "{said}: {status}");
    }
    assert!(!status.stdout.contains("undionly"), "{status}");
    host.check(["nft", "delete table inet own"]);

    // Without boot files the opening goes, with them it comes back, and it goes with the network.
    let unfinished = host.read_file(FILE);
    host.write_file(FILE, unfinished.replace("tftp: /srv/tftp", "server: 10.66.6.7"));
    let updated = host.miniascape_check(["net", "update", "lab"]);
    assert!(updated.stdout.contains("close the firewall"), "{updated}");
    assert_eq!(rules(&host), before);
    assert_eq!(
        client.dhcp("52:54:00:00:00:66", &[]).expect("a lease")["siaddr"],
        "10.66.6.7"
    );
    host.write_file(FILE, unfinished);
    host.miniascape_check(["net", "update", "lab"]);
    assert_eq!(opening(&host), 2);
    drop(client);
    host.miniascape_check(["net", "unregister", "lab"]);
    assert_eq!(rules(&host), before);
}

pub(crate) fn the_opening_is_there_again_after_a_power_cut_and_a_killed_run() {
    let (host, daemon) = strict_host();
    let before = rules(&host);
    // Killed when it starts a program for the third, the fourth, … time, which is iptables; the next run converges.
    let mut halves = 0;
    for point in 3..=9 {
        let kill = format!("--inject=clone:signal=KILL:when={point}");
        let trace = [
            "strace",
            "--output=/dev/null",
            "--trace=clone",
            "--signal=none",
            &kill,
        ];
        let killed = |verb: &str| host.run(trace.iter().chain(&["miniascape", "net", verb, "lab"]));
        killed("register");
        halves += usize::from(rules(&host) != before && opening(&host) < 2);
        host.miniascape_check(["net", "register", "lab"]);
        assert_eq!(opening(&host), 2, "{point}");
        assert_eq!(rules(&host).matches("-j MINIASCAPE_INP").count(), 1, "{point}");
        killed("unregister");
        halves += usize::from(rules(&host) != before && opening(&host) < 2);
        host.miniascape_check(["net", "unregister", "lab"]);
        assert_eq!(rules(&host), before, "{point}");
    }
    assert!(halves >= 3, "{halves}");
    // The kernel has forgotten everything when the daemon starts after a restart of the host.
    host.miniascape_check(["net", "register", "lab"]);
    drop(daemon);
    host.check(["iptables", "-D", "INPUT", "-j", "MINIASCAPE_INP"]);
    host.check(["iptables", "-F", "MINIASCAPE_INP"]);
    host.check(["iptables", "-X", "MINIASCAPE_INP"]);
    let _daemon = crate::networks::daemon(&host);
    assert_eq!(opening(&host), 2);
    host.miniascape_check(["net", "status", "lab"]);
}

/// The XML of a machine without a disk, which boots over the network.
fn diskless(name: &str, firmware: &str, rom: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>\
         <os>{firmware}<boot dev='network'/></os><features><acpi/></features><on_poweroff>destroy</on_poweroff>\
         <devices><interface type='network'><source network='lab'/><model type='virtio'/>{rom}</interface></devices></domain>"
    )
}

pub(crate) fn real_firmware_loads_and_runs_what_it_is_told() {
    let (host, daemon) = strict_host();
    host.miniascape_check(["net", "register", "lab"]);
    let bios = "<type machine='pc'>hvm</type>";
    // With QEMU's own ROM UEFI would be iPXE too.
    let uefi = "<type machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>\
        <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>";
    for (name, xml) in [
        ("bios", diskless("bios", bios, "")),
        ("uefi", diskless("uefi", uefi, "<rom enabled='no'/>")),
    ] {
        host.write_file(format!("/root/{name}.xml"), xml);
        host.check(["virsh", "create", &format!("/root/{name}.xml")]);
    }
    let sent = |file: &str| {
        daemon
            .transcript()
            .contains(&format!("sent /srv/tftp/{file} to 10.66.6."))
    };
    // SeaBIOS runs QEMU's iPXE, which runs the script, which loads another.
    wait_until("iPXE to load its script", PATIENCE, || sent("start.ipxe"));
    wait_until("the script to load another", PATIENCE, || sent("i386-next.ipxe"));
    wait_until("UEFI to load its file", PATIENCE, || sent("ipxe.efi"));
    assert!(
        !sent("undionly.kpxe") && !sent("other"),
        "{}",
        daemon.transcript()
    );
    host.check(["virsh", "destroy", "uefi"]);
}
