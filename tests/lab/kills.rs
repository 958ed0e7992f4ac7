//! `kill -9` at every step of register, update and unregister, and of what is left for later, and what the next run
//! makes of it.
//!
//! strace kills the real program when it enters a chosen system call: each one that changes a file, each message to
//! libvirt, each request to the daemon, and each wait for the daemon's answer. An undisturbed run tells which there are.
//! After each kill the same command runs again, and everything has to be as after the undisturbed run.
//!
//! Register is killed at every point; of the others, unless the environment has MINIASCAPE_TEST_FULL, every third
//! point is taken; of an adoption, which has many, every eighth.

use crate::networks::host_with_daemon;
use crate::support::guest::DomainSpec;
use crate::support::{Host, MINIASCAPE, Output, Running, note, wait_until};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const FILE: &str = "/etc/miniascape/networks/lab.yaml";
const TRACE: &str = "/root/trace";

/// System calls by which the program changes something, or waits for someone who does.
const CALLS: &str = "mkdir,link,linkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,fsync,fdatasync,fchmod,write,sendto,sendmsg,read,recvfrom,vfork,clone,clone3";

/// A moment of a run: the call, how many of its kind came before it, and what it did, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    call: String,
    ordinal: usize,
    what: String,
}

/// What is tried: a command, how its beginning is brought about, and what holds when it is done.
struct Operation<'a> {
    host: &'a Host,
    command: &'a str,
    reset: &'a dyn Fn(),
    /// A shell command whose output tells that dnsmasq and libvirt do what the files say.
    probe: &'a str,
    /// What the command says when there is nothing left to do.
    settled: &'a str,
    /// Each of how many points is taken.
    every: usize,
}

fn definition(domain: &str, subnet: &str, hosts: &[(&str, u8)]) -> String {
    let mut text = format!(
        "network:\n  name: lab\n  mode: isolated\n  bridge: virbr66\n  domain: {domain}\n  ipv4: {{ subnet: {subnet}.0/24 }}\n  \
         dhcp: {{ ranges: [ {{ start: {subnet}.100, end: {subnet}.199 }} ] }}\n  hosts:\n"
    );
    for (name, last) in hosts {
        writeln!(
            text,
            "    - {{ name: {name}, mac: \"52:54:00:00:00:{last}\", ip: {subnet}.{last} }}"
        )
        .expect("a String takes everything");
    }
    text
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {} ({})", self.call, self.ordinal, self.what)
    }
}

impl Point {
    /// The option with which strace kills there.
    pub(crate) fn inject(&self) -> String {
        format!("--inject={}:signal=SIGKILL:when={}", self.call, self.ordinal)
    }

    /// The number of libvirt's wakings is not always the same.
    pub(crate) fn may_vary(&self) -> bool {
        self.call == "write"
    }
}

/// Runs a command under strace with these options.
pub(crate) fn traced(host: &Host, command: &[&str], options: &[&str]) -> Output {
    let trace = format!("--trace={CALLS}");
    let fixed = [
        "strace",
        "--follow-forks",
        "--output",
        TRACE,
        "--signal=none",
        &trace,
    ];
    host.run(fixed.iter().chain(options).chain(command))
}

