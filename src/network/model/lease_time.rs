//! How long a lease lasts, in the form that dnsmasq reads.

use std::fmt;
use std::str::FromStr;

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseTime {
    /// A number of seconds, at least [`LeaseTime::MIN`].
    Seconds(u32),
    /// For ever.
    Infinite,
}

/// The text is not a lease time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a lease time: write a number with s, m, h, d or w, from 2m to 3000w, or `infinite`")]
pub struct LeaseTimeError(String);

impl LeaseTime {
    /// The shortest lease that dnsmasq gives, in seconds (dnsmasq(8), `--dhcp-range`).
    pub const MIN: u32 = 120;
    /// The longest lease that can be asked for, in seconds: 3000 weeks, well below the number that means infinite.
    pub const MAX: u32 = 3000 * 7 * 86400;
    /// One hour, dnsmasq's own default.
    pub const DEFAULT: Self = Self::Seconds(3600);
}

impl FromStr for LeaseTime {
    type Err = LeaseTimeError;

    fn from_str(text: &str) -> Result<Self, LeaseTimeError> {
        let bad = || LeaseTimeError(crate::name::printable(text, 40));
        if text == "infinite" {
            return Ok(Self::Infinite);
        }
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            Some((at, 'd')) => (&text[..at], 86400),
            Some((at, 'w')) => (&text[..at], 7 * 86400),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        digits
            .parse::<u32>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|seconds| (Self::MIN..=Self::MAX).contains(seconds))
            .map(Self::Seconds)
            .ok_or_else(bad)
    }
}

impl fmt::Display for LeaseTime {
    /// The form that dnsmasq reads, in the largest unit without a remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Seconds(seconds) = *self else {
            return f.pad("infinite");
        };
        let (number, unit) = [(86400, "d"), (3600, "h"), (60, "m")]
            .into_iter()
            .find(|(size, _)| seconds % size == 0)
            .map_or((seconds, ""), |(size, unit)| (seconds / size, unit));
        f.pad(&format!("{number}{unit}"))
    }
}

impl serde::Serialize for LeaseTime {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_times() {
        let shown = |text: &str| text.parse::<LeaseTime>().unwrap().to_string();
        assert_eq!(
            ["120", "2m", "12h", "90m", "1w", "infinite", "3601s"].map(shown),
            ["2m", "2m", "12h", "90m", "7d", "infinite", "3601"]
        );
        for bad in [
            "",
            "h",
            "1",
            "119s",
            "-2m",
            "+2m",
            "2 m",
            "1y",
            "3001w",
            "99999999999",
            "2µ",
            "12h,x",
        ] {
            assert!(bad.parse::<LeaseTime>().is_err(), "{bad:?}");
        }
    }
}
