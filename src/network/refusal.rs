//! libvirt's refusal of a network, told with the place in the definition that it is about. Pure but for reading the
//! definition again.

use super::RegisterError;
use super::definition::{self, Definition};
use crate::host::files;
use crate::yaml::{Fault, MAX_FILE, Place, Problem, Report, Source};
use std::path::Path;

/// What libvirt said, as a problem of the definition at `path`; `None` if `error` is no refusal of libvirt's, or the
/// definition cannot be read any more.
pub fn refusal(error: &RegisterError, path: &Path) -> Option<Problem> {
    let (what, words) = error.refusal()?;
    let bytes = files::read_at_most(path, MAX_FILE).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let name = path.display().to_string();
    let mut report = Report::new(Source::new(&name, &text));
    let definition = definition::read(&mut report)?;
    let fault = Fault::new(
        place(&definition, words),
        format!("libvirt could not {what}: {words}"),
    );
    // Mistakes in the file are not what libvirt refused.
    let ((), attempt) = report.attempt(|report| report.error(fault));
    attempt.errors().first().cloned()
}

/// The value that libvirt's `words` are about: one that they quote, else one that they speak of, else the network.
fn place(definition: &Definition, words: &str) -> Place {
    let mut values: Vec<(String, Place)> = Vec::new();
    if let Some(bridge) = &definition.bridge {
        values.push((bridge.value.to_string(), bridge.place));
    }
    if let Some(domain) = &definition.domain {
        values.push((domain.value.to_string(), domain.place));
    }
    if let Some(section) = &definition.ipv4 {
        let gateway = section
            .gateway
            .map(|gateway| (gateway.value.to_string(), gateway.place));
        values.extend(gateway);
        values.push((section.subnet.value.to_string(), section.subnet.place));
        values.push((section.subnet.value.network().to_string(), section.subnet.place));
    }
    if let Some(section) = &definition.ipv6 {
        let gateway = section
            .gateway
            .map(|gateway| (gateway.value.to_string(), gateway.place));
        values.extend(gateway);
        values.push((section.subnet.value.to_string(), section.subnet.place));
        values.push((section.subnet.value.network().to_string(), section.subnet.place));
    }
    let quoted = values.iter().find(|(value, _)| says(words, value));
    let v4 = definition.ipv4.map(|section| section.subnet.place);
    let v6 = definition.ipv6.map(|section| section.subnet.place);
    let lower = words.to_lowercase();
    // How libvirt 9.0 speaks (src/conf/network_conf.c, src/network/bridge_driver*.c).
    let spoken: [(&[&str], Option<Place>); 5] = [
        (&["ipv6"], v6),
        (&["bridge"], definition.bridge.as_ref().map(|bridge| bridge.place)),
        (
            &["in use by interface", "netmask", "prefix", "ip address"],
            v4.or(v6),
        ),
        (
            &["domain name"],
            definition.domain.as_ref().map(|domain| domain.place),
        ),
        (&["forward"], Some(definition.mode.place)),
    ];
    let spoken = spoken
        .into_iter()
        .find_map(|(said, place)| place.filter(|_| said.iter().any(|word| lower.contains(word))));
    quoted
        .map(|(_, place)| *place)
        .or(spoken)
        .unwrap_or(definition.name.place)
}

/// Whether `words` have `value` as a whole word, perhaps with a full stop or a colon behind it.
fn says(words: &str, value: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "-_/".contains(c);
    words.match_indices(value).any(|(at, _)| {
        let before = words[..at].chars().next_back();
        let behind = words[at + value.len()..].trim_start_matches(['.', ':']);
        !before.is_some_and(|c| is_part(c) || ".:".contains(c)) && !behind.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "network:\n  name: lab\n  mode: nat\n  bridge: virbr66\n  domain: lab.internal\n  \
        ipv4: { subnet: 10.66.8.0/24 }\n  ipv6: { subnet: 'fd66::/64' }\n";

    #[test]
    fn words_point_at_the_value_that_they_are_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        fs_err::write(&path, YAML).unwrap();
        for (words, line, column) in [
            ("bridge name 'virbr66' already in use.", 4, 11),
            (
                "internal error: Network is already in use by interface eth0",
                6,
                19,
            ),
            ("no room for 10.66.8.0/24: ask the administrator", 6, 19),
            ("no room for 110.66.8.0/24", 2, 9),
            ("Invalid prefix 99", 6, 19),
            ("IPv6 is not for fd66::/64", 7, 19),
            ("the domain lab.internal, which is known", 5, 11),
            ("unknown forwarding type 'x'", 3, 9),
            ("out of luck", 2, 9),
        ] {
            let error = RegisterError::Refused {
                what: "define the network lab".to_owned(),
                words: words.to_owned(),
                started: false,
            };
            let problem = refusal(&error, &path).unwrap();
            let place =
                format!("lab.yaml:{line}:{column}: libvirt could not define the network lab: {words}");
            assert!(problem.to_string().contains(&place), "{place}: {problem}");
        }
        assert!(refusal(&RegisterError::NotRegistered("lab".parse().unwrap()), &path).is_none());
    }
}
