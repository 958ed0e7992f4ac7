//! Any bytes as a qcow2 image: opened, described, mapped, verified and read, without a panic, endless work or another file.
//! What can be read can be written again, with the size that was planned.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniascape::image::{Disk, Format, Plan, describe};
use std::io::{Read, Write};
use std::sync::Arc;

/// A disk that says that it is larger is mapped, not read.
const LARGEST: u64 = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().tempfile_in("/dev/shm").expect("a temporary file");
    // The magic number is not what is to be found out.
    let mut image = bytes.to_vec();
    if let Some(magic) = image.get_mut(..4) {
        magic.copy_from_slice(b"QFI\xfb");
    }
    file.write_all(&image).expect("it fits");
    let _ = describe(file.path(), Format::Qcow2);
    let Ok(disk) = Disk::open(file.path(), Format::Qcow2, &|_, _| false) else {
        return;
    };
    let disk = Arc::new(disk);
    let _ = disk.verify();
    if disk.virtual_size() > LARGEST {
        return;
    }
    let _ = disk.map();
    // A plan looks at a cluster's first bytes only, so that it may come about although the rest cannot be read.
    let mut content = vec![0; usize::try_from(disk.virtual_size()).expect("a few MiB")];
    let readable = disk.reader().read(0, &mut content).is_ok();
    if let Ok(plan) = Plan::flat(&disk, 65536, &mut |_| {}) {
        let mut written = Vec::new();
        match plan.stream().read_to_end(&mut written) {
            Ok(_) => assert_eq!(written.len() as u64, plan.size()),
            Err(error) => assert!(!readable, "what was read once can be read again: {error}"),
        }
    }
});
