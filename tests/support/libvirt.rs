//! Asking a host's libvirt, by virsh: an outsider's view of what the program under test did.

use std::time::Duration;

use super::host::Host;
use super::output::Output;
use super::wait::wait_for;

impl Host {
    /// Runs virsh on the host's own libvirt, and panics with everything shown unless it succeeds.
    #[track_caller]
    pub(crate) fn virsh<const N: usize>(&self, args: [&str; N]) -> Output {
        self.check(
            ["virsh", "--quiet", "--connect", "qemu:///system"]
                .into_iter()
                .chain(args),
        )
    }

    /// The state of a domain in libvirt's words, such as `running` and `shut off`; `None` when it is not
    /// defined.
    pub(crate) fn domain_state(&self, domain: &str) -> Option<String> {
        let state = self.run(["virsh", "--connect", "qemu:///system", "domstate", domain]);
        state.ok().then(|| state.text().to_owned())
    }

    /// Waits until a domain is in this state.
    #[track_caller]
    pub(crate) fn wait_domain_state(&self, domain: &str, state: &str, timeout: Duration) {
        wait_for(format_args!("{domain} to be {state}"), timeout, || {
            (self.domain_state(domain)? == state).then_some(())
        });
    }

    /// The names of the networks that are defined, sorted.
    pub(crate) fn networks(&self) -> Vec<String> {
        words(&self.virsh(["net-list", "--all", "--name"]))
    }

    /// The names of the domains that are defined, sorted.
    pub(crate) fn domains(&self) -> Vec<String> {
        words(&self.virsh(["list", "--all", "--name"]))
    }
}

fn words(output: &Output) -> Vec<String> {
    let mut words: Vec<String> = output.stdout.split_whitespace().map(str::to_owned).collect();
    words.sort_unstable();
    words
}
