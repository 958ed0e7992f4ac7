//! How packages are called: guest packages by the guest's name, image packages by their content.
//!
//! All names here fit RPM and Debian alike, are safe as file names, and mean nothing to a shell or to rpm's macros.

use crate::name::{Digest, GuestName, printable};
use sha2::{Digest as _, Sha256};
use std::str::FromStr;

/// What every guest package's name starts with.
const GUEST_PREFIX: &str = "vm-";
/// What every image package's name starts with.
const IMAGE_PREFIX: &str = "miniascape-image-";
/// What the capability of a network's definition starts with.
const NETWORK_PREFIX: &str = "miniascape-network";
/// The length that [`GuestName`] allows.
const MAX_GUEST: usize = 64;

/// Why a piece of text is not a package's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of {what}: {rule}")]
pub struct PackageNameError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// A guest package, `vm-NAME`, where NAME has 1 to 64 of `[a-z0-9.+-]`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestPackage {
    full: String,
    guest: GuestName,
}

impl GuestPackage {
    /// The package of a guest that libvirt knows as `original`; see [`guest_name`].
    pub fn of(original: &str) -> Self {
        let guest = guest_name(original);
        Self {
            full: format!("{GUEST_PREFIX}{guest}"),
            guest,
        }
    }

    /// The package's name, `vm-NAME`.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// NAME: what the package's directory is called.
    pub const fn guest(&self) -> &GuestName {
        &self.guest
    }
}

impl FromStr for GuestPackage {
    type Err = PackageNameError;

    fn from_str(text: &str) -> Result<Self, PackageNameError> {
        let guest = text
            .strip_prefix(GUEST_PREFIX)
            .filter(|name| name.bytes().all(is_package_byte))
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| PackageNameError {
                text: printable(text, 80),
                what: "a guest package",
                rule: "`vm-` and then 1 to 64 small letters, digits, `.`, `+` or `-` are needed, as in vm-web",
            })?;
        Ok(Self {
            full: text.to_owned(),
            guest,
        })
    }
}

/// The name under which a guest is packed: the domain's own, in lower case, every character outside `[a-z0-9.+-]` as
/// `-`, leading characters other than letters and digits dropped, at most 64 characters. If that changed the name,
/// `-` and the first 8 hexadecimal digits of the original's SHA-256 follow, so that two guests never share a package.
#[expect(clippy::missing_panics_doc, reason = "every name that is built here is one")]
pub fn guest_name(original: &str) -> GuestName {
    let plain: String = original
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| {
            if u8::try_from(c).is_ok_and(is_package_byte) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if plain == original
        && plain.len() <= MAX_GUEST
        && let Ok(name) = plain.parse()
    {
        return name;
    }
    let digest = Digest::from_bytes(Sha256::digest(original).into()).short();
    let mark = &digest[..8];
    let kept = &plain[..plain.len().min(MAX_GUEST - 1 - mark.len())];
    let stem = if kept.is_empty() { "guest" } else { kept };
    format!("{stem}-{mark}")
        .parse()
        .expect("lower-case letters, digits, `.`, `+` and `-`, short enough, the first a letter or digit")
}

const fn is_package_byte(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'+' | b'-')
}

/// What the RPM package that brings the definition of the network `name` provides, and guests in it recommend.
pub(super) fn network_rpm_capability(name: &str) -> String {
    format!("{NETWORK_PREFIX}({name})")
}

/// What the Debian package provides or recommends.
pub(super) fn network_deb_capability(name: &str) -> String {
    format!("{NETWORK_PREFIX}-{}", guest_name(name))
}

/// The package of one image, `miniascape-image-<first 16 hexadecimal digits of its digest>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImagePackage(String);

impl ImagePackage {
    /// What the name of each of them starts with.
    pub(super) const PREFIX: &'static str = IMAGE_PREFIX;
    /// The version of every image package: a name stands for one content, which never changes.
    pub const VERSION: &'static str = "1";

    /// The package that holds the image with this digest.
    pub fn of(digest: &Digest) -> Self {
        Self(format!("{IMAGE_PREFIX}{}", digest.short()))
    }

    /// The package's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the RPM package provides and guests require: `miniascape-image(sha256:HEX)`.
    pub fn rpm_capability(digest: &Digest) -> String {
        format!("miniascape-image(sha256:{digest})")
    }

    /// What the Debian package provides and guests depend on: `miniascape-image-sha256-HEX`.
    pub fn deb_capability(digest: &Digest) -> String {
        format!("{IMAGE_PREFIX}sha256-{digest}")
    }
}

impl FromStr for ImagePackage {
    type Err = PackageNameError;

    fn from_str(text: &str) -> Result<Self, PackageNameError> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix(IMAGE_PREFIX) {
            Some(short) if short.len() == 16 && short.bytes().all(hex) => Ok(Self(text.to_owned())),
            _ => Err(PackageNameError {
                text: printable(text, 80),
                what: "an image package",
                rule: "`miniascape-image-` and 16 hexadecimal digits are needed",
            }),
        }
    }
}

crate::name::text_type!(GuestPackage);
crate::name::text_type!(ImagePackage);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_name_stays() {
        for name in ["web", "web-1", "a.b+c", "0", &"a".repeat(64)] {
            assert_eq!(guest_name(name).as_str(), name);
        }
    }

    #[test]
    fn another_name_is_made_plain_and_marked() {
        // printf %s Web | sha256sum
        assert_eq!(guest_name("Web").as_str(), "web-29751047");
        for (original, start) in [
            ("My Guest", "my-guest-"),
            ("a_b", "a-b-"),
            ("a-b\n%(id)", "a-b---id--"),
            ("../../etc", "etc-"),
            ("..", "guest-"),
            ("-rf", "rf-"),
            ("größe", "gr--e-"),
            ("日本", "guest-"),
        ] {
            let name = guest_name(original).to_string();
            assert!(
                name.strip_prefix(start).is_some_and(|mark| mark.len() == 8),
                "{original:?} gave {name}"
            );
        }
        assert_ne!(guest_name("a_b"), guest_name("a:b"));
        assert_eq!(guest_name(&"a".repeat(65)).as_str().len(), 64);
    }

    #[test]
    fn only_guest_packages_parse_as_such() {
        let package: GuestPackage = "vm-web".parse().unwrap();
        assert_eq!(package.guest().as_str(), "web");
        assert_eq!(GuestPackage::of("web"), package);
        for text in [
            "web", "vm-", "vm-Web", "vm-..", "vm-a/b", "vm-a b", "vm-a%b", "vm-a\n",
        ] {
            assert!(text.parse::<GuestPackage>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn images_are_named_by_digest() {
        let digest: Digest = "0123456789abcdef".repeat(4).parse().unwrap();
        assert_eq!(
            ImagePackage::of(&digest).as_str(),
            "miniascape-image-0123456789abcdef"
        );
        assert_eq!(
            ImagePackage::rpm_capability(&digest),
            format!("miniascape-image(sha256:{digest})")
        );
        assert_eq!(
            ImagePackage::deb_capability(&digest),
            format!("miniascape-image-sha256-{digest}")
        );
        assert!(
            "miniascape-image-0123456789abcdeg"
                .parse::<ImagePackage>()
                .is_err()
        );
    }

    proptest! {
        /// Whatever a domain is called, its package has a name that every tool takes.
        #[test]
        fn every_name_gives_a_package(original in "\\PC{0,80}|[ -~]{0,80}") {
            let package = GuestPackage::of(&original);
            prop_assert_eq!(package.as_str().parse::<GuestPackage>().unwrap(), package);
        }
    }
}
