//! A network that comes with miniascape, with another subnet, bridge or domain: the file's text is changed where these
//! stand, so that comments and order stay what they are, and it is read again by the reader of all definitions.

use super::{SetupError, Spec};
use crate::host::Layout;
use crate::name::NetworkName;
use crate::network::{self, Finder, NetworkError};
use fs_err as fs;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Those that are there also where no files of them were installed.
const REFERENCE: [(&str, &str); 3] = [
    ("net-1", include_str!("../../networks/net-1.yaml")),
    ("net-2", include_str!("../../networks/net-2.yaml")),
    ("net-3", include_str!("../../networks/net-3.yaml")),
];

/// A definition that is wanted on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The network.
    pub name: NetworkName,
    /// Where its definition belongs.
    pub path: PathBuf,
    /// What is to be written there; `None` if what is there is fine.
    pub content: Option<String>,
    /// True if it is registered.
    pub registered: bool,
}

/// What is to be written for these networks. All of it is checked, by itself and beside what is on this host, before
/// anything is written.
pub fn want(layout: &Layout, specs: &[Spec], finder: &Finder<'_>) -> Result<Vec<Wanted>, SetupError> {
    let mut all: Vec<(Wanted, network::Network)> = Vec::new();
    let mut moves = Vec::new();
    for spec in specs {
        moves.extend(moved(&spec.name, &reference(layout, &spec.name)?, spec)?);
    }
    for spec in specs {
        let path = layout
            .definitions()
            .join(format!("{}.yaml", spec.name))
            .on_disk()
            .to_owned();
        let there = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e.into()),
        };
        let reference = reference(layout, &spec.name)?;
        let content = match (there, spec.is_plain()) {
            // Whoever asks for nothing special is served with what is there.
            (Some(_), true) => None,
            (there, _) => {
                let content = adapt(&spec.name, &reference, spec, &moves)?;
                match there {
                    Some(there) if there == content => None,
                    Some(there) if there != reference => {
                        return Err(SetupError::Other {
                            name: spec.name.clone(),
                            path,
                        });
                    }
                    _ => Some(content),
                }
            }
        };
        let found = match &content {
            Some(content) => {
                let draft = tempfile::NamedTempFile::new()?;
                fs::write(draft.path(), content)?;
                finder.read_for(draft.path(), &path)?
            }
            None => finder.find(spec.name.as_str())?,
        };
        if !found.clashes.is_empty() {
            return Err(SetupError::Clashes {
                name: spec.name.clone(),
                clashes: found.clashes,
            });
        }
        for (other, network) in &all {
            if let Some(what) = both(network, &found.network) {
                return Err(SetupError::Both {
                    one: other.name.clone(),
                    two: spec.name.clone(),
                    what,
                });
            }
        }
        let wanted = Wanted {
            registered: layout.applied(&spec.name).on_disk().exists(),
            name: spec.name.clone(),
            path,
            content,
        };
        all.push((wanted, found.network));
    }
    Ok(all.into_iter().map(|(wanted, _)| wanted).collect())
}

/// What two networks cannot both have.
fn both(one: &network::Network, two: &network::Network) -> Option<String> {
    if one.name() == two.name() {
        return Some("the same name".to_owned());
    }
    if let (Some(bridge), Some(other)) = (one.own_bridge(), two.own_bridge())
        && bridge == other
    {
        return Some(format!("the bridge {bridge}"));
    }
    let (one, two) = (one.ipv4()?.subnet, two.ipv4()?.subnet);
    (one.contains(&two) || two.contains(&one)).then(|| format!("addresses of {two}"))
}

/// The definition as it comes: that which was installed, or the one inside of this program.
fn reference(layout: &Layout, name: &NetworkName) -> Result<String, SetupError> {
    let installed = layout.reference_networks().join(format!("{name}.yaml"));
    if installed.on_disk().exists() {
        return Ok(fs::read_to_string(installed.on_disk())?);
    }
    let own = REFERENCE.iter().find(|(own, _)| *own == name.as_str());
    own.map(|(_, text)| (*text).to_owned())
        .ok_or_else(|| SetupError::NoReference {
            name: name.clone(),
            known: REFERENCE.iter().map(|(name, _)| (*name).to_owned()).collect(),
        })
}

/// Where a definition's addresses go, if that is asked for.
fn moved(name: &NetworkName, text: &str, spec: &Spec) -> Result<Option<(Ipv4Net, Ipv4Net)>, SetupError> {
    let Some(new) = spec.subnet else {
        return Ok(None);
    };
    let (network, _) =
        network::read_bytes(&format!("{name}.yaml"), text.as_bytes()).map_err(NetworkError::from)?;
    Ok(network.ipv4().map(|old| (old.subnet, new)))
}

/// The text of a definition with what `spec` says; its comments may speak of others' addresses, which move, too.
fn adapt(
    name: &NetworkName,
    text: &str,
    spec: &Spec,
    moves: &[(Ipv4Net, Ipv4Net)],
) -> Result<String, SetupError> {
    let file = format!("{name}.yaml");
    let (network, _) = network::read_bytes(&file, text.as_bytes()).map_err(NetworkError::from)?;
    let mut text = move_addresses(text, moves);
    if let (Some(new), Some(old)) = (&spec.bridge, network.bridge()) {
        text = replace_word(&text, old.as_str(), new.as_str());
    }
    if let (Some(new), Some(old)) = (&spec.domain, network.domain()) {
        text = replace_word(&text, old.as_ref(), new.as_ref());
    }
    // What does not fit is told with its line.
    network::read_bytes(&file, text.as_bytes()).map_err(NetworkError::from)?;
    Ok(text)
}

