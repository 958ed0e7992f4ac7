//! Network interfaces of this host, through ip(8).

use super::command::{CommandError, Program};
use crate::name::InterfaceName;

/// Puts the interface `port`, a tap for instance, on a bridge.
pub fn set_master(port: &InterfaceName, bridge: &InterfaceName) -> Result<(), CommandError> {
    let ip = Program::find("ip", "iproute2")?;
    ip.run()
        .args(["link", "set", "dev", port.as_str(), "master", bridge.as_str()])
        .output()
        .map(drop)
}
