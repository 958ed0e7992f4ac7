//! `miniascape image`: disk images, one file per kind of command.

mod foreign;
mod look;
mod make;
mod verify;

use super::{Context, Failure};
use clap::ValueEnum;
use miniascape::image::{self, Allow, Disk, Format, Guess};
use miniascape::name::printable;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Tell what one image is, without a look at what it stands on
    Info(look::InfoArgs),
    /// Show an image and all that it stands on
    Chain(look::ChainArgs),
    /// Show where the bytes of the disk are: in which file of the chain, or nowhere
    Map(look::MapArgs),
    /// Write a disk to a new image, from one of another format or from a whole chain
    Convert(make::ConvertArgs),
    /// Write what of a disk differs from a base to a new image that stands on the base
    Delta(make::DeltaArgs),
    /// Check the tables of an image and of all that it stands on, and the file's digest
    Verify(verify::Args),
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Info(args) => look::info(context, args),
        Args::Chain(args) => look::chain(context, args),
        Args::Map(args) => look::map(context, args),
        Args::Convert(args) => make::convert(context, args),
        Args::Delta(args) => make::delta(context, args),
        Args::Verify(args) => verify::run(context, args),
    }
}

/// A path that can be printed.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 400)
}

/// Formats that an image can be said to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SourceFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vdi,
    Vhdx,
    Vpc,
}

/// An image to be read.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// The image
    #[arg(value_name = "IMAGE")]
    path: PathBuf,
    /// The image's format [default: what its first bytes say]
    #[arg(long, value_name = "FORMAT", value_enum)]
    source_format: Option<SourceFormat>,
}

/// What an image may make us open.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Below {
    /// Allow backing and data files that lie here, outside of the image's own directory
    #[arg(long, value_name = "PATH")]
    allow_backing: Vec<PathBuf>,
}

impl Source {
    /// The image's format, as said or as it seems.
    fn guess(&self) -> Result<Guess, Failure> {
        let foreign = |name| Ok(Guess::Foreign(name));
        match self.source_format {
            None => Ok(image::guess(&self.path)?),
            Some(SourceFormat::Raw) => Ok(Guess::Own(Format::Raw)),
            Some(SourceFormat::Qcow2) => Ok(Guess::Own(Format::Qcow2)),
            Some(SourceFormat::Vmdk) => foreign("vmdk"),
            Some(SourceFormat::Vdi) => foreign("vdi"),
            Some(SourceFormat::Vhdx) => foreign("vhdx"),
            Some(SourceFormat::Vpc) => foreign("vpc"),
        }
    }

    /// As [`Source::guess`] for sources that may also be on the network, whose format is raw unless it is said.
    fn guess_or_network(&self) -> Result<Guess, Failure> {
        if !is_network(&self.path) {
            return self.guess();
        }
        Ok(Guess::Foreign(match self.source_format {
            None => "raw",
            Some(_) => match self.guess()? {
                Guess::Own(format) => format.as_str(),
                Guess::Foreign(name) => name,
            },
        }))
    }

    /// The image's format if it is one that is read here.
    fn own_format(&self) -> Result<Format, Failure> {
        own(&self.path, self.guess_or_network()?)
    }
}

/// The format of `path` if it is one that is read here.
fn own(path: &Path, guess: Guess) -> Result<Format, Failure> {
    let what = match guess {
        Guess::Own(format) if !is_network(path) => return Ok(format),
        Guess::Foreign(name) if !is_network(path) => format!("images in the format {name}"),
        _ => "images on the network".to_owned(),
    };
    Err(
        Failure::usage(format!("{}: {what} are only converted", shown(path)))
            .hint("make it a qcow2 image first: `miniascape image convert IN OUT`"),
    )
}

fn is_network(path: &Path) -> bool {
    path.to_str().is_some_and(foreign::is_network)
}

impl Below {
    /// Opens an image with all that it stands on, as far as that is allowed.
    fn open(&self, path: &Path, format: Format) -> Result<Disk, Failure> {
        let mut allow = Allow::beside(path);
        for path in &self.allow_backing {
            if !path.exists() {
                return Err(Failure::usage(format!(
                    "--allow-backing {}: there is no such file",
                    path.display()
                )));
            }
            allow = allow.and(path);
        }
        Ok(Disk::open(path, format, &|file, _| allow.permits(file))?)
    }
}
