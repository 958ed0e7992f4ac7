//! Guests that travel: packed on one host, carried as package files, and installed, upgraded, removed and brought back
//! by the package manager of another.

use crate::networks::{daemon, host_with_daemon};
use crate::support::guest::{self, Console, DiskSpec, Markers};
use crate::support::{BusPolicy, Host, HostOptions, Output, Running, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// Name, hardware address and the address that net-1 reserves for it.
pub(crate) const WEB: [&str; 3] = ["web", "52:54:00:01:00:80", "192.168.151.80"];
pub(crate) const WEB2: [&str; 3] = ["web2", "52:54:00:01:00:81", "192.168.151.81"];
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const PACKAGED: &str = "/var/lib/libvirt/images/miniascape/packaged";
const PENDING: &str = "/var/lib/miniascape/pending";

/// A package file: name and content.
pub(crate) type File = (String, Vec<u8>);

/// Packages of two guests on one base.
pub(crate) struct Packages {
    /// What the base says.
    pub(crate) base: String,
    /// What the delta of `web` says; that of `web2` says nothing.
    pub(crate) delta: String,
    /// Version 0.1 of both.
    pub(crate) files: Vec<File>,
    /// Version 0.2 of `web`, whose delta says something else.
    pub(crate) next: Vec<File>,
    /// Version 0.3 of it, as the package of the guest `site`.
    pub(crate) renamed: Vec<File>,
    /// What the file systems of `web` held when version 0.1 was packed.
    pub(crate) hash: Digests,
}

/// What a guest says of its file systems.
#[derive(Debug, PartialEq)]
pub(crate) struct Digests {
    /// Of all files, with names, modes and owners.
    pub(crate) all: String,
    /// Of what came with the base.
    pub(crate) base: String,
}

impl Digests {
    /// Asks a running guest, which reads all from its disk anew.
    pub(crate) fn ask(console: &mut Console) -> Self {
        console.send("hash");
        Self::told(console)
    }

    /// What a guest that was asked says.
    pub(crate) fn told(console: &mut Console) -> Self {
        let told = console.wait("HASH", PATIENCE);
        Self {
            all: told.value("all").to_owned(),
            base: told.value("base").to_owned(),
        }
    }
}

/// The packages, made once for all tests.
pub(crate) fn packages() -> &'static Packages {
    static MADE: OnceLock<Packages> = OnceLock::new();
    MADE.get_or_init(|| {
        let (base, delta) = (random("base"), random("guest"));
        let (host, _daemon) = host_with_daemon();
        host.miniascape_check(["net", "register", "net-1"]);
        host.check(["mkdir", "-p", "/srv/images"]);
        let golden = DiskSpec::new(&base).hostname("web");
        golden.make(&host, "/srv/images/golden.qcow2");
        create(&host, WEB);
        create(&host, WEB2);
        host.miniascape_check(["guest", "start", "web", "--wait", "lease"]);
        let hash = write_marker_at_boot(&host, &delta);
        let files = pack(&host, &["web", "web2"], "0.1", &[]);
        host.miniascape_check(["guest", "start", "web"]);
        write_marker_at_boot(&host, "second-version");
        let next = pack(&host, &["web"], "0.2", &[]);
        host.check(["virsh", "domrename", "web", "site"]);
        let renamed = pack(&host, &["site"], "0.3", &["--renamed-from", "vm-web"]);
        Packages {
            base,
            delta,
            files,
            next,
            renamed,
            hash,
        }
    })
}

fn random(word: &str) -> String {
    format!("{word}-{}", uuid::Uuid::new_v4().simple())
}

/// Creates a guest on an overlay over the golden image, as a user would have it.
fn create(host: &Host, [name, mac, _]: [&str; 3]) {
    let overlay = format!("{name}.qcow2");
    let make = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "golden.qcow2",
        "-F",
        "qcow2",
        &overlay,
    ];
    host.command(make).cwd("/srv/images").check();
    let disk = format!("/srv/images/{overlay},format=qcow2");
    let network = format!("net-1,mac={mac}");
    let created = guest::create(host, name, &disk, &["--network", &network]);
    assert!(created.stdout.contains("under software emulation"), "{created}");
}

