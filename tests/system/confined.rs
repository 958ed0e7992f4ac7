//! Our dnsmasq and libvirt's guests under AppArmor's and SELinux's policies, enforced by Debian's kernel: all works, nothing
//! is denied, and what is denied is found by `doctor` and cured by the command that it prints.

use crate::doctor::cure;
use crate::emulated::Emulated;
use crate::firewalls;
use crate::packages::Kind;

/// A network with all that dnsmasq can serve, and one that only the host's own firewall decides about.
const NETWORKS: &str = r#"mkdir -p /srv/tftp; echo the boot file >/srv/tftp/x.kpxe
cat >/etc/miniascape/networks/lab.yaml <<'END'
network:
  name: lab
  mode: nat
  bridge: virbr77
  domain: lab.internal
  ipv4: { subnet: 10.77.1.0/24 }
  ipv6: { subnet: "fd00:77::/64", ra: stateful }
  dns: { records: [ { name: gw, ip: 10.77.1.1 }, { wildcard: apps, ip: 10.77.1.20 } ] }
  dhcp:
    ranges: [ { start: 10.77.1.100, end: 10.77.1.199 } ]
    boot: { tftp: /srv/tftp, file: x.kpxe }
  hosts: [ { name: c, mac: "52:54:00:00:00:01", ip: 10.77.1.50 } ]
END
cat >/etc/miniascape/networks/open.yaml <<'END'
network:
  name: open
  mode: open
  bridge: virbr78
  domain: open.internal
  ipv4: { subnet: 10.77.2.0/24 }
  dhcp: { ranges: [ { start: 10.77.2.100, end: 10.77.2.199 } ] }
  hosts: [ { name: c, mac: "52:54:00:00:00:01", ip: 10.77.2.50 } ]
END
# client BRIDGE: a machine in a namespace of its own takes a lease, and keeps its address.
cat >/usr/local/bin/client <<'END'
#!/bin/sh
set -e
ip netns del c 2>/dev/null || :; ip netns add c
ip link add plug type veth peer name eth0 netns c
ip link set plug master "$1" up
ip netns exec c ip link set lo up
ip netns exec c ip link set eth0 address 52:54:00:00:00:01 up
exec ip netns exec c busybox udhcpc -i eth0 -n -q -t 10 -T 2 -s /usr/local/bin/leased
END
cat >/usr/local/bin/leased <<'END'
#!/bin/sh
[ "$1" != bound ] || { ip address add "$ip/24" dev eth0 && ip route add default via "$router"; }
END
chmod 755 /usr/local/bin/client /usr/local/bin/leased
"#;

/// What dnsmasq does in its life.
const SERVED: &str = r#"set -x
miniascape net status lab
client virbr77
in='ip netns exec c'
$in busybox nslookup gw.lab.internal 10.77.1.1 | grep 10.77.1.1
$in busybox nslookup a.apps.lab.internal 10.77.1.1 | grep 10.77.1.20
if grep -q tftp: /etc/miniascape/networks/lab.yaml; then
    $in busybox tftp -g -r x.kpxe -l /root/x.kpxe 10.77.1.1; cmp /root/x.kpxe /srv/tftp/x.kpxe
fi
miniascape lease list lab | grep 52:54:00:00:00:01
# A change that the running dnsmasq reads, and one that starts it anew.
pid=$(systemctl show --value --property MainPID miniascape-dnsmasq@lab)
sed -i 's/name: gw, ip: 10.77.1.1 /name: gw, ip: 10.77.1.1 }, { name: new, ip: 10.77.1.9 /' /etc/miniascape/networks/lab.yaml
miniascape net update lab
[ "$pid" = "$(systemctl show --value --property MainPID miniascape-dnsmasq@lab)" ]
$in busybox nslookup new.lab.internal 10.77.1.1 | grep 10.77.1.9
systemctl reload miniascape-dnsmasq@lab
sed -i 's/10.77.1.199/10.77.1.150/' /etc/miniascape/networks/lab.yaml
miniascape net update lab
miniascape lease release lab 10.77.1.50
client virbr77
"#;

