//! Guests on real hosts: created, packed, carried to another host and installed there.

use crate::networks::{definition, host_with_daemon};
use crate::support::guest::{Console, DiskSpec, Markers};
use crate::support::{Host, HostOptions, Output, Running, wait_until};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Reserved in net-1 for the first general machine.
const MAC: &str = "52:54:00:01:00:80";
const ADDRESS: &str = "192.168.151.80";
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const PACKAGED: &str = "/var/lib/libvirt/images/miniascape/packaged";

/// A package file: name and content.
type File = (String, Vec<u8>);

/// Packages of the guest `web` in two versions.
struct Packages {
    /// Version 0.1.
    files: Vec<File>,
    /// What the base says.
    base: String,
    /// What the delta says.
    delta: String,
    /// Version 0.2, whose delta says something else; the base is the same.
    next: Vec<File>,
}

/// The packages, made once for all tests.
fn packages() -> &'static Packages {
    static MADE: OnceLock<Packages> = OnceLock::new();
    MADE.get_or_init(|| {
        let (base, delta) = (random("base"), random("guest"));
        let (host, _daemon) = host_with_daemon();
        host.miniascape_check(["net", "register", "net-1"]);
        create_web(&host, &base);
        host.miniascape_check(["guest", "start", "web", "--wait", "lease"]);
        let mut console = Console::attach(&host, "web");
        console.wait_ready();
        console.write_marker(&delta);
        host.miniascape_check(["guest", "shutdown", "web"]);
        let files = repack(&host, "0.1");
        host.miniascape_check(["guest", "start", "web"]);
        let mut console = Console::attach(&host, "web");
        console.wait_ready();
        console.write_marker("second-version");
        host.miniascape_check(["guest", "shutdown", "web"]);
        Packages {
            files,
            base,
            delta,
            next: repack(&host, "0.2"),
        }
    })
}

/// Packs `web` and brings the package files out of the host.
fn repack(host: &Host, version: &str) -> Vec<File> {
    let output = format!("/root/packages-{version}");
    host.miniascape_check([
        "repack",
        "web",
        "--to",
        "rpm,deb",
        "--package-version",
        version,
        "--output",
        &output,
    ]);
    let outside = tempfile::tempdir().expect("a directory");
    host.list_dir(&output)
        .into_iter()
        .map(|name| {
            let target = outside.path().join(&name);
            host.copy_to_machine(format!("{output}/{name}"), &target);
            let content = fs_err::read(&target).expect("the copied package");
            (name, content)
        })
        .collect()
}

fn random(word: &str) -> String {
    format!("{word}-{}", uuid::Uuid::new_v4().simple())
}

/// Creates the guest `web` on an overlay over a small disk of its own, as a user would have it.
fn create_web(host: &Host, base_marker: &str) {
    host.check(["mkdir", "-p", "/srv/images"]);
    DiskSpec::new(base_marker)
        .hostname("web")
        .make(host, "/srv/images/golden.qcow2");
    host.command([
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "golden.qcow2",
        "-F",
        "qcow2",
        "web.qcow2",
    ])
    .cwd("/srv/images")
    .check();
    let network = format!("net-1,mac={MAC}");
    let created = host.miniascape_check([
        "guest",
        "create",
        "web",
        "--memory",
        "256MiB",
        "--disk",
        "/srv/images/web.qcow2,format=qcow2",
        "--network",
        &network,
        "--serial-log",
        "/var/log/libvirt/qemu/web-serial.log",
    ]);
    assert!(created.stdout.contains("under software emulation"), "{created}");
}

/// A second host: miniascape from its package, net-1 registered, the guest's packages in /root/packages.
fn target(kind: &str) -> (Host, Running) {
    let option = format!("MINIASCAPE_TEST_{}", kind.to_uppercase());
    let tool = std::env::var_os(&option).unwrap_or_else(|| {
        panic!("{option} has to name the {kind} package of miniascape: run this through `make test`")
    });
    let host = Host::start(HostOptions::default().without_miniascape());
    host.copy_from_machine(&tool, format!("/root/miniascape.{kind}"));
    for (name, content) in &packages().files {
        if Path::new(name).extension().is_some_and(|e| e == kind) {
            host.write_file(format!("/root/packages/{name}"), content);
        }
    }
    if kind == "deb" {
        host.check(["dpkg", "-i", "/root/miniascape.deb"]);
    } else {
        let stub = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/build-rpm-stub");
        host.copy_from_machine(stub, "/root/build-rpm-stub");
        host.check([
            "sh",
            "-c",
            "sh /root/build-rpm-stub /root/stub.rpm /root/miniascape.rpm /root/packages/*.rpm",
        ]);
        host.check(["rpm", "-i", "/root/stub.rpm", "/root/miniascape.rpm"]);
    }
    host.reload_bus();
    let daemon = crate::networks::daemon(&host);
    host.miniascape_check(["net", "register", "net-1"]);
    (host, daemon)
}

