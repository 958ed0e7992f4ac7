//! Compressed clusters made readable again.

use super::ImageError;
use super::bytes::{index, read_at};
use super::header::Compression;
use super::layer::{Layer, Packed};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer};

/// Opens compressed clusters and keeps the last one.
#[derive(Default)]
pub(super) struct Unpacker {
    /// The layer and place of what is in `cluster`.
    holds: Option<(usize, u64)>,
    cluster: Vec<u8>,
    packed: Vec<u8>,
    zstd: Option<DCtx<'static>>,
    zlib: Option<Box<DecompressorOxide>>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker")
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

impl Unpacker {
    /// The whole guest cluster whose compressed bytes lie at `at` of `layer`, which is number `number` of its chain.
    pub(super) fn cluster(&mut self, layer: &Layer, number: usize, at: Packed) -> Result<&[u8], ImageError> {
        if self.holds == Some((number, at.offset)) {
            return Ok(&self.cluster);
        }
        let Some(header) = &layer.qcow2 else {
            return Err(layer.damaged("a raw image has no compressed clusters".into()));
        };
        self.holds = None;
        self.packed.resize(index(at.length), 0);
        // The last sector of a file may be short.
        let got = read_at(&layer.file, &mut self.packed, at.offset)?;
        self.packed.truncate(got);
        self.cluster.resize(index(header.cluster_size()), 0);
        let whole = match header.compression {
            Compression::Zlib => self.inflate(),
            Compression::Zstd => self.unzstd(),
        };
        if !whole {
            return Err(layer.damaged(format!("the compressed cluster at {} cannot be read", at.offset)));
        }
        self.holds = Some((number, at.offset));
        Ok(&self.cluster)
    }

    /// What follows the compressed bytes up to the next sector is not ours to judge.
    fn inflate(&mut self) -> bool {
        let state = self.zlib.get_or_insert_default();
        state.init();
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, _, written) = decompress(state, &self.packed, &mut self.cluster, 0, flags);
        matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput) && written == self.cluster.len()
    }

    fn unzstd(&mut self) -> bool {
        let state = self.zstd.get_or_insert_with(DCtx::create);
        // A fresh frame; what a broken one left behind does not count.
        if state.reset(zstd::zstd_safe::ResetDirective::SessionOnly).is_err() {
            return false;
        }
        let mut input = InBuffer::around(&self.packed);
        let mut output = OutBuffer::around(self.cluster.as_mut_slice());
        loop {
            let (read, written) = (input.pos(), output.pos());
            if state.decompress_stream(&mut output, &mut input).is_err() {
                return false;
            }
            if output.pos() == output.capacity() {
                return true;
            }
            if (input.pos(), output.pos()) == (read, written) {
                return false;
            }
        }
    }
}
