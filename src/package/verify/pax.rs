//! Extended headers of tar files (POSIX.1-2017, pax, "pax Extended Header"): `make dist` of a build tree writes them,
//! for names and lengths that do not fit an ordinary header, and for times.

use crate::name::printable;

/// What an extended header says of the member after it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pax {
    pub(super) path: Option<String>,
    pub(super) link: Option<String>,
    pub(super) size: Option<u64>,
}

impl Pax {
    /// Reads the records of a header: `LENGTH KEY=VALUE` and a newline, where the length is that of all of it.
    pub(super) fn parse(mut rest: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or("a damaged extended header")?;
            rest = after;
            let twice = match key {
                "path" => pax.path.replace(value.to_owned()).is_some(),
                "linkpath" => pax.link.replace(value.to_owned()).is_some(),
                "size" => {
                    let size = value.parse().map_err(|_| "an extended header without length")?;
                    pax.size.replace(size).is_some()
                }
                "mtime" | "atime" | "ctime" | "uid" | "gid" | "uname" | "gname" | "comment" => false,
                other => {
                    let shown = printable(other, 40);
                    return Err(format!(
                        "an extended header with `{shown}`, which changes what follows"
                    ));
                }
            };
            if twice {
                return Err(format!("an extended header with two values of `{key}`"));
            }
        }
        Ok(pax)
    }
}

/// The first record: key, value, and what follows.
fn record(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let space = bytes.iter().take(20).position(|b| *b == b' ')?;
    let digits = std::str::from_utf8(&bytes[..space]).ok()?;
    let length: usize = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    let text = std::str::from_utf8(bytes.get(space + 1..length)?).ok()?;
    let (key, value) = text.strip_suffix('\n')?.split_once('=')?;
    Some((key, value, &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_or_refused() {
        let pax = Pax::parse(b"16 path=a/b c=d\n14 size=12345\n20 mtime=1234567.89\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some("a/b c=d"));
        assert_eq!(pax.size, Some(12345));
        assert_eq!(Pax::parse(b"").unwrap(), Pax::default());
        for bad in [
            &b"10 path=a\n10 path=b\n"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"1 ",
            b"99999999999999999999 path=a\n",
            b"+10 path=a\n",
            b"10 size=-\n",
            b"10 path\xffa\n",
            b"10 patha\n\n",
            b"23 GNU.sparse.major=1\n\n",
            b"path=a\n",
        ] {
            Pax::parse(bad).unwrap_err();
        }
    }
}
