//! How fast a registered network changes, and how fast one is registered, beside virsh and dnsmasq by hand: on a
//! private host with a real libvirt, from a program that runs inside it.

use super::run::Run;
use crate::support::{Host, HostOptions, MINIASCAPE, set_under_test, wait_until};
use fs_err as fs;
use miniascape::host::dns::{Kind, ask};
use miniascape::name::DnsName;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The argument that makes this executable the measuring program inside a host.
pub(crate) const INSIDE: &str = "--inside";

const HOSTS: u32 = 10_000;
const CHANGES: u32 = 11;
const REGISTRATIONS: u32 = 7;
const PROGRAM: &str = "/usr/local/bin/measure";

pub(crate) fn main() {
    set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    let host = Host::start(HostOptions::default());
    let daemon = host.miniascape_command(["--verbose", "daemon"]).spawn();
    wait_until(
        "the daemon's word that it is ready",
        Duration::from_secs(30),
        || daemon.transcript().contains("ready:"),
    );
    host.copy_from_machine(std::env::current_exe().expect("Linux knows it"), PROGRAM);
    host.check(["chmod", "755", PROGRAM]);
    let measured = host
        .command([PROGRAM, INSIDE])
        .timeout(Duration::from_secs(900))
        .check();
    println!("{}", measured.stdout.trim_end());
}

/// What runs inside the host.
pub(crate) fn inside() {
    update();
    register();
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 70, 1, 0)) + n)
}

fn mac(n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// A definition with `hosts` hosts.
fn definition(hosts: u32) -> String {
    let mut text = "network:\n  name: ours\n  mode: isolated\n  bridge: br-ours\n  domain: ours.internal\n  \
        ipv4: { subnet: 10.70.0.0/16 }\n  dhcp: { ranges: [ { start: 10.70.200.0, end: 10.70.250.0 } ] }\n  hosts:\n"
        .to_owned();
    for n in 0..hosts {
        writeln!(
            text,
            "    - {{ name: host-{n}, mac: \"{}\", ip: {} }}",
            mac(n),
            address(n)
        )
        .expect("a String takes everything");
    }
    text
}

/// The same network, run by libvirt.
fn libvirt_definition(hosts: u32) -> String {
    let mut text = "<network><name>theirs</name><bridge name='br-theirs' stp='on' delay='0'/>\
        <domain name='theirs.internal' localOnly='yes'/><dns>"
        .to_owned();
    for n in 0..hosts {
        write!(
            text,
            "<host ip='{}'><hostname>host-{n}.theirs.internal</hostname></host>",
            theirs(n)
        )
        .expect("a String takes everything");
    }
    text.push_str("</dns><ip address='10.71.0.1' netmask='255.255.0.0'><dhcp><range start='10.71.200.0' end='10.71.250.0'/>");
    for n in 0..hosts {
        write!(
            text,
            "<host mac='{}' name='host-{n}' ip='{}'/>",
            mac(n),
            theirs(n)
        )
        .expect("a String takes everything");
    }
    text.push_str("</dhcp></ip></network>");
    text
}

fn theirs(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 71, 1, 0)) + n)
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("it starts");
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Seconds from the start of a command until `server` answers for `name` with `wanted`; the command then ends by itself.
fn until_answered(program: &str, args: &[&str], server: Ipv4Addr, name: &str, wanted: Ipv4Addr) -> f64 {
    let name: DnsName = name.parse().expect("a name");
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let answered = loop {
        let answer = ask(server.into(), &name, Kind::A, Duration::from_millis(200)).unwrap_or_default();
        if answer.contains(&IpAddr::from(wanted)) {
            break start.elapsed().as_secs_f64();
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name} is never answered"
        );
        std::thread::sleep(Duration::from_micros(500));
    };
    assert!(child.wait().is_ok_and(|s| s.success()), "{program} {args:?}");
    answered
}

