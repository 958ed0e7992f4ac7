//! The manual, the schemas and the completions: made by the program itself, and read by what people read them with.

use super::{files, miniascape};
use fs_err as fs;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Validates YAML files, as YAML 1.1 and as JSON Schema see them: two lines of paths, of the good and of the bad ones.
const VALIDATE: &str = r"
import json, sys, warnings
warnings.simplefilter('ignore')
import jsonschema, yaml
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
good, bad = [], []
for path in sys.argv[2:]:
    errors = list(validator.iter_errors(yaml.safe_load(open(path))))
    (bad if errors else good).append(path)
print(' '.join(good)); print(' '.join(bad))
";

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Which of `paths` fit the schema `name`, and which do not.
fn validated(dir: &Path, name: &str, paths: &[String]) -> (Vec<String>, Vec<String>) {
    let schema = dir.join(format!("{name}.json"));
    fs::write(&schema, miniascape(["schema", name]).stdout).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    let output = python
        .args(["-I", "-c", VALIDATE])
        .arg(&schema)
        .args(paths)
        .output();
    let told = succeeded(output.unwrap());
    let mut lines = told
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect());
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

fn texts(directory: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let names = files(directory)
        .into_iter()
        .map(|path| path.to_str().unwrap().to_owned());
    names.filter(|name| wanted(name)).collect()
}

#[test]
fn schemas_take_what_is_read_and_refuse_what_they_can() {
    let dir = tempfile::tempdir().unwrap();
    let native = |name: &str| !name.contains("/original");
    let mut good = texts("tests/data/network/good", native);
    good.extend(texts("networks", native));
    good.push("data/examples/network.yaml".to_owned());
    let (fit, unfit) = validated(dir.path(), "network", &good);
    assert_eq!((fit.len(), unfit), (good.len(), vec![]));
    let mistakes = [
        "mode-unknown",
        "unknown-key",
        "missing-keys",
        "network-name",
        "dhcp-unknown",
        "not-a-mapping",
    ];
    let bad: Vec<String> = mistakes
        .map(|name| format!("tests/data/network/bad/{name}.yaml"))
        .into();
    assert_eq!(validated(dir.path(), "network", &bad), (vec![], bad.clone()));
    for name in ["network-drop-in", "config"] {
        let example = [format!("data/examples/{name}.yaml")];
        assert_eq!(validated(dir.path(), name, &example), (example.to_vec(), vec![]));
        assert_eq!(validated(dir.path(), name, &bad[..1]).1.len(), 1);
    }
    // The examples of the manual are files that the program takes.
    let run = miniascape(["net", "validate", "data/examples/network.yaml"]);
    assert_eq!(run.status, 0, "{run:?}");
    let list = miniascape(["schema", "--format", "json"]).stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(miniascape(["schema", "nothing"]).status, 2);
}

#[test]
fn every_command_and_file_has_a_page_that_man_formats_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let run = miniascape(["man", dir.path().to_str().unwrap()]);
    assert_eq!(run.status, 0, "{run:?}");
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let groff = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-Kutf8", "-P-cbou"])
            .arg(&path)
            .output();
        let output = groff.unwrap();
        assert!(output.stderr.is_empty(), "{}: {output:?}", path.display());
        let shown = succeeded(output);
        assert!(shown.contains("NAME") && shown.contains("SEE ALSO"), "{shown}");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Every command shows how it is used.
        let source = fs::read_to_string(&path).unwrap();
        let group =
            ["net", "lease", "guest", "image", "package"].map(|group| format!("miniascape-{group}.1"));
        if !name.ends_with(".5") && name != "miniascape.1" && !group.contains(&name) {
            assert!(source.contains(".SH EXAMPLES"), "{name}");
        }
        pages.push(name);
    }
    for page in [
        "miniascape.1",
        "miniascape-net-register.1",
        "miniascape-network.5",
        "miniascape-config.5",
    ] {
        assert!(pages.iter().any(|name| name == page), "{pages:?}");
    }
    let nowhere = miniascape(["man", "/dev/null/pages"]);
    assert!(
        nowhere.status == 1 && nowhere.stderr.contains("/dev/null/pages"),
        "{nowhere:?}"
    );
}

/// What bash offers behind `words`, the last of which is being typed.
fn offered(state: &Path, words: &[&str]) -> Vec<String> {
    let script = format!(
        "PATH={}:$PATH; source <(miniascape completions bash); COMP_WORDS=({}); COMP_CWORD={}; \
         _clap_complete_miniascape miniascape '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        Path::new(env!("CARGO_BIN_EXE_miniascape"))
            .parent()
            .unwrap()
            .display(),
        words.join(" "),
        words.len() - 1,
        words.last().unwrap(),
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env("MINIASCAPE_STATE_DIR", state)
        .env("LIBVIRT_DEFAULT_URI", "test:///default")
        .output();
    succeeded(output.unwrap()).lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_commands_and_names() {
    let state = tempfile::tempdir().unwrap();
    let networks = state.path().join("etc/miniascape/networks");
    fs::create_dir_all(&networks).unwrap();
    fs::copy("data/examples/network.yaml", networks.join("lab.yaml")).unwrap();
    assert_eq!(offered(state.path(), &["miniascape", "net", "reg"]), ["register"]);
    assert_eq!(
        offered(state.path(), &["miniascape", "net", "register", "la"]),
        ["lab"]
    );
    assert_eq!(
        offered(state.path(), &["miniascape", "guest", "start", "te"]),
        ["test"]
    );
    assert_eq!(offered(state.path(), &["miniascape", "--format", "js"]), ["json"]);
    for shell in ["bash", "zsh", "fish"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        fs::write(&path, miniascape(["completions", shell]).stdout).unwrap();
        let check = Command::new(shell).arg("-n").arg(&path).output().unwrap();
        assert!(
            check.status.success() && check.stderr.is_empty(),
            "{shell}: {check:?}"
        );
    }
}
