//! Runs of guest bytes and where each of them lies, and ranges of a disk in whole windows. Reading them is `disk`'s.

use super::bytes::index;

/// Guest bytes that one thread works on at a time: a multiple of the largest cluster.
pub(super) const WINDOW: u64 = 4 << 20;

/// A run of guest bytes that come from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First guest byte.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
    /// Where they are.
    pub place: Place,
}

/// Where guest bytes are. `layer` counts from 0, the image itself, downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In no layer: they read as zeros.
    Nowhere,
    /// In a layer that says that they are zeros.
    Zero {
        /// The layer.
        layer: usize,
    },
    /// In a file, as they are.
    Plain {
        /// The layer.
        layer: usize,
        /// Where they start in the layer's data file.
        offset: u64,
    },
    /// In the export, at the same place as in the guest.
    Exported,
    /// In a compressed cluster.
    Packed {
        /// The layer.
        layer: usize,
        /// Where the compressed bytes start in the layer's file.
        offset: u64,
        /// Their number, rounded up.
        length: u64,
        /// Bytes of the cluster before these.
        skip: u64,
    },
}

impl Extent {
    /// First guest byte behind it.
    pub const fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Place {
    /// True if the bytes are zeros without anyone looking at them.
    pub const fn reads_zero(self) -> bool {
        matches!(self, Self::Nowhere | Self::Zero { .. })
    }
}

/// Cuts ranges of whole windows into windows.
pub(super) fn cut(ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let starts = |(start, end): (u64, u64)| {
        (start..end)
            .step_by(index(WINDOW))
            .map(move |at| (at, end.min(at + WINDOW)))
    };
    ranges.into_iter().flat_map(starts).collect()
}

/// Sorts ranges and joins those that touch.
pub(super) fn merge(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Adds `start..end`, as a part of the last extent if it goes on there.
pub(super) fn push(extents: &mut Vec<Extent>, start: u64, end: u64, place: Place) {
    if start >= end {
        return;
    }
    if let Some(last) = extents.last_mut()
        && last.end() == start
    {
        let goes_on = match (last.place, place) {
            (Place::Nowhere, Place::Nowhere) | (Place::Exported, Place::Exported) => true,
            (Place::Zero { layer: a }, Place::Zero { layer: b }) => a == b,
            (
                Place::Plain { layer: a, offset },
                Place::Plain {
                    layer: b,
                    offset: next,
                },
            ) => a == b && offset + last.length == next,
            _ => false,
        };
        if goes_on {
            last.length = end - last.start;
            return;
        }
    }
    extents.push(Extent {
        start,
        length: end - start,
        place,
    });
}
