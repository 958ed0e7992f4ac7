//! Every rule has a failing example that points at line and column: those in `tests/data/network/examples.txt`, which
//! take several files, and those in `bad/` beside it. Which rules there are is read in the source itself.

use super::{data, definitions};
use crate::host::Layout;
use crate::network::{FindError, Finder, NetworkError};
use crate::yaml::Problem;
use fs_err as fs;
use std::path::Path;

const MARK: char = '‸';

/// Messages that no definition brings about by itself, with what does.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "which this host reaches by {interface}",
        "the host's routes: in the lab",
    ),
    (
        "too many files belong to this network",
        "more files than anyone has",
    ),
    (
        "`hosts` must be a mapping",
        "the record of choices: it counts as lost, see `auto`",
    ),
    ("is not a SHA-256 digest", "packages: no definition has one"),
];

struct Example<'t> {
    title: &'t str,
    files: Vec<(&'t str, String)>,
    message: &'t str,
    warns: bool,
}

fn examples(text: &str) -> Vec<Example<'_>> {
    text.split("\n=== ")
        .skip(1)
        .map(|part| {
            let (title, rest) = part.split_once('\n').unwrap();
            let mut example = Example {
                title,
                files: Vec::new(),
                message: "",
                warns: false,
            };
            for piece in rest.split("--- ").skip(1) {
                let (head, body) = piece.split_once('\n').unwrap();
                match head {
                    "says" | "warns" => {
                        example.message = body.trim_end_matches('\n');
                        example.warns = head == "warns";
                    }
                    path => example.files.push((path, body.to_owned())),
                }
            }
            example
        })
        .collect()
}

/// Line and column of the mark, which is taken out; the beginning of the file without one.
fn take_mark(text: &mut String) -> Option<(u32, u32)> {
    let at = text.find(MARK)?;
    text.remove(at);
    let before = &text[..at];
    let line = before.rsplit('\n').next().unwrap().chars().count() + 1;
    Some((
        u32::try_from(before.matches('\n').count() + 1).unwrap(),
        u32::try_from(line).unwrap(),
    ))
}

impl Example<'_> {
    /// Writes the files below `state`; the one that the message is about, and the place in it.
    fn write(&mut self, state: &Path) -> (String, (u32, u32)) {
        let mut expected = None;
        for (path, text) in &mut self.files {
            let file = state.join(&path);
            if path.ends_with('/') {
                fs::create_dir_all(&file).unwrap();
                expected = Some((path.trim_end_matches('/').to_owned(), (1, 1)));
                continue;
            }
            if let Some(place) = take_mark(text) {
                expected = Some(((*path).to_owned(), place));
            }
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        }
        expected.unwrap_or_else(|| panic!("{}: no place is marked", self.title))
    }
}

/// What `net validate lab` says of an example, and where it is to point.
fn run(example: &mut Example<'_>) -> (Vec<Problem>, (String, (u32, u32))) {
    let state = tempfile::tempdir().unwrap();
    let expected = example.write(state.path());
    let layout = Layout::state_dir(state.path());
    let found = Finder::to_validate(&layout, &|| None).find("lab");
    match (found, example.warns) {
        (Ok(found), true) => (found.warnings, expected),
        (Err(FindError::Network(NetworkError::Definition(problems))), false) => {
            (problems.list().to_vec(), expected)
        }
        (other, _) => panic!("{}: {other:?}", example.title),
    }
}

fn text() -> String {
    fs::read_to_string(data("tests/data/network/examples.txt")).unwrap()
}

#[test]
fn every_example_is_refused_where_it_is_marked() {
    let text = text();
    let all = examples(&text);
    assert!(all.len() > 10, "{}", all.len());
    for mut example in all {
        let (problems, (file, place)) = run(&mut example);
        let there = problems.iter().any(|problem| {
            problem.file.ends_with(&file)
                && (problem.line, problem.column) == place
                && problem.message.contains(example.message)
        });
        let said: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert!(there, "{}: not at {file}:{place:?}:\n{said}", example.title);
    }
}

/// The messages of a source file, as they stand in it: the first text in each `Fault::new(…)` and `#[error(…)]`.
fn messages(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let starts = ["Fault::new(", "#[error("];
    starts
        .iter()
        .flat_map(|start| source.split(start).skip(1))
        .filter_map(first_text)
        .collect()
}

/// The first string literal before the parenthesis that ends `rest`.
fn first_text(rest: &str) -> Option<String> {
    let mut depth = 1;
    let mut chars = rest.chars();
    for c in chars.by_ref() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => break,
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                // A line that goes on in the next.
                '\n' => {
                    let rest = chars.as_str();
                    chars = rest.trim_start().chars();
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// True if one of the lines is this message with something for each of its `{…}`.
fn is_said(message: &str, lines: &[&str]) -> bool {
    let pieces: Vec<&str> = message
        .split('{')
        .enumerate()
        .map(|(index, piece)| {
            if index == 0 {
                piece
            } else {
                piece.split_once('}').map_or("", |(_, text)| text)
            }
        })
        .collect();
    lines.iter().any(|line| {
        let mut rest = *line;
        pieces.iter().all(|piece| match rest.split_once(piece) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

#[test]
fn every_message_has_an_example() {
    let text = text();
    let problems = examples(&text)
        .into_iter()
        .flat_map(|mut example| run(&mut example).0);
    let mut said = problems
        .map(|problem| problem.message)
        .collect::<Vec<_>>()
        .join("\n");
    for (_, _, bytes) in definitions("tests/data/network/snapshots") {
        said.push('\n');
        said.push_str(&String::from_utf8(bytes).unwrap());
    }
    let lines: Vec<&str> = said.lines().collect();
    let rooms = [
        "src/network/definition",
        "src/network/check",
        "src/network/dropin",
        "src/network/model",
        "src/yaml",
        "src/name",
    ];
    let mut sources: Vec<String> = ["auto", "clash", "whole"]
        .iter()
        .map(|file| fs::read_to_string(data(&format!("src/network/{file}.rs"))).unwrap())
        .collect();
    for room in rooms {
        for (_, _, bytes) in definitions(room) {
            sources.push(String::from_utf8(bytes).unwrap());
        }
    }
    let all: Vec<String> = sources.iter().flat_map(|source| messages(source)).collect();
    assert!(all.len() > 130, "{}", all.len());
    let silent: Vec<&String> = all
        .iter()
        .filter(|message| !is_said(message, &lines))
        .filter(|message| !ELSEWHERE.iter().any(|(part, _)| message.contains(part)))
        .collect();
    assert!(silent.is_empty(), "messages without an example: {silent:#?}");
}
