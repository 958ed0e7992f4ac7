//! The leases of networks that libvirt serves with a dnsmasq of its own.

use super::{Libvirt, LibvirtError};
use std::ffi::{CStr, c_char, c_void};
use std::net::IpAddr;
use std::ptr;
use virt::error::Error;
use virt::network::Network;
use virt::sys;

/// A lease as libvirt tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLease {
    /// The address handed out.
    pub ip: IpAddr,
    /// The client's hardware address, as text.
    pub mac: Option<String>,
    /// What the client called itself.
    pub hostname: Option<String>,
    /// Its client identifier: hexadecimal groups.
    pub client_id: Option<String>,
    /// When it ends, in seconds since 1970; 0 for a lease without end.
    pub expires: u64,
}

impl Libvirt {
    /// The leases that libvirt's own dnsmasq has given in the network.
    pub fn network_leases(&self, name: &str) -> Result<Vec<NetworkLease>, LibvirtError> {
        self.with_network(name, "read the leases of", leases)
    }
}

fn leases(network: &Network) -> Result<Vec<NetworkLease>, Error> {
    let mut list: *mut sys::virNetworkDHCPLeasePtr = ptr::null_mut();
    // SAFETY: the network outlives the call, no hardware address means all, and `list` may be written to.
    let count = unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), ptr::null(), &raw mut list, 0) };
    let Ok(count) = usize::try_from(count) else {
        return Err(Error::last_error());
    };
    let mut all = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: libvirt has made a list of `count` leases, which are ours until they are freed, here and once.
        unsafe {
            let lease = *list.add(index);
            all.extend(read(&*lease));
            sys::virNetworkDHCPLeaseFree(lease);
        }
    }
    // SAFETY: the list itself is malloc's, and ours to free.
    unsafe { free(list.cast()) };
    Ok(all)
}

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// `None` where there is no address to be read.
fn read(lease: &sys::virNetworkDHCPLease) -> Option<NetworkLease> {
    Some(NetworkLease {
        ip: text(lease.ipaddr)?.parse().ok()?,
        mac: text(lease.mac),
        hostname: text(lease.hostname),
        client_id: text(lease.clientid),
        expires: u64::try_from(lease.expirytime).unwrap_or(0),
    })
}

fn text(field: *const c_char) -> Option<String> {
    if field.is_null() {
        return None;
    }
    // SAFETY: libvirt's strings end with a zero, and live as long as the lease that they are read from.
    let text = unsafe { CStr::from_ptr(field) };
    Some(text.to_string_lossy().into_owned())
}
