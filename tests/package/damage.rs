//! `package verify` on damaged packages: cut at any place, with a flipped bit, with pieces exchanged. Each damage is
//! refused with the place, or lies where nothing counts; which places these are stands in `does_not_count`.

use crate::guest::{Bench, domain, request};
use crate::verify::check;
use fs_err as fs;
use miniascape::package::{self, Codec, Target};
use std::path::PathBuf;

/// Flips per file; MINIASCAPE_TEST_FULL takes many more.
fn flips() -> u64 {
    if std::env::var_os("MINIASCAPE_TEST_FULL").is_some() {
        300
    } else {
        60
    }
}

/// The same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// One package of each kind of a guest with little on its disk.
fn packages(bench: &Bench, codec: Codec) -> Vec<PathBuf> {
    let mut content = vec![0; 1 << 20];
    for (at, byte) in content[300_000..360_000].iter_mut().enumerate() {
        *byte = ((at * 7919) >> 3).to_le_bytes()[0];
    }
    fs::write(bench.path("a.raw"), content).unwrap();
    let mut options = bench.options(&[Target::Rpm, Target::Srpm, Target::Deb, Target::Tar]);
    options.codec = codec;
    let request = request(domain("web", &bench.path("a.raw"), "raw"));
    let repacked = package::repack(&request, &options, &()).unwrap();
    let mut files: Vec<PathBuf> = repacked.files.into_iter().map(|file| file.path).collect();
    // Base and delta are alike.
    files.truncate(8);
    files
}

/// A big-endian number of four bytes.
fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
}

/// Where an RPM's signature header ends.
fn end_of_signatures(rpm: &[u8]) -> usize {
    96 + 16 + 16 * number(rpm, 96 + 8) + number(rpm, 96 + 12)
}

/// The members of a Debian package: where header and content begin and where the content ends.
fn members(deb: &[u8]) -> Vec<(usize, usize, usize)> {
    let (mut at, mut found) = (8, Vec::new());
    while at + 60 <= deb.len() {
        let size = std::str::from_utf8(&deb[at + 48..at + 58])
            .unwrap()
            .trim()
            .parse::<usize>()
            .unwrap();
        found.push((at, at + 60, at + 60 + size));
        at += 60 + size.next_multiple_of(2);
    }
    found
}

/// What is in `packed`, if it can be unpacked.
fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    match packed {
        [0x28, 0xb5, ..] => zstd::decode_all(packed).ok(),
        [0xfd, b'7', ..] => {
            let mut plain = Vec::new();
            let mut decoder = liblzma::bufread::XzDecoder::new_multi_decoder(packed);
            std::io::Read::read_to_end(&mut decoder, &mut plain).ok()?;
            Some(plain)
        }
        plain => Some(plain.to_vec()),
    }
}

/// Why the byte `at` of a package may be another; `None` if it counts.
fn does_not_count(good: &[u8], bad: &[u8], at: usize) -> Option<&'static str> {
    if good.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        // The digest and the lengths in it do count, and are checked; signatures are the business of `rpm -K`.
        return match at {
            0..96 => Some("the lead, of which rpm itself takes magic number and version only"),
            _ if at < end_of_signatures(good) => Some("the signature header, on which no digest is"),
            _ => None,
        };
    }
    if good.starts_with(b"!<arch>\n") {
        let members = members(good);
        let number = members.iter().rposition(|(header, ..)| at >= *header)?;
        let (header, start, end) = members[number];
        return match number {
            _ if (header + 16..header + 48).contains(&at) => Some("time, owner and mode of an ar member"),
            1 if at >= start => Some("control.tar, on which Debian's format has no digest"),
            2 if at >= start => same(&good[start..end], &bad[start..end]),
            _ => None,
        };
    }
    same(good, bad)
}

/// Differently packed is the same, and so are texts of a tree that nothing has a digest of.
fn same(good: &[u8], bad: &[u8]) -> Option<&'static str> {
    let packed = !good.starts_with(b"vm-") && !good.starts_with(b"./");
    let (a, b) = (unpacked(good)?, unpacked(bad)?);
    if a == b {
        return Some("packed in another way, the same unpacked");
    }
    // The last byte of a tar header's checksum is a blank that nobody reads.
    let differ: Vec<usize> = (0..a.len().max(b.len()))
        .filter(|at| a.get(*at) != b.get(*at))
        .collect();
    match differ[..] {
        [at] if at % 512 == 155 => Some("the blank after a checksum"),
        [_] if !packed => Some("a text in a plain tar file"),
        _ => None,
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "with --nocapture it tells what was found harmless"
)]
fn a_cut_or_a_flipped_bit_is_found_or_does_not_count() {
    let mut random = Random(5);
    let mut reasons = std::collections::BTreeMap::new();
    for codec in [Codec::default(), Codec::Xz(1), Codec::None] {
        let bench = Bench::new();
        let bad = bench.path("bad");
        for path in packages(&bench, codec) {
            let good = fs::read(&path).unwrap();
            let whole = check(&path).unwrap();
            let refused = |bytes: &[u8], what: &str| {
                fs::write(&bad, bytes).unwrap();
                let text = check(&bad).expect_err(what);
                assert!(
                    text.starts_with(&format!("{}: ", bad.display())),
                    "{what}: {text}"
                );
            };
            let mut cuts: Vec<usize> = vec![0, 1, 7, 8, 95, 96, 97, 512, good.len() - 1, good.len() - 2];
            if good.starts_with(b"!<arch>\n") {
                cuts.extend(members(&good).iter().flat_map(|(a, b, c)| [*a, *b, c - 1, *c]));
                cuts.retain(|cut| *cut < good.len());
            } else if good.starts_with(&[0xed, 0xab]) {
                let main = end_of_signatures(&good).next_multiple_of(8);
                let archive = main + 16 + 16 * number(&good, main + 8) + number(&good, main + 12);
                cuts.extend([main, main + 16, archive - 1, archive, archive + 1]);
            }
            cuts.extend((0..20).map(|_| random.below(good.len())));
            for cut in cuts {
                refused(&good[..cut], &format!("{} cut at {cut}", path.display()));
            }
            refused(&[&good[..], b"\n"].concat(), "a byte more");
            refused(&[&good[..], &good].concat(), "twice");
            for _ in 0..flips() {
                // Half of them where the headers are.
                let near = random.below(2) == 0;
                let at = random.below(if near { good.len().min(12_000) } else { good.len() });
                let mut flipped = good.clone();
                flipped[at] ^= 1 << random.below(8);
                fs::write(&bad, &flipped).unwrap();
                if let Ok(found) = check(&bad) {
                    let reason = does_not_count(&good, &flipped, at);
                    let reason = reason.unwrap_or_else(|| panic!("byte {at} of {} counts", path.display()));
                    *reasons.entry(reason).or_insert(0) += 1;
                    if reason != "a text in a plain tar file" {
                        assert_eq!(found.files, whole.files, "byte {at} of {}", path.display());
                    }
                }
            }
            // What the signature header does promise.
            if good.starts_with(&[0xed, 0xab]) {
                let digest = good[..end_of_signatures(&good)]
                    .windows(64)
                    .position(|window| window.iter().all(u8::is_ascii_hexdigit));
                for at in (0..64).step_by(9) {
                    let mut flipped = good.clone();
                    flipped[digest.unwrap() + at] ^= 1;
                    refused(&flipped, "the header's digest");
                }
            }
        }
    }
    println!("{reasons:#?}");
}
