//! `miniascape image convert|delta`: new images, written whole or not at all.

use super::super::output::size;
use super::super::progress::{ProgressArgs, Teller};
use super::super::{Context, Failure};
use super::{Below, Source, foreign, is_network, own, shown};
use clap::ValueEnum;
use miniascape::image::{self, Disk, Draft, Format, Guess, Plan};
use miniascape::package::Step;
use serde_json::json;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  miniascape image convert web.qcow2 copy.qcow2 --compress
  miniascape image convert old.vmdk new.qcow2 --trust-source")]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    source: Source,
    /// The new image
    #[arg(value_name = "OUT")]
    target: PathBuf,
    /// The new image's format
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "qcow2")]
    to: To,
    /// Let qemu-img read a source that may name other files, all of which it opens
    #[arg(long)]
    trust_source: bool,
    #[command(flatten)]
    below: Below,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape image delta --base debian-12.qcow2 web.qcow2 web-delta.qcow2")]
pub(crate) struct DeltaArgs {
    /// The image that the new one stands on
    #[arg(long, value_name = "BASE")]
    base: PathBuf,
    /// The base's format [default: what its first bytes say]
    #[arg(long, value_name = "FORMAT", value_parser = own_format)]
    base_format: Option<Format>,
    /// The name by which the new image knows its base [default: the way from OUT's directory to it]
    #[arg(long, value_name = "NAME")]
    backing_name: Option<String>,
    #[command(flatten)]
    source: Source,
    /// The new image
    #[arg(value_name = "OUT")]
    target: PathBuf,
    #[command(flatten)]
    below: Below,
    #[command(flatten)]
    how: How,
}

/// How a new image is written.
#[derive(Debug, Clone, clap::Args)]
struct How {
    /// Bytes of a cluster: 64K, 128K, 256K, 512K, 1M or 2M
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = cluster_size)]
    cluster_size: u64,
    /// Compress clusters with zstd
    #[arg(long)]
    compress: bool,
    /// zstd's level, 1 to 19
    #[arg(long, value_name = "LEVEL", default_value = "3", value_parser = clap::value_parser!(i32).range(1..=19), requires = "compress")]
    level: i32,
    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,
    /// Only tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    Qcow2,
    Raw,
}

fn own_format(text: &str) -> Result<Format, String> {
    Format::from_name(text).ok_or_else(|| "raw or qcow2".into())
}

fn cluster_size(text: &str) -> Result<u64, String> {
    let names = ["64K", "128K", "256K", "512K", "1M", "2M"];
    let position = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    position
        .map(|shift| 65536 << shift)
        .ok_or_else(|| names.join(", "))
}

pub(super) fn convert(context: &Context, args: &ConvertArgs) -> Result<ExitCode, Failure> {
    let out = Out::new(&args.target, &args.how)?;
    let teller = Teller::new(context, args.how.progress.style);
    // Kept until all is read.
    let (disk, _copy) = match args.source.guess_or_network()? {
        Guess::Own(format) => (args.below.open(&args.source.path, format)?, None),
        Guess::Foreign(name) => {
            let copy = foreign::copy(
                &teller,
                &args.source.path,
                name,
                &out.path,
                args.trust_source,
                args.how.dry_run,
            )?;
            let Some(copy) = copy else {
                out.tell_unread(context, &args.source.path)?;
                return Ok(ExitCode::SUCCESS);
            };
            let disk = Disk::open(copy.path(), Format::Raw, &|_, _| false)?;
            (disk, Some(copy))
        }
    };
    let disk = Arc::new(disk);
    out.ensure_apart(&[&disk])?;
    let step = Step {
        name: "look",
        title: format!("look at {}", shown(&args.source.path)),
        bytes: Some(disk.virtual_size()),
    };
    let plan = teller.run(&step, |tell| Plan::flat(&disk, args.how.cluster_size, tell))?;
    out.write(context, &teller, &plan, args.to)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn delta(context: &Context, args: &DeltaArgs) -> Result<ExitCode, Failure> {
    let out = Out::new(&args.target, &args.how)?;
    let teller = Teller::new(context, args.how.progress.style);
    let base_format = match args.base_format {
        Some(format) => format,
        None if is_network(&args.base) => own(&args.base, Guess::Own(Format::Raw))?,
        None => own(&args.base, image::guess(&args.base)?)?,
    };
    let disk = Arc::new(args.below.open(&args.source.path, args.source.own_format()?)?);
    let base = args.below.open(&args.base, base_format)?;
    out.ensure_apart(&[&disk, &base])?;
    let name = match &args.backing_name {
        Some(name) => name.clone(),
        None => relative(&args.base, &out.path)?,
    };
    let step = Step {
        name: "compare",
        title: format!("compare {} with {}", shown(&args.source.path), shown(&args.base)),
        bytes: Some(disk.virtual_size()),
    };
    let plan = teller
        .run(&step, |tell| {
            Plan::delta(&disk, &base, args.how.cluster_size, tell)
        })?
        .on(&name, base_format)?;
    out.write(context, &teller, &plan, To::Qcow2)?;
    Ok(ExitCode::SUCCESS)
}

/// The way from the directory of `from` to the file `to`, so that both can be moved together.
fn relative(to: &Path, from: &Path) -> Result<String, Failure> {
    let to = fs_err::canonicalize(to)?;
    let dir = fs_err::canonicalize(from.parent().unwrap_or(Path::new("/")))?;
    let parts = |path: &Path| {
        path.components()
            .map(|part| part.as_os_str().to_owned())
            .collect::<Vec<_>>()
    };
    let (to, dir) = (parts(&to), parts(&dir));
    let shared = to.iter().zip(&dir).take_while(|(a, b)| a == b).count();
    let mut way: PathBuf = dir[shared..].iter().map(|_| Component::ParentDir).collect();
    way.extend(&to[shared..]);
    let text = way
        .to_str()
        .filter(|text| !text.split('/').next().is_some_and(|first| first.contains(':')));
    text.map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("`{}` cannot be recorded in an image", way.display()))
            .hint("give the name with --backing-name, or rename the base")
    })
}

