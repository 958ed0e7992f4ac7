//! Asking whoever sits at the terminal before something that cannot be taken back, or that changes the host.

use super::Failure;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Asks whether to do `what`; where nobody can answer, or the answer is no, that is a refusal: `object` and why.
pub(super) fn ask(object: &dyn Display, what: &str, unsure: &str, kept: &str) -> Result<(), Failure> {
    let refused = |why: &str| Err(Failure::refused(format!("{object} {why}; nothing was changed")));
    if !std::io::stdin().is_terminal() {
        return refused(unsure).map_err(|failure| failure.hint("say so: --yes"));
    }
    // Without a terminal to write to nobody answers.
    let _ = write!(std::io::stderr(), "{what}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        refused(kept)
    }
}
