//! A second reader of the commit log, which shares no code with the store: what recovery and the index say is held against it.
//!
//! It reads the bytes of segments as FORMATS draws them, in order of position, up to an end that it is told. A segment
//! ends where the next one's head record says that it ended: what an older incarnation left behind that is dead.

use ringmq_broker::disk::{Directory, FileName};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::{Batch, StoredMessage};
use ringmq_proto::record::{RecordKind, RecordView, records};

use crate::disk::SimDisk;

const COMMIT_MAGIC: u32 = 0x434D_5152;
const COMMIT_HEADER_SIZE: usize = 80;

/// Told each record of the log with its position.
pub type Visit<'v> = dyn FnMut(LogPosition, &RecordView<'_>) + 'v;

/// Why the log on this disk cannot be read up to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where.
    pub position: u64,
    /// What is there instead of a commit.
    pub why: String,
}

/// Visits all records below `end`, oldest first. Damaged commits are not skipped: they end the reading.
///
/// # Errors
/// When a byte range below `end` is not a sound commit.
pub fn visit(disk: &SimDisk, log_id: u128, end: LogPosition, visit: &mut Visit<'_>) -> Result<(), Unreadable> {
    let segments: Vec<(u64, Vec<u8>)> = disk
        .files(Directory::Log)
        .into_iter()
        .filter_map(|(name, _)| match name {
            FileName::Segment(start) if start < end => Some((start.get(), disk.content(name)?)),
            _ => None,
        })
        .collect();
    for (index, (start, bytes)) in segments.iter().enumerate() {
        let until = match segments.get(index + 1) {
            Some((next, bytes)) => previous_end(*next, bytes, log_id)?,
            None => end.get(),
        };
        read_segment(*start, bytes, until, log_id, visit)?;
    }
    Ok(())
}

/// Where the segment before the one at `start` ended, from the head record that opens this one.
fn previous_end(start: u64, bytes: &[u8], log_id: u128) -> Result<u64, Unreadable> {
    let unreadable = |why: &str| Unreadable { position: start, why: why.into() };
    let body = &bytes[..commit_length(start, bytes, log_id)?][COMMIT_HEADER_SIZE..];
    let (head, _) = RecordView::decode(body).map_err(|error| unreadable(&error.to_string()))?;
    if head.header.kind != RecordKind::SEGMENT_HEAD {
        return Err(unreadable("a segment without a head record"));
    }
    let field = head.payload.get(16..24).and_then(|field| field.try_into().ok());
    field.map(u64::from_le_bytes).ok_or_else(|| unreadable("a short head record"))
}

fn read_segment(start: u64, bytes: &[u8], until: u64, log_id: u128, visit: &mut Visit<'_>) -> Result<(), Unreadable> {
    let mut position = start;
    while position < until {
        let at = usize::try_from(position - start).unwrap_or(usize::MAX).min(bytes.len());
        let length = commit_length(position, &bytes[at..], log_id)?;
        let mut record_position = LogPosition::new(position + COMMIT_HEADER_SIZE as u64);
        for record in records(&bytes[at + COMMIT_HEADER_SIZE..at + length]) {
            let unreadable = |why: String| Unreadable { position: record_position.get(), why };
            let record = record.map_err(|error| unreadable(error.to_string()))?;
            if !record.is_whole(log_id, record_position) {
                return Err(unreadable(format!("checksum of record {:?}", record.header)));
            }
            visit(record_position, &record);
            record_position = record_position.plus(u64::from(record.header.length));
        }
        position += length as u64;
    }
    if position == until {
        Ok(())
    } else {
        Err(Unreadable { position, why: format!("a commit reaches over the end of its segment at {until}") })
    }
}

/// The length of the sound commit that opens `bytes`.
fn commit_length(position: u64, bytes: &[u8], log_id: u128) -> Result<usize, Unreadable> {
    let unreadable = |why: &str| Unreadable { position, why: why.into() };
    let header = bytes.get(..COMMIT_HEADER_SIZE).ok_or_else(|| unreadable("the segment ends"))?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(0) != COMMIT_MAGIC {
        return Err(unreadable("no commit"));
    }
    if header[8..24] != log_id.to_le_bytes() || header[32..40] != position.to_le_bytes() {
        return Err(unreadable("a commit of another log or position"));
    }
    let length = word(56) as usize;
    let body = bytes.get(COMMIT_HEADER_SIZE..length).ok_or_else(|| unreadable("a commit longer than its segment"))?;
    if crc32fast::hash(body) != word(64) {
        return Err(unreadable("a commit with a wrong checksum"));
    }
    Ok(length)
}

