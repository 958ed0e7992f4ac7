//! Signals and the events made of them.
//!
//! dnsmasq repeats every lease as `DhcpLeaseUpdated` when it re-reads its files, and twice when it starts, so a signal
//! is news only if something in the lease differs from what is known. Signals carry no expiry time: it is looked up
//! in the lease file when a signal has come, never without one.

use super::{Lease, client_name};
use crate::name::Mac;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Which signal came (dnsmasq's `dbus/DBus-interface`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    /// `DhcpLeaseAdded`
    Added,
    /// `DhcpLeaseUpdated`
    Updated,
    /// `DhcpLeaseDeleted`
    Deleted,
}

/// A lease signal, its three strings typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Which signal.
    pub kind: SignalKind,
    /// The lease's address.
    pub ip: IpAddr,
    /// The client; absent for DHCPv6.
    pub mac: Option<Mac>,
    /// The client's name, safe to show.
    pub name: Option<String>,
}

impl Signal {
    /// Types a signal's member name and arguments (address, hardware address, host name); `None` if they are not a
    /// lease signal's.
    pub fn new(member: &str, ip: &str, client: &str, name: &str) -> Option<Self> {
        let kind = match member {
            "DhcpLeaseAdded" => SignalKind::Added,
            "DhcpLeaseUpdated" => SignalKind::Updated,
            "DhcpLeaseDeleted" => SignalKind::Deleted,
            _ => return None,
        };
        let ip: IpAddr = ip.parse().ok()?;
        let mac = if ip.is_ipv4() { client.parse().ok() } else { None };
        Some(Self {
            kind,
            ip,
            mac,
            name: client_name(name),
        })
    }
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It was there when watching began (only with `--initial`).
    Present,
    /// It is new.
    Added,
    /// Its client, name or expiry changed.
    Updated,
    /// It ended.
    Deleted,
}

/// Something that happened to a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened.
    pub event: EventKind,
    /// The lease as it is now; a deleted one as it was.
    #[serde(flatten)]
    pub lease: Lease,
}

/// What is known of one network's leases, by address.
#[derive(Debug, Default)]
pub struct Tracker {
    known: BTreeMap<IpAddr, Lease>,
}

impl Tracker {
    /// A tracker that knows `leases`.
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        Self {
            known: leases.into_iter().map(|lease| (lease.ip, lease)).collect(),
        }
    }

    /// The known leases as events of kind [`EventKind::Present`], by address.
    pub fn present(&self) -> impl Iterator<Item = Event> + '_ {
        self.known.values().map(|lease| Event {
            event: EventKind::Present,
            lease: lease.clone(),
        })
    }

    /// Forgets what is known of the leases without end that `macs` hold. Renewing such a lease changes nothing in it, so
    /// the signal for that would pass for a repeat.
    pub fn forget_endless(&mut self, macs: &[Mac]) {
        self.known
            .retain(|_, lease| lease.expires.is_some() || !lease.mac.is_some_and(|mac| macs.contains(&mac)));
    }

    /// Takes a signal in; an event if it is news. `on_file` are the leases in the file, read after the signal came,
    /// for the expiry time.
    pub fn observe(&mut self, signal: Signal, on_file: &[Lease]) -> Option<Event> {
        if signal.kind == SignalKind::Deleted {
            let lease = self.known.remove(&signal.ip)?;
            return Some(Event {
                event: EventKind::Deleted,
                lease,
            });
        }
        let expires = on_file
            .iter()
            .find(|l| l.ip == signal.ip && l.mac == signal.mac)
            .and_then(|l| l.expires);
        let lease = Lease {
            ip: signal.ip,
            mac: signal.mac,
            name: signal.name,
            expires,
        };
        match self.known.insert(lease.ip, lease.clone()) {
            None => Some(Event {
                event: EventKind::Added,
                lease,
            }),
            Some(before) if same(&before, &lease) => None,
            Some(_) => Some(Event {
                event: EventKind::Updated,
                lease,
            }),
        }
    }
}

/// True if nothing differs. The file has the bare name, a signal the name with its domain: equal names may differ in
/// that much.
fn same(a: &Lease, b: &Lease) -> bool {
    let label = |lease: &Lease| {
        lease
            .name
            .as_deref()
            .map(|n| n.split('.').next().unwrap_or_default().to_owned())
    };
    a.ip == b.ip && a.mac == b.mac && a.expires == b.expires && label(a) == label(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(member: &str, name: &str) -> Signal {
        Signal::new(member, "10.0.0.9", "52:54:00:00:00:09", name).unwrap()
    }

    fn lease(name: &str, expires: u64) -> Lease {
        let mac = "52:54:00:00:00:09".parse().ok();
        Lease {
            ip: "10.0.0.9".parse().unwrap(),
            mac,
            name: Some(name.into()),
            expires: Some(expires),
        }
    }

    #[test]
    fn repeats_are_dropped_and_news_passes() {
        let mut tracker = Tracker::new([]);
        let file = [lease("g", 100)];
        let added = tracker
            .observe(signal("DhcpLeaseAdded", "g.example"), &file)
            .unwrap();
        assert_eq!((added.event, added.lease.expires), (EventKind::Added, Some(100)));
        assert_eq!(
            tracker.observe(signal("DhcpLeaseUpdated", "g.example"), &file),
            None
        );
        let renewed = tracker
            .observe(signal("DhcpLeaseUpdated", "g.example"), &[lease("g", 200)])
            .unwrap();
        assert_eq!(renewed.event, EventKind::Updated);
        let gone = tracker
            .observe(signal("DhcpLeaseDeleted", "g.example"), &[])
            .unwrap();
        assert_eq!(gone.event, EventKind::Deleted);
        assert_eq!(
            tracker.observe(signal("DhcpLeaseDeleted", "g.example"), &[]),
            None
        );
    }

    #[test]
    fn what_the_file_told_first_is_no_news() {
        let mut tracker = Tracker::new([lease("g", 100)]);
        assert_eq!(
            tracker.observe(signal("DhcpLeaseUpdated", "g.example"), &[lease("g", 100)]),
            None
        );
        assert_eq!(tracker.present().count(), 1);
    }

    #[test]
    fn the_renewal_of_an_endless_lease_counts_where_it_is_waited_for() {
        let endless = Lease {
            expires: None,
            ..lease("g", 0)
        };
        let mac = endless.mac.unwrap();
        let renew = |tracker: &mut Tracker| {
            tracker.observe(
                signal("DhcpLeaseUpdated", "g.example"),
                std::slice::from_ref(&endless),
            )
        };
        let mut tracker = Tracker::new([endless.clone()]);
        assert_eq!(renew(&mut tracker), None);
        tracker.forget_endless(&["52:54:00:00:00:0a".parse().unwrap()]);
        assert_eq!(renew(&mut tracker), None);
        tracker.forget_endless(&[mac]);
        assert_eq!(renew(&mut tracker).unwrap().lease.ip, endless.ip);
        // One with an end shows its renewal by a later end.
        let mut tracker = Tracker::new([lease("g", 100)]);
        tracker.forget_endless(&[mac]);
        assert_eq!(tracker.present().count(), 1);
    }

    #[test]
    fn foreign_signals_are_not_leases() {
        assert_eq!(Signal::new("Up", "10.0.0.9", "", ""), None);
        assert_eq!(Signal::new("DhcpLeaseAdded", "not an address", "", ""), None);
    }
}
