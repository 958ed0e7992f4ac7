//! YAML files as people write them: a tree whose values know their place, strict reading of it, and error messages
//! that point at the line.
//!
//! The tree is built from the parser's events, not through serde, because a definition's reader needs what serde
//! does not carry: the place of every key and value, all mistakes of a file in one go, both places of a duplicate,
//! and scalars as they were written (`54:52:00:01:00:10` unquoted is an integer to YAML 1.1). What the keys mean is
//! the readers' business (`network::definition`).

mod comments;
mod fields;
mod report;
mod shape;
mod source;
mod tree;
mod write;

pub use comments::{Comment, comments};
pub(crate) use fields::nearest;
pub use fields::{Fields, Key, Known};
pub use report::{Also, Attempt, Fault, Problem, Problems, Report, Severity};
pub use shape::{Document, Shape};
pub use source::{At, Place, Source};
pub use tree::{Node, Value, parse, parse_any};
pub use write::{Line, joined, one_line, write, write_long};

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;