/// The points of a run of the command that nothing disturbs.
pub(crate) fn every_point(host: &Host, command: &[&str]) -> Vec<Point> {
    let run = traced(host, command, &[]);
    assert!(run.ok(), "{run}");
    let trace = host.read_file(TRACE);
    let first = trace
        .split_whitespace()
        .next()
        .expect("strace writes process numbers")
        .to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        // Other threads only ask the bus.
        let Some((process, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if process != first || call.contains(' ') {
            continue;
        }
        let count = counts.entry(call.to_owned()).or_default();
        *count += 1;
        let libvirt = call == "write" && arguments.contains(", \"\\0\\0\\") && !arguments.contains("\", 8)");
        let daemon =
            call == "sendto" || (matches!(call, "read" | "recvfrom") && arguments.contains("\"{\\\"error"));
        // What fails changes nothing.
        let changes = !rest.contains(" = -1 E")
            && match call {
                "write" => libvirt || !(arguments.contains("\", 8)") || arguments.starts_with("1,")),
                "read" | "recvfrom" | "sendto" => daemon,
                _ => true,
            };
        if changes {
            points.push(Point {
                call: call.to_owned(),
                ordinal: *count,
                what: rest.chars().take(120).collect(),
            });
        }
    }
    points
}

impl Operation<'_> {
    fn command(&self) -> Vec<&str> {
        std::iter::once(MINIASCAPE)
            .chain(self.command.split_whitespace())
            .collect()
    }

    fn traced(&self, options: &[&str]) -> Output {
        traced(self.host, &self.command(), options)
    }

    /// The points of an undisturbed run.
    fn points(&self) -> Vec<Point> {
        every_point(self.host, &self.command())
    }

    /// How everything is after an undisturbed run.
    fn undisturbed(&self) -> String {
        (self.reset)();
        self.host.check(self.command());
        self.state()
    }

    /// Everything that has to be the same however it came about; what was added for dnsmasq's sake stands in other files too.
    fn state(&self) -> String {
        let script = format!(
            "find /var/lib/miniascape /run/miniascape /etc/miniascape ! -path '*/added/*/*' -printf '%y %m %p\\n' | sort
             find /var/lib/miniascape -type f ! -name leases ! -path '*/added/*' -exec sha256sum {{}} + | sort -k2
             virsh -q net-list --all
             for net in $(virsh -q net-list --all --name); do
                 virsh net-dumpxml $net | grep -v '<uuid>\\|<mac '; virsh net-dumpxml --inactive $net | grep -v '<uuid>\\|<mac '
             done
             ls /sys/class/net; ls /etc/libvirt/qemu/networks /etc/libvirt/qemu/networks/autostart
             ip -o -4 addr show dev virbr66 2>&1 | sed 's/^[0-9]*: //'
             pgrep -a -x dnsmasq | sed 's/^[0-9]* //'; pgrep -c -x miniascape
             {}",
            self.probe
        );
        self.host.run(["sh", "-c", &script]).stdout
    }

    /// Kills at each point; then the points, and how everything is afterwards.
    fn run(&self) -> (Vec<Point>, String) {
        // Once for what stays: directories, and libvirt's own.
        (self.reset)();
        self.host.check(self.command());
        (self.reset)();
        let points = self.points();
        let wanted = self.state();
        let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
        let every = if full { 1 } else { self.every };
        let chosen: Vec<&Point> = points.iter().step_by(every).collect();
        let mut killed = 0;
        for point in &chosen {
            (self.reset)();
            let run = self.traced(&[&point.inject()]);
            if run.ok() {
                assert!(point.may_vary(), "not killed at {point}: {run}");
            } else {
                killed += 1;
            }
            let again = self.host.run(self.command());
            assert!(again.ok(), "after a kill at {point}: {again}");
            let state = self.state();
            let difference = similar::TextDiff::from_lines(&wanted, &state);
            assert!(
                wanted == state,
                "after a kill at {point} and {again}:\n{}",
                difference.unified_diff().context_radius(0)
            );
            let last = self.host.run(self.command());
            assert!(
                last.ok() && last.stdout.contains(self.settled),
                "after a kill at {point}, {again} and again: {last}"
            );
        }
        note(format_args!(
            "{}: killed {killed} times, at {} of {} points",
            self.command,
            chosen.len(),
            points.len()
        ));
        assert!(
            killed * 10 >= chosen.len() * 9,
            "only {killed} of {} were killed",
            chosen.len()
        );
        (points, wanted)
    }
}

/// dnsmasq has the hosts, and its configuration: names of its own domain that nobody has do not exist.
fn probe(name: &str, domain: &str, server: &str) -> String {
    format!(
        "busybox nslookup {name}.{domain} {server} 2>&1 | grep Address; \
         busybox nslookup nobody.{domain} {server} 2>&1 | grep -c NXDOMAIN; \
         miniascape net status lab >/dev/null; echo status $?"
    )
}

fn started() -> (Host, Running) {
    let (host, daemon) = host_with_daemon();
    host.remove("/etc/miniascape/networks/net-1.yaml");
    host.write_file(FILE, definition("lab.internal", "10.66.6", &[("one", 11)]));
    (host, daemon)
}

