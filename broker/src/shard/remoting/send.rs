//! Sends of the remoting dialect: one message (10, 310) or a batch for one queue (320).
//!
//! What RocketMQ's brokers check is checked in their order and answered in their words. A topic that does not exist yet is
//! created from the topic that the client names as its template, and the frame waits until the topic's record is applied.

use super::super::Shard;
use super::super::connection::Connection;
use super::super::io::Effects;
use super::super::names::is_closed_to_sends;
use super::super::request::{Dialect, Rejection, STOPPING, Token};
use super::super::retry::{DEAD_LETTER_QUEUE_COUNT, RETRY_PREFIX, dead_letter_topic};
use super::super::send::{Appender, Item, SYS_FLAG_ILLEGAL};
use super::super::topics::queue_count;
use super::Handled;
use super::Stop;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::{AckMode, NewMessage};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::limits::{BODY_SIZE_BYTES_MAX, FRAME_MESSAGE_COUNT_MAX, PROPERTIES_SIZE_BYTES_MAX};
use ringmq_proto::message::OffsetId;
use ringmq_proto::message::batch::batch_entry_len;
use ringmq_proto::message::client_batch::iter_client_batch;
use ringmq_proto::message::properties::{PROPERTY_SEPARATOR, Properties, append_property, names};
use ringmq_proto::message::stored::sys_flag;
use ringmq_proto::message::tag::tag_hash;
use ringmq_proto::remoting::direct::Head;
use ringmq_proto::remoting::request_code as code;
use ringmq_proto::remoting::send::{REGION_DEFAULT, SendHeader, SendResponse, encode_send_response};
use ringmq_proto::remoting::topics;
use ringmq_proto::remoting::{Frame, FrameError};

/// RocketMQ's permission of a template: topics may be created like it.
const PERM_INHERIT: u32 = 1;

/// The region that clients are told, and that is stored with each message: RocketMQ's default.
pub(in crate::shard) const REGION: &str = REGION_DEFAULT;

/// Where a send goes.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) queue: QueueId,
    pub(super) number: u32,
}

/// What a message's properties ask of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) tag_hash: i32,
    /// The answer need not wait for the flush.
    pub(super) no_wait: bool,
    /// To be delivered later.
    pub(super) later: bool,
    /// The first half of a transaction.
    pub(super) half: bool,
    /// Where in the rewritten properties its unique id stands.
    pub(super) unique_id: (usize, usize),
}

impl Wishes {
    /// The unique id that the producer gave, when it is text.
    fn unique_id(self, properties: &[u8]) -> Option<&str> {
        let (start, end) = self.unique_id;
        properties.get(start..end).filter(|id| !id.is_empty()).and_then(|id| std::str::from_utf8(id).ok())
    }
}

