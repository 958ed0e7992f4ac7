//! Network interfaces of this host, through ip(8) and sysfs.

use super::command::{CommandError, Program};
use crate::name::InterfaceName;
use fs_err as fs;
use std::path::{Path, PathBuf};

/// Puts the interface `port`, a tap for instance, on a bridge.
pub fn set_master(port: &InterfaceName, bridge: &InterfaceName) -> Result<(), CommandError> {
    let ip = Program::find("ip", "iproute2")?;
    ip.run()
        .args(["link", "set", "dev", port.as_str(), "master", bridge.as_str()])
        .output()
        .map(drop)
}

/// The bridge that an interface is in.
pub fn master(port: &InterfaceName) -> Option<String> {
    let link = fs::read_link(directory(port).join("master")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn directory(interface: &InterfaceName) -> PathBuf {
    Path::new("/sys/class/net").join(interface.as_str())
}

/// True if the host has an interface of this name.
pub fn exists(interface: &InterfaceName) -> bool {
    directory(interface).exists()
}

/// True if the interface is a port of a bridge, or of anything like one.
pub fn has_master(port: &InterfaceName) -> bool {
    directory(port).join("master").exists()
}

/// The hardware address of a bridge without any port; `None` if there is no such bridge.
pub fn idle_bridge(bridge: &InterfaceName) -> Option<String> {
    let directory = directory(bridge);
    let mut ports = fs::read_dir(directory.join("brif")).ok()?;
    let address = fs::read_to_string(directory.join("address")).ok()?;
    ports.next().is_none().then(|| address.trim().to_owned())
}

/// Removes a bridge.
pub fn remove_bridge(bridge: &InterfaceName) -> Result<(), CommandError> {
    let ip = Program::find("ip", "iproute2")?;
    ip.run()
        .args(["link", "delete", "dev", bridge.as_str(), "type", "bridge"])
        .output()
        .map(drop)
}
