//! The native dialect: frames in, [`Request`]s out; [`Response`]s in, frames out.
//!
//! This file and `first_bytes.rs` alone know how a client of this dialect is greeted and what its frames look like (a
//! pull's records are the same bytes in the frame as in the log, so `pull.rs` writes that one reply itself).

use super::Shard;
use super::connection::{Connection, Phase};
use super::handles::Handles;
use super::io::{CloseReason, Effects, TopicShape};
use super::pull::Pull;
use super::request::{Dialect, NO_QUEUE, NOT_WRITABLE, Rejection, Request, Response, STOPPING, Token};
use super::schedule::{Deferred, Taken, When};
use super::send::{Appender, Item, NOT_OPENED, PERM_WRITE, Stored, check_deferred};
use super::topics::TopicWish;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::{AckMode, NewMessage};
use ringmq_proto::code::Code;
use ringmq_proto::error::DecodeError;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::limits::{FRAME_MESSAGE_COUNT_MAX, FRAME_SIZE_BYTES_MAX};
use ringmq_proto::native::{
    CommitOffset, CreateTopic, DeleteTopic, FRAME_HEADER_SIZE_BYTES, Frame, FrameFlags, FrameHeader, Hello, Kind,
    ListTopics, OffsetResult, OpenQueue, OpenedQueue, PullRequest, QueryOffset, QueueState, QueueStateResult,
    SearchOffset, SendFrame, SendItem, SendResult, Table, TopicStats, ViewMessage, encode_empty_reply, encode_failure,
    encode_preamble, encode_reply, encode_send_reply, encode_view_reply, split_frame,
};

/// The version of the protocol that is spoken here.
const VERSION: u16 = 1;

/// How many frames ahead the queues of sends are asked for (see [`Shard::look_ahead`]).
const LOOK_AHEAD_FRAMES: usize = 32;