fn machine(name: &'static str, words: &str) -> Emulated {
    let machine = Emulated::boot(name, words, &Kind::Deb.new_files())
        .unwrap_or_else(|error| panic!("no machine: {error}"));
    machine.sh("dpkg -i /srv/brought/miniascape_*.deb");
    machine.sh(NETWORKS);
    machine
}

pub(crate) fn apparmor_and_firewalls_are_found_and_cured() {
    let machine = machine("apparmor", "");
    machine.sh("grep -q Y /sys/module/apparmor/parameters/enabled");
    // As its first lines say.
    machine.sh("sed -n 's/^#   //p' /usr/share/miniascape/apparmor/miniascape-dnsmasq | bash -ex");
    machine.sh("miniascape net register lab; miniascape net register open");
    let under = machine.sh("for net in lab open; do cat /proc/$(systemctl show --value --property MainPID miniascape-dnsmasq@$net)/attr/current; done");
    assert_eq!(
        under.stdout,
        "miniascape-dnsmasq (enforce)\nminiascape-dnsmasq (enforce)\n"
    );
    machine.sh(SERVED);
    // No denial of anybody's.
    let denied = machine.try_sh("dmesg | grep 'apparmor=\"DENIED\"'");
    assert_eq!(denied.stdout, "");

    let fetch = "ip netns exec c busybox tftp -g -r y.kpxe -l /root/y.kpxe 10.77.1.1";
    machine.sh(&format!(
        "echo elsewhere >/opt/y.kpxe; ln -s /opt/y.kpxe /srv/tftp/; ! {fetch}"
    ));
    let told = cure(&machine, "denials");
    assert!(
        told.starts_with("denials /opt/y.kpxe: AppArmor's profile miniascape-dnsmasq keeps dnsmasq from it"),
        "{told}"
    );
    machine.sh(&format!("{fetch}; cmp /root/y.kpxe /opt/y.kpxe"));

    machine.sh("miniascape net unregister lab");
    firewalls::docker_and_firewalld(&machine);
}

pub(crate) fn selinux_is_found_and_cured() {
    let machine = machine("selinux", "security=selinux");
    // Debian's policy lets nobody label boot files for dnsmasq.
    machine.sh("sed -i '/boot: {/d' /etc/miniascape/networks/lab.yaml");
    // Debian's systemd does not boot where its policy is enforced; from here on it is.
    machine.sh("systemctl start auditd; setenforce 1");

    let refused = machine.try_sh("miniascape net register lab");
    refused.expect_code(1);
    let told = cure(&machine, "denials");
    assert!(
        told.contains("SELinux keeps dnsmasq") && told.contains("semodule -i"),
        "{told}"
    );
    machine.sh("miniascape net register lab");
    let under = machine.sh("cat /proc/$(systemctl show --value --property MainPID miniascape-dnsmasq@lab)/attr/current; getenforce");
    assert_eq!(
        under.stdout.replace('\0', "\n"),
        "system_u:system_r:dnsmasq_t:s0\nEnforcing\n"
    );
    machine.sh(": >/var/log/audit/audit.log");
    machine.sh(SERVED);
    let denied = machine
        .try_sh("grep 'avc: *denied.*\\(dnsmasq\\|miniascape\\)' /var/log/audit/audit.log | grep -v execmem");
    assert_eq!(denied.stdout, "");

    // From a backup, with the label that it had there.
    machine.sh("cd /var/lib/miniascape/networks/lab; cp addn-hosts /root/; mv /root/addn-hosts .; systemctl reload miniascape-dnsmasq@lab");
    let told = cure(&machine, "denials");
    assert!(
        told.contains("restorecon -RFv /var/lib/miniascape/networks/lab/addn-hosts"),
        "{told}"
    );
    machine.sh("systemctl reload miniascape-dnsmasq@lab; sleep 2; ip netns exec c busybox nslookup new.lab.internal 10.77.1.1 | grep 10.77.1.9");
}
