//! Ethernet addresses.

use super::NameError;
use std::fmt;
use std::str::FromStr;

/// An EUI-48 address. Written in lower case with colons; read with colons or hyphens, in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The prefix that QEMU and libvirt use for generated addresses (locally administered).
    pub const QEMU_PREFIX: [u8; 3] = [0x52, 0x54, 0x00];

    /// An address from its six octets, in transmission order.
    pub const fn from_octets(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets, in transmission order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// True for group addresses (lowest bit of the first octet set), which no interface can own.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// A fresh address with [`Self::QEMU_PREFIX`] and a random tail.
    pub fn random() -> Self {
        let tail = uuid::Uuid::new_v4().into_bytes();
        let [a, b, c] = Self::QEMU_PREFIX;
        Self([a, b, c, tail[0], tail[1], tail[2]])
    }
}

impl FromStr for Mac {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |rule| NameError::new("a MAC address", text, rule);
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0u8; 6];
        let mut count = 0;
        for part in text.split(separator) {
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad(
                    "six groups of two hexadecimal digits are needed, as in 52:54:00:01:00:10",
                ));
            }
            let Some(slot) = octets.get_mut(count) else {
                return Err(bad("it has more than six groups"));
            };
            *slot = u8::from_str_radix(part, 16).map_err(|_| bad("a group is not hexadecimal"))?;
            count += 1;
        }
        if count != 6 {
            return Err(bad(
                "six groups of two hexadecimal digits are needed, as in 52:54:00:01:00:10",
            ));
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.map(|octet| format!("{octet:02x}")).join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl serde::Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_separators_and_writes_one_form() {
        for text in ["52:54:00:0A:00:10", "52-54-00-0a-00-10"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:0a:00:10");
        }
    }

    #[test]
    fn refuses_what_is_not_six_octets() {
        for text in [
            "",
            "52:54:00:01:00",
            "52:54:00:01:00:10:11",
            "52:54:00:01:00:1",
            "52:54:00:01:00:+1",
            "42664323610",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn knows_group_addresses() {
        assert!("01:00:5e:00:00:01".parse::<Mac>().unwrap().is_multicast());
        assert!(!Mac::random().is_multicast());
    }
}
