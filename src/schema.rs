//! JSON Schemas of our YAML files, made from the tables that their readers use. Editors that speak YAML complete and
//! check with them; whether a file is right is said by its reader alone.

use crate::yaml::{Document, Key, Known, Shape};
use crate::{config, network};
use serde_json::{Map, Value, json};

/// All YAML files that people write.
pub const DOCUMENTS: [&Document; 3] = [
    &network::definition::DOCUMENT,
    &network::DROP_IN,
    &config::DOCUMENT,
];

/// Where the installed schemas are, for the line by which a file names its own.
const INSTALLED: &str = "/usr/share/miniascape/schemas";

/// The generated file `text` behind the comment by which an editor finds its schema (yaml-language-server, "Using
/// inlined schema").
pub fn with_modeline(document: &Document, text: &str) -> String {
    let name = document.name;
    format!("# yaml-language-server: $schema={INSTALLED}/{name}.json\n{text}")
}

/// The JSON Schema of a file, of draft 7, the latest that YAML editors know well.
pub fn json(document: &Document) -> Value {
    let mut all = Map::from_iter([
        (
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        ),
        ("title".to_owned(), json!(document.title)),
    ]);
    all.extend(mapping(document.keys));
    Value::Object(all)
}

fn mapping(keys: &[Key]) -> Map<String, Value> {
    let known: Vec<&Known> = keys.iter().filter_map(Key::known).collect();
    let needed: Vec<&str> = known
        .iter()
        .filter(|key| key.needed)
        .map(|key| key.name)
        .collect();
    let properties = known.iter().map(|key| (key.name.to_owned(), property(key)));
    let mut all = Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), Value::Object(properties.collect())),
        ("additionalProperties".to_owned(), json!(false)),
    ]);
    if !needed.is_empty() {
        all.insert("required".to_owned(), json!(needed));
    }
    all
}

fn property(key: &Known) -> Value {
    let mut value = shape(&key.shape);
    value["description"] = json!(key.about);
    value
}

fn shape(of: &Shape) -> Value {
    match of {
        // A title may well be a year.
        Shape::Text(_) => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Pattern(_, pattern) => {
            json!({ "type": ["string", "integer"], "pattern": format!("^(?:{pattern})$") })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::List(item) => json!({ "type": "array", "items": shape(item) }),
        Shape::Several(item) => json!({ "anyOf": [shape(item), shape(&Shape::List(item))] }),
        Shape::Map(keys) => Value::Object(mapping(keys)),
        Shape::Names(pattern, item) => json!({
            "type": "object",
            "additionalProperties": false,
            "patternProperties": { format!("^(?:{pattern})$"): shape(item) },
        }),
        Shape::Any(all) => json!({ "anyOf": all.iter().map(shape).collect::<Vec<_>>() }),
    }
}