fn write_marker_at_boot(host: &Host, marker: &str) -> Digests {
    let mut console = Console::attach(host, "web");
    console.wait_ready();
    console.write_marker(marker);
    console.ask("write packed", "WROTE");
    let hash = Digests::ask(&mut console);
    host.miniascape_check(["guest", "shutdown", "web"]);
    hash
}

/// Packs guests and brings the package files out of the host.
fn pack(host: &Host, guests: &[&str], version: &str, more: &[&str]) -> Vec<File> {
    let output = format!("/root/packages-{version}");
    for guest in guests {
        let fixed = [
            "repack",
            guest,
            "--to",
            "rpm,deb,tar",
            "--package-version",
            version,
            "--output",
            &output,
        ];
        host.miniascape_check(fixed.iter().chain(more));
    }
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

/// A package manager.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    pub(crate) fn carry(self, host: &Host, files: &[File], dir: &str) {
        for (name, content) in files {
            if Path::new(name).extension().is_some_and(|e| e == self.extension()) {
                host.write_file(format!("{dir}/{name}"), content);
            }
        }
    }

    pub(crate) fn install(self, host: &Host, files: &str) -> Output {
        let command = match self {
            Self::Deb => "dpkg -i",
            Self::Rpm => "rpm -U --replacepkgs",
        };
        host.check(["sh", "-c", &format!("{command} {files}")])
    }

    pub(crate) fn remove(self, host: &Host, package: &str) -> Output {
        match self {
            Self::Deb => host.check(["dpkg", "-r", package]),
            Self::Rpm => host.check(["rpm", "-e", package]),
        }
    }

    /// Owner, mode and content of every packaged file are as the package manager knows them.
    pub(crate) fn assert_clean(self, host: &Host) {
        let (installed, verify) = match self {
            Self::Deb => (
                "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n' 'vm-*' 'miniascape-image-*' | sed -n 's/^.i *//p'",
                "dpkg -V",
            ),
            Self::Rpm => ("rpm -qa 'vm-*' 'miniascape-image-*'", "rpm -V"),
        };
        let script = format!("set -- $({installed}); [ $# = 0 ] || {verify} \"$@\"");
        let verified = host.run(["sh", "-c", &script]);
        assert!(verified.ok() && verified.text().is_empty(), "{verified}");
        let modes = host.check(["find", PACKAGED, "-printf", "%y %u %m\n"]);
        let modes: Vec<&str> = modes.stdout.lines().collect();
        assert!(
            modes[0] == "d root 700" && modes[1..].iter().all(|mode| *mode == "f root 444"),
            "{modes:?}"
        );
    }
}

/// As [`bare_target`], with net-1 registered.
pub(crate) fn target(kind: Kind) -> (Host, Running) {
    let (host, daemon) = bare_target(kind);
    host.miniascape_check(["net", "register", "net-1"]);
    (host, daemon)
}

/// A second host: miniascape from its package, on a bus that allows what packages say; the guests' packages in
/// `/root/packages`.
pub(crate) fn bare_target(kind: Kind) -> (Host, Running) {
    let host = host_for_packages(kind);
    kind.carry(&host, &packages().files, "/root/packages");
    if kind == Kind::Deb {
        return with_miniascape(host);
    }
    let stub = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/build-rpm-stub");
    host.copy_from_machine(stub, "/root/build-rpm-stub");
    let make = "sh /root/build-rpm-stub /root/stub.rpm /root/miniascape.rpm /root/packages/*.rpm";
    host.check(["sh", "-c", make]);
    host.check(["rpm", "-i", "/root/stub.rpm", "/root/miniascape.rpm"]);
    up(host)
}

/// A host with miniascape from its Debian package and nothing else.
pub(crate) fn clean_target() -> (Host, Running) {
    with_miniascape(host_for_packages(Kind::Deb))
}

