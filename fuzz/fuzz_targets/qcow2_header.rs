//! Any bytes as the header of a qcow2 image: they are answered with a header within the format's limits or with a reason
//! that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniascape::image::QcowHeader;

fuzz_target!(|bytes: &[u8]| {
    match QcowHeader::parse(bytes) {
        Ok(header) => {
            assert!((9..=21).contains(&header.cluster_bits));
            assert!(i64::try_from(header.virtual_size).is_ok() && header.snapshots <= 65536);
        }
        Err(reason) => assert!(!reason.is_empty() && reason.chars().all(|c| !c.is_control()), "{reason:?}"),
    }
});
