//! Who a shard is, and what it must remember beside its log.
//!
//! `identity` is written once, when the directory is made: 4 KiB, zero behind the text.
//!
//! ```text
//! identity    0 magic u64 "RMQIDENT" | 8 version u16 | 10 zero u16 | 12 shard index u32 | 16 log id u128 | 32 disk id u128
//!            48 cluster: u16 + bytes | broker name: u16 + bytes | … 4092 CRC u32 over everything before
//! superblock  two slots of 4 KiB, slot = sequence % 2:
//!             0 magic u64 "RMQSUPER" | 8 version u16 | 10 clean u8 | 11 zero u8 | 12 incarnation u32 | 16 log id u128
//!            32 disk id u128 | 48 sequence u64 | 56 promised epoch u32 | 60 alignment u32 | 64 segment size u64
//!            72 confirm floor u64 | 80 cut position u64 | 88 cut epoch u32 | 92 zero u32 | 96 skipped to u64
//!            104 zero … 4092 CRC u32
//! ```
//!
//! The slots alternate, so that a torn write leaves the older one. When a log is opened, both slots are written and
//! flushed, one after the other, *before* the first commit: what the epoch depends on is then there twice. The cut says
//! "commits of an epoch below `cut epoch` at or beyond `cut position` are dead".

use super::error::OpenError;
use super::format::FORMAT_VERSION;
use crate::disk::{BlockMut, BlockPool, Disk, DiskDone, DiskErrorKind, DiskOpKind, FileName};
use ringmq_proto::ids::{Epoch, LogPosition, QueueOffset};

/// Bytes of the identity, and of one superblock slot.
pub const SLOT_SIZE_BYTES: usize = 4096;
const CRC_AT: usize = SLOT_SIZE_BYTES - 4;
const IDENTITY_MAGIC: u64 = u64::from_le_bytes(*b"RMQIDENT");
const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"RMQSUPER");

/// Who a shard is: written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RocketMQ's cluster name.
    pub cluster: String,
    /// The shard's broker name: `NAME`, or `sK-NAME`.
    pub broker_name: String,
    /// Which shard of its data directory.
    pub shard_index: u32,
    /// Of the log; replicas share it.
    pub log_id: u128,
    /// Of this directory; no two share it.
    pub disk_id: u128,
}

/// What the superblock remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Of the log.
    pub log_id: u128,
    /// Of this directory.
    pub disk_id: u128,
    /// Counts writes of the superblock.
    pub sequence: u64,
    /// Counts starts.
    pub incarnation: u32,
    /// The last stop was clean, and `confirm_floor` is the log's end.
    pub clean: bool,
    /// No epoch up to this one may be taken again.
    pub promised_epoch: Epoch,
    /// Everything below was confirmed: recovery that ends below has lost data.
    pub confirm_floor: LogPosition,
    /// Where recovery cut last.
    pub cut_position: LogPosition,
    /// Commits of an epoch below this one at or beyond `cut_position` are dead.
    pub cut_epoch: Epoch,
    /// The largest queue offset that a start after damage has gone on at: no floor that it wrote says more.
    pub skipped_to: QueueOffset,
    /// Constant of the log.
    pub alignment_bytes: u32,
    /// Constant of the log.
    pub segment_size_bytes: u64,
}

