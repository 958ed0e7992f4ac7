//! What the edits do, and above all what they leave alone.

use proptest::prelude::*;

use super::*;

/// Only the lines that changed, so that a snapshot shows the edit and nothing else.
fn difference(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(1)
        .to_string()
}

fn listed(things: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let lines: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    lines.join("\n")
}

#[test]
fn packages_are_as_reviewed() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name);
        let report = &packaged.report;
        insta::assert_snapshot!(
            format!("package-{name}"),
            format!(
                "{}\nuuid {:?}, emulator {:?}, machine {:?}, arch {:?}\nMACs {:?}\nnetworks {:?}\n{}",
                difference(xml, &packaged.xml),
                report.uuid,
                report.emulator,
                report.machine,
                report.arch,
                report.macs,
                report.networks,
                listed(&report.host_bound),
            )
        );
    }
}

#[test]
fn nothing_that_is_left_out_is_found_in_a_package() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name);
        for bound in &packaged.domain.host_bound {
            // An emulated TPM stays as a device.
            let stays = bound.fate == Fate::Kept || bound.kind == HostBoundKind::Tpm;
            assert!(stays, "{name}: {bound}");
        }
    }
}

#[test]
fn instances_are_as_reviewed() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name).xml;
        let instance = for_instance(&packaged, &instance_spec(&packaged, VirtType::Qemu)).expect(name);
        insta::assert_snapshot!(
            format!("instance-{name}"),
            format!(
                "{}\n{}",
                difference(&packaged, &instance.xml),
                listed(&instance.notes)
            )
        );
    }
}

#[test]
fn a_second_time_changes_nothing() {
    for (name, xml) in SAMPLES {
        let spec = package_spec(xml);
        let packaged = for_package(xml, &spec).expect(name).xml;
        assert_eq!(for_package(&packaged, &spec).expect(name).xml, packaged, "{name}");
        for virt in [VirtType::Kvm, VirtType::Qemu] {
            let spec = instance_spec(&packaged, virt);
            let instance = for_instance(&packaged, &spec).expect(name).xml;
            let again = for_instance(&instance, &spec).expect(name);
            assert_eq!(again.xml, instance, "{name}");
            assert_eq!(again.notes, [], "{name}");
        }
    }
}

#[test]
fn repacking_an_instance_gives_the_package_again() {
    for (name, xml) in SAMPLES {
        let spec = package_spec(xml);
        let packaged = for_package(xml, &spec).expect(name);
        let instance = for_instance(&packaged.xml, &instance_spec(&packaged.xml, VirtType::Kvm))
            .expect(name)
            .xml;
        let again = for_package(&instance, &spec).expect(name);
        assert_eq!(again.domain.disks, packaged.domain.disks, "{name}");
        assert_eq!(again.domain.mark("guest"), None, "{name}");
        assert_eq!(again.domain.uuid, None, "{name}");
    }
}

/// The two forms are libvirt 9.0's of one guest under QEMU, running and as it is kept.
#[test]
fn a_running_guest_packs_like_a_stopped_one() {
    let packaged = ["started", "started-inactive"].map(|name| {
        let xml = sample(name);
        for_package(xml, &package_spec(xml)).unwrap()
    });
    assert_eq!(packaged[0].domain, packaged[1].domain);
    assert_eq!(packaged[0].report, packaged[1].report);
    for trace in [" id='1'", "<alias", "/run/lab", "/dev/pts", "state=", "index='1'"] {
        let line = packaged[0]
            .xml
            .lines()
            .find(|line| line.contains(trace) && !line.contains("<controller") && !line.contains("<audio"));
        assert_eq!(line, None);
    }
}

#[test]
fn nothing_of_the_host_is_left() {
    for (name, xml) in SAMPLES {
        let packaged = for_package(xml, &package_spec(xml)).expect(name).xml;
        for trace in [
            "s3cr3t",
            "hunter2",
            "passwd",
            "/dev/pts",
            "vnet1",
            "portid",
            "libvirt-5b0a",
            "virtio-disk0",
        ] {
            assert!(!packaged.contains(trace), "{name} still has {trace}");
        }
    }
}

