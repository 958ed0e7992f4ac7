//! The daemon's life, a state directory that holds everything, and runs killed at any moment.

use crate::guests::dhcp_client;
use crate::networks::{definition, host_with_daemon};
use crate::support::{Host, HostOptions, Output, wait_until};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const STATE: &str = "/srv/lab";
const STANDARD: [&str; 3] = ["/etc/miniascape", "/var/lib/miniascape", "/run/miniascape"];

/// Everything below the directories, with size and time.
fn files(host: &Host, dirs: &[&str]) -> String {
    let find = ["find"]
        .iter()
        .chain(dirs)
        .chain(&["-printf", "%y %m %s %T@ %p\\n"]);
    // A directory that is not there has nothing in it.
    host.run(find).stdout
}

fn dnsmasq(host: &Host) -> Vec<String> {
    let found = host.run(["pgrep", "-a", "-x", "dnsmasq"]);
    found.stdout.lines().map(str::to_owned).collect()
}

fn in_state(host: &Host, line: &str) -> Output {
    host.miniascape(["--state-dir", STATE].into_iter().chain(line.split_whitespace()))
}

pub(crate) fn a_state_directory_holds_everything_and_its_daemon_comes_and_goes() {
    let host = Host::start(HostOptions::default());
    host.write_file(
        format!("{STATE}/etc/miniascape/networks/lab.yaml"),
        definition("lab", "10.66.6", "virbr66"),
    );
    let before = files(&host, &STANDARD);
    let start = || {
        let daemon = host
            .miniascape_command(["daemon", "--verbose", "--state-dir", STATE])
            .spawn();
        wait_until("the daemon", PATIENCE, || daemon.transcript().contains("ready:"));
        daemon
    };
    let daemon = start();
    let second = in_state(&host, "daemon");
    second.expect_code(3);
    assert!(
        second.stderr.contains("/srv/lab/run/miniascape/daemon.sock"),
        "{second}"
    );
    let untouched = files(&host, &[STATE]);
    in_state(&host, "net register lab --dry-run").expect_code(0);
    assert_eq!(files(&host, &[STATE]), untouched);
    in_state(&host, "net register lab").expect_code(0);
    let running = dnsmasq(&host);
    let conf = format!("--conf-file={STATE}/var/lib/miniascape/networks/lab/dnsmasq.conf");
    assert!(running.len() == 1 && running[0].contains(&conf), "{running:?}");
    let conf = host.read_file(format!("{STATE}/var/lib/miniascape/networks/lab/dnsmasq.conf"));
    let paths: Vec<&str> = conf
        .lines()
        .filter(|line| line.contains("file=/") || line.contains("hosts=/"))
        .collect();
    assert!(
        paths.len() == 4 && paths.iter().all(|path| path.contains("=/srv/lab/")),
        "{conf}"
    );

    // It serves: an address from its reservations, a name from its hosts, a lease in its file.
    let leased = dhcp_client(&host, "virbr66", "52:54:00:00:00:01", "one");
    assert!(leased.ok(), "{leased}");
    let leases = in_state(&host, "lease list");
    assert!(leases.stdout.contains("10.66.6.11"), "{leases}");
    let asked = host.run(["busybox", "nslookup", "one.lab.internal", "10.66.6.1"]);
    assert!(asked.stdout.contains("Address: 10.66.6.11"), "{asked}");
    in_state(
        &host,
        "guest create box --memory 64MiB --disk new:1MiB --network lab",
    )
    .expect_code(0);
    let disk = format!("{STATE}/var/lib/libvirt/images/miniascape/guests/box/disk-0.qcow2");
    assert!(host.exists(&disk), "{}", files(&host, &[STATE]));
    host.check(["virsh", "undefine", "box"]);

    // The rest of the host knows nothing of it, but libvirt.
    assert_eq!(files(&host, &STANDARD), before);
    assert_eq!(host.miniascape_check(["lease", "list"]).text(), "no leases");
    let elsewhere = host.miniascape(["net", "status", "lab", "--format", "json"]);
    assert_eq!(elsewhere.json()["registered"], false, "{elsewhere}");

    // The daemon ends when told so, with its dnsmasq, and leaves no socket.
    assert!(!daemon.transcript().contains('\u{1b}'), "{}", daemon.transcript());
    daemon.signal(Signal::TERM);
    daemon.wait(PATIENCE).expect_code(0);
    assert_eq!(dnsmasq(&host), [""; 0]);
    assert_eq!(host.list_dir(format!("{STATE}/run/miniascape")), [""; 0]);
    let status = in_state(&host, "net status lab");
    status.expect_code(1);
    assert!(
        status
            .stdout
            .contains("its dnsmasq does not run: `miniascape net update lab`"),
        "{status}"
    );

    // A new one starts what is registered.
    let daemon = start();
    assert!(
        daemon.transcript().contains("ready: 1 networks"),
        "{}",
        daemon.transcript()
    );
    wait_until("a dnsmasq", PATIENCE, || in_state(&host, "net status lab").ok());
    let again = in_state(&host, "net register lab");
    assert!(again.ok() && again.stdout.contains("nothing to do"), "{again}");
    let gone = host
        .miniascape_command(["net", "unregister", "lab"])
        .env("MINIASCAPE_STATE_DIR", STATE)
        .check();
    assert!(
        gone.stdout.contains("lab unregistered: stop its dnsmasq"),
        "{gone}"
    );
    assert_eq!((dnsmasq(&host), host.networks()), (vec![], vec![]));
    daemon.signal(Signal::INT);
    daemon.wait(PATIENCE).expect_code(0);
    assert_eq!(files(&host, &STANDARD), before);
}

