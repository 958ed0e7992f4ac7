//! `miniascape init` and `doctor` where systemd runs everything: faults are made, and cured by the command that is printed.

use crate::machine::Machine;
use crate::packages::Kind;
use crate::support::{Output, poll_for, wait_until};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Each of which asks for a finding more.
const STEPS: u32 = 8;

/// Where a script can be run, whatever it ends with.
pub(crate) trait Shell {
    fn try_sh(&self, script: &str) -> Output;
}

impl Shell for Machine {
    fn try_sh(&self, script: &str) -> Output {
        Self::try_sh(self, script)
    }
}

fn findings(machine: &impl Shell) -> Vec<Value> {
    let told = machine.try_sh("miniascape doctor --format json");
    let all = told.json()["findings"].as_array().expect("a list").clone();
    assert_eq!(told.code(), Some(i32::from(!all.is_empty())), "{told}");
    all
}

/// Nothing is found.
#[track_caller]
pub(crate) fn is_well(machine: &impl Shell) {
    let well = poll_for(PATIENCE, || findings(machine).is_empty().then_some(()));
    assert!(well.is_some(), "{:#?}", findings(machine));
}

/// Runs the commands of findings, each as it is printed, until the host is well; what was found, and each command. Among the
/// findings has to be one of that check.
#[track_caller]
pub(crate) fn cure(machine: &impl Shell, check: &str) -> String {
    let mut told = String::new();
    let mut all = findings(machine);
    assert!(
        all.iter().any(|finding| finding["check"] == check),
        "{check} is not found: {all:#?}"
    );
    for _ in 0..STEPS {
        let Some(finding) = all.first().cloned() else {
            return told;
        };
        let word = |key: &str| finding[key].as_str().expect("a text").to_owned();
        let command = word("command");
        let done = machine.try_sh(&command);
        assert!(done.ok(), "{done}");
        writeln!(
            told,
            "{} {}: {} | {command}",
            word("check"),
            word("object"),
            word("found")
        )
        .expect("a String takes everything");
        let gone = poll_for(PATIENCE, || {
            all = findings(machine);
            (!all.contains(&finding)).then_some(())
        });
        assert!(gone.is_some(), "`{command}` did not help: {all:#?}");
    }
    panic!("there is no end to it: {told}");
}

/// Makes the fault, runs the command of the first finding of that check as it is printed, and sees a host that is well.
#[track_caller]
fn fault(machine: &Machine, script: &str, check: &str, object: &str, command: &str) {
    machine.sh(script);
    let all = findings(machine);
    let found = all
        .iter()
        .find(|finding| finding["check"] == check && finding["object"] == object)
        .unwrap_or_else(|| panic!("{check} {object} is not found: {all:#?}"));
    assert_eq!(found["command"], command);
    machine.sh(command);
    is_well(machine);
}

pub(crate) fn faults_of_units_are_found_and_cured() {
    let mut machine = Machine::new("doctor").unwrap_or_else(|error| panic!("no machine: {error}"));
    Kind::Deb.prepare(&machine);
    Kind::Deb.publish_new(&machine);
    machine.boot();
    machine.sh(&Kind::Deb.install("miniascape-refdata"));
    wait_until("net-1 to work", PATIENCE, || {
        machine.try_sh("miniascape net status net-1").ok()
    });

    // The packages have done most of it; what was not changed about a shipped network may still be chosen.
    machine.sh("useradd --create-home ann");
    let done = machine.sh("SUDO_USER=ann miniascape init --yes --network net-1=10.1.1.0/24,bridge=lab1");
    assert!(
        done.stdout.contains("put ann into the group libvirt") && done.stdout.contains("net-1.yaml"),
        "{done}"
    );
    assert!(
        machine
            .sh("ip -brief address show lab1")
            .stdout
            .contains("10.1.1.1/24")
    );
    let again = machine.sh("SUDO_USER=ann miniascape init --yes");
    assert!(again.stdout.contains("nothing to do"), "{again}");
    let user = "setpriv --reuid ann --regid ann --init-groups miniascape";
    let seen = machine.sh(&format!(
        "{user} net status net-1; {user} guest list; {user} doctor"
    ));
    assert!(
        seen.stdout.contains("not looked at: firewall") && seen.stderr.is_empty(),
        "{seen}"
    );

    let well = findings(&machine);
    assert!(well.is_empty(), "{well:#?}");
    // One that cannot serve is not started, and the command says why.
    let own = format!(
        "{}\nenable-tftp\ntftp-root=/srv/nowhere\n",
        include_str!("../../data/templates/dnsmasq.conf")
    );
    machine.write("/etc/miniascape/templates/dnsmasq.conf", own);
    let refused = machine.try_sh("miniascape net update net-3");
    refused.expect_code(1);
    let said = "TFTP directory /srv/nowhere inaccessible: No such file or directory; net-3 was put back";
    assert!(
        refused.stderr.contains("dnsmasq for net-3 ended at once: ") && refused.stderr.contains(said),
        "{refused}"
    );
    machine.sh("rm /etc/miniascape/templates/dnsmasq.conf; miniascape net status net-3");
    let unit = "miniascape-dnsmasq@net-3.service";
    fault(
        &machine,
        "cd /var/lib/miniascape/networks/net-3; cp -a dnsmasq.conf /root/; echo nonsense >>dnsmasq.conf
         ! systemctl restart miniascape-dnsmasq@net-3 2>/dev/null
         until systemctl is-failed --quiet miniascape-dnsmasq@net-3; do sleep 0.1; done; cp -a /root/dnsmasq.conf .",
        "services",
        unit,
        &format!("systemctl reset-failed {unit} && systemctl restart {unit}"),
    );
    fault(
        &machine,
        "systemctl stop libvirtd.service 'libvirtd*.socket'",
        "libvirt",
        "libvirt",
        "systemctl enable --now libvirtd.service",
    );
    fault(
        &machine,
        "iptables -F; iptables -t nat -F",
        "firewall",
        "net-1",
        "systemctl restart libvirtd",
    );
}
