//! Guests as packages.

mod manifest;
mod name;
mod text;

pub use manifest::*;
pub use name::*;
pub use text::*;
