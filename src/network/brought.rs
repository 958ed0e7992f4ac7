//! The record of what packages have done with networks: which of those that a package ships were brought to life once,
//! so that one which people have unregistered since stays away; and which went when the program was removed, so that
//! they come back with it. The hooks that read and write it are the program's.

use crate::host::{Layout, files};
use crate::name::NetworkName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

/// The version of the record's form.
const FORMAT: u32 = 1;

/// What packages have done with networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtByPackages {
    format: u32,
    /// Shipped networks that were registered once, or put on record for that.
    pub introduced: BTreeSet<NetworkName>,
    /// Networks that were registered when the program was removed, with their definitions.
    pub taken_away: BTreeMap<NetworkName, PathBuf>,
}

impl Default for BroughtByPackages {
    fn default() -> Self {
        Self {
            format: FORMAT,
            introduced: BTreeSet::new(),
            taken_away: BTreeMap::new(),
        }
    }
}

impl BroughtByPackages {
    /// The record. One that cannot be read is named in the log and counts as lost: shipped networks are then brought again.
    pub fn read(layout: &Layout) -> io::Result<Self> {
        let place = layout.brought();
        let Some(content) = files::read_if_there(place.on_disk())? else {
            return Ok(Self::default());
        };
        match serde_json::from_slice::<Self>(&content) {
            Ok(record) if record.format == FORMAT => Ok(record),
            Ok(record) => {
                let path = place.on_disk().display();
                tracing::warn!(%path, format = record.format, "a record of a later version of miniascape");
                Ok(Self::default())
            }
            Err(error) => {
                tracing::warn!(path = %place.on_disk().display(), %error, "a record that cannot be read");
                Ok(Self::default())
            }
        }
    }

    /// Writes the record; an empty one is none.
    pub fn write(&self, layout: &Layout) -> io::Result<()> {
        let place = layout.brought();
        if *self == Self::default() {
            return files::remove(place.on_disk()).map(drop);
        }
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        if let Some(dir) = place.on_disk().parent() {
            files::make_dir(dir, 0o755)?;
        }
        files::write(place.on_disk(), &content, 0o644).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_a_lost_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let mut record = BroughtByPackages::read(&layout).unwrap();
        assert_eq!(record, BroughtByPackages::default());
        record.introduced.insert("net-1".parse().unwrap());
        let lab = "lab".parse().unwrap();
        record.taken_away.insert(lab, "/srv/lab.yaml".into());
        record.write(&layout).unwrap();
        assert_eq!(BroughtByPackages::read(&layout).unwrap(), record);
        BroughtByPackages::default().write(&layout).unwrap();
        assert!(!layout.brought().on_disk().exists());
        fs_err::write(layout.brought().on_disk(), "{").unwrap();
        assert_eq!(
            BroughtByPackages::read(&layout).unwrap(),
            BroughtByPackages::default()
        );
    }
}
