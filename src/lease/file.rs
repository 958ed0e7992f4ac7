//! dnsmasq's lease file: one line a lease, `EXPIRY MAC ADDRESS NAME CLIENT-ID` (dnsmasq's `lease.c`), then, with
//! DHCPv6, a line `duid …` and lines `EXPIRY IAID ADDRESS NAME DUID`.
//!
//! dnsmasq rewrites the file in place, so a reader can meet half of it: reading is repeated until it parses whole.

use super::{Lease, client_name};
use crate::host::files;
use crate::name::{Mac, printable};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest lease file that is read, in bytes: some 500,000 leases.
const MAX_SIZE: usize = 64 << 20;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Why a lease file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFileError {
    /// The operating system's words.
    #[error("cannot read the lease file: {0}")]
    Io(#[from] io::Error),
    /// A line is not a lease, also after waiting for dnsmasq to finish writing.
    #[error("{}:{line}: `{text}` is no lease line: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line's text, escaped and cut.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is larger than any lease file.
    #[error("{}: a lease file of {size} bytes is not believed", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        size: usize,
    },
}

/// Reads the leases in the file at `path`; none if there is no such file, as before the first lease.
pub fn read(path: &Path) -> Result<Vec<Lease>, LeaseFileError> {
    let mut tries = 0;
    loop {
        let Some(content) = files::read_if_there(path)? else {
            return Ok(Vec::new());
        };
        if content.len() > MAX_SIZE {
            return Err(LeaseFileError::Size {
                path: path.to_owned(),
                size: content.len(),
            });
        }
        let text = String::from_utf8_lossy(&content);
        tries += 1;
        match parse(&text) {
            Ok(leases) => return Ok(leases),
            Err(_) if tries < TRIES => std::thread::sleep(PAUSE),
            Err((line, reason)) => {
                let text = printable(text.lines().nth(line - 1).unwrap_or_default(), 120);
                return Err(LeaseFileError::Line {
                    path: path.to_owned(),
                    line,
                    text,
                    reason,
                });
            }
        }
    }
}

/// Reads a whole lease file's text; otherwise the number of the first bad line, from 1, and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Lease>, (usize, &'static str)> {
    let mut leases = Vec::new();
    let mut v6 = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let fail = |reason| (index + 1, reason);
        let Some(line) = line.strip_suffix('\n') else {
            return Err(fail("it is cut off"));
        };
        let mut fields = line.split(' ');
        let first = fields.next().unwrap_or_default();
        if first == "duid" {
            v6 = true;
            continue;
        }
        let expiry: u64 = first.parse().map_err(|_| fail("the expiry time is no number"))?;
        let client = fields.next().ok_or(fail("it has too few fields"))?;
        let ip: IpAddr = fields
            .next()
            .ok_or(fail("it has too few fields"))?
            .parse()
            .map_err(|_| fail("the address is none"))?;
        let name = fields.next().ok_or(fail("it has too few fields"))?;
        fields.next().ok_or(fail("it has too few fields"))?;
        let mac = if v6 {
            None
        } else {
            Some(hardware_address(client).ok_or(fail("the MAC address is none"))?)
        };
        let expires = (expiry != 0).then_some(expiry);
        leases.push(Lease {
            ip,
            mac,
            name: client_name(name),
            expires,
        });
    }
    Ok(leases)
}

/// The MAC address of a lease line, which dnsmasq prefixes with the hardware type in two hexadecimal digits and a
/// hyphen when that is not Ethernet.
fn hardware_address(text: &str) -> Option<Mac> {
    let address = match text.split_once('-') {
        Some((kind, rest)) if kind.len() == 2 && rest.contains(':') => rest,
        _ => text,
    };
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;
    use proptest::prelude::*;

    const BOTH: &str = "1790000000 52:54:00:01:00:10 192.168.151.10 service-1 01:52:54:00:01:00:10\n\
        0 52:54:00:01:00:11 192.168.151.200 * *\n\
        duid 00:01:00:01:2a:aa\n\
        1790000001 1234567 fd00:151::10 service-1 00:01:00:01:ff\n";

    #[test]
    fn reads_both_families() {
        let leases = parse(BOTH).unwrap();
        assert_eq!(leases.len(), 3);
        assert_eq!(leases[0].name.as_deref(), Some("service-1"));
        assert_eq!(leases[0].expires, Some(1_790_000_000));
        assert_eq!((leases[1].name.as_deref(), leases[1].expires), (None, None));
        assert_eq!(leases[2].mac, None);
    }

    #[test]
    fn names_cannot_carry_escape_codes() {
        let line = "1 52:54:00:01:00:10 10.0.0.1 a\u{1b}[2J *\n";
        assert_eq!(parse(line).unwrap()[0].name.as_deref(), Some("a\\u{1b}\\u{5b}2J"));
    }

    #[test]
    fn half_a_file_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        assert!(read(&path).unwrap().is_empty());
        fs::write(&path, &BOTH[..30]).unwrap();
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                fs::write(path, BOTH).unwrap();
            })
        };
        assert_eq!(read(&path).unwrap().len(), 3);
        writer.join().unwrap();
        fs::write(&path, "not a lease\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("leases:1: `not a lease`"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*|([0-9 :a-f.*-]{0,60}\n){0,4}") { let _ = parse(&text); }
    }
}
