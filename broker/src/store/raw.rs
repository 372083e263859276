//! The log as bytes: what a replica, a backup or a repair needs beside the message-level calls.
//!
//! * [`Store::read_range`] gives whole commits as they lie on disk, never beyond what is durable.
//! * [`Store::append_raw`] takes a commit that another copy of this log wrote: everything is verified, nothing is changed.
//! * [`truncate_to`] cuts a closed log at a commit's start, crash-safe: copy to quarantine, then the superblock says "cut
//!   here; commits of an epoch below E at or beyond are dead". No byte of the log is overwritten; run again after a crash
//!   at any point it does the same.

use super::commit::ApplyEntry;
use super::error::{NOT_MASTER, OpenError, Refusal};
use super::format::{BadCommit, COMMIT_HEADER_SIZE_BYTES, CommitHeader, SegmentHead, body_crc};
use super::index::IndexEntry;
use super::keys::Keyed;
use super::open::quarantine_range;
use super::read::ViewOutcome;
use super::recovery::{LogReader, RecordVisitor, Walk};
use super::superblock::{Identity, Superblock};
use super::{Role, Store};
use crate::disk::{Directory, Disk, FileName};
use ringmq_proto::ids::{Epoch, LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Batch, StoredMessage, tag_hash_of_properties};
use ringmq_proto::record::{RecordKind, RecordView, records};

/// Why a raw commit was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// The bytes are not the commit that comes next.
    #[error("the commit was refused: {0}")]
    Bad(#[from] BadCommit),
    /// The store does not take commits now.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl Store {
    /// Copies the log from `from`, a commit's start, up to `bytes_max` bytes but at least one commit, whole commits only,
    /// never beyond what is durable. The dead end of a segment is left out: the next commit says where it belongs.
    pub fn read_range(&mut self, from: LogPosition, bytes_max: usize) -> ViewOutcome {
        let mut out = Vec::new();
        let mut at = from;
        while at < self.positions.durable() {
            let Some(segment) = self.segments.containing(at) else { break };
            if at >= segment.end {
                at = segment.start.plus(self.segments.size_bytes());
                continue;
            }
            let commit = match self.commit_at(at) {
                ViewOutcome::Found(commit) => commit,
                ViewOutcome::NotYet => return ViewOutcome::NotYet,
                other if out.is_empty() => return other,
                _ => break,
            };
            if !out.is_empty() && out.len() + commit.len() > bytes_max {
                break;
            }
            at = at.plus(commit.len() as u64);
            out.extend_from_slice(&commit);
        }
        if out.is_empty() { ViewOutcome::NotFound } else { ViewOutcome::Found(out) }
    }

    /// Takes the next commit of this log from another copy, as a slave: written as is, applied when confirmed.
    ///
    /// # Errors
    /// The role is not slave, or the bytes are not exactly the commit that follows the last one.
    pub fn append_raw(&mut self, bytes: &[u8]) -> Result<LogPosition, RawError> {
        if self.role != Role::Slave {
            return Err(NOT_MASTER.into());
        }
        let claimed = bytes.get(32..40).ok_or(BadCommit::Short)?;
        let position = LogPosition::new(u64::from_le_bytes(claimed.try_into().map_err(|_| BadCommit::Short)?));
        let (header, crc) = CommitHeader::decode(bytes, self.identity.log_id, position)?;
        if header.length as usize != bytes.len()
            || !bytes.len().is_multiple_of(self.commits.constants().alignment_bytes)
        {
            return Err(BadCommit::Length.into());
        }
        if body_crc(&bytes[COMMIT_HEADER_SIZE_BYTES..]) != header.body_crc {
            return Err(BadCommit::BodyCrc.into());
        }
        self.commits.expect_next(&header, &mut self.segments, head_of(bytes))?;
        let entries = apply_entries(bytes, position, self.identity.log_id)?;
        for entry in entries.iter().filter(|entry| entry.count > 0) {
            if let Some(queue) = self.state.queues.get_mut(entry.queue) {
                queue.next_offset = queue.next_offset.max(entry.offset.plus(u64::from(entry.count)));
            }
        }
        Ok(self.commits.push_raw(bytes, &header, crc, entries))
    }

    fn commit_at(&mut self, at: LogPosition) -> ViewOutcome {
        match self.raw_commit(at) {
            Ok(Some(commit)) => ViewOutcome::Found(commit),
            Ok(None) => ViewOutcome::Damaged(format!("no sound commit starts at {at}")),
            Err(outcome) => outcome,
        }
    }
}

fn head_of(commit: &[u8]) -> Option<SegmentHead> {
    let record = records(&commit[COMMIT_HEADER_SIZE_BYTES..]).next()?.ok()?;
    (record.header.kind == RecordKind::SEGMENT_HEAD).then(|| SegmentHead::decode(record.payload)).flatten()
}

