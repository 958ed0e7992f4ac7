//! Host and domain names as DNS knows them (RFC 1035 section 2.3, RFC 1123 section 2.1).

use super::{NameError, text_type};
use std::str::FromStr;

/// One label: letters, digits and inner hyphens, 1 to 63 characters, kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// One or more labels joined by dots, at most 253 characters, without a trailing dot, kept in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

/// The rule that `label` breaks, if any.
fn label_fault(label: &str) -> Option<&'static str> {
    if label.is_empty() {
        return Some("a label is empty");
    }
    if label.len() > 63 {
        return Some("a label is longer than 63 characters");
    }
    if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Some("only letters, digits and hyphens are allowed in a label");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some("a label neither starts nor ends with a hyphen");
    }
    None
}

impl HostName {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let what = "a host name";
        if text.contains('.') && text.split('.').all(|l| label_fault(l).is_none()) {
            return Err(NameError::new(what, text, "give the name without its domain"));
        }
        match label_fault(text) {
            Some(rule) => Err(NameError::new(what, text, rule)),
            None if text.bytes().all(|b| b.is_ascii_digit()) => Err(NameError::new(
                what,
                text,
                "a name of digits alone would be read as an address",
            )),
            None => Ok(Self(text.to_ascii_lowercase())),
        }
    }
}

impl DnsName {
    /// The name, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `host` put in front of this name; fails when the whole passes 253 characters.
    pub fn with_host(&self, host: &HostName) -> Result<Self, NameError> {
        format!("{host}.{self}").parse()
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |rule| NameError::new("a domain name", text, rule);
        if text.len() > 253 {
            return Err(bad("it is longer than 253 characters"));
        }
        if let Some(rule) = text.split('.').find_map(label_fault) {
            return Err(bad(rule));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

text_type!(HostName);
text_type!(DnsName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_lower_case() {
        assert_eq!("Service-1".parse::<HostName>().unwrap().as_str(), "service-1");
        assert_eq!(
            "Net-1.Internal".parse::<DnsName>().unwrap().as_str(),
            "net-1.internal"
        );
    }

    #[test]
    fn refuses_what_dns_refuses() {
        for text in [
            "",
            "-a",
            "a-",
            "a_b",
            "a b",
            "a.b",
            "a,b",
            "a\nb",
            "a%b",
            "é",
            &"a".repeat(64),
            "10",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
        for text in ["", ".", "a..b", "a.", ".a", &format!("{}a", "abc.".repeat(64))] {
            assert!(text.parse::<DnsName>().is_err(), "{text:?}");
        }
    }
}
