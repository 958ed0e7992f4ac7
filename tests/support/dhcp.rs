//! A DHCP client that does what it is told, one line at a time, on an interface of its own in a bridge of a host: it
//! asks what a machine would be offered, without taking it; it takes a lease; and it renews that as often as it can.
//!
//! Format: RFC 2131, sections 2 and 4; RFC 2132.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::host::Host;
use crate::support::running::Running;

/// The first argument that makes the executable a DHCP client.
pub(crate) const CLIENT_ARGUMENT: &str = "--dhcp-client";

const PROGRAM: &str = "/root/dhcp-client";
/// How long an answer is waited for before the question is asked again. A client by the book waits four seconds (RFC
/// 2131, section 4.1).
const RETRY: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

/// A client in a network namespace of its own.
pub(crate) struct DhcpClient {
    program: Running,
    _namespace: Running,
}

/// What a machine is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) ip: Ipv4Addr,
    pub(crate) options: BTreeMap<u8, Vec<u8>>,
}

/// What came of renewing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Renewals {
    /// Renewals that were answered.
    pub(crate) answered: u32,
    /// Those of them that were answered at the first retry.
    pub(crate) retried: u32,
    /// Renewals that were not answered by then, so that the client had to begin anew.
    pub(crate) lost: u32,
    /// The longest time until an answer, in milliseconds.
    pub(crate) longest: u32,
}

impl DhcpClient {
    /// Plugs a client into a bridge of the host; `name` tells it from others.
    #[track_caller]
    pub(crate) fn plug(host: &Host, bridge: &str, name: &str) -> Self {
        if !host.exists(PROGRAM) {
            host.copy_from_machine(super::own_executable(), PROGRAM);
            host.check(["chmod", "755", PROGRAM]);
        }
        let namespace = host.spawn(["unshare", "--net", "sleep", "infinity"]);
        let pid = namespace.pid_inside().expect("it runs").to_string();
        let script = format!(
            "until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done
             ip link add {name}0 type veth peer name {name}1 && ip link set {name}1 netns {pid} &&
             ip link set {name}0 master {bridge} up"
        );
        host.check(["sh", "-c", &script]);
        let inside = format!(
            "ip link set lo up && ip link set {name}1 up && ip route add default dev {name}1 && \
             exec {PROGRAM} {CLIENT_ARGUMENT} {name}1"
        );
        let enter = ["nsenter", "--net", "--target", &pid, "sh", "-c", &inside];
        let mut program = host.command(enter).stdin_pipe().spawn();
        program.wait_line(PATIENCE, |line| line == "READY");
        Self {
            program,
            _namespace: namespace,
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.program.send(&format!("{command}\n"));
        self.program.next_line(PATIENCE).unwrap_or_else(|| {
            panic!("no answer to {command}: {}", self.program.transcript());
        })
    }

    /// What the machine with this MAC address is offered; nothing if nobody answers.
    pub(crate) fn offer(&mut self, mac: &str) -> Option<Offered> {
        let answer = self.ask(&format!("offer {mac}"));
        let mut words = answer.strip_prefix("OFFER ")?.split(' ');
        let ip = words.next()?.parse().ok()?;
        let option = |word: &str| {
            let (code, hex) = word.split_once('=')?;
            let octet = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            let value: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(octet).collect();
            Some((code.parse().ok()?, value?))
        };
        Some(Offered {
            ip,
            options: words.filter_map(option).collect(),
        })
    }

    /// Takes a lease for this MAC address, and the address with it.
    #[track_caller]
    pub(crate) fn take(&mut self, mac: &str) -> Ipv4Addr {
        let answer = self.ask(&format!("take {mac}"));
        let ip = answer.strip_prefix("TAKEN ").and_then(|ip| ip.parse().ok());
        ip.unwrap_or_else(|| panic!("{answer}"))
    }

    /// Begins to renew the lease ten times a second.
    pub(crate) fn begin_renewing(&mut self) {
        self.program.send("renew\n");
    }

    /// Ends that.
    #[track_caller]
    pub(crate) fn end_renewing(&mut self) -> Renewals {
        let answer = self.ask("stop");
        let numbers: Vec<u32> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [answered, retried, lost, longest] = numbers.try_into().unwrap_or_else(|_| panic!("{answer}"));
        Renewals {
            answered,
            retried,
            lost,
            longest,
        }
    }
}

/// The client's program: commands come in on standard input, answers go out.
pub(crate) fn main(interface: &str) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).expect("nobody else is in this namespace");
    socket.set_broadcast(true).expect("a socket can do that");
    let (sender, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    say("READY");
    let mut client = Machine {
        socket,
        next: std::process::id(),
        lease: None,
    };
    while let Ok(command) = commands.recv() {
        match command.split_once(' ') {
            Some(("offer", mac)) => {
                let offer = client.discover(octets(mac));
                say(&offer.map_or_else(|| "NOTHING".to_owned(), |offer| offer.shown()));
            }
            Some(("take", mac)) => {
                let taken = client.take(octets(mac), interface);
                say(&taken.map_or_else(|| "NOTHING".to_owned(), |ip| format!("TAKEN {ip}")));
            }
            _ if command == "renew" => say(&client.renew_until_told(&commands)),
            _ => say("WHAT"),
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    assert!(said.is_ok(), "nobody listens");
}

fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).expect("a MAC address"))
        .collect();
    octets.try_into().expect("a MAC address")
}