fn seal(block: &mut BlockMut) {
    let crc = crc32fast::hash(&block[..CRC_AT]);
    block[CRC_AT..SLOT_SIZE_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn sealed(bytes: &[u8]) -> bool {
    bytes.len() >= SLOT_SIZE_BYTES && crc32fast::hash(&bytes[..CRC_AT]).to_le_bytes() == bytes[CRC_AT..SLOT_SIZE_BYTES]
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl Identity {
    fn encode(&self, block: &mut BlockMut) {
        block[..SLOT_SIZE_BYTES].fill(0);
        block[0..8].copy_from_slice(&IDENTITY_MAGIC.to_le_bytes());
        block[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.shard_index.to_le_bytes());
        block[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        block[32..48].copy_from_slice(&self.disk_id.to_le_bytes());
        let mut at = 48;
        for text in [&self.cluster, &self.broker_name] {
            let length = u16::try_from(text.len()).expect("names are below 256 bytes");
            block[at..at + 2].copy_from_slice(&length.to_le_bytes());
            block[at + 2..at + 2 + text.len()].copy_from_slice(text.as_bytes());
            at += 2 + text.len();
        }
        seal(block);
    }

    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let damaged = OpenError::Damaged { what: "the identity file" };
        if !sealed(bytes) || u64::from_le_bytes(array(bytes, 0)) != IDENTITY_MAGIC {
            return Err(damaged);
        }
        let found = u16::from_le_bytes(array(bytes, 8));
        if found != FORMAT_VERSION {
            return Err(OpenError::NewerFormat { found, known: FORMAT_VERSION });
        }
        let mut at = 48;
        let mut text = || {
            let length = usize::from(u16::from_le_bytes(array(bytes, at)));
            let text = bytes.get(at + 2..at + 2 + length)?;
            at += 2 + length;
            String::from_utf8(text.to_vec()).ok()
        };
        let (Some(cluster), Some(broker_name)) = (text(), text()) else { return Err(damaged) };
        Ok(Self {
            cluster,
            broker_name,
            shard_index: u32::from_le_bytes(array(bytes, 12)),
            log_id: u128::from_le_bytes(array(bytes, 16)),
            disk_id: u128::from_le_bytes(array(bytes, 32)),
        })
    }

    /// Reads the identity; `None` when the directory has none yet.
    ///
    /// # Errors
    /// The disk, damage, or a newer format.
    pub fn read<D: Disk>(disk: &mut D) -> Result<Option<Self>, OpenError> {
        match disk.execute(DiskOpKind::Read { file: FileName::Identity, offset: 0, length: SLOT_SIZE_BYTES }) {
            Ok(DiskDone::Read { length: 0, .. }) => Ok(None),
            Ok(DiskDone::Read { block, length }) => Self::decode(&block[..length]).map(Some),
            Ok(DiskDone::Done) => unreachable!("a read completes as a read"),
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the identity, durably. The last step of making a shard's directory.
    ///
    /// # Errors
    /// The disk.
    pub fn write<D: Disk>(&self, disk: &mut D) -> Result<(), OpenError> {
        let mut block = disk.pool().take(SLOT_SIZE_BYTES);
        self.encode(&mut block);
        make_file(disk, FileName::Identity, SLOT_SIZE_BYTES)?;
        write_slot(disk, FileName::Identity, 0, block)
    }
}

/// Makes a small file, durably, or finds it made by an attempt that was interrupted.
fn make_file<D: Disk>(disk: &mut D, file: FileName, size_bytes: usize) -> Result<(), OpenError> {
    match disk.execute(DiskOpKind::Create { file, size_bytes: size_bytes as u64 }) {
        Ok(_) => {}
        Err(error) if error.kind == DiskErrorKind::Exists => {}
        Err(error) => return Err(error.into()),
    }
    disk.execute(DiskOpKind::SyncDir { directory: file.directory() })?;
    Ok(())
}

fn write_slot<D: Disk>(disk: &mut D, file: FileName, slot: u64, block: BlockMut) -> Result<(), OpenError> {
    disk.execute(DiskOpKind::Write {
        file,
        offset: slot * SLOT_SIZE_BYTES as u64,
        block: block.freeze(),
        start: 0,
        length: SLOT_SIZE_BYTES,
        sync: true,
    })?;
    Ok(())
}

impl Superblock {
    fn encode(&self, block: &mut BlockMut) {
        block[..SLOT_SIZE_BYTES].fill(0);
        block[0..8].copy_from_slice(&SUPERBLOCK_MAGIC.to_le_bytes());
        block[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[10] = u8::from(self.clean);
        block[12..16].copy_from_slice(&self.incarnation.to_le_bytes());
        block[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        block[32..48].copy_from_slice(&self.disk_id.to_le_bytes());
        block[48..56].copy_from_slice(&self.sequence.to_le_bytes());
        block[56..60].copy_from_slice(&self.promised_epoch.get().to_le_bytes());
        block[60..64].copy_from_slice(&self.alignment_bytes.to_le_bytes());
        block[64..72].copy_from_slice(&self.segment_size_bytes.to_le_bytes());
        block[72..80].copy_from_slice(&self.confirm_floor.get().to_le_bytes());
        block[80..88].copy_from_slice(&self.cut_position.get().to_le_bytes());
        block[88..92].copy_from_slice(&self.cut_epoch.get().to_le_bytes());
        block[96..104].copy_from_slice(&self.skipped_to.get().to_le_bytes());
        seal(block);
    }

    fn decode(bytes: &[u8]) -> Option<Result<Self, OpenError>> {
        if !sealed(bytes) || u64::from_le_bytes(array(bytes, 0)) != SUPERBLOCK_MAGIC {
            return None;
        }
        let found = u16::from_le_bytes(array(bytes, 8));
        if found != FORMAT_VERSION {
            return Some(Err(OpenError::NewerFormat { found, known: FORMAT_VERSION }));
        }
        Some(Ok(Self {
            clean: bytes[10] == 1,
            incarnation: u32::from_le_bytes(array(bytes, 12)),
            log_id: u128::from_le_bytes(array(bytes, 16)),
            disk_id: u128::from_le_bytes(array(bytes, 32)),
            sequence: u64::from_le_bytes(array(bytes, 48)),
            promised_epoch: Epoch::new(u32::from_le_bytes(array(bytes, 56))),
            alignment_bytes: u32::from_le_bytes(array(bytes, 60)),
            segment_size_bytes: u64::from_le_bytes(array(bytes, 64)),
            confirm_floor: LogPosition::new(u64::from_le_bytes(array(bytes, 72))),
            cut_position: LogPosition::new(u64::from_le_bytes(array(bytes, 80))),
            cut_epoch: Epoch::new(u32::from_le_bytes(array(bytes, 88))),
            skipped_to: QueueOffset::new(u64::from_le_bytes(array(bytes, 96))),
        }))
    }

    /// Reads the newer of the valid slots; `None` when the file does not exist.
    ///
    /// # Errors
    /// The disk, a newer format, or no valid slot.
    pub fn read<D: Disk>(disk: &mut D) -> Result<Option<Self>, OpenError> {
        let file = FileName::Superblock;
        let read = disk.execute(DiskOpKind::Read { file, offset: 0, length: 2 * SLOT_SIZE_BYTES });
        let (block, length) = match read {
            Ok(DiskDone::Read { block, length }) => (block, length),
            Ok(DiskDone::Done) => unreachable!("a read completes as a read"),
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut newest: Option<Self> = None;
        for slot in block[..length].chunks_exact(SLOT_SIZE_BYTES) {
            if let Some(found) = Self::decode(slot) {
                let found = found?;
                if newest.is_none_or(|other| found.sequence > other.sequence) {
                    newest = Some(found);
                }
            }
        }
        newest.map(Some).ok_or(OpenError::Damaged { what: "the superblock" })
    }

    /// Makes the file, empty. Part of making a shard's directory.
    ///
    /// # Errors
    /// The disk.
    pub fn make<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
        make_file(disk, FileName::Superblock, 2 * SLOT_SIZE_BYTES)
    }

    /// Writes and flushes both slots, one after the other; the sequence rises by two.
    ///
    /// # Errors
    /// The disk.
    pub fn write_both<D: Disk>(&mut self, disk: &mut D) -> Result<(), OpenError> {
        for _ in 0..2 {
            self.sequence += 1;
            let mut block = disk.pool().take(SLOT_SIZE_BYTES);
            self.encode(&mut block);
            write_slot(disk, FileName::Superblock, self.sequence % 2, block)?;
        }
        Ok(())
    }

    /// The operation that writes and flushes the next slot while the shard runs.
    pub fn next_write(&mut self, pool: &BlockPool) -> DiskOpKind {
        self.sequence += 1;
        let mut block = pool.take(SLOT_SIZE_BYTES);
        self.encode(&mut block);
        DiskOpKind::Write {
            file: FileName::Superblock,
            offset: (self.sequence % 2) * SLOT_SIZE_BYTES as u64,
            block: block.freeze(),
            start: 0,
            length: SLOT_SIZE_BYTES,
            sync: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        Superblock {
            log_id: 1 << 100,
            disk_id: 2,
            sequence: 3,
            incarnation: 4,
            clean: true,
            promised_epoch: Epoch::new(5),
            confirm_floor: LogPosition::new(6),
            cut_position: LogPosition::new(7),
            cut_epoch: Epoch::new(8),
            skipped_to: QueueOffset::new(9),
            alignment_bytes: 512,
            segment_size_bytes: 1 << 20,
        }
    }

    #[test]
    fn every_bit_of_a_superblock_slot_is_covered() {
        let mut block = BlockPool::new(0).take(SLOT_SIZE_BYTES);
        superblock().encode(&mut block);
        assert_eq!(Superblock::decode(&block).expect("sealed").expect("known"), superblock());
        for bit in 0..SLOT_SIZE_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&block).is_none(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn identity_reads_back_and_refuses_damage() {
        let identity = Identity {
            cluster: "DefaultCluster".into(),
            broker_name: "s1-broker-a".into(),
            shard_index: 1,
            log_id: 3,
            disk_id: 4,
        };
        let mut block = BlockPool::new(0).take(SLOT_SIZE_BYTES);
        identity.encode(&mut block);
        assert_eq!(Identity::decode(&block).expect("sound"), identity);
        block[60] ^= 1;
        assert!(matches!(Identity::decode(&block), Err(OpenError::Damaged { .. })));
    }
}