impl Shard {
    /// Carries out the whole frames at the start of `bytes`; returns how many bytes they took.
    pub(super) fn native_frames(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        bytes: &[u8],
        fx: &mut Effects,
    ) -> usize {
        let mut at = 0;
        let mut ahead = 0;
        while connection.phase != Phase::Closing {
            if ahead <= at {
                ahead = at + self.look_ahead(&connection.handles, &bytes[at..]);
            }
            match split_frame(&bytes[at..], FRAME_SIZE_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some((frame, consumed))) => {
                    at += consumed;
                    self.metrics.requests += 1;
                    if self.native_frame(now, connection, &frame, fx).is_err() {
                        self.close(connection, CloseReason::BadFrame, fx);
                    }
                }
                Err(_) => self.close(connection, CloseReason::BadFrame, fx),
            }
        }
        at
    }

    /// Asks for the memory that the next sends will touch, so that it is there when they are carried out: what a handle
    /// names, then the queue, then its topic's name, each step for all of these frames before the next.
    /// Returns how many bytes it has looked at.
    fn look_ahead(&self, handles: &Handles, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut sends = [0u32; LOOK_AHEAD_FRAMES];
        let mut count = 0;
        for _ in 0..LOOK_AHEAD_FRAMES {
            let Ok(Some((frame, consumed))) = split_frame(&bytes[at..], FRAME_SIZE_BYTES_MAX) else { break };
            at += consumed;
            // The handle of the first message: bytes 8..12 of the body of a send.
            if let (Kind::SEND, Some(handle)) = (frame.header.kind, frame.body.get(8..12)) {
                let handle = handle.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
                handles.prefetch(handle);
                sends[count] = handle;
                count += 1;
            }
        }
        let mut queues = [QueueId::ZERO; LOOK_AHEAD_FRAMES];
        for (queue, handle) in queues.iter_mut().zip(&sends[..count]) {
            *queue = handles.get(*handle).unwrap_or(QueueId::ZERO);
            self.store.prefetch(*queue);
        }
        queues[..count].iter().for_each(|queue| self.store.prefetch_topic_name(*queue));
        at.max(1)
    }

    /// `Err`: the frame breaks the protocol.
    fn native_frame(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        fx: &mut Effects,
    ) -> Result<(), DecodeError> {
        let header = &frame.header;
        let token = Token {
            id: header.request_id,
            code: header.kind.0.into(),
            dialect: Dialect::Native,
            oneway: header.flags.contains(FrameFlags::ONEWAY),
        };
        if header.flags.contains(FrameFlags::REPLY) {
            return Err(DecodeError::Malformed { what: "an answer to nothing that was asked" });
        }
        match (connection.phase, header.kind) {
            (Phase::NativeHello, Kind::HELLO) => self.greet(now, connection, frame, token, fx),
            (Phase::NativeHello, _) | (_, Kind::HELLO) => {
                Err(DecodeError::Malformed { what: "the hello comes first, and once" })
            }
            (_, Kind::SEND) => self.native_send(now, connection, frame, token),
            _ => match decode(frame, &connection.handles) {
                Ok(request) => {
                    self.carry_out(now, connection, token, request, fx);
                    Ok(())
                }
                Err(Undecoded::Rejected(rejection)) => {
                    self.reject(connection, token, &rejection);
                    Ok(())
                }
                Err(Undecoded::Broken(error)) => Err(error),
            },
        }
    }

    fn greet(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        token: Token,
        fx: &mut Effects,
    ) -> Result<(), DecodeError> {
        let hello = Hello::decode(frame.body)?;
        connection.output.append(&mut self.spare, |out| out.extend_from_slice(&encode_preamble()));
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            self.reject(connection, token, &OTHER_VERSION);
            self.close(connection, CloseReason::Answered, fx);
            return Ok(());
        }
        connection.phase = Phase::Native;
        connection.heard_at_ns = now.boot_ns;
        let limits = &self.settings.limits;
        let narrow = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        let answer = Hello {
            version_min: VERSION,
            version_max: VERSION,
            software: &self.settings.software,
            broker_name: &self.settings.broker_name,
            frame_size_bytes_max: narrow(FRAME_SIZE_BYTES_MAX as u64),
            frame_message_count_max: narrow(FRAME_MESSAGE_COUNT_MAX as u64),
            in_flight_bytes_max: narrow(limits.in_flight_bytes_max),
            handle_count_max: narrow(limits.handle_count_max as u64),
            features: 0,
        };
        connection.output.append(&mut self.spare, |out| encode_reply(out, Kind::HELLO, token.id, &answer));
        Ok(())
    }

    fn native_send(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        frame: &Frame<'_>,
        token: Token,
    ) -> Result<(), DecodeError> {
        let send = match SendFrame::decode(frame) {
            Ok(send) => send,
            Err(error @ DecodeError::OutOfRange { .. }) => {
                self.reject(connection, token, &Rejection::because(Code::MESSAGE_ILLEGAL, error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let no_wait = frame.header.flags.contains(FrameFlags::NO_WAIT);
        let mode = if no_wait { AckMode::Written } else { AckMode::Promised };
        if let Err(rejection) = self.append_send(now, connection, &send, mode, token) {
            self.reject(connection, token, &rejection);
        }
        Ok(())
    }

    fn append_send(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        send: &SendFrame<'_>,
        mode: AckMode,
        token: Token,
    ) -> Result<(), Rejection> {
        if self.is_stopping() {
            return Err(STOPPING);
        }
        if send.len() == 1
            && let Some(item) = send.items().next().filter(|item| !item.properties.is_empty())
            && let when @ (When::Level(_) | When::At(_)) = self.when(now, item.properties, false)?
        {
            return self.defer_send(now, connection, &item, (when, mode), token);
        }
        let draft = &mut self.drafts[mode as usize];
        let mut appender = Appender {
            store: &mut self.store,
            scratch: &mut self.scratch,
            draft,
            now: *now,
            peer: connection.peer,
            needed_perm: PERM_WRITE,
        };
        let mut items = send.items();
        let held = connection.held.of(mode);
        if send.len() == 1 {
            let Some(item) = items.next() else { return Ok(()) };
            let stored = appender.one(&resolve(&connection.handles, &item))?;
            self.metrics.messages_appended += 1;
            if !token.oneway {
                draft.reply_count += 1;
                encode_send_reply(held.buffer(&mut self.spare), token.id, Code::SUCCESS, &[result_of(stored)]);
            }
            return Ok(());
        }
        self.send_results.clear();
        let results = &mut self.send_results;
        let items = items.map(|item| resolve(&connection.handles, &item));
        self.metrics.messages_appended += u64::from(appender.many(items, |stored| results.push(result_of(stored)))?);
        if !token.oneway {
            draft.reply_count += 1;
            encode_send_reply(held.buffer(&mut self.spare), token.id, Code::SUCCESS, results);
        }
        Ok(())
    }

    /// Appends a message that is for later.
    fn defer_send(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        item: &SendItem<'_>,
        (when, mode): (When, AckMode),
        token: Token,
    ) -> Result<(), Rejection> {
        let resolved = resolve(&connection.handles, item);
        let tag_hash = check_deferred(&resolved)?;
        let queue = resolved.queue.ok_or(NOT_OPENED)?;
        let (topic, number) = self.store.queue_name(queue).ok_or(NO_QUEUE)?;
        let topic = topic.to_string();
        if self.store.queue(queue).is_none_or(|queue| queue.perm & PERM_WRITE == 0) {
            return Err(NOT_WRITABLE);
        }
        let message = NewMessage {
            flag: item.flag,
            sys_flag: i32::from(item.sys_flag),
            born_time_ms: item.born_time_ms,
            born_host: connection.peer,
            reconsume_times: 0,
            prepared_transaction_position: 0,
            properties: item.properties,
            body: item.body,
            tag_hash,
        };
        let deferred = Deferred { topic: &topic, number, producer_group: "", message };
        let taken = if mutant::active(Mutant::NativeDelayForgotten) {
            let (position, offset) = (LogPosition::ZERO, QueueOffset::ZERO);
            Taken::Stored { position, offset, recall_handle: None }
        } else {
            self.defer(now, mode, when, &deferred)?
        };
        let Taken::Stored { position, offset, .. } = taken else { return Err(NO_PLACE_YET) };
        self.metrics.messages_appended += 1;
        if !token.oneway {
            self.drafts[mode as usize].reply_count += 1;
            let stored = Stored { reference: resolved.reference, count: 1, offset, position };
            let buffer = connection.held.of(mode).buffer(&mut self.spare);
            encode_send_reply(buffer, token.id, Code::SUCCESS, &[result_of(stored)]);
        }
        Ok(())
    }
}

const NO_PLACE_YET: Rejection =
    Rejection::new(Code::SYSTEM_BUSY, "broker busy, the queues for delayed messages are being made: send again");
const OTHER_VERSION: Rejection = Rejection::new(
    Code::VERSION_NOT_SUPPORTED,
    "this broker speaks version 1 of the native protocol: use a client that speaks it too",
);
const UNKNOWN_KIND: Rejection =
    Rejection::new(Code::REQUEST_CODE_NOT_SUPPORTED, "this broker does not know this kind of request");

#[inline]
fn resolve<'a>(handles: &Handles, item: &SendItem<'a>) -> Item<'a> {
    let SendItem { handle, born_time_ms, flag, sys_flag, properties, body } = *item;
    let queue = handles.get(handle);
    Item { queue, reference: handle, flag, sys_flag, born_time_ms, properties, body }
}

#[inline]
fn result_of(stored: Stored) -> SendResult {
    let Stored { reference, count, offset, position } = stored;
    SendResult { handle: reference, count, queue_offset: offset, position }
}

/// Why a frame is no request.
enum Undecoded {
    /// It is a request that cannot be right: answered.
    Rejected(Rejection),
    /// It breaks the protocol: the connection ends.
    Broken(DecodeError),
}

impl From<DecodeError> for Undecoded {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::OutOfRange { .. } => {
                Self::Rejected(Rejection::because(Code::INVALID_PARAMETER, error.to_string()))
            }
            _ => Self::Broken(error),
        }
    }
}