/// Where and how a new image is written.
struct Out<'a> {
    path: PathBuf,
    how: &'a How,
}

impl<'a> Out<'a> {
    fn new(target: &Path, how: &'a How) -> Result<Self, Failure> {
        let path =
            std::path::absolute(target).map_err(|e| Failure::usage(format!("{}: {e}", target.display())))?;
        match fs_err::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => Err(Failure::refused(format!(
                "{} is there and is no file: it is not replaced",
                path.display()
            ))),
            Ok(_) if !how.force => Err(Failure::refused(format!("{} is there already", path.display()))
                .hint("--force replaces it; until the new image is whole the old one stays")),
            _ => Ok(Self { path, how }),
        }
    }

    /// Refuses to replace a file that is read, and to read what a guest writes to.
    fn ensure_apart(&self, disks: &[&Disk]) -> Result<(), Failure> {
        let own = fs_err::canonicalize(&self.path).ok();
        for (file, format) in disks.iter().flat_map(|disk| disk.files()) {
            if own.is_some() && fs_err::canonicalize(file).ok() == own {
                return Err(Failure::refused(format!(
                    "{} is read by this very command: it is not replaced",
                    self.path.display()
                )));
            }
            image::ensure_unused(&image::describe(file, format)?)?;
        }
        Ok(())
    }

    /// A dry run does not copy a source that only qemu-img reads, so the sizes stay unknown.
    fn tell_unread(&self, context: &Context, source: &Path) -> Result<(), Failure> {
        let value = json!({
            "dry_run": true,
            "file": self.path,
            "virtual_size": null,
            "data_size": null,
            "size": null,
        });
        context.output().report(&value, || {
            format!(
                "{}: would be written; its size is not known before qemu-img has copied {}",
                shown(&self.path),
                shown(source)
            )
        })
    }

    fn write(&self, context: &Context, teller: &Teller<'_>, plan: &Plan, to: To) -> Result<(), Failure> {
        let raw = to == To::Raw;
        // What nobody else could read stays so.
        let mut public = true;
        for (file, _) in plan.disk().files() {
            public &= miniascape::host::access::world_readable(file)?;
        }
        let packed = self.how.compress && !raw;
        let planned = if raw { plan.data_size() } else { plan.size() };
        let mut written = (!packed).then_some(planned);
        if !self.how.dry_run {
            let draft = Draft::create(&self.path)?;
            let step = Step {
                name: "write",
                title: format!("write {}", shown(&self.path)),
                bytes: Some(plan.data_size()),
            };
            teller.run(&step, |tell| match (raw, packed) {
                (true, _) => plan.write_raw(draft.file(), tell),
                (_, true) => plan
                    .write_packed(draft.file(), self.how.level, tell)
                    .map(|size| written = Some(size)),
                _ => plan.write_file(draft.file(), tell),
            })?;
            plan.disk().ensure_unchanged()?;
            draft.publish(if public { 0o644 } else { 0o600 }, self.how.force)?;
        }
        let value = json!({
            "dry_run": self.how.dry_run,
            "file": self.path,
            "virtual_size": plan.virtual_size(),
            "data_size": plan.data_size(),
            "size": written,
        });
        context.output().report(&value, || {
            let file = shown(&self.path);
            let verb = if self.how.dry_run {
                "would be written"
            } else {
                "written"
            };
            let bytes = match written {
                Some(bytes) => size(bytes),
                None => format!("{} before compression", size(plan.data_size())),
            };
            format!(
                "{file}: {verb}, {bytes}, of a disk of {}",
                size(plan.virtual_size())
            )
        })
    }
}
