//! The lab tests itself: what a host promises must hold before anything is concluded from it.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::guest::{BOOT_TIMEOUT, DiskSpec, DomainSpec, Markers};
use crate::support::{self, BusPolicy, Command, Footprint, Host, HostOptions, Output, Who, wait_until};

const NETWORK: &str = "<network><name>plain</name><bridge name='virbr7'/><dns enable='no'/>\
    <ip address='192.168.7.1' netmask='255.255.255.0'/></network>";

pub(crate) fn host_runs_commands_with_its_own_name_and_environment() {
    let host = Host::start(HostOptions::bare().name("lone").env("COLOUR", "green"));
    assert_eq!(host.check(["hostname"]).text(), "lone");
    assert_eq!(
        host.command(["sh", "-c", "echo $COLOUR$SHAPE"])
            .env("SHAPE", "-cube")
            .check()
            .text(),
        "green-cube"
    );
    host.run(["sh", "-c", "exit 7"]).expect_code(7);
    assert_eq!(
        host.command(["wc", "-c"])
            .stdin(vec![b'x'; 300_000])
            .check()
            .text(),
        "300000"
    );
    assert_eq!(
        host.check(["cat", "/sys/class/net/lo/operstate"]).text(),
        "unknown",
        "lo is up"
    );
    assert_eq!(host.list_dir("/sys/class/net"), ["lo"]);
    assert!(!host.exists("/dev/kvm"));
}

pub(crate) fn command_that_hangs_is_killed() {
    let host = Host::start(HostOptions::bare());
    let started = Instant::now();
    let error = host
        .command(["sleep", "3600"])
        .timeout(Duration::from_millis(300))
        .try_run();
    assert!(error.is_err_and(|error| error.to_string().contains("ran out of time")));
    assert!(started.elapsed() < Duration::from_secs(5));
    wait_until("the end of the killed command", Duration::from_secs(5), || {
        !host.run(["pgrep", "-x", "sleep"]).ok()
    });
}

pub(crate) fn running_program_gives_lines_and_takes_signals() {
    let host = Host::start(HostOptions::bare());
    let script =
        "trap 'echo got TERM; exit 3' TERM; echo started; while read word; do echo \"heard $word\"; done";
    let mut running = host.command(["sh", "-c", script]).stdin_pipe().spawn();
    running.wait_line(Duration::from_secs(10), |line| line == "started");
    running.send("hello\n");
    running.wait_line(Duration::from_secs(10), |line| line == "heard hello");
    running.expect_silence(Duration::from_millis(100));
    assert!(running.pid_inside().is_some_and(|pid| pid < 1000));
    running.signal(Signal::TERM);
    running.wait_line(Duration::from_secs(10), |line| line == "got TERM");
    running.wait(Duration::from_secs(10)).expect_code(3);
}

pub(crate) fn files_move_between_hosts_that_share_nothing() {
    let (one, two) = (Host::start(HostOptions::bare()), Host::start(HostOptions::bare()));
    for path in [
        "/etc/lab-file",
        "/usr/share/lab/file",
        "/var/lib/lab/file",
        "/run/file",
        "/tmp/file",
        "/root/file",
    ] {
        one.write_file(path, "from one");
        assert!(!two.exists(path), "{path} is seen in the other host");
        assert!(!Path::new(path).exists(), "{path} is seen on the machine");
    }
    one.check(["truncate", "-s", "1G", "/var/lib/lab/big"]);
    one.copy_to(&two, &["/var/lib/lab", "/etc/lab-file"]);
    assert_eq!(two.read_file("/etc/lab-file"), "from one");
    assert_eq!(
        two.check(["stat", "-c", "%s %b", "/var/lib/lab/big"]).text(),
        "1073741824 0"
    );
    two.remove("/usr/bin/tini");
    assert!(
        !two.exists("/usr/bin/tini") && one.exists("/usr/bin/tini") && Path::new("/usr/bin/tini").exists()
    );
}

