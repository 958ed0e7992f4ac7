//! The story: a network and a guest on host one, the guest as packages, and its life on host two.
//!
//! This is host one and the whole; host two is in [`travel`](crate::travel).

use std::time::Duration;

use crate::screen::{Screen, Show, seconds};
use crate::shell::Shell;
use crate::support::guest::{Console, DiskSpec};
use crate::support::{BusPolicy, Host, HostOptions, Running, under_test, wait_until};
use crate::travel::{self, Kind};
use crate::{Options, machine};

/// The guest; net-1 knows a host of this name.
pub(crate) const GUEST: &str = "app-1";
const MAC: &str = "52:54:00:01:00:30";
pub(crate) const ADDRESS: &str = "192.168.151.30";
/// How long anything but a guest's boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const NET_1: &str = include_str!("../../networks/net-1.yaml");
/// Where the guest's packages are, on both hosts.
pub(crate) const PACKAGES: &str = "/root/packages";

/// What is on the guest's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Put there before the guest first started.
    pub(crate) base: String,
    /// Written by the running guest.
    pub(crate) guest: String,
}

/// Tells the story; panics where something is not as it has to be.
pub(crate) fn tell(screen: &mut Screen, options: &Options) {
    let title = "miniascape: a network from a file, a guest as packages, from one host to another";
    screen.begin(title, if options.short { 7 } else { 8 });
    let one = hosts_one(screen);
    let shell = Shell::new(&one, "one");
    let daemon = daemon(screen, shell);
    network(screen, shell);
    let markers = guest(screen, shell);
    pack(screen, shell, options);
    let second = travel::second_host(screen, options);
    travel::carry(screen, &one, &second);
    let (two, daemon_two) = travel::life(screen, &second, options, &markers);
    unregister(screen, &[shell, Shell::new(&second, "two")]);
    drop((daemon, daemon_two));
    let _ = two;
}
