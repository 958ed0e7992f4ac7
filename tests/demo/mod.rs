//! The demo: what is asked for, what the machine allows, and how it ends. The story itself is in [`story`]. Where
//! private hosts are refused, `make demo` runs it in an emulated machine (`packaging/in-machine`).
//!
//! A module of the example and of the lab tests, so that these always run the demo that is there.

mod interrupt;
mod machine;
mod screen;
mod shell;
mod story;
mod travel;

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::screen::Screen;
use crate::support;

/// Exit status for wrong usage, as the program's own.
const USAGE: u8 = 2;
/// Exit status when a needed part of the machine is missing, as the program's own.
const MISSING: u8 = 4;

/// Shows the main job of miniascape on two private hosts. The machine itself is not touched.
#[derive(Debug, Parser)]
#[command(name = "demo", after_help = "`make demo` builds everything and calls this.")]
pub(crate) struct Options {
    /// The program
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The program's Debian package
    #[arg(long, value_name = "FILE")]
    deb: PathBuf,
    /// The program's RPM package
    #[arg(long, value_name = "FILE", required_unless_present = "short")]
    rpm: Option<PathBuf>,
    /// Only the Debian half, in less than half a minute
    #[arg(long)]
    short: bool,
}

/// Runs the demo to its end; `args` begin with the name of the program.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = Options::parse_from(args);
    let given = [options.program.as_ref(), Some(&options.deb), options.rpm.as_ref()];
    for file in given.into_iter().flatten() {
        if !file.is_file() {
            support::note(format_args!(
                "there is no file {}; `make demo` builds it",
                file.display()
            ));
            return ExitCode::from(USAGE);
        }
    }
    if let Some(program) = &options.program {
        support::set_under_test(program);
    }
    if let Err(error) = interrupt::watch() {
        support::note(error);
        return ExitCode::FAILURE;
    }
    // What went wrong is told at the end, below the logs of the hosts.
    panic::set_hook(Box::new(|_| interrupt::stay_if_interrupted()));

    let mut screen = Screen::new();
    let told = panic::catch_unwind(AssertUnwindSafe(|| tell(&mut screen, &options)));
    told.unwrap_or_else(|reason| {
        let reason = reason
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| reason.downcast_ref::<&str>().copied());
        screen.failed(reason.unwrap_or("no reason was given"));
        ExitCode::FAILURE
    })
}

fn tell(screen: &mut Screen, options: &Options) -> ExitCode {
    let obstacles = machine::look(screen);
    if obstacles.is_empty() {
        story::tell(screen, options);
        return ExitCode::SUCCESS;
    }
    for obstacle in &obstacles {
        screen.say(&obstacle.to_string());
    }
    screen.say("`make demo` runs this in an emulated machine where namespaces are refused.");
    ExitCode::from(MISSING)
}
