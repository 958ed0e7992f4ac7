//! Names and texts of DNS records: what a host name cannot be, such as `_ldap._tcp`, and how a name is written in a
//! zone: relative to it, `@` for itself, with a trailing dot for a name outside.

use super::{DnsName, NameError, text_type};
use std::str::FromStr;

/// The full name of a DNS record without its trailing dot: labels of letters, digits and inner hyphens, which may
/// start with an underscore; 1 to 63 characters each, 253 in all; kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName(String);

/// A name as it is written in a zone (RFC 1035 section 5.1): `www`, `@`, or `www.example.org.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ZoneName {
    /// The zone itself.
    Apex,
    /// A name below the zone.
    Below(RecordName),
    /// A full name.
    Full(RecordName),
}

/// A line of text as DNS and DHCP carry it: 1 to 255 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlainText(String);

/// The rule that `label` breaks, if any.
fn label_fault(label: &str) -> Option<&'static str> {
    let inner = label.strip_prefix('_').unwrap_or(label);
    if inner.is_empty() {
        return Some("a label is empty");
    }
    if label.len() > 63 {
        return Some("a label is longer than 63 characters");
    }
    if !inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Some(
            "only letters, digits and hyphens are allowed in a label, and an underscore as its first",
        );
    }
    if inner.starts_with('-') || inner.ends_with('-') {
        return Some("a label neither starts nor ends with a hyphen");
    }
    None
}

impl RecordName {
    /// The name, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if no label has an underscore, so that a machine can have this name.
    pub fn is_host(&self) -> bool {
        !self.0.contains('_')
    }

    /// True if this is `zone` or a name below it.
    pub fn is_in(&self, zone: &str) -> bool {
        self.0
            .strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for RecordName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |rule| NameError::new("a name of a DNS record", text, rule);
        if text.len() > 253 {
            return Err(bad("it is longer than 253 characters"));
        }
        if let Some(rule) = text.split('.').find_map(label_fault) {
            return Err(bad(rule));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl From<&DnsName> for RecordName {
    fn from(name: &DnsName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl ZoneName {
    /// The full name in the zone `domain`; fails when it passes 253 characters.
    pub fn in_zone(&self, domain: &DnsName) -> Result<RecordName, NameError> {
        match self {
            Self::Apex => Ok(domain.into()),
            Self::Below(name) => format!("{name}.{domain}").parse(),
            Self::Full(name) => Ok(name.clone()),
        }
    }
}

impl FromStr for ZoneName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_suffix('.') {
            None if text == "@" => Ok(Self::Apex),
            None => text.parse().map(Self::Below),
            Some(full) => full.parse().map(Self::Full),
        }
    }
}

impl PlainText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text in quotes, as dnsmasq's files hold it (dnsmasq 2.90, option.c, `read_file`): quotes and backslashes
    /// behind a backslash, everything else as it is.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl FromStr for PlainText {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |rule| NameError::new("a text that DNS and DHCP can carry", text, rule);
        if text.is_empty() || text.len() > 255 {
            return Err(bad("it has 1 to 255 characters"));
        }
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(bad("only printable ASCII characters are allowed"));
        }
        Ok(Self(text.to_owned()))
    }
}

text_type!(RecordName);
text_type!(PlainText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_zone() {
        let zone: DnsName = "lab.internal".parse().unwrap();
        let full = |text: &str| {
            text.parse::<ZoneName>()
                .unwrap()
                .in_zone(&zone)
                .unwrap()
                .to_string()
        };
        assert_eq!(full("@"), "lab.internal");
        assert_eq!(full("WWW"), "www.lab.internal");
        assert_eq!(full("_ldap._tcp"), "_ldap._tcp.lab.internal");
        assert_eq!(full("www.example.org."), "www.example.org");
        for bad in [
            "", ".", "..", "a..b", "a_b", "_", "-a", "a-", "*", "*.a", "a b", "a,b", "a\n", "@.", "é", "a/b",
        ] {
            assert!(bad.parse::<ZoneName>().is_err(), "{bad:?}");
        }
        let long: ZoneName = [&*"a".repeat(63); 4].join(".")[..250].parse().unwrap();
        assert!(long.in_zone(&zone).is_err());
    }

    #[test]
    fn names_in_and_outside_a_zone() {
        let name = |text: &str| text.parse::<RecordName>().unwrap();
        assert!(name("a.lab.internal").is_in("lab.internal") && name("lab.internal").is_in("lab.internal"));
        assert!(!name("mylab.internal").is_in("lab.internal") && !name("internal").is_in("lab.internal"));
    }

    #[test]
    fn texts_are_quoted_for_dnsmasq() {
        let text: PlainText = r#"a, "b" \ # c"#.parse().unwrap();
        assert_eq!(text.quoted(), r#""a, \"b\" \\ # c""#);
        for bad in ["", "a\nb", "\u{1b}", "é", &"x".repeat(256)] {
            assert!(bad.parse::<PlainText>().is_err(), "{bad:?}");
        }
    }
}
