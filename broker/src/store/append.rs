//! Appending: assign at append. Position, queue offset, store time and ids are fixed here and written into the record;
//! nothing that a reader sees changes before the record is confirmed.

use super::commit::{ApplyEntry, Reserved};
use super::error::{BUSY, DISK_FULL, NO_QUEUE, NOT_MASTER, Refusal, TOO_LARGE};
use super::keys::Keyed;
use super::state::TopicChange;
use super::state::records::StateRecord;
use super::{Role, Store};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{
    BATCH_HEAD_SIZE_BYTES, BatchEncoder, BatchHead, Host, StoredMessageParts, batch_entry_len,
};
use ringmq_proto::record::RecordKind;
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, seal_record};

/// What a producer says of one message.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// The user's own flag.
    pub flag: i32,
    /// RocketMQ's bits, the host bits excepted.
    pub sys_flag: i32,
    /// When the client made it, in ms.
    pub born_time_ms: u64,
    /// Where it came from.
    pub born_host: Host,
    /// How often its consumption failed.
    pub reconsume_times: i32,
    /// Position of the half message that this one commits, else 0.
    pub prepared_transaction_position: i64,
    /// The properties string, at most 32 767 bytes.
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// RocketMQ's hash of its tag, 0 without one.
    pub tag_hash: i32,
}

/// What all messages of a batch record share.
#[derive(Clone, Copy, Debug)]
pub struct BatchShared {
    /// The user's own flag.
    pub flag: i32,
    /// RocketMQ's bits, the host bits excepted.
    pub sys_flag: u16,
    /// When the client made them, in ms.
    pub born_time_ms: u64,
    /// Where they came from.
    pub born_host: Host,
}

/// One message of a batch record.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    /// RocketMQ's hash of its tag, 0 without one.
    pub tag_hash: i32,
    /// The properties string, at most 32 767 bytes.
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What an append was given.
#[must_use = "an append is not durable until flushed: a reply waits until its end is acknowledged"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the record (of the first, where there are several).
    pub position: LogPosition,
    /// What must be acknowledged before this append may be.
    pub end: LogPosition,
    /// The first message's offset; 0 for state.
    pub first_offset: QueueOffset,
}

impl Store {
    /// Appends one message.
    ///
    /// # Errors
    /// Not master (14), no such queue (17), too large (13), disk full (14), busy (2). Nothing was appended then.
    #[inline]
    pub fn append_message(
        &mut self,
        now: Now,
        queue_id: QueueId,
        message: &NewMessage<'_>,
    ) -> Result<Appended, Refusal> {
        self.append_grouped_message(now, queue_id, message, RecordFlags::NONE, (0, false))
    }

