//! Definitions made from what other tools have, `tests/data/network/import`: what comes out, and what is said.

use super::{definitions, snapshot};
use crate::network::import::{ImportError, Imported, from_libvirt, rewrite};
use crate::network::{read, read_bytes};
use proptest::prelude::*;
use std::fmt::Write;
use std::path::Path;

fn imported(file: &str, bytes: &[u8]) -> Result<Imported, ImportError> {
    if Path::new(file).extension().is_some_and(|ending| ending == "xml") {
        from_libvirt(file, std::str::from_utf8(bytes).unwrap())
    } else {
        rewrite(file, bytes)
    }
}

#[test]
fn what_other_tools_have_becomes_these_definitions() {
    for (stem, file, bytes) in definitions("tests/data/network/import") {
        let text = match imported(&file, &bytes) {
            Ok(imported) => {
                let mut text = imported.text.clone();
                for lost in &imported.lost {
                    writeln!(text, "==== {lost}").unwrap();
                }
                let (again, _) = read_bytes(&file, imported.text.as_bytes()).unwrap();
                assert_eq!(again, imported.network);
                text
            }
            Err(error) => error.to_string(),
        };
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        snapshot(&format!("import-{stem}"), &text);
    }
}

#[test]
fn the_original_form_keeps_its_meaning() {
    let mut rewritten = 0;
    for (_, file, bytes) in definitions("tests/data/network/good") {
        let before = read_bytes(&file, &bytes).unwrap().0;
        match rewrite(&file, &bytes) {
            Ok(imported) => {
                rewritten += 1;
                assert_eq!(imported.network, before);
                let again = rewrite(&file, imported.text.as_bytes());
                assert!(matches!(again, Err(ImportError::Native(_))), "{again:?}");
            }
            Err(error) => assert!(matches!(error, ImportError::Native(_)), "{error}"),
        }
    }
    assert!(rewritten >= 4, "{rewritten}");
}

#[test]
fn our_own_networks_xml_is_read_too() {
    let (network, _) = read(&super::data("networks/net-2.yaml")).unwrap();
    let xml = super::compiled(&network).libvirt_xml().unwrap().to_owned();
    let imported = from_libvirt("net-2", &xml).unwrap();
    assert_eq!(imported.network.title(), network.title());
    assert_eq!(imported.network.bridge(), network.bridge());
    assert_eq!(imported.network.ipv4(), network.ipv4());
}

proptest! {
    /// Whatever stands in the XML, what comes out is a definition, and what is said can be printed.
    #[test]
    fn hostile_xml_is_answered(
        name in "[a-z]{1,5}|\\PC{0,8}", host in "\\PC{0,12}", text in "\\PC{0,20}", mac in "[0-9a-f:]{0,20}", tail in 0u8..,
    ) {
        let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
        let xml = format!(
            "<network><name>{}</name><title>{}</title><bridge name='virbr1'/><domain name='{}'/>\
             <dns><txt name='{}' value='{}'/><forwarder addr='{}'/></dns>\
             <ip address='10.1.0.1' prefix='24'><dhcp><range start='10.1.0.{tail}' end='10.1.0.200'/>\
             <host mac='{mac}' name='{}' ip='10.1.0.{tail}'/></dhcp></ip></network>",
            escape(&name), escape(&text), escape(&host), escape(&host), escape(&text), escape(&host), escape(&host),
        );
        match from_libvirt("f.xml", &xml) {
            Ok(imported) => {
                let all = format!("{}{}", imported.text, imported.lost.join(""));
                prop_assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{all:?}");
                prop_assert_eq!(read_bytes("f", imported.text.as_bytes()).unwrap().0, imported.network);
            }
            Err(error) => prop_assert!(!error.to_string().contains(|c: char| c.is_control() && c != '\n')),
        }
    }
}