/// Every address of a subnet that moves becomes the one at the same place in the new one, in values and comments alike.
/// One that has no such place is left as it is: the reader finds it outside of the subnet, and says so with its line.
fn move_addresses(text: &str, moves: &[(Ipv4Net, Ipv4Net)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(from.len());
        let (token, after) = from.split_at(end);
        let (token, dots) = token.split_at(token.trim_end_matches('.').len());
        // The number at the end of a name, or of a hardware address, is no address.
        let inside = before.ends_with(|c: char| c.is_alphanumeric() || "-_:".contains(c));
        let address = token.parse::<Ipv4Addr>().ok().filter(|_| !inside);
        let goes = address.and_then(|address| {
            let (old, new) = moves.iter().find(|(old, _)| old.contains(&address))?;
            Some((address, old, new))
        });
        if let Some((address, old, new)) = goes {
            let length = format!("/{}", old.prefix_len());
            let offset = u32::from(address) - u32::from(old.network());
            if offset == 0 && after.starts_with(&length) && dots.is_empty() {
                out.push_str(&new.to_string());
                rest = &after[length.len()..];
                continue;
            }
            let moved = u32::from(new.network()).checked_add(offset).map(Ipv4Addr::from);
            match moved.filter(|moved| new.contains(moved)) {
                Some(moved) => out.push_str(&moved.to_string()),
                None => out.push_str(token),
            }
        } else {
            out.push_str(token);
        }
        out.push_str(dots);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Every `old` that stands by itself, or behind a dot, becomes `new`.
fn replace_word(text: &str, old: &str, new: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, from) = rest.split_at(at);
        let after = &from[old.len()..];
        let inside = before.ends_with(part) || before.is_empty() && out.ends_with(part);
        let longer =
            after.starts_with(part) || after.strip_prefix('.').is_some_and(|more| more.starts_with(part));
        out.push_str(before);
        out.push_str(if inside || longer { old } else { new });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(spec: &str) -> Result<String, String> {
        let spec: Spec = spec.parse().unwrap();
        let (_, text) = REFERENCE
            .iter()
            .find(|(name, _)| *name == spec.name.as_str())
            .unwrap();
        let moves: Vec<_> = moved(&spec.name, text, &spec).unwrap().into_iter().collect();
        adapt(&spec.name, text, &spec, &moves).map_err(|error| error.to_string())
    }

    #[test]
    fn shipped_networks_take_other_subnets_bridges_and_domains() {
        let text = adapted("net-1=10.1.1.0/24,bridge=lab7,domain=lab.example").unwrap();
        let (network, warnings) = network::read_bytes("n", text.as_bytes()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(network.ipv4().unwrap().subnet.to_string(), "10.1.1.0/24");
        assert_eq!(network.bridge().unwrap().as_str(), "lab7");
        assert_eq!(network.domain().unwrap().to_string(), "lab.example");
        assert!(
            !text.contains("192.168.151") && !text.contains("virbr151") && !text.contains("net-1.internal")
        );
        let reference = REFERENCE[0].1;
        assert_eq!(text.lines().count(), reference.lines().count());
        // What was not asked for is as it was.
        let (old, _) = network::read_bytes("n", reference.as_bytes()).unwrap();
        for (old, new) in old.hosts().iter().zip(network.hosts()) {
            assert_eq!((&old.name, &old.macs), (&new.name, &new.macs));
        }
        assert!(
            text.contains("mac: \"52:54:00:01:01:54\", ip: 10.1.1.154 }"),
            "{text}"
        );
        // A larger one keeps the last numbers; a smaller one has no room, and the line that does not fit is told.
        assert!(
            adapted("net-1=10.8.0.0/16")
                .unwrap()
                .contains("subnet: 10.8.0.0/16, gateway: 10.8.0.1")
        );
        let error = adapted("net-1=10.1.1.0/25").unwrap_err();
        assert!(
            error.contains("net-1.yaml:") && error.contains("192.168.151.200"),
            "{error}"
        );
        for name in ["net-2", "net-3"] {
            let text = adapted(&format!("{name}=172.20.0.0/24")).unwrap();
            assert!(
                text.contains("172.20.0.0/24") && !text.contains("subnet: 192.168."),
                "{text}"
            );
            assert_eq!(
                adapted(name).unwrap(),
                REFERENCE.iter().find(|(n, _)| *n == name).unwrap().1
            );
        }
    }

    #[test]
    fn only_whole_words_and_addresses_are_changed() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        // Two that change places.
        let moves = [
            (net("10.1.1.0/24"), net("10.2.2.0/24")),
            (net("10.2.2.0/24"), net("10.1.1.0/24")),
        ];
        assert_eq!(
            move_addresses(
                "# 10.1.1.7. 10.1.1.0/24 10.1.1.0/25 110.1.1.7 10.1.10.7 v10.1.1.7 1.10.1.1.7 10.2.2.9",
                &moves
            ),
            "# 10.2.2.7. 10.2.2.0/24 10.2.2.0/25 110.1.1.7 10.1.10.7 v10.1.1.7 1.10.1.1.7 10.1.1.9"
        );
        assert_eq!(
            replace_word(
                "net-1.internal a.net-1.internal net-1.internal.x xnet-1.internal, net-1.internal.",
                "net-1.internal",
                "lab"
            ),
            "lab a.lab net-1.internal.x xnet-1.internal, lab."
        );
    }
}
