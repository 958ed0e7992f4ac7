//! How networks are connected, on a real libvirt: what a guest reaches in every mode, what the host has to give for
//! that, and that nothing of the host's own is switched, moved or left behind.

use crate::networks::host_with_daemon;
use crate::support::guest::{self, BOOT_TIMEOUT, Console, DiskSpec};
use crate::support::{Host, Output, Running, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A machine on the network that the host is in: a namespace behind a port of the host's bridge `br0`.
pub(crate) struct Lan<'h> {
    host: &'h Host,
    process: Running,
}

impl<'h> Lan<'h> {
    /// The host is 10.5.0.1 and fd00:5::1 on `br0`, the machine 10.5.0.2 and fd00:5::2 behind the port `lan0`.
    pub(crate) fn start(host: &'h Host) -> Self {
        let process = host.spawn(["unshare", "--net", "sleep", "infinity"]);
        let pid = process.pid_inside().expect("it runs");
        host.check([
            "sh",
            "-ec",
            "until [ \"$(readlink /proc/$0/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
             ip link add br0 type bridge
             ip link add lan0 type veth peer name lan1 netns $0
             ip link set lan0 master br0 up
             ip link set br0 up
             ip addr add 10.5.0.1/24 dev br0
             ip addr add fd00:5::1/64 dev br0 nodad",
            &pid.to_string(),
        ]);
        let lan = Self { host, process };
        lan.sh("ip link set lo up; ip link set lan1 up; ip addr add 10.5.0.2/24 dev lan1; ip addr add fd00:5::2/64 dev lan1 nodad");
        lan
    }

    /// A command on that machine.
    fn argv(&self, script: &str) -> Vec<String> {
        let pid = self.process.pid_inside().expect("it runs").to_string();
        ["nsenter", "--target", &pid, "--net", "sh", "-ec", script]
            .map(str::to_owned)
            .to_vec()
    }

    /// Moves an interface of the host to that machine.
    fn take(&self, interface: &str) {
        let pid = self.process.pid_inside().expect("it runs").to_string();
        self.host.check(["ip", "link", "set", interface, "netns", &pid]);
    }

    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.host.check(self.argv(script))
    }

    fn mac(&self, interface: &str) -> String {
        let shown = self.sh(&format!(
            "ip -o link show {interface} | sed 's|.*link/ether ||; s| .*||'"
        ));
        shown.text().to_owned()
    }

    /// A DHCP client on that machine, which takes no address.
    fn client(&self) -> Output {
        self.sh("busybox udhcpc -i lan1 -n -q -f -s /bin/true 2>&1")
    }

    /// Starts a DHCP server on that machine, for the subnet that begins with these three numbers.
    fn dhcp_server(&self, interface: &str, subnet: &str) -> Running {
        self.sh(&format!(
            "ip -4 addr flush dev {interface}; ip addr add {subnet}.2/24 dev {interface}; ip link set {interface} up"
        ));
        let mut server = self.host.spawn(self.argv(&format!(
            "exec dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --port=0 --log-facility=- \
             --interface={interface} --bind-interfaces --dhcp-range={subnet}.100,{subnet}.120 --dhcp-leasefile=/tmp/theirs",
        )));
        wait_until("the other server", PATIENCE, || {
            assert!(server.is_running(), "{}", server.transcript());
            server.transcript().contains("DHCP, IP range")
        });
        server
    }
}

/// Writes the definition of the network `name`; `rest` are lines below `network:` beside name and mode.
fn define(host: &Host, name: &str, mode: &str, rest: &str) {
    let text = format!(
        "network:\n  name: {name}\n  mode: {mode}\n  {}\n",
        rest.replace('\n', "\n  ")
    );
    host.write_file(format!("/etc/miniascape/networks/{name}.yaml"), text);
}

fn switch(host: &Host, path: &str) -> String {
    host.read_file(format!("/proc/sys/{path}")).trim().to_owned()
}

