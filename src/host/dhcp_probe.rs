//! Who else serves DHCP on a bridge: questions that every server answers and that take no address (RFC 2131), put on
//! the bridge as Ethernet frames, so that neither an address of its own nor a firewall matters. What goes out of a
//! bridge this way reaches its ports only: a server of this host's own on it is not asked.
//!
//! A question whether an address of nobody's network may be kept is refused by a server that is in charge (DHCPNAK); one
//! for the options of an address that the host has already (DHCPINFORM) is answered at once by most. One for an address
//! (DHCPDISCOVER) is answered by every server, but by some only after they have pinged the address for seconds, and
//! dnsmasq hears nothing else meanwhile; so it is asked only where the others found nobody. What is offered is not taken.

use crate::name::{InterfaceName, Mac};
use fs_err as fs;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A DHCP server that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// What it calls itself (option 54).
    pub address: Ipv4Addr,
    /// Where its answer came from.
    pub mac: Mac,
}

/// How long answers to the first questions are waited for.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long others have after the first who answered.
const OTHERS: Duration = Duration::from_millis(150);
/// Long enough for an offer of most servers: ISC's pings for a second.
pub const GLANCE: Duration = Duration::from_millis(1200);
/// Long enough for dnsmasq, which pings for three seconds, or is busy doing so for another client.
pub const THOROUGH: Duration = Duration::from_millis(3600);
/// IPv4 (IANA, IEEE 802 numbers).
const ETHERTYPE_IPV4: u16 = 0x0800;
const BROADCAST: [u8; 6] = [0xff; 6];
/// An address that no server is in charge of (RFC 1112, section 4: reserved).
const NOBODYS: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);

