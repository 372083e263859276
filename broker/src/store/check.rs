//! A read-only look at a shard's directory: what recovery would say, and whether every record is what was written.
//!
//! Walks the whole log, not only what lies behind the last checkpoint, and writes nothing.

use super::error::OpenError;
use super::recovery::{Cut, DamagedRange, LogReader, RecordVisitor, Walk};
use super::superblock::{Identity, Superblock};
use crate::disk::{Directory, Disk, FileName};
use ringmq_proto::ids::{Epoch, LogPosition};
use ringmq_proto::message::Batch;
use ringmq_proto::record::{RecordKind, RecordView};

/// What the look found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Who the shard is.
    pub identity: Identity,
    /// What it remembers.
    pub superblock: Superblock,
    /// Segments, by start.
    pub segments: Vec<LogPosition>,
    /// Where the log begins and ends.
    pub range: (LogPosition, LogPosition),
    /// The last commit's epoch.
    pub epoch: Option<Epoch>,
    /// Sound commits.
    pub commit_count: u64,
    /// Records in them.
    pub record_count: u64,
    /// Messages in these, those of batches counted one by one.
    pub message_count: u64,
    /// Records whose own checksum is wrong inside a sound commit.
    pub bad_records: Vec<LogPosition>,
    /// Promised parts that cannot be read.
    pub damaged: Vec<DamagedRange>,
    /// How the end was found.
    pub cut: Cut,
}

impl CheckReport {
    /// Nothing that was promised is missing.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.bad_records.is_empty()
    }
}

#[derive(Default)]
struct Counter {
    log_id: u128,
    record_count: u64,
    message_count: u64,
    bad_records: Vec<LogPosition>,
}

impl RecordVisitor for Counter {
    fn record(&mut self, position: LogPosition, record: RecordView<'_>) -> Result<(), OpenError> {
        self.record_count += 1;
        if !record.is_whole(self.log_id, position) {
            self.bad_records.push(position);
            return Ok(());
        }
        match record.header.kind {
            RecordKind::MESSAGE => self.message_count += 1,
            RecordKind::BATCH => match Batch::decode(record.payload) {
                Ok(batch) => self.message_count += u64::from(batch.head.count),
                Err(_) => self.bad_records.push(position),
            },
            _ => {}
        }
        Ok(())
    }
}

/// Looks at a shard. Writes nothing.
///
/// # Errors
/// The directory is not a shard's, its identity or superblock is damaged, the log ends before what was promised, or the
/// disk fails.
pub fn check<D: Disk>(disk: &mut D) -> Result<CheckReport, OpenError> {
    let identity =
        Identity::read(disk)?.ok_or(OpenError::Damaged { what: "the directory, which holds no identity," })?;
    let superblock = Superblock::read(disk)?.ok_or(OpenError::Damaged { what: "the superblock" })?;
    if identity.log_id != superblock.log_id || identity.disk_id != superblock.disk_id {
        return Err(OpenError::MixedFiles);
    }
    let mut segments: Vec<LogPosition> = disk
        .list(Directory::Log)?
        .into_iter()
        .filter_map(|(file, _)| match file {
            FileName::Segment(start) if start.get().is_multiple_of(superblock.segment_size_bytes) => Some(start),
            _ => None,
        })
        .collect();
    segments.sort_unstable();
    let from = segments.first().copied().unwrap_or(LogPosition::ZERO);
    let mut counter = Counter { log_id: identity.log_id, ..Counter::default() };
    let alignment = superblock.alignment_bytes as usize;
    let mut reader = LogReader::new(disk, superblock.segment_size_bytes, alignment, segments.clone());
    let walked = Walk::new(&mut reader, &superblock, from, Vec::new()).run(&mut counter)?;
    Ok(CheckReport {
        identity,
        segments,
        range: (walked.from, walked.end),
        epoch: walked.epoch,
        commit_count: walked.commit_count,
        record_count: counter.record_count,
        message_count: counter.message_count,
        bad_records: counter.bad_records,
        damaged: walked.damaged,
        cut: walked.cut,
        superblock,
    })
}
