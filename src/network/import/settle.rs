//! Making a tree of values in the native form one that the reader takes: whatever it refuses and a network can do
//! without is taken out, and said.

use crate::network::read_bytes;
use crate::yaml::{self, Line, Problem, Problems};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a network can do without, beside the items of any list.
const OPTIONAL: [&str; 4] = ["title", "dns", "dhcp", "ipv6"];

/// Takes out of `value` what the reader refuses, and adds a sentence on each to `lost`. Fails where nothing can be
/// taken out; `name` stands for the file in messages.
pub(super) fn settle(name: &str, value: &mut Value, lost: &mut Vec<String>) -> Result<(), Problems> {
    loop {
        let lines = yaml::write_long(value);
        let Err(problems) = read_bytes(name, yaml::joined(&lines).as_bytes()) else {
            return Ok(());
        };
        let mut targets: BTreeMap<Vec<Step>, &Problem> = BTreeMap::new();
        for problem in problems.list() {
            match target(&lines, problem) {
                Some(path) => drop(targets.entry(path).or_insert(problem)),
                None => return Err(problems),
            }
        }
        // From the back, so that positions in lists stay right.
        let mut sentences = Vec::new();
        for (path, problem) in targets.iter().rev() {
            if let Some(taken) = remove(value, path) {
                let what = path.iter().rev().find_map(Step::key).unwrap_or_default();
                let shown = crate::name::printable(&yaml::one_line(&taken), 200);
                sentences.push(format!("`{what}: {shown}` is left out: {}", problem.message));
            }
        }
        if sentences.is_empty() {
            return Err(problems);
        }
        lost.extend(sentences.into_iter().rev());
        // `dhcp` means something without anything in it, `dns` does not.
        if let Some(Value::Object(network)) = value.get_mut("network")
            && network
                .get("dns")
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty)
        {
            network.shift_remove("dns");
        }
    }
}

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Item(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Item(_) => None,
        }
    }
}

/// What has to go because of `problem`; `None` if that is something which no network can do without.
fn target(lines: &[Line], problem: &Problem) -> Option<Vec<Step>> {
    let line = lines.get(problem.line.checked_sub(1)? as usize)?;
    let mut path: Vec<Step> = line
        .path
        .split('.')
        .map(|step| {
            step.parse()
                .map_or_else(|_| Step::Key(step.to_owned()), Step::Item)
        })
        .collect();
    if let Some(item) = path.iter().rposition(|step| matches!(step, Step::Item(_))) {
        path.truncate(item + 1);
        return Some(path);
    }
    let section = path.get(1)?.key()?;
    if !OPTIONAL.contains(&section) {
        return None;
    }
    // An IPv6 subnet is nothing without its parts.
    if section == "ipv6" {
        path.truncate(2);
    }
    Some(path)
}

fn remove(value: &mut Value, path: &[Step]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let parent = way.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Item(index) => value.get_mut(*index),
    })?;
    match (last, parent) {
        (Step::Key(key), Value::Object(entries)) => entries.shift_remove(key),
        (Step::Item(index), Value::Array(items)) if *index < items.len() => Some(items.remove(*index)),
        _ => None,
    }
}
