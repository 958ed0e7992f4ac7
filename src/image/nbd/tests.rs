//! What servers may say, and what they must not.

use super::NbdError;
use super::client::{ALLOCATION, Client, Status};
use std::io::{self, Cursor, Read, Write};
use std::path::Path;

const GO: u32 = 7;
const STRUCTURED: u32 = 8;
const META: u32 = 10;
const DIRTY: &str = "qemu:dirty-bitmap:since";

/// A server whose words are known beforehand.
#[derive(Debug)]
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn greeting(flags: u16) -> Vec<u8> {
    [b"NBDMAGICIHAVEOPT".as_slice(), &flags.to_be_bytes()].concat()
}

fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    for number in [option, kind, u32::try_from(data.len()).unwrap()] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

fn info(size: u64) -> Vec<u8> {
    let data = [&0u16.to_be_bytes()[..], &size.to_be_bytes(), &[0, 3]].concat();
    reply(GO, 3, &data)
}

fn block_sizes(least: u32, most: u32) -> Vec<u8> {
    let data = [
        &3u16.to_be_bytes()[..],
        &least.to_be_bytes(),
        &4096u32.to_be_bytes(),
        &most.to_be_bytes(),
    ];
    reply(GO, 3, &data.concat())
}

fn context(id: u32, name: &str) -> Vec<u8> {
    reply(META, 4, &[&id.to_be_bytes(), name.as_bytes()].concat())
}

/// A whole handshake for an export of that size, with contexts 7 and 9.
fn handshake(size: u64) -> Vec<u8> {
    [
        greeting(3),
        reply(STRUCTURED, 1, &[]),
        context(9, DIRTY),
        context(7, ALLOCATION),
        reply(META, 1, &[]),
        info(size),
        block_sizes(1, 32 << 20),
        reply(GO, 1, &[]),
    ]
    .concat()
}

fn chunk(flags: u16, kind: u16, cookie: u64, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [
        &0x668e_33ef_u32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &cookie.to_be_bytes(),
        &length.to_be_bytes(),
        data,
    ]
    .concat()
}

fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_be_bytes(), bytes].concat()
}

fn hole(offset: u64, length: u32) -> Vec<u8> {
    [&offset.to_be_bytes()[..], &length.to_be_bytes()].concat()
}

