//! The entries of a queue, as RocketMQ's consume queue has them (321): where each message lies, its size and its tag's hash.

use super::super::super::Shard;
use super::super::super::connection::Connection;
use super::super::super::filter::Filter;
use super::super::super::request::{NO_QUEUE, Rejection};
use super::super::{Call, Handled, Stop};
use super::found;
use crate::store::{Piece, ReadOutcome, RecordSink};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::tag::tag_hash_of_properties;
use ringmq_proto::message::{Batch, StoredMessage, StoredMessageParts};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordHeader, RecordKind};
use ringmq_proto::remoting::admin::progress::{ConsumeQueueData, ConsumeQueueEntry, QueryConsumeQueue};
use ringmq_proto::remoting::{ExtFields, ExtHeader};
use std::sync::Arc;

/// Entries of one answer. A larger wish is cut down to it.
const ENTRY_COUNT_MAX: u32 = 1000;

/// Bytes of records that are looked at for one answer. When reached: it has fewer entries.
const LOOKED_AT_BYTES_MAX: usize = 4 << 20;

impl Shard {
    pub(super) fn queue_entries(&mut self, connection: &mut Connection, call: &Call<'_>) -> Handled {
        let request = QueryConsumeQueue::decode(&call.header.ext)?;
        let queue = self.queue_by_number(request.topic, request.queue_id).map_err(|_| {
            let remark = format!("{}@{} is not exist!", request.queue_id, request.topic.escape_default());
            Rejection::because(Code::SYSTEM_ERROR, remark)
        })?;
        let min = found(self.store.min_offset(queue))?;
        let max = self.store.queue(queue).ok_or(NO_QUEUE)?.visible_offset;
        let group = request.consumer_group.filter(|group| !group.is_empty());
        let consumers = group.and_then(|group| self.clients.consumers_of(group));
        let subscription = consumers.and_then(|group| group.subscriptions.get(request.topic)).cloned();
        let offline = group.filter(|_| subscription.is_none());
        let from = u64::try_from(request.index).map_or(min, QueueOffset::new);
        let mut sink = Entries {
            topic: request.topic,
            number: request.queue_id,
            filter: subscription.as_ref().map(|subscription| Arc::clone(&subscription.filter)),
            from,
            left: u32::try_from(request.count).unwrap_or(0).min(ENTRY_COUNT_MAX),
            size_bytes: 0,
            record: Vec::new(),
            entries: Vec::new(),
        };
        // Fewer than were asked for are an answer, too: the next question goes on behind them.
        let outcome = self.store.read(queue, from, sink.left.max(1), LOOKED_AT_BYTES_MAX, &mut sink);
        match outcome {
            ReadOutcome::Found { .. } | ReadOutcome::End | ReadOutcome::Moved { .. } => {}
            ReadOutcome::NotYet => return Err(Stop::Load),
            ReadOutcome::Gone => return Err(NO_QUEUE.into()),
            ReadOutcome::Damaged { remark, .. } | ReadOutcome::Failed { remark } => {
                return Err(Rejection::because(Code::SYSTEM_ERROR, remark).into());
            }
        }
        let data = ConsumeQueueData {
            filter_data: offline.map(|group| format!("{group}@{} is not online!", request.topic)),
            max_queue_index: max.get().cast_signed(),
            min_queue_index: min.get().cast_signed(),
            queue_data: sink.entries,
            subscription_data: subscription.map(|subscription| subscription.data),
        };
        self.answer_with(connection, call.token, ExtFields::new(), &data.encode());
        Ok(())
    }
}

/// Takes records and notes the messages in them.
struct Entries<'a> {
    topic: &'a str,
    number: i32,
    filter: Option<Arc<Filter>>,
    from: QueueOffset,
    left: u32,
    size_bytes: usize,
    record: Vec<u8>,
    entries: Vec<ConsumeQueueEntry>,
}

impl RecordSink for Entries<'_> {
    fn begin(&mut self, size_bytes: usize, _count: u32) {
        self.size_bytes = size_bytes;
        self.record.clear();
    }

    fn piece(&mut self, piece: Piece<'_>) {
        self.record.extend_from_slice(piece.bytes());
        if self.record.len() == self.size_bytes {
            let record = std::mem::take(&mut self.record);
            self.whole(&record);
            self.record = record;
        }
    }
}

impl Entries<'_> {
    fn whole(&mut self, record: &[u8]) {
        let payload = &record[RECORD_HEADER_SIZE_BYTES..];
        if !RecordHeader::decode(record).is_ok_and(|header| header.kind == RecordKind::BATCH) {
            if let Ok(message) = StoredMessage::decode(payload) {
                self.note(&message.parts);
            }
            return;
        }
        let Ok(batch) = Batch::decode(payload) else { return };
        for entry in batch.entries() {
            if batch.head.first_queue_offset.plus(entry.index.into()) >= self.from {
                self.note(&entry.expand(&batch.head, self.topic.as_bytes(), self.number));
            }
        }
    }

    fn note(&mut self, message: &StoredMessageParts<'_>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.entries.push(ConsumeQueueEntry {
            eval: self.filter.as_ref().is_none_or(|filter| filter.matches(message.properties)),
            physic_offset: message.position.get().cast_signed(),
            physic_size: i32::try_from(message.encoded_len()).unwrap_or(i32::MAX),
            tags_code: tag_hash_of_properties(message.properties).into(),
            ..ConsumeQueueEntry::default()
        });
    }
}
