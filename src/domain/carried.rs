//! Values in a domain that people hand secrets to guests in, and that are in its package as they were written: nobody
//! but they can tell which of them are secret.

use super::scan::Element;

/// What the domain has of them, for people.
pub(super) fn find(root: Element<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    let has_text = |element: Element<'_>| element.trimmed_text().is_some();
    let os = |name: &'static str| {
        root.children_named("os")
            .flat_map(Element::children)
            .any(|element| element.is(name) && has_text(element))
    };
    if os("cmdline") || os("initarg") || os("initenv") {
        found.push("kernel command line");
    }
    let entries = |of: &'static str| {
        root.children_named("sysinfo")
            .flat_map(Element::children)
            .filter(move |element| element.is(of))
    };
    if entries("entry").any(has_text) {
        found.push("firmware configuration (fw_cfg)");
    }
    // cloud-init takes its data source from the serial number, systemd its credentials from OEM strings.
    let source = |entry: Element<'_>| {
        entry.attribute("name") == Some("serial") && entry.text().trim_start().starts_with("ds=")
    };
    if entries("oemStrings").flat_map(Element::children).any(has_text)
        || entries("system").flat_map(Element::children).any(source)
    {
        found.push("SMBIOS strings");
    }
    let arguments =
        |element: &Element<'_>| element.namespace().is_some() && element.local_name() == "commandline";
    if root.children().any(|element| arguments(&element)) {
        found.push("arguments and environment of QEMU");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::scan::Document;
    use super::find;

    #[test]
    fn values_that_may_be_secret_are_found() {
        for (xml, found) in [
            ("<os><cmdline>token=x</cmdline></os>", "kernel command line"),
            (
                "<sysinfo type='fwcfg'><entry name='opt/a'>x</entry></sysinfo>",
                "firmware configuration (fw_cfg)",
            ),
            (
                "<sysinfo type='fwcfg'><entry name='opt/a' file='/x'/></sysinfo>",
                "",
            ),
            (
                "<sysinfo type='smbios'><oemStrings><entry>x</entry></oemStrings></sysinfo>",
                "SMBIOS strings",
            ),
            (
                "<sysinfo type='smbios'><system><entry name='serial'>ds=nocloud;s=x</entry></system></sysinfo>",
                "SMBIOS strings",
            ),
            (
                "<sysinfo type='smbios'><system><entry name='serial'>1</entry></system></sysinfo><os><cmdline/></os>",
                "",
            ),
            (
                "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:env name='A' value='x'/></q:commandline>",
                "arguments and environment of QEMU",
            ),
        ] {
            let xml = format!("<domain>{xml}</domain>");
            let document = Document::parse(&xml).unwrap();
            assert_eq!(find(document.root()).join(", "), found, "{xml}");
        }
    }
}
