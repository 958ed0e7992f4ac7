//! What a network's dnsmasq answers as a name server.

/// The name server of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Dns {
    /// True if the network's dnsmasq answers DNS.
    pub serve: bool,
    /// True if names outside the domain are looked up with the host's name servers.
    pub forward: bool,
}