const FORWARD4: &str = "net/ipv4/ip_forward";
const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

/// The text between the backticks behind `before`, which is a command for a person, run as one.
#[track_caller]
fn obey(host: &Host, said: &str, before: &str) {
    let rest = said
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("no {before:?} in {said}"));
    let command = rest
        .split('`')
        .nth(1)
        .unwrap_or_else(|| panic!("no command in {rest}"));
    host.check(["sh", "-c", command]);
}

/// What belongs to the host on the bridge that was there before us.
fn bridge(host: &Host) -> String {
    host.check([
        "sh",
        "-c",
        "ip -o link show br0; ip -o addr show dev br0 scope global; ls /sys/class/net/br0/brif",
    ])
    .stdout
}

/// The taps and host routes that are made for guests of a network without a bridge.
fn taps(host: &Host) -> String {
    host.check(["sh", "-c", "ls /sys/class/net | grep '^hr-' || true; ip route | grep hr- || true; ip -6 route | grep hr- || true"])
        .stdout
}

/// A guest with an interface in each network, in this order.
const NICS: [&str; 6] = [
    "m-nat",
    "m-routed,mac=52:54:00:00:62:10",
    "m-isolated",
    "m-open",
    "m-bridge",
    "m-route,mac=52:54:00:00:66:10",
];

const ROUTED_ALONE: &str = "ipv4: { subnet: 10.5.0.128/28 }\nipv6: { subnet: \"fd00:66::/64\" }\n\
     hosts: [ { name: g, mac: \"52:54:00:00:66:10\", ip: [ 10.5.0.130, \"fd00:66::10\" ] } ]";

#[rustfmt::skip]
fn define_every_mode(host: &Host) {
    define(host, "m-nat", "nat", "domain: m-nat.internal\nipv4: { subnet: 10.61.0.0/24 }\nipv6: { subnet: \"fd00:61::/64\" }\n\
        dhcp: { ranges: [ { start: 10.61.0.100, end: 10.61.0.199 } ] }");
    define(host, "m-routed", "routed", "domain: m-routed.internal\nipv4: { subnet: 10.62.0.0/24 }\ndhcp: {}\n\
        hosts: [ { name: g, mac: \"52:54:00:00:62:10\", ip: 10.62.0.10 } ]");
    define(host, "m-isolated", "isolated", "domain: m-isolated.internal\nipv4: { subnet: 10.63.0.0/24 }\n\
        hosts: [ { name: g, ip: 10.63.0.10 } ]");
    define(host, "m-open", "open", "ipv4: { subnet: 10.64.0.0/24 }\ndns: { serve: false }");
    define(host, "m-bridge", "bridge", "bridge: br0");
    define(host, "m-route", "hostroute", ROUTED_ALONE);
}

