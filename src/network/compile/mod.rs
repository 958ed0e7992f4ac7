//! From a checked network to the files that libvirt and dnsmasq read. Pure: nothing is written here.
//!
//! The libvirt XML and `dnsmasq.conf` come from templates; names, reservations and options, which change while
//! dnsmasq runs, are plain data files. The output is the same, byte for byte, for the same network and layout.

mod dnsmasq;
mod libvirt;
mod rendered;

use super::model::Network;
use crate::host::layout::{Layout, Place};
use crate::name::Digest;
use crate::template::{TemplateError, Templates};
use sha2::Digest as _;
use std::path::PathBuf;

/// The libvirt network XML.
pub const LIBVIRT_XML: &str = "libvirt.xml";
/// dnsmasq's configuration.
pub const DNSMASQ_CONF: &str = "dnsmasq.conf";
/// Names and addresses (hosts(5)), read again on SIGHUP.
pub const ADDN_HOSTS: &str = "addn-hosts";
/// DHCP reservations, one `MAC,ADDRESS,NAME` per line, read again on SIGHUP.
pub const DHCP_HOSTSFILE: &str = "dhcp-hostsfile";
/// DHCP options, read again on SIGHUP.
pub const DHCP_OPTSFILE: &str = "dhcp-optsfile";
/// The directory of the two that follow.
pub const ADDED: &str = "added";
/// A directory of files with further names, as those of [`ADDN_HOSTS`], which dnsmasq watches.
pub const ADDED_NAMES: &str = "added/names";
/// A directory of files with further reservations, as those of [`DHCP_HOSTSFILE`], which dnsmasq watches.
pub const ADDED_RESERVATIONS: &str = "added/reservations";
/// The lease file, which dnsmasq writes; not among the compiled files.
pub const LEASES: &str = "leases";

/// All files that compiling may make.
pub const FILES: [&str; 5] = [
    LIBVIRT_XML,
    DNSMASQ_CONF,
    ADDN_HOSTS,
    DHCP_HOSTSFILE,
    DHCP_OPTSFILE,
];

/// Permission bits of the compiled files: dnsmasq, which reads them as a user of its own, needs no more.
const MODE: u32 = 0o644;

/// Why a network could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A template is at fault.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A template of the host's own leaves out something that miniascape depends on.
    #[error("the template {template} makes {fault}; correct or remove the host's own")]
    Rendered {
        /// The template.
        template: &'static str,
        /// What is wrong with what it makes.
        fault: String,
    },
    /// The directory's name would be misread in dnsmasq's configuration.
    #[error(
        "{} cannot be written into dnsmasq's configuration: choose a directory without quotes, `#`, `\\` and \
         control characters in its name, shorter than 800 bytes",
        .0.display()
    )]
    Path(PathBuf),
}

/// A file to be written into the network's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub content: String,
    /// Its permission bits.
    pub mode: u32,
}

impl File {
    /// SHA-256 of its content.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(sha2::Sha256::digest(&self.content).into())
    }
}

/// What a network comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    files: Vec<File>,
}

impl Compiled {
    /// The files, the libvirt XML first if there is one.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The content of the file `name`.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.content.as_str())
    }

    /// The libvirt network XML, without a uuid; `None` for a mode that has no libvirt network.
    pub fn libvirt_xml(&self) -> Option<&str> {
        self.file(LIBVIRT_XML)
    }

    /// dnsmasq's configuration; `None` when the network needs no dnsmasq.
    pub fn dnsmasq_conf(&self) -> Option<&str> {
        self.file(DNSMASQ_CONF)
    }
}

/// Compiles `network` for a host whose files lie as `layout` says.
pub fn compile(network: &Network, layout: &Layout, templates: &Templates) -> Result<Compiled, CompileError> {
    let directory = layout.network(network.name());
    let file = |name, content| File {
        name,
        content,
        mode: MODE,
    };
    let mut files = Vec::new();
    files.extend(libvirt::xml(network, templates)?.map(|xml| file(LIBVIRT_XML, xml)));
    if network.needs_dnsmasq() {
        let path = |name: &str| named(&directory, name);
        files.push(file(DNSMASQ_CONF, dnsmasq::conf(network, path, templates)?));
        files.push(file(ADDN_HOSTS, dnsmasq::addn_hosts(network)));
        if network.dhcp().is_some() {
            files.push(file(DHCP_HOSTSFILE, dnsmasq::dhcp_hostsfile(network)));
            files.push(file(DHCP_OPTSFILE, dnsmasq::dhcp_optsfile(network)));
        }
    }
    Ok(Compiled { files })
}

/// The path of `name` in `directory` as dnsmasq's configuration can hold it: that file knows quotes, backslashes and
/// comments, cuts blanks at the end, and takes lines of at most 1024 bytes (dnsmasq 2.90, option.c).
fn named(directory: &Place, name: &str) -> Result<String, CompileError> {
    let path = directory.join(name);
    match path.named().to_str() {
        Some(text)
            if text.len() < 900 && !text.contains(|c: char| c.is_control() || "\"'\\#".contains(c)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(CompileError::Path(directory.named().to_owned())),
    }
}
