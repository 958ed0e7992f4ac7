//! The command line: arguments, the dispatch to one file per command group, and nothing that does work itself.
//!
//! Each group's file holds its `Args` beside the `run` that calls the library and renders what comes back. Turning
//! a library error into a message, hints and an exit status happens in `failure`.

mod completions;
mod confirm;
mod context;
mod daemon;
mod doctor;
mod failure;
mod guest;
mod hook;
mod image;
mod init;
mod later;
mod lease;
mod man;
mod net;
mod output;
mod package;
mod pending;
mod progress;
mod repack;
mod schema;
mod terminal;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

pub(crate) use context::{Common, Context, Format};
pub(crate) use failure::Failure;

/// Libvirt networks as files, guests as packages.
#[derive(Debug, Parser)]
#[command(
    name = "miniascape",
    version,
    help_expected = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit status: 0 done or nothing to do, 1 failed, 2 wrong usage or invalid input,\n\
    3 refused for safety, 4 a needed part of the host is missing."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    group: Group,
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Networks as files: check, compile, register
    #[command(
        subcommand,
        after_help = "Example: miniascape net import default --output - >lab.yaml, or write /etc/miniascape/networks/lab.yaml;\n\
            then: miniascape net validate lab; miniascape net register lab; miniascape net status lab"
    )]
    Net(net::Args),
    /// DHCP leases of registered networks
    #[command(subcommand)]
    Lease(lease::Args),
    /// Guests by hand: list, start, shut down, wait
    #[command(subcommand)]
    Guest(guest::Args),
    /// Disk images: look at them, convert, find differences, verify
    #[command(subcommand)]
    Image(image::Args),
    /// Make packages of a guest: domain XML, base and delta images
    Repack(repack::Args),
    /// Guest packages that are installed
    #[command(subcommand)]
    Package(package::Args),
    /// Set this host up: user, bus policy and directories, the group libvirt, first networks
    Init(init::Args),
    /// Look for what keeps networks and guests from working here, and say which command comes next
    Doctor(doctor::Args),
    /// Keep dnsmasq running where systemd does not, and finish pending work
    Daemon(daemon::Args),
    /// What the scriptlets of miniascape's own packages call; ends with 0 whatever happens
    #[command(subcommand, hide = true)]
    Hook(hook::Args),
    /// Print the script by which a shell completes commands and the names of networks, guests and packages
    Completions(completions::Args),
    /// Write the manual pages
    Man(man::Args),
    /// Print the JSON Schema of a YAML file, for editors
    Schema(schema::Args),
}

/// Runs the program; the exit status is the only thing left to do.
pub(crate) fn main() -> ExitCode {
    if let Some(status) = completions::answer() {
        return status;
    }
    let cli = Cli::parse();
    let context = match Context::new(cli.common) {
        Ok(context) => context,
        Err(failure) => return failure.report(Format::Text),
    };
    let format = context.format();
    match run(&context, cli.group) {
        Ok(status) => status,
        Err(failure) => failure.report(format),
    }
}

fn run(context: &Context, group: Group) -> Result<ExitCode, Failure> {
    match group {
        Group::Net(args) => net::run(context, &args),
        Group::Lease(args) => lease::run(context, &args),
        Group::Guest(args) => guest::run(context, &args),
        Group::Image(args) => image::run(context, &args),
        Group::Repack(args) => repack::run(context, &args),
        Group::Package(args) => package::run(context, &args),
        Group::Init(args) => init::run(context, &args),
        Group::Doctor(args) => doctor::run(context, &args),
        Group::Daemon(args) => daemon::run(context, &args),
        Group::Hook(args) => Ok(hook::run(context, &args)),
        Group::Completions(args) => completions::run(context, &args),
        Group::Man(args) => man::run(context, &args, Cli::command()),
        Group::Schema(args) => schema::run(context, &args),
    }
}
