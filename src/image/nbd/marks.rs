//! Where an export has something, a few bits for each 64 KiB, so that the memory it takes is small and known beforehand:
//! 4 MiB for each TiB.

use super::super::bytes::index;

/// Guest bytes that one mark stands for.
pub(super) const BLOCK: u64 = 64 * 1024;

/// What is known of a run of guest bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Kind {
    /// There may be something else than zeros.
    Data,
    /// Zeros.
    Zero,
}

#[derive(Debug)]
pub(super) struct Marks {
    size: u64,
    data: Vec<u64>,
    /// What was written to, where that is known.
    changed: Option<Vec<u64>>,
}

impl Marks {
    pub(super) fn new(size: u64, with_changes: bool) -> Self {
        let words = index(size.div_ceil(BLOCK * 64));
        Self {
            size,
            data: vec![0; words],
            changed: with_changes.then(|| vec![0; words]),
        }
    }

    pub(super) fn set_data(&mut self, start: u64, end: u64) {
        set(&mut self.data, start, end);
    }

    pub(super) fn set_changed(&mut self, start: u64, end: u64) {
        if let Some(changed) = &mut self.changed {
            set(changed, start, end);
        }
    }

    /// Bytes of the blocks that may hold something else than zeros.
    pub(super) fn data(&self) -> u64 {
        self.data
            .iter()
            .map(|word| u64::from(word.count_ones()) * BLOCK)
            .sum()
    }

    /// The kind of the byte `at`, and where another kind, or another answer to whether it has changed, may begin: `end` at
    /// most.
    pub(super) fn run(&self, at: u64, end: u64) -> (Kind, u64) {
        let all = |block: u64| (self.kind(block), self.may_have_changed(block * BLOCK));
        let own = all(at / BLOCK);
        let mut block = at / BLOCK + 1;
        while block * BLOCK < end && all(block) == own {
            block += 1;
        }
        (own.0, (block * BLOCK).min(end))
    }

    /// False if nobody has written to the block of the byte `at`.
    pub(super) fn may_have_changed(&self, at: u64) -> bool {
        self.changed
            .as_ref()
            .is_none_or(|changed| has(changed, at / BLOCK))
    }

    /// True if it is known what was written to.
    pub(super) const fn knows_changes(&self) -> bool {
        self.changed.is_some()
    }

    /// The ranges that are not zeros, widened to whole windows; ascending.
    pub(super) fn outline(&self, window: u64) -> Vec<(u64, u64)> {
        let words = index(window / (BLOCK * 64)).max(1);
        let span = words as u64 * BLOCK * 64;
        (0u64..)
            .zip(self.data.chunks(words))
            .filter(|(_, words)| words.iter().any(|word| *word != 0))
            .map(|(number, _)| (number * span, ((number + 1) * span).min(self.size)))
            .collect()
    }

    fn kind(&self, block: u64) -> Kind {
        if has(&self.data, block) {
            Kind::Data
        } else {
            Kind::Zero
        }
    }
}

fn has(bits: &[u64], block: u64) -> bool {
    bits[index(block / 64)] >> (block % 64) & 1 != 0
}

/// Sets the marks of all blocks that have a byte in `start..end`.
fn set(bits: &mut [u64], start: u64, end: u64) {
    for block in start / BLOCK..end.div_ceil(BLOCK) {
        bits[index(block / 64)] |= 1 << (block % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_outlines_follow_the_marks() {
        let size = 100 * BLOCK + 512;
        let mut marks = Marks::new(size, false);
        assert!(!marks.knows_changes() && marks.may_have_changed(0));
        marks.set_data(3 * BLOCK + 5, 3 * BLOCK + 6);
        marks.set_data(64 * BLOCK, 66 * BLOCK);
        marks.set_data(100 * BLOCK, size);
        let mut runs = Vec::new();
        let mut at = 0;
        while at < size {
            let (kind, end) = marks.run(at, size);
            runs.push((kind, at / BLOCK, end / BLOCK));
            at = end;
        }
        let (d, z) = (Kind::Data, Kind::Zero);
        assert_eq!(
            runs,
            [
                (z, 0, 3),
                (d, 3, 4),
                (z, 4, 64),
                (d, 64, 66),
                (z, 66, 100),
                (d, 100, 100)
            ]
        );
        assert_eq!(marks.outline(64 * BLOCK), [(0, 64 * BLOCK), (64 * BLOCK, size)]);
        assert_eq!(marks.data(), 4 * BLOCK);

        let mut marks = Marks::new(size, true);
        marks.set_changed(70 * BLOCK + 9, 71 * BLOCK);
        let changed = |block| marks.may_have_changed(block * BLOCK);
        assert_eq!(marks.run(0, size), (Kind::Zero, 70 * BLOCK));
        assert_eq!(marks.run(70 * BLOCK, size), (Kind::Zero, 71 * BLOCK));
        assert!(marks.knows_changes() && !changed(69) && changed(70) && !changed(71));
    }
}
