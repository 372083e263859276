//! A message as a consumer gets it, and how it comes out of the records that a pull returns.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ringmq_proto::error::DecodeError;
use ringmq_proto::ids::{LogPosition, QueueOffset};
use ringmq_proto::message::properties::names;
use ringmq_proto::message::stored::iter_stored;
use ringmq_proto::message::stored::sys_flag::COMPRESSED;
use ringmq_proto::message::{Batch, Host, OffsetId, Properties, StoredMessage, StoredMessageParts};
use ringmq_proto::record::{RecordFlags, RecordKind, RecordView};
use ringmq_proto::remoting::client_push::PushReply;

use crate::compression::plain_body;
use crate::namespace::Namespace;

/// What the name of a group's retry topic begins with.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";

/// A message queue: the unit of order, of consume offsets, and of assignment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageQueue {
    /// The topic.
    pub topic: Arc<str>,
    /// The broker (the shard) that has the queue.
    pub broker_name: Arc<str>,
    /// Number of the queue within the topic on that broker, from 0.
    pub queue_id: u32,
}

/// A message that was pulled.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its queue.
    pub queue: MessageQueue,
    /// Dense ordinal in the queue.
    pub queue_offset: QueueOffset,
    /// Where it lies in the broker's log: RocketMQ's PHYSICALOFFSET.
    pub position: LogPosition,
    /// The application's own 32 bits.
    pub flag: i32,
    /// RocketMQ's sysFlag.
    pub sys_flag: i32,
    /// When the producer made it, in ms by the producer's clock.
    pub born_time_ms: u64,
    /// When the broker appended it, in ms by the broker's clock.
    pub store_time_ms: u64,
    /// How often its consumption failed.
    pub reconsume_times: i32,
    /// The body: a slice of what the pull returned, not a copy, unless its producer compressed it.
    pub body: Bytes,
    properties: Bytes,
    born_host: Host,
    store_host: Host,
    /// What its reader's names of topics go without.
    pub(crate) namespace: Namespace,
}

impl Message {
    /// The topic's name, without the reader's namespace. Of a message that is delivered again it is the topic that it was
    /// sent to, not the group's retry topic, whose queue [`Message::queue`] is.
    pub fn topic(&self) -> &str {
        self.namespace.strip(self.full_topic())
    }

    /// The same as brokers know it.
    pub(crate) fn full_topic(&self) -> &str {
        let redelivered = self.queue.topic.starts_with(RETRY_PREFIX).then(|| self.property(names::RETRY_TOPIC));
        redelivered.flatten().unwrap_or(&self.queue.topic)
    }

    /// The id that its producer gave it (UNIQ_KEY); without one its offset message id.
    pub fn unique_id(&self) -> String {
        self.property(names::UNIQ_KEY).map_or_else(|| self.message_id(), str::to_owned)
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.property(names::TAGS)
    }

    /// The keys under which it can be looked up.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(names::KEYS).unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }

    /// The value of a property, if it is there and is text.
    pub fn property(&self, name: &str) -> Option<&str> {
        Properties::new(&self.properties).get_str(name)
    }