pub(crate) fn message_bus_obeys_its_policy() {
    let host = Host::start(HostOptions::bare().bus_policy(BusPolicy::Open));
    let own = |host: &Host| {
        let request = [
            "dbus-send",
            "--system",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.RequestName",
            "string:uk.org.thekelleys.dnsmasq.n_lab",
            "uint32:0",
        ];
        host.run(request).ok()
    };
    assert!(own(&host));
    host.set_bus_policy(
        "deny",
        "<policy context='mandatory'><deny own_prefix='uk.org.thekelleys'/></policy>",
    );
    assert!(!own(&host));
    let strict = Host::start(HostOptions::bare().bus_policy(BusPolicy::Distribution));
    assert!(!own(&strict));
    strict.write_file(
        "/usr/share/dbus-1/system.d/lab.conf",
        "<busconfig><policy user='root'><allow own_prefix='uk.org.thekelleys.dnsmasq'/></policy></busconfig>",
    );
    strict.reload_bus();
    assert!(own(&strict));
}

pub(crate) fn libvirtd_answers_stops_and_starts_again() {
    let mut host = Host::start(HostOptions::default());
    let version = host.check(["virsh", "version"]);
    assert!(version.stdout.contains("Running hypervisor: QEMU"), "{version}");
    host.write_file("/root/net.xml", NETWORK);
    host.check(["virsh", "net-define", "/root/net.xml"]);
    host.check(["virsh", "net-start", "plain"]);
    assert!(host.exists("/sys/class/net/virbr7"));
    assert!(
        !host.run(["pgrep", "-x", "dnsmasq"]).ok(),
        "libvirt started a dnsmasq of its own"
    );
    host.stop_libvirtd();
    assert!(!host.run(["virsh", "-c", "qemu:///system", "list"]).ok());
    host.start_libvirtd();
    assert!(
        host.check(["virsh", "net-list", "--name"])
            .stdout
            .contains("plain")
    );
    assert!(
        !Path::new("/sys/class/net/virbr7").exists(),
        "the bridge is on the machine"
    );
}

pub(crate) fn host_dies_with_the_process_that_started_it() {
    let mut parent = Command::machine([support::own_executable(), support::HOLD_ARGUMENT.into()]).spawn();
    let pid = parent.wait_line(Duration::from_secs(60), |line| line.parse::<u32>().is_ok());
    let process = Path::new("/proc").join(pid);
    assert!(process.exists());
    parent.kill();
    wait_until("the end of the orphaned host", Duration::from_secs(10), || {
        !process.exists()
    });
}

pub(crate) fn guest_boots_gets_a_lease_keeps_a_marker_and_shuts_down() {
    const DISK: &str = "/var/lib/libvirt/images/g.qcow2";
    let host = Host::start(HostOptions::default());
    host.write_file("/root/net.xml", NETWORK);
    host.check(["virsh", "net-define", "/root/net.xml"]);
    host.check(["virsh", "net-start", "plain"]);
    let dnsmasq = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--bind-dynamic",
        "--interface=virbr7",
        "--except-interface=lo",
        "--no-resolv",
        "--no-hosts",
        "--dhcp-range=192.168.7.100,192.168.7.120",
        "--dhcp-host=52:54:00:07:00:50,192.168.7.50,reserved",
        "--dhcp-leasefile=/var/lib/misc/lab.leases",
    ];
    let _dnsmasq = host.spawn(dnsmasq);
    DiskSpec::new("base-1").hostname("tester").make(&host, DISK);
    let domain = DomainSpec::new("g", DISK).network("plain", "52:54:00:07:00:50");

    let started = Instant::now();
    let mut console = domain.start(&host);
    let markers = console.wait("MARKER", BOOT_TIMEOUT);
    assert_eq!((markers.value("base"), markers.value("guest")), ("base-1", "-"));
    console.wait_ready();
    let lease = console.wait("LEASE", BOOT_TIMEOUT);
    support::note(format_args!("boot to lease: {:.1?}", started.elapsed()));
    assert_eq!(
        (lease.value("ip"), lease.value("name")),
        ("192.168.7.50", "reserved")
    );
    assert!(
        host.read_file("/var/lib/misc/lab.leases")
            .contains("52:54:00:07:00:50 192.168.7.50 reserved")
    );
    assert_eq!(console.ask("ping 192.168.7.1", "PONG").0, "PONG 192.168.7.1");
    console.write_marker("guest-1");

    let asked = Instant::now();
    host.virsh(["shutdown", "g"]);
    host.wait_domain_state("g", "shut off", Duration::from_secs(60));
    support::note(format_args!("shutdown: {:.1?}", asked.elapsed()));
    console.wait("BUTTON", Duration::from_secs(1));
    let markers = Markers::read(&host, DISK);
    assert_eq!(
        markers,
        Markers {
            base: Some("base-1".into()),
            guest: Some("guest-1".into())
        }
    );
    assert!(
        host.check(["qemu-img", "info", DISK])
            .stdout
            .contains("virtual size: 37 MiB")
    );
}

