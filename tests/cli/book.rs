//! The documents, as far as they can be tried without a host: blocks and marks, links, YAML, and what is generated of
//! the program itself. The lab runs their commands (`tests/lab/book.rs`).

#[path = "../support/document.rs"]
#[allow(dead_code, reason = "the lab uses the rest")]
mod document;

use self::document::{Block, Kind, blocks, fits};
use super::{files, miniascape};
use fs_err as fs;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Every document of the repository, with its text.
fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<String> = files("docs")
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.extend(["README.md", "CONTRIBUTING.md"].map(str::to_owned));
    let text = |path: &String| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    paths.iter().map(|path| (path.clone(), text(path))).collect()
}

fn blocks_of(path: &str, text: &str) -> Vec<Block> {
    blocks(text).unwrap_or_else(|wrong| panic!("{path}: {}", wrong.join(&format!("\n{path}: "))))
}

#[test]
fn every_command_is_run_or_says_why_not() {
    let lab = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/book.rs")).unwrap();
    for (path, text) in documents() {
        if blocks_of(&path, &text).iter().any(Block::is_run) {
            assert!(
                lab.contains(&format!("{path:?}")),
                "{path} has commands that the lab does not run"
            );
        }
    }
}

#[test]
fn blocks_that_hide_something_are_mistakes() {
    for wrong in [
        "```bash\nls\n```\n",
        "text\n\n    miniascape net list\n",
        "```sh\nls\n",
        "<!-- not run: too slow -->\n```sh\nls\n```\n",
        "<!-- not run: installation -->\n```sh\nsudo miniascape net register lab\n```\n",
        "<!-- file: /etc/x.yaml -->\n\n```yaml\na: 1\n```\n",
        "```text\nmember$\n$ ls\n```\n",
        "```console\nls\n```\n",
        "<!-- to do -->\n",
    ] {
        assert!(blocks(wrong).is_err(), "{wrong}");
    }
    let text = "```console\n$ a \\\n  b\nx  1\n$ c\nno…such\n$ echo $?\n3\n$ d\ny\n^C\n```\n";
    let steps = blocks_of("", text)[0].steps();
    let told: Vec<_> = steps
        .iter()
        .map(|s| (s.command.as_str(), s.status, s.interrupted))
        .collect();
    assert_eq!(told, [("a \\\n  b", 0, false), ("c", 3, false), ("d", 0, true)]);
    assert_eq!((steps[0].printed.len(), steps[0].line), (1, 2));
    let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert!(fits(&said(&["a  … c", "…", "end"]), &["a 1 c", "x", "y", "end"]));
    assert!(
        !fits(&said(&["a … c"]), &["a 1 d"])
            && !fits(&said(&["a"]), &["a", "b"])
            && !fits(&said(&["a b"]), &["a"])
    );
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let anchors = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                let kept = title
                    .chars()
                    .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    };
    for (path, text) in &documents {
        let dir = Path::new(path).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                Path::new(path).to_owned()
            } else {
                dir.join(file)
            };
            let target = target.to_str().unwrap().replace("docs/../", "");
            let found = documents.iter().find(|(known, _)| *known == target);
            let exists = found.is_some() || Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).exists();
            let there = anchor.is_empty() || found.is_some_and(|(_, text)| anchors(text).contains(anchor));
            assert!(exists && there, "{path}: nothing is at {link}");
        }
    }
    let (_, index) = documents
        .iter()
        .find(|(path, _)| path == "docs/README.md")
        .unwrap();
    for (path, _) in &documents {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(name),
            "docs/README.md does not name {path}"
        );
    }
}

/// A definition for parts of one to stand in.
const AROUND: [(&str, &str); 6] = [
    ("  mode:", "  mode: nat\n"),
    ("  domain:", "  domain: net-1.internal\n"),
    ("  ipv4:", "  ipv4: { subnet: 192.168.151.0/24 }\n"),
    ("  dhcp:", "  dhcp: {}\n"),
    ("  ipv6:", "  ipv6: { subnet: \"fd00:151::/64\" }\n"),
    (
        "  hosts:",
        "  hosts: [ { name: service-1, ip: 192.168.151.210 } ]\n",
    ),
];

