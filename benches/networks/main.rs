//! `cargo bench --bench networks [compile|live]`: how fast networks are compiled and changed, each beside what a user
//! would take instead, in one run. Figures are printed; nothing passes or fails by them.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

mod compile;
mod live;
mod run;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // This executable is also the first process inside a private host.
    if let Some(code) = support::entry() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [compile::CHILD, dir] => compile::child(Path::new(dir)),
        [live::INSIDE] => live::inside(),
        ["compile"] => compile::main(),
        ["live"] => live::main(),
        [] => {
            compile::main();
            live::main();
        }
        other => panic!("unknown: {other:?}"),
    }
    ExitCode::SUCCESS
}
