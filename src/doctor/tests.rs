//! Hosts made up of facts, and what is found on them.

use super::facts::{Denied, Facts, Filter, Net, Space};
use super::{Check, Finding, Report, judge};
use crate::host::denials::{Denial, Module};
use crate::host::files::FileSystem;
use crate::host::listeners::{Listener, Process, Protocol};
use crate::host::packet_filter::Zone;
use crate::host::{Daemons, Distribution};
use crate::lease::Lease;
use crate::network::{Needs, Owner, Status, read_bytes};
use std::collections::HashSet;

const NOW: u64 = 1_700_000_000;
const RULES: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-A FORWARD -j LIBVIRT_FWI\n-A FORWARD -j LIBVIRT_FWO\n\
    -A LIBVIRT_FWI -d 10.9.0.0/24 -o virbr9 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
    -A LIBVIRT_FWO -s 10.9.0.0/24 -i virbr9 -j ACCEPT\n";
const NAT: &str = "-A LIBVIRT_PRT -s 10.9.0.0/24 ! -d 10.9.0.0/24 -j MASQUERADE\n";

/// The network n, of that mode, active, with its dnsmasq as process 9.
fn net(mode: &str) -> Net {
    let (gateway, dhcp) = match mode {
        "bridge" => (", gateway: 10.9.0.1", "serve: true"),
        _ => ("", ""),
    };
    let text = format!(
        "network: {{ name: n, domain: n.internal, mode: {mode}, bridge: virbr9, ipv4: {{ subnet: 10.9.0.0/24{gateway} }}, dhcp: {{ {dhcp} }} }}"
    );
    let needs = Needs::of(&read_bytes("n.yaml", text.as_bytes()).unwrap().0);
    Net {
        status: Status {
            name: "n".parse().unwrap(),
            registered: true,
            pending: None,
            in_libvirt: true,
            active: true,
            autostart: true,
            owner: Some(Owner::Miniascape),
            bridge: Some("virbr9".to_owned()),
            wants_dnsmasq: true,
            dnsmasq_pid: Some(9),
            leases: 0,
            guests: Vec::new(),
            problems: Vec::new(),
            drift: Vec::new(),
            unmet: Vec::new(),
        },
        needs: Some(needs),
        serves_dns: true,
        on_bus: Some(true),
        zone: None,
        leases: Vec::new(),
        reserved: HashSet::new(),
        heard: Vec::new(),
    }
}

fn listener(protocol: Protocol, address: &str, pid: u32, unit: Option<&str>) -> Listener {
    Listener {
        protocol,
        address: address.parse().unwrap(),
        process: Some(Process {
            pid,
            name: "named".to_owned(),
            unit: unit.map(str::to_owned),
        }),
    }
}

/// A host on which nothing is wrong, with one network.
fn well() -> Facts {
    Facts {
        root: true,
        daemons: Daemons {
            systemd: true,
            distribution: Distribution::Debian,
            installed: true,
            modular: false,
        },
        libvirt: None,
        networks: vec![net("nat")],
        unreadable: Vec::new(),
        damaged: None,
        filter: Filter {
            v4: Some(RULES.to_owned()),
            nat: Some(NAT.to_owned()),
            v6: Some(String::new()),
            ruleset: Some(serde_json::json!({ "nftables": [] })),
            bridged: false,
            libvirt_zone: true,
        },
        name_servers: Some(vec![
            listener(Protocol::Udp, "10.9.0.1", 9, None),
            listener(Protocol::Tcp, "10.9.0.1", 9, None),
            listener(Protocol::Udp, "127.0.0.53", 5, Some("systemd-resolved.service")),
        ]),
        policy: true,
        denied: Some(Vec::new()),
        now: NOW,
        failed: Ok(Vec::new()),
        no_daemon: false,
        kvm: None,
        kvm_untried: None,
        pending: Vec::new(),
        spaces: Vec::new(),
        macs: Some(HashSet::new()),
    }
}

/// The only finding.
#[track_caller]
fn only(facts: &Facts) -> Finding {
    let Report { findings, unseen } = judge(facts);
    assert!(
        findings.len() == 1 && unseen.is_empty(),
        "{findings:#?} {unseen:?}"
    );
    findings.into_iter().next().unwrap()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(judge(&well()), Report::default());
}