fn install(host: &Host, kind: &str) -> Output {
    host.check([
        "sh",
        "-c",
        if kind == "deb" {
            "dpkg -i /root/packages/*.deb"
        } else {
            "rpm -i /root/packages/*.rpm"
        },
    ])
}

/// Boots the installed guest and reads what it says of its disk and address.
fn boot_and_read(host: &Host) -> (String, String) {
    let started = host.miniascape_check(["guest", "start", "web", "--wait", "lease", "--format", "json"]);
    let lease = &started.json()["lease"];
    assert_eq!(
        (&lease["ip"], &lease["network"]),
        (&ADDRESS.into(), &"net-1".into()),
        "{started}"
    );
    // The first lines went by before the console was opened: ask again.
    let mut console = Console::attach(host, "web");
    let markers = console.ask("markers", "MARKER");
    (
        markers.value("base").to_owned(),
        markers.value("guest").to_owned(),
    )
}

fn travels_as(kind: &str) {
    let Packages { base, delta, .. } = packages();
    let (host, _daemon) = target(kind);
    install(&host, kind);
    assert!(host.exists(format!("{GUESTS}/web/vda.qcow2")), "no overlay");
    assert_eq!(host.domain_state("web").as_deref(), Some("shut off"));
    assert_eq!(boot_and_read(&host), (base.clone(), delta.clone()));
    // It writes to its own overlay, and the package manager's files stay as they were.
    let mut console = Console::attach(&host, "web");
    console.write_marker("written-here");
    host.miniascape_check(["guest", "shutdown", "web"]);
    assert_clean(&host, kind);

    let remove = if kind == "deb" {
        "dpkg -r vm-web"
    } else {
        "rpm -e vm-web"
    };
    host.check(["sh", "-c", remove]);
    assert!(
        !host.domains().contains(&"web".to_owned()),
        "the guest is still defined"
    );
    assert!(
        host.exists(format!("{GUESTS}/web/vda.qcow2")),
        "the disk has gone with the package"
    );
    // It comes back with what it had written.
    host.check([
        "sh",
        "-c",
        &format!(
            "{} /root/packages/vm-web*",
            if kind == "deb" { "dpkg -i" } else { "rpm -i" }
        ),
    ]);
    assert_eq!(boot_and_read(&host), (base.clone(), "written-here".to_owned()));
    host.miniascape_check(["guest", "shutdown", "web"]);
}