/// A sound commit of a log at rest.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The segment that holds it.
    pub segment: LogPosition,
    /// Where it lies.
    pub position: LogPosition,
    /// Bytes of it.
    pub length: u64,
    /// Everything below was durable when it was made.
    pub durable: LogPosition,
    /// It holds messages, and no other records.
    pub messages_only: bool,
    /// Some of its messages wait, or end to wait, and it holds nothing else.
    pub ends_only: bool,
    /// Its messages: queue, offset, body.
    pub messages: Vec<(QueueId, u64, Vec<u8>)>,
}

/// The sound commits on a disk at rest, oldest first, as far as they follow each other.
pub fn commits(disk: &SimDisk, log_id: u128) -> Vec<Commit> {
    let mut found: Vec<Commit> = Vec::new();
    let mut epoch = 0;
    for (name, _) in disk.files(Directory::Log) {
        let (FileName::Segment(segment), Some(bytes)) = (name, disk.content(name)) else { continue };
        let mut at = 0;
        while let Ok(length) = commit_length(segment.get() + at as u64, &bytes[at..], log_id) {
            let word = |offset: usize| bytes[at + offset..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            let of_epoch = word(24) & 0xFFFF_FFFF;
            if of_epoch < epoch {
                break;
            }
            epoch = of_epoch;
            let mut commit = Commit {
                segment,
                position: segment.plus(at as u64),
                length: length as u64,
                durable: LogPosition::new(word(40)),
                messages_only: true,
                ends_only: true,
                messages: Vec::new(),
            };
            for record in records(&bytes[at + COMMIT_HEADER_SIZE..at + length]).flatten() {
                let kind = record.header.kind;
                let is_end = kind == RecordKind::PENDING || kind == RecordKind::SETTLED;
                commit.messages_only &= kind.is_messages() || kind == RecordKind::PAD;
                commit.ends_only &= kind.is_messages() || kind == RecordKind::PAD || is_end;
                let queue = record.header.queue_id;
                let _ = messages(&record, |(offset, _, body)| commit.messages.push((queue, offset, body.to_vec())));
            }
            commit.ends_only &= !commit.messages_only;
            found.push(commit);
            at += length;
        }
    }
    found
}

/// A message that a record holds: queue offset, store time in ms, body.
pub type Message<'a> = (u64, u64, &'a [u8]);

/// Where a message or batch record says that it lies.
pub fn position_said(record: &RecordView<'_>) -> Option<LogPosition> {
    match record.header.kind {
        RecordKind::MESSAGE => Some(StoredMessage::decode(record.payload).ok()?.parts.position),
        RecordKind::BATCH => Some(Batch::decode(record.payload).ok()?.head.position),
        _ => None,
    }
}

/// Visits the messages of a message or batch record; nothing for other kinds.
///
/// # Errors
/// When the payload is malformed.
pub fn messages<'a>(record: &RecordView<'a>, mut visit: impl FnMut(Message<'a>)) -> Result<(), String> {
    match record.header.kind {
        RecordKind::MESSAGE => {
            let stored = StoredMessage::decode(record.payload).map_err(|error| error.to_string())?;
            if !stored.is_body_whole() {
                return Err("a body with a wrong checksum".into());
            }
            visit((stored.parts.queue_offset.get(), stored.parts.store_time_ms, stored.parts.body));
        }
        RecordKind::BATCH => {
            let batch = Batch::decode(record.payload).map_err(|error| error.to_string())?;
            for entry in batch.entries() {
                let offset = batch.head.first_queue_offset.get() + u64::from(entry.index);
                visit((offset, batch.head.store_time_ms, entry.body));
            }
        }
        _ => {}
    }
    Ok(())
}
