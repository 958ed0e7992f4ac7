//! What is packed: several disks, chains of any depth, one image instead of two, volumes.

use crate::guest::{Bench, domain, request, run, stdout};
use miniascape::image::{self, Format};
use miniascape::package::{self, Layer, Repacked, Request, Role, Target, Volume};
use std::path::{Path, PathBuf};

fn pack(bench: &Bench, request: &Request) -> Repacked {
    package::repack(request, &bench.options(&[Target::BuildTree]), &()).unwrap()
}

fn image_of(bench: &Bench, layer: &Layer) -> PathBuf {
    let tree = bench.output().join("vm-web-repacked-0.1");
    tree.join(layer.digest.file_name())
}

fn same(bench: &Bench, layer: &Layer, disk: &Path, format: Format) -> bool {
    image::compare(&image_of(bench, layer), Format::Qcow2, disk, format).unwrap()
}

/// The XML of `domain` with more disks behind its first.
fn with_disks(xml: &str, more: &str) -> String {
    let after = xml.find("</disk>").unwrap() + "</disk>".len();
    format!("{}{more}{}", &xml[..after], &xml[after..])
}

/// An overlay over the overlay `below`, with changes of its own.
fn third(bench: &Bench, below: &str) -> PathBuf {
    let top = bench.overlay("third.qcow2", below, "qcow2", "14M");
    run("qemu-io", |c| {
        c.args([
            "-f",
            "qcow2",
            "-c",
            "write -P 0xe1 13M 64k",
            "-c",
            "write -z 1M 64k",
        ])
        .arg(&top)
    });
    top
}

#[test]
fn a_chain_of_four_becomes_base_and_delta_or_one_image() {
    let bench = Bench::new();
    let raw = bench.raw("base.raw");
    bench.overlay("one.qcow2", "base.raw", "raw", "11M");
    bench.overlay("two.qcow2", "one.qcow2", "qcow2", "12M");
    let top = third(&bench, "two.qcow2");
    let mut request = request(domain("web", &top, "qcow2"));
    let repacked = pack(&bench, &request);
    let [base, delta] = &repacked.manifest.disks[0].layers[..] else {
        panic!("{repacked:?}")
    };
    assert!(
        same(&bench, base, &raw, Format::Raw),
        "the base is not the bottom"
    );
    assert!(
        same(&bench, delta, &top, Format::Qcow2),
        "the delta is not the disk"
    );
    assert_eq!(delta.virtual_size, 14 * 1024 * 1024);
    assert!(delta.file_size < 1_500_000, "{}", delta.file_size);
    image::check(&image_of(&bench, delta)).unwrap();

    fs_err::remove_dir_all(bench.output()).unwrap();
    request.disks.flatten = true;
    let flat = pack(&bench, &request);
    let [one] = &flat.manifest.disks[0].layers[..] else {
        panic!("{flat:?}")
    };
    assert_eq!(one.role, Role::Base);
    assert_eq!(one.content_digest, delta.content_digest);
    assert!(
        image::info(&image_of(&bench, one), Format::Qcow2)
            .unwrap()
            .backing
            .is_none()
    );
    assert!(same(&bench, one, &top, Format::Qcow2));
}

#[test]
fn a_chain_in_a_circle_is_refused() {
    let bench = Bench::new();
    bench.raw("b.raw");
    let one = bench.overlay("one.qcow2", "b.raw", "raw", "11M");
    let two = bench.overlay("two.qcow2", "one.qcow2", "qcow2", "11M");
    image::rebase(&one, two.to_str().unwrap(), Format::Qcow2).unwrap();
    let error = package::prepare(&request(domain("web", &two, "qcow2"))).unwrap_err();
    assert!(error.to_string().contains("which stands on it"), "{error}");
}

#[test]
fn several_disks_and_one_that_stays() {
    let bench = Bench::new();
    let raw = bench.raw("a.raw");
    let data = bench.overlay("data.qcow2", "a.raw", "raw", "12M");
    let disk = |target: &str, file: &Path| {
        format!(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
             <target dev='{target}' bus='virtio'/><shareable/></disk>",
            file.display()
        )
    };
    let gone = "<disk type='network'><source protocol='nbd' name='x'/><target dev='vdc'/></disk>";
    let xml = with_disks(
        &domain("web", &raw, "raw"),
        &format!("{}{gone}", disk("vdb", &data)),
    );
    let mut request = request(xml);
    let error = package::prepare(&request).unwrap_err().to_string();
    assert!(
        error.contains("vdc") && error.contains("--without-disk"),
        "{error}"
    );
    request.disks.leave = vec!["vdd".to_owned()];
    assert!(
        package::prepare(&request)
            .unwrap_err()
            .to_string()
            .contains("vdd")
    );
    request.disks.leave = vec!["vdc".to_owned()];
    let repacked = pack(&bench, &request);
    let disks = &repacked.manifest.disks;
    let targets: Vec<_> = disks.iter().map(|disk| disk.target.as_str()).collect();
    assert_eq!(targets, ["vda", "vdb"]);
    assert!(same(&bench, &disks[0].layers[1], &raw, Format::Raw));
    assert!(same(&bench, &disks[1].layers[1], &data, Format::Qcow2));
    // Both stand on one image, which is there once.
    assert_eq!(disks[0].layers[0], disks[1].layers[0]);
    assert_eq!(repacked.manifest.images().len(), 3);
    let told: Vec<_> = repacked
        .manifest
        .not_packed
        .iter()
        .map(|n| n.what.as_str())
        .collect();
    assert!(told.contains(&"disk vdc"), "{told:?}");
    let warned = repacked
        .manifest
        .warnings
        .iter()
        .any(|w| w.as_str().contains("the disk vdb may be written"));
    assert!(warned, "{:?}", repacked.manifest.warnings);
}