#[test]
fn yaml_is_what_the_program_reads() {
    for (path, text) in documents() {
        for block in blocks_of(&path, &text)
            .iter()
            .filter(|block| block.kind == Kind::Yaml)
        {
            let state = tempfile::tempdir().unwrap();
            let dir = state.path().join("etc/miniascape/networks");
            fs::create_dir_all(dir.join("doc.d")).unwrap();
            let around = AROUND
                .iter()
                .filter(|(key, _)| !block.text.lines().any(|line| line.starts_with(key)));
            let around: String = around.map(|(_, text)| *text).collect();
            let first = block
                .text
                .lines()
                .find(|line| !line.starts_with('#'))
                .unwrap_or_default();
            let mut definition = format!("network:\n  name: doc\n{around}");
            match first {
                "network:" => definition.clone_from(&block.text),
                "hosts:" | "records:" => {
                    // The page says which subnet is its own.
                    let subnet = if block.text.contains("192.168.160.") {
                        160
                    } else {
                        151
                    };
                    definition = format!(
                        "network:\n  name: doc\n  mode: nat\n  domain: doc.internal\n  ipv4: {{ subnet: 192.168.{subnet}.0/24 }}\n  \
                         hosts: [ {{ name: web, ip: 192.168.{subnet}.250 }} ]\n"
                    );
                    fs::write(dir.join("doc.d/one.yaml"), &block.text).unwrap();
                }
                "networks:" => {
                    fs::write(state.path().join("etc/miniascape/config.yaml"), &block.text).unwrap();
                }
                _ => definition += &block.text,
            }
            let file = dir.join("doc.yaml");
            fs::write(&file, &definition).unwrap();
            let state = state.path().to_str().unwrap();
            let run = miniascape(["--state-dir", state, "net", "validate", file.to_str().unwrap()]);
            assert_eq!(
                run.status, 0,
                "{path}:{}: {}\n{definition}",
                block.line, run.stderr
            );
        }
    }
}

#[test]
fn the_keys_of_networks_are_those_that_are_read() {
    let schema: Value = serde_json::from_str(&miniascape(["schema", "network"]).stdout).unwrap();
    let network = &schema["properties"]["network"]["properties"];
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/network-file.md")).unwrap();
    let rows = text
        .split("## Keys")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = rows.lines().filter_map(|row| row.strip_prefix("| `"));
    let named: BTreeSet<&str> = rows
        .filter_map(|row| row.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    let mut read = BTreeSet::new();
    for (key, described) in network.as_object().unwrap() {
        read.insert(key.clone());
        let inner = described["properties"].as_object().into_iter().flatten();
        read.extend(inner.map(|(inner, _)| format!("{key}.{inner}")));
    }
    let of = |name: &str| read.iter().any(|key| key.starts_with(&format!("{name}.")));
    for key in &read {
        let whole = key.split('.').next().unwrap();
        assert!(
            named.contains(key.as_str()) || of(key) || named.contains(whole) && !key.starts_with("dhcp."),
            "docs/network-file.md does not name {key}"
        );
    }
    for name in named {
        assert!(read.contains(name), "{name} in docs/network-file.md is no key");
    }
}

/// `docs/commands.md`, made of the manual's pages and of what `-h` says.
fn commands() -> String {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(miniascape(["man", dir.path().to_str().unwrap()]).status, 0);
    let mut pages: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    let mut text = "# All commands\n\nMade by the program itself (`MINIASCAPE_WRITE_DOCS=1 cargo test --test cli book`). \
                    `miniascape COMMAND --help` and `man miniascape-COMMAND` say what each option does.\n\n\
                    | command | what it does | options |\n| --- | --- | --- |\n"
        .to_owned();
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|end| end == "1"))
    {
        let source = fs::read_to_string(page).unwrap();
        let synopsis = source.split(".SH SYNOPSIS\n").nth(1).unwrap();
        let words = synopsis
            .split("\\fB")
            .nth(1)
            .and_then(|rest| rest.split("\\fR").next())
            .unwrap();
        if synopsis
            .lines()
            .next()
            .is_some_and(|line| line.contains("subcommands"))
        {
            continue;
        }
        let help = miniascape(words.split(' ').skip(1).chain(["-h"])).stdout;
        let about = help.split("\n\n").next().unwrap().replace('\n', " ");
        let usage = help
            .lines()
            .find_map(|line| line.strip_prefix("Usage: miniascape "))
            .unwrap();
        let own = help.split("\nOptions:\n").nth(1).unwrap_or_default();
        let own = own.split("\n\n").next().unwrap();
        let options: Vec<String> = own
            .lines()
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
            .map(|word| format!("`{}`", word.trim_end_matches([',', '.'])))
            .filter(|word| word != "`--help`")
            .collect();
        let usage = usage.replace(" [OPTIONS]", "").replace('|', "\\|");
        let _ = writeln!(text, "| `{usage}` | {about} | {} |", options.join(" "));
    }
    text += "\nThe options of every command: `--connect`, `--format`, `--quiet`, `--verbose`, `--root`, `--state-dir`.\n";
    text
}

#[test]
fn the_list_of_commands_is_what_the_program_has() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    let made = commands();
    if std::env::var_os("MINIASCAPE_WRITE_DOCS").is_some() {
        fs::write(path, &made).unwrap();
    }
    assert!(
        fs::read_to_string(path).is_ok_and(|text| text == made),
        "docs/commands.md is not what the program has; MINIASCAPE_WRITE_DOCS=1 cargo test --test cli book writes it anew"
    );
}
