//! Machines that are no guests: a network namespace each, behind a veth on a network's bridge, with busybox's DHCP and
//! TFTP clients in it. They take a moment, where a guest takes seconds.

use crate::support::{Host, Output, Running, wait_until};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const SCRIPT: &str = "/root/dhcp-script";

/// A machine on a bridge.
pub(crate) struct Client<'h> {
    host: &'h Host,
    name: &'static str,
    holder: Running,
}

impl<'h> Client<'h> {
    /// Plugs a machine into `bridge`; `name` is that of the host's end of its cable.
    pub(crate) fn plug(host: &'h Host, bridge: &str, name: &'static str) -> Self {
        // What DHCP said is printed, and the address taken.
        host.write_file(
            SCRIPT,
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nenv | sed 's/^/LEASE /'\n\
             ip addr flush dev eth0 scope global\nip addr add \"$ip/$mask\" dev eth0\n",
        );
        host.check(["chmod", "755", SCRIPT]);
        let mut holder = host.spawn(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 3600"]);
        holder.wait_line(PATIENCE, |line| line == "ready");
        let client = Self { host, name, holder };
        let pid = client.pid();
        host.check([
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ]);
        host.check(["ip", "link", "set", name, "master", bridge, "up"]);
        client.check(&["ip", "link", "set", "eth0", "up"]);
        // The bridge listens for loops before it lets anything through.
        let state = format!("/sys/class/net/{name}/brport/state");
        wait_until("the bridge to forward", PATIENCE, || {
            host.read_file(&state).trim() == "3"
        });
        client
    }

    fn pid(&self) -> String {
        self.holder
            .pid_inside()
            .expect("the namespace is held")
            .to_string()
    }

    /// Runs a command in it.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let target = format!("--target={}", self.pid());
        let fixed = ["nsenter", &target, "--net"];
        self.host.run(fixed.iter().chain(words))
    }

    /// As [`Self::run`]; it has to succeed.
    pub(crate) fn check(&self, words: &[&str]) -> Output {
        let output = self.run(words);
        assert!(output.ok(), "{output}");
        output
    }

    /// Asks for an address with the hardware address `mac` and further options of udhcpc, and takes it; what udhcpc
    /// gives its script, or nothing if nobody offered one.
    pub(crate) fn dhcp(&self, mac: &str, options: &[&str]) -> Option<BTreeMap<String, String>> {
        self.check(&["ip", "link", "set", "eth0", "address", mac]);
        let fixed = [
            "busybox", "udhcpc", "-f", "-q", "-n", "-t", "3", "-T", "1", "-A", "1", "-i", "eth0", "-s",
            SCRIPT,
        ];
        let words: Vec<&str> = fixed.iter().chain(options).copied().collect();
        let output = self.run(&words);
        let lines = output.stdout.lines();
        let told = lines.filter_map(|line| line.strip_prefix("LEASE ")?.split_once('='));
        let told: BTreeMap<String, String> = told.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(output.ok(), !told.is_empty(), "{output}");
        (!told.is_empty()).then_some(told)
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.host.run(["ip", "link", "delete", self.name]);
    }
}