    /// All properties, names and values, in their order.
    pub fn properties(&self) -> Properties<'_> {
        Properties::new(&self.properties)
    }

    /// RocketMQ's offset message id: names the broker and the place in its log.
    pub fn message_id(&self) -> String {
        OffsetId { store_host: self.store_host, position: self.position }.to_string()
    }

    /// Where it was sent from, as the broker saw it.
    pub fn born_host(&self) -> Option<SocketAddr> {
        self.born_host.socket_addr()
    }

    /// The broker that stored it.
    pub fn store_host(&self) -> Option<SocketAddr> {
        self.store_host.socket_addr()
    }

    /// The reply to a request, as a broker pushes it: it has a topic and no place. `None` when it cannot be.
    pub(crate) fn from_reply(header: &PushReply<'_>, body: &Bytes) -> Option<Self> {
        let time = |ms| u64::try_from(ms).unwrap_or_default();
        let host = |text: &str| {
            let address: Option<SocketAddr> = text.trim_start_matches('/').parse().ok();
            address.map_or(Host::UNSPECIFIED, |address| Host::new(address.ip(), address.port().into()))
        };
        let properties = Bytes::copy_from_slice(header.properties.unwrap_or_default().as_bytes());
        let queue_id = u32::try_from(header.queue_id).unwrap_or_default();
        let queue = MessageQueue { topic: header.topic.into(), broker_name: "".into(), queue_id };
        let parts = StoredMessageParts {
            queue_id: header.queue_id,
            flag: header.flag,
            queue_offset: QueueOffset::ZERO,
            position: LogPosition::ZERO,
            sys_flag: header.sys_flag,
            born_time_ms: time(header.born_timestamp),
            born_host: host(header.born_host),
            store_time_ms: time(header.store_timestamp),
            store_host: host(header.store_host),
            reconsume_times: header.reconsume_times.unwrap_or_default(),
            prepared_transaction_position: 0,
            body,
            topic: header.topic.as_bytes(),
            properties: &properties,
        };
        let body = plain_body(body, body, header.sys_flag).ok()?;
        let empty = Bytes::new();
        let without = StoredMessageParts { body: &empty, properties: &empty, sys_flag: 0, ..parts };
        let message = Self::new(&queue, &empty, &without).ok()?;
        Some(Self { body, properties, sys_flag: header.sys_flag, ..message })
    }

    fn new(queue: &MessageQueue, owner: &Bytes, parts: &StoredMessageParts<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            queue: queue.clone(),
            queue_offset: parts.queue_offset,
            position: parts.position,
            flag: parts.flag,
            sys_flag: parts.sys_flag,
            born_time_ms: parts.born_time_ms,
            store_time_ms: parts.store_time_ms,
            reconsume_times: parts.reconsume_times,
            body: plain_body(owner, parts.body, parts.sys_flag)?,
            properties: owner.slice_ref(parts.properties),
            born_host: parts.born_host,
            store_host: parts.store_host,
            namespace: Namespace::default(),
        })
    }
}

/// Reads one stored message in RocketMQ's layout: what a look-up by position returns. The queue's broker is `broker_name`.
pub(crate) fn decode_stored(broker_name: Arc<str>, owner: &Bytes) -> Result<Message, DecodeError> {
    let stored = StoredMessage::decode(owner)?;
    let topic = std::str::from_utf8(stored.parts.topic)
        .map_err(|_| DecodeError::Malformed { what: "stored message's topic is not UTF-8" })?;
    let queue_id = queue_number(stored.parts.queue_id)?;
    check_body(&stored)?;
    Message::new(&MessageQueue { topic: topic.into(), broker_name, queue_id }, owner, &stored.parts)
}

/// Bytes that the compressed bodies of one answer inflate to. When reached: what lies behind is left to the next request.
const INFLATED_ANSWER_SIZE_BYTES_MAX: usize = 64 << 20;

/// Takes the messages of one answer, from an offset on, as long as they may inflate.
struct Intake<'a> {
    queue: &'a MessageQueue,
    owner: &'a Bytes,
    from: QueueOffset,
    inflated_bytes: usize,
    /// Where the next request has to begin, when not everything was taken.
    rest_at: Option<QueueOffset>,
}

impl<'a> Intake<'a> {
    const fn new(queue: &'a MessageQueue, owner: &'a Bytes, from: QueueOffset) -> Self {
        Self { queue, owner, from, inflated_bytes: 0, rest_at: None }
    }

    /// Takes a message, if it is meant and there is room.
    fn take(&mut self, parts: &StoredMessageParts<'_>) -> Result<Option<Message>, DecodeError> {
        if parts.queue_offset < self.from || self.rest_at.is_some() {
            return Ok(None);
        }
        if self.inflated_bytes >= INFLATED_ANSWER_SIZE_BYTES_MAX {
            self.rest_at = Some(parts.queue_offset);
            return Ok(None);
        }
        let message = Message::new(self.queue, self.owner, parts)?;
        if message.sys_flag & COMPRESSED != 0 {
            self.inflated_bytes += message.body.len();
        }
        Ok(Some(message))
    }