fn host_for_packages(kind: Kind) -> Host {
    let option = format!("MINIASCAPE_TEST_{}", kind.extension().to_uppercase());
    let tool = std::env::var_os(&option).unwrap_or_else(|| {
        panic!("{option} has to name the package of miniascape: run this through `make test`")
    });
    let options = HostOptions::default().without_miniascape();
    let host = Host::start(options.bus_policy(BusPolicy::Distribution));
    host.copy_from_machine(&tool, format!("/root/miniascape.{}", kind.extension()));
    host
}

fn with_miniascape(host: Host) -> (Host, Running) {
    host.check(["dpkg", "-i", "/root/miniascape.deb"]);
    up(host)
}

fn up(host: Host) -> (Host, Running) {
    host.reload_bus();
    let daemon = daemon(&host);
    (host, daemon)
}

/// The paths of the images that an instance stands on, the top one first.
pub(crate) fn below(host: &Host, name: &str) -> Vec<String> {
    let xml = host.check(["virsh", "dumpxml", "--inactive", name]).stdout;
    let sources = xml.lines().filter(|line| line.contains("/chain/"));
    sources
        .filter_map(|line| line.split('\'').nth(1))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn manifest(host: &Host, name: &str) -> Value {
    let text = host.read_file(format!("/usr/share/miniascape/guests/{name}/manifest.json"));
    serde_json::from_str(&text).expect("a manifest is JSON")
}

pub(crate) fn packages_hold_what_they_should(host: &Host) {
    let list = host.miniascape_check(["package", "list", "--format", "json"]);
    let found: Vec<_> = list
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| p["package"].clone())
        .collect();
    assert_eq!(found, ["vm-web", "vm-web2"], "{list}");
    host.miniascape_check(["package", "show", "vm-web"]);
    let bases = ["web", "web2"].map(|name| manifest(host, name)["disks"][0]["layers"][0]["digest"].clone());
    assert_eq!(bases[0], bases[1], "two bases of one image");
    for [name, mac, _] in [WEB, WEB2] {
        let xml = host.read_file(format!("/usr/share/miniascape/guests/{name}/domain.xml"));
        assert!(
            xml.contains(mac) && !xml.contains("<uuid>") && !xml.contains("backingStore"),
            "{xml}"
        );
        let mut told = manifest(host, name);
        // The one place that says what has stayed behind.
        assert!(
            told["not_packed"][0]["what"]
                .as_str()
                .is_some_and(|what| what.contains("serial.log"))
        );
        told["not_packed"].take();
        for text in [xml, told.to_string()] {
            for host_bound in ["/srv/", "/root", "golden", "serial.log", "lab-"] {
                assert!(!text.contains(host_bound), "{host_bound}: {text}");
            }
        }
        let reserved = &manifest(host, name)["networks"][0]["hosts"][0];
        assert_eq!(
            reserved["mac"], *mac,
            "the network's entry for it is not in the manifest"
        );
    }
}

