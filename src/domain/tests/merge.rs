//! Merging: the laws for any documents, and what happens to single edits.

use super::super::merge::same;
use super::super::scan::{Document, Element};
use super::*;
use proptest::prelude::*;

fn says_the_same(a: &str, b: &str) -> bool {
    let (a, b) = (Document::parse(a).expect("XML"), Document::parse(b).expect("XML"));
    same(a.root(), b.root())
}

fn merged(old: &str, new: &str, current: &str) -> String {
    merge(old, new, current, None).expect("a merge").xml
}

/// A domain with much of what people change.
const OLD: &str = "<domain type='qemu'>
  <name>web</name>
  <memory unit='KiB'>262144</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='net-1'/><model type='virtio'/></interface>
    <interface type='network'><mac address='52:54:00:00:00:02'/><source network='net-2'/></interface>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>";

/// Edits of one document: what is replaced by what.
fn with(xml: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(xml.to_owned(), |xml, (from, to)| {
        assert!(xml.contains(from), "{from} is not there");
        xml.replacen(from, to, 1)
    })
}

#[test]
fn edits_stay_and_all_else_follows_the_package() {
    let new = with(
        OLD,
        &[
            (">262144<", ">524288<"),
            ("network='net-1'", "network='net-9'"),
            (
                "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
                "",
            ),
            (
                "    <interface type='network'><mac address='52:54:00:00:00:02'/>",
                "    <watchdog model='i6300esb'/>\n    <interface type='network'><mac address='52:54:00:00:00:02'/>",
            ),
        ],
    );
    let current = with(
        OLD,
        &[
            ("<vcpu>1<", "<vcpu>4<"),
            ("<model type='virtio'/>", "<model type='e1000'/>"),
            ("type='qcow2'/>", "type='qcow2' cache='none'/>"),
            ("  </devices>", "    <sound model='ich9'/>\n  </devices>"),
        ],
    );
    let merged = merge(OLD, &new, &current, None).unwrap();
    let wanted = with(
        &new,
        &[
            ("<vcpu>1<", "<vcpu>4<"),
            ("<model type='virtio'/>", "<model type='e1000'/>"),
            ("type='qcow2'/>", "type='qcow2' cache='none'/>"),
            ("  </devices>", "    <sound model='ich9'/>\n  </devices>"),
        ],
    );
    assert!(says_the_same(&merged.xml, &wanted), "{}", merged.xml);
    let kept: Vec<String> = merged.kept.iter().map(ToString::to_string).collect();
    assert_eq!(
        kept,
        [
            "vcpu (changed)",
            "devices/disk[vda]/driver@cache (added)",
            "devices/interface[52:54:00:00:00:01]/model@type (changed)",
            "devices/sound (added)",
        ]
    );
}

#[test]
fn what_both_have_changed_stays_as_it_is_here() {
    let new = with(
        OLD,
        &[
            (">262144<", ">524288<"),
            (
                "<interface type='network'><mac address='52:54:00:00:00:02'/><source network='net-2'/></interface>",
                "",
            ),
        ],
    );
    let current = with(
        OLD,
        &[(">262144<", ">131072<"), ("network='net-2'", "network='mine'")],
    );
    let merged = merge(OLD, &new, &current, None).unwrap();
    assert!(says_the_same(&merged.xml, &current), "{}", merged.xml);
    let conflicts: Vec<&str> = merged
        .kept
        .iter()
        .filter(|edit| edit.conflict)
        .map(|edit| edit.place.as_str())
        .collect();
    assert!(conflicts.contains(&"memory"), "{conflicts:?}");
    assert!(
        conflicts.contains(&"devices/interface[52:54:00:00:00:02]"),
        "{conflicts:?}"
    );
}

#[test]
fn what_was_removed_here_stays_away() {
    let gone =
        "<interface type='network'><mac address='52:54:00:00:00:02'/><source network='net-2'/></interface>";
    let current = with(OLD, &[(gone, "")]);
    let new = with(OLD, &[("network='net-2'", "network='net-9'")]);
    let merged = merge(OLD, &new, &current, None).unwrap();
    assert!(says_the_same(&merged.xml, &current), "{}", merged.xml);
    assert_eq!(
        merged.kept[0].to_string(),
        "devices/interface[52:54:00:00:00:02] (removed; the package has changed it too)"
    );
}

