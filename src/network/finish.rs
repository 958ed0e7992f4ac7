//! Doing what had to wait: networks that were to be registered or unregistered while libvirt could not be asked, or in
//! this system's root before it ran. What is on record, and how it got there, is told in `pending`.

use super::apply::{Beside, RegisterError, Target, register_locked, unregister_locked, update_locked};
use super::{Applied, CompileError, Deferred, Finder, NetworkError, Pending, StateError, compile, pending};
use crate::host::{Layout, files};
use crate::name::NetworkName;
use crate::template::Templates;
use crate::yaml::Problem;
use std::io;
use std::path::{Path, PathBuf};

/// Why something is still pending.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The definition is gone, or has mistakes.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// What the host has is in its way.
    #[error("{0}")]
    Clash(Box<Problem>),
    /// The kept definition is another network's.
    #[error("{}: this is the definition of {found}", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The network that it defines.
        found: NetworkName,
    },
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It cannot be made real, or taken away.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A file cannot be read, or the network's lock not be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of something that had to wait.
#[derive(Debug)]
pub struct Finished {
    /// The network.
    pub network: NetworkName,
    /// What was to be done.
    pub work: Deferred,
    /// Whether it is done now; an error if it is still pending.
    pub result: Result<(), FinishError>,
    /// False if it is pending for the same reason as before.
    pub news: bool,
}

/// Tries once everything that waits for this libvirt, but not what concerns `except`, about which the caller has
/// other plans. Networks on which somebody else is at work are passed over.
pub fn finish(
    target: &Target<'_>,
    templates: &Templates,
    except: Option<&NetworkName>,
) -> Result<Vec<Finished>, StateError> {
    let waiting = pending(target.layout)?.into_iter();
    let mine = waiting.filter(|wish| Some(&wish.network) != except && wish.uri == target.libvirt.uri());
    Ok(mine
        .filter_map(|wish| {
            let result = settle(&wish.network, target, templates).transpose()?;
            let news = result
                .as_ref()
                .err()
                .is_none_or(|error| wish.reason != error.to_string());
            Some(Finished {
                result,
                work: wish.work,
                network: wish.network,
                news,
            })
        })
        .collect())
}

/// Does what is to be done with one network; `None` if that is nothing (any more), or somebody else is at it.
fn settle(name: &NetworkName, target: &Target<'_>, templates: &Templates) -> Result<Option<()>, FinishError> {
    let layout = target.layout;
    let Some(_lock) = files::Lock::try_acquire(layout.network_lock(name).on_disk())? else {
        return Ok(None);
    };
    let Some(wish) = Pending::read(layout, name)? else {
        return Ok(None);
    };
    let done = match wish.work {
        Deferred::RegisterNetwork => register(&wish, target, templates),
        Deferred::UnregisterNetwork => unregister_locked(name, target, wish.force, false)
            .map(drop)
            .map_err(FinishError::from),
    };
    if let Err(error) = &done {
        let reason = error.to_string();
        if reason != wish.reason {
            Pending { reason, ..wish }.write(layout)?;
        }
    }
    done.map(Some)
}

fn register(wish: &Pending, target: &Target<'_>, templates: &Templates) -> Result<(), FinishError> {
    let layout = target.layout;
    let copy = layout.kept_definition(&wish.network);
    let source = wish.source.as_deref().unwrap_or_else(|| copy.named());
    let path = definition(layout, &wish.network, source)?;
    let found = Finder::to_register(layout, &|| Some(target.libvirt.clone())).settle_at(&path, source)?;
    if let Some(clash) = found.clashes.into_iter().next() {
        return Err(FinishError::Clash(Box::new(clash)));
    }
    let network = found.network;
    if *network.name() != wish.network {
        return Err(FinishError::OtherName {
            path,
            found: network.name().clone(),
        });
    }
    let compiled = compile(&network, layout, templates)?;
    // An update that was killed may plug guests in again, as it was about to.
    if wish.force && Applied::read(layout, &wish.network).is_ok_and(|record| record.is_some()) {
        update_locked(&network, &compiled, source, target, false, Beside::NoDhcp)?;
    } else {
        register_locked(&network, &compiled, source, target, false)?;
    }
    Ok(())
}

/// The file to read: `source` itself as long as it says what it said when this was asked for, otherwise the copy.
fn definition(layout: &Layout, name: &NetworkName, source: &Path) -> io::Result<PathBuf> {
    let copy = layout.kept_definition(name);
    let kept = files::read_if_there(copy.on_disk())?;
    let same = kept.is_none() || files::read_if_there(source).is_ok_and(|now| now == kept);
    Ok(if same {
        source.to_owned()
    } else {
        copy.on_disk().to_owned()
    })
}