pub(crate) fn instances_have_their_modes(host: &Host) {
    let modes = |paths: &str| {
        let stat = host
            .check(["sh", "-c", &format!("stat -c '%U:%G %a' {paths}")])
            .stdout;
        stat.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let own = format!("{GUESTS}/web");
    assert_eq!(modes(GUESTS), ["root:root 711"]);
    assert_eq!(modes(&own), ["root:libvirt-qemu 750"]);
    assert_eq!(modes(&format!("{own}/chain")), ["root:libvirt-qemu 750"]);
    assert_eq!(modes(&format!("{own}/vda.qcow2")), ["root:root 600"]);
    assert_eq!(
        modes(&format!("{own}/chain/*")),
        ["root:root 444", "root:root 444"]
    );
    // No copy was made: package, web and web2 are three names of one base.
    let base = below(host, "web").pop().expect("a base");
    assert_eq!(host.check(["stat", "-c", "%h", &base]).text(), "3");
}

pub(crate) fn registering_again_is_a_no_op(host: &Host) {
    let before = host.check(["virsh", "dumpxml", "web"]).stdout;
    let again = host.miniascape_check(["guest", "register", "vm-web", "--format", "json"]);
    assert_eq!(again.json()["changed"], false, "{again}");
    let stays = host.miniascape_check(["guest", "unregister", "vm-web"]);
    assert!(stays.stdout.contains("still installed; nothing to do"), "{stays}");
    assert_eq!(host.check(["virsh", "dumpxml", "web"]).stdout, before);
    assert_eq!(host.list_dir(PENDING), [""; 0]);
}

/// Every image in a chain is the packaged file of its name, if there is one: at once, or when the daemon has seen it.
pub(crate) fn all_are_linked(host: &Host) {
    let script = format!(
        "for link in {GUESTS}/*/chain/*; do packaged={PACKAGED}/${{link##*/}}; \
         [ ! -e $packaged ] || [ $packaged -ef $link ] || echo $link; done"
    );
    wait_until("links to all that came back", PATIENCE, || {
        host.check(["sh", "-c", &script]).text().is_empty()
    });
}

/// The network cannot be pulled away from under guests that run.
pub(crate) fn their_network_stays(host: &Host) {
    let status = host.miniascape_check(["net", "status", "net-1", "--format", "json"]);
    assert_eq!(status.json()["guests"], json!(["web", "web2"]));
    let list = host.miniascape_check(["guest", "list"]);
    assert!(
        list.stdout.contains(WEB[2]) && list.stdout.contains(WEB2[2]),
        "{list}"
    );
    let refused = host.miniascape(["net", "unregister", "net-1"]);
    refused.expect_code(3);
    assert!(
        refused.stderr.contains("the guests web, web2 are plugged into"),
        "{refused}"
    );
}

pub(crate) fn a_guest_starts_only_on_the_images_it_was_made_from() {
    let Packages { base, delta, .. } = packages();
    let (host, _daemon) = target(Kind::Deb);
    install_web(&host);
    let images = below(&host, "web");
    let marker = |text: &String| Some(text.clone());
    let read = |path: &str| Markers::read(&host, path);
    let only = Markers {
        base: marker(base),
        guest: None,
    };
    let both = Markers {
        base: marker(base),
        guest: marker(delta),
    };
    assert_eq!((read(&images[1]), read(&images[0])), (only, both));

    let refused = |what: &str| {
        let refused = host.miniascape(["guest", "start", "web"]);
        refused.expect_code(3);
        let told = format!("has been {what} since it was verified, so web is not started: its digest is ");
        assert!(
            refused.stderr.contains(&told) && refused.stderr.contains("hint: reinstall the package"),
            "{refused}"
        );
        assert_eq!(host.domain_state("web").as_deref(), Some("shut off"));
    };
    // Without the delta under its name the guest must not start, neither through us nor through libvirt.
    let hidden = format!("{}.hidden", images[0]);
    host.check(["mv", &images[0], &hidden]);
    refused("removed");
    assert!(!host.run(["virsh", "start", "web"]).ok());
    host.check(["mv", &hidden, &images[0]]);
    // QEMU would not notice another base. One with the same content would do.
    let (other, kept) = (format!("{}.other", images[1]), format!("{}.kept", images[1]));
    host.check(["cp", &images[1], &other]);
    host.check([
        "sh",
        "-c",
        &format!("printf x | dd of={other} bs=1 seek=4096 conv=notrunc status=none"),
    ]);
    host.check(["mv", &images[1], &kept]);
    host.check(["mv", &other, &images[1]]);
    refused("replaced");
    host.check(["mv", &kept, &images[1]]);
    host.miniascape_check(["guest", "start", "web", "--wait", "running"]);
    host.check(["virsh", "destroy", "web"]);
    host.check([
        "sh",
        "-c",
        &format!(
            "printf x | dd of={} bs=1 seek=4096 conv=notrunc status=none",
            images[1]
        ),
    ]);
    refused("written to");
    // Every name of the image is spoiled; a reinstallation brings a good one.
    let spoiled = host.miniascape(["guest", "register", "vm-web"]);
    spoiled.expect_code(1);
    assert!(
        spoiled.stderr.contains("is damaged") && spoiled.stderr.contains("hint: reinstall"),
        "{spoiled}"
    );
    Kind::Deb.install(&host, "/root/packages/miniascape-image-*");
    host.miniascape_check(["guest", "register", "vm-web"]);
    host.miniascape_check(["guest", "start", "web", "--wait", "running"]);
    host.check(["virsh", "destroy", "web"]);

    // A name that someone else has taken meanwhile is theirs.
    Kind::Deb.remove(&host, "vm-web");
    let theirs =
        "<domain type='qemu'><name>web</name><memory>65536</memory><os><type>hvm</type></os></domain>";
    host.write_file("/root/theirs.xml", theirs);
    host.check(["virsh", "define", "/root/theirs.xml"]);
    let before = host.check(["virsh", "dumpxml", "web"]).stdout;
    let installed = install_web(&host);
    assert!(
        installed
            .stderr
            .contains("already has a guest web, which was not made from this package"),
        "{installed}"
    );
    host.miniascape(["guest", "register", "vm-web"]).expect_code(3);
    assert_eq!(host.check(["virsh", "dumpxml", "web"]).stdout, before);
    host.check(["virsh", "undefine", "web"]);
    host.miniascape_check(["net", "register", "net-1"]);
    assert_eq!((below(&host, "web"), host.list_dir(PENDING)), (images, vec![]));
}

fn install_web(host: &Host) -> Output {
    Kind::Deb.install(host, "/root/packages/miniascape-image-* /root/packages/vm-web_*")
}

pub(crate) fn what_could_not_be_finished_is_finished_by_a_later_run() {
    let (mut host, daemon) = target(Kind::Deb);
    drop(daemon);
    host.stop_libvirtd();
    let installed = install_web(&host);
    assert!(installed.stderr.contains("recorded as pending"), "{installed}");
    assert_eq!(host.list_dir(PENDING), ["guest-vm-web.json"]);
    host.start_libvirtd();
    // Any run that changes something does it; no other.
    let other = ["net", "unregister", "some-other"];
    host.miniascape_check(["guest", "list"]);
    host.miniascape_check(other.iter().chain(&["--dry-run"]));
    assert_eq!((host.domains(), host.list_dir(PENDING).len()), (vec![], 1));
    let done = host.miniascape_check(other);
    assert!(
        done.stderr.contains("finished pending work: register vm-web"),
        "{done}"
    );
    assert_eq!(
        (host.domains(), host.list_dir(PENDING)),
        (vec!["web".to_owned()], vec![])
    );

    // Killed at any moment it is made up for in the same way.
    let mut killed = 0;
    for step in 0..10 {
        host.check(["virsh", "undefine", "web"]);
        for made in [
            format!("{GUESTS}/web"),
            "/var/lib/miniascape/guests/web".to_owned(),
        ] {
            host.remove(made);
        }
        let mut run = host.miniascape_command(["guest", "register", "vm-web"]).spawn();
        std::thread::sleep(Duration::from_millis(8 + step * step * 2));
        killed += u32::from(run.is_running());
        run.kill();
        host.miniascape_check(other);
        if !host.domains().contains(&"web".to_owned()) {
            // It was killed before it had noted anything.
            assert!(!host.exists(format!("{GUESTS}/web")), "step {step}");
            host.miniascape_check(["guest", "register", "vm-web"]);
        }
        let again = host.miniascape_check(["guest", "register", "vm-web"]);
        assert!(
            again.stdout.contains("registered already"),
            "step {step}: {again}"
        );
        let hidden = host.run(["find", GUESTS, "/var/lib/miniascape", "-name", ".*"]);
        assert_eq!(
            (hidden.text(), host.list_dir(PENDING)),
            ("", vec![]),
            "step {step}"
        );
        assert_eq!(below(&host, "web").len(), 2);
    }
    assert!(killed >= 3, "only {killed} runs were killed at work");

    // The other way round, and by the daemon.
    host.stop_libvirtd();
    Kind::Deb.remove(&host, "vm-web");
    assert_eq!(host.list_dir(PENDING), ["guest-vm-web.json"]);
    host.start_libvirtd();
    let _daemon = crate::networks::daemon(&host);
    wait_until("the daemon to finish pending work", PATIENCE, || {
        host.domains().is_empty() && host.list_dir(PENDING).is_empty()
    });
}
