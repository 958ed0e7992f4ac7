//! Any bytes as a network definition: they are answered with a network or with problems, and what is compiled holds
//! nothing but lines of the forms that the files know.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniascape::host::Layout;
use miniascape::network::{compile, read_bytes};
use miniascape::template::Templates;
use std::sync::LazyLock;

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::shipped().expect("they are whole"));

fuzz_target!(|bytes: &[u8]| {
    match read_bytes("fuzz.yaml", bytes) {
        Ok((network, _)) => {
            let compiled = compile(&network, &Layout::default(), &TEMPLATES).expect("a checked network compiles");
            for file in compiled.files() {
                let clean = |c: char| c == '\n' || !c.is_control();
                assert!(file.content.chars().all(clean), "{}: {:?}", file.name, file.content);
            }
        }
        Err(problems) => {
            let text = problems.to_string();
            assert!(!text.is_empty() && text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }
});
