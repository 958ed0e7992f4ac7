//! libvirt's networks.

use super::{Libvirt, LibvirtError, absent, without_unknown_flags};
use uuid::Uuid;
use virt::error::ErrorNumber;
use virt::network::Network;
use virt::sys;

/// What libvirt knows of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRecord {
    /// Its name, as libvirt has it.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// True if it is started.
    pub active: bool,
    /// True if libvirt starts it at boot.
    pub autostart: bool,
    /// The definition that the next start will use (transient networks: the live one).
    pub xml: String,
    /// The live definition, if active.
    pub live_xml: Option<String>,
}

/// Which entries of a network's `<dhcp>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpSection {
    /// `<host>`
    Host,
    /// `<range>`
    Range,
}

impl Libvirt {
    fn find_network(&self, name: &str) -> Result<Option<Network>, LibvirtError> {
        absent(
            self.connection.lookup_network_by_name(name),
            ErrorNumber::NoNetwork,
        )
        .map_err(|e| self.error(format!("look for the network {name}"), &e))
    }

    pub(super) fn with_network<T>(
        &self,
        name: &str,
        what: &str,
        act: impl FnOnce(&Network) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let wrap = |e: &_| self.error(format!("{what} the network {name}"), e);
        let network = self
            .connection
            .lookup_network_by_name(name)
            .map_err(|e| wrap(&e))?;
        act(&network).map_err(|e| wrap(&e))
    }

    fn network_record(&self, network: &Network) -> Result<NetworkRecord, LibvirtError> {
        let read = || {
            let active = network.is_active()?;
            let persistent = network.is_persistent()?;
            let inactive = if persistent {
                sys::VIR_NETWORK_XML_INACTIVE
            } else {
                0
            };
            Ok(NetworkRecord {
                name: network.name()?,
                uuid: network.uuid()?,
                active,
                // A transient network has no such property.
                autostart: persistent && network.autostart()?,
                xml: without_unknown_flags(inactive, 0, |flags| network.xml_desc(flags))?,
                live_xml: if active { Some(network.xml_desc(0)?) } else { None },
            })
        };
        read().map_err(|e: virt::error::Error| self.error("read a network's state", &e))
    }

    /// The network of exactly this name.
    pub fn network(&self, name: &str) -> Result<Option<NetworkRecord>, LibvirtError> {
        self.find_network(name)?
            .map(|network| self.network_record(&network))
            .transpose()
    }

    /// All networks, active or not, by name.
    pub fn networks(&self) -> Result<Vec<NetworkRecord>, LibvirtError> {
        let all = self
            .connection
            .list_all_networks(0)
            .map_err(|e| self.error("list the networks", &e))?;
        let mut records = all
            .iter()
            .map(|n| self.network_record(n))
            .collect::<Result<Vec<_>, _>>()?;
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// Defines, or redefines, a persistent network.
    pub fn define_network(&self, name: &str, xml: &str) -> Result<(), LibvirtError> {
        self.connection
            .define_network_xml(xml)
            .map(drop)
            .map_err(|e| self.error(format!("define the network {name}"), &e))
    }

    /// Starts a defined network.
    pub fn start_network(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_network(name, "start", Network::create)
    }

    /// Stops an active network: its bridge goes, whoever is plugged into it.
    pub fn stop_network(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_network(name, "stop", Network::destroy)
    }

    /// Takes an entry out of the `<dhcp>` of the network's `<ip>` element number `ip`: of the `live` network, or of what
    /// is saved. With the last live one libvirt stops the dnsmasq that it runs for the network.
    pub fn remove_dhcp_entry(
        &self,
        name: &str,
        section: DhcpSection,
        ip: usize,
        xml: &str,
        live: bool,
    ) -> Result<(), LibvirtError> {
        let section = match section {
            DhcpSection::Host => sys::VIR_NETWORK_SECTION_IP_DHCP_HOST,
            DhcpSection::Range => sys::VIR_NETWORK_SECTION_IP_DHCP_RANGE,
        };
        let flags = if live {
            sys::VIR_NETWORK_UPDATE_AFFECT_LIVE
        } else {
            sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG
        };
        let index = i32::try_from(ip).unwrap_or(i32::MAX);
        self.with_network(name, "take a DHCP entry out of", |network| {
            network.update(sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, section, index, xml, flags)
        })
    }

    /// Removes the definition of a network.
    pub fn undefine_network(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_network(name, "undefine", Network::undefine)
    }

    /// Sets whether libvirt starts the network at boot.
    pub fn set_network_autostart(&self, name: &str, autostart: bool) -> Result<(), LibvirtError> {
        self.with_network(name, "set autostart of", |n| n.set_autostart(autostart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulator() -> Libvirt {
        Libvirt::connect("test:///default").unwrap()
    }

    #[test]
    fn a_network_goes_through_its_life_in_the_simulator() {
        let libvirt = simulator();
        let xml =
            "<network><name>n1</name><bridge name='vb9'/><ip address='10.9.0.1' prefix='24'/></network>";
        assert!(libvirt.network("n1").unwrap().is_none());
        libvirt.define_network("n1", xml).unwrap();
        libvirt.start_network("n1").unwrap();
        libvirt.set_network_autostart("n1", true).unwrap();
        let record = libvirt.network("n1").unwrap().unwrap();
        assert!(record.active && record.autostart && record.live_xml.is_some());
        libvirt.stop_network("n1").unwrap();
        libvirt.undefine_network("n1").unwrap();
        assert!(libvirt.network("n1").unwrap().is_none());
    }

    #[test]
    fn errors_name_the_object_and_give_libvirts_words() {
        let error = simulator().start_network("nope").unwrap_err().to_string();
        assert!(
            error.starts_with("libvirt could not start the network nope: "),
            "{error}"
        );
    }

    #[test]
    fn an_absent_libvirt_is_told_from_a_failing_one() {
        let error = Libvirt::connect("qemu+unix:///system?socket=/nonexistent/sock").unwrap_err();
        assert!(matches!(error, LibvirtError::Unreachable { .. }), "{error}");
    }
}
