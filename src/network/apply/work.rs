//! Making a planned change of one network: what registering, updating and adopting it have in common. What they refuse,
//! and how they take back what failed, is their own.

use super::facts::Facts;
use super::step::{take, write_files};
use super::verify::verify;
use super::{RegisterError, Step, Target, journal};
use crate::host::Layout;
use crate::host::{NetworkRecord, files, links};
use crate::name::Mac;
use crate::network::compile::Compiled;
use crate::network::diff::keep;
use crate::network::firewall;
use crate::network::observed::bridge_mac;
use crate::network::{Applied, Network, Pending};
use std::fmt::Write;
use std::path::Path;

/// A network that is to become as `compiled`, after steps that were planned from `facts`.
pub(super) struct Work<'a> {
    pub(super) network: &'a Network,
    pub(super) compiled: &'a Compiled,
    /// The file of its definition.
    pub(super) source: &'a Path,
    pub(super) facts: &'a Facts,
    pub(super) target: &'a Target<'a>,
}

impl Work<'_> {
    /// Marks what is about to change in the record, if there is one.
    pub(super) fn begin(&self) -> Result<(), RegisterError> {
        if let Some(mut record) = self.facts.record.clone()
            && record.begin(self.compiled)
        {
            record.write(self.target.layout)?;
        }
        Ok(())
    }

    /// Takes a step. `replug` plugs guests in; whom, the verb knows.
    pub(super) fn take(
        &self,
        step: Step,
        replug: impl FnOnce() -> Result<(), RegisterError>,
    ) -> Result<(), RegisterError> {
        let (network, target) = (self.network, self.target);
        match step {
            Step::WriteFiles => write_files(self.compiled, target.layout, network.name()),
            Step::Define => self.define(),
            Step::RemoveBridge => match network.own_bridge() {
                Some(bridge) => Ok(links::remove_bridge(bridge)?),
                None => Ok(()),
            },
            Step::AddHosts => match &self.facts.added {
                Some(added) => added.tell(network, target),
                None => Ok(()),
            },
            Step::OpenFirewall => Ok(firewall::open(network, target.layout)?),
            Step::Replug => replug(),
            other => take(other, network.name(), target),
        }
    }

    /// Defines the network in libvirt, in place of the one that is there.
    fn define(&self) -> Result<(), RegisterError> {
        let Some(xml) = self.compiled.libvirt_xml() else {
            return Ok(());
        };
        let xml = in_place_of(xml, self.facts.existing.as_ref());
        self.target
            .libvirt
            .define_network(self.network.name().as_str(), &xml)
            .map_err(|error| RegisterError::of_network(error, false))
    }

    /// Puts on record that the steps were taken.
    pub(super) fn record(&self) -> Result<Applied, RegisterError> {
        let applied = Applied::new(self.network, self.compiled, self.source.to_owned());
        applied.write(self.target.layout)?;
        Ok(applied)
    }

    /// As [`Work::record`], and looks whether everything is as it should be.
    pub(super) fn record_and_verify(&self) -> Result<Applied, RegisterError> {
        let applied = self.record()?;
        verify(
            self.network,
            self.compiled,
            self.facts.added.as_ref(),
            self.target,
        )?;
        Ok(applied)
    }

    /// Keeps what a later change is compared with, and forgets what was noted for the case that the run is killed.
    pub(super) fn end(&self, applied: &Applied) -> Result<(), RegisterError> {
        let layout = self.target.layout;
        keep(self.network, layout)?;
        journal::end(&applied.name, layout)?;
        settle(applied, layout)
    }
}

/// Forgets what was to be done with the network, now that it is `applied`, and the copy of its definition, unless
/// that is all there is.
fn settle(applied: &Applied, layout: &Layout) -> Result<(), RegisterError> {
    Pending::forget(layout, &applied.name)?;
    let copy = layout.kept_definition(&applied.name);
    if applied.source != copy.named() {
        files::remove(copy.on_disk())?;
    }
    Ok(())
}

/// libvirt takes a definition of a known name only with that network's uuid, and gives its bridge another hardware
/// address, which guests would have to learn, unless the definition has the old one.
fn in_place_of(xml: &str, existing: Option<&NetworkRecord>) -> String {
    let Some(existing) = existing else {
        return xml.to_owned();
    };
    let mut identity = format!("</name>\n  <uuid>{}</uuid>", existing.uuid);
    if let Some(mac) = bridge_mac(&existing.xml).and_then(|mac| mac.parse::<Mac>().ok()) {
        let _ = write!(identity, "\n  <mac address=\"{mac}\"/>");
    }
    xml.replacen("</name>", &identity, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_keeps_its_identity_and_its_bridges_address() {
        let xml = "<network>\n  <name>n</name>\n</network>";
        let nil = uuid::Uuid::nil();
        let mut there = NetworkRecord {
            name: "n".into(),
            uuid: nil,
            active: true,
            autostart: true,
            xml: String::new(),
            live_xml: None,
        };
        let uuid = format!("<network>\n  <name>n</name>\n  <uuid>{nil}</uuid>\n</network>");
        assert_eq!(in_place_of(xml, Some(&there)), uuid);
        there.xml = "<network><name>n</name><mac address='52:54:00:00:00:09'/></network>".into();
        let mac = "</uuid>\n  <mac address=\"52:54:00:00:00:09\"/>";
        assert_eq!(in_place_of(xml, Some(&there)), uuid.replace("</uuid>", mac));
        assert_eq!(in_place_of(xml, None), xml);
    }
}