#[test]
fn a_libvirt_that_is_away_is_started_or_installed() {
    for (systemd, modular, there, command) in [
        (true, false, true, "systemctl enable --now libvirtd.service"),
        (
            true,
            true,
            true,
            "systemctl enable --now virtqemud.socket virtnetworkd.socket virtstoraged.socket",
        ),
        (false, false, true, "libvirtd --daemon"),
        (
            true,
            false,
            false,
            "zypper install libvirt-daemon-qemu libvirt-client qemu-x86",
        ),
    ] {
        let mut facts = well();
        facts.libvirt = Some(("no socket".to_owned(), false));
        facts.daemons = Daemons {
            systemd,
            modular,
            installed: there,
            distribution: Distribution::Suse,
        };
        assert_eq!(only(&facts).command, command);
    }
    // Where we are not let in, everything else may still be well.
    let mut facts = well();
    facts.libvirt = Some(("denied".to_owned(), true));
    let report = judge(&facts);
    assert!(report.findings.is_empty() && report.unseen[0].check == Check::Libvirt);
}

#[test]
fn units_that_failed_and_a_missing_policy_are_named() {
    let mut facts = well();
    facts.failed = Ok(vec!["miniascape-dnsmasq@n.service".to_owned()]);
    let unit = "miniascape-dnsmasq@n.service";
    assert_eq!(
        only(&facts).command,
        format!("systemctl reset-failed {unit} && systemctl restart {unit}")
    );
    let mut facts = well();
    facts.policy = false;
    // Somebody has written another policy.
    assert!(judge(&facts).findings.is_empty());
    facts.networks[0].on_bus = Some(false);
    assert_eq!(only(&facts).check, Check::BusPolicy);
}

#[test]
fn who_has_the_port_of_the_name_server_gives_way() {
    let mut facts = well();
    let with = |facts: &mut Facts, other: Listener| {
        facts.networks[0].status.dnsmasq_pid = None;
        facts.name_servers = Some(vec![other]);
    };
    with(
        &mut facts,
        listener(Protocol::Tcp, "0.0.0.0", 77, Some("named.service")),
    );
    let finding = only(&facts);
    assert_eq!(
        (finding.check, finding.command.as_str()),
        (
            Check::Port53,
            "systemctl disable --now named.service && miniascape net update n"
        )
    );
    assert!(finding.found.contains("named (process 77)"), "{finding:?}");
    with(
        &mut facts,
        listener(Protocol::Udp, "::", 77, Some("dnsmasq.service")),
    );
    assert_eq!(
        only(&facts).command,
        r"printf 'bind-dynamic\nexcept-interface=virbr9\n' >/etc/dnsmasq.d/miniascape-virbr9.conf && systemctl restart dnsmasq.service && miniascape net update n"
    );
    facts.daemons.systemd = false;
    assert!(only(&facts).command.starts_with("kill 77 && while kill -0 77"));
    // At other addresses, or of a network that does not answer questions, or beside ours, it is in nobody's way.
    with(&mut facts, listener(Protocol::Udp, "10.9.0.2", 77, None));
    assert!(judge(&facts).findings.is_empty());
    with(&mut facts, listener(Protocol::Udp, "10.9.0.1", 77, None));
    facts.networks[0].serves_dns = false;
    assert!(judge(&facts).findings.is_empty());
    let mut facts = well();
    let others = listener(Protocol::Udp, "0.0.0.0", 77, None);
    facts.name_servers.as_mut().unwrap().push(others);
    assert!(judge(&facts).findings.is_empty());
}