    /// The same, of a message in RocketMQ's layout, whose body is checked.
    fn take_stored(&mut self, stored: Result<StoredMessage<'_>, DecodeError>) -> Result<Option<Message>, DecodeError> {
        let stored = stored?;
        if stored.parts.queue_offset >= self.from {
            check_body(&stored)?;
        }
        self.take(&stored.parts)
    }
}

/// Reads the concatenated records of a pull into `out`, without the messages before `from` (a batch is delivered whole,
/// also when the pull began inside of it). Bodies and properties are slices of `records`. Gives where the next pull has to
/// begin, when bodies inflate so much that not everything was read.
///
/// # Errors
/// At the first record that does not decode; the messages before it are in `out`.
pub(crate) fn decode_records(
    queue: &MessageQueue,
    records: &Bytes,
    from: QueueOffset,
    out: &mut Vec<Message>,
) -> Result<Option<QueueOffset>, DecodeError> {
    let mut intake = Intake::new(queue, records, from);
    for record in ringmq_proto::record::records(records) {
        decode_record(&mut intake, &record?, out)?;
        if intake.rest_at.is_some() {
            break;
        }
    }
    Ok(intake.rest_at)
}

/// Reads stored messages, one behind the other, as a remoting pull returns them, into `out`. Gives where the next pull has
/// to begin, when bodies inflate so much that not everything was read.
///
/// # Errors
/// At the first that does not decode; the messages before it are in `out`.
pub(crate) fn decode_stored_list(
    queue: &MessageQueue,
    stored: &Bytes,
    from: QueueOffset,
    out: &mut Vec<Message>,
) -> Result<Option<QueueOffset>, DecodeError> {
    let mut intake = Intake::new(queue, stored, from);
    for stored_message in iter_stored(stored) {
        out.extend(intake.take_stored(stored_message)?);
        if intake.rest_at.is_some() {
            break;
        }
    }
    Ok(intake.rest_at)
}

/// As [`decode_stored_list`], but what does not decode is told to `on_damaged` and left out. Where it cannot be told how
/// long the damaged message is, nothing behind it can be read.
pub(crate) fn decode_readable(
    queue: &MessageQueue,
    stored: &Bytes,
    from: QueueOffset,
    mut on_damaged: impl FnMut(DecodeError),
) -> (Vec<Message>, Option<QueueOffset>) {
    let (mut intake, mut messages) = (Intake::new(queue, stored, from), Vec::new());
    for stored_message in iter_stored(stored) {
        match intake.take_stored(stored_message) {
            Ok(taken) => messages.extend(taken),
            Err(error) => on_damaged(error),
        }
        if intake.rest_at.is_some() {
            break;
        }
    }
    (messages, intake.rest_at)
}

/// Reads stored messages of any topics and queues, as a query returns them. The queues' broker is `broker_name`.
pub(crate) fn decode_found(broker_name: &Arc<str>, stored: &Bytes) -> Result<Vec<Message>, DecodeError> {
    let (mut messages, mut rest) = (Vec::new(), stored.clone());
    for stored_message in iter_stored(stored) {
        let size_bytes = stored_message?.total_size;
        messages.push(decode_stored(Arc::clone(broker_name), &rest.split_to(size_bytes))?);
    }
    Ok(messages)
}

fn decode_record(intake: &mut Intake<'_>, record: &RecordView<'_>, out: &mut Vec<Message>) -> Result<(), DecodeError> {
    match record.header.kind {
        RecordKind::MESSAGE => out.extend(intake.take_stored(StoredMessage::decode(record.payload))?),
        RecordKind::BATCH => {
            let batch = Batch::decode(record.payload)?;
            let queue_id = i32::try_from(intake.queue.queue_id).unwrap_or(i32::MAX);
            for entry in batch.entries() {
                out.extend(intake.take(&entry.expand(&batch.head, intake.queue.topic.as_bytes(), queue_id))?);
            }
        }
        // A newer broker's kind: skipped by its length, unless it says that this would be wrong.
        kind if record.header.flags.contains(RecordFlags::MUST_UNDERSTAND) => {
            return Err(DecodeError::Unknown { what: "record's kind", value: kind.0.into() });
        }
        _ => {}
    }
    Ok(())
}

