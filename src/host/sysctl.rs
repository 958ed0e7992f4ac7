//! Switches of the running kernel (sysctl(8)), read only: what changes them is the host's own business.

use fs_err as fs;
use std::path::Path;

/// True if the switch at `path` below `/proc/sys`, as in `net/ipv4/ip_forward`, is there and not zero.
pub fn is_on(path: &str) -> bool {
    fs::read_to_string(Path::new("/proc/sys").join(path)).is_ok_and(|text| text.trim() != "0")
}

/// The command that switches it on: the form with slashes, since names of interfaces may have dots.
pub fn switch_on(path: &str) -> String {
    let name = if path.contains('.') {
        path.to_owned()
    } else {
        path.replace('/', ".")
    };
    format!("sysctl -w {name}=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_and_named() {
        assert!(!is_on("net/ipv4/no_such_switch"));
        assert!(is_on("kernel/pid_max"));
        assert_eq!(
            switch_on("net/ipv4/ip_forward"),
            "sysctl -w net.ipv4.ip_forward=1"
        );
        let dotted = "net/ipv4/conf/eth0.5/proxy_arp";
        assert_eq!(switch_on(dotted), "sysctl -w net/ipv4/conf/eth0.5/proxy_arp=1");
    }
}
