//! `miniascape hook`: what the scriptlets of miniascape's own packages call. They run inside a package manager's
//! transaction, so whatever happens is told and never returned, and what cannot be done now stays pending.

use super::later::Reached;
use super::net::{compiled, settled_beside, warn_of_needs};
use super::{Context, Failure};
use clap::Subcommand;
use miniascape::host::libvirt::is_local_uri;
use miniascape::host::{Layout, Libvirt, ServiceError, Services, files, standing};
use miniascape::install;
use miniascape::name::NetworkName;
use miniascape::network::{
    self, Applied, BroughtByPackages, Deferred, Found, RegisterError, Registration, Step, Target, Wait,
};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// A libvirt that has not answered by then will not: the transaction goes on without it.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// After a package was installed or upgraded: its networks are there, and registered ones follow their definitions
    PostInstall {
        /// A network that the package ships; without any, all that are registered, for the program's own package
        #[arg(long = "network", value_name = "NAME")]
        networks: Vec<NetworkName>,
    },
    /// Before a package goes for good: networks that nobody uses go too
    PreRemove {
        /// A network that the package ships; without any, all that are registered, for the program's own package
        #[arg(long = "network", value_name = "NAME")]
        networks: Vec<NetworkName>,
    },
}

/// The status is always that of success.
pub(crate) fn run(context: &Context, args: &Args) -> ExitCode {
    give_up_later();
    // libvirt may well be reachable from a chroot; it is another system's.
    let context = if context.layout().is_standard() && standing::in_chroot() {
        context.with_layout(Layout::other_root("/"))
    } else {
        context.clone()
    };
    let done = match args {
        Args::PostInstall { networks } => post_install(&context, networks),
        Args::PreRemove { networks } => pre_remove(&context, networks),
    };
    if let Err(failure) = done {
        failure.tell(
            context.format(),
            "miniascape: the package is in order; its networks may not be",
        );
    }
    ExitCode::SUCCESS
}

#[expect(
    clippy::exit,
    reason = "a call into libvirt that hangs cannot be ended otherwise, and pending work is on record"
)]
fn give_up_later() {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        let failure = Failure::failed(format!(
            "not done after {} seconds; what is left is pending",
            PATIENCE.as_secs()
        ));
        let hint = "`miniascape net list` shows it, and `miniascape daemon --once` finishes it";
        failure.hint(hint).report(super::Format::Text);
        std::process::exit(0);
    });
}

/// What is waited for as a rule.
const LIBVIRT: &str = "libvirt answers";

/// How networks can be changed now.
enum Host {
    /// By this libvirt.
    Runs(Libvirt),
    /// Not yet, for this reason; that libvirt is waited for, or that of `until`.
    Waits {
        uri: String,
        until: &'static str,
        reason: String,
    },
    /// Not before this system, which is an image, is started.
    Sleeps,
}

impl Host {
    fn look(context: &Context) -> Self {
        if !context.layout().is_live() {
            return Self::Sleeps;
        }
        let uri = if is_local_uri(context.uri()) {
            context.uri()
        } else {
            install::SYSTEM
        };
        let waits = |until: &'static str, reason: String| Self::Waits {
            uri: uri.to_owned(),
            until,
            reason,
        };
        match Services::of(context.layout()).check() {
            Ok(()) => {}
            Err(ServiceError::NoManager { .. }) => {
                return waits("`miniascape daemon` runs", "there is no systemd here".to_owned());
            }
            Err(error) => return waits("`miniascape daemon` answers", error.to_string()),
        }
        match context.reach_libvirt(false, None) {
            Ok(Reached::There(libvirt)) => Self::Runs(libvirt),
            Ok(Reached::Away(reason)) => waits(LIBVIRT, reason),
            Err(failure) => waits(LIBVIRT, failure.message().to_owned()),
        }
    }
}

