//! The blocks that runs and checkpoints are made of: 64 KiB, each with a checksum that also says whose block it is.
//!
//! ```text
//! 0   magic u32              "RMQI"
//! 4   CRC u32                of bytes 8..65536
//! 8   log id u128            of the log that this was derived from
//! 24  number u64             of the run, or of the checkpoint
//! 32  block number u64       in the file, from 0
//! 40  kind u8                1 run header, 2 entries, 3 directory, 4 top, 5 checkpoint; of keys: 6 header, 7 entries, 8 fences;
//!                            of pending messages by due time: 9 header, 10 entries, 11 fences
//! 41  version u8             1
//! 42  0 u16
//! 44  item count u32
//! 48  0 u128
//! 64  items                  of the kind's fixed size, then zeros
//! ```
//! A block that was written elsewhere, for another log, by an earlier user of the file's name or with any bit changed is
//! refused. Blocks are derived from the log: a version is never read by another one, but built anew.

use crate::disk::{Block, BlockMut, BlockPool};
use crate::store::cache::RUN_BLOCK_SIZE_BYTES;

/// Bytes of a block.
pub(in crate::store) const BLOCK_SIZE_BYTES: usize = RUN_BLOCK_SIZE_BYTES;

/// Bytes of a block before its items.
pub(in crate::store) const BLOCK_HEADER_SIZE_BYTES: usize = 64;

/// Bytes for items in a block.
pub(in crate::store) const BLOCK_ITEM_BYTES: usize = BLOCK_SIZE_BYTES - BLOCK_HEADER_SIZE_BYTES;

const MAGIC: u32 = u32::from_le_bytes(*b"RMQI");
const VERSION: u8 = 1;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// One run header.
    Header = 1,
    /// Entries.
    Entries = 2,
    /// Directory records.
    Directory = 3,
    /// First queue ids of directory blocks.
    Top = 4,
    /// One checkpoint.
    Checkpoint = 5,
    /// One header of a run of the key index.
    KeyHeader = 6,
    /// Entries of the key index.
    KeyEntries = 7,
    /// First hashes of entry blocks.
    KeyFences = 8,
    /// One header of a run of pending messages by due time.
    DueHeader = 9,
    /// What is said of pending messages.
    DueEntries = 10,
    /// First keys of entry blocks.
    DueFences = 11,
}

/// Whose a block is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Label {
    /// Of the log.
    pub(in crate::store) log_id: u128,
    /// Of the run or checkpoint.
    pub(in crate::store) number: u64,
    /// In the file.
    pub(in crate::store) block: u64,
    /// What is in it.
    pub(in crate::store) kind: Kind,
}

/// A block that is being filled with items.
pub(in crate::store) struct Filling {
    block: BlockMut,
    end: usize,
    count: u32,
}

impl Filling {
    /// An empty block.
    pub(in crate::store) fn new(pool: &BlockPool) -> Self {
        Self { block: pool.take(BLOCK_SIZE_BYTES), end: BLOCK_HEADER_SIZE_BYTES, count: 0 }
    }

    /// Items so far.
    pub(in crate::store) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes that are left for items.
    pub(in crate::store) fn free_bytes(&self) -> usize {
        BLOCK_SIZE_BYTES - self.end
    }

    /// Room for `count` more items of `size_bytes` in all, which must fit.
    pub(in crate::store) fn push(&mut self, count: u32, size_bytes: usize) -> &mut [u8] {
        let start = self.end;
        self.end += size_bytes;
        self.count += count;
        &mut self.block[start..self.end]
    }

    /// Ends the filling: header, zeros, checksum.
    pub(in crate::store) fn seal(mut self, label: Label) -> Block {
        let block = &mut self.block[..BLOCK_SIZE_BYTES];
        block[self.end..].fill(0);
        block[..BLOCK_HEADER_SIZE_BYTES].fill(0);
        block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[8..24].copy_from_slice(&label.log_id.to_le_bytes());
        block[24..32].copy_from_slice(&label.number.to_le_bytes());
        block[32..40].copy_from_slice(&label.block.to_le_bytes());
        block[40] = label.kind as u8;
        block[41] = VERSION;
        block[44..48].copy_from_slice(&self.count.to_le_bytes());
        let crc = crc32fast::hash(&block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        self.block.freeze()
    }
}

/// Checks a block that was read: that it is whole and the one that `label` says, with items of `item_size_bytes`.
///
/// # Errors
/// What is wrong, in a few words.
pub(in crate::store) fn check(bytes: &[u8], label: Label, item_size_bytes: usize) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("block {} of {:?} {}: {what}", label.block, label.kind, label.number));
    if bytes.len() < BLOCK_SIZE_BYTES {
        return wrong("short");
    }
    let bytes = &bytes[..BLOCK_SIZE_BYTES];
    if u32_at(bytes, 0) != MAGIC {
        return wrong("not an index block");
    }
    if crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4) {
        return wrong("checksum does not match");
    }
    let found = (u128_at(bytes, 8), u64_at(bytes, 24), u64_at(bytes, 32), bytes[40], bytes[41]);
    if found != (label.log_id, label.number, label.block, label.kind as u8, VERSION) {
        return wrong("belongs elsewhere");
    }
    if item_count(bytes) as usize * item_size_bytes > BLOCK_ITEM_BYTES {
        return wrong("more items than fit");
    }
    Ok(())
}

/// Items in a checked block.
pub(in crate::store) fn item_count(bytes: &[u8]) -> u32 {
    u32_at(bytes, 44)
}

/// The checksum of a checked block.
pub(in crate::store) fn checksum(bytes: &[u8]) -> u32 {
    u32_at(bytes, 4)
}

/// The bytes of item `index` in a checked block whose items are of `size_bytes`.
pub(in crate::store) fn item(bytes: &[u8], index: usize, size_bytes: usize) -> &[u8] {
    let start = BLOCK_HEADER_SIZE_BYTES + index * size_bytes;
    &bytes[start..start + size_bytes]
}

/// The u32 at `at`.
pub(in crate::store) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The u64 at `at`.
pub(in crate::store) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_with_any_bit_changed_or_of_another_place_is_refused() {
        let label = Label { log_id: 7 << 100, number: 3, block: 9, kind: Kind::Entries };
        let mut filling = Filling::new(&BlockPool::new(0));
        filling.push(1, 32).fill(5);
        let block = filling.seal(label);
        assert_eq!(check(&block, label, 32), Ok(()));
        assert_eq!((item_count(&block), item(&block, 0, 32)), (1, &[5; 32][..]));
        for other in [
            Label { log_id: 8 << 100, ..label },
            Label { number: 4, ..label },
            Label { block: 8, ..label },
            Label { kind: Kind::Directory, ..label },
        ] {
            assert!(check(&block, other, 32).is_err(), "{other:?}");
        }
        let mut bytes = block.to_vec();
        for byte in (0..BLOCK_SIZE_BYTES).step_by(31).chain(0..BLOCK_HEADER_SIZE_BYTES + 32) {
            bytes[byte] ^= 1 << (byte % 8);
            assert!(check(&bytes, label, 32).is_err(), "bit {} of byte {byte}", byte % 8);
            bytes[byte] ^= 1 << (byte % 8);
        }
        assert!(check(&bytes[..BLOCK_SIZE_BYTES - 1], label, 32).is_err(), "a short block");
    }
}
