//! Names of networks, interfaces, guests, versions and image digests.

use super::{NameError, text_type};
use std::str::FromStr;

/// A network's name: 1 to 32 of `[A-Za-z0-9_.-]`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkName(String);

/// A Linux interface name as we make them: 1 to 15 of `[A-Za-z0-9_.-]`, the first a letter or digit (netdevice(7):
/// `IFNAMSIZ` is 16 with the terminating NUL).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// A guest's name: 1 to 64 of `[A-Za-z0-9_.+-]`, the first a letter or digit. libvirt allows more; a guest of
/// another name is packed under a derived one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestName(String);

/// A package version that RPM and Debian order alike: a digit, then up to 63 of `[A-Za-z0-9.+~]`. No hyphen, which
/// separates the release in both.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageVersion(String);

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: 64 lower-case hexadecimal digits are needed")]
pub struct DigestError(String);

fn checked(
    what: &'static str,
    text: &str,
    max: usize,
    extra: &str,
    rule: &'static str,
) -> Result<String, NameError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b);
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts && text.len() <= max && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(NameError::new(what, text, rule))
    }
}

impl NetworkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the network's dnsmasq claims on the system bus. It is also the interface name of its signals.
    pub fn dnsmasq_bus_name(&self) -> String {
        format!("uk.org.thekelleys.dnsmasq.{}", self.bus_element())
    }

    /// The name for use in a D-Bus name: every character outside `[A-Za-z0-9]` as `_` and two hexadecimal digits,
    /// behind `n_`, since an element of an interface name takes no hyphen and starts with no digit (D-Bus
    /// specification, "Interface names"). `net-1` gives `n_net_2d1`.
    fn bus_element(&self) -> String {
        use std::fmt::Write;
        let mut out = String::from("n_");
        for b in self.0.bytes() {
            if b.is_ascii_alphanumeric() {
                out.push(char::from(b));
            } else {
                let _ = write!(out, "_{b:02x}");
            }
        }
        out
    }
}

impl FromStr for NetworkName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rule = "1 to 32 letters, digits, `_`, `.` or `-` are needed, the first a letter or digit";
        checked("a network name", text, 32, "_.-", rule).map(Self)
    }
}

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rule = "1 to 15 letters, digits, `_`, `.` or `-` are needed, the first a letter or digit";
        checked("an interface name", text, 15, "_.-", rule).map(Self)
    }
}

impl GuestName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rule = "1 to 64 letters, digits, `_`, `.`, `+` or `-` are needed, the first a letter or digit";
        checked("a guest name", text, 64, "_.+-", rule).map(Self)
    }
}

impl PackageVersion {
    /// The version.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rule = "a digit, then letters, digits, `.`, `+` or `~`, at most 64 in all, are needed";
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NameError::new("a package version", text, rule));
        }
        checked("a package version", text, 64, ".+~", rule).map(Self)
    }
}

impl Digest {
    /// A digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The image's file name, `sha256-<64 hex>.qcow2`.
    pub fn file_name(&self) -> String {
        format!("sha256-{self}.qcow2")
    }

    /// The digest in such a file name.
    pub fn of_file_name(name: &str) -> Option<Self> {
        name.strip_prefix("sha256-")?.strip_suffix(".qcow2")?.parse().ok()
    }

    /// The first 16 hexadecimal digits, which name the image's package.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bad = || DigestError(super::printable(text, 80));
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let mut bytes = [0u8; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

text_type!(NetworkName);
text_type!(InterfaceName);
text_type!(GuestName);
text_type!(PackageVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_element_is_a_valid_interface_element() {
        let element = |s: &str| s.parse::<NetworkName>().unwrap().bus_element();
        assert_eq!(element("net-1"), "n_net_2d1");
        assert_eq!(element("1.2_3"), "n_1_2e2_5f3");
        assert_ne!(element("a-b"), element("a_b"));
    }

    #[test]
    fn lengths_and_first_characters() {
        assert!("virbr151".parse::<InterfaceName>().is_ok());
        assert!("a234567890123456".parse::<InterfaceName>().is_err());
        assert!("-net".parse::<NetworkName>().is_err());
        assert!("..".parse::<NetworkName>().is_err());
        assert!(".".parse::<GuestName>().is_err());
        assert!("a".repeat(33).parse::<NetworkName>().is_err());
        assert!("0.1".parse::<PackageVersion>().is_ok());
        assert!("v1".parse::<PackageVersion>().is_err());
        assert!("1-2".parse::<PackageVersion>().is_err());
    }

    #[test]
    fn digests_round_trip() {
        let text = "0123456789abcdef".repeat(4);
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.short(), "0123456789abcdef");
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
