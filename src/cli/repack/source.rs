//! Where the description of a guest that is to be packed comes from: libvirt, or a file with domain XML.

use super::super::{Context, Failure};
use super::{Args, live};
use miniascape::domain::{Disk, DiskSource, Domain};
use miniascape::host::{Libvirt, access, files};
use miniascape::name::{is_path, printable};
use miniascape::package::{Activity, Volume};
use std::io;
use std::path::Path;

/// Longer than any domain XML, in bytes.
const MAX_XML: u64 = 16 * 1024 * 1024;

/// Where a guest's description comes from.
pub(super) struct Source {
    /// The XML of its next start.
    pub(super) xml: String,
    /// True if everyone on this host can read that.
    pub(super) public: bool,
    pub(super) activity: Activity,
    pub(super) libvirt_knows: bool,
    /// Where the volumes are that it names.
    pub(super) volumes: Vec<Volume>,
    /// The guest, if it is to be packed while it runs.
    pub(super) running: Option<live::Running>,
}

impl Source {
    pub(super) fn read(context: &Context, text: &str, args: &Args) -> Result<Self, Failure> {
        if !args.all && is_path(text) {
            let mut source = Self::of_file(Path::new(text)).map_err(|e| Failure::usage(e.to_string()))?;
            // Only volumes need libvirt; without it they are refused with the reason.
            if !volumes_of(&source.xml).is_empty()
                && let Ok(libvirt) = context.local_libvirt(true)
            {
                source.volumes = locate(&libvirt, &source.xml)?;
            }
            Ok(source)
        } else {
            Self::of_libvirt(context, text, args)
        }
    }

    /// A file is taken for a guest that is off.
    fn of_file(path: &Path) -> io::Result<Self> {
        let bytes = files::read_at_most(path, MAX_XML)?;
        let utf8 = |_| io::Error::other(format!("{}: not UTF-8", path.display()));
        Ok(Self {
            xml: String::from_utf8(bytes).map_err(utf8)?,
            public: access::world_readable(path)?,
            activity: Activity::Off,
            libvirt_knows: false,
            volumes: Vec::new(),
            running: None,
        })
    }

    fn of_libvirt(context: &Context, name: &str, args: &Args) -> Result<Self, Failure> {
        let libvirt = context.local_libvirt(true)?;
        let record = libvirt.domain(name)?.ok_or_else(|| {
            Failure::failed(format!("there is no guest {}", printable(name, 80)))
                .hint("`miniascape guest list` shows what there is; a file's name has a / or ends in .xml")
        })?;
        Ok(Self {
            volumes: locate(&libvirt, &record.xml)?,
            xml: record.xml,
            public: false,
            libvirt_knows: true,
            activity: match (record.state.is_active(), args.live) {
                (true, true) => Activity::Live,
                (true, false) => Activity::Active,
                (false, _) => Activity::Off,
            },
            running: (record.state.is_active() && args.live).then_some(live::Running {
                libvirt,
                uuid: record.uuid,
            }),
        })
    }
}

/// The volumes that the domain XML names, as (pool, volume). What is wrong with the XML is told by the plan.
fn volumes_of(xml: &str) -> Vec<(String, String)> {
    let Ok(domain) = Domain::parse(xml) else {
        return Vec::new();
    };
    let layers = |disk: &Disk| {
        disk.backing
            .iter()
            .map(|layer| layer.source.clone())
            .collect::<Vec<_>>()
    };
    let sources = domain
        .data_disks()
        .flat_map(|disk| [vec![disk.source.clone()], layers(disk)].concat());
    sources
        .filter_map(|source| match source {
            DiskSource::Volume { pool, volume } => Some((pool, volume)),
            _ => None,
        })
        .collect()
}

/// Where libvirt has these volumes. One that it does not know is left out.
fn locate(libvirt: &Libvirt, xml: &str) -> Result<Vec<Volume>, Failure> {
    let mut volumes = Vec::new();
    for (pool, volume) in volumes_of(xml) {
        if let Some(path) = libvirt.volume_path(&pool, &volume)? {
            volumes.push(Volume { pool, volume, path });
        }
    }
    Ok(volumes)
}
