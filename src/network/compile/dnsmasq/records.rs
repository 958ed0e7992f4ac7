//! Lines of dnsmasq's configuration for DNS records other than plain addresses, which stand in `addn-hosts`.

use crate::name::PlainText;
use crate::network::model::{Network, RecordData, reverse_name};

/// The lines, in the order of the definition.
pub(super) fn lines(network: &Network) -> Vec<String> {
    let mut lines = Vec::new();
    for record in &network.dns().records {
        match &record.data {
            RecordData::Address { .. } => {}
            RecordData::Wildcard { name, addresses } => {
                lines.extend(
                    addresses
                        .iter()
                        .map(|address| format!("address=/{name}/{address}")),
                );
                // Questions for anything but these addresses end here too, with "no data" and not "no such name".
                let local = format!("local=/{name}/");
                if !lines.contains(&local) {
                    lines.push(local);
                }
            }
            RecordData::Cname { name, target } => lines.push(format!("cname={name},{target}")),
            RecordData::Srv {
                name,
                target: Some((target, port)),
                priority,
                weight,
            } => lines.push(format!("srv-host={name},{target},{port},{priority},{weight}")),
            RecordData::Srv {
                name, target: None, ..
            } => lines.push(format!("srv-host={name}")),
            RecordData::Txt { name, text } => {
                let strings: Vec<String> = text.iter().map(PlainText::quoted).collect();
                lines.push(format!("txt-record={name},{}", strings.join(",")));
            }
            RecordData::Ptr { address, name } => {
                lines.push(format!("ptr-record={},{name}", reverse_name(*address)));
            }
        }
    }
    lines
}