pub(crate) fn inner_arguments_do_nothing_to_the_machine() {
    let mounts = || Command::machine(["cat", "/proc/self/mountinfo"]).check().stdout;
    let before = mounts();
    let plan = r#"{"name":"stray","unmapped_files":true,"copies":[],"files":[]}"#;
    let own = support::own_executable();
    let own = own.to_str().expect("cargo's paths are text");
    for argv in [
        &[own, "--lab-init", plan][..],
        &[own, "--lab-stage", "root", own, "/", own, "0"],
    ] {
        let output = Command::machine(argv).run();
        assert!(
            !output.ok() && (output.stdout.clone() + &output.stderr).contains("not for people"),
            "{output}"
        );
    }
    assert_eq!(mounts(), before);
}

pub(crate) fn ordinary_user_has_the_same_lab() {
    if support::needs_user_namespace() {
        support::note("an ordinary user runs these tests: all of them are the proof");
        return;
    }
    let run = support::aside(Who::OrdinaryUser, ["harness::"]).expect("root can become anyone");
    let output = run.timeout(Duration::from_secs(300)).check();
    assert!(output.stdout.contains("test result: ok"), "{output}");
}

pub(crate) fn tests_of_networks_and_guests_leave_nothing_behind() {
    for filter in ["networks::", "updates::a"] {
        let run = support::aside(Who::Root, [filter]).expect("the lab runs here");
        let output = run.timeout(Duration::from_secs(300)).check();
        assert!(output.stdout.contains("test result: ok"), "{output}");
    }
}

pub(crate) fn footprint_shows_what_is_left_behind() {
    let before = Footprint::take();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let process = Command::machine(["sh", "-c", "sleep 60; : dnsmasq"]).spawn();
    let shown = before.changes(Duration::ZERO).join("\n");
    assert!(
        shown.contains(&format!("+ file {}", file.path().display())),
        "{shown}"
    );
    assert!(
        shown.contains("+ process") && shown.contains(": dnsmasq"),
        "{shown}"
    );
    drop((file, process));
}

pub(crate) fn nothing_is_left_behind_whenever_the_lab_is_killed() {
    let everyone: &[Who] = if support::needs_user_namespace() {
        &[Who::Root]
    } else {
        &[Who::Root, Who::OrdinaryUser]
    };
    for who in everyone {
        let run = support::aside(*who, [KILL_CHECK_ARGUMENT]).expect("the lab can go aside");
        run.timeout(Duration::from_secs(300)).check();
    }
}

/// The first argument that makes the executable run [`kill_check`]: alone, so that every difference is its
/// own.
pub(crate) const KILL_CHECK_ARGUMENT: &str = "--lab-kill-check";

