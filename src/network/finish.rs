//! Registrations that had to wait: networks whose files were written into this system's root before it ran.

use super::register::{RegisterError, Target, register};
use super::{CompileError, NetworkError, StateError, compile, read, registered};
use crate::name::NetworkName;
use crate::template::Templates;

/// Why a pending registration is still pending.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The definition is gone, or has mistakes.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It cannot be made real.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// Tries every pending registration once; what became of each.
pub fn finish(
    target: &Target<'_>,
    templates: &Templates,
) -> Result<Vec<(NetworkName, Result<(), FinishError>)>, StateError> {
    let pending = registered(target.layout)?
        .into_iter()
        .filter(|applied| applied.pending);
    Ok(pending
        .map(|applied| {
            let attempt = || {
                let (network, _) = read(&applied.source)?;
                let compiled = compile(&network, target.layout, templates)?;
                register(&network, &compiled, &applied.source, target, false)?;
                Ok(())
            };
            let result = attempt();
            (applied.name, result)
        })
        .collect())
}