/// libvirt writes units, defaults and addresses its own way: that is nobody's edit.
#[test]
fn what_libvirt_makes_of_a_definition_is_no_edit() {
    let old = with(OLD, &[("<memory unit='KiB'>262144<", "<memory unit='MiB'>256<")]);
    let new = with(
        &old,
        &[
            (">256<", ">512<"),
            ("<vcpu>1<", "<vcpu>2<"),
            ("model='random'", "model='builtin'"),
        ],
    );
    let defined = with(
        OLD,
        &[
            ("<vcpu>1<", "<vcpu placement='static'>1<"),
            (
                "bus='virtio'/>",
                "bus='virtio'/><address type='pci' slot='0x04'/>",
            ),
            ("</rng>", "<address type='pci' slot='0x05'/></rng>"),
            ("  </devices>", "    <memballoon model='virtio'/>\n  </devices>"),
        ],
    );
    let current = with(&defined, &[("network='net-2'", "network='mine'")]);
    let merged = merge(&old, &new, &current, Some(&defined)).unwrap();
    for part in [
        ">512<",
        "<vcpu>2<",
        "slot='0x04'",
        "memballoon",
        "network='mine'",
        "builtin",
    ] {
        assert!(merged.xml.contains(part), "{part}: {}", merged.xml);
    }
    assert_eq!(merged.kept.len(), 1, "{:?}", merged.kept);
    assert!(!merged.kept[0].conflict);
}

#[test]
fn a_device_that_both_added_is_not_mixed() {
    let disk = |file: &str, more: &str| {
        format!(
            "<disk type='file' device='disk'>{more}<source file='{file}'/><target dev='vdb' bus='virtio'/></disk>\n  </devices>"
        )
    };
    let new = with(
        OLD,
        &[(
            "</devices>",
            &disk("/packaged.qcow2", "<driver name='qemu' type='qcow2'/>"),
        )],
    );
    let current = with(OLD, &[("</devices>", &disk("/mine.raw", ""))]);
    assert!(says_the_same(&merged(OLD, &new, &current), &current));
}

#[test]
fn a_prefix_with_two_meanings_is_refused() {
    let qemu = "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'";
    let current = with(OLD, &[("type='qemu'", &format!("type='qemu' {qemu}"))]);
    let new = with(
        OLD,
        &[
            ("type='qemu'", "type='qemu' xmlns:q='urn:harmless'"),
            (
                "  <devices>",
                "<q:commandline><q:arg value='-x'/></q:commandline>\n  <devices>",
            ),
        ],
    );
    assert!(matches!(
        merge(OLD, &new, &current, None),
        Err(DomainXmlError::PrefixClash { .. })
    ));
}

/// Real domains, each upgraded to each other.
#[test]
fn the_laws_hold_for_every_sample() {
    for (name, old) in SAMPLES {
        for (other, new) in SAMPLES {
            if refuses(new, old) {
                continue;
            }
            assert!(says_the_same(&merged(old, old, new), new), "{name}, {other}");
            assert!(says_the_same(&merged(old, new, old), new), "{name}, {other}");
            // An edit that has nothing to do with the rest survives, and keeps nothing from being followed.
            let edited = edited(old);
            let result = merged(old, new, &edited);
            assert!(
                same_but_for_order(&result, &self::edited(new)),
                "{name}, {other}:\n{result}"
            );
        }
    }
}

fn refuses(new: &str, current: &str) -> bool {
    matches!(
        merge(new, new, current, None),
        Err(DomainXmlError::PrefixClash { .. })
    )
}

fn edited(xml: &str) -> String {
    let end = xml.rfind("</domain>").expect("a domain");
    format!("{}<edited-here xmlns='urn:here'/>{}", &xml[..end], &xml[end..])
}

