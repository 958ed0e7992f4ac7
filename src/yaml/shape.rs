//! What the keys of our YAML files hold, said once beside their readers: for JSON Schema, the manual, and the editors
//! of those who write such files.
//!
//! Shapes describe and never judge: the readers check. Every file that is accepted fits its shape; not every file that
//! fits is accepted. What is written from a shape is in `crate::schema`.

use super::Key;

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A single value of any kind, called this in the manual.
    Text(&'static str),
    /// A single value, called this, that matches this regular expression (ECMA-262), which is anchored at both ends.
    Pattern(&'static str, &'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// An integer between these two, both included.
    Number(i64, i64),
    /// A list, which may be empty.
    List(&'static Shape),
    /// One value, or a list of several.
    Several(&'static Shape),
    /// A mapping with these keys.
    Map(&'static [Key]),
    /// A mapping whose keys match this regular expression.
    Names(&'static str, &'static Shape),
    /// Any of these.
    Any(&'static [Shape]),
}

/// A YAML file of ours.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// What the file is called in the manual and by `miniascape schema`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Where such files lie.
    pub files: &'static [&'static str],
    /// The keys at its top.
    pub keys: &'static [Key],
    /// The keys of another form that is read, too, with what they are now.
    pub old_keys: &'static [Key],
    /// A short file of this kind, complete and accepted.
    pub example: &'static str,
}

impl Shape {
    /// IPv4 or IPv6 addresses.
    pub const IP: Self = Self::Any(&[Self::IPV4, Self::IPV6]);
    /// IPv4 addresses.
    pub const IPV4: Self = Self::Pattern("IPv4 address", r"[0-9]{1,3}(\.[0-9]{1,3}){3}");
    /// IPv6 addresses, roughly (RFC 4291, section 2.2).
    pub const IPV6: Self = Self::Pattern("IPv6 address", r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*");
    /// IPv4 subnets.
    pub const SUBNET4: Self = Self::Pattern("IPv4 subnet", r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}");
    /// IPv6 subnets.
    pub const SUBNET6: Self = Self::Pattern("IPv6 subnet", r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*/[0-9]{1,3}");
}
