//! What runs inside the private host: registering, and the things that it is compared with.

use fs_err as fs;
use miniascape::image;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The argument that makes this executable compute digests.
pub(crate) const DIGEST: &str = "--digest";
/// The argument that makes this executable measure one guest.
pub(crate) const MEASURE: &str = "--measure";
/// The columns of what [`measure`] prints.
pub(crate) const HEAD: &str = "guest   size data   digest  GB/s    openssl   define | register   beyond | --as   beyond | again   (ms, medians)";

/// Each is run so many times, in turns.
const ROUNDS: usize = 5;
const PACKAGED: &str = "/var/lib/libvirt/images/miniascape/packaged";
const GUESTS: &str = "/var/lib/libvirt/images/miniascape/guests";
const XML: &str = "/root/same.xml";

/// Reads files once, as registering does.
pub(crate) fn digest(files: &[&str]) {
    for file in files {
        image::sha256_file(Path::new(file), &mut |_| {}).expect("a digest");
    }
}

/// Registers the guest and a second one, and prints medians.
pub(crate) fn measure(guest: &str) {
    let images: Vec<String> = fs::read_dir(PACKAGED)
        .expect("the packaged images")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    let bytes: u64 = images
        .iter()
        .map(|file| fs::metadata(file).expect("an image").len())
        .sum();
    let package = format!("vm-{guest}");
    let second = format!("{guest}-b");
    let own = std::env::current_exe().expect("Linux knows it");
    let mut columns: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let digest = milliseconds(Command::new(&own).arg(DIGEST).args(&images));
        let theirs = milliseconds(Command::new("openssl").args(["dgst", "-sha256"]).args(&images));
        let register = milliseconds(miniascape().args(["guest", "register", &package]));
        let beside = milliseconds(miniascape().args(["guest", "register", &package, "--as", &second]));
        let again = milliseconds(miniascape().args(["guest", "register", &package]));
        for file in &images {
            let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata(file).expect("an image"));
            assert_eq!(links, 3, "{file} was copied");
        }
        let xml = Command::new("virsh")
            .args(["dumpxml", "--inactive", guest])
            .output()
            .expect("virsh starts");
        fs::write(XML, xml.stdout).expect("root may");
        forget(guest, &second);
        let define = milliseconds(Command::new("virsh").args(["-q", "define", XML]));
        milliseconds(Command::new("virsh").args(["-q", "undefine", guest]));
        for (column, value) in columns
            .iter_mut()
            .zip([digest, theirs, define, register, beside, again])
        {
            column.push(value);
        }
    }
    let [digest, theirs, define, register, beside, again] = columns.map(median);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = bytes as f64 / digest / 1e6;
    println!(
        "{digest:8.1} {rate:5.2} {theirs:10.1} {define:8.1} | {register:8.1} {:8.1} | {beside:6.1} {:6.1} | {again:5.1}",
        register - digest - define,
        beside - define
    );
}

fn miniascape() -> Command {
    Command::new("/usr/bin/miniascape")
}

/// Takes both instances away, with all that is known of them; the package stays. The network first: every changing command
/// makes the guest of a package that has none.
fn forget(guest: &str, second: &str) {
    let names = [second, guest];
    for name in names {
        let entries = format!("/var/lib/miniascape/networks/net-1/hosts.d/{name}.yaml");
        if Path::new(&entries).exists() {
            fs::remove_file(entries).expect("its entries");
        }
    }
    milliseconds(miniascape().args(["net", "update", "net-1"]));
    for name in names {
        milliseconds(Command::new("virsh").args(["-q", "undefine", name]));
        fs::remove_dir_all(format!("{GUESTS}/{name}")).expect("its disks");
        fs::remove_dir_all(format!("/var/lib/miniascape/guests/{name}")).expect("its record");
    }
}

/// How long a command takes from its start to its end.
fn milliseconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    let output = command.output().expect("it starts");
    let elapsed = start.elapsed();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    1e3 * elapsed.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