pub(crate) fn a_guest_reaches_in_every_mode_what_it_should() {
    let (host, _daemon) = host_with_daemon();
    let lan = Lan::start(&host);
    define_every_mode(&host);
    let before = bridge(&host);
    forwarding_is_named_and_left_to_others(&host);
    for name in ["m-nat", "m-routed", "m-isolated", "m-bridge"] {
        host.miniascape_check(["net", "register", name]);
        host.miniascape_check(["net", "status", name]);
    }
    // dnsmasq: DNS and DHCP in two, DNS in two, none in two.
    let names = format!("{ROUTED_ALONE}\ndomain: m-route.internal\ndns: {{ serve: true }}");
    define(&host, "m-route", "hostroute", &names);
    host.miniascape_check(["net", "update", "m-route"]);
    let servers = host.check(["pgrep", "-a", "-x", "dnsmasq"]).stdout;
    let served = |name: &str| servers.contains(&format!("/networks/{name}/dnsmasq.conf"));
    assert_eq!(servers.lines().count(), 4, "{servers}");
    assert!(
        ["m-nat", "m-routed", "m-isolated", "m-route"]
            .into_iter()
            .all(served),
        "{servers}"
    );
    let conf = |name: &str| host.read_file(format!("/var/lib/miniascape/networks/{name}/dnsmasq.conf"));
    assert!(conf("m-routed").contains("dhcp-range=") && !conf("m-isolated").contains("dhcp-range="));
    // libvirt's rules: for all bridges of ours but that of the open network.
    let rules = host.check(["nft", "list", "ruleset"]).stdout;
    let ruled = |name: &str| rules.contains(&format!("\"ms-{name}\""));
    assert!(
        ruled("m-nat") && ruled("m-routed") && ruled("m-isolated") && !ruled("m-open"),
        "{rules}"
    );

    assert_eq!(taps(&host), "");
    let mut console = start_guest(&host, &NICS);
    leases(&mut console);
    reach(&host, &lan, &mut console);
    let refused = host.miniascape(["net", "unregister", "m-route"]);
    refused.expect_code(3);
    assert!(
        refused
            .stderr
            .contains("the guest g is plugged into the network m-route"),
        "{refused}"
    );

    // Tap and route go with the guest, however it goes, and come with it.
    let routes = [
        "10.5.0.130 dev hr-525400006610",
        "fd00:66::10 dev hr-525400006610",
    ];
    for end in [
        ["pkill", "-9", "-f", "guest=g,"].as_slice(),
        &["virsh", "destroy", "g"],
    ] {
        if host.domain_state("g").as_deref() != Some("running") {
            host.miniascape_check(["guest", "start", "g"]);
        }
        wait_until("tap and routes", PATIENCE, || {
            let there = taps(&host);
            routes.iter().all(|route| there.contains(route))
        });
        host.check(end);
        wait_until("the tap to go with the guest", PATIENCE, || {
            taps(&host).is_empty()
        });
        host.wait_domain_state("g", "shut off", PATIENCE);
    }

    for nic in NICS {
        let name = nic.split(',').next().unwrap_or_default();
        host.miniascape_check(["net", "unregister", name]);
    }
    assert_eq!(bridge(&host), before);
    assert_eq!(
        host.check(["virsh", "-q", "net-list", "--all", "--name"]).text(),
        ""
    );
    assert_eq!(host.list_dir("/sys/class/net"), ["br0", "lan0", "lo"]);
    assert_eq!(host.list_dir("/var/lib/miniascape/networks"), [""; 0]);
}

