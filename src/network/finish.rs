//! Registrations that had to wait: of networks whose files were written into this system's root before it ran.

use super::apply::{RegisterError, Target, register, unregister};
use super::{CompileError, Deferred, Finder, NetworkError, StateError, compile, registered};
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

/// What became of a pending registration.
#[derive(Debug)]
pub struct Finished {
    /// The network.
    pub network: NetworkName,
    /// What was to be done.
    pub work: Deferred,
    /// Whether it is done now; an error if it is still pending.
    pub result: Result<(), FinishError>,
}

/// Tries every pending registration once; what became of each.
pub fn finish(target: &Target<'_>, templates: &Templates) -> Result<Vec<Finished>, StateError> {
    let pending = registered(target.layout)?
        .into_iter()
        .filter_map(|applied| Some((applied.pending?, applied)));
    Ok(pending
        .map(|(work, applied)| {
            let attempt = || {
                match work {
                    Deferred::Register => {
                        let found = Finder::to_register(target.layout, &|| Some(target.libvirt.clone()))
                            .settle_at(&applied.source)?;
                        let compiled = compile(&found.network, target.layout, templates)?;
                        register(&found.network, &compiled, &applied.source, target, false)?;
                    }
                    Deferred::Unregister => drop(unregister(&applied.name, target, false, false)?),
                }
                Ok(())
            };
            Finished {
                result: attempt(),
                work,
                network: applied.name,
            }
        })
        .collect())
}
