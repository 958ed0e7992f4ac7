//! The `miniascape` program.
fn main() {}
