//! `miniascape image info|chain|map`: looks that change nothing.

use super::super::output::{size, table};
use super::super::{Context, Failure};
use super::{Below, Source, shown};
use miniascape::image::{self, Extent, ImageInfo, Place};
use miniascape::name::printable;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape image info /var/lib/libvirt/images/web.qcow2")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape image chain /var/lib/libvirt/images/web.qcow2")]
pub(crate) struct ChainArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    below: Below,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: miniascape image map web.qcow2 --format json")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    below: Below,
}

pub(super) fn info(context: &Context, args: &InfoArgs) -> Result<ExitCode, Failure> {
    let info = image::describe(&args.source.path, args.source.own_format()?)?;
    context.output().result(&info, || facts(&info))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(info: &ImageInfo) -> String {
    let exact = |bytes: u64| format!("{} ({bytes} bytes)", size(bytes));
    let mut rows = vec![
        ("image", shown(&info.path)),
        (
            "format",
            match info.version {
                Some(version) => format!("{} version {version}", info.format),
                None => info.format.to_string(),
            },
        ),
        ("disk", exact(info.virtual_size)),
        ("file", exact(info.file_size)),
        ("on disk", size(info.disk_usage)),
    ];
    if let Some(bytes) = info.cluster_size {
        rows.push(("cluster", size(bytes)));
    }
    if let Some(backing) = &info.backing {
        let format = backing
            .format
            .map_or("not recorded, or not read here".to_owned(), |f| f.to_string());
        rows.push((
            "stands on",
            format!("{}, format {format}", printable(&backing.recorded, 400)),
        ));
    }
    if let Some(file) = &info.data_file {
        rows.push(("data in", printable(file, 400)));
    }
    if info.encrypted {
        rows.push(("encrypted", "yes".into()));
    }
    if !info.snapshots.is_empty() {
        rows.push(("snapshots", info.snapshots.join(", ")));
    }
    rows.iter()
        .map(|(name, value)| format!("{name:10} {value}\n"))
        .collect()
}

pub(super) fn chain(context: &Context, args: &ChainArgs) -> Result<ExitCode, Failure> {
    let disk = args.below.open(&args.source.path, args.source.own_format()?)?;
    let images = disk
        .files()
        .map(|(path, format)| image::describe(path, format))
        .collect::<Result<Vec<_>, _>>()?;
    context.output().result(&images, || {
        let rows: Vec<_> = (0..)
            .zip(&images)
            .map(|(depth, info): (usize, _)| {
                [
                    depth.to_string(),
                    info.format.to_string(),
                    size(info.virtual_size),
                    size(info.disk_usage),
                    shown(&info.path),
                ]
            })
            .collect();
        table(["DEPTH", "FORMAT", "DISK", "ON DISK", "FILE"], &rows, "")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One run of bytes. The names are those of `qemu-img map --output=json`, as far as they go.
#[derive(Debug, Serialize)]
struct Entry {
    start: u64,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    zero: bool,
    data: bool,
    compressed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl Entry {
    fn of(extent: &Extent) -> Self {
        let (depth, offset) = match extent.place {
            Place::Nowhere | Place::Exported => (None, None),
            Place::Zero { layer } | Place::Packed { layer, .. } => (Some(layer), None),
            Place::Plain { layer, offset } => (Some(layer), Some(offset)),
        };
        Self {
            start: extent.start,
            length: extent.length,
            depth,
            zero: extent.place.reads_zero(),
            data: !extent.place.reads_zero(),
            compressed: matches!(extent.place, Place::Packed { .. }),
            offset,
        }
    }

    const fn what(&self) -> &'static str {
        match (self.compressed, self.data, self.depth) {
            (true, ..) => "compressed",
            (_, true, _) => "data",
            (_, _, Some(_)) => "zeros",
            (_, _, None) => "nothing",
        }
    }
}

pub(super) fn map(context: &Context, args: &MapArgs) -> Result<ExitCode, Failure> {
    let disk = args.below.open(&args.source.path, args.source.own_format()?)?;
    let entries: Vec<_> = disk.map()?.iter().map(Entry::of).collect();
    let files: Vec<_> = disk.files().map(|(path, _)| shown(path)).collect();
    context.output().result(&entries, || {
        let text = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                [
                    entry.start.to_string(),
                    entry.length.to_string(),
                    entry.what().to_owned(),
                    text(entry.offset),
                    entry.depth.map(|depth| files[depth].clone()).unwrap_or_default(),
                ]
            })
            .collect();
        table(
            ["START", "LENGTH", "WHAT", "OFFSET", "FILE"],
            &rows,
            "the disk has no bytes",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