fn check_body(stored: &StoredMessage<'_>) -> Result<(), DecodeError> {
    if stored.is_body_whole() {
        Ok(())
    } else {
        Err(DecodeError::Malformed { what: "the message's body does not have the CRC that is stored with it" })
    }
}

fn queue_number(queue_id: i32) -> Result<u32, DecodeError> {
    let max = i32::MAX.cast_unsigned().into();
    let what = "stored message's queue";
    u32::try_from(queue_id).map_err(|_| DecodeError::OutOfRange {
        what,
        value: queue_id.cast_unsigned().into(),
        min: 0,
        max,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use ringmq_proto::ids::QueueId;
    use ringmq_proto::message::{BatchEncoder, BatchHead};
    use ringmq_proto::record::seal_record;

    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id: 3 }
    }

    fn host(port: u32) -> Host {
        Host::new([127, 0, 0, 1].into(), port)
    }

    fn record(kind: RecordKind, flags: RecordFlags, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend_from_slice(payload);
        seal_record(&mut bytes, kind, flags, QueueId::new(9), 1, LogPosition::new(4096));
        bytes
    }

    /// A message at an offset of a queue.
    pub(crate) fn message(offset: u64, body: &'static str) -> Message {
        let queue_offset = QueueOffset::new(offset);
        let parts = StoredMessageParts { queue_offset, body: body.as_bytes(), ..parts() };
        decode_stored("broker-a".into(), &parts.to_vec().into()).expect("a message")
    }

    fn parts() -> StoredMessageParts<'static> {
        StoredMessageParts {
            queue_id: 3,
            flag: 7,
            queue_offset: QueueOffset::ZERO,
            position: LogPosition::new(4096),
            sys_flag: 0,
            born_time_ms: 1,
            born_host: host(1),
            store_time_ms: 2,
            store_host: host(10_911),
            reconsume_times: 0,
            prepared_transaction_position: 0,
            body: b"hello",
            topic: b"T",
            properties: b"TAGS\x01A\x02KEYS\x01k1 k2",
        }
    }

    fn message_record(offset: u64) -> Vec<u8> {
        let parts = StoredMessageParts { queue_offset: QueueOffset::new(offset), ..parts() };
        record(RecordKind::MESSAGE, RecordFlags::NONE, &parts.to_vec())
    }

    fn batch_record(first: u64, bodies: &[&[u8]]) -> Vec<u8> {
        let head = BatchHead {
            first_queue_offset: QueueOffset::new(first),
            position: LogPosition::new(8192),
            store_time_ms: 2,
            born_time_ms: 1,
            count: 0,
            sys_flag: 0,
            flag: 0,
            born_host: host(1),
            store_host: host(2),
        };
        let mut payload = vec![0; 4096];
        let mut encoder = BatchEncoder::new(&mut payload, &head);
        bodies.iter().for_each(|body| encoder.push(0, b"", body).expect("fits"));
        let length = encoder.finish();
        record(RecordKind::BATCH, RecordFlags::NONE, &payload[..length])
    }

    fn decode(bytes: Vec<u8>, from: u64) -> (Vec<Message>, Result<Option<QueueOffset>, DecodeError>) {
        let mut out = Vec::new();
        let result = decode_records(&queue(), &bytes.into(), QueueOffset::new(from), &mut out);
        (out, result)
    }

    #[test]
    fn messages_and_batches_come_out_in_order_with_their_offsets() {
        let bytes = [message_record(5), batch_record(6, &[b"x", b"yy"]), message_record(8)].concat();
        let (messages, result) = decode(bytes, 0);
        assert_eq!(result, Ok(None));
        assert_eq!(messages.iter().map(|message| message.queue_offset.get()).collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert_eq!(messages[2].body, "yy");
        assert_eq!(messages[0].tag(), Some("A"));
        assert_eq!(messages[0].keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(messages[0].message_id(), "7F00000100002A9F0000000000001000");
    }

    #[test]
    fn a_pull_into_the_middle_of_a_batch_gives_only_what_was_asked_for() {
        let (messages, _) = decode(batch_record(6, &[b"a", b"b", b"c"]), 7);
        assert_eq!(messages.iter().map(|message| message.queue_offset.get()).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn a_flipped_bit_in_a_body_is_noticed_and_what_came_before_is_kept() {
        let mut second = message_record(6);
        let at = second.windows(5).position(|window| window == b"hello").expect("the body");
        second[at] ^= 1;
        let (messages, result) = decode([message_record(5), second].concat(), 0);
        assert_eq!(messages.len(), 1);
        assert!(matches!(result, Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn an_answer_that_would_inflate_beyond_the_limit_is_taken_in_parts_and_nothing_is_left_out() {
        let compression = crate::Compression { kind: crate::CompressionKind::Zstd, ..crate::Compression::default() };
        let (body, sys_flag) = compression.compress(&vec![0; 15 << 20]).expect("gets smaller");
        let of = |offset| {
            StoredMessageParts { queue_offset: QueueOffset::new(offset), sys_flag, body: &body, ..parts() }.to_vec()
        };
        let stored: Bytes = (0..12).flat_map(of).collect::<Vec<u8>>().into();
        let record = |offset| record(RecordKind::MESSAGE, RecordFlags::NONE, &of(offset));
        let records: Bytes = (0..12).flat_map(record).collect::<Vec<u8>>().into();
        let mut next = [QueueOffset::ZERO; 3];
        for round in [5, 10, 12] {
            let mut listed = [Vec::new(), Vec::new()];
            let at_records = decode_records(&queue(), &records, next[0], &mut listed[0]).expect("whole");
            let at_stored = decode_stored_list(&queue(), &stored, next[1], &mut listed[1]).expect("whole");
            let (readable, at_readable) = decode_readable(&queue(), &stored, next[2], |error| panic!("{error}"));
            let rest_at = (round < 12).then(|| QueueOffset::new(round));
            assert_eq!([at_records, at_stored, at_readable], [rest_at; 3]);
            let [records, stored] = listed.map(|list| list.len());
            let count = usize::try_from(round - next[0].get()).expect("small");
            assert_eq!([records, stored, readable.len()], [count; 3]);
            next = [QueueOffset::new(round); 3];
        }
    }

    #[test]
    fn a_body_that_does_not_inflate_takes_only_its_own_message_along() {
        let bomb = vec![b'?'; 5000];
        let of = |offset, sys_flag, body| {
            StoredMessageParts { queue_offset: QueueOffset::new(offset), sys_flag, body, ..parts() }.to_vec()
        };
        let list: Bytes = [of(4, 0, b"a"), of(5, 0x301, &bomb), of(6, 0, b"b")].concat().into();
        let mut damaged = Vec::new();
        let (messages, _) = decode_readable(&queue(), &list, QueueOffset::ZERO, |error| damaged.push(error));
        assert_eq!(messages.iter().map(|message| message.queue_offset.get()).collect::<Vec<_>>(), [4, 6]);
        assert!(matches!(damaged[..], [DecodeError::Malformed { .. }]), "{damaged:?}");
        let mut out = Vec::new();
        assert!(decode_stored_list(&queue(), &list, QueueOffset::ZERO, &mut out).is_err());
        assert_eq!(out.len(), 1);
        out.clear();
        assert_eq!(decode_stored_list(&queue(), &list, QueueOffset::new(6), &mut out), Ok(None));
        assert_eq!(out.len(), 1, "who asked for what lies behind need not care");
    }

    #[test]
    fn a_newer_kind_of_record_is_skipped_unless_it_must_be_understood() {
        let newer = RecordKind(99);
        let (messages, result) = decode([record(newer, RecordFlags::NONE, b"?"), message_record(1)].concat(), 0);
        assert_eq!((messages.len(), result), (1, Ok(None)));
        let (_, result) = decode(record(newer, RecordFlags::MUST_UNDERSTAND, b"?"), 0);
        assert_eq!(result, Err(DecodeError::Unknown { what: "record's kind", value: 99 }));
    }
}