impl Shard {
    /// Carries out the frame of a send, whose header is read in one pass. `Ok(false)`: it is the answer to something.
    pub(super) fn remoting_send(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        request_code: i32,
        fx: &mut Effects,
    ) -> Result<bool, FrameError> {
        let mut scratch = std::mem::take(&mut self.header_scratch);
        let mut sends = std::mem::take(&mut connection.sends);
        let carried_out = sends.read(request_code, frame, &mut scratch, |head, send| {
            if head.is_response() {
                return false;
            }
            let Head { code, opaque, .. } = head;
            let dialect = Dialect::Remoting(frame.serialize_type);
            let token = Token { id: opaque.cast_unsigned(), code, dialect, oneway: head.is_oneway() };
            let handled = match send {
                _ if self.is_stopping() => Err(STOPPING.into()),
                Err(error) => Err(error.into()),
                Ok(send) => self.send(now, connection, token, &send, frame.body),
            };
            if let Err(stop) = handled {
                self.stopped(now, connection, token, frame, stop);
            }
            if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
                self.check_unread(connection, fx);
            }
            true
        });
        connection.sends = sends;
        self.header_scratch = scratch;
        carried_out
    }

    fn send(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        send: &SendHeader<'_>,
        body: &[u8],
    ) -> Handled {
        if let Some(group) = send.topic.strip_prefix(RETRY_PREFIX)
            && self.gives_up(now, group, send.reconsume_times, send.max_reconsume_times)?
        {
            let topic = dead_letter_topic(group);
            if let Some(version) = self.topic_on_its_way(now, &topic, DEAD_LETTER_QUEUE_COUNT)? {
                return Err(Stop::Topic(topic.into(), version));
            }
            let mut properties = Vec::new();
            Properties::new(send.properties.unwrap_or_default().as_bytes())
                .append_without(&[names::DELAY], &mut properties);
            let properties = String::from_utf8_lossy(&properties);
            let dead = SendHeader { topic: &topic, queue_id: 0, properties: Some(&properties), ..*send };
            return self.send_checked(now, connection, token, &dead, body);
        }
        self.send_checked(now, connection, token, send, body)
    }

    fn send_checked(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        send: &SendHeader<'_>,
        body: &[u8],
    ) -> Handled {
        let target = self.target(now, send, &mut connection.topic_hint)?;
        if token.code == code::SEND_BATCH_MESSAGE || send.batch == Some(true) {
            return self.send_batch(now, connection, token, send, body, target);
        }
        let mut properties = std::mem::take(&mut self.properties);
        let wishes = self.rewrite_properties(send.properties.unwrap_or_default().as_bytes(), &mut properties);
        let message = NewMessage {
            flag: send.flag,
            sys_flag: send.sys_flag,
            born_time_ms: u64::try_from(send.born_timestamp).unwrap_or(0),
            born_host: connection.peer,
            reconsume_times: send.reconsume_times.unwrap_or(0),
            prepared_transaction_position: 0,
            properties: &properties,
            body,
            tag_hash: wishes.tag_hash,
        };
        let result = if wishes.later || wishes.half {
            self.send_later(now, connection, token, (send, target, wishes), message)
        } else {
            self.send_one(now, connection, token, &message, target, wishes)
        };
        self.properties = properties;
        result
    }

    /// Where the message goes.
    fn target(&mut self, now: &Now, send: &SendHeader<'_>, topic_hint: &mut u32) -> Result<Target, Stop> {
        if is_closed_to_sends(send.topic) {
            let remark = format!("Sending message to topic[{}] is forbidden.", send.topic);
            return Err(Rejection::because(Code::NO_PERMISSION, remark).into());
        }
        if self.changes.is_registering(send.topic) {
            return Err(Stop::Topic(send.topic.into(), 0));
        }
        let Some(topic) = self.store.state().topic_by_hint(send.topic, topic_hint) else {
            let queue_count = self.template_queue_count(send);
            let version = self.start_creation(now, send.topic, queue_count)?;
            return Err(Stop::Topic(send.topic.into(), version));
        };
        // A topic's permission is the name server's to tell, as in RocketMQ: producers that have read the route before go on
        // here until they read it again, so that taking the write permission away drains a topic without one failed send.
        let (queue_count, write_count) = (queue_count(topic), topic.record.write_queue_count);
        let number = u32::try_from(send.queue_id).unwrap_or_else(|_| self.changes.choose_queue(write_count));
        match topic.queues.get(number as usize) {
            Some(queue) if number < queue_count => Ok(Target { queue: *queue, number }),
            _ => {
                let (wanted, topic) = (send.queue_id, send.topic);
                let remark =
                    format!("request queueId[{wanted}] is illegal, topic[{topic}] has {queue_count} queues here");
                Err(Rejection::because(Code::INVALID_PARAMETER, remark).into())
            }
        }
    }

    /// Queues that a new topic gets here, by the topic that the client names as its template.
    fn template_queue_count(&self, send: &SendHeader<'_>) -> Option<u32> {
        let wanted = u32::try_from(send.default_topic_queue_nums).unwrap_or(0).max(1);
        if send.default_topic == topics::TEMPLATE {
            return Some(wanted.min(self.settings.topic_queue_count_per_shard()));
        }
        let template = self.store.state().topic(send.default_topic)?;
        (template.record.perm & PERM_INHERIT != 0).then(|| wanted.min(template.record.write_queue_count).max(1))
    }

    pub(super) fn send_one(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        message: &NewMessage<'_>,
        target: Target,
        wishes: Wishes,
    ) -> Handled {
        check_sizes(message.properties.len(), message.body.len())?;
        if message.sys_flag & !sys_flag::PRODUCER_BITS != 0 {
            return Err(SYS_FLAG_ILLEGAL.into());
        }
        let mode = if wishes.no_wait { AckMode::Written } else { AckMode::Promised };
        let appended = self.store.append_message(*now, target.queue, message)?;
        self.drafts[mode as usize].add(&appended);
        self.metrics.messages_appended += 1;
        let id = OffsetId { store_host: self.store.options().advertised, position: appended.position };
        let unique_id = wishes.unique_id(message.properties);
        let place = (target.number, appended.first_offset);
        self.answer_send(connection, token, mode, &[id], place, (unique_id, None));
        Ok(())
    }

    /// Puts the answer of a send where it waits for the log.
    pub(super) fn answer_send(
        &mut self,
        connection: &mut Connection,
        token: Token,
        mode: AckMode,
        offset_ids: &[OffsetId],
        (queue, offset): (u32, QueueOffset),
        (transaction_id, recall_handle): (Option<&str>, Option<&str>),
    ) {
        let Dialect::Remoting(serialize_type) = token.dialect else { return };
        if token.oneway {
            return;
        }
        self.drafts[mode as usize].reply_count += 1;
        let response = SendResponse {
            code: Code::SUCCESS,
            offset_ids,
            queue_id: queue.cast_signed(),
            queue_offset: offset.get().cast_signed(),
            transaction_id,
            trace_on: true,
            region: REGION,
            batch_uniq_id: None,
            recall_handle,
            remark: "",
        };
        let held = connection.held.of(mode).buffer(&mut self.spare);
        encode_send_response(held, serialize_type, token.id.cast_signed(), &response);
    }

    /// A batch is stored as one record where its messages share flags, and answered with all of their ids.
    fn send_batch(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        send: &SendHeader<'_>,
        body: &[u8],
        target: Target,
    ) -> Handled {
        let shared = Properties::new(send.properties.unwrap_or_default().as_bytes());
        let mode = if shared.is_no_wait() { AckMode::Written } else { AckMode::Promised };
        let sys_flag = u16::try_from(send.sys_flag).map_err(|_| SYS_FLAG_ILLEGAL)?;
        let mut items = Vec::new();
        for message in iter_client_batch(body) {
            let message = message.map_err(|error| Rejection::because(Code::MESSAGE_ILLEGAL, error.to_string()))?;
            check_sizes(message.properties.len(), message.body.len())?;
            items.push(Item {
                queue: Some(target.queue),
                reference: 0,
                flag: message.flag,
                sys_flag,
                born_time_ms: u64::try_from(send.born_timestamp).unwrap_or(0),
                properties: message.properties,
                body: message.body,
            });
            if items.len() > FRAME_MESSAGE_COUNT_MAX {
                return Err(BATCH_TOO_LONG.into());
            }
        }
        let draft = &mut self.drafts[mode as usize];
        let mut appender = Appender {
            store: &mut self.store,
            scratch: &mut self.scratch,
            draft,
            now: *now,
            peer: connection.peer,
            needed_perm: 0,
        };
        let mut records = Vec::new();
        let forgotten = usize::from(items.len() > 1 && mutant::active(Mutant::BatchLastForgotten));
        let kept = &items[..items.len() - forgotten];
        let count = appender.many(kept.iter().copied(), |stored| records.push(stored))?;
        self.metrics.messages_appended += u64::from(count);
        let Some(first) = records.first() else { return Err(BATCH_EMPTY.into()) };
        let first = (target.number, first.offset);
        let store_host = self.store.options().advertised;
        let mut ids = Vec::with_capacity(items.len());
        let mut rest = items.as_slice();
        for record in &records {
            let (these, after) = rest.split_at(record.count as usize);
            rest = after;
            let mut position = record.position;
            for item in these {
                ids.push(OffsetId { store_host, position });
                position = position.plus(batch_entry_len(item.properties.len(), item.body.len()) as u64);
            }
        }
        ids.extend_from_within(ids.len().saturating_sub(forgotten)..);
        self.answer_send(connection, token, mode, &ids, first, (None, None));
        Ok(())
    }

    /// The properties as they are stored: without what is only for the broker, with what RocketMQ's brokers add.
    fn rewrite_properties(&self, given: &[u8], out: &mut Vec<u8>) -> Wishes {
        out.clear();
        let mut wishes = Wishes::default();
        for (name, value) in Properties::new(given).iter() {
            match name {
                b"WAIT" => {
                    wishes.no_wait = value.eq_ignore_ascii_case(b"false");
                    if !wishes.no_wait {
                        continue;
                    }
                }
                b"TAGS" => wishes.tag_hash = std::str::from_utf8(value).map_or(0, tag_hash),
                b"DELAY" | b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" | b"TIMER_DEL_UNIQKEY" => {
                    wishes.later = true;
                }
                b"TRAN_MSG" => wishes.half = value.eq_ignore_ascii_case(b"true"),
                b"POP_CK" | b"CLUSTER" | b"MSG_REGION" | b"TRACE_ON" => continue,
                _ if name.starts_with(TRANSIENT_PREFIX) => continue,
                _ => {}
            }
            append_property(out, name, value);
            if name == b"UNIQ_KEY" {
                wishes.unique_id = (out.len() - value.len(), out.len());
            }
        }
        if !out.is_empty() && out.last() != Some(&PROPERTY_SEPARATOR) {
            out.push(PROPERTY_SEPARATOR);
        }
        out.extend_from_slice(&self.broker_properties);
        wishes
    }
}