/// The DHCP servers that answer on `bridge`, at which this host has the addresses `own`; offers are waited for as long as
/// `patience` says. Needs the right to make raw sockets.
pub fn servers(bridge: &InterfaceName, own: &[Ipv4Addr], patience: Duration) -> io::Result<Vec<Server>> {
    let directory = Path::new("/sys/class/net").join(bridge.as_str());
    let read = |name: &str| fs::read_to_string(directory.join(name));
    let mac: Mac = read("address")?.trim().parse().map_err(io::Error::other)?;
    let index: i32 = read("ifindex")?.trim().parse().map_err(io::Error::other)?;
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None::<Protocol>,
    )?;
    bind(&socket, &Link::new(index))?;
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    let id = [a, b, c, d];
    let is_other = |server: &Server| server.mac != mac && !own.contains(&server.address);
    let mut found = BTreeSet::new();
    let rounds = [
        (first_questions(own), AT_ONCE),
        (vec![Question::Discover], patience),
    ];
    for (questions, patience) in rounds {
        for question in questions {
            send(&socket, &frame(question, id, mac), SendFlags::empty())?;
        }
        let mut deadline = Instant::now() + patience;
        while let Some(frame) = receive(&socket, deadline)? {
            if let Some(server) = answer(&frame, id).filter(is_other)
                && found.insert(server)
            {
                deadline = deadline.min(Instant::now() + OTHERS);
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found.into_iter().collect())
}

/// The next frame; `None` if there is none before the deadline.
fn receive(socket: &OwnedFd, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        set_socket_timeout(socket, Timeout::Recv, Some(left))?;
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `struct sockaddr_ll` (packet(7)): all IPv4 frames of one interface.
#[repr(C)]
struct Link {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

impl Link {
    fn new(index: i32) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: ETHERTYPE_IPV4.to_be(),
            index,
            hardware: 0,
            kind: 0,
            length: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the pointer that is passed on is to a whole `sockaddr_ll` with the layout that the kernel expects, has that
// struct's size, and lives as long as `self`.
unsafe impl SocketAddrArg for Link {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let length = SocketAddrLen::try_from(size_of::<Self>()).unwrap_or(0);
        f(std::ptr::from_ref(self).cast(), length)
    }
}

/// What is asked (RFC 2132, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// DHCPREQUEST of a client that has moved: may it keep [`NOBODYS`]?
    Keep,
    /// DHCPINFORM of this host, which has the address.
    Inform(Ipv4Addr),
    /// DHCPDISCOVER.
    Discover,
}

/// Those that are answered at once or not at all.
fn first_questions(own: &[Ipv4Addr]) -> Vec<Question> {
    let informs = own.iter().map(|address| Question::Inform(*address));
    std::iter::once(Question::Keep).chain(informs).collect()
}

/// The Ethernet frame of a question.
fn frame(question: Question, id: [u8; 4], mac: Mac) -> Vec<u8> {
    let source = match question {
        Question::Inform(address) => address,
        Question::Keep | Question::Discover => Ipv4Addr::UNSPECIFIED,
    };
    let payload = message(question, id, mac);
    let mut udp = Vec::new();
    for number in [68, 67, length(8 + payload.len()), 0] {
        // Without a checksum, which IPv4 allows (RFC 768).
        udp.extend(number.to_be_bytes());
    }
    udp.extend(payload);
    let mut ip = vec![0x45, 0];
    ip.extend(length(20 + udp.len()).to_be_bytes());
    // No identification, no fragments, 64 hops, UDP, checksum to come.
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(source.octets());
    ip.extend(Ipv4Addr::BROADCAST.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = BROADCAST.to_vec();
    frame.extend(mac.octets());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// A DHCP message (RFC 2131, section 2) that asks for an answer to everyone.
fn message(question: Question, id: [u8; 4], mac: Mac) -> Vec<u8> {
    let own = mac.octets();
    let (kind, client, address, requested) = match question {
        // In the name of a client that does not exist, so that the host's own lease, if it has one, is not touched; always
        // the same one, so that a server that sets what it offers aside does so once.
        Question::Keep => (3, stand_in(own), Ipv4Addr::UNSPECIFIED, Some(NOBODYS)),
        Question::Discover => (1, stand_in(own), Ipv4Addr::UNSPECIFIED, None),
        Question::Inform(address) => (8, own, address, None),
    };
    // A request, over Ethernet, 6 octets of address, no relay.
    let mut message = vec![1, 1, 6, 0];
    message.extend(id);
    // No time passed; the broadcast flag.
    message.extend([0, 0, 0x80, 0]);
    message.extend(address.octets());
    message.extend([0; 12]);
    message.extend(client);
    message.extend([0; 10 + 64 + 128]);
    message.extend(COOKIE);
    message.extend([53, 1, kind]);
    if let Some(requested) = requested {
        message.extend([50, 4]);
        message.extend(requested.octets());
    }
    message.push(255);
    // Some servers drop what is shorter than BOOTP's messages were (RFC 1542, section 2.1).
    message.resize(message.len().max(300), 0);
    message
}

/// What DHCP's options begin with (RFC 2131, section 3).
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

/// A locally administered address made of the bridge's.
fn stand_in([.., x, y, z]: [u8; 6]) -> [u8; 6] {
    [0x02, b'm', b's', x, y, z]
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// The checksum of an IPv4 header (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !length(usize::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0))
}

/// The server that sent `frame`, if that is an answer to the question `id`.
fn answer(frame: &[u8], id: [u8; 4]) -> Option<Server> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    if ethernet.get(12..)? != ETHERTYPE_IPV4.to_be_bytes() || ip.first()? >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(usize::from(ip.first()? & 0xf) * 4..)?;
    let message = udp.get(8..)?;
    // From the servers' port to the clients', a reply, to our question.
    if udp.get(..4)? != [0, 67, 0, 68] || *message.first()? != 2 || message.get(4..8)? != id {
        return None;
    }
    if message.get(236..240)? != COOKIE {
        return None;
    }
    let mut options = message.get(240..)?;
    let (mut kind, mut server) = (None, None);
    while let Some((code, rest)) = options.split_first() {
        match code {
            0 => options = rest,
            255 => break,
            code => {
                let (size, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*size))?;
                match (code, value) {
                    (53, [value]) => kind = Some(*value),
                    (54, [a, b, c, d]) => server = Some(Ipv4Addr::new(*a, *b, *c, *d)),
                    _ => {}
                }
                options = rest;
            }
        }
    }
    // DHCPOFFER, DHCPACK, DHCPNAK.
    if !matches!(kind?, 2 | 5 | 6) {
        return None;
    }
    let mac: [u8; 6] = ethernet.get(6..12)?.try_into().ok()?;
    Some(Server {
        address: server?,
        mac: Mac::from_octets(mac),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: [u8; 4] = [1, 2, 3, 4];

    fn mac() -> Mac {
        "52:54:00:0a:0b:0c".parse().unwrap()
    }

    /// A question turned into an answer, as a server would send it.
    fn answered(kind: u8) -> Vec<u8> {
        let mut frame = frame(Question::Discover, ID, mac());
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame[42] = 2;
        let options = 42 + 240;
        frame[options..options + 10].copy_from_slice(&[53, 1, kind, 0, 54, 4, 192, 168, 66, 2]);
        frame[options + 10] = 255;
        frame
    }

    #[test]
    fn answers_are_read_and_nothing_else_is() {
        let server = answer(&answered(2), ID).unwrap();
        assert_eq!(
            (server.address.to_string(), server.mac),
            ("192.168.66.2".to_owned(), mac())
        );
        for kind in [5, 6] {
            assert!(answer(&answered(kind), ID).is_some());
        }
        assert_eq!(answer(&answered(3), ID), None);
        assert_eq!(answer(&answered(2), [9; 4]), None);
        for question in first_questions(&[Ipv4Addr::LOCALHOST]) {
            assert_eq!(answer(&frame(question, ID, mac()), ID), None);
        }
    }

    #[test]
    fn questions_are_whole_frames() {
        let mut questions = first_questions(&[Ipv4Addr::new(192, 168, 66, 1)]);
        questions.push(Question::Discover);
        for (question, kind) in questions.into_iter().zip([3, 8, 1]) {
            let frame = frame(question, ID, mac());
            assert_eq!(frame[42 + 242], kind);
            assert!(frame.len() >= 14 + 20 + 8 + 300);
            assert_eq!(checksum(&frame[14..34]), 0, "a right sum makes the whole zero");
            assert_eq!(
                usize::from(u16::from_be_bytes([frame[16], frame[17]])),
                frame.len() - 14
            );
        }
    }

    proptest! {
        /// Whatever comes, it is read to its end at most.
        #[test]
        fn any_frame_is_answered(at in 0usize..400, junk in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..400) {
            let mut frame = answered(2);
            for (byte, junk) in frame.iter_mut().skip(at).zip(junk) {
                *byte = junk;
            }
            frame.truncate(cut);
            answer(&frame, ID);
        }
    }
}