#[test]
fn secrets_and_other_uuids_stay() {
    let packaged = for_package(sample("odd"), &package_spec(sample("odd")))
        .unwrap()
        .xml;
    for kept in [
        "<!-- A domain written by hand: <uuid>not this one</uuid> -->",
        "<app:uuid>keep-me</app:uuid><![CDATA[ <alias name='x'/> ]]>",
        "&quot;entities&quot;, &#x263A; and a uuid: <!-- here --> 1234",
        "<qemu:env name=\"uuid\" value=\"also kept\"/>",
        "<domain   type = \"qemu\"\n",
        "<?keep this?>",
        "<mac   address = '52:54:00:AA:BB:CC'   />",
    ] {
        assert!(packaged.contains(kept), "{kept} is gone from\n{packaged}");
    }
    let packaged = for_package(sample("encrypted"), &package_spec(sample("encrypted")))
        .unwrap()
        .xml;
    assert!(packaged.contains("<secret type='passphrase' uuid='f52a81b2-424e-490c-823d-6bd4235bc572'/>"));
}

#[test]
fn a_secret_in_an_argument_is_refused() {
    let xml = sample("odd").replace("secret,id=s0,file=/root/key", "secret,id=s0,data=abc");
    let refused = for_package(&xml, &package_spec(&xml)).unwrap_err();
    assert!(
        matches!(refused, DomainXmlError::SecretInArguments { place } if place.line == 27),
        "{refused}"
    );
}

#[test]
fn every_disk_must_be_decided() {
    let xml = sample("encrypted");
    let mut spec = package_spec(xml);
    spec.disks.remove(1);
    let refused = for_package(xml, &spec).unwrap_err();
    insta::assert_snapshot!(refused, @"domain XML, line 20, column 5: nothing was said about the disk with the target `vdb`");
    spec.leave.push("vdb".to_owned());
    let packaged = for_package(xml, &spec).unwrap();
    assert_eq!(packaged.domain.disks.len(), 1);
    assert_eq!(
        packaged.report.host_bound.last().unwrap().to_string(),
        "disk vdb: left out"
    );
    assert_eq!(for_package(&packaged.xml, &spec).unwrap().xml, packaged.xml);
    spec.disks[0].target = "vdz".to_owned();
    spec.leave.push("vda".to_owned());
    let refused = for_package(xml, &spec).unwrap_err();
    insta::assert_snapshot!(refused, @"the domain has no disk with the target `vdz` that holds data");

    let mut spec = instance_spec(xml, VirtType::Kvm);
    spec.disks.clear();
    assert!(matches!(
        for_instance(xml, &spec),
        Err(DomainXmlError::DiskNotDecided { .. })
    ));
    let mut spec = instance_spec(xml, VirtType::Kvm);
    spec.macs.insert(3, value("52:54:00:00:00:01"));
    let refused = for_instance(xml, &spec).unwrap_err();
    insta::assert_snapshot!(refused, @"the domain has 0 network interfaces, so there is none with the index 3");
}

#[test]
fn kvm_keeps_the_cpu() {
    let xml = sample("package");
    let instance = for_instance(xml, &instance_spec(xml, VirtType::Kvm)).unwrap();
    assert!(
        instance
            .xml
            .contains("<cpu mode='host-passthrough' check='none' migratable='on'>")
    );
    assert_eq!(instance.notes, []);
}