#[test]
fn docker_and_others_are_told_to_let_guests_through() {
    // Docker's policy harms those for whom libvirt makes no rules of its own.
    let docker = RULES.replace("FORWARD ACCEPT", "FORWARD DROP") + "-A FORWARD -j DOCKER-USER\n";
    let mut facts = well();
    facts.filter.v4 = Some(docker.clone());
    assert!(judge(&facts).findings.is_empty());
    let others = docker.replace("virbr9", "virbr0");
    facts.networks = vec![net("open")];
    facts.filter.v4 = Some(others);
    let finding = only(&facts);
    assert_eq!(
        finding.command,
        "iptables -I DOCKER-USER -i virbr9 -j ACCEPT && iptables -I DOCKER-USER -o virbr9 -j ACCEPT"
    );
    assert!(
        finding
            .found
            .starts_with("Docker has set the policy of iptables' chain FORWARD to DROP")
    );
    facts.filter.v4 = Some(docker.replace("DOCKER-USER", "X").replace("virbr9", "virbr0"));
    assert!(only(&facts).command.starts_with("iptables -I FORWARD -i virbr9"));
    // Within a bridge of the host's own, only where iptables is asked about that.
    facts.networks = vec![net("bridge")];
    assert!(judge(&facts).findings.is_empty());
    facts.filter.bridged = true;
    assert_eq!(
        only(&facts).command,
        "iptables -I FORWARD -i virbr9 -o virbr9 -j ACCEPT"
    );
    // libvirt's rules in nftables do not help against a drop in iptables.
    let mut facts = well();
    let rule = |table: &str| serde_json::json!({ "rule": { "table": table, "expr": [{ "match": { "right": "virbr9" } }] } });
    facts.filter.ruleset = Some(serde_json::json!({ "nftables": [rule("libvirt_network")] }));
    facts.filter.v4 = Some("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n".to_owned());
    assert_eq!(
        only(&facts).command,
        "iptables -I DOCKER-USER -i virbr9 -j ACCEPT && \
         iptables -I DOCKER-USER -o virbr9 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    );
}

#[test]
fn flushed_rules_come_back_from_libvirt() {
    for (v4, nat) in [("-P FORWARD ACCEPT\n", NAT), (RULES, "-P POSTROUTING ACCEPT\n")] {
        let mut facts = well();
        (facts.filter.v4, facts.filter.nat) = (Some(v4.to_owned()), Some(nat.to_owned()));
        assert_eq!(only(&facts).command, "systemctl restart libvirtd");
        facts.daemons.systemd = false;
        assert!(only(&facts).command.ends_with("&& libvirtd --daemon"));
    }
}

#[test]
fn other_tables_and_zones_are_opened() {
    let mut facts = well();
    let chain = |hook: &str| serde_json::json!({ "chain": { "family": "inet", "table": "mine", "name": hook, "hook": hook, "policy": "drop" } });
    facts.filter.ruleset = Some(serde_json::json!({ "nftables": [chain("forward")] }));
    assert_eq!(
        only(&facts).command,
        "nft insert rule inet mine forward 'iifname \"virbr9\" accept' && \
         nft insert rule inet mine forward 'oifname \"virbr9\" ct state established,related accept'"
    );
    facts.filter.ruleset = Some(serde_json::json!({ "nftables": [chain("input")] }));
    assert!(only(&facts).found.contains("cannot ask for addresses"));
    facts.filter.ruleset = None;
    facts.networks[0].zone = Some(Zone {
        name: "public".to_owned(),
        closed: vec!["dhcp", "dns"],
    });
    assert_eq!(
        only(&facts).command,
        "firewall-cmd --permanent --zone=libvirt --change-interface=virbr9 && firewall-cmd --reload"
    );
    facts.filter.libvirt_zone = false;
    assert!(only(&facts).command.contains("--zone=public --add-service=dhcp"));
    facts.networks[0].zone = None;
    facts.filter.v4 = Some(RULES.replace("INPUT ACCEPT", "INPUT DROP"));
    assert!(
        only(&facts)
            .command
            .starts_with("iptables -I INPUT -i virbr9 -p udp -m multiport --dports 53,67")
    );
}

#[test]
fn leases_of_nobody_are_released() {
    let mac = "52:54:00:00:00:01".parse().unwrap();
    let lease = Lease {
        ip: "10.9.0.77".parse().unwrap(),
        mac: Some(mac),
        name: None,
        expires: Some(NOW + 60),
    };
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = well();
        facts.networks[0].leases = vec![lease.clone()];
        change(&mut facts);
        judge(&facts).findings
    };
    assert_eq!(with(&|_| {})[0].command, "miniascape lease release n 10.9.0.77");
    assert!(with(&|facts| facts.networks[0].heard.push(mac)).is_empty());
    assert!(with(&|facts| facts.networks[0].reserved.extend([mac])).is_empty());
    assert!(with(&|facts| facts.macs = Some(HashSet::from([mac]))).is_empty());
    assert!(with(&|facts| facts.macs = None).is_empty());
    assert!(with(&|facts| facts.now = NOW + 61).is_empty());
}

