//! Pulls: answered from memory at once, or held until there are messages, until a read of the disk has ended, or until
//! the client has read what it was sent before.
//!
//! A pull is tried against the store as often as something changed that it waits for; each try either writes the whole
//! answer or leaves the connection's output as it was.

use super::Shard;
use super::connection::{Connection, PauseReason};
use super::io::Effects;
use super::limits::{PULL_WAIT_MS_MAX, WAIT_NS_MAX};
use super::output::{OutputQueue, Spare};
use super::remoting::RemotingView;
use super::request::{NO_QUEUE, NOT_READABLE, Rejection, TOO_MANY_WAITING, Token};
use super::waiting::{PullState, WaitId, What};
use crate::now::Now;
use crate::store::{Piece, ReadOutcome, RecordSink};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};
use ringmq_proto::native::{
    FRAME_HEADER_SIZE_BYTES, PULL_RESULT_SIZE_BYTES, PullResult, encode_pull_reply, encode_pull_reply_head,
};
use std::sync::Arc;

/// Bytes of a reply in front of its records.
const PULL_REPLY_HEAD_SIZE_BYTES: usize = FRAME_HEADER_SIZE_BYTES + PULL_RESULT_SIZE_BYTES;

/// RocketMQ's permission to read.
const PERM_READ: u8 = 4;

/// A pull, its wishes cut down to the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    pub(super) queue: QueueId,
    pub(super) offset: QueueOffset,
    pub(super) messages_max: u32,
    pub(super) bytes_max: u32,
    pub(super) wait_ms: u32,
    /// What the remoting dialect needs to answer it.
    pub(super) remoting: Option<Arc<RemotingView>>,
}

/// What came of a try.
pub(super) enum Attempt {
    Answered,
    Rejected(Rejection),
    Wait(PullState),
}

/// Puts the pieces of records into a connection's output.
struct Sink<'a> {
    output: &'a mut OutputQueue,
    spare: &'a mut Spare,
}

impl RecordSink for Sink<'_> {
    fn begin(&mut self, _size_bytes: usize, _count: u32) {}

    fn piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Lent(bytes) => self.output.append(self.spare, |tail| tail.extend_from_slice(bytes)),
            Piece::Shared { block, start, length } => self.output.append_shared(self.spare, block, start, length),
        }
    }
}

impl Shard {
    pub(super) fn pull(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        mut pull: Pull,
        fx: &mut Effects,
    ) {
        let limits = &self.settings.limits;
        pull.messages_max = pull.messages_max.clamp(1, limits.pull_messages_max);
        pull.bytes_max = pull.bytes_max.clamp(1, limits.pull_bytes_max);
        pull.wait_ms = pull.wait_ms.min(PULL_WAIT_MS_MAX);
        self.metrics.pulls += 1;
        match self.try_pull(connection, token, &mut pull, fx) {
            Attempt::Answered => {}
            Attempt::Rejected(rejection) => self.reject(connection, token, &rejection),
            Attempt::Wait(PullState::Messages) if pull.wait_ms == 0 => self.answer_empty(connection, token, &pull),
            Attempt::Wait(state) => self.hold_pull(now, connection, token, pull, state),
        }
    }

    fn hold_pull(&mut self, now: &Now, connection: &mut Connection, token: Token, pull: Pull, state: PullState) {
        let wait_ns = u64::from(pull.wait_ms) * 1_000_000;
        let wait_ns = if state == PullState::Messages { wait_ns } else { wait_ns.max(WAIT_NS_MAX) };
        let queue = pull.queue;
        let Some(id) = self.wait(now, connection, token, What::Pull(pull, state), wait_ns) else {
            return self.reject(connection, token, &TOO_MANY_WAITING);
        };
        self.metrics.pulls_held += 1;
        self.enter_state(connection, id, queue, state);
    }

    /// Puts a waiting pull where it will be found by what it waits for.
    fn enter_state(&mut self, connection: &mut Connection, id: WaitId, queue: QueueId, state: PullState) {
        match state {
            PullState::Messages => {
                if self.waiting.join_queue(id, queue) {
                    self.store.watch(queue);
                }
            }
            PullState::Load => self.park(id),
            PullState::Output => connection.blocked.push_back(id),
        }
    }

    /// Something changed that this pull waits for: tries it again.
    pub(super) fn retry_pull(&mut self, id: WaitId, fx: &mut Effects) {
        let Some(wait) = self.waiting.get(id) else { return };
        let (token, asker) = (wait.token, wait.connection);
        let What::Pull(mut pull, before) = wait.what.clone() else { return };
        let Some(mut connection) = self.connections.lend(asker) else { return };
        match self.try_pull(&mut connection, token, &mut pull, fx) {
            Attempt::Answered => {
                self.forget_wait(&mut connection, id);
            }
            Attempt::Rejected(rejection) => {
                self.forget_wait(&mut connection, id);
                self.reject(&mut connection, token, &rejection);
            }
            Attempt::Wait(PullState::Messages) if pull.wait_ms == 0 => {
                self.forget_wait(&mut connection, id);
                self.answer_empty(&mut connection, token, &pull);
            }
            Attempt::Wait(state) => self.change_state(&mut connection, id, pull, before, state),
        }
        connection.announce_output(fx);
        self.connections.give_back(connection);
    }