fn post_install(context: &Context, networks: &[NetworkName]) -> Result<(), Failure> {
    let layout = context.layout();
    let mut record = BroughtByPackages::read(layout)?;
    let mut registered = network::registered(layout)?;
    // What waits to be taken away is not to be brought back by the way.
    for wish in network::pending(layout)? {
        registered.retain(|applied| applied.name != wish.network || wish.work == Deferred::RegisterNetwork);
    }
    let mut work: Vec<(NetworkName, String)> = Vec::new();
    for applied in &registered {
        if networks.is_empty() || networks.contains(&applied.name) {
            work.extend(source(layout, applied).map(|source| (applied.name.clone(), source)));
        }
    }
    for name in networks {
        let known = registered.iter().any(|applied| applied.name == *name);
        if !known && !record.introduced.contains(name) {
            work.push((name.clone(), name.to_string()));
        }
    }
    if networks.is_empty() {
        for (name, source) in &record.taken_away {
            if source.exists() && !registered.iter().any(|applied| applied.name == *name) {
                work.push((name.clone(), source.display().to_string()));
            }
        }
    }
    let before = record.clone();
    if !work.is_empty() {
        let host = Host::look(context);
        let mut later: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, source) in &work {
            match follow(context, &host, name, source) {
                Ok(when) => {
                    if networks.contains(name) {
                        record.introduced.insert(name.clone());
                    }
                    if let Some(when) = when {
                        later.entry(when).or_default().push(name.as_str());
                    }
                }
                Err(failure) => failure.tell(context.format(), &left_as_it_is(name)),
            }
        }
        for (when, names) in later {
            let (head, are) = match names.len() {
                1 => ("the network", "is"),
                _ => ("the networks", "are"),
            };
            let line = format!("miniascape: {head} {} {are} made when {when}", names.join(", "));
            context.output().note(line);
        }
    }
    let known = registered
        .iter()
        .filter(|applied| networks.contains(&applied.name));
    record
        .introduced
        .extend(known.map(|applied| applied.name.clone()));
    if networks.is_empty() {
        record.taken_away.clear();
    }
    if record != before {
        record.write(layout)?;
    }
    Ok(())
}

fn left_as_it_is(name: &NetworkName) -> String {
    format!("miniascape: the network {name} is left as it is, `miniascape net register {name}` tries again")
}

/// What a registered network is found by: the definition that it was made from; or, if that is a shipped one, its name,
/// because there may be a user's now. None if it is gone: then the network goes on as it is.
fn source(layout: &Layout, applied: &Applied) -> Option<String> {
    if applied.source.starts_with(layout.reference_networks().named()) {
        return Some(applied.name.to_string());
    }
    if applied.source.exists() {
        return Some(applied.source.display().to_string());
    }
    tracing::info!(network = %applied.name, source = %applied.source.display(), "its definition is gone");
    None
}

/// Registers or updates a network now, or puts that on record; then the answer is what is waited for.
fn follow(
    context: &Context,
    host: &Host,
    name: &NetworkName,
    source: &str,
) -> Result<Option<String>, Failure> {
    let libvirt = || match host {
        Host::Runs(libvirt) => Some(libvirt.clone()),
        _ => None,
    };
    let found = settled_beside(context, source, &libvirt, false)?;
    if found.network.name() != name {
        return Err(Failure::usage(format!(
            "{source} defines the network {}",
            found.network.name()
        )));
    }
    let compiled = compiled(context, &found)?;
    let later = |wait: Wait<'_>, when: String| {
        let deferral = super::later::register(context, &found, &compiled, wait, false)?;
        // What is on record already is no news.
        let news = !deferral.report.steps.is_empty();
        Ok::<_, Failure>(news.then_some(when))
    };
    match host {
        Host::Sleeps => later(Wait::FIRST_BOOT, "this system has started".to_owned()),
        Host::Waits { uri, until, reason } => later(Wait { uri, reason }, format!("{until}: {reason}")),
        Host::Runs(libvirt) => match now(context, &found, &compiled, libvirt) {
            Ok(report) => {
                tell(context, &report);
                Ok(None)
            }
            Err(error) if error.is_libvirt_away() => {
                let (uri, reason) = (context.uri(), error.to_string());
                later(Wait { uri, reason: &reason }, format!("{LIBVIRT}: {reason}"))
            }
            Err(RegisterError::InUse { guests, .. }) => {
                context.output().note(format!(
                    "miniascape: the network {name} stays as it is for {}, who would lose it for a moment; \
                     `miniascape net diff {name}` shows what has changed, `miniascape net update {name}` does it",
                    guests.join(", ")
                ));
                Ok(None)
            }
            Err(error) => Err(Failure::of_network(error, &found.path)),
        },
    }
}

