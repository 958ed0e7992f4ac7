//! Typed text: the only forms in which values from YAML, XML, leases and packages reach a generated file.
//!
//! Every type here is made by parsing and cannot hold a newline, comma, quote, percent sign or escape code, so
//! code that writes dnsmasq files, XML, specs or terminals needs no further care. The exception is [`PlainText`],
//! which has a form of its own for dnsmasq. What lives elsewhere: IP
//! addresses and subnets (`std::net`, `ipnet`), and the rules between values (`network::check`).

mod client;
mod dns;
mod ids;
mod mac;
mod record;

pub use client::{ClientId, Tag, TagMatch};
pub use dns::{DnsName, HostName};
pub use ids::{Digest, DigestError, GuestName, InterfaceName, NetworkName, PackageVersion};
pub use mac::Mac;
pub use record::{PlainText, RecordName, ZoneName};

/// Why a piece of text is not the name it should be: `what` it should be, the offending `text` (with control
/// characters escaped), and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct NameError {
    /// What was expected, with its article: "a MAC address".
    pub what: &'static str,
    /// The text as given, shortened, control characters escaped.
    pub text: String,
    /// The rule that is broken, as one sentence without full stop.
    pub rule: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            what,
            text: printable(text, 80),
            rule,
        }
    }
}

/// `text` made safe for a terminal: control characters, bidirectional overrides and other invisible characters
/// escaped, and cut after `max` characters.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max {
            out.push('…');
            break;
        }
        let invisible = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if invisible {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// True if what a user typed is meant as a file's path, where a name may stand too: it has a slash, or one of the
/// endings of files that miniascape works with.
pub fn is_path(text: &str) -> bool {
    const ENDINGS: [&str; 8] = [
        ".yaml", ".yml", ".xml", ".rpm", ".deb", ".tar", ".tar.zst", ".tar.xz",
    ];
    text.contains('/') || ENDINGS.iter().any(|ending| text.ends_with(ending))
}

/// Implements the traits that every typed text shares beside its own `FromStr` and `as_str`: `Display`, `Debug`,
/// `AsRef<str>`, and serde as that text.
macro_rules! text_type {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_type;

/// `text` as one word of a shell's command line (POSIX, 2.2.2).
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn printable_escapes_what_a_terminal_would_obey() {
        assert_eq!(printable("a\u{1b}[31mb\n", 80), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("\u{202e}evil", 80), "\\u{202e}evil");
        assert_eq!(printable("abcdef", 3), "abc…");
    }

    #[test]
    fn paths_are_told_from_names() {
        for path in [
            "./web",
            "a/b",
            "n.yaml",
            "n.yml",
            "g.xml",
            "p.rpm",
            "p.deb",
            "p.tar",
            "p.tar.zst",
        ] {
            assert!(is_path(path), "{path}");
        }
        for name in ["web", "web.1", "net-1", "xml", "a.tar.gz"] {
            assert!(!is_path(name), "{name}");
        }
    }

    proptest! {
        /// Whatever is accepted contains only characters that no generated file gives a meaning to.
        #[test]
        fn accepted_names_are_harmless(text in "\\PC{0,40}|[a-zA-Z0-9._:%,'\"\\n/ -]{0,40}") {
            let harmless = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:+".contains(c));
            if let Ok(v) = text.parse::<HostName>() { prop_assert!(harmless(v.as_str())); }
            if let Ok(v) = text.parse::<DnsName>() { prop_assert!(harmless(v.as_str())); }
            if let Ok(v) = text.parse::<NetworkName>() { prop_assert!(harmless(v.as_str())); }
            if let Ok(v) = text.parse::<InterfaceName>() { prop_assert!(harmless(v.as_str())); }
            if let Ok(v) = text.parse::<GuestName>() { prop_assert!(harmless(v.as_str())); }
            if let Ok(v) = text.parse::<PackageVersion>() { prop_assert!(v.as_str().chars().all(|c| harmless(&c.to_string()) || c == '~')); }
            if let Ok(v) = text.parse::<Mac>() { prop_assert!(harmless(&v.to_string())); }
        }
    }
}
