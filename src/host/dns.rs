//! One DNS question over UDP (RFC 1035 section 4), to see whether a dnsmasq of ours answers what it should. Not a
//! resolver: one server, one question, no retries beyond the caller's.

use crate::name::DnsName;
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Record types that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses.
    Aaaa = 28,
}

/// True if [`ask`] failed because this process may have no sockets to ask with, as a service that is shut off from the
/// network: nothing is known of the server then.
pub fn is_forbidden(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// Asks `server` for the addresses of `name`; empty if it knows none.
pub fn ask(server: IpAddr, name: &DnsName, kind: Kind, timeout: Duration) -> io::Result<Vec<IpAddr>> {
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(timeout))?;
    let [high, low, ..] = *uuid::Uuid::new_v4().as_bytes();
    let question = question([high, low], name, kind);
    socket.send(&question)?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    addresses(&answer[..length], &question, kind).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{server} sent no DNS answer for {name}"),
        )
    })
}

fn question(id: [u8; 2], name: &DnsName, kind: Kind) -> Vec<u8> {
    let mut packet = id.to_vec();
    // Recursion desired; one question, nothing else.
    packet.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.as_str().split('.') {
        // A DnsName's labels have at most 63 characters.
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend(label.bytes());
    }
    packet.extend([0, 0, kind as u8, 0, 1]);
    packet
}

/// The addresses of type `kind` in an answer to `question`; `None` if it is no such answer.
fn addresses(answer: &[u8], question: &[u8], kind: Kind) -> Option<Vec<IpAddr>> {
    let is_answer = answer.get(2)? & 0x80 != 0;
    // The question comes back as it was sent.
    if !is_answer
        || answer.get(..2)? != question.get(..2)?
        || answer.get(12..question.len())? != question.get(12..)?
    {
        return None;
    }
    let count = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let mut rest = answer.get(question.len()..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        rest = after_name(rest)?;
        let (fixed, data) = rest.split_at_checked(10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let (data, next) = data.split_at_checked(length)?;
        if u16::from_be_bytes([fixed[0], fixed[1]]) == kind as u16 {
            match kind {
                Kind::A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
                Kind::Aaaa => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            }
        }
        rest = next;
    }
    Some(found)
}

/// What follows a name, which ends with an empty label or a pointer.
fn after_name(mut packet: &[u8]) -> Option<&[u8]> {
    loop {
        let length = *packet.first()?;
        if length & 0xc0 == 0xc0 {
            return packet.get(2..);
        }
        packet = packet.get(usize::from(length) + 1..)?;
        if length == 0 {
            return Some(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked() -> Vec<u8> {
        question([1, 2], &"a.example".parse().unwrap(), Kind::A)
    }

    #[test]
    fn reads_an_answer_with_a_pointer() {
        let mut answer = asked();
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
        assert_eq!(
            addresses(&answer, &asked(), Kind::A),
            Some(vec!["10.0.0.7".parse().unwrap()])
        );
        assert_eq!(
            addresses(&asked(), &asked(), Kind::A),
            None,
            "a question is no answer"
        );
        assert_eq!(addresses(&answer[..answer.len() - 1], &asked(), Kind::A), None);
    }

    proptest! {
        #[test]
        fn never_panics(tail in proptest::collection::vec(any::<u8>(), 0..80), count in 0u8..9) {
            let mut answer = asked();
            answer[2] |= 0x80;
            answer[7] = count;
            answer.extend(tail);
            let _ = addresses(&answer, &asked(), Kind::Aaaa);
        }
    }
}