    /// Appends a message and a state record of `state_size_bytes` that count both or none. `state` is told where the
    /// message lies and how large its record is. `privileged`: the reserve of a full disk may be used.
    pub(super) fn append_with_state(
        &mut self,
        now: Now,
        (queue_id, message): (QueueId, &NewMessage<'_>),
        state_size_bytes: usize,
        privileged: bool,
        state: impl FnOnce(&Appended, u32) -> StateRecord,
    ) -> Result<Appended, Refusal> {
        let size_bytes = self.message_record_len(queue_id, message)?;
        let room = size_bytes + state_size_bytes;
        if room > self.record_size_bytes_max() {
            return Err(TOO_LARGE);
        }
        let flags = RecordFlags::MORE;
        let appended = self.append_grouped_message(now, queue_id, message, flags, (room, privileged))?;
        let record = state(&appended, narrow(size_bytes));
        // Room was made for both: this one cannot be refused.
        let end = self.append_flagged_state(&record, None, RecordFlags::CONTINUED)?.end;
        assert_eq!(end.since(appended.position), room as u64, "a state record of another size than was said");
        Ok(Appended { end, ..appended })
    }

    /// Appends messages that count all or none: one commit, joined by MORE.
    ///
    /// # Errors
    /// As [`Store::append_message`]; too large when they do not fit into one commit together.
    pub fn append_group(&mut self, now: Now, messages: &[(QueueId, NewMessage<'_>)]) -> Result<Vec<Appended>, Refusal> {
        let mut total = 0;
        for (queue_id, message) in messages {
            total += self.message_record_len(*queue_id, message)?;
        }
        if total > self.record_size_bytes_max() {
            return Err(TOO_LARGE);
        }
        let last = messages.len().saturating_sub(1);
        let mut appended = Vec::with_capacity(messages.len());
        for (index, (queue_id, message)) in messages.iter().enumerate() {
            let continued = if index > 0 { RecordFlags::CONTINUED } else { RecordFlags::NONE };
            let flags = if index < last { continued.with(RecordFlags::MORE) } else { continued };
            // The first one makes room for all: the rest cannot be refused.
            let room = if index == 0 { total } else { 0 };
            appended.push(self.append_grouped_message(now, *queue_id, message, flags, (room, false))?);
        }
        Ok(appended)
    }

    pub(super) fn message_record_len(&self, queue_id: QueueId, message: &NewMessage<'_>) -> Result<usize, Refusal> {
        let queue = self.state.queues.get(queue_id).ok_or(NO_QUEUE)?;
        let topic = self.state.queues.topic_name(queue);
        let parts = parts(queue.number, queue.next_offset, topic, message, self.options.advertised);
        Ok(RECORD_HEADER_SIZE_BYTES + parts.encoded_len())
    }

    #[inline]
    fn append_grouped_message(
        &mut self,
        now: Now,
        queue_id: QueueId,
        message: &NewMessage<'_>,
        flags: RecordFlags,
        (room_bytes, privileged): (usize, bool),
    ) -> Result<Appended, Refusal> {
        self.check_role()?;
        self.check_index()?;
        let store_time_ms = self.store_time(now);
        let queue = self.state.queues.get(queue_id).ok_or(NO_QUEUE)?;
        let first_offset =
            if mutant::active(Mutant::NextOffsetFromConfirmed) { queue.visible_offset } else { queue.next_offset };
        let topic = self.state.queues.topic_name(queue);
        let mut parts = parts(queue.number, first_offset, topic, message, self.options.advertised);
        let size_bytes = RECORD_HEADER_SIZE_BYTES + parts.encoded_len();
        if size_bytes > self.record_size_bytes_max() {
            return Err(TOO_LARGE);
        }
        if room_bytes > size_bytes {
            self.commits
                .make_room(room_bytes, privileged, &mut self.segments)
                .map_err(|refusal| count(&mut self.metrics, refusal))?;
        }
        let reserved = self.commits.reserve(size_bytes, privileged, &mut self.segments);
        let Reserved { bytes, position, at } = reserved.map_err(|refusal| count(&mut self.metrics, refusal))?;
        parts.position = position;
        parts.store_time_ms = store_time_ms;
        let keyed = self.keys.keyed(topic, message.properties);
        parts.encode(&mut bytes[RECORD_HEADER_SIZE_BYTES..]);
        seal_record(bytes, RecordKind::MESSAGE, flags, queue_id, self.identity.log_id, position);
        let end = self.commits.finish_record(ApplyEntry {
            at,
            size_bytes: narrow(size_bytes),
            count: 1,
            queue: queue_id,
            offset: first_offset,
            store_time_ms,
            tag_hash: message.tag_hash,
            keyed,
        });
        self.state.assign_offsets(queue_id, 1)?;
        self.metrics.messages += 1;
        Ok(Appended { position, end, first_offset })
    }

    /// Bytes of the record that these items make, header included.
    pub fn batch_record_len(items: &[BatchItem<'_>]) -> usize {
        let entries: usize = items.iter().map(|item| batch_entry_len(item.properties.len(), item.body.len())).sum();
        RECORD_HEADER_SIZE_BYTES + BATCH_HEAD_SIZE_BYTES + entries
    }

    /// Appends up to 65 535 messages of one queue as one record.
    ///
    /// # Errors
    /// As [`Store::append_message`].
    pub fn append_batch(
        &mut self,
        now: Now,
        queue_id: QueueId,
        shared: &BatchShared,
        items: &[BatchItem<'_>],
    ) -> Result<Appended, Refusal> {
        self.check_role()?;
        self.check_index()?;
        let size_bytes = Self::batch_record_len(items);
        let Ok(count_u16) = u16::try_from(items.len()) else { return Err(TOO_LARGE) };
        if size_bytes > self.record_size_bytes_max() || items.is_empty() {
            return Err(TOO_LARGE);
        }
        let store_time_ms = self.store_time(now);
        let first_offset = self.state.queues.get(queue_id).ok_or(NO_QUEUE)?.next_offset;
        let reserved = self.commits.reserve(size_bytes, false, &mut self.segments);
        let Reserved { bytes, position, at } = reserved.map_err(|refusal| count(&mut self.metrics, refusal))?;
        let head = BatchHead {
            first_queue_offset: first_offset,
            position,
            store_time_ms,
            born_time_ms: shared.born_time_ms,
            count: count_u16,
            sys_flag: shared.sys_flag,
            flag: shared.flag,
            born_host: shared.born_host,
            store_host: self.options.advertised,
        };
        let mut encoder = BatchEncoder::new(&mut bytes[RECORD_HEADER_SIZE_BYTES..], &head);
        for item in items {
            encoder.push(item.tag_hash, item.properties, item.body).expect("the record was measured");
        }
        encoder.finish();
        seal_record(bytes, RecordKind::BATCH, RecordFlags::NONE, queue_id, self.identity.log_id, position);
        let end = self.commits.finish_record(ApplyEntry {
            at,
            size_bytes: narrow(size_bytes),
            count: count_u16,
            queue: queue_id,
            offset: first_offset,
            store_time_ms,
            tag_hash: 0,
            keyed: if items.iter().any(|item| !item.properties.is_empty()) { Keyed::Look } else { Keyed::Nothing },
        });
        self.state.assign_offsets(queue_id, u32::from(count_u16))?;
        self.metrics.messages += u64::from(count_u16);
        Ok(Appended { position, end, first_offset })
    }

    /// Appends a new version of a topic. It is in force when it is applied ([`Store::drain_topic_events`]).
    ///
    /// # Errors
    /// Not master, a quota, disk full beyond the reserve.
    pub fn append_topic(&mut self, _now: Now, change: &TopicChange) -> Result<Appended, Refusal> {
        self.check_role()?;
        let record = self.state.assign_topic(change)?;
        self.append_state(&StateRecord::Topic(record), None)
    }

    /// Appends a state record. `as_of`: when retention says again what was said at that position.
    pub(super) fn append_state(
        &mut self,
        record: &StateRecord,
        as_of: Option<LogPosition>,
    ) -> Result<Appended, Refusal> {
        self.append_flagged_state(record, as_of, RecordFlags::NONE)
    }

    fn append_flagged_state(
        &mut self,
        record: &StateRecord,
        as_of: Option<LogPosition>,
        mut flags: RecordFlags,
    ) -> Result<Appended, Refusal> {
        let mut payload = Vec::new();
        if let Some(as_of) = as_of {
            flags = flags.with(OWED);
            payload.extend(as_of.get().to_le_bytes());
        }
        record.encode(&mut payload);
        let size_bytes = RECORD_HEADER_SIZE_BYTES + payload.len();
        if size_bytes > self.record_size_bytes_max() {
            return Err(TOO_LARGE);
        }
        let reserved = self.commits.reserve(size_bytes, true, &mut self.segments);
        let Reserved { bytes, position, at } = reserved.map_err(|refusal| count(&mut self.metrics, refusal))?;
        bytes[RECORD_HEADER_SIZE_BYTES..].copy_from_slice(&payload);
        seal_record(bytes, record.kind(), flags, record.queue_id(), self.identity.log_id, position);
        let end = self.commits.finish_record(ApplyEntry {
            at,
            size_bytes: narrow(size_bytes),
            count: 0,
            queue: record.queue_id(),
            offset: QueueOffset::ZERO,
            store_time_ms: 0,
            tag_hash: 0,
            keyed: Keyed::Nothing,
        });
        if mutant::active(Mutant::ApplyAboveConfirmed) {
            self.state.apply(super::state::RecordPlace { position, as_of: position }, record.clone());
        }
        if as_of.is_none() {
            self.state.note_pending(record);
        }
        Ok(Appended { position, end, first_offset: QueueOffset::ZERO })
    }

    /// Messages make index entries, and these must find room.
    #[inline]
    fn check_index(&mut self) -> Result<(), Refusal> {
        if self.background.index_is_behind { Err(count(&mut self.metrics, BUSY)) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn check_role(&self) -> Result<(), Refusal> {
        if self.role == Role::Master && !self.background.is_closing() { Ok(()) } else { Err(NOT_MASTER) }
    }
}

/// Record flag of state that retention appended again: its payload begins with the position (u64) of the record that
/// said it first, so that a newer one between the two is not overruled.
pub const OWED: RecordFlags = RecordFlags(8);

fn parts<'a>(
    number: u32,
    queue_offset: QueueOffset,
    topic: &'a [u8],
    message: &NewMessage<'a>,
    store_host: Host,
) -> StoredMessageParts<'a> {
    StoredMessageParts {
        queue_id: number.cast_signed(),
        flag: message.flag,
        queue_offset,
        position: LogPosition::ZERO,
        sys_flag: message.sys_flag,
        born_time_ms: message.born_time_ms,
        born_host: message.born_host,
        store_time_ms: 0,
        store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_position: message.prepared_transaction_position,
        body: message.body,
        topic,
        properties: message.properties,
    }
}

fn narrow(size_bytes: usize) -> u32 {
    u32::try_from(size_bytes).expect("a record is below its limit")
}

#[cold]
fn count(metrics: &mut super::metrics::StoreMetrics, refusal: Refusal) -> Refusal {
    if refusal == DISK_FULL {
        metrics.refused_full += 1;
    } else if refusal == BUSY {
        metrics.refused_busy += 1;
    }
    refusal
}
