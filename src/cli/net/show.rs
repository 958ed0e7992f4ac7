//! `miniascape net show`: what a definition means, without libvirt.

use super::found;
use crate::cli::{Context, Failure};
use miniascape::network::{FindError, NetworkError, show};

pub(super) fn run(context: &Context, text: &str) -> Result<(), Failure> {
    let found = found(context, text)?;
    let shown = show(&found).map_err(|e: NetworkError| FindError::from(e))?;
    context
        .output()
        .result(&shown, || shown.text().trim_end().to_owned())
}
