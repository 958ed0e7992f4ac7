//! What a network's name server answers, whom it asks, and what never leaves it: a real dnsmasq, and another one as the
//! name server outside, whose log tells what it was asked.

use crate::networks::host_with_daemon;
use crate::support::{Host, Running, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const OUTSIDE: &str = "192.0.2.53";
const RECORDS: &str = "
      - { name: web, ip: [10.66.6.20, 10.66.6.21, \"fd00:66::20\"] }
      - { wildcard: apps, ip: 10.66.6.22 }
      - { cname: www, target: web }
      - { srv: _ldap._tcp, target: one, port: 389, priority: 10, weight: 5 }
      - { srv: _imap._tcp }
      - { txt: _dmarc, text: \"v=DMARC1; p=none\" }
      - { txt: \"@\", text: 'a \"b\", #c \\' }
      - { ptr: 10.66.6.22, name: apps }";

/// A network with IPv6, hosts, and what `dns` says.
fn definition(name: &str, mode: &str, number: u8, dns: &str) -> String {
    format!(
        "network:\n  name: {name}\n  mode: {mode}\n  bridge: virbr6{number}\n  domain: {name}.internal\n  \
         ipv4: {{ subnet: 10.66.{number}.0/24 }}\n  ipv6: {{ subnet: \"fd00:6{number}::/64\", ra: none }}\n  \
         dns: {dns}\n  hosts:\n    - {{ name: one, ip: [10.66.{number}.11, \"fd00:6{number}::11\"] }}\n    \
         - {{ name: four, ip: 10.66.{number}.14 }}\n"
    )
}

fn register(host: &Host, name: &str, definition: String) {
    host.write_file(format!("/etc/miniascape/networks/{name}.yaml"), definition);
    host.miniascape_check(["net", "register", name]);
}

/// The name server outside: it knows one name, and says what it is asked.
fn outside(host: &Host) -> Running {
    host.check(["ip", "link", "add", "outside", "type", "bridge"]);
    host.check(["ip", "link", "set", "outside", "up"]);
    host.check(["ip", "addr", "add", &format!("{OUTSIDE}/32"), "dev", "outside"]);
    let running = host.spawn([
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--bind-interfaces",
        &format!("--listen-address={OUTSIDE}"),
        "--no-resolv",
        "--no-hosts",
        "--log-queries",
        "--log-facility=-",
        "--host-record=far.example,192.0.2.80",
    ]);
    wait_until("the name server outside", PATIENCE, || {
        running.transcript().contains("started")
    });
    running
}

/// How often it was asked anything.
fn asked(outside: &Running) -> usize {
    outside.transcript().matches(" query[").count()
}

/// What the name server at `server` says, without the blanks.
fn ask(host: &Host, server: &str, words: &str) -> String {
    let mut all = vec!["timeout", "10", "busybox", "nslookup"];
    all.extend(words.split(' '));
    all.push(server);
    let said = host.run(all).stdout;
    // The first lines are about the server.
    let answer = said.split_once("\n\n").map_or("", |(_, answer)| answer);
    answer.replace(['\t', '\n'], " ")
}

pub(crate) fn every_kind_of_record_is_answered() {
    let (host, _daemon) = host_with_daemon();
    register(
        &host,
        "lab",
        definition("lab", "isolated", 6, &format!("\n    records:{RECORDS}")),
    );
    let ask = |words: &str| ask(&host, "10.66.6.1", words);
    for (question, answers) in [
        (
            "one.lab.internal",
            &["Address: 10.66.6.11", "Address: fd00:66::11"][..],
        ),
        ("-type=a web.lab.internal", &["10.66.6.20", "10.66.6.21"]),
        ("-type=aaaa web.lab.internal", &["fd00:66::20"]),
        ("-type=a web", &["10.66.6.20"]),
        ("-type=a deep.below.apps.lab.internal", &["Address: 10.66.6.22"]),
        ("-type=a apps.lab.internal", &["Address: 10.66.6.22"]),
        (
            "-type=a www.lab.internal",
            &["canonical name = web.lab.internal", "10.66.6.20"],
        ),
        (
            "-type=srv _ldap._tcp.lab.internal",
            &["service = 10 5 389 one.lab.internal"],
        ),
        ("-type=srv _imap._tcp.lab.internal", &["service = 0 0 1 ."]),
        ("-type=txt _dmarc.lab.internal", &["text = \"v=DMARC1; p=none\""]),
        ("-type=txt lab.internal", &["a \"b\", #c \\"]),
        ("10.66.6.11", &["name = one.lab.internal"]),
        ("fd00:66::11", &["name = one.lab.internal"]),
        ("10.66.6.22", &["name = apps.lab.internal"]),
        ("10.66.6.1", &["name = gateway.lab.internal"]),
        ("-type=a nobody.lab.internal", &["NXDOMAIN"]),
        ("10.66.6.99", &["NXDOMAIN"]),
        // An isolated network asks nobody else.
        ("-type=a far.example", &["REFUSED"]),
    ] {
        let said = ask(question);
        for answer in answers {
            assert!(said.contains(answer), "{question}: {answer:?} is not in {said:?}");
        }
    }
    // What has an address of one family has none of the other, and is there all the same.
    let said = ask("-type=aaaa four.lab.internal");
    assert!(!said.contains("NXDOMAIN") && !said.contains("Address"), "{said}");
}

pub(crate) fn what_is_the_networks_own_is_never_asked_outside() {
    let (host, _daemon) = host_with_daemon();
    let outside = outside(&host);
    let dns = format!("{{ forwarders: [ {OUTSIDE} ] }}");
    register(&host, "lab", definition("lab", "nat", 6, &dns));
    let ask = |words: &str| ask(&host, "10.66.6.1", words);
    assert!(ask("-type=a far.example").contains("192.0.2.80"));
    let before = asked(&outside);
    assert!(before > 0);
    for question in [
        "nobody.lab.internal",
        "-type=mx lab.internal",
        "-type=txt one.lab.internal",
        "-type=aaaa four.lab.internal",
        "-type=srv _ldap._tcp.lab.internal",
        "-type=ns lab.internal",
        "-type=a nodots",
        "-type=mx nodots",
        "10.66.6.99",
        "fd00:66::99",
        "-type=ptr 6.66.10.in-addr.arpa",
        "-type=txt 99.6.66.10.in-addr.arpa",
    ] {
        let said = ask(question);
        assert!(
            !said.contains("SERVFAIL") && !said.contains("REFUSED"),
            "{question}: {said}"
        );
    }
    assert_eq!(asked(&outside), before, "{}", outside.transcript());
    // Names and addresses of others do go out.
    for question in ["-type=a other.example", "10.66.7.1"] {
        let (before, said) = (asked(&outside), ask(question));
        assert!(!said.contains("Address") && !said.contains("name ="), "{said}");
        assert!(asked(&outside) > before, "{question}");
    }
}

pub(crate) fn questions_go_round_in_no_circle() {
    let (host, daemon) = host_with_daemon();
    let log = "\n  dnsmasq_options: [ log-queries ]\n";
    // Two networks that ask each other, and one that asks the host's resolver, which asks it.
    register(
        &host,
        "lab",
        definition("lab", "nat", 6, "{ forwarders: [ 10.66.7.1 ] }") + log,
    );
    register(
        &host,
        "two",
        definition("two", "nat", 7, "{ forwarders: [ 10.66.6.1 ] }") + log,
    );
    host.write_file("/etc/resolv.conf", "nameserver 10.66.8.1\n");
    register(&host, "three", definition("three", "nat", 8, "{}") + log);
    for server in ["10.66.6.1", "10.66.7.1", "10.66.8.1"] {
        let name = format!("nowhere-{}.example", server.replace('.', "-"));
        let said = ask(&host, server, &format!("-type=a {name}"));
        assert!(!said.contains("Address"), "{server}: {said}");
        let asked = daemon.transcript().matches(&format!("query[A] {name}")).count();
        assert!(
            (1..=8).contains(&asked),
            "{server}: asked {asked} times\n{}",
            daemon.transcript()
        );
    }
    // Each still answers for itself.
    for (server, name) in [
        ("10.66.6.1", "one.lab"),
        ("10.66.7.1", "one.two"),
        ("10.66.8.1", "one.three"),
    ] {
        assert!(ask(&host, server, &format!("-type=a {name}.internal")).contains("Address: 10.66."));
    }
}
