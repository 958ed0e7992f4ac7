//! `schema`: JSON Schemas of the YAML files that people write.

use super::output::table;
use super::{Context, Failure};
use miniascape::schema::{DOCUMENTS, json};
use serde_json::json as value;
use std::process::ExitCode;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape schema network >network.json\n\
        Packages of miniascape bring all of them, and an editor finds one by a comment in the file:\n  \
        # yaml-language-server: $schema=/usr/share/miniascape/schemas/network.json")]
pub(crate) struct Args {
    /// The file whose schema is printed; without it the files are listed
    #[arg(value_parser = DOCUMENTS.map(|document| document.name))]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let wanted = |name: &String| DOCUMENTS.iter().find(|document| document.name == name);
    if let Some(document) = args.name.as_ref().and_then(wanted) {
        let schema = json(document);
        context.output().result(&schema, || format!("{schema:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = DOCUMENTS
        .map(|document| value!({ "name": document.name, "title": document.title, "files": document.files }));
    let rows = DOCUMENTS.map(|document| [document.name.to_owned(), document.files.join(" ")]);
    context
        .output()
        .result(&all, || table(["SCHEMA", "OF"], &rows, ""))?;
    Ok(ExitCode::SUCCESS)
}
