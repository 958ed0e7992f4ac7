//! Definitions from `tests/data/network`: what each bad one is refused with, and what each good one compiles to.

mod auto;
mod diff;
mod examples;
mod hostile;
mod import;
mod render;

use super::compile::{CompileError, DHCP_HOSTSFILE, DHCP_OPTSFILE};
use super::{Compiled, Mode, Network, NetworkError, Observed, Warning, check, compile, read, read_bytes};
use crate::XML_NAMESPACE;
use crate::host::command::Program;
use crate::host::layout::Layout;
use crate::template::Templates;
use fs_err as fs;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn data(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(part)
}

/// The definitions in a directory: file stem, file name and content, in the order of their names.
fn definitions(directory: &str) -> Vec<(String, String, Vec<u8>)> {
    let mut paths: Vec<_> = fs::read_dir(data(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{directory} is empty");
    paths
        .into_iter()
        .map(|path| {
            let text = |part: Option<&std::ffi::OsStr>| part.unwrap().to_str().unwrap().to_owned();
            (
                text(path.file_stem()),
                text(path.file_name()),
                fs::read(&path).unwrap(),
            )
        })
        .collect()
}

fn good() -> Vec<(String, Network, Vec<Warning>)> {
    let mut all = definitions("tests/data/network/good");
    all.extend(definitions("networks"));
    all.into_iter()
        .map(|(stem, file, bytes)| match read_bytes(&file, &bytes) {
            Ok((network, warnings)) => (stem, network, warnings),
            Err(problems) => panic!("{problems}"),
        })
        .collect()
}

fn compiled(network: &Network) -> Compiled {
    compile(network, &Layout::default(), &Templates::shipped().unwrap()).unwrap()
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../../../tests/data/network/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn bad_definitions_are_refused_with_place_and_help() {
    for (stem, file, bytes) in definitions("tests/data/network/bad") {
        let Err(problems) = read_bytes(&file, &bytes) else {
            panic!("{file} was accepted");
        };
        for problem in problems.list() {
            assert!(problem.line > 0 && problem.column > 0, "{file}: {problem}");
        }
        let text = problems.to_string();
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{file}: control characters in {text:?}"
        );
        snapshot(&format!("bad-{stem}"), &text);
    }
}

#[test]
fn good_definitions_compile_to_these_files() {
    for (stem, network, warnings) in good() {
        let mut text = String::new();
        for warning in &warnings {
            writeln!(text, "{warning}\n").unwrap();
        }
        for file in compiled(&network).files() {
            write!(text, "==== {} {:o}\n{}", file.name, file.mode, file.content).unwrap();
        }
        snapshot(&format!("good-{stem}"), &text);
    }
}

/// Everything dnsmasq would read, in one file: `--test` itself does not open the others.
fn joined(compiled: &Compiled) -> String {
    let mut conf = compiled.dnsmasq_conf().unwrap().to_owned();
    for (file, option) in [(DHCP_HOSTSFILE, "dhcp-host"), (DHCP_OPTSFILE, "dhcp-option")] {
        for line in compiled
            .file(file)
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            writeln!(conf, "{option}={line}").unwrap();
        }
    }
    conf
}

#[test]
fn dnsmasq_accepts_every_generated_configuration() {
    let dnsmasq = Program::find("dnsmasq", "dnsmasq-base").unwrap();
    let dir = tempfile::Builder::new()
        .prefix("a blank, a comma")
        .tempdir()
        .unwrap();
    let layout = Layout::state_dir(dir.path());
    let mut tested = 0;
    for (_, network, _) in good() {
        let compiled = compile(&network, &layout, &Templates::shipped().unwrap()).unwrap();
        assert_eq!(compiled.dnsmasq_conf().is_some(), network.needs_dnsmasq());
        if network.needs_dnsmasq() {
            let conf = dir.path().join("conf");
            fs::write(&conf, joined(&compiled)).unwrap();
            dnsmasq
                .run()
                .args([OsStr::new("--test"), OsStr::new("-C"), conf.as_os_str()])
                .output()
                .unwrap();
            tested += 1;
        }
    }
    assert!(tested >= 5, "{tested}");
}

#[test]
fn libvirt_accepts_every_generated_network_and_keeps_the_mark() {
    let virsh = Program::find("virsh", "libvirt-clients").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (_, network, _) in good() {
        let file = dir.path().join("network.xml");
        let compiled = compiled(&network);
        let Some(xml) = compiled.libvirt_xml() else {
            assert_eq!(network.mode(), Mode::Hostroute);
            continue;
        };
        fs::write(&file, xml).unwrap();
        let commands = format!(
            "net-define --validate {}; net-start {name}; net-dumpxml {name}",
            file.display(),
            name = network.name()
        );
        let finished = virsh
            .run()
            .args(["-q", "-c", "test:///default", &commands])
            .output()
            .unwrap();
        let text = finished.text();
        let mark = format!(r#"<miniascape:network xmlns:miniascape="{XML_NAMESPACE}" version="1">"#);
        assert!(
            text.contains(&mark) && !Observed::parse(&text).served_by_libvirt(),
            "{text}"
        );
    }
}

#[test]
fn the_reference_networks_follow_their_own_rules() {
    for (number, least) in [(1, 130), (2, 70), (3, 50)] {
        let (network, warnings) = read(&data(&format!("networks/net-{number}.yaml"))).unwrap();
        assert_eq!(warnings, []);
        assert!(network.hosts().len() >= least, "{number}");
        for host in network.hosts() {
            let [.., third, last] = host.ipv4.unwrap().octets();
            let digits = format!("{last:04}");
            let mac = format!("52:54:00:0{number}:{}:{}", &digits[..2], &digits[2..]);
            assert_eq!((third, host.macs[0].to_string()), (150 + number, mac));
            assert!((10..200).contains(&last), "{host:?}");
        }
        assert_eq!(network.bridge().unwrap().as_str(), format!("virbr15{number}"));
        assert_eq!(network.mode() == Mode::Isolated, number > 1);
        assert_eq!(
            network.name().dnsmasq_bus_name(),
            format!("uk.org.thekelleys.dnsmasq.n_net_2d{number}")
        );
    }
    let (network, _) = read(&data("networks/net-1.yaml")).unwrap();
    let mac = "52:54:00:01:01:00".parse().unwrap();
    assert_eq!(
        network.host_by_mac(mac).unwrap().name.as_str(),
        "debian-12-guest-1"
    );
}

#[test]
fn paths_that_dnsmasq_would_misread_are_refused() {
    let (network, _) = read(&data("networks/net-1.yaml")).unwrap();
    for bad in [
        "/a\"b",
        "/a # b",
        "/a\nb",
        "/a\\b",
        "/'a'",
        &format!("/{}", "a".repeat(1000)),
    ] {
        let error = compile(&network, &Layout::state_dir(bad), &Templates::shipped().unwrap()).unwrap_err();
        assert!(matches!(error, CompileError::Path(_)), "{bad:?}: {error}");
    }
}

#[test]
fn the_digests_tell_any_change() {
    let text = fs::read_to_string(data("networks/net-1.yaml")).unwrap();
    let digest = |text: &str| -> Vec<_> {
        let compiled = compiled(&read_bytes("f", text.as_bytes()).unwrap().0);
        compiled
            .files()
            .iter()
            .map(|file| (file.name, file.digest()))
            .collect()
    };
    let same = text.replace("{ name: service-1,          mac", "{ name: service-1, mac");
    assert_ne!(text, same);
    assert_eq!(digest(&text), digest(&same));
    let others = [
        ("12h", "13h"),
        ("service-1,", "service-x,"),
        ("mode: nat", "mode: isolated"),
        ("test lab", "lab"),
    ];
    let digests: HashSet<_> = others
        .iter()
        .map(|(from, to)| digest(&text.replacen(from, to, 1)))
        .collect();
    assert_eq!(digests.len(), others.len());
    assert!(!digests.contains(&digest(&text)));
}

#[test]
fn files_that_are_missing_or_too_large_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.yaml");
    let error = read(&missing).unwrap_err().to_string();
    assert!(error.contains("none.yaml"), "{error}");
    let large = dir.path().join("large.yaml");
    fs::File::create(&large)
        .unwrap()
        .set_len(crate::yaml::MAX_FILE + 1)
        .unwrap();
    let error = read(&large).unwrap_err();
    assert!(matches!(error, NetworkError::TooLarge { .. }), "{error}");
}

#[test]
fn default_bridges_fit_and_differ() {
    let bridge = |name: &str| check::default_bridge(&name.parse().unwrap()).unwrap().to_string();
    assert_eq!(bridge("net-1"), "ms-net-1");
    assert_eq!(bridge("twelve-chars"), "ms-twelve-chars");
    let long: HashSet<_> = (0..100)
        .map(|n| bridge(&format!("a-rather-long-network-{n}")))
        .collect();
    assert_eq!(long.len(), 100);
}
