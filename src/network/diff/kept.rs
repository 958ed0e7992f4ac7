//! The network that was last applied, kept in the native form beside its record, so that a definition can be compared
//! with it. What the files were is in the record itself, which is read far more often.

use crate::host::{Layout, files};
use crate::name::NetworkName;
use crate::network::{Network, render};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;

/// The file's name in the network's directory.
pub(in crate::network) const FILE: &str = "applied-network.json";

const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    format: u32,
    network: Value,
}

/// Keeps `network`, which was applied. It is done last: a run that was killed before leaves what was applied to the end.
pub(in crate::network) fn keep(network: &Network, layout: &Layout) -> io::Result<()> {
    let kept = Kept {
        format: FORMAT,
        network: native(network),
    };
    let content = serde_json::to_vec(&kept).map_err(io::Error::other)?;
    files::write(layout.applied_network(network.name()).on_disk(), &content, 0o644).map(drop)
}

/// The network in the native form, without the key around it.
pub(in crate::network) fn native(network: &Network) -> Value {
    render::native(network)["network"].take()
}

/// The network that was applied to the end, in the native form; `None` if a version that kept none has registered it, or
/// what was kept is damaged.
pub(super) fn read(layout: &Layout, name: &NetworkName) -> io::Result<Option<Value>> {
    let place = layout.applied_network(name);
    let path = place.on_disk().display();
    let Some(content) = files::read_if_there(place.on_disk())? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Kept>(&content) {
        Ok(kept) if kept.format == FORMAT => Ok(Some(kept.network)),
        Ok(kept) => {
            tracing::warn!(%path, format = kept.format, "from a later version of miniascape");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%path, %error, "the network that was applied cannot be read");
            Ok(None)
        }
    }
}
