//! What every command needs: the options common to all of them, the layout they choose, and the way out for
//! results. The only place where the environment is read (through clap).

use super::Failure;
use super::later::Reached;
use super::output::Output;
use clap::{Args, ValueEnum};
use miniascape::host::libvirt::is_local_uri;
use miniascape::host::{Daemons, Layout, Libvirt};
use miniascape::name::NetworkName;
use std::io::IsTerminal;
use std::path::PathBuf;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people.
    Text,
    /// JSON for programs.
    Json,
}

/// Options that may stand before or after the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The libvirt to talk to
    #[arg(
        long,
        global = true,
        value_name = "URI",
        env = "LIBVIRT_DEFAULT_URI",
        default_value = "qemu:///system"
    )]
    connect: String,
    /// How to print results
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more about what is done; twice for every program run
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Work on another system's files below DIR; nothing live is contacted
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "state_dir")]
    root: Option<PathBuf>,
    /// Keep all files below DIR instead of /etc, /var, /usr and /run
    #[arg(long, global = true, value_name = "DIR", env = "MINIASCAPE_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// True if standard error is for eyes, and they like colours (no-color.org).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The circumstances of one run.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    common: Common,
    layout: Layout,
    output: Output,
}

impl Context {
    /// Checks the common options and sets logging up.
    pub(crate) fn new(common: Common) -> Result<Self, Failure> {
        let absolute = |dir: &PathBuf| {
            std::path::absolute(dir)
                .map_err(|e| Failure::usage(format!("`{}` is no usable path: {e}", dir.display())))
        };
        let layout = match (&common.root, &common.state_dir) {
            (Some(dir), _) => {
                if !dir.is_dir() {
                    return Err(Failure::usage(format!(
                        "--root {}: there is no such directory",
                        dir.display()
                    )));
                }
                Layout::other_root(absolute(dir)?)
            }
            (None, Some(dir)) => Layout::state_dir(absolute(dir)?),
            (None, None) => Layout::default(),
        };
        let level = match (common.quiet, common.verbose) {
            (true, _) => tracing::Level::ERROR,
            (false, 0) => tracing::Level::WARN,
            (false, 1) => tracing::Level::INFO,
            (false, _) => tracing::Level::DEBUG,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(colours())
            .init();
        let output = Output::new(common.format, common.quiet);
        Ok(Self {
            common,
            layout,
            output,
        })
    }

    /// The same circumstances with files at other places.
    pub(super) fn with_layout(&self, layout: Layout) -> Self {
        Self {
            layout,
            ..self.clone()
        }
    }

    /// True if changing what miniascape keeps here is root's business, and not that of whoever runs this.
    pub(super) fn is_for_root(&self) -> bool {
        self.layout().is_standard() && !rustix::process::geteuid().is_root()
    }

    /// Where files live.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A connection to libvirt that may change things. Work that earlier runs could not finish is taken up first, but
    /// not by a dry run, which changes nothing.
    pub(crate) fn libvirt(&self, dry_run: bool) -> Result<Libvirt, Failure> {
        self.refuse_root("libvirt")?;
        let libvirt = Libvirt::connect(&self.common.connect)?;
        if !dry_run {
            super::pending::finish(self, &libvirt, None);
        }
        Ok(libvirt)
    }

    /// As [`Context::local_libvirt`] for work that can wait: a libvirt of this host that is not there is no failure.
    /// What is pending with the network `except`, which is about to be changed, is left alone.
    pub(super) fn reach_libvirt(
        &self,
        dry_run: bool,
        except: Option<&NetworkName>,
    ) -> Result<Reached, Failure> {
        self.refuse_root("libvirt")?;
        let libvirt = match Libvirt::connect(&self.common.connect) {
            Ok(libvirt) => libvirt,
            Err(error) if error.is_away() && is_local_uri(&self.common.connect) => {
                let daemons = Daemons::here();
                let reason = if daemons.installed {
                    error.to_string()
                } else {
                    format!("libvirt is not installed here (`{}`)", daemons.start_libvirt())
                };
                return Ok(Reached::Away(reason));
            }
            Err(error) => return Err(error.into()),
        };
        Self::refuse_remote(&libvirt)?;
        if !dry_run {
            super::pending::finish(self, &libvirt, except);
        }
        Ok(Reached::There(libvirt))
    }

    /// A connection to libvirt for looking only, which needs no rights.
    pub(crate) fn libvirt_for_reading(&self) -> Result<Libvirt, Failure> {
        self.refuse_root("libvirt")?;
        // libvirt's simulator has no read-only side.
        let open = if self.common.connect.starts_with("test:") {
            Libvirt::connect
        } else {
            Libvirt::connect_read_only
        };
        Ok(open(&self.common.connect)?)
    }

    /// A connection for commands that also touch files, which have to lie on libvirt's own host.
    pub(crate) fn local_libvirt(&self, dry_run: bool) -> Result<Libvirt, Failure> {
        let libvirt = self.libvirt(dry_run)?;
        Self::refuse_remote(&libvirt)?;
        Ok(libvirt)
    }

    /// As [`Context::local_libvirt`], for what the package manager calls.
    pub(crate) fn libvirt_for_package(&self) -> Result<Libvirt, Failure> {
        self.refuse_root("libvirt")?;
        let libvirt = Libvirt::connect(&self.common.connect)?;
        super::pending::finish_noted(self, &libvirt);
        Self::refuse_remote(&libvirt)?;
        Ok(libvirt)
    }

    fn refuse_remote(libvirt: &Libvirt) -> Result<(), Failure> {
        if libvirt.is_local() {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "{} is another host: this command works with files and runs only there",
            libvirt.uri()
        ))
        .hint("log in to that host and run it there"))
    }

    /// The libvirt URI.
    pub(crate) fn uri(&self) -> &str {
        &self.common.connect
    }

    fn refuse_root(&self, what: &str) -> Result<(), Failure> {
        if self.layout.is_live() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "this command needs {what}, which --root does not contact"
        )))
    }

    /// How results are printed.
    pub(crate) fn format(&self) -> Format {
        self.common.format
    }

    /// Where results go.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }
}
