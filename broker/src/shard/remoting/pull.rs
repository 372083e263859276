//! Pulls of the remoting dialect: the log's records become a sequence of stored messages.
//!
//! A message record is sent as it lies in the log, without its record header; a batch record is expanded. The group's
//! filter is asked here, so that what it rules out costs the client nothing; a held pull that finds only such messages
//! moves on behind them and stays held.

use super::super::Shard;
use super::super::clients::Subscription;
use super::super::connection::{Connection, PauseReason};
use super::super::filter::{Filter, TAG};
use super::super::io::Effects;
use super::super::names::is_system_group;
use super::super::output::{OutputQueue, Spare};
use super::super::pull::{Attempt, Pull};
use super::super::request::{Dialect, NO_QUEUE, Rejection, Token};
use super::super::waiting::PullState;
use super::offsets::PERM_READ;
use super::{Call, Handled};
use crate::now::Now;
use crate::store::{Piece, ReadOutcome, RecordSink};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::{Batch, StoredMessage};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordHeader, RecordKind};
use ringmq_proto::remoting::ExtHeader;
use ringmq_proto::remoting::heartbeat::MessageModel;
use ringmq_proto::remoting::pull::{PullMessage, PullResponse, encode_pull_response_head};
use std::sync::Arc;

/// Messages that one try of a filtered pull looks at, before it answers that nothing has matched so far.
const SCANNED_MESSAGES_MAX: u32 = 16_000;

/// Where offset of a stored message lies in it.
const QUEUE_OFFSET_AT: usize = 20;

/// What a remoting pull needs beyond where and how much.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shard) struct RemotingView {
    topic: Box<str>,
    group: Box<str>,
    number: i32,
    filter: Arc<Filter>,
}

impl Shard {
    pub(super) fn remoting_pull(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        call: &Call<'_>,
        fx: &mut Effects,
    ) -> Handled {
        let request = PullMessage::decode(&call.header.ext)?;
        self.check_may_pull(request.consumer_group)?;
        let queue = self.readable_queue(request.topic, request.queue_id)?;
        let filter = self.filter_of_pull(&request)?;
        let offset = u64::try_from(request.queue_offset).unwrap_or(0);
        let is_reset = !self.resets.is_empty() && self.resets.contains_key(&(Box::from(request.consumer_group), queue));
        if request.commits()
            && !is_reset
            && let Ok(commit) = u64::try_from(request.commit_offset)
        {
            self.check_commit(queue, request.consumer_group, QueueOffset::new(commit))?;
            self.coalesce(now, queue, request.consumer_group, QueueOffset::new(commit));
        }
        let wait_ms = if request.may_wait() { request.suspend_timeout_millis.max(0) } else { 0 };
        let (topic, group) = (request.topic.into(), request.consumer_group.into());
        let view = RemotingView { topic, group, number: request.queue_id, filter };
        let bytes_max = request.max_msg_bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(u32::MAX);
        let pull = Pull {
            queue,
            offset: QueueOffset::new(offset),
            messages_max: u32::try_from(request.max_msg_nums).unwrap_or(0),
            bytes_max: if bytes_max == 0 { u32::MAX } else { bytes_max },
            wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
            remoting: Some(Arc::new(view)),
        };
        self.pull(now, connection, call.token, pull, fx);
        Ok(())
    }