pub(crate) fn a_register_killed_at_every_point_is_made_up_for() {
    let (host, _daemon) = started();
    Operation {
        host: &host,
        command: "net register lab",
        reset: &|| drop(host.miniascape_check(["net", "unregister", "lab"])),
        probe: &probe("one", "lab.internal", "10.66.6.1"),
        settled: "nothing to do",
        every: 1,
    }
    .run();
}

pub(crate) fn an_unregister_killed_at_any_point_is_made_up_for() {
    let (host, _daemon) = started();
    Operation {
        host: &host,
        command: "net unregister lab",
        reset: &|| drop(host.miniascape_check(["net", "register", "lab"])),
        probe: "miniascape net list",
        settled: "nothing to do",
        every: 3,
    }
    .run();
}

fn update(before: &str, after: &str, probe: &str) {
    let (host, _daemon) = started();
    let to = |text: &str| host.write_file(FILE, text);
    to(before);
    host.miniascape_check(["net", "register", "lab"]);
    Operation {
        host: &host,
        command: "net update lab",
        reset: &|| {
            to(before);
            host.miniascape_check(["net", "update", "lab"]);
            to(after);
        },
        probe,
        settled: "nothing to do",
        every: 3,
    }
    .run();
}

/// A guest is plugged in, and has to be again: its tap in the bridge, its link up.
pub(crate) fn an_update_under_a_guest_killed_at_any_point_is_made_up_for() {
    let (host, _daemon) = started();
    let [before, after] =
        ["10.66.6", "10.66.7"].map(|subnet| definition("lab.internal", subnet, &[("one", 11)]));
    host.write_file(FILE, &before);
    host.miniascape_check(["net", "register", "lab"]);
    // It needs no system for that.
    host.check(["qemu-img", "create", "-q", "-f", "qcow2", "/srv/g.qcow2", "1M"]);
    let _console = DomainSpec::new("g", "/srv/g.qcow2")
        .network("lab", "52:54:00:00:00:66")
        .start(&host);
    let probe = format!(
        "{}; readlink /sys/class/net/vnet0/master; virsh domif-getlink g vnet0; virsh domstate g",
        probe("one", "lab.internal", "10.66.7.1")
    );
    let operation = Operation {
        host: &host,
        command: "net update lab",
        reset: &|| {
            host.write_file(FILE, &before);
            host.miniascape_check(["net", "update", "lab"]);
            host.write_file(FILE, &after);
        },
        probe: &probe,
        settled: "nothing to do",
        every: 6,
    };
    // The daemon would be at it as well.
    let (pending, watched) = ("/var/lib/miniascape/pending", "/var/lib/miniascape/watched");
    host.check(["mv", pending, watched]);
    let (points, wanted) = operation.run();
    assert!(
        wanted.contains("virbr66") && wanted.contains("vnet0 up"),
        "{wanted}"
    );
    // Alone it does it, too: when the network is there again and the guest is not, at the first program that is run.
    host.check(["rm", "-r", pending]);
    host.check(["mv", watched, pending]);
    let wanted = operation.undisturbed();
    let spawns = |point: &&Point| matches!(point.call.as_str(), "vfork" | "clone" | "clone3");
    let point = points.iter().rfind(spawns).expect("ip is run");
    (operation.reset)();
    let killed = operation.traced(&[&point.inject()]);
    assert!(!killed.ok(), "not killed at {point}: {killed}");
    wait_until(
        "the daemon to finish a killed update",
        Duration::from_secs(60),
        || operation.state() == wanted,
    );
}

pub(crate) fn an_update_of_hosts_killed_at_any_point_is_made_up_for() {
    update(
        &definition("lab.internal", "10.66.6", &[("one", 11)]),
        &definition("lab.internal", "10.66.6", &[("one", 11), ("two", 12)]),
        &probe("two", "lab.internal", "10.66.6.1"),
    );
}

pub(crate) fn an_update_of_the_domain_killed_at_any_point_is_made_up_for() {
    update(
        &definition("lab.internal", "10.66.6", &[("one", 11)]),
        &definition("other.internal", "10.66.6", &[("one", 11)]),
        &probe("one", "other.internal", "10.66.6.1"),
    );
}

