//! Files of the guest package beside its domain XML and its manifest: firmware variables, TPM state, network
//! definitions. What they mean on the host where the package is installed is `install`'s and `network`'s business.

use super::text::Word;
use crate::name::{Digest, NetworkName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// The most characters of the name of a file beside a network's definition that are kept.
const MAX_STEM: usize = 60;
/// The longest file, in bytes. The firmware variables of an aarch64 guest have exactly this length.
pub(super) const MAX_FILE: u64 = 64 * 1024 * 1024;
/// The name of the file with the firmware variables.
const VARIABLES: &str = "nvram.fd";
/// What the name of a list of a disk's blocks begins with; the disk's target follows.
const BLOCKS: &str = "blocks-";
/// What the name of a network's definition begins and ends with.
const NETWORK: (&str, &str) = ("network-", ".yaml");
/// What follows the network's name in that of a file beside the definition. No network's name has it.
const PART: char = '+';

/// What a file is to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    /// The guest's own UEFI variables, as its firmware keeps them.
    FirmwareVariables,
    /// The state of its emulated TPM 2.0, as swtpm keeps it.
    Tpm2State,
    /// The state of its emulated TPM 1.2.
    Tpm1State,
    /// The definition of a network that it is plugged into.
    Network,
    /// What people put beside that definition, in a file of its own.
    NetworkPart,
    /// The digests of all blocks of a disk, by which a later package finds what has changed (`image::Content::list`).
    BlockDigests,
}

/// One file, as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSection {
    /// Its name, beside the manifest.
    pub name: Word,
    /// What it is.
    pub role: FileRole,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// One file with its content.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct GuestFile {
    /// What the manifest says of it.
    pub section: FileSection,
    /// All of it.
    #[serde(skip)]
    pub content: Vec<u8>,
}

impl FileRole {
    /// The permission bits of such a file. Variables and TPM state hold keys; images, and so their digests, are root's.
    pub const fn mode(self) -> u32 {
        match self {
            Self::Network | Self::NetworkPart => 0o644,
            Self::FirmwareVariables | Self::Tpm2State | Self::Tpm1State | Self::BlockDigests => 0o600,
        }
    }

    /// The name of the one file in this role; none for networks and disks, which are several.
    fn only_name(self) -> Option<&'static str> {
        match self {
            Self::FirmwareVariables => Some(VARIABLES),
            // What swtpm itself calls them.
            Self::Tpm2State => Some("tpm2-00.permall"),
            Self::Tpm1State => Some("tpm-00.permall"),
            Self::Network | Self::NetworkPart | Self::BlockDigests => None,
        }
    }
}

impl FileSection {
    /// The network that the file defines, if it does.
    pub fn network(&self) -> Option<NetworkName> {
        named_network(self.name.as_str()).filter(|_| self.role == FileRole::Network)
    }

    /// True if `content` is what the section was written for.
    pub fn is_of(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.size && Digest::from_bytes(Sha256::digest(content).into()) == self.digest
    }

    /// The permission bits of the file.
    pub const fn mode(&self) -> u32 {
        self.role.mode()
    }
}

impl GuestFile {
    /// The file for `role`, which is one that only one file can have.
    pub(super) fn only(role: FileRole, content: Vec<u8>) -> Self {
        Self::new(role, role.only_name().unwrap_or_default(), content)
    }

    /// The definition of a network.
    pub(super) fn network(name: &NetworkName, content: Vec<u8>) -> Self {
        Self::new(FileRole::Network, &network_file(name), content)
    }

    /// The file `original`, the `index`th beside the definition of a network.
    pub(super) fn network_part(name: &NetworkName, index: usize, original: &str, content: Vec<u8>) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let stem = original.strip_suffix(NETWORK.1).unwrap_or(original);
        let stem: String = stem.chars().map(plain).take(MAX_STEM).collect();
        let file = format!("{}{index:03}-{stem}{}", network_parts(name), NETWORK.1);
        Self::new(FileRole::NetworkPart, &file, content)
    }

    /// The list of the blocks of the disk `target`.
    pub(super) fn blocks(target: &Word, content: Vec<u8>) -> Option<Self> {
        let name = blocks_file(target);
        let fits = name.parse::<Word>().is_ok() && content.len() as u64 <= MAX_FILE;
        fits.then(|| Self::new(FileRole::BlockDigests, &name, content))
    }

    fn new(role: FileRole, name: &str, content: Vec<u8>) -> Self {
        Self {
            section: FileSection {
                name: name.parse().expect("names of ours are words"),
                role,
                size: content.len() as u64,
                digest: Digest::from_bytes(Sha256::digest(&content).into()),
            },
            content,
        }
    }
}

/// The definition of a network of this host, with what people put beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFiles {
    /// The network.
    pub name: NetworkName,
    /// Its definition.
    pub definition: Vec<u8>,
    /// The files beside it: names and contents, in the order in which they are read.
    pub parts: Vec<(String, Vec<u8>)>,
}

