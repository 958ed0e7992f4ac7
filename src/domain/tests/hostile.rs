//! Input that is wrong, odd, huge, or random: an error with a place, never a panic, never long work.

use proptest::prelude::*;

use super::*;

fn refusal(xml: &str) -> String {
    Domain::parse(xml).expect_err("must be refused").to_string()
}

/// A domain with that inside.
fn with(inside: &str) -> String {
    format!("<domain type='kvm'>\n<name>a</name><memory>1</memory>\n{inside}</domain>")
}

#[test]
fn errors_say_what_and_where() {
    let disk = |inside: &str| with(&format!("<devices><disk>{inside}</disk></devices>"));
    let cases = [
        String::new(),
        "  \n".to_owned(),
        "text".to_owned(),
        "<network/>".to_owned(),
        "<domain/>".to_owned(),
        "<domain type='kvm'>".to_owned(),
        "<domain type='kvm'><name>a</memory></domain>".to_owned(),
        "<domain type='kvm'><name>a</domain></name>".to_owned(),
        "</domain>".to_owned(),
        "\u{feff}\u{feff}<domain/>".to_owned(),
        "\u{feff}text".to_owned(),
        "<domain type='kvm'/><domain type='kvm'/>".to_owned(),
        "<domain type='kvm'/>&amp;".to_owned(),
        "<domain type='kvm'/><![CDATA[x]]>".to_owned(),
        "<domain type='kvm' type='qemu'/>".to_owned(),
        "<domain type='kvm'id='1'/>".to_owned(),
        "<domain type=kvm/>".to_owned(),
        "<domain type/>".to_owned(),
        "<domain type='a<b'/>".to_owned(),
        "<domain type='kvm".to_owned(),
        "<1domain/>".to_owned(),
        "<a:b:c xmlns:a='x'/>".to_owned(),
        "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain/>".to_owned(),
        "\n <?xml version='1.0'?><domain/>".to_owned(),
        "<?xml version='1.1'?><domain/>".to_owned(),
        "<?xml version='1.0' encoding='latin1'?><domain/>".to_owned(),
        with("<x:y/>"),
        with("<a b:c='d'/>"),
        with("ä &unknown; b"),
        with("&#0;"),
        with("&#x1b;"),
        with("&#xD800;"),
        with("&#-1;"),
        with("& "),
        with("]]>"),
        with("<!-- a -- b -->"),
        with("<!-- a"),
        with("<![CDATA[ a"),
        with("\u{1b}[31m"),
        with("\u{fffe}"),
        "<domain type='kvm'><memory>1</memory></domain>".to_owned(),
        "<domain type='kvm'><name>a&#10;b</name><memory>1</memory></domain>".to_owned(),
        "<domain type='kvm'><name>../a</name><memory>1</memory></domain>".to_owned(),
        "<domain type='kvm'><name> </name><memory>1</memory></domain>".to_owned(),
        "<domain type='kvm'><name>a</name></domain>".to_owned(),
        "<domain type='kvm'><name>a</name><memory unit='stone'>1</memory></domain>".to_owned(),
        "<domain type='kvm'><name>a</name><memory>99999999999999999999</memory></domain>".to_owned(),
        with("<vcpu>0</vcpu>"),
        with("<vcpu>16385</vcpu>"),
        with("<vcpu/>"),
        with("<uuid>12</uuid>"),
        disk(""),
        disk("<target/>"),
        disk("<target dev='../../etc'/>"),
        with("<devices><disk device='tape'><target dev='a'/></disk></devices>"),
        with("<devices><disk><target dev='a'/></disk><disk><target dev='a'/></disk></devices>"),
        with(&format!("<uuid>{}</uuid>", "long ".repeat(100))),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|xml| {
            let xml_shown: String = xml.chars().take(76).collect();
            format!("{xml_shown:?}\n    {}\n", refusal(xml))
        })
        .collect();
    insta::assert_snapshot!("refusals", said.concat());
}

#[test]
fn what_is_odd_but_right_is_read() {
    for xml in [
        "\u{feff}<domain type='kvm'><name>a</name><memory>1</memory></domain>",
        "\u{feff}<?xml version='1.0' encoding=\"utf-8\"?>\r\n<domain type='kvm'><name>a</name ><memory>1</memory></domain>\n",
        "<domain\ttype\n=\r\n'kvm'\n><name\n>&#97;</name\n><memory>&#x31;</memory><!----><?x?></domain><?y ?><!--z-->",
        "<domain type='kvm' é='&lt;ü>'><name>a</name><memory><![CDATA[1]]></memory>]] &gt; > <ü/></domain>",
    ] {
        let domain = Domain::parse(xml).unwrap_or_else(|error| panic!("{error}: {xml:?}"));
        assert_eq!((domain.name.as_str(), domain.memory_kib), ("a", 1));
        let packaged = for_package(xml, &PackageSpec::default()).unwrap();
        assert_eq!(packaged.xml, xml);
    }
}

