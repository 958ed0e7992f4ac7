//! Booting over the network: which file each kind of firmware gets, and where from.
//!
//! The names go into dnsmasq's configuration as they stand, so only characters that mean nothing there are taken.

use crate::name::printable;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

/// What machines are told that boot over the network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Boot {
    /// The directory that the network's dnsmasq serves by TFTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tftp: Option<TftpRoot>,
    /// Another TFTP server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Ipv4Addr>,
    /// The file for each kind of firmware, in the order of [`Firmware::ALL`].
    pub files: Vec<(Firmware, BootFile)>,
}

/// A kind of boot firmware, as clients tell it: by the architecture (DHCP option 93, RFC 4578 section 2.1 and IANA's
/// "Processor Architecture Types"), or as iPXE does (option 175).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// iPXE, on whatever machine.
    Ipxe,
    /// A PC's BIOS.
    Bios,
    /// UEFI of 64-bit PCs.
    Uefi,
    /// UEFI of 32-bit PCs.
    Uefi32,
    /// UEFI of 64-bit ARM machines.
    UefiArm64,
    /// Any other.
    Other,
}

impl Firmware {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Ipxe,
        Self::Bios,
        Self::Uefi,
        Self::Uefi32,
        Self::UefiArm64,
        Self::Other,
    ];

    /// The key in definitions.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ipxe => "ipxe",
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Uefi32 => "uefi32",
            Self::UefiArm64 => "uefi_arm64",
            Self::Other => "file",
        }
    }

    /// What it calls its architecture. 7 was meant for byte code; 64-bit PCs say that all the same.
    pub const fn architectures(self) -> &'static [u16] {
        match self {
            Self::Bios => &[0],
            Self::Uefi => &[7, 9],
            Self::Uefi32 => &[6],
            Self::UefiArm64 => &[11],
            Self::Ipxe | Self::Other => &[],
        }
    }
}

/// A directory to be served: an absolute path of `[A-Za-z0-9._+@~/-]`, without `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct TftpRoot(String);

/// The text is not a directory that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a directory that can be served: an absolute path is needed, of letters, digits and `._+@~-` between its \
     slashes, without `..`, up to 512 characters long"
)]
pub struct TftpRootError(String);

/// A file that firmware loads by TFTP, named relative to the directory that is served, or for iPXE a URL too: 1 to
/// 127 characters, which is what a DHCP answer has room for (RFC 2131, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct BootFile(String);

/// The text names no boot file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a boot file: write its path, of letters, digits and `._+@~-` between slashes, without `..`, or for iPXE \
     an http, https or tftp URL; up to 127 characters"
)]
pub struct BootFileError(String);

fn is_plain_path(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._+@~-/".contains(&b);
    !text.is_empty() && text.bytes().all(fits) && text.split('/').all(|part| part != "..")
}

/// What URLs are made of (RFC 3986, section 2), without what dnsmasq could misread; iPXE puts in values of its own for
/// `${…}`.
fn is_plain_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._+@~-/:?&=[]${}%".contains(&b);
    let escapes = rest.split('%').skip(1);
    ["http", "https", "tftp"].contains(&scheme)
        && !rest.is_empty()
        && rest.bytes().all(fits)
        && rest.split('/').all(|part| part != "..")
        && rest.split('$').skip(1).all(|setting| setting.starts_with('{'))
        && escapes
            .map(|escape| escape.as_bytes().get(..2))
            .all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

impl TftpRoot {
    /// The directory.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl BootFile {
    /// The name as firmware gets it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for a URL, which firmware other than iPXE does not understand.
    pub fn is_url(&self) -> bool {
        self.0.contains("://")
    }

    /// The path below the directory that is served; `None` for a URL.
    pub fn in_directory(&self) -> Option<&str> {
        (!self.is_url()).then(|| self.0.trim_start_matches('/'))
    }
}

impl FromStr for TftpRoot {
    type Err = TftpRootError;

    fn from_str(text: &str) -> Result<Self, TftpRootError> {
        if text.starts_with('/') && text.len() <= 512 && is_plain_path(text) {
            let trimmed = text.trim_end_matches('/');
            return Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()));
        }
        Err(TftpRootError(printable(text, 80)))
    }
}

impl FromStr for BootFile {
    type Err = BootFileError;

    fn from_str(text: &str) -> Result<Self, BootFileError> {
        let file = is_plain_path(text) && !text.ends_with('/');
        if text.len() <= 127 && (file || is_plain_url(text)) {
            return Ok(Self(text.to_owned()));
        }
        Err(BootFileError(printable(text, 140)))
    }
}

impl fmt::Display for TftpRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for BootFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_files_and_directories() {
        for good in [
            "pxelinux.0",
            "/efi/boot/bootx64.efi",
            "http://10.0.0.1:8080/boot.ipxe?mac=${net0/mac}&x=%20",
            "tftp://[::1]/a",
        ] {
            assert_eq!(good.parse::<BootFile>().unwrap().as_str(), good);
        }
        assert_eq!(
            "/srv/tftp//".parse::<TftpRoot>().unwrap().to_string(),
            "/srv/tftp"
        );
        for bad in [
            "",
            "/",
            "a/",
            "../a",
            "a/../b",
            "a b",
            "a,b",
            "a#b",
            "a%i",
            "http://",
            "http://a/%2",
            "http://a/b,c",
            "http://a/$(b)",
            "http://a/$b",
            "http://a/../b",
            "ftp://a/b",
            "файл",
            &"a".repeat(128),
        ] {
            assert!(bad.parse::<BootFile>().is_err(), "{bad:?}");
        }
        for bad in ["", "srv", "/a/../b", "/a b", "/a,b", "/a#", "/a\nb", "http://a/"] {
            assert!(bad.parse::<TftpRoot>().is_err(), "{bad:?}");
        }
    }
}
