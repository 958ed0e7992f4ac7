//! The lab: private hosts in namespaces with a real libvirt, message bus and guests, for tests and the
//! demo.
//!
//! The executable that uses it must call [`entry`] first thing in `main`: the same executable is also the
//! first process inside each host.

// The lab tests and the demo share this module, and each uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

mod aside;
pub(crate) mod command;
mod dhcp;
pub(crate) mod document;
mod error;
mod footprint;
pub(crate) mod guest;
mod host;
mod init;
mod libvirt;
mod machine;
mod namespaces;
mod output;
mod program;
mod running;
mod services;
mod site;
mod tree;
mod wait;

use std::io::Write;
use std::process::ExitCode;

/// Lists test functions by module: the name of a test is `module::function`.
macro_rules! tests {
    ($($module:ident { $($function:ident),* $(,)? })*) => {
        vec![$($(
            libtest_mimic::Trial::test(concat!(stringify!($module), "::", stringify!($function)), || {
                $module::$function();
                Ok(())
            }),
        )*)*]
    };
}
pub(crate) use tests;

pub(crate) use aside::{AS_USER_ARGUMENT, Who, aside, aside_with, is_aside};
pub(crate) use command::Command;
pub(crate) use dhcp::DhcpClient;
pub(crate) use error::{Context, LabError, Result};
pub(crate) use footprint::Footprint;
pub(crate) use host::{Host, HostOptions, MINIASCAPE};
pub(crate) use machine::{missing_packages, obstacles};
pub(crate) use namespaces::needs_user_namespace;
pub(crate) use output::Output;
pub(crate) use program::{set_under_test, under_test};
pub(crate) use running::Running;
pub(crate) use services::{BUS_POLICY_DIR, BusPolicy, QemuUser};
pub(crate) use site::Site;
pub(crate) use wait::{hold_true, poll_for, wait_for, wait_until};

/// The first argument that makes the executable start a host with libvirtd, print the number of its first
/// process, and hold it until killed: the lab's own test of what then is left.
pub(crate) const HOLD_ARGUMENT: &str = "--lab-hold";

/// The first argument that makes the executable put into the cache what the lab's guests are made of: for a machine
/// that cannot download it.
const CACHE_ARGUMENT: &str = "--lab-cache";

/// The path of this executable.
pub(crate) fn own_executable() -> std::path::PathBuf {
    std::env::current_exe().expect("Linux knows the path of an executable")
}

/// Says something on standard error beside the results: times, what is being done.
pub(crate) fn note(text: impl std::fmt::Display) {
    // A closed standard error takes the notes away, nothing more.
    drop(writeln!(std::io::stderr(), "lab: {text}"));
}

fn hold() -> ExitCode {
    let host = Host::start(HostOptions::default().without_miniascape());
    let said = writeln!(std::io::stdout(), "{}", host.pid());
    assert!(said.is_ok(), "no one listens");
    loop {
        std::thread::park();
    }
}

/// Does what the lab started this executable for, if it was the lab that started it.
pub(crate) fn entry() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    match args.next()?.as_str() {
        init::INIT_ARGUMENT => Some(init::main(args.next().as_deref())),
        aside::AS_USER_ARGUMENT => Some(aside::main(args)),
        aside::STAGE_ARGUMENT => Some(aside::stage(args)),
        dhcp::CLIENT_ARGUMENT => {
            dhcp::main(&args.next()?);
            Some(ExitCode::SUCCESS)
        }
        CACHE_ARGUMENT => Some(guest::boot_images().map_or_else(
            |error| {
                note(error);
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        )),
        HOLD_ARGUMENT => Some(hold()),
        _ => None,
    }
}
