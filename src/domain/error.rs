//! What can be wrong with domain XML, and where. No rendering of source lines: that is the caller's.

use std::fmt;

use crate::name::printable;

/// A place in the XML text. Both numbers count from 1; the column counts characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Place {
    /// The place of the byte at `offset` (clamped to the text and to a character boundary).
    pub fn of(source: &str, offset: usize) -> Self {
        let mut offset = offset.min(source.len());
        while !source.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &source[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Why a piece of domain XML was refused. Values that come from the document are shown escaped and shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainXmlError {
    /// More bytes than a domain ever has.
    #[error("the domain XML has {size} bytes; more than {limit} are not read")]
    TooLarge {
        /// Size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Elements nested too deep, or too many of them.
    #[error("domain XML, {place}: {what}; more than {limit} are not read")]
    TooComplex {
        /// Where the limit was passed.
        place: Place,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A document type definition. libvirt needs none, and one can define entities that expand without end.
    #[error("domain XML, {place}: a DOCTYPE is not accepted; remove it")]
    Doctype {
        /// Where it stands.
        place: Place,
    },
    /// Not well-formed XML.
    #[error("domain XML, {place}: {problem}")]
    NotWellFormed {
        /// Where the parser stumbled.
        place: Place,
        /// What it found.
        problem: String,
    },
    /// Another kind of libvirt object, or no libvirt object at all.
    #[error("domain XML, {place}: the outermost element is <{found}>, not <domain>")]
    NotADomain {
        /// Where the outermost element starts.
        place: Place,
        /// Its name.
        found: String,
    },
    /// An element or attribute without which libvirt takes no domain.
    #[error("domain XML, {place}: {what} is missing")]
    Missing {
        /// The element that should have it.
        place: Place,
        /// What is missing.
        what: &'static str,
    },
    /// A value that is not what it must be.
    #[error("domain XML, {place}: {what} is `{value}`, but must be {expected}")]
    BadValue {
        /// The element that has it.
        place: Place,
        /// Which value.
        what: &'static str,
        /// The value, shortened.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Two disks with one target.
    #[error("domain XML, {place}: a second disk has the target `{target}`")]
    RepeatedTarget {
        /// The second disk.
        place: Place,
        /// The target, shortened.
        target: String,
    },
    /// An edit names a disk that the domain does not have.
    #[error("the domain has no disk with the target `{target}` that holds data")]
    NoSuchDisk {
        /// The target that was asked for.
        target: String,
    },
    /// A disk that the caller decided nothing about: its source would be carried to another host as it is.
    #[error("domain XML, {place}: nothing was said about the disk with the target `{target}`")]
    DiskNotDecided {
        /// The disk.
        place: Place,
        /// Its target, shortened.
        target: String,
    },
    /// An edit names a network interface that the domain does not have.
    #[error("the domain has {count} network interfaces, so there is none with the index {index}")]
    NoSuchInterface {
        /// The index that was asked for, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A namespace prefix that stands for two namespaces in documents that are to be merged.
    #[error(
        "the prefix `{prefix}` stands for two namespaces, so the domain's XML and the package's cannot be merged"
    )]
    PrefixClash {
        /// The prefix, shortened.
        prefix: String,
    },
    /// A secret's value among the arguments that libvirt hands to QEMU unread. It must not leave the host.
    #[error(
        "domain XML, {place}: an argument for QEMU holds the value of a secret; define a libvirt secret and refer to it"
    )]
    SecretInArguments {
        /// The argument.
        place: Place,
    },
    /// A value to be written has a character that XML or a terminal would not survive.
    #[error("`{value}` cannot be written into domain XML: it has a control character")]
    ControlCharacter {
        /// The value, shortened.
        value: String,
    },
    /// A path to be written is not text.
    #[error("the path `{path}` cannot be written into domain XML: it is not UTF-8")]
    NotUtf8 {
        /// The path with replacement characters.
        path: String,
    },
}

/// A value from the document for use in a message: shortened, and without anything that acts on a terminal.
pub(super) fn shown(value: &str) -> String {
    printable(value, 80)
}

/// As [`shown`], for a path of the host: long enough to show where it really leads.
pub(super) fn shown_path(path: &str) -> String {
    printable(path, 600)
}