fn now(
    context: &Context,
    found: &Found,
    compiled: &network::Compiled,
    libvirt: &Libvirt,
) -> Result<Registration, RegisterError> {
    let services = Services::of(context.layout());
    let target = Target {
        layout: context.layout(),
        libvirt,
        services: &services,
    };
    let source = super::later::source(found);
    let definition = files::read_at_most(&found.path, miniascape::yaml::MAX_FILE)?;
    let report = network::follow(&found.network, compiled, &definition, &source, &target)?;
    warn_of_needs(context, &found.network, &report, &target, false);
    Ok(report)
}

fn tell(context: &Context, report: &Registration) {
    let told = report.steps.iter().filter(|step| **step != Step::Forget);
    let steps: Vec<String> = told.map(Step::to_string).collect();
    if !steps.is_empty() {
        let name = &report.network;
        let line = format!("miniascape: the network {name}: {}", steps.join(", "));
        context.output().note(line);
    }
}

fn pre_remove(context: &Context, networks: &[NetworkName]) -> Result<(), Failure> {
    let layout = context.layout();
    let mut record = BroughtByPackages::read(layout)?;
    let before = record.clone();
    let registered = network::registered(layout)?;
    let pending = network::pending(layout)?;
    let waiting = pending
        .iter()
        .filter(|wish| wish.work == Deferred::RegisterNetwork);
    let is_meant = |name: &NetworkName| networks.is_empty() || networks.contains(name);
    // What was only to be registered has no users yet; with the program gone, it goes on waiting for it.
    let waiting = waiting.filter(|wish| !networks.is_empty() && networks.contains(&wish.network));
    let mut work: Vec<NetworkName> = waiting.map(|wish| wish.network.clone()).collect();
    for applied in registered.iter().filter(|applied| is_meant(&applied.name)) {
        if !work.contains(&applied.name) {
            work.push(applied.name.clone());
        }
    }
    if !work.is_empty() {
        let host = Host::look(context);
        for name in &work {
            let applied = registered.iter().find(|applied| applied.name == *name);
            match take_away(context, &host, name, networks.is_empty()) {
                Ok(true) if networks.is_empty() => {
                    let source = applied.map(|applied| applied.source.clone());
                    record
                        .taken_away
                        .extend(source.map(|source| (name.clone(), source)));
                    // Should this run be killed, what has gone comes back all the same.
                    record.write(layout)?;
                }
                Ok(_) => {}
                Err(failure) => {
                    failure.tell(context.format(), &format!("miniascape: the network {name} stays"));
                }
            }
        }
    }
    for name in networks {
        record.introduced.remove(name);
    }
    if record != before {
        record.write(layout)?;
    }
    Ok(())
}

/// Unregisters a network that nobody uses, or puts that on record; true if it is away. With the program itself on its
/// way out nothing is put on record: nobody would do it, and a program that comes back is to find its networks.
fn take_away(context: &Context, host: &Host, name: &NetworkName, last: bool) -> Result<bool, Failure> {
    let layout = context.layout();
    let stays = |why: String| {
        context
            .output()
            .note(format!("miniascape: the network {name} stays: {why}"));
        Ok(false)
    };
    let libvirt = match host {
        Host::Runs(libvirt) => libvirt,
        Host::Waits { .. } | Host::Sleeps if last => {
            return stays("libvirt cannot be asked who uses it".to_owned());
        }
        Host::Sleeps => {
            network::unregister_later(name, false, Wait::FIRST_BOOT, layout, false)?;
            return Ok(true);
        }
        Host::Waits { uri, reason, .. } => {
            network::unregister_later(name, false, Wait { uri, reason }, layout, false)?;
            return Ok(true);
        }
    };
    let services = Services::of(layout);
    let target = Target {
        layout,
        libvirt,
        services: &services,
    };
    let users = network::users_of(name, &target)?;
    if !users.is_empty() {
        let after = if last {
            "; its dnsmasq runs until this host stops, and goes on when miniascape is back"
        } else {
            ""
        };
        return stays(format!("{} {}{after}", users.join(", "), plugged(users.len())));
    }
    match network::unregister(name, &target, false, false) {
        Ok(report) => {
            tell(context, &report);
            Ok(true)
        }
        Err(RegisterError::Foreign(_)) => {
            stays("libvirt's network of that name is somebody else's".to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

const fn plugged(guests: usize) -> &'static str {
    if guests == 1 {
        "has an interface in it"
    } else {
        "have interfaces in it"
    }
}