    /// What the operator allows: to read here at all, to this group, in its manner.
    fn check_may_pull(&self, name: &str) -> Result<(), Rejection> {
        if self.settings.broker_perm & PERM_READ == 0 {
            let ip = self.store.options().advertised.ip();
            let remark = format!("the broker[{ip}] pulling message is forbidden");
            return Err(Rejection::because(Code::NO_PERMISSION, remark));
        }
        let Some(group) = self.store.group(name) else {
            if self.settings.features.auto_create_groups || is_system_group(name) {
                return Ok(());
            }
            let remark = format!("subscription group [{}] does not exist", name.escape_default());
            return Err(Rejection::because(Code::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        if !group.config.consume_enabled {
            let remark = format!("subscription group no permission, {name}");
            return Err(Rejection::because(Code::NO_PERMISSION, remark));
        }
        let broadcasts =
            || self.clients.consumers_of(name).is_some_and(|group| group.message_model == MessageModel::Broadcasting);
        if !group.config.consume_broadcast_enabled && broadcasts() {
            let remark = format!("the consumer group[{name}] can not consume by broadcast way");
            return Err(Rejection::because(Code::NO_PERMISSION, remark));
        }
        Ok(())
    }

    /// Reads an expression, if its kind is served here.
    pub(super) fn filter(&self, expression_type: &str, expression: &str) -> Result<Filter, Rejection> {
        let filter = Filter::parse(expression_type, expression)?;
        match filter {
            Filter::Sql(_) if !self.settings.features.property_filter => Err(NO_PROPERTY_FILTER),
            _ => Ok(filter),
        }
    }

    fn filter_of_pull(&self, request: &PullMessage<'_>) -> Result<Arc<Filter>, Rejection> {
        let known = self.clients.consumers_of(request.consumer_group);
        let subscription = known.and_then(|group| group.subscriptions.get(request.topic));
        if request.has_subscription() {
            let expression = request.subscription.unwrap_or_default();
            let expression_type = request.expression_type.unwrap_or_default();
            return match subscription {
                Some(known) if known.is(expression_type, expression) => Ok(Arc::clone(&known.filter)),
                _ => self.filter(expression_type, expression).map(Arc::new),
            };
        }
        match (known, subscription) {
            (None, _) => Err(GROUP_OFFLINE),
            (_, None) => Err(NOT_SUBSCRIBED),
            (_, Some(Subscription { data, .. })) if data.sub_version < request.sub_version => newer(request),
            (_, Some(subscription)) => Ok(Arc::clone(&subscription.filter)),
        }
    }

    /// Tries a remoting pull; moves its offset behind messages that the filter rules out.
    pub(in crate::shard) fn try_remoting_pull(
        &mut self,
        connection: &mut Connection,
        token: Token,
        pull: &mut Pull,
        view: &RemotingView,
        fx: &mut Effects,
    ) -> Attempt {
        if !self.resets.is_empty()
            && let Some(offset) = self.resets.remove(&(view.group.clone(), pull.queue))
        {
            pull.offset = offset;
            self.answer_remoting_pull(connection, token, pull, Code::PULL_OFFSET_MOVED, OutputQueue::default());
            return Attempt::Answered;
        }
        let mut record = std::mem::take(&mut self.record);
        let mut sink = Messages {
            output: OutputQueue::default(),
            spare: &mut self.spare,
            view,
            next: pull.offset,
            left: pull.messages_max,
            given: 0,
            size_bytes: 0,
            record: &mut record,
        };
        let mut scanned = 0;
        let code = loop {
            let bytes_max = (pull.bytes_max as usize).saturating_sub(sink.output.bytes());
            let outcome = self.store.read(pull.queue, sink.next, sink.left, bytes_max, &mut sink);
            match outcome {
                ReadOutcome::Found { messages, .. } => {
                    scanned += messages;
                    if sink.given > 0 {
                        break Ok(Code::SUCCESS);
                    }
                    if scanned >= SCANNED_MESSAGES_MAX {
                        break Ok(Code::PULL_RETRY_IMMEDIATELY);
                    }
                }
                ReadOutcome::End if scanned > 0 && pull.wait_ms == 0 => break Ok(Code::PULL_RETRY_IMMEDIATELY),
                ReadOutcome::End => break Err(Attempt::Wait(PullState::Messages)),
                ReadOutcome::NotYet => break Err(Attempt::Wait(PullState::Load)),
                ReadOutcome::Moved { next_offset } => {
                    sink.next = next_offset;
                    break Ok(Code::PULL_OFFSET_MOVED);
                }
                ReadOutcome::Damaged { next_offset, remark } => {
                    let remark = format!("{remark}; the next message that can be read has offset {next_offset}");
                    break Err(Attempt::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark)));
                }
                ReadOutcome::Failed { remark } => {
                    break Err(Attempt::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark)));
                }
                ReadOutcome::Gone => break Err(Attempt::Rejected(NO_QUEUE)),
            }
        };
        let Messages { output, next, given, .. } = sink;
        self.record = record;
        pull.offset = next;
        match code {
            Err(attempt) => attempt,
            Ok(code) => {
                self.metrics.messages_pulled += u64::from(given);
                self.metrics.pulled_bytes += output.bytes() as u64;
                if given > 0 {
                    self.counts.got(&view.topic, &view.group, given, output.bytes());
                }
                self.answer_remoting_pull(connection, token, pull, code, output);
                if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
                    connection.pause(PauseReason::Output, fx);
                }
                Attempt::Answered
            }
        }
    }

    /// Writes the answer: the next offset is the pull's.
    pub(in crate::shard) fn answer_remoting_pull(
        &mut self,
        connection: &mut Connection,
        token: Token,
        pull: &Pull,
        code: Code,
        messages: OutputQueue,
    ) {
        let Dialect::Remoting(serialize_type) = token.dialect else { return };
        if token.oneway {
            return;
        }
        let ends = self.store.queue(pull.queue).map(|queue| (queue.min_offset, queue.visible_offset));
        let (min, max) = ends.unwrap_or_default();
        let signed = |offset: QueueOffset| offset.get().cast_signed();
        let response = PullResponse {
            suggest_which_broker_id: 0,
            next_begin_offset: signed(pull.offset),
            min_offset: signed(min),
            max_offset: signed(max),
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        let (size_bytes, answered) = (messages.bytes(), (code, token.id.cast_signed()));
        connection.output.append(&mut self.spare, |out| {
            encode_pull_response_head(out, serialize_type, answered, status_name(code), &response, size_bytes);
        });
        connection.output.append_queue(&mut self.spare, messages);
    }
}