/// Runs miniascape and kills it after `delay`, as `kill -9` does; true if it was still at work.
fn kill_after(host: &Host, delay: Duration, line: &str) -> bool {
    let mut run = host.miniascape_command(line.split_whitespace()).spawn();
    std::thread::sleep(delay);
    let working = run.is_running();
    run.kill();
    working
}

/// Ten moments within the time that a run takes.
fn moments() -> impl Iterator<Item = Duration> {
    (0..10).map(|step| Duration::from_millis(4 + step * step))
}

fn drafts(host: &Host) -> String {
    host.run([
        "find",
        "/var/lib/miniascape",
        "/etc/miniascape",
        "/run/miniascape",
        "-name",
        ".*",
    ])
    .stdout
}

pub(crate) fn killed_registrations_are_made_up_for_by_the_next_run() {
    let (host, _daemon) = host_with_daemon();
    let mut killed = 0;
    for delay in moments() {
        killed += u32::from(kill_after(&host, delay, "net register net-1"));
        host.miniascape_check(["net", "register", "net-1"]);
        let status = host.miniascape_check(["net", "status", "net-1"]);
        assert!(!status.stdout.contains("problem"), "{status}");
        let again = host.miniascape_check(["net", "register", "net-1"]);
        assert!(again.stdout.contains("nothing to do"), "after {delay:?}: {again}");
        assert_eq!(
            (dnsmasq(&host).len(), drafts(&host)),
            (1, String::new()),
            "after {delay:?}"
        );

        killed += u32::from(kill_after(&host, delay, "net unregister net-1"));
        host.miniascape_check(["net", "unregister", "net-1"]);
        assert!(
            dnsmasq(&host).is_empty() && host.networks().is_empty(),
            "after {delay:?}"
        );
        assert!(
            !host.exists("/sys/class/net/virbr151") && !host.exists("/var/lib/miniascape/networks/net-1")
        );

        // Taken away by the next run, though the killed one had hardly begun.
        killed += u32::from(kill_after(&host, delay, "net register net-1"));
        host.miniascape_check(["net", "unregister", "net-1"]);
        assert!(
            dnsmasq(&host).is_empty() && host.networks().is_empty(),
            "after {delay:?}"
        );
        assert_eq!(
            host.list_dir("/var/lib/miniascape/networks"),
            [""; 0],
            "after {delay:?}"
        );
    }
    assert!(killed >= 10, "only {killed} runs were killed at work");
    assert_eq!(host.list_dir("/run/miniascape"), ["daemon.lock", "daemon.sock"]);
}

/// Networks without dnsmasq need no daemon: nobody but the next run can finish what was left for later.
pub(crate) fn work_left_for_a_root_is_done_by_its_first_changing_run() {
    let host = Host::start(HostOptions::default());
    let plain =
        "network: { name: plain, mode: isolated, ipv4: { subnet: 10.5.5.0/24 }, dns: { serve: false } }\n";
    host.write_file("/etc/miniascape/networks/plain.yaml", plain);
    let any = ["net", "unregister", "some-other"];
    let try_any = ["net", "unregister", "some-other", "--dry-run"];
    for (verb, there) in [("register", true), ("unregister", false)] {
        host.miniascape_check(["--root", "/", "net", verb, "plain"]);
        assert_eq!(
            host.networks().is_empty(),
            there,
            "{verb}: libvirt has heard of it already"
        );
        host.miniascape_check(["net", "list"]);
        host.miniascape_check(try_any);
        assert_eq!(
            host.networks().is_empty(),
            there,
            "{verb}: a dry run or a reader has done it"
        );
        let done = host.miniascape_check(any);
        let told = format!("finished pending work: {verb} the network plain");
        assert!(done.stderr.contains(&told), "{done}");
        assert_eq!(host.networks().is_empty(), !there);
        let again = host.miniascape_check(any);
        assert!(again.stderr.is_empty(), "{again}");
        if there {
            host.miniascape_check(["net", "status", "plain"]);
        }
    }
    assert_eq!(host.list_dir("/var/lib/miniascape/networks"), [""; 0]);
}