pub(crate) fn an_update_of_the_subnet_killed_at_any_point_is_made_up_for() {
    update(
        &definition("lab.internal", "10.66.6", &[("one", 11)]),
        &definition("lab.internal", "10.66.7", &[("one", 11)]),
        &probe("one", "lab.internal", "10.66.7.1"),
    );
}

pub(crate) fn an_adoption_of_reservations_killed_at_any_point_is_made_up_for() {
    let (host, _daemon) = started();
    host.miniascape_check(["net", "register", "lab"]);
    let virsh = "<host mac='52:54:00:00:00:70' name='seventy' ip='10.66.6.70'/>";
    Operation {
        host: &host,
        command: "net update lab --adopt",
        reset: &|| {
            host.check([
                "rm",
                "-f",
                "/var/lib/miniascape/networks/lab/hosts.d/adopted.yaml",
            ]);
            host.miniascape_check(["net", "update", "lab"]);
            let add = [
                "net-update",
                "lab",
                "add",
                "ip-dhcp-host",
                virsh,
                "--live",
                "--config",
            ];
            host.virsh(add);
        },
        probe: &probe("seventy", "lab.internal", "10.66.6.1"),
        settled: "nothing to do",
        every: 8,
    }
    .run();
}

/// A network that libvirt serves itself.
const THEIRS: &str = "<network><name>lab</name><uuid>0704aed9-0024-4382-a86c-ced1a50880d9</uuid>
    <bridge name='virbr66'/><mac address='52:54:00:66:66:66'/><domain name='lab.internal' localOnly='yes'/>
    <ip address='10.66.6.1' netmask='255.255.255.0'><dhcp><range start='10.66.6.100' end='10.66.6.199'/>
    <host mac='52:54:00:00:00:11' name='one' ip='10.66.6.11'/></dhcp></ip></network>";

pub(crate) fn an_adoption_killed_at_any_point_is_made_up_for() {
    let (host, _daemon) = started();
    host.write_file("/root/theirs.xml", THEIRS);
    Operation {
        host: &host,
        command: "net import lab --adopt",
        reset: &|| {
            host.miniascape_check(["net", "unregister", "lab"]);
            host.check([
                "sh",
                "-c",
                "rm -rf /etc/miniascape/networks/lab.yaml /var/lib/miniascape/adopted; virsh net-define /root/theirs.xml && virsh net-start lab",
            ]);
        },
        probe: &probe("one", "lab.internal", "10.66.6.1"),
        settled: "nothing to do",
        every: 8,
    }
    .run();
}

pub(crate) fn putting_on_record_killed_at_every_point_is_made_up_for() {
    let (mut host, daemon) = started();
    drop(daemon);
    host.stop_libvirtd();
    Operation {
        host: &host,
        command: "net register lab",
        reset: &|| drop(host.miniascape_check(["net", "unregister", "lab"])),
        probe: "miniascape net list",
        settled: "pending already",
        every: 1,
    }
    .run();
}

pub(crate) fn finishing_what_is_pending_killed_at_any_point_is_made_up_for() {
    let (host, _daemon) = started();
    // By the boot's own run, so that nobody but the test says when.
    let left = |verb: &str| drop(host.miniascape_check(["--root", "/", "net", verb, "lab"]));
    // The daemon would be at it as well.
    host.check(["mv", "/var/lib/miniascape/pending", "/var/lib/miniascape/watched"]);
    Operation {
        host: &host,
        command: "daemon --once",
        reset: &|| {
            host.miniascape_check(["net", "unregister", "lab"]);
            left("register");
        },
        probe: &probe("one", "lab.internal", "10.66.6.1"),
        settled: "",
        every: 3,
    }
    .run();
    Operation {
        host: &host,
        command: "daemon --once",
        reset: &|| {
            host.miniascape_check(["net", "register", "lab"]);
            left("unregister");
        },
        probe: "miniascape net list; ls /var/lib/miniascape/pending",
        settled: "",
        every: 3,
    }
    .run();
}