#[test]
fn values_are_escaped_or_refused() {
    let xml = sample("package");
    let mut spec = instance_spec(xml, VirtType::Kvm);
    spec.name = value("a'b\"c<d>&amp;]]>");
    let instance = for_instance(xml, &spec).unwrap();
    assert_eq!(instance.domain.name, "a'b\"c<d>&amp;]]>");
    let source = DiskSource::File("/var/lib/libvirt/images/miniascape/guests/g & h's/vda.qcow2".to_owned());
    assert_eq!(instance.domain.disks[0].source, source);
    let mark = instance.domain.mark("guest").unwrap();
    assert_eq!(mark.attribute("version"), Some("0.1 \"beta\""));
    for bad in ["a\nb", "a\tb", "\u{1b}[31m", "\0", "\u{7f}", "\u{85}", "\u{fffe}"] {
        assert!(XmlValue::new(bad).is_err(), "{bad:?}");
    }
    let refused = XmlValue::new("new\nline").unwrap_err();
    insta::assert_snapshot!(refused, @r#"`new\nline` cannot be written into domain XML: it has a control character"#);
}

/// Lines that no edit is about, to be put between the lines of a sample.
fn noise(number: usize) -> String {
    match number % 4 {
        0 => format!("  <!-- noise {number}: <uuid>x</uuid> <alias name='a'/> & -->"),
        1 => {
            format!("\t<noise:n{number} xmlns:noise='urn:noise' id = \"7\"><uuid>x</uuid></noise:n{number}>")
        }
        2 => format!("<?noise {number} <source file='x'/>?>"),
        _ => format!("      <noise   n=\"{number}\"  ><seclabel/><![CDATA[<uuid>]]>&#x41;</noise>"),
    }
}

/// Where a line of noise is content of an element that no edit removes or rewrites whole: directly in `<domain>`
/// and `<devices>`, and not in the middle of a tag or comment.
fn places(xml: &str) -> Vec<usize> {
    let document = scan::Document::parse(xml).expect("a sample");
    let root = document.root();
    let parents = std::iter::once(root).chain(root.children_named("devices"));
    let starts = parents
        .flat_map(scan::Element::children)
        .map(|element| element.span().start);
    let line = |at: usize| {
        xml[..at]
            .rfind('\n')
            .map(|line| line + 1)
            .filter(|&line| xml[line..at].trim().is_empty())
    };
    starts.filter_map(line).collect()
}

fn with_noise(xml: &str, chosen: &[usize]) -> (String, Vec<String>) {
    let places = places(xml);
    let mut noisy = xml.to_owned();
    let mut lines = Vec::new();
    let mut chosen: Vec<usize> = chosen
        .iter()
        .filter_map(|c| places.get(c % places.len().max(1)))
        .copied()
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    for (number, place) in chosen.into_iter().enumerate().rev() {
        let line = format!("{}\n", noise(number));
        noisy.insert_str(place, &line);
        lines.push(line);
    }
    (noisy, lines)
}

fn without_noise(mut text: String, lines: &[String]) -> String {
    for line in lines {
        let at = text
            .find(line)
            .unwrap_or_else(|| panic!("{line} is gone from\n{text}"));
        text.replace_range(at..at + line.len(), "");
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever else is in the document comes out as it went in, and changes nothing about the edit.
    #[test]
    fn the_rest_is_untouched(chosen in proptest::collection::vec(0_usize..100, 1..12), which in 0..SAMPLES.len()) {
        let (_, xml) = SAMPLES[which];
        let (noisy, lines) = with_noise(xml, &chosen);
        let spec = package_spec(xml);
        let clean = for_package(xml, &spec).unwrap().xml;
        let packaged = for_package(&noisy, &spec).unwrap().xml;
        prop_assert_eq!(without_noise(packaged.clone(), &lines), clean.clone());
        let spec = instance_spec(&clean, VirtType::Qemu);
        let instance = for_instance(&packaged, &spec).unwrap().xml;
        prop_assert_eq!(without_noise(instance, &lines), for_instance(&clean, &spec).unwrap().xml);
    }
}

#[test]
fn what_the_other_host_needs_is_told() {
    let xml = "<domain type='kvm'><name>a</name><memory>1</memory><devices>\
        <interface type='user'><backend type='passt' logFile='/l/passt'/></interface>\
        <interface type='network'><source network='n'/><backend tap='/d/tun' vhost='/d/vhost'/><filterref filter='f'/></interface>\
        <audio id='1' type='file' path='/a.wav'/><audio id='2' type='none'/>\
        <shmem name='s' role='peer'><server path='/s.sock'/></shmem>\
        <video><model type='virtio'><acceleration rendernode='/r'/></model></video></devices></domain>";
    let packaged = for_package(xml, &package_spec(xml)).expect("a package");
    let told: Vec<_> = packaged
        .report
        .host_bound
        .iter()
        .map(|bound| bound.what.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "log of the network's back end /l/passt",
            "network device /d/tun",
            "network device /d/vhost",
            "network filter f",
            "sound /a.wav",
            "memory shared with the host s",
            "server of shared memory /s.sock",
            "render node /r",
        ]
    );
    assert_eq!(packaged.xml, xml);
}
