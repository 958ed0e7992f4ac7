//! `net import`: definitions in the native form, made from what other tools have: a libvirt network's XML, or a file in
//! the form of the first releases. Pure: text in, text out; what cannot be carried over is told.

mod libvirt;
mod rewrite;
mod settle;

pub use libvirt::from_libvirt;
pub use rewrite::rewrite;

use super::{Network, Warning};
use crate::yaml::Problems;

/// A definition that was made from something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The network.
    pub network: Network,
    /// Its definition in the native form.
    pub text: String,
    /// What is not carried over, or not as it was: a sentence for each.
    pub lost: Vec<String>,
    /// What may not be meant in the definition.
    pub warnings: Vec<Warning>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// libvirt's XML cannot be read.
    #[error("{0}")]
    Xml(String),
    /// XML of something else.
    #[error("{0} is not the XML of a libvirt network: its outermost element is not <network>")]
    NotANetwork(String),
    /// A kind of network that a definition cannot describe.
    #[error("{name} cannot be described by a definition: {what}")]
    Unsupported {
        /// The network.
        name: String,
        /// The reason.
        what: String,
    },
    /// The file to be rewritten has mistakes, or what came out of libvirt's XML breaks a rule.
    #[error(transparent)]
    Definition(#[from] Problems),
    /// The file is in the native form already.
    #[error("{0} is in the present form already: there is nothing to import")]
    Native(String),
    /// What was written does not mean the same.
    #[error("{0} cannot be rewritten: what came out would not mean the same")]
    Differs(String),
}
