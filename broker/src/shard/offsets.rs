//! Consume offsets: committed and asked for.
//!
//! A commit that is answered goes through the gate like a send. One-way commits are gathered for up to a second, the
//! newest of a group and queue wins, and are then appended together: a consumer that commits after every message costs
//! the log one record a second.

use super::Shard;
use super::connection::Connection;
use super::names::check_group;
use super::request::{Dialect, NO_QUEUE, Rejection, Response, Token};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::AckMode;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{QueueId, QueueOffset};

const OFFSET_TOO_LARGE: Rejection =
    Rejection::new(Code::INVALID_PARAMETER, "the offset is larger than any offset can be: commit one that was pulled");
const NO_OFFSET: Rejection =
    Rejection::new(Code::QUERY_NOT_FOUND, "the group has not committed an offset of this queue: choose where to start");

/// A planted bug.
fn is_forgotten(token: Token) -> bool {
    mutant::active(Mutant::CommitAnsweredNotKept) && matches!(token.dialect, Dialect::Remoting(..))
}

impl Shard {
    pub(super) fn commit_offset(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        (queue, group, offset): (QueueId, &str, QueueOffset),
    ) {
        let checked = self.check_commit(queue, group, offset);
        match (checked, token.oneway) {
            (Err(rejection), _) => self.reject(connection, token, &rejection),
            (Ok(()), true) => self.coalesce(now, queue, group, offset),
            (Ok(()), false) if is_forgotten(token) => self.respond(connection, token, &Response::Done),
            (Ok(()), false) => match self.store.append_consume_offset(*now, group, queue, offset) {
                Err(refusal) => self.reject(connection, token, &refusal.into()),
                Ok(appended) => {
                    // An older one-way commit that is still gathered must not be written behind this one.
                    if !mutant::active(Mutant::PullBorneCommitWins) {
                        self.coalesced.remove(&(Box::from(group), queue));
                    }
                    self.drafts[0].add(&appended);
                    self.respond_when_acknowledged(connection, token, &Response::Done);
                }
            },
        }
    }

    pub(super) fn check_commit(&self, queue: QueueId, group: &str, offset: QueueOffset) -> Result<(), Rejection> {
        check_group(group)?;
        if i64::try_from(offset.get()).is_err() {
            return Err(OFFSET_TOO_LARGE);
        }
        self.store.queue(queue).map(|_| ()).ok_or(NO_QUEUE)
    }

    pub(super) fn coalesce(&mut self, now: &Now, queue: QueueId, group: &str, offset: QueueOffset) {
        self.coalesced.insert((group.into(), queue), offset);
        self.coalesced_since_ns.get_or_insert(now.boot_ns);
        if self.coalesced.len() >= self.settings.limits.coalesced_commit_count_max {
            self.write_coalesced(now);
        }
    }

    /// Appends the gathered commits. One that is refused is dropped: nobody was promised anything.
    pub(super) fn write_coalesced(&mut self, now: &Now) {
        self.coalesced_since_ns = None;
        for ((group, queue), offset) in std::mem::take(&mut self.coalesced) {
            match self.store.append_consume_offset(*now, &group, queue, offset) {
                Ok(_never_answered) => {}
                Err(refusal) => self.metrics.rejected(Code::new(refusal.code)),
            }
        }
    }

    /// Tells what is confirmed. A one-way commit that is still gathered is appended now, and the answer waits for it: what
    /// a client has once been told never goes back.
    pub(super) fn query_offset(
        &mut self,
        now: &Now,
        connection: &mut Connection,
        token: Token,
        queue: QueueId,
        group: &str,
    ) {
        if let Err(rejection) = check_group(group).and_then(|()| self.store.queue(queue).map(|_| ()).ok_or(NO_QUEUE)) {
            return self.reject(connection, token, &rejection);
        }
        if let Some(offset) = self.coalesced.remove(&(Box::from(group), queue)) {
            return match self.store.append_consume_offset(*now, group, queue, offset) {
                Err(refusal) => self.reject(connection, token, &refusal.into()),
                Ok(appended) => {
                    self.drafts[0].add(&appended);
                    self.respond_when_acknowledged(connection, token, &Response::Offset(offset));
                }
            };
        }
        match self.store.consume_offset(group, queue) {
            Some(offset) => self.respond(connection, token, &Response::Offset(offset)),
            None => self.reject(connection, token, &NO_OFFSET),
        }
    }

    /// Answers when everything that this receive has appended so far is acknowledged. When that is nothing, because somebody
    /// else has done already what was asked for: when what others wait for is.
    pub(super) fn respond_when_acknowledged(
        &mut self,
        connection: &mut Connection,
        token: Token,
        response: &Response<'_>,
    ) {
        if token.oneway {
            return;
        }
        if self.drafts[0].bytes == 0 {
            match self.gate.newest_end(AckMode::Promised) {
                None => return self.respond(connection, token, response),
                Some(end) => self.drafts[0].end = end,
            }
        }
        let held = connection.held.of(AckMode::Promised);
        response.encode(held.buffer(&mut self.spare), token);
        self.drafts[0].reply_count += 1;
    }
}