fn decode<'a>(frame: &Frame<'a>, handles: &Handles) -> Result<Request<'a>, Undecoded> {
    let queue_of = |handle: u32| handles.get(handle).ok_or(Undecoded::Rejected(NOT_OPENED));
    Ok(match frame.header.kind {
        Kind::PING => Request::Ping,
        Kind::PULL => {
            let PullRequest { handle, offset, messages_max, bytes_max, wait_ms } = PullRequest::decode(frame)?;
            Request::Pull(Pull { queue: queue_of(handle)?, offset, messages_max, bytes_max, wait_ms, remoting: None })
        }
        Kind::OPEN_QUEUE => {
            let OpenQueue { topic, queue_id, create_topic } = Table::decode(frame.body)?;
            Request::OpenQueue { topic, number: queue_id, create: create_topic }
        }
        Kind::COMMIT_OFFSET => {
            let CommitOffset { handle, group, offset } = Table::decode(frame.body)?;
            Request::CommitOffset { queue: queue_of(handle)?, group, offset }
        }
        Kind::QUERY_OFFSET => {
            let QueryOffset { handle, group } = Table::decode(frame.body)?;
            Request::QueryOffset { queue: queue_of(handle)?, group }
        }
        Kind::QUEUE_STATE => {
            let QueueState { handle } = Table::decode(frame.body)?;
            Request::QueueState { queue: queue_of(handle)? }
        }
        Kind::SEARCH_OFFSET => {
            let SearchOffset { handle, store_time_ms, upper } = Table::decode(frame.body)?;
            Request::SearchOffset { queue: queue_of(handle)?, store_time_ms, upper }
        }
        Kind::VIEW_MESSAGE => {
            let ViewMessage { position } = Table::decode(frame.body)?;
            Request::ViewMessage { position }
        }
        Kind::CREATE_TOPIC => {
            let CreateTopic { topic, queue_count, perm, ordered } = Table::decode(frame.body)?;
            Request::CreateTopic(TopicWish { name: topic, shape: TopicShape::plain(queue_count, perm), ordered })
        }
        Kind::DELETE_TOPIC => {
            let DeleteTopic { topic } = Table::decode(frame.body)?;
            Request::DeleteTopic { topic }
        }
        Kind::LIST_TOPICS => {
            let ListTopics { after, topics_max } = Table::decode(frame.body)?;
            Request::ListTopics { after, topics_max }
        }
        Kind::TOPIC_STATS => {
            let TopicStats { topic } = Table::decode(frame.body)?;
            Request::TopicStats { topic }
        }
        _ => return Err(Undecoded::Rejected(UNKNOWN_KIND)),
    })
}