fn update() {
    let file = "/etc/miniascape/networks/ours.yaml";
    fs::create_dir_all("/etc/miniascape/networks").expect("root may");
    fs::write(file, definition(HOSTS)).expect("root may");
    run(MINIASCAPE, &["net", "register", "ours"]);
    fs::write("/tmp/theirs.xml", libvirt_definition(HOSTS)).expect("root may");
    run("virsh", &["-q", "net-define", "/tmp/theirs.xml"]);
    run("virsh", &["-q", "net-start", "theirs"]);
    let (mut ours, mut dns, mut dhcp) = (Run::default(), Run::default(), Run::default());
    for change in 0..CHANGES {
        let n = HOSTS + change;
        fs::write(file, definition(n + 1)).expect("root may");
        let name = format!("host-{n}.ours.internal");
        ours.add((
            until_answered(
                MINIASCAPE,
                &["net", "update", "ours"],
                Ipv4Addr::new(10, 70, 0, 1),
                &name,
                address(n),
            ),
            0,
        ));
        let name = format!("host-{n}.theirs.internal");
        let entry = format!("<host ip='{}'><hostname>{name}</hostname></host>", theirs(n));
        let args = [
            "-q",
            "net-update",
            "theirs",
            "add",
            "dns-host",
            &entry,
            "--live",
            "--config",
        ];
        dns.add((
            until_answered("virsh", &args, Ipv4Addr::new(10, 71, 0, 1), &name, theirs(n)),
            0,
        ));
        let entry = format!("<host mac='{}' name='host-{n}' ip='{}'/>", mac(n), theirs(n));
        let start = Instant::now();
        run(
            "virsh",
            &[
                "-q",
                "net-update",
                "theirs",
                "add",
                "ip-dhcp-host",
                &entry,
                "--live",
                "--config",
            ],
        );
        dhcp.add((start.elapsed().as_secs_f64(), 0));
    }
    println!("a new host in a network of {HOSTS}, until it is answered for; median of {CHANGES}");
    println!(
        "  net update (name and reservation)   {:7.1} ms",
        1e3 * ours.median()
    );
    println!(
        "  virsh net-update dns-host           {:7.1} ms",
        1e3 * dns.median()
    );
    println!(
        "  virsh net-update ip-dhcp-host       {:7.1} ms   (until virsh ends)",
        1e3 * dhcp.median()
    );
    println!(
        "  ratio, to both of virsh             {:7.2}",
        ours.median() / (dns.median() + dhcp.median())
    );
    run(MINIASCAPE, &["net", "unregister", "ours"]);
    run("virsh", &["-q", "net-destroy", "theirs"]);
    run("virsh", &["-q", "net-undefine", "theirs"]);
}

/// dnsmasq's configuration as somebody would write it by hand.
const BY_HAND: &str = "bind-dynamic\ninterface=br-hand\nexcept-interface=lo\nno-hosts\nno-resolv\ndomain=hand.internal\n\
    local=/hand.internal/\ndhcp-range=10.72.0.100,10.72.0.199,255.255.255.0,1h\ndhcp-leasefile=/tmp/hand.leases\n\
    pid-file=/tmp/hand.pid\n";

fn register() {
    fs::write("/etc/miniascape/networks/ours.yaml", definition(1)).expect("root may");
    fs::write("/tmp/hand.conf", BY_HAND).expect("root may");
    fs::write(
        "/tmp/hand.xml",
        "<network><name>hand</name><bridge name='br-hand' stp='on' delay='0'/><dns enable='no'/>\
         <ip address='10.72.0.1' prefix='24'/></network>",
    )
    .expect("root may");
    let (mut ours, mut hand) = (Run::default(), Run::default());
    for _ in 0..REGISTRATIONS {
        let start = Instant::now();
        run(MINIASCAPE, &["net", "register", "ours"]);
        ours.add((start.elapsed().as_secs_f64(), 0));
        run(MINIASCAPE, &["net", "unregister", "ours"]);
        let start = Instant::now();
        run("virsh", &["-q", "net-define", "/tmp/hand.xml"]);
        run("virsh", &["-q", "net-autostart", "hand"]);
        run("virsh", &["-q", "net-start", "hand"]);
        run("dnsmasq", &["--conf-file=/tmp/hand.conf"]);
        hand.add((start.elapsed().as_secs_f64(), 0));
        let pid = fs::read_to_string("/tmp/hand.pid").expect("dnsmasq wrote it");
        run("kill", &[pid.trim()]);
        run("virsh", &["-q", "net-destroy", "hand"]);
        run("virsh", &["-q", "net-undefine", "hand"]);
    }
    println!("a network made real, from nothing to a dnsmasq that answers; median of {REGISTRATIONS}");
    println!(
        "  net register                        {:7.1} ms",
        1e3 * ours.median()
    );
    println!(
        "  virsh, three times, and dnsmasq     {:7.1} ms",
        1e3 * hand.median()
    );
    println!(
        "  ratio                               {:7.2}",
        ours.median() / hand.median()
    );
}
