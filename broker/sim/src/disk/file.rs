//! One simulated file: what a read sees, and what of it a power cut may take back.
//!
//! Sparse: a sector that was never written, or was written with zeros only, costs one empty slot. Every write that is
//! not flushed leaves an [`Unflushed`] with the content it replaced; a power cut walks them backwards and takes each
//! sector back or not. A sector that was written twice may thus come back in its oldest, middle or newest version.

use crate::rng::Rng;
use std::rc::Rc;

/// What a sector that was never written reads as; the coarsest sector is 4 KiB.
static ZEROS: [u8; 4096] = [0; 4096];

/// Content of a sector; `None` is all zeros.
type Sector = Option<Rc<[u8]>>;

/// One sector of one write that no flush has covered.
#[derive(Clone, Debug)]
struct Unflushed {
    sector: usize,
    before: Sector,
    sequence: u64,
    /// A flush that covered it failed: no later flush covers it again (Linux marks the pages clean).
    doomed: bool,
}

/// The content of one file. Offsets are multiples of the sector size, which is the log's alignment.
#[derive(Clone, Debug)]
pub(super) struct SimFile {
    sector_size: usize,
    size: u64,
    size_durable: u64,
    sectors: Vec<Sector>,
    unflushed: Vec<Unflushed>,
    sequence: u64,
}

impl SimFile {
    /// A new file that reads as zeros. Its size is not durable before its first flush.
    pub(super) fn new(size: u64, sector_size: usize) -> Self {
        Self { sector_size, size, size_durable: 0, sectors: Vec::new(), unflushed: Vec::new(), sequence: 0 }
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Sectors that a power cut may still take back.
    pub(super) fn unflushed_count(&self) -> usize {
        self.unflushed.len()
    }

    /// The number of the next write: a flush covers the writes before the number it was given.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset).expect("simulated files are small") / self.sector_size
    }

    fn slot(&mut self, sector: usize) -> &mut Sector {
        if sector >= self.sectors.len() {
            self.sectors.resize(sector + 1, None);
        }
        &mut self.sectors[sector]
    }

    /// Writes sector by sector, unflushed; a sector for which `keep` says no stays as it was.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], mut keep: impl FnMut() -> bool) {
        let first = self.index(offset);
        for (index, piece) in bytes.chunks(self.sector_size).enumerate() {
            if !keep() {
                continue;
            }
            let zero = piece == &ZEROS[..piece.len()];
            let sector = first + index;
            let after: Sector = (!zero).then(|| piece.into());
            let before = if zero && sector >= self.sectors.len() {
                None
            } else {
                std::mem::replace(self.slot(sector), after.clone())
            };
            if after.is_some() || before.is_some() {
                self.unflushed.push(Unflushed { sector, before, sequence: self.sequence, doomed: false });
            }
        }
        self.sequence += 1;
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Writes and makes durable exactly these sectors (a write with its own flush), and the file's size.
    pub(super) fn write_durable(&mut self, offset: u64, bytes: &[u8]) {
        self.write(offset, bytes, || true);
        let range = self.index(offset)..self.index(offset) + bytes.len().div_ceil(self.sector_size);
        self.unflushed.retain(|write| !range.contains(&write.sector));
        self.size_durable = self.size;
    }

    /// Makes durable what was written before `sequence`, unless a flush of it failed before.
    pub(super) fn flush(&mut self, sequence: u64) {
        self.unflushed.retain(|write| write.doomed || write.sequence >= sequence);
        self.size_durable = self.size;
    }

    /// A flush of writes in `from..to` fails: no other one will cover them.
    pub(super) fn fail_flush(&mut self, from: u64, to: u64) {
        for write in self.unflushed.iter_mut().filter(|write| (from..to).contains(&write.sequence)) {
            write.doomed = true;
        }
    }

