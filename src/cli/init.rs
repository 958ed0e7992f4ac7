//! `miniascape init`: sets a host up, after asking.

use super::confirm::ask;
use super::{Context, Failure, net};
use miniascape::host::{Daemons, Libvirt, Program, ServiceError, Services};
use miniascape::network::Finder;
use miniascape::setup::{self, SetupError, Spec, Step, Wanted};
use serde::Serialize;
use std::process::ExitCode;

/// What is registered if nothing else is asked for.
const FIRST: &str = "net-1";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: sudo miniascape init\n          \
    sudo miniascape init --yes --network net-1=10.1.1.0/24,bridge=virbr11 --network net-2\n\n\
    Makes the user and the bus policy that dnsmasq needs, miniascape's directories, and of whoever\n\
    called sudo a member of the group `libvirt`, who then needs it no more for guests. Then net-1, or\n\
    the networks that are asked for, get definitions in /etc/miniascape/networks and are registered.\n\
    What is there already stays as it is; running it again does what is left to do.")]
pub(crate) struct Args {
    /// A network that comes with miniascape, and what is to be different about it; may be repeated [default: net-1]
    #[arg(
        long = "network",
        value_name = "NAME[=SUBNET,bridge=BRIDGE,domain=DOMAIN]",
        conflicts_with = "no_network"
    )]
    networks: Vec<Spec>,
    /// Register no network
    #[arg(long)]
    no_network: bool,
    /// Who is to work with guests without sudo [default: whoever called sudo]
    #[arg(long, value_name = "NAME", env = "SUDO_USER", hide_env_values = true)]
    user: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What is told at the end.
#[derive(Serialize)]
struct Told<'a> {
    changed: bool,
    dry_run: bool,
    steps: &'a [Step],
    networks: Vec<&'a str>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    if !layout.is_live() {
        return Err(
            Failure::usage("`init` sets this host up: --root makes no sense for it")
                .hint("`miniascape --root DIR net register NAME` puts a network on record in another system"),
        );
    }
    let specs = match (args.no_network, args.networks.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![Spec::plain(
            FIRST.parse().map_err(|e| Failure::failed(format!("{e}")))?,
        )],
        (false, specs) => specs.to_vec(),
    };
    let libvirt = || context.libvirt_for_reading().ok();
    let finder = Finder::to_register(layout, &libvirt);
    let wanted = setup::want(layout, &specs, &finder)?;
    let user = args
        .user
        .as_deref()
        .filter(|user| *user != "root" && layout.is_standard());
    let steps = setup::plan(layout, user, &wanted)?;
    // What is wrong with what was asked for comes first, whatever the host is like.
    if context.is_for_root() && !args.dry_run {
        return Err(Failure::failed("setting a host up is for root").for_root());
    }
    let away = look(context, !specs.is_empty() && !args.dry_run)?;
    let news: Vec<&Wanted> = wanted
        .iter()
        .filter(|wanted| !wanted.registered || wanted.content.is_some())
        .collect();
    let told = Told {
        changed: !steps.is_empty() || !news.is_empty(),
        dry_run: args.dry_run,
        steps: &steps,
        networks: news.iter().map(|wanted| wanted.name.as_str()).collect(),
    };
    if !told.changed {
        context
            .output()
            .report(&told, || "this host is set up already; nothing to do".to_owned())?;
        return Ok(ExitCode::SUCCESS);
    }
    let later = if away.is_some() {
        " as soon as libvirt answers"
    } else {
        ""
    };
    let lines = || {
        let mut lines: Vec<String> = steps.iter().map(Step::to_string).collect();
        lines.extend(
            news.iter()
                .map(|wanted| format!("register the network {}{later}", wanted.name)),
        );
        lines
    };
    if args.dry_run {
        context
            .output()
            .report(&told, || listed("would be done:", &lines()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        context.output().note(listed("to do:", &lines()));
        ask(
            &"this host",
            "do all that",
            "is not set up without being sure",
            "stays as it is",
        )?;
    }
    for step in &steps {
        step.apply()?;
    }
    for wanted in &news {
        let name = wanted.name.as_str();
        if wanted.registered {
            net::update(context, &[name.to_owned()], false, false, false)?;
        } else {
            net::register(context, name, false)?;
        }
    }
    context.output().report(&told, || listed("done:", &lines()))?;
    if steps.iter().any(|step| matches!(step, Step::Join { .. })) {
        context.output().note(format!(
            "note: who has joined the group {} has to log in again before it counts",
            setup::GROUP
        ));
    }
    if let Some(reason) = away {
        context.output().warn(format!(
            "{reason}; what is pending is done when it answers: `{}`",
            Daemons::here().start_libvirt()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(head: &str, lines: &[String]) -> String {
    let mut text = head.to_owned();
    for line in lines {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

/// Whether what nothing can be done without is there; why libvirt cannot be asked now, if that is only for now.
fn look(context: &Context, networks: bool) -> Result<Option<String>, Failure> {
    let daemons = Daemons::here();
    let away = match Libvirt::connect(context.uri()) {
        Ok(_) => None,
        Err(error) if error.is_away() && !daemons.installed => {
            return Err(Failure::missing("libvirt is not installed here")
                .hint(format!("install it first: `{}`", daemons.start_libvirt())));
        }
        Err(error) if error.is_away() => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    if !networks {
        return Ok(away);
    }
    Program::find("dnsmasq", "dnsmasq-base")?;
    match Services::of(context.layout()).check() {
        Err(error @ ServiceError::NoManager { .. }) => {
            Err(Failure::missing(error.to_string()).hint(format!(
                "start it first, and have it started at boot: `{}`",
                Daemons::START_OURS
            )))
        }
        other => {
            other?;
            Ok(away)
        }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let message = error.to_string();
        match error {
            SetupError::NoReference { .. } => Self::usage(message).hint(
                "for one of your own write /etc/miniascape/networks/NAME.yaml, and `miniascape net register NAME`",
            ),
            SetupError::Both { .. } => Self::usage(message),
            SetupError::Other { name, path } => Self::refused(message).hint(format!(
                "edit it and `miniascape net update {name}`, or move it away: {}",
                path.display()
            )),
            SetupError::Clashes { name, clashes } => {
                Self::clashes(&name, clashes).hint(format!("choose others: --network {name}=SUBNET,bridge=BRIDGE"))
            }
            SetupError::NoUser(_) => Self::usage(message).hint("--user NAME"),
            SetupError::Definition(error) => error.into(),
            SetupError::Find(error) => error.into(),
            SetupError::Command(error) => error.into(),
            SetupError::Io(error) => error.into(),
        }
    }
}