fn same_but_for_order(a: &str, b: &str) -> bool {
    fn canonical(element: Element<'_>) -> String {
        let mut attributes: Vec<String> = element
            .attributes()
            .map(|(name, value)| format!(" {name}={value:?}"))
            .collect();
        attributes.sort();
        let mut children: Vec<String> = element.children().map(canonical).collect();
        children.sort();
        format!(
            "<{}{}>{}{}</>",
            element.qualified_name(),
            attributes.concat(),
            element.text().trim(),
            children.concat()
        )
    }
    let [a, b] = [a, b].map(|xml| canonical(Document::parse(xml).expect("XML").root()));
    a == b
}

/// An element as it may stand in a domain, and a few that may not.
fn element() -> impl Strategy<Value = String> {
    let name = prop::sample::select(
        &[
            "disk",
            "interface",
            "controller",
            "vcpu",
            "boot",
            "source",
            "x",
            "feature",
        ][..],
    );
    let word = prop::sample::select(&["a", "b", "0", "1", "ua-1", "&lt;"][..]);
    let attribute = (
        prop::sample::select(&["type", "dev", "address", "index", "name"][..]),
        word.clone(),
    );
    let leaf =
        (name.clone(), attribute.clone(), prop::option::of(word)).prop_map(|(name, (key, value), text)| {
            let text = text.unwrap_or_default();
            format!("<{name} {key}='{value}'>{text}</{name}>")
        });
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let parts = (name.clone(), prop::option::of(attribute.clone()), prop::collection::vec(inner, 0..5));
        let children = parts.prop_map(|(name, attribute, children)| {
            let attribute = attribute.map_or(String::new(), |(key, value)| format!(" {key}='{value}'"));
            format!("<{name}{attribute}>{}</{name}>", children.concat())
        });
        let target = (0..3u8, "[ab]").prop_map(|(n, file)| {
            format!("<disk type='file'><source file='/{file}'/><target dev='vd{n}'/></disk>")
        });
        let mac = (0..3u8, "[ab]").prop_map(|(n, net)| {
            format!("<interface type='network'><mac address='52:54:00:00:00:0{n}'/><source network='{net}'/></interface>")
        });
        prop_oneof![children, target, mac]
    })
}

fn document() -> impl Strategy<Value = String> {
    (prop::collection::vec(element(), 0..6), prop::collection::vec(element(), 0..6), 1..3u8).prop_map(
        |(devices, other, memory)| {
            format!(
                "<domain type='qemu'>\n<name>g</name><memory>{memory}</memory>{}<devices>{}</devices></domain>",
                other.concat(),
                devices.concat()
            )
        },
    )
}

proptest! {
    /// A package that has not changed changes nothing; a guest that nobody has edited becomes what the package says.
    #[test]
    fn laws(a in document(), b in document()) {
        prop_assert!(says_the_same(&merged(&a, &a, &b), &b));
        prop_assert!(says_the_same(&merged(&a, &b, &a), &b));
        prop_assert!(says_the_same(&merged(&a, &b, &b), &b));
        let result = merged(&a, &b, &edited(&a));
        prop_assert!(same_but_for_order(&result, &edited(&b)), "{}", result);
        let seen = merge(&a, &b, &edited(&a), Some(&a)).unwrap();
        prop_assert!(same_but_for_order(&seen.xml, &edited(&b)));
        prop_assert_eq!(seen.kept.len(), 1);
    }

    /// Merging again changes nothing, whatever the three were.
    #[test]
    fn any_three_merge(a in document(), b in document(), c in document(), d in prop::option::of(document())) {
        let once = merge(&a, &b, &c, d.as_deref()).unwrap();
        let twice = merge(&b, &b, &once.xml, d.as_deref()).unwrap();
        prop_assert!(says_the_same(&once.xml, &twice.xml));
        // What libvirt knew before is no edit.
        let untouched = merge(&a, &b, &c, Some(&c)).unwrap();
        prop_assert!(untouched.kept.is_empty() || untouched.kept.iter().all(|edit| edit.conflict));
    }

    #[test]
    fn nothing_makes_it_panic(a in "[<>/a-c '=:\"&!-]{0,40}", b in document(), c in "\\PC{0,60}") {
        let _ = merge(&a, &b, &c, Some(&b));
        let _ = merge(&b, &c, &a, None);
        let _ = differences(&b, &a);
    }
}
