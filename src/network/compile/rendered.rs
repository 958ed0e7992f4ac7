//! A look at what the templates made: a host can replace them, and what the rest of miniascape finds a network by must
//! still be there.

use super::CompileError;
use crate::domain::scan::Document;
use crate::name::InterfaceName;
use crate::network::model::Network;
use crate::network::observed::Observed;

/// The libvirt XML has to be that of `network`, carry our mark, and leave DNS and DHCP to our own dnsmasq.
pub(super) fn check_xml(template: &'static str, xml: &str, network: &Network) -> Result<(), CompileError> {
    let fault = |fault: String| Err(CompileError::Rendered { template, fault });
    if let Err(error) = Document::parse(xml) {
        return fault(format!("XML that cannot be read ({error})"));
    }
    let made = Observed::parse(xml);
    if made.name.as_deref() != Some(network.name().as_str()) {
        return fault(format!("a network that is not called {}", network.name()));
    }
    if !made.ours {
        return fault("a network without miniascape's mark in <metadata>".to_owned());
    }
    let bridge = network.bridge().map(InterfaceName::as_str);
    if made.bridge.as_deref() != bridge {
        return fault(format!(
            "a network without the bridge {}",
            bridge.unwrap_or_default()
        ));
    }
    if made.served_by_libvirt() {
        return fault(
            "a network that libvirt would serve, without <dns enable='no'/> or with <dhcp>".to_owned(),
        );
    }
    Ok(())
}

/// dnsmasq has to serve the network's bridge and nothing else, tell its leases on the bus, and keep them in `leases`
/// if there is DHCP.
pub(super) fn check_conf(
    template: &'static str,
    conf: &str,
    network: &Network,
    leases: Option<&str>,
) -> Result<(), CompileError> {
    let mut needed = vec![
        "bind-dynamic".to_owned(),
        "except-interface=lo".to_owned(),
        format!("enable-dbus={}", network.name().dnsmasq_bus_name()),
    ];
    match network.bridge() {
        Some(bridge) => needed.push(format!("interface={bridge}")),
        None => needed.extend(
            network
                .gateways()
                .map(|gateway| format!("listen-address={gateway}")),
        ),
    }
    needed.extend(leases.map(|leases| format!("dhcp-leasefile={leases}")));
    match needed
        .iter()
        .find(|&line| !conf.lines().any(|l| l.trim() == line))
    {
        None => Ok(()),
        Some(line) => Err(CompileError::Rendered {
            template,
            fault: format!("a configuration without the line `{line}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::host::Layout;
    use crate::network::{compile, read_bytes};
    use crate::template::Templates;

    const XML: &str = "network.xml";
    const CONF: &str = "dnsmasq.conf";

    /// What compiling says when the host's own template differs from the shipped one in `from`, which becomes `to`.
    fn refusal(template: &str, from: &str, to: &str) -> String {
        let shipped = fs_err::read_to_string(format!(
            "{}/data/templates/{template}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap();
        assert!(shipped.contains(from), "{from}");
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(template), shipped.replace(from, to)).unwrap();
        let templates = Templates::with_replacements(dir.path()).unwrap();
        let yaml = b"network: { name: n, mode: nat, bridge: br9, domain: n.internal, \
            ipv4: { subnet: 10.9.0.0/24 }, dhcp: { ranges: [{ start: 10.9.0.9, end: 10.9.0.20 }] } }";
        let (network, _) = read_bytes("n.yaml", yaml).unwrap();
        compile(&network, &Layout::default(), &templates)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_replaced_template_cannot_lose_what_a_network_is_found_by() {
        for (template, from, to, said) in [
            (XML, "{{ name }}", "other", "not called n"),
            (XML, "{{ mark }}", "urn:other", "miniascape's mark"),
            (XML, "{{ bridge }}", "virbr0", "the bridge br9"),
            (XML, "<dns enable=\"no\"/>", "", "libvirt would serve"),
            (
                XML,
                "prefix=\"{{ ip.prefix }}\"/>",
                "prefix=\"{{ ip.prefix }}\"><dhcp/></ip>",
                "libvirt would serve",
            ),
            (XML, "</network>", "", "XML that cannot be read"),
            (CONF, "bind-dynamic", "bind-interfaces", "`bind-dynamic`"),
            (CONF, "interface={{ bridge }}", "", "`interface=br9`"),
            (
                CONF,
                "except-interface=lo",
                "# except-interface=lo",
                "`except-interface=lo`",
            ),
            (
                CONF,
                "enable-dbus={{ bus_name }}",
                "enable-dbus",
                "`enable-dbus=uk.org",
            ),
            (
                CONF,
                "dhcp-leasefile=",
                "# dhcp-leasefile=",
                "`dhcp-leasefile=/var/lib",
            ),
        ] {
            let error = refusal(template, from, to);
            assert!(
                error.contains(said) && error.contains(template),
                "{from} -> {to}: {error}"
            );
        }
    }
}
