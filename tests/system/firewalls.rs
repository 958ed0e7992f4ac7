//! Docker and firewalld, which really run: what they stop is found by `doctor`, and its commands let it through.

use crate::doctor::cure;
use crate::emulated::Emulated;

/// Somebody outside, whom guests of the network `open` can reach by this host.
const OUTSIDE: &str = "ip netns add out; ip link add out0 type veth peer name eth0 netns out
    ip address add 10.99.0.1/24 dev out0; ip link set out0 up
    ip netns exec out ip address add 10.99.0.2/24 dev eth0; ip netns exec out ip link set eth0 up
    ip netns exec out ip route add default via 10.99.0.1";
const REACHED: &str = "ip netns exec c busybox ping -c 1 -W 5 10.99.0.2";
const LEASED: &str = "client virbr78";

/// Needs the network `open`.
pub(crate) fn docker_and_firewalld(machine: &Emulated) {
    machine.sh(OUTSIDE);
    machine.sh(&format!("{LEASED}; {REACHED}"));

    // As at a boot where Docker comes before libvirt: it switches forwarding on, and takes it for its own.
    machine.sh(&format!(
        "sysctl -q net.ipv4.ip_forward=0; systemctl start docker; ! {REACHED}"
    ));
    let told = cure(machine, "firewall");
    assert!(
        told.starts_with("firewall open: Docker has set the policy of iptables' chain FORWARD to DROP")
            && told.contains("iptables -I DOCKER-USER -i virbr78"),
        "{told}"
    );
    machine.sh(REACHED);
    machine.sh("systemctl stop docker.service docker.socket containerd.service; iptables -F DOCKER-USER; iptables -P FORWARD ACCEPT");

    // It says that it is there before its rules are.
    machine.sh(&format!(
        "systemctl start firewalld; for try in 1 2 3 4 5 6; do sleep 5; {LEASED} || exit 0; done; exit 1"
    ));
    let told = cure(machine, "firewall");
    assert!(
        told.contains("firewalld has virbr78 in the zone public, where nobody may ask for dhcp and dns"),
        "{told}"
    );
    machine.sh(&format!("{LEASED}; {REACHED}"));
}