/// Kills hosts at ten moments of their start, and compares the machine before and after.
pub(crate) fn kill_check() {
    let before = Footprint::take();
    let start = |lifetime: Duration| {
        let mut holder = Command::machine([support::own_executable(), support::HOLD_ARGUMENT.into()]).spawn();
        let held = holder.next_line(lifetime).is_some();
        holder.kill();
        held
    };
    assert!(
        start(Duration::from_secs(60)),
        "a host that was not killed came up"
    );
    // Ten moments spread over the time that a host takes to start.
    for moment in 0..10 {
        start(Duration::from_millis(7 + 97 * moment));
    }
    let mut host = Host::start(HostOptions::default());
    host.write_file("/root/net.xml", NETWORK);
    host.check(["virsh", "net-create", "/root/net.xml"]);
    host.stop_libvirtd();
    drop(host);
    before.assert_unchanged();
}

pub(crate) fn packages_install_in_a_host_and_nowhere_else() {
    let host = Host::start(HostOptions::bare().without_miniascape());
    let other = Host::start(HostOptions::bare());
    assert!(!host.exists("/usr/bin/miniascape") && other.exists("/usr/bin/miniascape"));

    let control = "Package: lab-trivial\nVersion: 1\nArchitecture: all\nMaintainer: Lab <lab@localhost>\n\
        Description: a trivial package\n";
    host.write_file("/root/deb/DEBIAN/control", control);
    host.write_file("/root/deb/usr/share/lab-deb/file", "by dpkg\n");
    host.write_file("/root/deb/var/lib/libvirt/images/lab-deb", "by dpkg\n");
    host.write_file(
        "/root/deb/DEBIAN/postinst",
        "#!/bin/sh\necho configured >/etc/lab-deb\n",
    );
    host.check(["chmod", "755", "/root/deb/DEBIAN/postinst"]);
    host.check([
        "dpkg-deb",
        "--build",
        "--root-owner-group",
        "/root/deb",
        "/root/lab.deb",
    ]);
    host.check(["dpkg", "-i", "/root/lab.deb"]);
    assert_eq!(host.read_file("/usr/share/lab-deb/file"), "by dpkg\n");
    assert_eq!(host.read_file("/etc/lab-deb"), "configured\n");
    assert_eq!(host.check(["dpkg", "-V", "lab-trivial"]).text(), "");

    let spec = "Name: lab-trivial\nVersion: 1\nRelease: 1\nSummary: a trivial package\nLicense: MIT\nBuildArch: noarch\n\
        %description\nTrivial.\n%install\nmkdir -p %{buildroot}/usr/share/lab-rpm\n\
        echo by rpm >%{buildroot}/usr/share/lab-rpm/file\n%files\n/usr/share/lab-rpm\n";
    host.write_file("/root/lab.spec", spec);
    host.check([
        "rpmbuild",
        "-bb",
        "--define",
        "_topdir /root/rpm",
        "/root/lab.spec",
    ]);
    host.check(["rpm", "-i", "/root/rpm/RPMS/noarch/lab-trivial-1-1.noarch.rpm"]);
    assert_eq!(host.read_file("/usr/share/lab-rpm/file"), "by rpm\n");
    assert_eq!(host.check(["rpm", "-V", "lab-trivial"]).text(), "");

    let known = |output: Output| output.stdout.contains("lab-trivial");
    for query in [["dpkg-query", "--show"], ["rpm", "-qa"]] {
        assert!(known(host.check(query)));
        assert!(!known(other.check(query)), "{query:?} in the other host");
    }
    // The machine's rpm is not asked: that alone would make a database in the home directory.
    assert!(
        !known(Command::machine(["dpkg-query", "--show"]).check()),
        "on the machine"
    );
    for path in [
        "/usr/share/lab-deb",
        "/usr/share/lab-rpm",
        "/etc/lab-deb",
        "/var/lib/libvirt/images/lab-deb",
    ] {
        assert!(!other.exists(path) && !Path::new(path).exists(), "{path}");
    }

    host.check(["dpkg", "--purge", "lab-trivial"]);
    host.check(["rpm", "-e", "lab-trivial"]);
    assert!(!host.exists("/usr/share/lab-deb") && !host.exists("/usr/share/lab-rpm"));
}
