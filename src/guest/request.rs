//! What a person asks for when a guest is made: the values of the options of `guest create`, typed. Choosing what
//! was left open (a format, an address, a path) is the caller's business.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::XmlValue;
use crate::image::Format;
use crate::name::{HostName, Mac, NameError, NetworkName, printable};

/// Why an option's value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct RequestError {
    /// What was expected, with its article.
    pub what: &'static str,
    /// The text as given, shortened, control characters escaped.
    pub text: String,
    /// The rule that is broken.
    pub rule: String,
}

fn refused(what: &'static str, text: &str, rule: impl Into<String>) -> RequestError {
    RequestError {
        what,
        text: printable(text, 80),
        rule: rule.into(),
    }
}

/// A number of bytes, written with a unit: `512MiB`, `1GiB`, `20G`. Units are powers of 1024 whichever way they are
/// written, except KB, MB, GB and TB, which are powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size in bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Size(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in KiB, rounded up.
    pub const fn kib(self) -> u64 {
        self.0.div_ceil(1024)
    }
}

impl FromStr for Size {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        const RULE: &str = "a whole number and a unit (KiB, MiB, GiB, TiB) are needed, as in 512MiB";
        let bad = || refused("a size", text, RULE);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit: u64 = match unit.to_ascii_lowercase().as_str() {
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(bad()),
        };
        match number.checked_mul(unit) {
            Some(bytes @ 1..) => Ok(Size(bytes)),
            _ => Err(refused(
                "a size",
                text,
                "it must be more than nothing and fit into 64 bits",
            )),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = units
            .iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match exact {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// `--disk PATH[,format=qcow2|raw]` or `--disk new:SIZE[,format=…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskRequest {
    /// An image that is there already.
    Existing {
        /// Its path as given.
        path: PathBuf,
        /// Its format, if it was said.
        format: Option<Format>,
    },
    /// An empty image to be made.
    New {
        /// Its virtual size.
        size: Size,
        /// Its format.
        format: Format,
    },
}

fn disk_format(text: &str) -> Result<Format, RequestError> {
    Format::from_name(text).ok_or_else(|| refused("a disk format", text, "qcow2 or raw is needed"))
}

impl FromStr for DiskRequest {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        // Only a known last option is cut off, so that a comma in a path does no harm.
        let (what, format) = match text.rsplit_once(",format=") {
            Some((what, format)) => (what, Some(disk_format(format)?)),
            None => (text, None),
        };
        if let Some(size) = what.strip_prefix("new:") {
            let size = size.parse()?;
            let format = format.unwrap_or(Format::Qcow2);
            return Ok(DiskRequest::New { size, format });
        }
        if what.is_empty() || XmlValue::new(what).is_err() {
            return Err(refused(
                "a disk",
                text,
                "PATH[,format=qcow2|raw] or new:SIZE is needed",
            ));
        }
        Ok(DiskRequest::Existing {
            path: what.into(),
            format,
        })
    }
}

/// The address that a network is to reserve for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpRequest {
    /// A free one, chosen once.
    Auto,
    /// This one.
    Given(IpAddr),
}

impl FromStr for IpRequest {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let address = text.parse().map_err(|_| {
            refused(
                "an address",
                text,
                "an IP address is needed, as in 192.168.151.31, or auto",
            )
        });
        address.map(Self::Given)
    }
}

/// `--network NET[,mac=MAC][,ip=ADDR|auto][,name=NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicRequest {
    /// The libvirt network.
    pub network: NetworkName,
    /// The hardware address, if it was said.
    pub mac: Option<Mac>,
    /// The address to be reserved, if one is.
    pub ip: Option<IpRequest>,
    /// The name in the network, if one is to be known.
    pub name: Option<HostName>,
}

impl FromStr for NicRequest {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        const FORM: &str = "NET[,mac=MAC][,ip=ADDR|auto][,name=NAME] is needed";
        let bad = |rule: String| refused("a network interface", text, rule);
        let name_error = |error: NameError| bad(error.to_string());
        let mut parts = text.split(',');
        let network = parts.next().unwrap_or_default().parse().map_err(name_error)?;
        let mut nic = NicRequest {
            network,
            mac: None,
            ip: None,
            name: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("mac", value)) if nic.mac.is_none() => {
                    nic.mac = Some(value.parse().map_err(name_error)?);
                }
                Some(("ip", value)) if nic.ip.is_none() => {
                    nic.ip = Some(value.parse().map_err(|e: RequestError| bad(e.to_string()))?);
                }
                Some(("name", value)) if nic.name.is_none() => {
                    nic.name = Some(value.parse().map_err(name_error)?);
                }
                _ => return Err(bad(FORM.to_owned())),
            }
        }
        if nic.mac.is_some_and(Mac::is_multicast) {
            return Err(bad(
                "the address is a group's; an interface needs one with an even first octet".to_owned(),
            ));
        }
        Ok(nic)
    }
}