struct Answer {
    kind: u8,
    ip: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Answer {
    fn shown(&self) -> String {
        let mut text = format!("OFFER {}", self.ip);
        for (code, value) in &self.options {
            let _ = write!(text, " {code}=");
            for octet in value {
                let _ = write!(text, "{octet:02x}");
            }
        }
        text
    }

    fn server(&self) -> Option<[u8; 4]> {
        self.options.get(&54)?.as_slice().try_into().ok()
    }
}

struct Machine {
    socket: UdpSocket,
    next: u32,
    lease: Option<([u8; 6], Ipv4Addr, [u8; 4])>,
}

impl Machine {
    /// Asks, and waits for the answer, once.
    fn exchange(
        &mut self,
        mac: [u8; 6],
        kind: u8,
        own: Ipv4Addr,
        to: Ipv4Addr,
        options: &[u8],
    ) -> Option<Answer> {
        self.next = self.next.wrapping_add(1);
        let id = self.next.to_be_bytes();
        let mut packet = vec![1, 1, 6, 0];
        packet.extend(id);
        // The answer is to come as a broadcast as long as there is no address to send it to.
        packet.extend([0, 0, if own.is_unspecified() { 0x80 } else { 0 }, 0]);
        packet.extend(own.octets());
        packet.resize(28, 0);
        packet.extend(mac);
        packet.resize(236, 0);
        packet.extend(MAGIC);
        packet.extend([53, 1, kind]);
        packet.extend(options);
        // Asks for: netmask, router, name servers, name, domain, lease time, NTP servers.
        packet.extend([55, 7, 1, 3, 6, 12, 15, 51, 42, 255]);
        self.socket.send_to(&packet, (to, 67)).expect("there is a route");
        let deadline = Instant::now() + RETRY;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).expect("not zero");
            let mut buffer = [0; 2048];
            if let Ok(length) = self.socket.recv(&mut buffer)
                && let Some(answer) = answer(&buffer[..length], id)
            {
                return Some(answer);
            }
        }
    }

    fn discover(&mut self, mac: [u8; 6]) -> Option<Answer> {
        let (own, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        (0..5)
            .find_map(|_| self.exchange(mac, DISCOVER, own, to, &[]))
            .filter(|answer| answer.kind == OFFER)
    }

    fn take(&mut self, mac: [u8; 6], interface: &str) -> Option<Ipv4Addr> {
        let offer = self.discover(mac)?;
        let server = offer.server()?;
        let mut options = vec![50, 4];
        options.extend(offer.ip.octets());
        options.extend([54, 4]);
        options.extend(server);
        let (own, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let ack = (0..5).find_map(|_| self.exchange(mac, REQUEST, own, to, &options))?;
        let address = format!("{}/24", ack.ip);
        let set = std::process::Command::new("ip")
            .args(["address", "add", &address, "dev", interface])
            .status();
        if ack.kind != ACK || !set.is_ok_and(|status| status.success()) {
            return None;
        }
        self.lease = Some((mac, ack.ip, server));
        Some(ack.ip)
    }

    fn renew_until_told(&mut self, commands: &Receiver<String>) -> String {
        let Some((mac, own, server)) = self.lease else {
            return "NOTHING".to_owned();
        };
        let (mut answered, mut retried, mut lost, mut longest) = (0, 0, 0, Duration::ZERO);
        loop {
            let start = Instant::now();
            let mut once = || {
                self.exchange(mac, REQUEST, own, server.into(), &[])
                    .is_some_and(|answer| answer.kind == ACK && answer.ip == own)
            };
            match (0..2).find(|_| once()) {
                Some(retries) => {
                    answered += 1;
                    retried += retries;
                }
                None => lost += 1,
            }
            longest = longest.max(start.elapsed());
            let left = EVERY.saturating_sub(start.elapsed());
            if commands.recv_timeout(left).is_ok() {
                return format!("RENEWED {answered} {retried} {lost} {}", longest.as_millis());
            }
        }
    }
}

/// The answer to the question `id`; `None` if it is something else.
fn answer(packet: &[u8], id: [u8; 4]) -> Option<Answer> {
    if packet.first() != Some(&2) || packet.get(4..8)? != id || packet.get(236..240)? != MAGIC {
        return None;
    }
    let ip: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let mut options = BTreeMap::new();
    let mut rest = packet.get(240..)?;
    while let [code, tail @ ..] = rest {
        match code {
            0 => rest = tail,
            255 => break,
            _ => {
                let (length, tail) = tail.split_first()?;
                let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                options.insert(*code, value.to_vec());
                rest = tail;
            }
        }
    }
    Some(Answer {
        kind: *options.get(&53)?.first()?,
        ip: ip.into(),
        options,
    })
}