#[test]
fn what_confinement_denies_about_our_files_is_allowed() {
    let denied = |module: Module, program: &str, file: &str| Denied {
        denial: Denial {
            time: (NOW - 60) * 1000,
            module,
            program: program.to_owned(),
            file: file.to_owned(),
            inode: None,
            wanted: "r".to_owned(),
            permissive: false,
        },
        changed: Some((NOW - 60) * 1000 - 1),
        allowed: false,
    };
    let image = "/var/lib/libvirt/images/miniascape/guests/g/vda.qcow2";
    let apparmor = |profile: &str| Module::AppArmor(profile.to_owned());
    let mut facts = well();
    let mut found = |one: Denied| {
        facts.denied = Some(vec![one]);
        let mut commands = judge(&facts).findings.into_iter().map(|finding| finding.command);
        commands.next().unwrap_or_default()
    };
    assert_eq!(
        found(denied(apparmor("libvirt-x"), "qemu", image)),
        format!(
            "mkdir -p /etc/apparmor.d/local/abstractions && echo '\"{image}\" r,' >>/etc/apparmor.d/local/abstractions/libvirt-qemu \
             && apparmor_parser -r /etc/apparmor.d/libvirt/libvirt-x"
        )
    );
    assert!(
        found(denied(
            apparmor("/usr/sbin/dnsmasq"),
            "dnsmasq",
            "/var/lib/miniascape/networks/n/leases"
        ))
        .ends_with(
            ">>/etc/apparmor.d/local/usr.sbin.dnsmasq && apparmor_parser -r /etc/apparmor.d/usr.sbin.dnsmasq"
        )
    );
    assert_eq!(found(denied(apparmor("libvirt-x"), "qemu", "/srv/other")), "");
    let mut old = denied(apparmor("libvirt-x"), "qemu", image);
    old.denial.time = (NOW - 100_000) * 1000;
    assert_eq!(found(old), "");
    let mut done = denied(apparmor("libvirt-x"), "qemu", image);
    done.allowed = true;
    assert_eq!(found(done), "");
    let selinux = || Module::SELinux("system_u:system_r:svirt_t:s0:c1,c2".to_owned());
    assert_eq!(
        found(denied(selinux(), "qemu-system-x86", image)),
        format!("restorecon -RFv {image}")
    );
    // A name that is not among our files, or is gone.
    assert_eq!(found(denied(selinux(), "dnsmasq", "leases")), "");
    let mut labelled = denied(selinux(), "qemu-system-x86", image);
    labelled.changed = Some((NOW - 60) * 1000 + 1);
    assert_eq!(found(labelled), "");
    let leases = denied(selinux(), "dnsmasq", "/var/lib/miniascape/networks/n/leases");
    facts.denied = Some(vec![leases]);
    assert!(only(&facts).command.contains("semodule -i miniascape.pp"));
}

#[test]
fn full_disks_waiting_work_and_a_kvm_that_stalls_are_told() {
    let space = |size: u64, free: u64, caches: u64| Space {
        dirs: vec!["/var/lib/miniascape".into()],
        system: FileSystem {
            device: 1,
            size: size << 20,
            free: free << 20,
            inodes: (0, 0),
        },
        caches: vec![("/var/cache/apt/archives".into(), "apt-get clean", caches << 20)],
    };
    let mut facts = well();
    for (size, free, fine) in [
        (100, 26, true),
        (100, 24, false),
        (20_000, 999, false),
        (20_000, 1001, true),
        (900_000, 5121, true),
    ] {
        facts.spaces = vec![space(size, free, 7)];
        assert_eq!(judge(&facts).findings.is_empty(), fine, "{size} {free}");
    }
    facts.spaces = vec![space(1000, 1, 7)];
    assert_eq!(only(&facts).command, "apt-get clean");
    facts.spaces = vec![space(1000, 1, 0)];
    assert!(
        only(&facts)
            .command
            .starts_with("du -xh --max-depth=2 /var/lib/miniascape")
    );
    facts.spaces = Vec::new();
    facts.pending = vec![(
        "n".to_owned(),
        "to register it is pending: libvirt is down".to_owned(),
    )];
    assert_eq!(only(&facts).command, "miniascape daemon --once");
    facts.pending = Vec::new();
    facts.kvm = Some("KVM was tried: it stalled".to_owned());
    assert_eq!(only(&facts).object, "/dev/kvm");
}
