//! The emulated machine in which the lab and the demo run where namespaces are refused (`packaging/in-machine`).

use crate::support::{self, Command};
use std::time::Duration;

/// What an ordinary container may not do.
const CONTAINER: [&str; 4] = [
    "setpriv",
    "--bounding-set=-sys_admin,-net_admin,-sys_ptrace,-sys_module",
    "--inh-caps=-sys_admin,-net_admin,-sys_ptrace,-sys_module",
    "--",
];

/// Says what the machine has that a container has not, and what it has of this machine.
const LOOK: &str = "unshare --net --mount --pid --fork --mount-proc true && test -c /dev/net/tun && echo \"$1 $PWD\"; exit 7";

/// The boot and a few programs; in a machine inside of one, too.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn a_command_runs_where_namespaces_are_refused() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/in-machine");
    assert_eq!(Command::machine([script, "--needed"]).run().code(), Some(1));
    if support::needs_user_namespace() {
        support::note("only root can be without rights that are its own");
        return;
    }
    let contained = |words: &[&str]| {
        let words = CONTAINER.iter().chain([&script]).chain(words);
        let cache = support::guest::cache_dir().expect("the cache is there");
        Command::machine(words)
            .env(support::guest::CACHE_VARIABLE, cache)
            .env("MINIASCAPE_MACHINE_MEMORY", "768")
            .timeout(PATIENCE)
            .run()
    };
    contained(&["--needed"]).expect_code(0);
    let output = contained(&["--", "sh", "-c", LOOK, "sh", "it's  here"]);
    output.expect_code(7);
    let here = std::env::current_dir().expect("a directory");
    assert_eq!(
        output.text(),
        format!("it's  here {}", here.display()),
        "{output}"
    );
    support::note(format_args!("there and back: {:.1?}", output.elapsed));
}