/// What RocketMQ's brokers add to the properties of every message.
pub(in crate::shard) fn broker_properties(cluster: &str) -> Vec<u8> {
    let mut properties = Vec::new();
    append_property(&mut properties, names::CLUSTER.as_bytes(), cluster.as_bytes());
    append_property(&mut properties, names::MSG_REGION.as_bytes(), REGION.as_bytes());
    append_property(&mut properties, names::TRACE_ON.as_bytes(), b"true");
    properties
}

/// Properties that are never stored.
const TRANSIENT_PREFIX: &[u8] = b"__RMQ.TRANSIENT.";

pub(super) fn check_sizes(properties_size: usize, body_size: usize) -> Result<(), Rejection> {
    if body_size > BODY_SIZE_BYTES_MAX || properties_size > PROPERTIES_SIZE_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    Ok(())
}

const TOO_LARGE: Rejection = Rejection::new(
    Code::MESSAGE_ILLEGAL,
    "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32767B.",
);
const BATCH_TOO_LONG: Rejection =
    Rejection::new(Code::MESSAGE_ILLEGAL, "the batch has more messages than a frame may have: send smaller batches");
const BATCH_EMPTY: Rejection = Rejection::new(Code::MESSAGE_ILLEGAL, "the batch has no message: send at least one");