fn status(context: u32, pairs: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = context.to_be_bytes().to_vec();
    for (length, flags) in pairs {
        bytes.extend(length.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
    }
    bytes
}

fn open(words: Vec<u8>) -> Result<Client<Script>, NbdError> {
    Client::open(
        Script(Cursor::new(words)),
        Path::new("/run/nbd"),
        "vda",
        &[ALLOCATION, DIRTY],
    )
}

fn opened(then: &[Vec<u8>]) -> Client<Script> {
    open([handshake(1 << 20), then.concat()].concat()).unwrap()
}

#[track_caller]
fn said(result: Result<impl std::fmt::Debug, NbdError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_sound_server_is_read() {
    let words = [
        chunk(0, 5, 1, &status(9, &[(4096, 0), (8192, 1)])),
        chunk(1, 5, 1, &status(7, &[(1 << 20, 3)])),
        // Not in order, and with a hole.
        chunk(0, 1, 2, &data(108, b"later")),
        chunk(0, 2, 2, &hole(104, 4)),
        chunk(0, 1, 2, &data(100, b"soon")),
        chunk(1, 0, 2, &[]),
    ];
    let mut client = opened(&words);
    assert_eq!((client.size, client.alignment), (1 << 20, 1));
    let mut all = client.status(0, 1 << 20).unwrap();
    all.sort_by_key(|status| (status.context, status.start));
    let of = |context, start, end, flags| Status {
        context,
        start,
        end,
        flags,
    };
    assert_eq!(
        all,
        [of(0, 0, 1 << 20, 3), of(1, 0, 4096, 0), of(1, 4096, 12288, 1)]
    );
    let mut buffer = [b'x'; 13];
    client.read(100, &mut buffer).unwrap();
    assert_eq!(&buffer, b"soon\0\0\0\0later");
    let text = said(client.read(0, &mut buffer));
    assert_eq!(text, "the NBD server at /run/nbd has closed the connection");
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let ack = |option| reply(option, 1, &[]);
    let long = {
        let mut bytes = reply(STRUCTURED, 3, &[]);
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&u32::MAX.to_be_bytes());
        bytes
    };
    let agreed = [greeting(3), ack(STRUCTURED)].concat();
    let chosen = [
        agreed.clone(),
        context(1, ALLOCATION),
        context(2, DIRTY),
        ack(META),
    ]
    .concat();
    let cases = [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), "does not greet"),
        (greeting(2), "fixed newstyle"),
        (greeting(3), "closed the connection"),
        (
            [greeting(3), reply(STRUCTURED, 0x8000_0001, &[])].concat(),
            "does not know that",
        ),
        ([greeting(3), ack(GO)].concat(), "not sent"),
        ([greeting(3), long].concat(), "4294967295 bytes"),
        (
            [greeting(3), reply(STRUCTURED, 3, &[]).repeat(100)].concat(),
            "never comes to an end",
        ),
        ([agreed.clone(), ack(META)].concat(), "has no base:allocation"),
        (
            [agreed.clone(), context(1, ALLOCATION), ack(META)].concat(),
            "has no qemu:dirty-bitmap:since",
        ),
        ([agreed.clone(), context(1, "x:y")].concat(), "nobody asked for"),
        (
            [agreed.clone(), reply(META, 4, b"ab")].concat(),
            "without a number",
        ),
        (
            [
                agreed.clone(),
                context(1, ALLOCATION),
                context(1, DIRTY),
                ack(META),
            ]
            .concat(),
            "with one number",
        ),
        (
            [agreed, reply(META, 0x8000_0006, b"no \x1b[2J such")].concat(),
            "no \\u{1b}[2J such",
        ),
        ([chosen.clone(), ack(GO)].concat(), "how large"),
        (
            [chosen.clone(), reply(GO, 3, &[0, 0, 1])].concat(),
            "wrong length",
        ),
        (
            [chosen.clone(), info(u64::MAX), ack(GO)].concat(),
            "larger than any disk",
        ),
        (
            [chosen.clone(), info(1 << 20), block_sizes(3, 1 << 20), ack(GO)].concat(),
            "make no sense",
        ),
        (
            [chosen, info(1000), block_sizes(4096, 1 << 20), ack(GO)].concat(),
            "make no sense",
        ),
    ];
    for (words, reason) in cases {
        let text = said(open(words));
        assert!(
            text.contains(reason) && text.contains("/run/nbd"),
            "{reason}: {text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn replies_that_do_not_fit_are_refused() {
    let eio = [&5u32.to_be_bytes()[..], &4u16.to_be_bytes(), b"disk"].concat();
    let simple = |error: u32| {
        [
            &0x6744_6698_u32.to_be_bytes()[..],
            &error.to_be_bytes(),
            &1u64.to_be_bytes(),
        ]
        .concat()
    };
    let cases = [
        (chunk(1, 1, 2, &data(0, &[1; 16])), "reply to no request"),
        (chunk(1, 1, 1, &data(0, &[1; 8])), "less than was asked for"),
        (chunk(1, 1, 1, &data(8, &[1; 16])), "not asked for"),
        (chunk(1, 1, 1, &data(u64::MAX, &[1; 16])), "not asked for"),
        (chunk(1, 2, 1, &hole(0, u32::MAX)), "not asked for"),
        (chunk(1, 2, 1, &hole(0, 0)), "not asked for"),
        (
            [chunk(0, 1, 1, &data(0, &[1; 9])), chunk(0, 2, 1, &hole(8, 8))].concat(),
            "twice",
        ),
        (chunk(1, 5, 1, &status(7, &[(16, 0)])), "does not belong"),
        (chunk(1, 0x8001, 1, &eio), "input/output error (disk)"),
        (chunk(1, 0x8001, 1, &[]), "error 0"),
        (chunk(1, 0x8001, 1, &vec![0; 100_000]), "100000 bytes"),
        (simple(5), "input/output error"),
        (simple(0), "simple reply"),
        (b"HTTP/1.1 400 Bad Request".to_vec(), "does not begin as one"),
    ];
    for (words, reason) in cases {
        let text = said(opened(&[words]).read(0, &mut [0; 16]));
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let cases = [
        (status(8, &[(16, 0)]), "unknown context"),
        (status(7, &[]), "wrong length"),
        (status(7, &[(0, 0)]), "of nothing"),
        (status(7, &[(1 << 20, 0), (1, 0)]), "of nothing"),
        (vec![0, 0], "unknown context"),
        ([status(7, &[(16, 0)]), vec![1]].concat(), "wrong length"),
        (status(7, &[(16, 0)]), "no block status of a context"),
    ];
    for (words, reason) in cases {
        let text = said(opened(&[chunk(1, 5, 1, &words)]).status(0, 1 << 20));
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let twice = [
        chunk(0, 5, 1, &status(7, &[(16, 0)])),
        chunk(1, 5, 1, &status(7, &[(16, 0)])),
    ];
    assert!(said(opened(&twice).status(0, 1 << 20)).contains("twice"));
}
