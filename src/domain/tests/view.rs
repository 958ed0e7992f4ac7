//! What the typed view says about the samples.

use super::*;

#[test]
fn views_are_as_reviewed() {
    for (name, xml) in SAMPLES {
        let domain = Domain::parse(xml).expect(name);
        insta::assert_debug_snapshot!(format!("view-{name}"), domain);
    }
}

#[test]
fn memory_units_are_those_of_libvirt() {
    let memory = |unit: &str, number: &str| {
        let xml =
            format!("<domain type='kvm'><name>a</name><memory unit='{unit}'>{number}</memory></domain>");
        Domain::parse(&xml).map(|domain| domain.memory_kib).ok()
    };
    for (unit, kib) in [
        ("KiB", 4),
        ("k", 4),
        ("MiB", 4096),
        ("M", 4096),
        ("GiB", 4 << 20),
        ("T", 4 << 30),
    ] {
        assert_eq!(memory(unit, "4"), Some(kib), "{unit}");
    }
    assert_eq!(memory("KB", "4"), Some(4));
    assert_eq!(memory("MB", "4"), Some(3907));
    assert_eq!(memory("bytes", "1025"), Some(2));
    for (unit, number) in [
        ("KiB", "0"),
        ("EiB", "1"),
        ("GiB", "18446744073709551615"),
        ("KiB", "-1"),
        ("", "1"),
        ("kk", "1"),
        ("ö", "1"),
        ("KiB", "1.5"),
        ("KiB", ""),
    ] {
        assert_eq!(memory(unit, number), None, "{number} {unit}");
    }
}

#[test]
fn marks_are_found_by_namespace_not_by_prefix() {
    let domain = |metadata: &str| {
        let xml = format!(
            "<domain type='kvm'><name>a</name><memory>1</memory><metadata>{metadata}</metadata></domain>"
        );
        Domain::parse(&xml).unwrap()
    };
    let ours = domain("<x:guest xmlns:x='https://miniascape.org/xmlns/1' package='p'/>");
    assert_eq!(ours.mark("guest").unwrap().attribute("package"), Some("p"));
    assert_eq!(ours.mark("network"), None);
    let default = domain("<guest xmlns='https://miniascape.org/xmlns/1' package='p'/>");
    assert_eq!(
        default.mark("guest"),
        Some(&Mark {
            element: "guest".to_owned(),
            attributes: vec![("package".to_owned(), "p".to_owned())],
        })
    );
    assert_eq!(
        domain("<miniascape:guest xmlns:miniascape='urn:other'/>").mark("guest"),
        None
    );
}