/// Appends the frame that answers a request.
pub(super) fn encode(out: &mut Vec<u8>, token: Token, response: &Response<'_>) {
    let (kind, id) = (Kind(u8::try_from(token.code).unwrap_or(u8::MAX)), token.id);
    match response {
        Response::Done => encode_empty_reply(out, kind, id),
        Response::Failed(rejection) => encode_failure(out, kind, id, rejection.code, &rejection.remark),
        Response::Opened(opened) => {
            let super::request::OpenedQueue { handle, number, queue_count, min, max } = *opened;
            let (min_offset, max_offset) = (min, max);
            let table = OpenedQueue { handle, queue_id: number, queue_count, min_offset, max_offset };
            encode_reply(out, kind, id, &table);
        }
        Response::Offset(offset) => encode_reply(out, kind, id, &OffsetResult { offset: *offset }),
        Response::QueueState { min, max, earliest_store_time_ms } => {
            let earliest_store_time_ms = *earliest_store_time_ms;
            let table = QueueStateResult { min_offset: *min, max_offset: *max, earliest_store_time_ms };
            encode_reply(out, kind, id, &table);
        }
        Response::Message(message) => encode_view_reply(out, id, message),
        Response::Remoting(..) | Response::Keyed(_) | Response::PassedOn(..) => {
            unreachable!("{response:?} is of the other dialect")
        }
        Response::Topics(list) => encode_reply(out, kind, id, list),
        Response::TopicStats(stats) => encode_reply(out, kind, id, stats),
    }
}

/// The same frames, but what says success says `code`: stored, but not as safely as was promised.
pub(super) fn degrade(frames: &[u8], code: Code) -> Vec<u8> {
    let mut degraded = frames.to_vec();
    let mut rest = degraded.as_mut_slice();
    while let Some((head, _)) = rest.split_first_chunk_mut::<FRAME_HEADER_SIZE_BYTES>() {
        let header = FrameHeader::decode(head);
        if header.code == Code::SUCCESS {
            *head = FrameHeader { code, ..header }.encode();
        }
        rest = &mut rest[header.length as usize..];
    }
    degraded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_frames_keep_everything_but_the_code() {
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        for (frames, code) in [(&mut frames, Code::SUCCESS), (&mut expected, Code::FLUSH_DISK_TIMEOUT)] {
            encode_send_reply(frames, 1, code, &[]);
            encode_failure(frames, Kind::SEND, 2, Code::SYSTEM_BUSY, "busy");
            encode_send_reply(frames, 3, code, &[]);
        }
        assert_eq!(degrade(&frames, Code::FLUSH_DISK_TIMEOUT), expected);
    }
}
