//! A page of section 1 for the program and for each of its commands.

use super::{Page, references};
use clap::Command;
use clap_mangen::Man;
use miniascape::schema::DOCUMENTS;
use roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Exit statuses, the same for every command.
const STATUSES: [(&str, &str); 5] = [
    ("0", "Done, or nothing to do."),
    ("1", "Failed."),
    (
        "2",
        "Wrong usage, or an input file that is not valid: its place is told, and nothing is changed.",
    ),
    (
        "3",
        "Refused for safety: a running guest, something of somebody else's, a clash.",
    ),
    ("4", "A needed part of the host is missing."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "LIBVIRT_DEFAULT_URI",
        "The libvirt to talk to, where --connect is not given.",
    ),
    ("MINIASCAPE_STATE_DIR", "As --state-dir."),
    (
        "MINIASCAPE_TIMEOUT",
        "How long guest start and guest wait wait, where --timeout is not given.",
    ),
    ("NO_COLOR", "If set, nothing is coloured."),
];

const FILES: [(&str, &str); 8] = [
    ("/etc/miniascape/config.yaml", "The host's settings."),
    (
        "/etc/miniascape/networks/",
        "Network definitions, and files beside them.",
    ),
    (
        "/usr/share/miniascape/networks/",
        "The networks that miniascape brings.",
    ),
    (
        "/usr/share/miniascape/guests/",
        "Domain XML and manifest of installed guest packages.",
    ),
    (
        "/var/lib/libvirt/images/miniascape/packaged/",
        "Images of installed packages.",
    ),
    (
        "/var/lib/libvirt/images/miniascape/guests/",
        "What guests from packages write to.",
    ),
    ("/var/lib/miniascape/", "What is registered, and what is pending."),
    ("/run/miniascape/", "Locks and process ids."),
];

/// The pages of `program` and of all its commands.
pub(super) fn pages(program: Command) -> io::Result<Vec<Page>> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, None, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, above: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned();
    pages.push(Page {
        name: format!("{name}.1"),
        source: page(command, &name, above)?,
    });
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        add(inner, Some(&name), pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, above: Option<&str>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone().version(env!("CARGO_PKG_VERSION")))
        .title(name.to_uppercase())
        .source(concat!("miniascape ", env!("CARGO_PKG_VERSION")))
        .manual("miniascape");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut rest = Roff::new();
    list(&mut rest, "EXIT STATUS", &STATUSES);
    if above.is_none() {
        list(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
        list(&mut rest, "FILES", &FILES);
    } else if let Some(help) = command.get_after_help() {
        examples(&mut rest, &help.to_string());
    }
    rest.control("SH", ["SEE ALSO"]);
    rest.text(references(&related(command, name, above)));
    out.write_all(rest.to_roff().as_bytes())?;
    Ok(out)
}

fn list(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}

/// What stands below the help of a command: examples, line by line.
fn examples(roff: &mut Roff, help: &str) {
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in help.lines() {
        let line = line
            .strip_prefix("Example: ")
            .or_else(|| line.strip_prefix("Examples: "));
        roff.text([roman(line.unwrap_or_default())]);
    }
    roff.control("fi", []);
}

/// The page above, those below, and those of the files that the command is about.
fn related(command: &Command, name: &str, above: Option<&str>) -> Vec<(String, u8)> {
    let mut all: Vec<(String, u8)> = above.iter().map(|above| ((*above).to_owned(), 1)).collect();
    let below = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    all.extend(below.map(|inner| (format!("{name}-{}", inner.get_name()), 1)));
    if above.is_none() || name.starts_with("miniascape-net") {
        all.extend(DOCUMENTS.map(|document| (super::files::name(document), 5)));
    }
    all
}
