//! Guests as packages.
mod name;
mod text;
mod manifest;
pub use name::*;
pub use text::*;