/// The filter of a client that pulls by a newer subscription than its last heartbeat told.
///
/// Clients of 5.x come by that: a rebalance renews the subscription's version, and its heartbeat is left out when another
/// one is just on its way; the next comes half a minute later. Where it is tags that they want, they get everything, and
/// leave out themselves what they do not want, as they always do; no client does that for SQL92.
fn newer(request: &PullMessage<'_>) -> Result<Arc<Filter>, Rejection> {
    match request.expression_type {
        None | Some("" | TAG) => Ok(Arc::new(Filter::All)),
        Some(_) => Err(SUBSCRIPTION_OLD),
    }
}

/// What brokers say in the remark of a pull's answer.
fn status_name(code: Code) -> &'static str {
    match code {
        Code::SUCCESS => "FOUND",
        Code::PULL_RETRY_IMMEDIATELY => "NO_MATCHED_MESSAGE",
        Code::PULL_OFFSET_MOVED => "OFFSET_OVERFLOW_BADLY",
        _ => "OFFSET_OVERFLOW_ONE",
    }
}

/// Takes records and keeps the messages that the filter lets through.
struct Messages<'a> {
    output: OutputQueue,
    spare: &'a mut Spare,
    view: &'a RemotingView,
    /// Behind the last message that was looked at.
    next: QueueOffset,
    left: u32,
    given: u32,
    /// Bytes of the record that comes.
    size_bytes: usize,
    record: &'a mut Vec<u8>,
}

impl RecordSink for Messages<'_> {
    fn begin(&mut self, size_bytes: usize, _count: u32) {
        self.size_bytes = size_bytes;
        self.record.clear();
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let bytes = piece.bytes();
        if self.record.is_empty() && bytes.len() == self.size_bytes {
            self.whole(bytes, Some(piece));
            return;
        }
        self.record.extend_from_slice(bytes);
        if self.record.len() == self.size_bytes {
            let record = std::mem::take(self.record);
            self.whole(&record, None);
            *self.record = record;
        }
    }
}

impl Messages<'_> {
    /// One whole record, in place if `piece` has it.
    fn whole(&mut self, record: &[u8], piece: Option<Piece<'_>>) {
        let payload = &record[RECORD_HEADER_SIZE_BYTES..];
        if RecordHeader::decode(record).is_ok_and(|header| header.kind == RecordKind::BATCH) {
            return self.batch(payload);
        }
        let offset = payload[QUEUE_OFFSET_AT..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.next = QueueOffset::new(offset).plus(1);
        let wanted = *self.view.filter == Filter::All
            || StoredMessage::decode(payload).is_ok_and(|message| self.view.filter.matches(message.parts.properties));
        if !wanted {
            return;
        }
        match piece {
            Some(Piece::Shared { block, start, length }) => {
                let (start, length) = (start + RECORD_HEADER_SIZE_BYTES, length - RECORD_HEADER_SIZE_BYTES);
                self.output.append_shared(self.spare, block, start, length);
            }
            _ => self.output.append(self.spare, |out| out.extend_from_slice(payload)),
        }
        self.count();
    }

    fn batch(&mut self, payload: &[u8]) {
        let Ok(batch) = Batch::decode(payload) else { return };
        let first = batch.head.first_queue_offset;
        for entry in batch.entries() {
            let offset = first.plus(entry.index.into());
            if offset < self.next || self.left == 0 {
                continue;
            }
            self.next = offset.plus(1);
            if !self.view.filter.matches(entry.properties) {
                continue;
            }
            let message = entry.expand(&batch.head, self.view.topic.as_bytes(), self.view.number);
            self.output.append(self.spare, |out| {
                let start = out.len();
                out.resize(start + message.encoded_len(), 0);
                message.encode(&mut out[start..]);
            });
            self.count();
        }
    }

    fn count(&mut self) {
        self.given += 1;
        self.left = self.left.saturating_sub(1);
    }
}

const NO_PROPERTY_FILTER: Rejection =
    Rejection::new(Code::SYSTEM_ERROR, "The broker does not support consumer to filter message by SQL92");
const GROUP_OFFLINE: Rejection =
    Rejection::new(Code::SUBSCRIPTION_NOT_EXIST, "the consumer's group info not exist: send a heartbeat first");
const NOT_SUBSCRIBED: Rejection = Rejection::new(
    Code::SUBSCRIPTION_NOT_EXIST,
    "the consumer's subscription not exist: the group's last heartbeat does not name this topic",
);
const SUBSCRIPTION_OLD: Rejection =
    Rejection::new(Code::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest: send a heartbeat first");