    /// Copies bytes from `offset` on into `out`; returns how many of them are in the file.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let available = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = out.len().min(available);
        let first = self.index(offset);
        for (index, piece) in out[..length].chunks_mut(self.sector_size).enumerate() {
            match self.sectors.get(first + index) {
                Some(Some(sector)) => piece.copy_from_slice(&sector[..piece.len()]),
                Some(None) | None => piece.fill(0),
            }
        }
        length
    }

    /// The power is cut: each unflushed sector survives with a chance of `survive_percent`. Returns how many were lost.
    pub(super) fn power_cut(&mut self, rng: &mut Rng, survive_percent: u64) -> u64 {
        let mut settled = vec![false; self.sectors.len()];
        let mut lost = 0;
        for write in std::mem::take(&mut self.unflushed).into_iter().rev() {
            if settled[write.sector] {
                continue;
            }
            if rng.percent(survive_percent) {
                settled[write.sector] = true;
            } else {
                lost += 1;
                *self.slot(write.sector) = write.before;
            }
        }
        if self.size_durable < self.size {
            let sectors = (self.size - self.size_durable).div_ceil(self.sector_size as u64);
            let kept = match rng.below(4) {
                0 => 0,
                1 => rng.below(sectors + 1),
                _ => sectors,
            };
            self.size = self.size.min(self.size_durable + kept * self.sector_size as u64);
            let sector_count = self.index(self.size.next_multiple_of(self.sector_size as u64));
            self.sectors.truncate(sector_count);
        }
        self.size_durable = self.size;
        lost
    }

    /// The process that saw a flush fail is gone. What the device kept of it is what it reads back from now on (the log is
    /// read and written past the page cache), and the next flush covers it.
    pub(super) fn resolve_failed_flushes(&mut self, rng: &mut Rng) {
        if self.unflushed.iter().any(|write| write.doomed) {
            let mut kept = Vec::new();
            for mut write in std::mem::take(&mut self.unflushed).into_iter().rev() {
                if write.doomed && rng.percent(50) {
                    *self.slot(write.sector) = write.before;
                } else {
                    write.doomed = false;
                    kept.push(write);
                }
            }
            kept.reverse();
            self.unflushed = kept;
        }
    }

    /// Everything that reads see is durable from now on (the operating system wrote it back in its own time).
    pub(super) fn settle(&mut self) {
        self.unflushed.clear();
        self.size_durable = self.size;
    }

    /// Flips one bit, at rest.
    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        let sector_size = self.sector_size;
        let sector = self.index(byte);
        let within = usize::try_from(byte).expect("simulated files are small") % sector_size;
        let slot = self.slot(sector);
        let mut content = slot.as_deref().map_or_else(|| vec![0; sector_size], <[u8]>::to_vec);
        content.resize(sector_size, 0);
        content[within] ^= 1 << bit;
        *slot = Some(content.into());
    }

    /// Cuts the file to `size` bytes, at rest.
    pub(super) fn truncate(&mut self, size: u64) {
        self.size = self.size.min(size);
        let sector_count = self.index(self.size.next_multiple_of(self.sector_size as u64));
        self.sectors.truncate(sector_count);
        self.size_durable = self.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &SimFile, offset: u64, length: usize) -> Vec<u8> {
        let mut out = vec![9; length];
        let read = file.read(offset, &mut out);
        out.truncate(read);
        out
    }

    #[test]
    fn unflushed_sectors_may_vanish_and_flushed_ones_never_do() {
        let (mut survived, mut lost) = (0, 0);
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut file = SimFile::new(4096, 512);
            file.write(0, &[1; 512], || true);
            file.flush(file.sequence());
            file.write(512, &[2; 512], || true);
            file.power_cut(&mut rng, 50);
            assert_eq!(content(&file, 0, 512), [1; 512]);
            match content(&file, 512, 512)[0] {
                2 => survived += 1,
                0 => lost += 1,
                other => panic!("seed {seed}: {other} was never written"),
            }
        }
        assert!(survived > 20 && lost > 20, "{survived} survived, {lost} lost");
    }

    #[test]
    fn sector_written_twice_comes_back_in_any_of_its_versions() {
        let mut seen = [0; 4];
        for seed in 0..200 {
            let mut file = SimFile::new(512, 512);
            file.write_durable(0, &[1; 512]);
            file.write(0, &[2; 512], || true);
            file.write(0, &[3; 512], || true);
            file.power_cut(&mut Rng::new(seed), 50);
            seen[usize::from(content(&file, 0, 512)[0])] += 1;
        }
        assert!(seen[0] == 0 && seen[1] > 10 && seen[2] > 10 && seen[3] > 10, "{seen:?}");
    }

    #[test]
    fn failed_flush_is_not_made_good_by_the_next() {
        let mut file = SimFile::new(512, 512);
        file.write(0, &[1; 512], || true);
        file.fail_flush(0, file.sequence());
        file.flush(file.sequence());
        assert_eq!(content(&file, 0, 512), [1; 512], "reads see it until the power is cut");
        file.power_cut(&mut Rng::new(1), 0);
        assert_eq!(content(&file, 0, 512), [0; 512]);
    }

    #[test]
    fn flush_does_not_cover_a_write_that_came_after_it_was_issued() {
        let mut file = SimFile::new(1024, 512);
        file.write(0, &[1; 512], || true);
        let issued = file.sequence();
        file.write(512, &[2; 512], || true);
        file.flush(issued);
        file.power_cut(&mut Rng::new(1), 0);
        assert_eq!((content(&file, 0, 1)[0], content(&file, 512, 1)[0]), (1, 0));
    }

    #[test]
    fn read_past_the_end_is_short_and_a_hole_is_zero() {
        let file = SimFile::new(700, 512);
        assert_eq!(content(&file, 512, 512), [0; 188]);
        assert_eq!(content(&file, 1024, 512), [0; 0]);
    }

    #[test]
    fn flipped_bit_changes_one_bit() {
        let mut file = SimFile::new(1024, 512);
        file.write_durable(512, &[0xF0; 512]);
        file.flip(600, 0);
        let bytes = content(&file, 512, 512);
        assert_eq!(bytes[88], 0xF1);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0xF0).count(), 1);
    }
}