/// libvirt switches forwarding on when it starts a network that needs it. We do not, wherever it is off.
fn forwarding_is_named_and_left_to_others(host: &Host) {
    assert_eq!(
        (switch(host, FORWARD4), switch(host, FORWARD6)),
        ("0".into(), "0".into())
    );
    let first = host.miniascape_check(["net", "register", "m-route"]);
    assert!(
        first.stdout.starts_with("m-route registered: put it on record"),
        "{first}"
    );
    for named in [
        "`sysctl -w net.ipv4.ip_forward=1`",
        "`sysctl -w net.ipv6.conf.all.forwarding=1`",
        "the network at br0, whose machines look for them by ARP: `sysctl -w net.ipv4.conf.br0.proxy_arp=1`",
    ] {
        assert!(first.stderr.contains(named), "no {named} in {first}");
    }
    let again = host.miniascape_check(["net", "register", "m-route", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    let status = host.miniascape(["net", "status", "m-route"]);
    status.expect_code(1);
    assert_eq!(status.stdout.matches("problem ").count(), 3, "{status}");
    assert_eq!(
        (switch(host, FORWARD4), switch(host, FORWARD6)),
        ("0".into(), "0".into())
    );

    host.miniascape_check(["net", "register", "m-open"]);
    assert_eq!(switch(host, FORWARD4), "1", "libvirt switches it on");
    host.miniascape_check(["net", "status", "m-open"]);
    host.check(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    let status = host.miniascape(["net", "status", "m-open"]);
    status.expect_code(1);
    let again = host.miniascape_check(["net", "register", "m-open"]);
    assert!(
        again.stdout.contains("nothing to do") && again.stderr.contains("forwards no IPv4"),
        "{again}"
    );
    assert_eq!(switch(host, FORWARD4), "0");
    // What is named is what helps.
    obey(host, &status.stdout, "this host forwards no IPv4 packets");
    host.miniascape_check(["net", "status", "m-open"]);
}

fn start_guest(host: &Host, nics: &[&str]) -> Console {
    DiskSpec::new("m").make(host, "/srv/g.qcow2");
    let nics: Vec<_> = nics.iter().flat_map(|nic| ["--network", nic]).collect();
    guest::create(host, "g", "/srv/g.qcow2", &nics);
    host.miniascape_check(["guest", "start", "g"]);
    let mut console = Console::attach(host, "g");
    console.wait_ready();
    console
}

/// What the guest was given by DHCP.
fn leases(console: &mut Console) {
    let mut leases = [
        console.wait("LEASE", BOOT_TIMEOUT),
        console.wait("LEASE", BOOT_TIMEOUT),
    ];
    leases.sort_by_key(|lease| lease.value("iface").to_owned());
    assert!(leases[0].value("ip").starts_with("10.61.0.1"), "{leases:?}");
    assert_eq!(leases[1].value("ip"), "10.62.0.10");
}

/// What the guest reaches by each of its interfaces.
fn reach(host: &Host, lan: &Lan<'_>, console: &mut Console) {
    let mut reaches = |setup: &str, address: &str, tries: u8| {
        let ping = format!("for i in $(seq {tries}); do ping -c 1 -W 2 {address} >/dev/null && break; done");
        let answer = console.ask(&format!("run {setup}; {ping}; echo REACHED $?"), "REACHED");
        answer.0 == "REACHED 0"
    };
    let mut check = |what: &str, yes: bool, setup: &str, address: &str| {
        // The first packet may be lost while addresses are found.
        let tries = if yes { 4 } else { 1 };
        assert_eq!(reaches(setup, address, tries), yes, "{what}");
    };
    let out = "10.5.0.2";
    let by = |gateway: &str, nic: u8| format!("ip route replace {out} via {gateway} dev eth{nic}");

    // With the host's address, since nobody outside knows the way to the guest's.
    check("nat", true, &by("10.61.0.1", 0), out);
    let out6 = "fd00:5::2";
    check(
        "nat, IPv6",
        true,
        &format!("ip -6 route replace {out6} via fd00:61::1 dev eth0"),
        out6,
    );
    // With its own address, to which the way has to be known.
    check("routed, without a way back", false, &by("10.62.0.1", 1), out);
    lan.sh("ip route add 10.62.0.0/24 via 10.5.0.1");
    check("routed", true, "true", out);
    // Not beyond the host.
    lan.sh("ip route add 10.63.0.0/24 via 10.5.0.1");
    check(
        "isolated, the host",
        true,
        "ip addr add 10.63.0.10/24 dev eth2",
        "10.63.0.1",
    );
    check("isolated", false, &by("10.63.0.1", 2), out);
    lan.sh("ip route add 10.64.0.0/24 via 10.5.0.1");
    let open = format!("ip addr add 10.64.0.10/24 dev eth3; {}", by("10.64.0.1", 3));
    check("open", true, &open, out);
    // As every machine there.
    check(
        "bridge",
        true,
        &format!("ip route del {out}; ip addr add 10.5.0.60/24 dev eth4"),
        out,
    );
    lan.sh("busybox ping -q -c 2 -W 2 10.5.0.60");
    // As a part of the network outside, for which the host has to answer.
    let alone = "ip link set eth4 down; ip addr add 10.5.0.130/32 dev eth5; ip route add 10.5.0.129 dev eth5; \
                 ip route add 10.5.0.2 via 10.5.0.129 dev eth5; ip addr add fd00:66::10/128 dev eth5 nodad; \
                 ip -6 route add fd00:66::1 dev eth5";
    check("hostroute, without proxy ARP", false, alone, out);
    let status = host.miniascape(["net", "status", "m-route"]);
    status.expect_code(1);
    obey(host, &status.stdout, "look for them by ARP");
    host.miniascape_check(["net", "status", "m-route"]);
    check("hostroute", true, "true", out);
    check("hostroute, IPv6", true, "true", "fd00:66::1");

    let asked = console.ask(
        "run nslookup g.m-route.internal 10.5.0.129 | grep -c 'Address: 10.5.0.130'; echo ASKED $?",
        "ASKED",
    );
    assert_eq!(asked.0, "ASKED 0");
    // Names, also where there is no DHCP.
    let lookup = |name: &str, server: &str| host.run(["busybox", "nslookup", name, server]).stdout;
    assert!(lookup("g.m-isolated.internal", "10.63.0.1").contains("Address: 10.63.0.10\n"));
    assert!(lookup("g.m-routed.internal", "10.62.0.1").contains("Address: 10.62.0.10\n"));
}

#[rustfmt::skip]
fn define_ipv6(host: &Host) {
    define(host, "six", "nat", "domain: six.internal\nipv4: { subnet: 10.71.0.0/24 }\nipv6: { subnet: \"fd00:71::/64\", ra: stateful }\n\
        dhcp: { ranges: [ { start: \"fd00:71::1000\", end: \"fd00:71::1fff\" } ] }\n\
        hosts: [ { name: g, mac: \"52:54:00:00:71:10\", ip: [ 10.71.0.10, \"fd00:71::10\" ] } ]");
    define(host, "own", "routed", "domain: own.internal\nipv4: { subnet: 10.72.0.0/24 }\nipv6: { subnet: \"fd00:72::/64\", ra: slaac }\n\
        dhcp: {}\nhosts: [ { name: g, mac: \"52:54:00:00:72:10\", ip: 10.72.0.10 } ]");
    define(host, "half", "isolated", "domain: half.internal\nipv6: { subnet: \"fd00:73::/64\", ra: stateless }");
}

pub(crate) fn a_guest_gets_its_ipv6_addresses_and_names() {
    let (host, _daemon) = host_with_daemon();
    define_ipv6(&host);
    for name in ["six", "own", "half"] {
        host.miniascape_check(["net", "register", name]);
        host.miniascape_check(["net", "status", name]);
    }
    let mut console = start_guest(
        &host,
        &[
            "six,mac=52:54:00:00:71:10",
            "own,mac=52:54:00:00:72:10",
            "half,mac=52:54:00:00:73:10",
        ],
    );
    let lookup = |name: &str, server: &str| host.run(["busybox", "nslookup", name, server]).stdout;

    // From DHCPv6: the reserved address, known by the guest's hardware address; as long as the other servers answer, too.
    console.send("dhcp6 eth0");
    let lease = console.wait("LEASE6", BOOT_TIMEOUT);
    assert_eq!(
        ["ip", "dns", "domain", "iface"].map(|key| lease.value(key)),
        ["fd00:71::10", "fd00:71::1", "six.internal", "eth0"]
    );
    let has = |console: &mut Console, text: &str| {
        let command = format!(
            "run for i in $(seq 50); do ip -6 addr show scope global | grep -q '{text}' && break; sleep 0.2; done; echo HAS $?"
        );
        console.ask(&command, "HAS").0 == "HAS 0"
    };
    assert!(has(&mut console, "inet6 fd00:71::10/"));
    assert!(lookup("g.six.internal", "10.71.0.1").contains("Address: fd00:71::10\n"));
    assert!(lookup("g.six.internal", "fd00:71::1").contains("Address: 10.71.0.10\n"));
    assert!(lookup("fd00:71::10", "10.71.0.1").contains("name = g.six.internal"));
    let leases = host
        .miniascape_check(["lease", "list", "six", "--format", "json"])
        .json();
    let leases: Vec<_> = leases
        .as_array()
        .expect("a list")
        .iter()
        .map(|lease| (lease["ip"].as_str(), lease["name"].as_str()))
        .collect();
    assert_eq!(
        leases,
        [(Some("10.71.0.10"), Some("g")), (Some("fd00:71::10"), Some("g"))]
    );

    // An address of its own, which dnsmasq finds out when it knows the guest by DHCP of IPv4.
    assert!(has(&mut console, "inet6 fd00:72::5054:ff:fe00:7210/"));
    let own = "Address: fd00:72::5054:ff:fe00:7210\n";
    wait_until("the name of an address of its own", PATIENCE, || {
        lookup("g.own.internal", "10.72.0.1").contains(own)
    });

    // An address of its own, and DHCPv6 for the rest.
    console.send("dhcp6 eth2");
    let lease = console.wait("LEASE6", BOOT_TIMEOUT);
    assert_eq!(
        ["ip", "dns", "domain", "iface"].map(|key| lease.value(key)),
        ["-", "fd00:73::1", "half.internal", "eth2"]
    );
    assert!(has(&mut console, "inet6 fd00:73::"));
}

/// All that a registration could have left.
fn made(host: &Host) -> String {
    host.check([
        "sh",
        "-c",
        "virsh -q net-list --all; find /var/lib/miniascape -type f; pgrep -a -x dnsmasq || true",
    ])
    .stdout
}

pub(crate) fn a_bridge_of_the_hosts_own_is_looked_at_and_never_touched() {
    let (host, _daemon) = host_with_daemon();
    let lan = Lan::start(&host);
    host.check([
        "sh",
        "-ec",
        "for i in 7 8 9; do ip link add lan$i type veth peer name peer$i; done; ip link set lan8 master br0",
    ]);
    let before = bridge(&host);
    missing_bridges_are_refused(&host);

    let rest = "bridge: br0\nipv4: { subnet: 10.5.0.0/24, gateway: 10.5.0.2 }\ndomain: lan.internal\n\
                dhcp: { serve: true, ranges: [ { start: 10.5.0.200, end: 10.5.0.209 } ] }\n\
                require_interfaces: [ lan0, lan9, eth9 ]\nforbid_interfaces: [ lan8, lan7 ]";
    define(&host, "lan", "bridge", rest);
    // Somebody else serves DHCP there.
    let server = lan.dhcp_server("lan1", "10.5.0");
    let mac = lan.mac("lan1");
    let nothing = made(&host);
    for words in [&["register", "lan"] as &[_], &["register", "lan", "--dry-run"]] {
        let refused = host.miniascape(["net"].iter().chain(words));
        refused.expect_code(3);
        assert!(
            refused.stderr.contains(&format!(
                "the server 10.5.0.2 ({mac}) does already; nothing was changed"
            )),
            "{refused}"
        );
        assert_eq!((made(&host), bridge(&host)), (nothing.clone(), before.clone()));
    }
    drop(server);

    let registered = host.miniascape_check(["net", "register", "lan"]);
    let told = [
        (
            "lan9 is not in the bridge br0, where it is required",
            "ip link set lan9 master br0",
        ),
        (
            "eth9 is not in the bridge br0, where it is required",
            "this host has no eth9",
        ),
        (
            "lan8 is in the bridge br0, where it is forbidden",
            "ip link set lan8 nomaster",
        ),
    ];
    let status = host.miniascape(["net", "status", "lan"]);
    status.expect_code(1);
    assert_eq!(status.stdout.matches("problem ").count(), told.len(), "{status}");
    for (what, help) in told {
        for said in [&registered.stderr, &status.stdout] {
            let line = said.lines().find(|line| line.contains(what));
            assert!(line.is_some_and(|line| line.contains(help)), "{said}");
        }
    }
    assert_eq!(bridge(&host), before);
    // What is named is what helps.
    obey(&host, &status.stdout, "lan9 is not in");
    obey(&host, &status.stdout, "lan8 is in");
    host.check([
        "sh",
        "-ec",
        "ip link add eth9 type veth peer name peer; ip link set eth9 master br0",
    ]);
    host.miniascape_check(["net", "status", "lan"]);

    a_server_that_comes_later_is_named(&host, &lan, rest);
    bridges_of_ours_are_looked_at_too(&host, &lan);
    let during = bridge(&host);
    for name in ["own", "lan"] {
        host.miniascape_check(["net", "unregister", name]);
    }
    assert_eq!(bridge(&host), during);
    assert!(!host.exists("/sys/class/net/own0"));
}

/// libvirt makes them; what is to be in one is not put there.
fn bridges_of_ours_are_looked_at_too(host: &Host, lan: &Lan<'_>) {
    define(
        host,
        "own",
        "isolated",
        "bridge: own0\ndomain: own.internal\nipv4: { subnet: 10.6.0.0/24 }\ndhcp: {}\nrequire_interfaces: [ lan7 ]",
    );
    let registered = host.miniascape_check(["net", "register", "own"]);
    assert!(
        registered.stderr.contains("lan7 is not in the bridge own0"),
        "{registered}"
    );
    let status = host.miniascape(["net", "status", "own"]);
    status.expect_code(1);
    assert_eq!(host.list_dir("/sys/class/net/own0/brif"), [""; 0]);
    lan.take("peer7");
    obey(host, &status.stdout, "lan7 is not in");
    host.check(["ip", "link", "set", "lan7", "up"]);
    host.miniascape_check(["net", "status", "own"]);
    let _server = lan.dhcp_server("peer7", "10.6.0");
    wait_until("the new port to forward", PATIENCE, || {
        let state = host.read_file("/sys/class/net/own0/brif/lan7/state");
        state.trim() == "3"
    });
    let status = host.miniascape(["net", "status", "own"]);
    status.expect_code(1);
    let named = format!("on the bridge own0: 10.6.0.2 ({})", lan.mac("peer7"));
    assert!(status.stdout.contains(&named), "{status}");
}

fn a_server_that_comes_later_is_named(host: &Host, lan: &Lan<'_>, rest: &str) {
    let mac = lan.mac("lan1");
    // Machines there are served now, and a server that comes later is named.
    let leased = lan.client();
    assert!(leased.stdout.contains("10.5.0.20"), "{leased}");
    // Also one with addresses of its own, which takes three seconds to offer one.
    let _server = lan.dhcp_server("lan1", "192.168.99");
    let status = host.miniascape(["net", "status", "lan"]);
    status.expect_code(1);
    assert!(
        status.stdout.contains(&format!(
            "another DHCP server answers on the bridge br0: 192.168.99.2 ({mac})"
        )),
        "{status}"
    );
    assert_eq!(status.stdout.matches("problem ").count(), 1, "{status}");
    // It goes on all the same.
    define(
        host,
        "lan",
        "bridge",
        &rest
            .replace("lan.internal", "site.internal")
            .replace("lan9, eth9", "lan9"),
    );
    let updated = host.miniascape_check(["net", "update", "lan"]);
    assert!(updated.stderr.contains("br0: 192.168.99.2 ("), "{updated}");
}

fn missing_bridges_are_refused(host: &Host) {
    let nothing = made(host);
    for (bridge, why) in [
        ("br1", "has no interface of that name"),
        ("lan9", "is not a bridge"),
    ] {
        define(host, "lan", "bridge", &format!("bridge: {bridge}"));
        let refused = host.miniascape(["net", "register", "lan"]);
        refused.expect_code(3);
        assert!(
            refused.stderr.contains(&format!("the bridge {bridge}")) && refused.stderr.contains(why),
            "{refused}"
        );
        assert!(refused.stderr.contains("hint: "), "{refused}");
    }
    assert_eq!(made(host), nothing);
}