    fn change_state(
        &mut self,
        connection: &mut Connection,
        id: WaitId,
        pull: Pull,
        before: PullState,
        state: PullState,
    ) {
        let queue = pull.queue;
        if let Some(wait) = self.waiting.get_mut(id) {
            wait.what = What::Pull(pull, state);
        }
        if before == PullState::Messages && state == before {
            return;
        }
        if let Some(queue) = self.waiting.leave_queue(id) {
            self.store.unwatch(queue);
        }
        self.enter_state(connection, id, queue, state);
    }

    /// Answers 19: nothing there (yet).
    pub(super) fn answer_empty(&mut self, connection: &mut Connection, token: Token, pull: &Pull) {
        if pull.remoting.is_some() {
            let nothing = OutputQueue::default();
            return self.answer_remoting_pull(connection, token, pull, Code::PULL_NOT_FOUND, nothing);
        }
        let Some(queue) = self.store.queue(pull.queue) else {
            return self.reject(connection, token, &NO_QUEUE);
        };
        let (min_offset, max_offset) = (queue.min_offset, queue.visible_offset);
        let result = PullResult { next_offset: pull.offset, min_offset, max_offset };
        if !token.oneway {
            connection.output.append(&mut self.spare, |out| {
                encode_pull_reply(out, token.id, Code::PULL_NOT_FOUND, &result, 0, &[]);
            });
        }
    }

    fn try_pull(&mut self, connection: &mut Connection, token: Token, pull: &mut Pull, fx: &mut Effects) -> Attempt {
        match self.store.queue(pull.queue) {
            None => return Attempt::Rejected(NO_QUEUE),
            Some(queue) if queue.perm & PERM_READ == 0 => return Attempt::Rejected(NOT_READABLE),
            Some(_) => {}
        }
        if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
            return Attempt::Wait(PullState::Output);
        }
        if let Some(view) = pull.remoting.clone() {
            return self.try_remoting_pull(connection, token, pull, &view, fx);
        }
        let mark = connection.output.mark(&mut self.spare);
        connection.output.append(&mut self.spare, |out| out.extend_from_slice(&[0; PULL_REPLY_HEAD_SIZE_BYTES]));
        let mut sink = Sink { output: &mut connection.output, spare: &mut self.spare };
        let outcome = self.store.read(pull.queue, pull.offset, pull.messages_max, pull.bytes_max as usize, &mut sink);
        let (code, record_count, next_offset) = match outcome {
            ReadOutcome::Found { next_offset, records, messages } => {
                self.metrics.messages_pulled += u64::from(messages);
                (Code::SUCCESS, records, next_offset)
            }
            ReadOutcome::Moved { next_offset } => (Code::PULL_OFFSET_MOVED, 0, next_offset),
            other => {
                connection.output.truncate(&mut self.spare, mark);
                return not_found(other);
            }
        };
        let (min_offset, max_offset) = self
            .store
            .queue(pull.queue)
            .map_or_else(Default::default, |queue| (queue.min_offset, queue.visible_offset));
        let result = PullResult { next_offset, min_offset, max_offset };
        let (start, reply_len) = connection.output.since(mark);
        let records_len = reply_len - PULL_REPLY_HEAD_SIZE_BYTES;
        self.metrics.pulled_bytes += records_len as u64;
        start[..PULL_REPLY_HEAD_SIZE_BYTES].copy_from_slice(&encode_pull_reply_head(
            token.id,
            code,
            &result,
            record_count,
            records_len,
        ));
        if token.oneway {
            connection.output.truncate(&mut self.spare, mark);
        }
        if connection.unread_bytes() >= self.settings.limits.output_bytes_soft_max {
            connection.pause(PauseReason::Output, fx);
        }
        Attempt::Answered
    }
}

fn not_found(outcome: ReadOutcome) -> Attempt {
    match outcome {
        ReadOutcome::End => Attempt::Wait(PullState::Messages),
        ReadOutcome::NotYet => Attempt::Wait(PullState::Load),
        ReadOutcome::Damaged { next_offset, remark } => Attempt::Rejected(Rejection::because(
            Code::SYSTEM_ERROR,
            format!("{remark}; the next message that can be read has offset {next_offset}: go on there, or restore it"),
        )),
        ReadOutcome::Failed { remark } => Attempt::Rejected(Rejection::because(Code::SYSTEM_ERROR, remark)),
        _ => Attempt::Rejected(NO_QUEUE),
    }
}