#[test]
fn a_volume_is_where_libvirt_says() {
    let bench = Bench::new();
    let raw = bench.raw("pool/a.raw");
    let xml = domain("web", &raw, "raw");
    let source = format!("<source file='{}'/>", raw.display());
    let xml = xml
        .replacen("<disk type='file'", "<disk type='volume'", 1)
        .replace(&source, "<source pool='default' volume='a &amp; b' mode='host'/>");
    assert!(xml.contains("a &amp; b"), "{xml}");
    let mut request = request(xml);
    request.volumes = vec![Volume {
        pool: "default".into(),
        volume: "a & b".into(),
        path: raw.clone(),
    }];
    let repacked = pack(&bench, &request);
    assert!(same(
        &bench,
        &repacked.manifest.disks[0].layers[0],
        &raw,
        Format::Raw
    ));
}

/// Two disks that know nothing of each other, made from one image by whatever copied it.
#[test]
fn a_known_base_is_found_again_by_content() {
    let bench = Bench::new();
    let golden = bench.raw("golden.raw");
    let known = |path: &Path, format, packaged| package::Base {
        target: None,
        path: path.to_owned(),
        format,
        packaged,
        has_package: packaged.is_some(),
    };
    let copy = |name: &str, byte: u8| {
        let copy = bench.qcow2(&golden, name);
        run("qemu-io", |c| {
            c.args(["-f", "qcow2", "-c", &format!("write -P {byte} 7M 64k")])
                .arg(&copy)
        });
        copy
    };
    let mut one = request(domain("web", &copy("one.qcow2", 0xa1), "qcow2"));
    one.disks.base = Some(known(&golden, Format::Raw, None));
    let first = pack(&bench, &one);
    let [base, delta] = &first.manifest.disks[0].layers[..] else {
        panic!("{first:?}")
    };
    assert!(same(&bench, base, &golden, Format::Raw));
    assert!(same(&bench, delta, &bench.path("one.qcow2"), Format::Qcow2));
    assert!(delta.file_size < 600_000, "the delta takes {}", delta.file_size);

    // On the base that has its package now, the second guest's packages hold only what differs.
    let kept = bench.path("base.qcow2");
    fs_err::copy(image_of(&bench, base), &kept).unwrap();
    fs_err::remove_dir_all(bench.output()).unwrap();
    let mut two = request(domain("other", &copy("two.qcow2", 0xa2), "qcow2"));
    two.disks.base = Some(known(&kept, Format::Qcow2, Some(base.digest)));
    let second = package::repack(&two, &bench.options(&[Target::Deb]), &()).unwrap();
    assert_eq!(second.manifest.disks[0].layers[0], *base);
    assert_eq!(bench.results().len(), 2, "{:?}", bench.results());
    assert!(
        bench
            .results()
            .iter()
            .all(|name| !name.contains(base.package.as_str()))
    );
    // One that only claims to be it is noticed.
    two.disks.base = Some(known(&bench.path("one.qcow2"), Format::Qcow2, Some(base.digest)));
    let error = package::repack(&two, &bench.options(&[Target::Deb]), &()).unwrap_err();
    assert!(error.to_string().contains("not what its name says"), "{error}");
    assert_eq!(bench.results().len(), 2);
}

#[test]
fn definitions_of_the_guests_networks_are_packed_and_no_others() {
    let bench = Bench::new();
    let mut request = request(domain("web", &bench.raw("a.raw"), "raw"));
    request.definitions = ["net-1", "net-10"]
        .map(|name| package::NetworkFiles {
            name: name.parse().unwrap(),
            definition: format!("network: {{ name: {name} }}").into_bytes(),
            parts: vec![("more.yaml".to_owned(), b"hosts: []".to_vec())],
        })
        .to_vec();
    let targets = [Target::BuildTree, Target::Rpm, Target::Deb];
    let repacked = package::repack(&request, &bench.options(&targets), &()).unwrap();
    // Recommended where it is not in the package; that is seen in the tests of the packages.
    for file in repacked.files.iter().filter(|file| file.package == "vm-web") {
        let told = match file.kind {
            Target::Rpm => stdout("rpm", |c| {
                c.args(["-qp", "--provides", "--recommends"]).arg(&file.path)
            }),
            Target::Deb => stdout("dpkg-deb", |c| {
                c.arg("-f").arg(&file.path).args(["Provides", "Recommends"])
            }),
            _ => continue,
        };
        let of_network = |line: &&str| line.contains("network");
        let told: Vec<&str> = told.lines().filter(of_network).collect();
        let right = ["miniascape-network(net-1)", "Provides: miniascape-network-net-1"];
        assert!(told.len() == 1 && right.contains(&told[0]), "{told:?}");
    }
    let names: Vec<_> = repacked
        .manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["network-net-1.yaml", "network-net-1+001-more.yaml", "blocks-vda"]
    );
    let tree = bench.output().join("vm-web-repacked-0.1");
    assert_eq!(
        fs_err::read_to_string(tree.join("network-net-1.yaml")).unwrap(),
        "network: { name: net-1 }"
    );
}
