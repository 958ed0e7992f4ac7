//! Guests as packages.
mod manifest;
mod name;
mod text;
pub use name::*;
pub use text::*;
