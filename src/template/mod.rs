//! Text templates: the shipped ones from `data/templates`, each replaceable by a file of the same name in a
//! directory of the host.
//!
//! What goes into a template is the caller's business; values must be of types that are harmless in the file that
//! comes out, except in `.xml` templates, where markup is escaped. A name that the context lacks is an error.

use std::io;
use std::path::{Path, PathBuf};

/// The shipped templates: name and text.
const SHIPPED: [(&str, &str); 3] = [
    ("dnsmasq.conf", include_str!("../../data/templates/dnsmasq.conf")),
    ("domain.xml", include_str!("../../data/templates/domain.xml")),
    ("network.xml", include_str!("../../data/templates/network.xml")),
];

/// Why a template could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A replacement could not be read; the message names the file.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The template is not valid, or could not be rendered.
    #[error("template {name}{}: {reason}", from(.replaced.as_deref()))]
    Template {
        /// The template's name.
        name: String,
        /// The file that replaces the shipped template, if there is one.
        replaced: Option<PathBuf>,
        /// What is wrong, in the engine's words.
        reason: String,
    },
}

fn from(replaced: Option<&Path>) -> String {
    replaced.map_or_else(String::new, |path| {
        format!(" (from {}; remove it to get the shipped one)", path.display())
    })
}

/// All templates, ready to be rendered.
#[derive(Debug)]
pub struct Templates {
    engine: tera::Tera,
    replaced: Vec<(&'static str, PathBuf)>,
}

impl Templates {
    /// The templates as shipped.
    pub fn shipped() -> Result<Self, TemplateError> {
        Self::load(&[])
    }

    /// The shipped templates, each replaced by the file of its name in `directory` if there is one.
    pub fn with_replacements(directory: &Path) -> Result<Self, TemplateError> {
        let mut replacements = Vec::new();
        for (name, _) in SHIPPED {
            let path = directory.join(name);
            match fs_err::read_to_string(&path) {
                Ok(text) => replacements.push((name, path, text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::load(&replacements)
    }

    fn load(replacements: &[(&'static str, PathBuf, String)]) -> Result<Self, TemplateError> {
        let mut templates = Self {
            engine: tera::Tera::new(),
            replaced: Vec::new(),
        };
        templates.engine.autoescape_on(vec![".xml"]);
        for (name, shipped) in SHIPPED {
            let replacement = replacements.iter().find(|(n, ..)| *n == name);
            if let Some((_, path, _)) = replacement {
                templates.replaced.push((name, path.clone()));
            }
            let text = replacement.map_or(shipped, |(_, _, text)| text);
            if let Err(error) = templates.engine.add_raw_template(name, text) {
                return Err(templates.error(name, &error));
            }
        }
        Ok(templates)
    }

    /// The text of template `name` with the fields of `context`.
    pub fn render(&self, name: &str, context: &impl serde::Serialize) -> Result<String, TemplateError> {
        tera::Context::from_serialize(context)
            .and_then(|context| self.engine.render(name, &context))
            .map_err(|error| self.error(name, &error))
    }

    fn error(&self, name: &str, error: &tera::Error) -> TemplateError {
        TemplateError::Template {
            name: name.to_owned(),
            replaced: self
                .replaced
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, path)| path.clone()),
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[test]
    fn a_file_of_the_same_name_replaces_a_shipped_template() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("network.xml"), "<n>{{ name }}</n>").unwrap();
        let templates = Templates::with_replacements(dir.path()).unwrap();
        let context = serde_json::json!({ "name": "a<b" });
        assert_eq!(
            templates.render("network.xml", &context).unwrap(),
            "<n>a&lt;b</n>"
        );
    }

    #[test]
    fn a_bad_replacement_and_an_unknown_name_are_errors_that_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.xml");
        fs::write(&path, "{% if %}").unwrap();
        let error = Templates::with_replacements(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        fs::write(&path, "{{ nonsense }}").unwrap();
        let templates = Templates::with_replacements(dir.path()).unwrap();
        let error = templates
            .render("network.xml", &serde_json::json!({}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("nonsense") && error.contains("network.xml"),
            "{error}"
        );
    }
}
