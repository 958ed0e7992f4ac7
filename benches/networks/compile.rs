//! How fast definitions are read, checked and compiled, beside a C parser that merely reads the same YAML.

use super::run::{Run, own_peak, run_child, seconds};
use fs_err as fs;
use miniascape::host::Layout;
use miniascape::network;
use miniascape::template::Templates;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The argument that makes this executable the measured process.
pub(crate) const CHILD: &str = "--compile-all";

/// libyaml's event parser over files, for no other purpose than to have read them.
const C_PARSER: &str = r#"
#include <stdio.h>
#include <yaml.h>
int main(int argc, char **argv) {
    unsigned long events = 0;
    for (int i = 1; i < argc; i++) {
        yaml_parser_t parser; yaml_event_t event; int done = 0;
        FILE *file = fopen(argv[i], "rb");
        if (!file || !yaml_parser_initialize(&parser)) return 1;
        yaml_parser_set_input_file(&parser, file);
        while (!done) {
            if (!yaml_parser_parse(&parser, &event)) return 2;
            done = event.type == YAML_STREAM_END_EVENT; events++;
            yaml_event_delete(&event);
        }
        yaml_parser_delete(&parser); fclose(file);
    }
    printf("%lu\n", events);
    return 0;
}
"#;

/// Writes `count` definitions with `hosts` hosts each into `dir`.
fn write_definitions(dir: &Path, count: usize, hosts: usize) {
    for n in 0..count {
        let (a, b) = (n / 256, n % 256);
        let mut text = format!(
            "# Network {n} of a measurement.\nnetwork:\n  name: net-{n}\n  mode: nat\n  bridge: br{n}\n  \
             domain: net-{n}.internal\n  ipv4: {{ subnet: 10.{}.0.0/16 }}\n  \
             dhcp: {{ ranges: [ {{ start: 10.{}.200.0, end: 10.{}.250.0 }} ], lease_time: 12h }}\n  hosts:\n",
            n % 250,
            n % 250,
            n % 250,
        );
        for h in 0..hosts {
            let (high, low) = (1 + h / 250, 2 + h % 250);
            writeln!(
                text,
                "    - {{ name: host-{h}, mac: \"52:54:{a:02x}:{b:02x}:{high:02x}:{low:02x}\", ip: 10.{}.{high}.{low} }}",
                n % 250
            )
            .expect("a String takes everything");
        }
        fs::write(dir.join(format!("net-{n}.yaml")), text).expect("the directory is ours");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the directory is ours")
        .map(|entry| entry.expect("the directory is ours").path())
        .collect();
    files.sort();
    files
}

/// The measured process: compiles every definition in `dir` on all cores, and prints seconds and KiB at the peak.
pub(crate) fn child(dir: &Path) {
    let files = files(dir);
    let templates = Templates::shipped().expect("the shipped templates are whole");
    let layout = Layout::default();
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (network, _) = network::read(file).unwrap_or_else(|error| panic!("{error}"));
            let compiled = network::compile(&network, &layout, &templates).expect("it compiles");
            let length = compiled.files().iter().map(|file| file.content.len()).sum();
            bytes.fetch_add(length, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    assert!(
        bytes.load(Ordering::Relaxed) > files.len(),
        "nothing was compiled"
    );
    println!("{} {}", start.elapsed().as_secs_f64(), own_peak());
}

pub(crate) fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let set = |name: &str, count, hosts| {
        let path = dir.path().join(name);
        fs::create_dir(&path).expect("the directory is ours");
        write_definitions(&path, count, hosts);
        path
    };
    let (large, small, long) = (
        set("large", 1000, 250),
        set("small", 100, 250),
        set("long", 100, 2500),
    );
    let parser = dir.path().join("parse");
    let source = dir.path().join("parse.c");
    fs::write(&source, C_PARSER).expect("the directory is ours");
    let built = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&parser)
        .arg(&source)
        .arg("-lyaml")
        .status();
    assert!(
        built.is_ok_and(|s| s.success()),
        "the C parser needs cc and libyaml-dev"
    );

    let runs = 5;
    let (mut ours, mut theirs, mut few, mut many) =
        (Run::default(), Run::default(), Run::default(), Run::default());
    for _ in 0..runs {
        ours.add(run_child(CHILD, &large));
        theirs.add((seconds(Command::new(&parser).args(files(&large))), 0));
        few.add(run_child(CHILD, &small));
        many.add(run_child(CHILD, &long));
    }
    println!("1,000 definitions of 250 hosts, median of {runs} runs");
    println!(
        "  read, check and compile   {:7.3} s   peak {} MB",
        ours.median(),
        ours.peak_mb()
    );
    println!(
        "  libyaml merely reads them {:7.3} s   (one core)",
        theirs.median()
    );
    println!(
        "  ratio                     {:7.2}",
        ours.median() / theirs.median()
    );
    println!("100 definitions, ten times the hosts");
    println!("  of 250 hosts              {:7.3} s", few.median());
    println!("  of 2,500 hosts            {:7.3} s", many.median());
    println!("  ratio                     {:7.2}", many.median() / few.median());
}
