//! What of a document an edit has no business with: everything but the elements and attributes that are listed here.
//! Two documents whose rests are equal differ nowhere else, white space between elements aside.

use super::super::scan::Element;
use super::super::*;

/// What an edit may do to an element.
pub(super) enum May {
    /// Nothing.
    Nothing,
    /// Change these attributes.
    Attributes(&'static [&'static str]),
    /// Anything.
    Anything,
}

/// What [`for_package`] may do, by the path of names from the root.
#[expect(clippy::match_same_arms, reason = "one line for each rule")]
pub(super) fn package(element: Element<'_>) -> May {
    use May::{Anything, Attributes, Nothing};
    if element.namespace() == Some(NAMESPACE) {
        return Anything;
    }
    let Some(path) = path_of(element) else {
        return Nothing;
    };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let is = |name: &str, values: &[&str]| element.attribute(name).is_some_and(|v| values.contains(&v));
    match path.as_slice() {
        ["domain"] => Attributes(&["id"]),
        ["domain", "uuid" | "genid" | "launchSecurity"] => Anything,
        ["domain", "seclabel"] if !is("type", &["none"]) => Anything,
        ["domain", "os", "nvram"] => Anything,
        ["domain", "sysinfo", "system", "entry"] if is("name", &["uuid"]) => Anything,
        ["domain", "devices", "emulator" | "hostdev" | "filesystem"] => Anything,
        ["domain", "devices", "redirdev"] if !is("type", &["spicevmc"]) => Anything,
        ["domain", "devices", "smartcard"] if is("mode", &["host", "host-certificates"]) => Anything,
        ["domain", "devices", "input"] if is("type", &["passthrough", "evdev"]) => Anything,
        ["domain", "devices", "interface"] if is("type", &["hostdev"]) => Anything,
        ["domain", "devices", "tpm"] if !element.child("backend").is_some_and(emulated) => Anything,
        ["domain", "devices", "tpm", "backend", "source"] => Anything,
        ["domain", "devices", "disk"] => Attributes(&["type", "device", "rawio", "sgio"]),
        ["domain", "devices", "disk", "driver"] if plain(element) => Anything,
        ["domain", "devices", "disk", "driver"] => Attributes(&["type"]),
        [
            "domain",
            "devices",
            "disk",
            "source" | "backingStore" | "mirror" | "auth" | "shareable" | "model",
        ] => Anything,
        ["domain", "devices", "interface", "source"] if of_switch(element) => Nothing,
        ["domain", "devices", "interface", "source"] => Attributes(&["portid", "bridge", "dev", "mode"]),
        ["domain", "devices", "interface", "target"] if generated(element) => Anything,
        ["domain", "devices", "graphics"] => Attributes(&["passwd", "passwdValidTo", "connected", "socket"]),
        ["domain", "devices", "graphics", "listen"] => Attributes(&["socket"]),
        ["domain", "devices", "console"] => Attributes(&["tty"]),
        ["domain", "devices", "serial" | "console" | "channel", "source"] if made_up(element) => Anything,
        [
            "domain",
            "devices",
            "serial" | "console" | "channel" | "parallel",
            "log",
        ] => Anything,
        ["domain", "devices", "channel", "target"] => Attributes(&["state"]),
        ["domain", "devices", _, "alias"]
            if !element.attribute("name").is_some_and(|n| n.starts_with("ua-")) =>
        {
            Anything
        }
        ["domain", "devices", _, "source", "seclabel"] => Anything,
        _ => Nothing,
    }
}

/// What [`for_instance`] may do.
#[expect(clippy::match_same_arms, reason = "one line for each rule")]
pub(super) fn instance(element: Element<'_>) -> May {
    use May::{Anything, Attributes, Nothing};
    if element.namespace() == Some(NAMESPACE) {
        return Anything;
    }
    let Some(path) = path_of(element) else {
        return Nothing;
    };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["domain"] => Attributes(&["type"]),
        ["domain", "name" | "uuid" | "genid"] | ["domain", "os", "nvram"] => Anything,
        // One of ours may be all that is in it.
        ["domain", "metadata"] if element.children().all(|e| e.namespace() == Some(NAMESPACE)) => Anything,
        ["domain", "cpu"] if !matches!(element.attribute("mode"), Some("custom") | None) => {
            Attributes(&["mode", "check"])
        }
        ["domain", "cpu", "model" | "vendor" | "feature"] => Anything,
        ["domain", "devices", "disk", "driver"] => Attributes(&["type"]),
        ["domain", "devices", "disk", "source" | "backingStore"] => Anything,
        ["domain", "devices", "interface", "mac"] => Anything,
        ["domain", "devices", "serial", "log"] => Anything,
        _ => Nothing,
    }
}

fn emulated(backend: Element<'_>) -> bool {
    backend.attribute("type") == Some("emulator")
}

/// A driver that says no more than an edit says where there is none.
fn plain(driver: Element<'_>) -> bool {
    driver.children().next().is_none()
        && driver
            .attributes()
            .all(|(name, _)| matches!(name, "name" | "type"))
}

fn of_switch(source: Element<'_>) -> bool {
    source
        .parent()
        .is_some_and(|interface| interface.attribute("type") == Some("vds"))
}

fn generated(target: Element<'_>) -> bool {
    target.attribute("dev").is_some_and(|dev| {
        let digits = dev.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        !digits.is_empty() && ["vnet", "tap", "macvtap"].contains(&&dev[..dev.len() - digits.len()])
    })
}

fn made_up(source: Element<'_>) -> bool {
    let path = source.attribute("path").unwrap_or_default();
    path.starts_with("/dev/pts/") || path.contains("/channel/")
}

/// The names from the root to the element, if none of them is in a namespace.
fn path_of(element: Element<'_>) -> Option<Vec<String>> {
    let mut path = element.parent().map_or(Some(Vec::new()), path_of)?;
    (element.namespace().is_none()).then(|| {
        path.push(element.qualified_name().to_owned());
        path
    })
}

/// All that an edit has no business with, piece by piece, as written.
pub(super) fn rest(xml: &str, may: fn(Element<'_>) -> May) -> Vec<String> {
    let document = scan::Document::parse(xml).unwrap_or_else(|error| panic!("{error}:\n{xml}"));
    let root = document.root().span();
    let mut rest = vec![xml[..root.start].to_owned()];
    collect(xml, document.root(), may, &mut rest);
    rest.push(xml[root.end..].to_owned());
    rest
}

fn collect(xml: &str, element: Element<'_>, may: fn(Element<'_>) -> May, rest: &mut Vec<String>) {
    let mine: &[&str] = match may(element) {
        May::Anything => return,
        May::Attributes(names) => names,
        May::Nothing => &[],
    };
    rest.push(element.qualified_name().to_owned());
    for (name, _) in element.attributes().filter(|(name, _)| !mine.contains(name)) {
        rest.push(xml[element.raw_attribute(name).expect("it is there").whole.clone()].to_owned());
    }
    let start = element.start_tag();
    let inner_end = element.end_tag().map_or(start.end, |end| end.start);
    let mut done = start.end;
    // What stands between elements, as one: where an element goes, its own line goes with it.
    let mut between = String::new();
    for child in element.children() {
        between.push_str(&xml[done..child.span().start]);
        collect(xml, child, may, rest);
        done = child.span().end;
    }
    between.push_str(&xml[done..inner_end]);
    if between.contains('<') || between.trim().is_empty() || element.children().next().is_some() {
        between.retain(|c| !c.is_ascii_whitespace());
    }
    rest.push(between);
}
