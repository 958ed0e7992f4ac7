//! Ring 4: miniascape's own packages on Debian, booted with real systemd in a container, from their installation to their
//! removal. Needs root, and a machine where systemd-nspawn may make a container.
//!
//! Every test function is listed here, as in the lab. All runs in namespaces of mounts and processes of its own: when
//! this process dies, so do its containers and their mounts.

#[path = "../support/mod.rs"]
mod support;

mod confined;
mod deb;
mod doctor;
mod emulated;
mod firewalls;
mod hooks;
mod image;
mod machine;
mod packages;
mod rpm;
mod sandbox;
mod story;
mod tree;

use libtest_mimic::{Arguments, Trial};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

fn tests() -> Vec<Trial> {
    support::tests! {
        deb {
            the_packages_come_serve_are_upgraded_and_go,
        }
        rpm {
            the_packages_come_serve_are_upgraded_and_go,
        }
        doctor {
            faults_of_units_are_found_and_cured,
        }
        hooks {
            whatever_is_wrong_ends_no_transaction,
            an_image_is_ready_at_its_first_boot,
            without_libvirt_installed_the_networks_wait_for_it,
        }
        sandbox {
            the_daemon_does_all_its_work_in_its_units_limits,
            policies_of_apparmor_and_selinux_are_taken_by_their_compilers,
        }
        confined {
            apparmor_and_firewalls_are_found_and_cured,
            selinux_is_found_and_cured,
        }
    }
}

/// Set when the mount namespace is there.
const ASIDE: &str = "MINIASCAPE_TEST_SYSTEM_ASIDE";

fn main() -> ExitCode {
    if let Some(code) = support::entry() {
        return code;
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        if std::env::var_os(ASIDE).is_none() {
            let error = std::process::Command::new("unshare")
                .args([
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "--propagation",
                    "private",
                    "--",
                ])
                .arg(support::own_executable())
                .args(std::env::args_os().skip(1))
                .env(ASIDE, "1")
                .exec();
            support::note(format_args!(
                "unshare (package util-linux) cannot be run: {error}"
            ));
            return ExitCode::FAILURE;
        }
        if let Err(error) = ready() {
            packages::clean();
            support::note(format_args!(
                "ring 4 cannot run here, which is a failure: {error}"
            ));
            return ExitCode::FAILURE;
        }
    }
    let conclusion = libtest_mimic::run(&arguments, tests());
    packages::clean();
    let everything = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    if everything && conclusion.num_passed == 0 {
        support::note("not one test passed: that is a failure, not a success");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Everything that all tests need, and that a machine boots.
fn ready() -> support::Result<()> {
    tree::obstacle()?;
    packages::all()?;
    tree::base()?;
    support::guest::boot_images()?;
    let mut machine = machine::Machine::new("probe")?;
    machine.try_boot()?;
    Ok(())
}