/// A guest that is in use stays on the images that it was made from when its package is upgraded, with all it wrote.
fn upgrade_leaves_the_disk_alone(kind: &str) {
    let Packages { base, next, .. } = packages();
    let (host, _daemon) = target(kind);
    install(&host, kind);
    boot_and_read(&host);
    Console::attach(&host, "web").write_marker("written-here");
    host.miniascape_check(["guest", "shutdown", "web"]);
    let below = |host: &Host| {
        let xml = host.check(["virsh", "dumpxml", "--inactive", "web"]).stdout;
        let images = xml.lines().filter(|line| line.contains("/chain/"));
        images.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = below(&host);
    assert_eq!(before.len(), 2);

    for (name, content) in next {
        if Path::new(name).extension().is_some_and(|e| e == kind) {
            host.write_file(format!("/root/next/{name}"), content);
        }
    }
    let upgrade = if kind == "deb" {
        "dpkg -i /root/next/*.deb"
    } else {
        "rpm -U --replacepkgs /root/next/*.rpm"
    };
    let upgraded = host.check(["sh", "-c", upgrade]);
    assert!(
        upgraded
            .stderr
            .contains("stays on the images that it was made from"),
        "{upgraded}"
    );
    // As an autoremove would: nobody depends on the old delta any more.
    let orphan = before[0].split("sha256-").nth(1).expect("a digest")[..16].to_owned();
    let remove = if kind == "deb" { "dpkg -r" } else { "rpm -e" };
    host.check(["sh", "-c", &format!("{remove} miniascape-image-{orphan}")]);
    assert_eq!(below(&host), before);
    assert_eq!(boot_and_read(&host), (base.clone(), "written-here".to_owned()));
    host.miniascape_check(["guest", "shutdown", "web"]);
}

pub(crate) fn an_upgraded_deb_leaves_the_disk_alone() {
    upgrade_leaves_the_disk_alone("deb");
}

pub(crate) fn an_upgraded_rpm_leaves_the_disk_alone() {
    upgrade_leaves_the_disk_alone("rpm");
}

/// Owner, mode and content of every packaged file are as the package manager knows them.
fn assert_clean(host: &Host, kind: &str) {
    let verify = if kind == "deb" {
        "dpkg -V $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n' 'vm-*' 'miniascape-image-*' | sed -n 's/^ii *//p')"
    } else {
        "rpm -V $(rpm -qa 'vm-*' 'miniascape-image-*')"
    };
    let verified = host.run(["sh", "-c", verify]);
    assert!(verified.ok() && verified.text().is_empty(), "{verified}");
    let modes = host.check(["sh", "-c", &format!("stat -c '%U %a' {PACKAGED} {PACKAGED}/*")]);
    let modes: Vec<&str> = modes.stdout.lines().collect();
    assert_eq!(modes[0], "root 700");
    assert!(
        modes.len() >= 3 && modes[1..].iter().all(|m| *m == "root 444"),
        "{modes:?}"
    );
}

pub(crate) fn a_guest_travels_in_debs() {
    travels_as("deb");
}

pub(crate) fn a_guest_travels_in_rpms() {
    travels_as("rpm");
}

pub(crate) fn base_holds_the_first_marker_and_delta_both() {
    let Packages { base, delta, .. } = packages();
    let (host, _daemon) = target("deb");
    install(&host, "deb");
    let manifest: serde_json::Value =
        serde_json::from_str(&host.read_file("/usr/share/miniascape/guests/web/manifest.json"))
            .expect("JSON");
    let layers = manifest["disks"][0]["layers"].as_array().expect("layers").clone();
    let file = |i: usize| {
        format!(
            "{GUESTS}/web/chain/sha256-{}.qcow2",
            layers[i]["digest"].as_str().expect("a digest")
        )
    };
    assert_eq!(
        Markers::read(&host, &file(0)),
        Markers {
            base: Some(base.clone()),
            guest: None
        }
    );
    assert_eq!(
        Markers::read(&host, &file(1)),
        Markers {
            base: Some(base.clone()),
            guest: Some(delta.clone())
        }
    );

    // Without the delta under its name the guest must not start, neither through us nor through libvirt.
    let hidden = format!("{}.hidden", file(1));
    host.check(["mv", &file(1), &hidden]);
    let refused = host.miniascape(["guest", "start", "web"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("has been removed since it was verified"),
        "{refused}"
    );
    assert!(!host.run(["virsh", "start", "web"]).ok());
    host.check(["mv", &hidden, &file(1)]);
    host.miniascape_check(["guest", "start", "web"]);
    host.check(["virsh", "destroy", "web"]);
}

pub(crate) fn two_guests_on_one_base_leave_packaged_files_alone() {
    let (host, _daemon) = target("deb");
    install(&host, "deb");
    // A second guest package over the same images: the same guest packed under another name.
    host.check(["sh", "-c", "cp -r /usr/share/miniascape/guests/web /usr/share/miniascape/guests/web2 && \
        sed -i 's/vm-web\"/vm-web2\"/; s/\"guest\": \"web\"/\"guest\": \"web2\"/' /usr/share/miniascape/guests/web2/manifest.json"]);
    host.miniascape_check(["guest", "register", "vm-web2"]);
    let second = host.check(["virsh", "dumpxml", "--inactive", "web2"]).stdout;
    host.write_file("/root/web2.xml", second.replace(MAC, "52:54:00:01:00:81"));
    host.check(["virsh", "define", "/root/web2.xml"]);
    for (name, address) in [("web", ADDRESS), ("web2", "192.168.151.81")] {
        let started = host.miniascape_check(["guest", "start", name, "--wait", "lease"]);
        assert!(started.stdout.contains(address), "{started}");
    }
    let list = host.miniascape_check(["guest", "list"]);
    assert_eq!(list.stdout.matches("running").count(), 2, "{list}");
    let status = host.miniascape_check(["net", "status", "net-1", "--format", "json"]);
    assert_eq!(status.json()["guests"], serde_json::json!(["web", "web2"]));
    // The network cannot be pulled away from under them.
    let refused = host.miniascape(["net", "unregister", "net-1"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("the guests web, web2 are plugged into"),
        "{refused}"
    );
    for name in ["web", "web2"] {
        host.miniascape_check(["guest", "shutdown", name]);
    }
    assert_clean(&host, "deb");
}

pub(crate) fn a_guest_installed_while_libvirt_is_down_is_finished_later() {
    let (mut host, daemon) = target("deb");
    drop(daemon);
    host.stop_libvirtd();
    install(&host, "deb");
    assert_eq!(
        host.list_dir("/var/lib/miniascape/pending"),
        ["guest-vm-web.json"]
    );
    host.start_libvirtd();
    let _daemon = crate::networks::daemon(&host);
    wait_until("the daemon to finish pending work", PATIENCE, || {
        host.domains().contains(&"web".to_owned())
    });
    wait_until("an empty pending directory", PATIENCE, || {
        host.list_dir("/var/lib/miniascape/pending").is_empty()
    });
}

pub(crate) fn a_running_guest_is_not_packed() {
    let (host, _daemon) = host_with_daemon();
    host.miniascape_check(["net", "register", "net-1"]);
    create_web(&host, "m");
    host.miniascape_check(["guest", "start", "web"]);
    let refused = host.miniascape(["repack", "web", "--output", "/root/out"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("is not shut off") && refused.stderr.contains("guest shutdown web"),
        "{refused}"
    );
    assert!(!host.exists("/root/out"));
    host.check(["virsh", "destroy", "web"]);
    // A disk whose backing file has gone.
    host.check(["mv", "/srv/images/golden.qcow2", "/srv/images/gone.qcow2"]);
    let failed = host.miniascape(["repack", "web", "--output", "/root/out"]);
    failed.expect_code(1);
    assert!(failed.stderr.contains("/srv/images/golden.qcow2"), "{failed}");
    host.check(["rm", "/srv/images/web.qcow2"]);
    let failed = host.miniascape(["repack", "web", "--output", "/root/out"]);
    failed.expect_code(1);
    assert!(failed.stderr.contains("/srv/images/web.qcow2"), "{failed}");
    assert!(!host.exists("/root/out") || host.list_dir("/root/out").is_empty());
}

pub(crate) fn shutdown_is_graceful_and_hard_only_on_demand() {
    let (host, _daemon) = host_with_daemon();
    // No button is heard by a machine without an operating system.
    host.miniascape_check([
        "guest", "create", "deaf", "--memory", "64MiB", "--disk", "new:1MiB",
    ]);
    host.miniascape_check(["guest", "start", "deaf", "--wait", "running"]);
    let failed = host.miniascape(["guest", "shutdown", "deaf", "--timeout", "1s"]);
    failed.expect_code(1);
    assert!(failed.stderr.contains("--force-after"), "{failed}");
    assert_eq!(host.domain_state("deaf").as_deref(), Some("running"));
    let forced = host.miniascape_check([
        "guest",
        "shutdown",
        "deaf",
        "--force-after",
        "1s",
        "--format",
        "json",
    ]);
    assert_eq!(forced.json()["forced"], true);
    host.miniascape_check(["guest", "wait", "deaf", "--for", "shutoff", "--timeout", "5s"]);
    let late = host.miniascape(["guest", "wait", "deaf", "--for", "running", "--timeout", "1s"]);
    late.expect_code(1);
    host.miniascape(["guest", "create", "deaf"]).expect_code(3);
    let missing = host.miniascape(["guest", "create", "other", "--disk", "/no/such.qcow2"]);
    missing.expect_code(1);
    // A raw disk could pretend to be a qcow2 image on top of any file of the host.
    host.check([
        "sh",
        "-c",
        "cd /srv && qemu-img create -q -f qcow2 -b /etc/shadow -F raw guest.img",
    ]);
    let unsaid = host.miniascape(["guest", "create", "other", "--disk", "/srv/guest.img"]);
    unsaid.expect_code(2);
    assert!(unsaid.stderr.contains(",format=raw"), "{unsaid}");
    assert!(!host.domains().contains(&"other".to_owned()));
}

pub(crate) fn a_renewed_lease_without_end_is_noticed() {
    let (host, _daemon) = host_with_daemon();
    let endless =
        definition("lab", "10.66.6", "virbr66").replace("dhcp: { ", "dhcp: { lease_time: infinite, ");
    assert!(endless.contains("infinite"));
    host.write_file("/etc/miniascape/networks/lab.yaml", endless);
    host.miniascape_check(["net", "register", "lab"]);
    DiskSpec::new("m").hostname("one").make(&host, "/srv/one.qcow2");
    host.miniascape_check([
        "guest",
        "create",
        "one",
        "--memory",
        "256MiB",
        "--disk",
        "/srv/one.qcow2",
        "--network",
        "lab,mac=52:54:00:00:00:01",
    ]);
    for _ in 0..2 {
        let started = host.miniascape_check(["guest", "start", "one", "--wait", "lease", "--timeout", "60s"]);
        assert!(started.stdout.contains("10.66.6.11"), "{started}");
        host.miniascape_check(["guest", "shutdown", "one"]);
    }
    // Without an interface in a network of ours nothing is waited for.
    host.miniascape_check([
        "guest", "create", "alone", "--memory", "64MiB", "--disk", "new:1MiB",
    ]);
    let refused = host.miniascape(["guest", "start", "alone", "--wait", "lease"]);
    refused.expect_code(1);
    assert!(
        refused.stderr.contains("no interface in a registered network"),
        "{refused}"
    );
    assert_eq!(host.domain_state("alone").as_deref(), Some("shut off"));
}

/// A DHCP client without a guest: a process in its own network namespace behind a veth on the bridge.
pub(crate) fn dhcp_client(host: &Host, bridge: &str, mac: &str, name: &str) -> Output {
    let script = "set -e
        ip link add client type veth peer name plug
        ip link set plug master $0 up
        ip link set client address $1 up
        udhcpc -i client -n -q -t 10 -T 1 -x hostname:$2 -s /bin/true
        ip link del client";
    let script = script.replace("udhcpc", "busybox udhcpc");
    host.run(["sh", "-c", &script, bridge, mac, name])
}

pub(crate) fn leases_are_listed_and_watched_by_signals_only() {
    let (host, _daemon) = host_with_daemon();
    host.write_file(
        "/etc/miniascape/networks/lab.yaml",
        definition("lab", "10.66.6", "virbr66"),
    );
    host.miniascape_check(["net", "register", "lab"]);
    let mut watch = host
        .miniascape_command(["lease", "watch", "--format", "json", "lab"])
        .spawn();
    wait_until("the watch", PATIENCE, || watch.transcript().contains("watching"));
    let leased = dhcp_client(&host, "virbr66", "52:54:00:00:00:01", "one");
    assert!(leased.ok(), "{leased}");
    let event: serde_json::Value =
        serde_json::from_str(&watch.wait_line(PATIENCE, |line| line.contains("added"))).expect("a JSON line");
    assert_eq!(
        (&event["event"], &event["ip"], &event["network"]),
        (&"added".into(), &"10.66.6.11".into(), &"lab".into())
    );
    assert!(event["expires"].is_u64(), "{event}");
    let list = host.miniascape_check(["lease", "list", "--format", "json"]);
    assert_eq!(list.json()[0]["mac"], "52:54:00:00:00:01", "{list}");
    // SIGHUP makes dnsmasq repeat every lease; nothing of that is news.
    host.check(["pkill", "-HUP", "-x", "dnsmasq"]);
    watch.expect_silence(Duration::from_secs(1));
    // Present leases are told on demand.
    let mut initial = host
        .miniascape_command(["lease", "watch", "--initial", "lab"])
        .spawn();
    let line = initial.wait_line(PATIENCE, |line| line.contains("present"));
    assert!(line.contains("10.66.6.11") && line.contains("one"), "{line}");

    // With the signal denied, the file fills and the watch stays silent.
    host.set_bus_policy("deny", "<policy context='mandatory'><deny receive_type='signal' receive_path='/uk/org/thekelleys/dnsmasq'/></policy>");
    let leased = dhcp_client(&host, "virbr66", "52:54:00:00:00:02", "two");
    assert!(leased.ok(), "{leased}");
    wait_until("the second lease in the file", PATIENCE, || {
        host.miniascape_check(["lease", "list"])
            .stdout
            .contains("52:54:00:00:00:02")
    });
    watch.expect_silence(Duration::from_secs(2));
}