/// What apply needs of a commit that was not encoded here; every record is checked.
fn apply_entries(commit: &[u8], start: LogPosition, log_id: u128) -> Result<Vec<ApplyEntry>, BadCommit> {
    let mut entries = Vec::new();
    let mut at = COMMIT_HEADER_SIZE_BYTES;
    for record in records(&commit[COMMIT_HEADER_SIZE_BYTES..]) {
        let record = record.map_err(|_| BadCommit::Record)?;
        let position = start.plus(at as u64);
        if !record.is_whole(log_id, position) {
            return Err(BadCommit::Record);
        }
        if let Some(entry) = apply_entry(record, at, position)? {
            entries.push(entry);
        }
        at += record.header.length as usize;
    }
    Ok(entries)
}

fn apply_entry(record: RecordView<'_>, at: usize, position: LogPosition) -> Result<Option<ApplyEntry>, BadCommit> {
    let header = record.header;
    let entry = |count: u16, offset: QueueOffset, store_time_ms: u64, tag_hash: i32| ApplyEntry {
        at: u32::try_from(at).unwrap_or(u32::MAX),
        size_bytes: header.length,
        count,
        queue: header.queue_id,
        offset,
        store_time_ms,
        tag_hash,
        keyed: if count > 0 { Keyed::Look } else { Keyed::Nothing },
    };
    Ok(match index_entry(record, position)? {
        Some((_, found)) => Some(entry(found.count(), found.offset, found.store_time_ms(), found.tag_hash)),
        None if header.kind == RecordKind::PAD => None,
        None => Some(entry(0, QueueOffset::ZERO, 0, 0)),
    })
}

/// The index entry of a message or batch record; nothing for other kinds.
///
/// # Errors
/// Its payload is malformed although its checksum is right.
pub fn index_entry(record: RecordView<'_>, position: LogPosition) -> Result<Option<(QueueId, IndexEntry)>, BadCommit> {
    let header = record.header;
    let entry = match header.kind {
        RecordKind::MESSAGE => {
            let parts = StoredMessage::decode(record.payload).map_err(|_| BadCommit::Record)?.parts;
            let tag_hash = tag_hash_of_properties(parts.properties);
            IndexEntry::new(parts.queue_offset, 1, position, header.length, parts.store_time_ms, tag_hash)
        }
        RecordKind::BATCH => {
            let head = Batch::decode(record.payload).map_err(|_| BadCommit::Record)?.head;
            IndexEntry::new(head.first_queue_offset, head.count, position, header.length, head.store_time_ms, 0)
        }
        _ => return Ok(None),
    };
    Ok(Some((header.queue_id, entry)))
}

struct Boundaries {
    wanted: LogPosition,
    found: bool,
}

impl RecordVisitor for Boundaries {
    fn record(&mut self, position: LogPosition, _record: RecordView<'_>) -> Result<(), OpenError> {
        // A commit's first record lies right behind its header.
        self.found |= position.get() == self.wanted.get() + COMMIT_HEADER_SIZE_BYTES as u64;
        Ok(())
    }
}

/// Cuts a closed log at `position`, a commit's start, so that only commits of `epoch` or later can follow there.
///
/// # Errors
/// The position lies below the confirm floor (what was promised is never cut), is no commit's start, or the disk fails.
pub fn truncate_to<D: Disk>(disk: &mut D, position: LogPosition, epoch: Epoch) -> Result<(), OpenError> {
    let identity =
        Identity::read(disk)?.ok_or(OpenError::Damaged { what: "the directory, which holds no identity," })?;
    let mut superblock = Superblock::read(disk)?.ok_or(OpenError::Damaged { what: "the superblock" })?;
    if identity.log_id != superblock.log_id {
        return Err(OpenError::MixedFiles);
    }
    let mut starts: Vec<LogPosition> = Vec::new();
    for (file, _) in disk.list(Directory::Log)? {
        if let FileName::Segment(start) = file {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    let from = starts.first().copied().unwrap_or(LogPosition::ZERO);
    let mut boundaries = Boundaries { wanted: position, found: false };
    let alignment = superblock.alignment_bytes as usize;
    let mut reader = LogReader::new(disk, superblock.segment_size_bytes, alignment, starts.clone());
    let walked = Walk::new(&mut reader, &superblock, from, Vec::new()).run(&mut boundaries)?;
    // The floor of what was promised: the superblock's, or what any commit's header says.
    if position < walked.promised {
        return Err(OpenError::Amnesia { end: position, promised: walked.promised });
    }
    if !boundaries.found && position != walked.end {
        return Err(OpenError::NotACommit { position });
    }
    if position < walked.end {
        quarantine_range(disk, &superblock, &starts, position, walked.end)?;
    }
    superblock.cut_position = position;
    superblock.cut_epoch = superblock.cut_epoch.max(epoch);
    superblock.promised_epoch = superblock.promised_epoch.max(epoch);
    superblock.clean = false;
    superblock.write_both(disk)
}
