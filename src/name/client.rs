//! What DHCP tells clients apart by, besides their MAC address: tags and client identifiers.

use super::{NameError, text_type};
use std::fmt;
use std::str::FromStr;

/// A label that dnsmasq puts on a client: 1 to 32 of `[A-Za-z0-9_-]`, the first a letter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// A condition on a client: it has the tag, or with `!` in front, it has it not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagMatch {
    /// The tag.
    pub tag: Tag,
    /// True if the client must not have it.
    pub not: bool,
}

/// A DHCP client identifier (RFC 2132 section 9.14), 2 to 64 octets. Read as hexadecimal groups joined by colons, or
/// as a text of `[A-Za-z0-9_.-]`; written as the former.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Vec<u8>);

impl Tag {
    /// Tags that dnsmasq sets by itself (dnsmasq(8), 2.90).
    pub const BUILT_IN: [&str; 5] = ["known", "known-othernet", "bootp", "dhcpv6", "cpewan-id"];
    /// What the tags that miniascape makes begin with.
    pub const OURS: &str = "ms-";

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if neither dnsmasq nor miniascape sets it by itself.
    pub fn is_free(&self) -> bool {
        !Self::BUILT_IN.contains(&self.as_str()) && !self.0.starts_with(Self::OURS)
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "1 to 32 letters, digits, `_` or `-` are needed, the first a letter";
        Err(NameError::new("a tag", text, rule))
    }
}

impl FromStr for TagMatch {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (tag, not) = text.strip_prefix('!').map_or((text, false), |tag| (tag, true));
        Ok(Self {
            tag: tag.parse()?,
            not,
        })
    }
}

impl fmt::Display for TagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.not { "!" } else { "" }, self.tag)
    }
}

impl fmt::Debug for TagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagMatch({self})")
    }
}

impl serde::Serialize for TagMatch {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl ClientId {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || {
            let rule = "hexadecimal groups as in 01:52:54:00:01:00:10 are needed, or letters, digits, `_`, `.` and \
                        `-`; 2 to 64 octets";
            NameError::new("a client identifier", text, rule)
        };
        let octets = if text.contains(':') {
            let octet = |part: &str| match part.len() {
                2 if part.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(part, 16).ok(),
                _ => None,
            };
            text.split(':').map(octet).collect::<Option<Vec<u8>>>()
        } else {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            text.bytes().all(fits).then(|| text.as_bytes().to_vec())
        };
        octets
            .filter(|octets| (2..=64).contains(&octets.len()))
            .map(Self)
            .ok_or_else(bad)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        f.pad(&groups.join(":"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

impl serde::Serialize for ClientId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

text_type!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert!("red_1-x".parse::<Tag>().unwrap().is_free());
        assert!(!"known".parse::<Tag>().unwrap().is_free() && !"ms-efi".parse::<Tag>().unwrap().is_free());
        assert_eq!("!red".parse::<TagMatch>().unwrap().to_string(), "!red");
        for bad in [
            "",
            "1",
            "!",
            "!!a",
            "a,b",
            "a b",
            "a:b",
            "a\n",
            "é",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<TagMatch>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn client_identifiers() {
        let shown = |text: &str| text.parse::<ClientId>().unwrap().to_string();
        assert_eq!(shown("01:52:54:00:0A:00:10"), "01:52:54:00:0a:00:10");
        assert_eq!(shown("lab"), "6c:61:62");
        for bad in [
            "",
            "a",
            "1:2",
            "01:",
            "*",
            "a,b",
            "a b",
            "a\n",
            "é",
            "01:+1",
            &"a".repeat(65),
        ] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad:?}");
        }
    }
}
