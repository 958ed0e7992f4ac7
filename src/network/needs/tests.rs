//! Tests of what networks need, on facts made up here.

use super::*;

fn needs(yaml: &str) -> Needs {
    let text = format!("network: {{ name: n, domain: n.internal, {yaml} }}");
    Needs::of(&crate::network::read_bytes("n.yaml", text.as_bytes()).unwrap().0)
}

fn told(needs: &Needs, facts: &Facts) -> Vec<String> {
    needs.judge(facts).iter().map(ToString::to_string).collect()
}

fn link(interface: &str, addresses: &[(&str, u8)]) -> Addresses {
    Addresses {
        interface: interface.to_owned(),
        list: addresses
            .iter()
            .map(|(address, prefix)| bridges::Address {
                local: Some(address.parse().unwrap()),
                prefix: *prefix,
            })
            .collect(),
    }
}

#[test]
fn interfaces_are_where_they_belong_or_are_named() {
    let needs = needs(
        "mode: isolated, bridge: br9, ipv4: { subnet: 10.9.0.0/24 }, require_interfaces: [a1, a2], \
         forbid_interfaces: [b1, b2]",
    );
    let facts = Facts {
        bridge: Some(Kind::Bridge),
        ports: Some(vec!["a1".to_owned(), "b1".to_owned()]),
        ..Facts::default()
    };
    let found = told(&needs, &facts);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("a2 is not in") && found[0].contains("`ip link set a2 master br9`"));
    assert!(found[1].contains("b1 is in") && found[1].contains("`ip link set b1 nomaster`"));
    let facts = Facts {
        absent: vec!["a2".parse().unwrap()],
        ..facts
    };
    assert!(told(&needs, &facts)[0].ends_with("this host has no a2"));
    // A bridge that is not there yet is libvirt's to make.
    assert_eq!(needs.judge(&Facts::default()), []);
}

#[test]
fn forwarding_is_asked_of_who_needs_it() {
    let both = "ipv4: { subnet: 10.9.0.0/24 }, ipv6: { subnet: \"fd00:9::/64\", ra: none }";
    for (mode, count) in [
        ("nat", 2),
        ("routed", 2),
        ("open", 2),
        ("hostroute", 2),
        ("isolated", 0),
    ] {
        let needs = needs(&format!("mode: {mode}, {both}"));
        assert_eq!(needs.judge(&Facts::default()).len(), count, "{mode}");
        let on = vec![FORWARD4.to_owned(), FORWARD6.to_owned()];
        let facts = Facts {
            on,
            ..Facts::default()
        };
        assert_eq!(needs.judge(&facts), [], "{mode}");
    }
}

#[test]
fn a_part_of_the_lan_needs_proxy_arp_there() {
    let facts = |on: &[&str]| Facts {
        links: vec![
            link("eth0", &[("192.168.1.5", 24), ("2001:db8::5", 48)]),
            link("eth1.7", &[("10.0.0.5", 8)]),
            link("tap0", &[("192.168.1.129", 32)]),
        ],
        on: on.iter().map(|&switch| switch.to_owned()).collect(),
        ..Facts::default()
    };
    let on = [FORWARD4, FORWARD6];
    let needs =
        needs("mode: hostroute, ipv4: { subnet: 192.168.1.128/28 }, ipv6: { subnet: \"2001:db8:0:1::/64\" }");
    let found = told(&needs, &facts(&on));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("`sysctl -w net.ipv4.conf.eth0.proxy_arp=1`"),
        "{found:?}"
    );
    assert!(found[1].contains("net.ipv6.conf.eth0.proxy_ndp=1"), "{found:?}");
    let all = [
        FORWARD4,
        FORWARD6,
        "net/ipv4/conf/eth0/proxy_arp",
        "net/ipv6/conf/eth0/proxy_ndp",
    ];
    assert_eq!(needs.judge(&facts(&all)), []);
    // Translated guests are not seen there.
    let needs = self::needs("mode: nat, ipv4: { subnet: 192.168.1.128/28 }");
    assert_eq!(needs.judge(&facts(&on)), []);
    let needs = self::needs("mode: routed, ipv4: { subnet: 10.9.0.0/24 }");
    let found = told(&needs, &facts(&on));
    assert!(found[0].contains("net/ipv4/conf/eth1.7/proxy_arp=1"), "{found:?}");
}

#[test]
fn a_second_server_is_named() {
    let needs = needs(
        "mode: bridge, bridge: br0, ipv4: { subnet: 10.9.0.0/24, gateway: 10.9.0.254 }, dhcp: { serve: true }",
    );
    let facts = Facts {
        bridge: Some(Kind::Bridge),
        ports: Some(Vec::new()),
        servers: vec![Server {
            address: "10.9.0.3".parse().unwrap(),
            mac: "52:54:00:00:00:03".parse().unwrap(),
        }],
        ..Facts::default()
    };
    let found = told(&needs, &facts);
    assert!(
        found.len() == 1 && found[0].contains("10.9.0.3 (52:54:00:00:00:03)"),
        "{found:?}"
    );
    assert!(told(&needs, &Facts::default())[0].contains("no bridge br0"));
}

#[test]
fn what_is_recorded_is_read_back() {
    let needs = needs("mode: nat, ipv4: { subnet: 10.9.0.0/24 }, dhcp: {}, forbid_interfaces: [eth0]");
    let text = serde_json::to_string(&needs).unwrap();
    assert_eq!(serde_json::from_str::<Needs>(&text).unwrap(), needs, "{text}");
}