impl NetworkFiles {
    /// All of them as files of a guest package.
    pub(super) fn files(&self) -> impl Iterator<Item = GuestFile> {
        let parts = self.parts.iter().zip(1..);
        let part = |((name, content), index): (&(String, Vec<u8>), usize)| {
            GuestFile::network_part(&self.name, index, name, content.clone())
        };
        let definition = GuestFile::network(&self.name, self.definition.clone());
        std::iter::once(definition).chain(parts.map(part))
    }
}

/// The name of the file with the digests of the blocks of the disk `target`.
pub(super) fn blocks_file(target: &Word) -> String {
    format!("{BLOCKS}{target}")
}

/// The name of the file that defines a network in a guest package.
pub fn network_file(name: &NetworkName) -> String {
    format!("{}{name}{}", NETWORK.0, NETWORK.1)
}

/// How the names of the files begin that belong beside a network's definition in a guest package. They end in `.yaml`, and
/// their order is that in which they are read.
pub fn network_parts(name: &NetworkName) -> String {
    format!("{}{name}{PART}", NETWORK.0)
}

/// The network that a file of that name in a guest package defines.
pub fn named_network(file: &str) -> Option<NetworkName> {
    file.strip_prefix(NETWORK.0)?
        .strip_suffix(NETWORK.1)?
        .parse()
        .ok()
}

/// One of all files of a guest package.
pub(super) struct Content<'a> {
    pub(super) name: &'a str,
    pub(super) mode: u32,
    pub(super) bytes: &'a [u8],
}

/// All files of a guest package, by name: its domain XML, its manifest as `json`, and `files`.
pub(super) fn contents<'a>(xml: &'a str, json: &'a str, files: &'a [GuestFile]) -> Vec<Content<'a>> {
    let own = [("domain.xml", 0o600, xml), ("manifest.json", 0o644, json)];
    let own = own.into_iter().map(|(name, mode, text)| Content {
        name,
        mode,
        bytes: text.as_bytes(),
    });
    let more = files.iter().map(|file| Content {
        name: file.section.name.as_str(),
        mode: file.section.mode(),
        bytes: &file.content,
    });
    let mut all: Vec<Content<'a>> = own.chain(more).collect();
    all.sort_by(|a, b| a.name.cmp(b.name));
    all
}

/// The rules between the files of a manifest that may come from anyone; the error is one sentence.
pub(super) fn check(files: &[FileSection]) -> Result<(), String> {
    let mut names = HashSet::new();
    for file in files {
        if !names.insert(&file.name) {
            return Err(format!("two files have the name {}", file.name));
        }
        let named_well = match (file.role, file.role.only_name()) {
            (_, Some(name)) => file.name.as_str() == name,
            (FileRole::BlockDigests, _) => file.name.as_str().starts_with(BLOCKS),
            (FileRole::NetworkPart, _) => is_part(file.name.as_str(), files),
            _ => file.network().is_some(),
        };
        if !named_well {
            return Err(format!(
                "the file {} has another name than its role asks for",
                file.name
            ));
        }
        if file.size > MAX_FILE {
            return Err(format!("the file {} is larger than {MAX_FILE} bytes", file.name));
        }
    }
    Ok(())
}

/// True for the name of a file beside one of the definitions among `files`.
fn is_part(name: &str, files: &[FileSection]) -> bool {
    let mut networks = files.iter().filter_map(FileSection::network);
    name.ends_with(NETWORK.1) && networks.any(|network| name.starts_with(&network_parts(&network)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_their_roles_and_known_by_their_content() {
        let variables = GuestFile::only(FileRole::FirmwareVariables, b"vars".to_vec());
        let network = GuestFile::network(&"net-1".parse().unwrap(), b"network: {}".to_vec());
        assert_eq!(network.section.network(), "net-1".parse().ok());
        assert!(variables.section.is_of(b"vars") && !variables.section.is_of(b"varz"));
        let both = [variables.section.clone(), network.section];
        check(&both).unwrap();
        for name in [
            "domain.xml",
            "nvram",
            "network-.yaml",
            "network-a b.yaml",
            "../nvram.fd",
        ] {
            let Ok(name) = name.parse() else { continue };
            let mut wrong = both.clone();
            wrong[1].name = name;
            assert!(check(&wrong).is_err());
        }
        assert!(check(&[both[0].clone(), both[0].clone()]).is_err());
    }

    #[test]
    fn files_beside_a_definition_come_with_it_in_their_order() {
        let name = "net-1".parse().unwrap();
        let network = GuestFile::network(&name, b"network: {}".to_vec());
        let part = GuestFile::network_part(&name, 1, "10 höstś.yaml", b"hosts: []".to_vec());
        assert_eq!(part.section.name.as_str(), "network-net-1+001-10-h-st-.yaml");
        assert_eq!(named_network(part.section.name.as_str()), None);
        check(&[part.section.clone(), network.section]).unwrap();
        assert!(check(&[part.section]).is_err(), "without its network");
        let long = GuestFile::network_part(
            &"n".repeat(32).parse().unwrap(),
            999,
            &"x".repeat(999),
            Vec::new(),
        );
        assert!(long.section.name.as_str().ends_with("x.yaml"));
    }
}