#[test]
fn limits_hold() {
    let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
    assert!(matches!(
        Domain::parse(&deep),
        Err(DomainXmlError::TooComplex {
            limit: scan::MAX_DEPTH,
            ..
        })
    ));
    let open = "<a>".repeat(200);
    assert!(refusal(&open).contains("<a> is never closed"));
    let many = with(&"<a/>".repeat(scan::MAX_NODES));
    assert!(matches!(
        Domain::parse(&many),
        Err(DomainXmlError::TooComplex {
            limit: scan::MAX_NODES,
            ..
        })
    ));
    let attributes: Vec<String> = (0..scan::MAX_NODES).map(|n| format!(" a{n}=''")).collect();
    let attributes = with(&format!("<a{}/>", attributes.concat()));
    assert!(matches!(
        Domain::parse(&attributes),
        Err(DomainXmlError::TooComplex { .. })
    ));
    let large = with(&" ".repeat(scan::MAX_BYTES));
    assert!(matches!(
        Domain::parse(&large),
        Err(DomainXmlError::TooLarge {
            limit: scan::MAX_BYTES,
            ..
        })
    ));
    let chain = (0..200).fold(String::new(), |below, _| {
        format!("<backingStore type='file'><source file='/a'/>{below}</backingStore>")
    });
    let chain = with(&format!(
        "<devices><disk><target dev='vda'/>{chain}</disk></devices>"
    ));
    assert_eq!(Domain::parse(&chain).unwrap().disks[0].backing.len(), 200);
}

/// A sample with some of its bytes changed: what an editor, a bad disk or an attacker makes of it.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("<"),
        Just(">"),
        Just("/>"),
        Just("</"),
        Just("'"),
        Just("\""),
        Just("&"),
        Just(";"),
        Just("&amp;"),
        Just("="),
        Just("<!--"),
        Just("-->"),
        Just("<![CDATA["),
        Just("]]>"),
        Just("<?"),
        Just("?>"),
        Just("<!DOCTYPE"),
        Just("\n"),
        Just("ü"),
        Just("\u{0}"),
        Just("\u{feff}"),
        Just(" "),
        Just(":"),
        Just("<source/>"),
        Just("<disk>"),
        Just("</devices>"),
        Just("<metadata/>"),
        Just("<mac/>"),
        Just("xmlns:a='b'"),
        Just("<backingStore>"),
        Just(""),
    ];
    let change = (any::<prop::sample::Index>(), 0_usize..30, pieces);
    (
        0..SAMPLES.len(),
        proptest::collection::vec(change, 0..6),
        any::<Option<prop::sample::Index>>(),
    )
        .prop_map(|(which, changes, cut)| {
            let mut text: Vec<char> = SAMPLES[which].1.chars().collect();
            for (at, length, piece) in changes {
                let at = at.index(text.len() + 1);
                let end = (at + length).min(text.len());
                text.splice(at..end, piece.chars());
            }
            if let Some(cut) = cut {
                text.truncate(cut.index(text.len() + 1));
            }
            text.into_iter().collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics, and whatever is accepted can be edited, twice as well as once.
    #[test]
    fn random_damage_is_survived(xml in mutated()) {
        if Domain::parse(&xml).is_ok() {
            let spec = package_spec(&xml);
            if let Ok(packaged) = for_package(&xml, &spec) {
                prop_assert_eq!(&for_package(&packaged.xml, &spec).unwrap().xml, &packaged.xml);
                let spec = instance_spec(&packaged.xml, VirtType::Qemu);
                let instance = for_instance(&packaged.xml, &spec).unwrap();
                prop_assert_eq!(&for_instance(&instance.xml, &spec).unwrap().xml, &instance.xml);
                prop_assert_eq!(instance.domain.name, "instance-2");
            }
        }
    }

    #[test]
    fn random_text_is_survived(xml in "(?s).{0,200}") {
        let _ = Domain::parse(&xml);
    }

    #[test]
    fn values_come_back(text in "[^\\p{Cc}\u{fffe}\u{ffff}]{1,40}") {
        let xml = sample("plain");
        let mut spec = instance_spec(xml, VirtType::Kvm);
        spec.disks[0].file = value(&text);
        let instance = for_instance(xml, &spec).unwrap();
        prop_assert_eq!(&instance.domain.disks[0].source, &DiskSource::File(text));
    }
}

/// Every prefix of a document is an error; and so is every one with a byte order of tags broken.
#[test]
fn truncated_documents_are_refused() {
    for (name, xml) in SAMPLES {
        let whole = xml.find("</domain>").expect("an end tag") + "</domain>".len();
        for end in (0..whole).filter(|&end| xml.is_char_boundary(end)) {
            assert!(
                scan::Document::parse(&xml[..end]).is_err(),
                "{name} cut at {end} is accepted"
            );
        }
    }
}
