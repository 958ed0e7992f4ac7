//! Random images, written by qemu-img and qemu-io: chains of layers with sizes, cluster sizes, features and writes of
//! all kinds.

use super::sure;
use miniascape::image::Format;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A small generator of random numbers (splitmix64); a seed gives the same case on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// A chain; the image that a guest would use first.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

/// A size in bytes: small ones, large ones, and such that end within a cluster or a sector.
fn size(dice: &mut Dice, raw: bool) -> u64 {
    let whole = dice.pick(&[1 << 16, 1 << 20, 3 << 20, 5 << 20, 9 << 20]);
    let odd = dice.pick(&[0, 0, 512, 4096, 65536 - 512]);
    let broken = if raw && dice.one_in(3) { dice.below(512) } else { 0 };
    whole + odd + broken
}

/// Makes a chain of 1 to 4 images named `PREFIX-N` in `dir`; gives back all of them, the lowest first.
pub(super) fn chain(dice: &mut Dice, dir: &Path, prefix: &str) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for number in 0..=dice.below(4) {
        let raw = number == 0 && dice.one_in(3);
        let name = format!("{prefix}-{number}");
        let image = if raw {
            raw_image(dice, dir, &name)
        } else {
            qcow2(dice, dir, &name, made.last())
        };
        made.push(image);
    }
    made
}

/// A clone of `original` as a separate program would leave it: another format, some of it changed.
pub(super) fn clone(dice: &mut Dice, dir: &Path, original: &Made, name: &str) -> Made {
    let to = dice.pick(&["raw", "qcow2"]);
    let from = original.path.to_str().unwrap();
    let mut arguments = vec!["convert", "-f", original.format.as_str(), "-O", to, from, name];
    if to == "qcow2" && dice.one_in(2) {
        arguments.insert(1, "-c");
    }
    sure("qemu-img", dir, &arguments);
    let made = Made {
        path: dir.join(name),
        format: Format::from_name(to).unwrap(),
    };
    if dice.one_in(4) {
        let bytes = (size(dice, false) / 512 * 512).to_string();
        sure(
            "qemu-img",
            dir,
            &["resize", "--shrink", "-q", "-f", to, name, &bytes],
        );
    }
    let virtual_size = virtual_size(dir, &made);
    write(dice, dir, &made, virtual_size, 0);
    made
}

fn virtual_size(dir: &Path, made: &Made) -> u64 {
    let path = made.path.to_str().unwrap();
    let text = sure(
        "qemu-img",
        dir,
        &["info", "--output=json", "-f", made.format.as_str(), path],
    );
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["virtual-size"].as_u64().unwrap()
}

fn raw_image(dice: &mut Dice, dir: &Path, name: &str) -> Made {
    let path = dir.join(name);
    let bytes = size(dice, true);
    let file = fs_err::File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(bytes).unwrap();
    let made = Made {
        path,
        format: Format::Raw,
    };
    write(dice, dir, &made, bytes / 512 * 512, 65536);
    // What qemu-io writes never ends within a sector.
    if !bytes.is_multiple_of(512) {
        use fs_err::os::unix::fs::FileExt;
        file.write_all_at(b"end", bytes - 3.min(bytes % 512)).unwrap();
        file.set_len(bytes).unwrap();
    }
    made
}

fn qcow2(dice: &mut Dice, dir: &Path, name: &str, below: Option<&Made>) -> Made {
    let bytes = size(dice, false);
    let bits = dice.pick(&[9, 12, 14, 16, 16, 16, 18, 21]);
    let mut options = vec![format!("cluster_size={}", 1 << bits)];
    let old = dice.one_in(4);
    let mut compress = true;
    if old {
        options.push("compat=0.10".into());
    } else {
        if bits >= 14 && dice.one_in(3) {
            options.push("extended_l2=on".into());
        }
        if dice.one_in(3) {
            options.push("compression_type=zstd".into());
        }
        match dice.below(6) {
            0 => {
                compress = false;
                options.push(format!("data_file={name}.data"));
                if below.is_none() && dice.one_in(2) {
                    options.push("data_file_raw=on".into());
                }
            }
            1 => options.push("lazy_refcounts=on".into()),
            2 => options.push(format!("refcount_bits={}", dice.pick(&[8, 32, 64]))),
            _ => {}
        }
    }
    let options = options.join(",");
    let bytes_text = bytes.to_string();
    let mut arguments = vec!["create", "-q", "-f", "qcow2", "-o", &options];
    let backing;
    if let Some(below) = below {
        backing = if dice.one_in(2) {
            below.path.to_str().unwrap().to_owned()
        } else {
            below.path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        arguments.extend(["-b", &backing, "-F", below.format.as_str()]);
    }
    arguments.extend([name, &bytes_text]);
    sure("qemu-img", dir, &arguments);
    let made = Made {
        path: dir.join(name),
        format: Format::Qcow2,
    };
    let cluster = if compress { 1 << bits } else { 0 };
    write(dice, dir, &made, bytes, cluster);
    // A data file is no place for a snapshot.
    if compress && dice.one_in(4) {
        sure("qemu-img", dir, &["snapshot", "-q", "-c", "before it", name]);
        write(dice, dir, &made, bytes, 0);
    }
    made
}

/// Writes at random places of `made`, which has nothing so far where whole clusters of `cluster` bytes may be written
/// compressed (0: none).
fn write(dice: &mut Dice, dir: &Path, made: &Made, size: u64, cluster: u64) {
    let mut commands = Vec::new();
    // First and once each: QEMU does not write over what is there with compressed clusters, and damages an image where
    // that fails.
    if made.format == Format::Qcow2 && cluster > 0 && size >= cluster && dice.one_in(2) {
        let places: BTreeSet<u64> = (0..=dice.below(6)).map(|_| dice.below(size / cluster)).collect();
        for place in places {
            let (start, byte) = (place * cluster, dice.below(256));
            commands.push(format!("write -q -c -P {byte} {start} {cluster}"));
        }
    }
    for _ in 0..dice.below(10) {
        let unit = dice.pick(&[512, 4096, 65536]);
        let length = ((1 + dice.below(8)) * unit).min(size);
        if length == 0 {
            continue;
        }
        let start = dice.below((size - length) / 512 + 1) * 512;
        let byte = dice.below(255) + 1;
        commands.push(match dice.below(6) {
            0 => format!("write -q -z {start} {length}"),
            1 => format!("write -q -z -u {start} {length}"),
            2 => format!("discard -q {start} {length}"),
            3 => format!("write -q -P 0 {start} {length}"),
            _ => format!("write -q -P {byte} {start} {length}"),
        });
    }
    if commands.is_empty() {
        return;
    }
    let mut arguments = vec!["-d", "unmap", "-f", made.format.as_str()];
    for command in &commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(made.path.to_str().unwrap());
    let said = sure("qemu-io", dir, &arguments);
    assert!(!said.contains("failed"), "{commands:?}: {said}");
}