/// A machine type or alias of QEMU's, like `q35` or `pc-i440fx-7.2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MachineType(String);

impl MachineType {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MachineType {
    fn default() -> Self {
        MachineType("q35".to_owned())
    }
}

impl FromStr for MachineType {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(fits)
        {
            return Ok(MachineType(text.to_owned()));
        }
        Err(refused(
            "a machine type",
            text,
            "1 to 64 letters, digits, `.`, `_` or `-` are needed, as in q35",
        ))
    }
}

/// What the machine boots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirmwareKind {
    /// The classic PC firmware.
    #[default]
    Bios,
    /// UEFI; libvirt picks the files.
    Efi,
}

impl FromStr for FirmwareKind {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text {
            "bios" => Ok(FirmwareKind::Bios),
            "efi" => Ok(FirmwareKind::Efi),
            _ => Err(refused("a firmware", text, "bios or efi is needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let bytes = |text: &str| text.parse::<Size>().ok().map(Size::bytes);
        assert_eq!(bytes("1GiB"), Some(1 << 30));
        assert_eq!(bytes("512m"), Some(512 << 20));
        assert_eq!(bytes("20G"), Some(20 << 30));
        assert_eq!(bytes("20GB"), Some(20_000_000_000));
        for bad in [
            "",
            "1",
            "GiB",
            "0GiB",
            "-1GiB",
            "1.5GiB",
            "1 GiB",
            "1GiBs",
            "18446744073709551615k",
            "١GiB",
            "1é",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        for text in ["1GiB", "1536MiB", "3KiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!(Size::from_bytes(1025).kib(), 2);
    }

    #[test]
    fn disks() {
        let existing = |path: &str, format| DiskRequest::Existing {
            path: path.into(),
            format,
        };
        let read = |text: &str| text.parse::<DiskRequest>();
        assert_eq!(read("/a.img"), Ok(existing("/a.img", None)));
        assert_eq!(
            read("/a,b.img,format=raw"),
            Ok(existing("/a,b.img", Some(Format::Raw)))
        );
        let new = DiskRequest::New {
            size: Size::from_bytes(1 << 30),
            format: Format::Qcow2,
        };
        assert_eq!(read("new:1GiB"), Ok(new));
        for bad in [
            "",
            ",format=raw",
            "/a,format=vmdk",
            "new:",
            "new:1",
            "/a\nb",
            "new:1GiB,size=2",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interfaces_and_machines() {
        let nic: NicRequest = "net-1,mac=52:54:00:01:00:10".parse().unwrap();
        assert_eq!(
            (nic.network.as_str(), nic.mac.unwrap().octets()[5]),
            ("net-1", 0x10)
        );
        assert_eq!("net-1".parse::<NicRequest>().unwrap().mac, None);
        let nic: NicRequest = "net-1,name=web,ip=auto".parse().unwrap();
        assert_eq!((nic.ip, nic.name), (Some(IpRequest::Auto), "web".parse().ok()));
        let nic: NicRequest = "net-1,ip=10.0.0.1".parse().unwrap();
        assert_eq!(nic.ip, Some(IpRequest::Given([10, 0, 0, 1].into())));
        for bad in [
            "",
            "net-1,",
            "net-1,mac=",
            "net-1,mac=01:00:5e:00:00:01",
            "net-1,model=e1000",
            "net-1,ip=",
            "net-1,ip=10.0.0",
            "net-1,ip=auto,ip=auto",
            "net-1,name=a b",
            "net-1,name=a\nb",
            "a/b",
            "n,mac=52:54:00:01:00",
        ] {
            assert!(bad.parse::<NicRequest>().is_err(), "{bad}");
        }
        assert_eq!(
            "pc-i440fx-7.2".parse::<MachineType>().unwrap().as_str(),
            "pc-i440fx-7.2"
        );
        for bad in ["", "-q35", "q35,accel=kvm", "q 35"] {
            assert!(bad.parse::<MachineType>().is_err(), "{bad}");
        }
        let error = "net 1".parse::<NicRequest>().unwrap_err().to_string();
        assert!(error.contains("net 1"), "{error}");
    }
}
