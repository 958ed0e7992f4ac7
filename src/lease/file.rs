//! dnsmasq's lease file: one line a lease, `EXPIRY MAC ADDRESS NAME CLIENT-ID` (dnsmasq's `lease.c`), then, with
//! DHCPv6, a line `duid …` and lines `EXPIRY IAID ADDRESS NAME DUID`.
//!
//! dnsmasq rewrites the file in place, so a reader can meet half of it: reading is repeated until its last line is
//! whole. What a complete line says is chosen by strangers: one that is no lease is passed over, and never keeps
//! anybody from the others.

use super::{Lease, client_name};
use crate::name::{Mac, printable};
use fs_err as fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest lease file that is read, in bytes: some 500,000 leases.
const MAX_SIZE: u64 = 64 << 20;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Why a lease file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFileError {
    /// The operating system's words.
    #[error("cannot read the lease file: {0}")]
    Io(#[from] io::Error),
    /// Its last line is cut off, also after waiting for dnsmasq to finish writing.
    #[error("{}: the last line, `{text}`, stays cut off; is the file system full?", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// The line's text, escaped and cut.
        text: String,
    },
    /// It is larger than any lease file.
    #[error("{}: a lease file of more than {MAX_SIZE} bytes is not believed", path.display())]
    Size {
        /// The file.
        path: PathBuf,
    },
}

/// What a lease file's text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The leases, in the order of the lines.
    pub leases: Vec<Lease>,
    /// Complete lines that are no leases: their numbers, from 1, and what is wrong with them.
    pub skipped: Vec<(usize, &'static str)>,
    /// The last line, if it does not end: the file is being written.
    pub cut_off: Option<String>,
}

/// Reads the leases in the file at `path`; none if there is no such file, as before the first lease.
pub fn read(path: &Path) -> Result<Vec<Lease>, LeaseFileError> {
    let mut tries = 0;
    loop {
        let Some(content) = content(path)? else {
            return Ok(Vec::new());
        };
        let parsed = parse(&String::from_utf8_lossy(&content));
        tries += 1;
        match parsed.cut_off {
            None => {
                for (line, reason) in parsed.skipped {
                    tracing::warn!("{}:{line}: passed over, since {reason}", path.display());
                }
                return Ok(parsed.leases);
            }
            Some(_) if tries < TRIES => std::thread::sleep(PAUSE),
            Some(text) => {
                return Err(LeaseFileError::CutOff {
                    path: path.to_owned(),
                    text: printable(&text, 120),
                });
            }
        }
    }
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, LeaseFileError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut content = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_SIZE {
        let path = path.to_owned();
        return Err(LeaseFileError::Size { path });
    }
    Ok(Some(content))
}

/// Reads a lease file's text, as far as it goes.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut v6 = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else {
            parsed.cut_off = Some(line.to_owned());
            break;
        };
        if line.starts_with("duid ") {
            v6 = true;
            continue;
        }
        match lease(line, v6) {
            Ok(lease) => parsed.leases.push(lease),
            Err(reason) => parsed.skipped.push((index + 1, reason)),
        }
    }
    parsed
}

/// Reads one line; otherwise what is wrong with it.
fn lease(line: &str, v6: bool) -> Result<Lease, &'static str> {
    const FEW: &str = "it has too few fields";
    let mut fields = line.split(' ');
    let mut next = || fields.next().ok_or(FEW);
    let expiry: u64 = next()?.parse().map_err(|_| "the expiry time is no number")?;
    let client = next()?;
    let ip: IpAddr = next()?.parse().map_err(|_| "the address is none")?;
    let name = next()?;
    next()?;
    Ok(Lease {
        ip,
        mac: if v6 { None } else { ethernet_address(client) },
        name: client_name(name),
        expires: (expiry != 0).then_some(expiry),
    })
}

/// The MAC address of a lease line, if the client has one: before the address of other hardware (InfiniBand, or
/// whatever a client claims to have) dnsmasq writes the hardware type in two hexadecimal digits and a hyphen, and
/// such an address has from 0 to 16 octets.
fn ethernet_address(text: &str) -> Option<Mac> {
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
        let leases = parse(BOTH).leases;
        assert_eq!(leases.len(), 3);
        assert_eq!(leases[0].name.as_deref(), Some("service-1"));
        assert_eq!(leases[0].expires, Some(1_790_000_000));
        assert_eq!((leases[1].name.as_deref(), leases[1].expires), (None, None));
        assert_eq!(leases[2].mac, None);
    }

    #[test]
    fn names_cannot_carry_escape_codes() {
        let line = "1 52:54:00:01:00:10 10.0.0.1 a\u{1b}[2J *\n";
        assert_eq!(parse(line).leases[0].name.as_deref(), Some("a\\u{1b}\\u{5b}2J"));
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
        fs::write(&path, &BOTH[..30]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("leases: the last line, `1790000000 52:"),
            "{error}"
        );
    }

    #[test]
    fn odd_clients_keep_nobody_from_the_others() {
        // Hardware of 0, 1, 8 and 20 octets, and a line that is none.
        let text = format!(
            "1 * 10.0.0.1 a *\n1 00-ff 10.0.0.2 b *\n1 20-00:01:02:03:04:05:06:07 10.0.0.3 c *\n\
             1 20-{}00 10.0.0.4 d *\nnot a lease\n{BOTH}",
            "00:".repeat(19)
        );
        let parsed = parse(&text);
        assert_eq!(parsed.leases.len(), 7);
        assert!(parsed.leases[..4].iter().all(|lease| lease.mac.is_none()));
        assert_eq!(parsed.skipped, [(5, "the expiry time is no number")]);
        assert!(parsed.leases[4].mac.is_some());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap().len(), 7);
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, LeaseFileError::Size { .. }), "{error}");
    }

    proptest! {
        /// Whatever stands in complete lines before and after: the good lines are read, and nothing is "cut off".
        #[test]
        fn strange_lines_hide_no_good_ones(
            before in "([^\n]{0,60}\n|[0-9 :a-f.*-]{0,60}\n){0,4}",
            after in "([^\n]{0,60}\n|[0-9 :a-f.*-]{0,60}\n){0,4}",
        ) {
            let good = "7 52:54:00:01:00:10 192.168.151.10 service-1 *\n";
            let parsed = parse(&format!("{before}{good}{after}"));
            let address = "192.168.151.10".parse::<IpAddr>().unwrap();
            prop_assert!(parsed.leases.iter().any(|lease| lease.ip == address && lease.expires == Some(7)));
            prop_assert_eq!(parsed.cut_off, None);
        }

        #[test]
        fn only_the_end_can_be_cut_off(text in "\\PC*|([0-9 :a-f.*-]{0,60}\n){0,4}[^\n]{0,20}") {
            prop_assert_eq!(parse(&text).cut_off.is_some(), !text.is_empty() && !text.ends_with('\n'));
        }
    }
}
