//! `cargo bench --bench register`: what it takes to register guests of several sizes from installed packages, beside what it
//! cannot do without: libvirt's own definition of the same domain, and one reading of each new image for its digest. Each is
//! timed apart, in turns. Figures are printed; nothing passes or fails by them.
//!
//! Needs what the lab needs, and 10 GB of memory for the private host's disks.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

mod inside;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;
use support::guest::DomainSpec;
use support::{Host, HostOptions, set_under_test, wait_until};

const NET_1: &str = include_str!("../../networks/net-1.yaml");
/// Where the measuring program is in the host.
const PROGRAM: &str = "/usr/local/bin/measure";
/// Name, virtual size of the disk, and how much of it is written.
const GUESTS: [[&str; 3]; 3] = [
    ["small", "1G", "1G"],
    ["medium", "20G", "2G"],
    ["large", "200G", "4G"],
];

fn main() -> ExitCode {
    // This executable is also the first process inside a private host.
    if let Some(code) = support::entry() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [inside::DIGEST, files @ ..] => inside::digest(files),
        [inside::MEASURE, guest] => inside::measure(guest),
        [] => all(),
        other => panic!("unknown: {other:?}"),
    }
    ExitCode::SUCCESS
}

fn all() {
    set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    let host = Host::start(HostOptions::default());
    host.write_file("/etc/miniascape/networks/net-1.yaml", NET_1);
    let daemon = host.miniascape_command(["--verbose", "daemon"]).spawn();
    wait_until("the daemon", Duration::from_secs(30), || {
        daemon.transcript().contains("ready:")
    });
    host.miniascape_check(["net", "register", "net-1"]);
    host.copy_from_machine(std::env::current_exe().expect("Linux knows it"), PROGRAM);
    host.check(["chmod", "755", PROGRAM]);
    println!("{}", inside::HEAD);
    for [name, size, data] in GUESTS {
        install(&host, name, size, data);
        let measured = host
            .command([PROGRAM, inside::MEASURE, name])
            .timeout(Duration::from_secs(600))
            .check();
        println!("{:<7} {size:>4} {data:>3} {}", name, measured.stdout.trim_end());
        sh(&host, "rm -rf /var/lib/libvirt/images/miniascape/packaged");
    }
}

/// Puts a guest with such a disk where a package manager would, as `repack` packs it.
fn install(host: &Host, name: &str, size: &str, data: &str) {
    let disk = format!("/srv/images/{name}.qcow2");
    sh(
        host,
        &format!(
            "mkdir -p /srv/images; cd /srv/images; head -c {data} /dev/urandom >raw; truncate -s {size} raw
             qemu-img convert -f raw -O qcow2 raw {disk}; rm raw"
        ),
    );
    host.write_file(
        "/root/guest.xml",
        DomainSpec::new(name, &disk)
            .network("net-1", "52:54:00:01:00:80")
            .xml(),
    );
    host.check(["virsh", "define", "/root/guest.xml"]);
    let words = [
        "repack",
        name,
        "--to",
        "deb",
        "--compress",
        "none",
        "--output",
        "/srv/out",
    ];
    host.miniascape_command(words.into_iter().chain(["--progress", "none"]))
        .timeout(Duration::from_secs(300))
        .check();
    sh(
        host,
        &format!(
            "virsh undefine {name}; rm {disk}
             for file in /srv/out/*.deb; do dpkg-deb -x $file /; rm $file; done"
        ),
    );
}

fn sh(host: &Host, script: &str) {
    host.command(["sh", "-e", "-c", script])
        .timeout(Duration::from_secs(300))
        .check();
}
