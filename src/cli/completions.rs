//! `completions`, and the answers to the shells that ask this program what could stand at the cursor.
//!
//! The script that a shell loads only asks; everything it is told comes from the command line's own definition, and for
//! names from this host. Which argument takes which names is known by what it is called.

use super::{Cli, Context, Failure};
use clap::{Arg, Command, CommandFactory, ValueEnum, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use miniascape::host::{Layout, Libvirt};
use miniascape::{network, package};
use std::ffi::OsStr;
use std::process::ExitCode;

/// The variable by which a shell asks.
const ASKED: &str = "_MINIASCAPE_COMPLETE";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: source <(miniascape completions bash)\n\
        Packages of miniascape bring the scripts of all three shells.")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn script(self) -> std::io::Result<Vec<u8>> {
        let adapter: &dyn EnvCompleter = match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        };
        let mut script = Vec::new();
        adapter.write_registration(ASKED, "miniascape", "miniascape", "miniascape", &mut script)?;
        Ok(script)
    }
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let script = args.shell.script();
    let script = script.map_err(|e| Failure::failed(format!("cannot write the script: {e}")))?;
    let script = String::from_utf8_lossy(&script);
    context
        .output()
        .result(&script, || script.trim_start().to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// Answers a shell, if one asks.
pub(super) fn answer() -> Option<ExitCode> {
    std::env::var_os(ASKED)?;
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(|| with_names(Cli::command(), None))
        .var(ASKED)
        .shells(Shells(&[&Bash, &Zsh, &Fish]))
        .try_complete(std::env::args_os(), here.as_deref());
    match asked {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Tells every argument of `command`, which is in `group` or the program itself, what names it takes.
fn with_names(command: Command, group: Option<&str>) -> Command {
    let of = group.unwrap_or_default().to_owned();
    command
        .mut_args(|arg| match Names::of(&of, &arg) {
            Some(names) => arg.add(ArgValueCompleter::new(names)),
            None => arg,
        })
        .mut_subcommands(|inner| {
            let name = inner.get_name().to_owned();
            with_names(inner, Some(group.unwrap_or(&name)))
        })
}

/// Names of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Networks,
    Guests,
    Packages,
}

impl Names {
    /// What the argument `arg` of a command in `group` takes.
    fn of(group: &str, arg: &Arg) -> Option<Self> {
        if arg.get_value_hint() != ValueHint::Unknown {
            return None;
        }
        match (group, arg.get_id().as_str()) {
            (_, "network" | "networks") | ("net", "names" | "name") => Some(Self::Networks),
            (_, "guest" | "guests") | ("guest", "name" | "names") => Some(Self::Guests),
            (_, "package" | "packages" | "since") => Some(Self::Packages),
            _ => None,
        }
    }

    /// All of them, as far as they can be told without rights and without waiting.
    fn all(self) -> Vec<String> {
        let state = std::env::var_os("MINIASCAPE_STATE_DIR");
        let layout = state.map_or_else(Layout::default, Layout::state_dir);
        match self {
            Self::Networks => {
                let defined = network::defined(&layout)
                    .into_iter()
                    .map(|(name, _)| name.to_string());
                let registered = network::registered(&layout).unwrap_or_default();
                defined
                    .chain(registered.into_iter().map(|network| network.name.to_string()))
                    .collect()
            }
            Self::Guests => {
                let uri = std::env::var_os("LIBVIRT_DEFAULT_URI");
                let uri = uri
                    .as_ref()
                    .and_then(|uri| uri.to_str())
                    .unwrap_or("qemu:///system");
                // libvirt's simulator has no read-only side.
                let simulated = uri.starts_with("test:");
                let open = if simulated {
                    Libvirt::connect
                } else {
                    Libvirt::connect_read_only
                };
                let domains = open(uri).and_then(|libvirt| libvirt.domains());
                domains
                    .unwrap_or_default()
                    .into_iter()
                    .map(|domain| domain.name)
                    .collect()
            }
            Self::Packages => {
                let installed = package::list(&layout).unwrap_or_default();
                let names = installed.into_iter().flatten();
                names.map(|guest| guest.package.to_string()).collect()
            }
        }
    }
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let typed = current.to_string_lossy();
        // A file may stand where a name does.
        if typed.contains('/') {
            return PathCompleter::any().complete(current);
        }
        let mut names = self.all();
        names.sort();
        names.dedup();
        names
            .into_iter()
            // What the shell is told it puts on the command line: nothing but plain words.
            .filter(|name| name.starts_with(&*typed) && name.bytes().all(is_plain))
            .map(CompletionCandidate::new)
            .collect()
    }
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_.+-".contains(&b)
}
