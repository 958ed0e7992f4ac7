//! What people call a device of the host that a domain uses: its address as lspci and lsusb print it.

use super::error::shown;
use super::scan::Element;

/// A `<hostdev>`, or an `<interface type='hostdev'>`, in words.
pub(super) fn host_device(device: Element<'_>) -> String {
    let source = device.child("source");
    let address = source.and_then(|source| source.child("address"));
    // Of an interface it is the address that says what sort of device it is.
    let kind = device
        .attribute("type")
        .filter(|kind| *kind != "hostdev")
        .or(address.and_then(|address| address.attribute("type")));
    let mut words = vec!["host device".to_owned()];
    words.extend(kind.map(shown));
    let usual = address
        .and_then(|address| pci(address).or_else(|| usb(address)))
        .or_else(|| source.and_then(product));
    match usual {
        Some(name) => words.push(name),
        None => words.extend(source.map(as_written).into_iter().flatten()),
    }
    words.join(" ")
}

/// As lspci prints it: `0000:03:00.0`.
fn pci(address: Element<'_>) -> Option<String> {
    let part = |name: &str| number(address.attribute(name)?);
    let domain = match address.attribute("domain") {
        Some(domain) => number(domain)?,
        None => 0,
    };
    let (bus, slot, function) = (part("bus")?, part("slot")?, part("function")?);
    Some(format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"))
}

/// As lsusb prints it: `001:004`.
fn usb(address: Element<'_>) -> Option<String> {
    let part = |name: &str| number(address.attribute(name)?);
    Some(format!("{:03}:{:03}", part("bus")?, part("device")?))
}

/// `vendor:product` as lsusb prints it: `1234:beef`.
fn product(source: Element<'_>) -> Option<String> {
    let id = |name: &str| number(source.child(name)?.attribute("id")?);
    Some(format!("{:04x}:{:04x}", id("vendor")?, id("product")?))
}

/// Everything that the source of another kind of device says: a UUID, an adapter and its address, a path.
fn as_written(source: Element<'_>) -> Vec<String> {
    let elements = std::iter::once(source).chain(source.children());
    elements
        .flat_map(|element| {
            let text = element
                .trimmed_text()
                .filter(|_| element.children().next().is_none());
            let values = element.attributes().map(|(_, value)| value.to_owned());
            values.chain(text).collect::<Vec<_>>()
        })
        .map(|value| shown(&value))
        .collect()
}

/// A number as libvirt reads it: decimal, hexadecimal after `0x`, octal after `0`.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        Some(octal) => u32::from_str_radix(octal, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Document;
    use super::host_device;

    #[test]
    fn devices_are_called_as_lspci_and_lsusb_call_them() {
        for (device, name) in [
            (
                "<hostdev type='pci'><source><address domain='0x0000' bus='0x3' slot='0x1f' function='0x0'/></source></hostdev>",
                "host device pci 0000:03:1f.0",
            ),
            (
                "<hostdev type='pci'><source><address bus='16' slot='010' function='7'/></source></hostdev>",
                "host device pci 0000:10:08.7",
            ),
            (
                "<interface type='hostdev'><source><address type='pci' domain='1' bus='0' slot='7' function='0'/></source>\
                 </interface>",
                "host device pci 0001:00:07.0",
            ),
            (
                "<hostdev type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
                "host device usb 1234:beef",
            ),
            (
                "<hostdev type='usb'><source><address bus='1' device='4'/></source></hostdev>",
                "host device usb 001:004",
            ),
            (
                "<hostdev type='usb'><source startupPolicy='optional'><vendor id='1'/><product id='2'/>\
                 <address bus='0x02' device='0x0a'/></source></hostdev>",
                "host device usb 002:010",
            ),
            (
                "<hostdev type='mdev'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>",
                "host device mdev c2177883-f1bb-47f0-914d-32a22e3a8804",
            ),
            (
                "<hostdev type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='1' unit='2'/></source></hostdev>",
                "host device scsi scsi_host0 0 1 2",
            ),
            (
                "<hostdev type='storage'><source><block>/dev/sdf1</block></source></hostdev>",
                "host device storage /dev/sdf1",
            ),
            // What is no address stays as it is written.
            (
                "<hostdev type='pci'><source><address bus='0xzz' slot='1' function='+1'/></source></hostdev>",
                "host device pci 0xzz 1 +1",
            ),
            ("<hostdev type='pci'/>", "host device pci"),
        ] {
            let document = Document::parse(device).unwrap();
            assert_eq!(host_device(document.root()), name, "{device}");
        }
    }
}
