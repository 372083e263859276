//! Recall handles: what a sender gets for a timed message, and gives back to have it cancelled.
//!
//! It has RocketMQ's form ([`RecallHandle`]), of which clients read the broker's name and nothing else. Behind the unique key
//! stand a dot and the origin of the pending message in hexadecimal: with the due time that is its place in the index, where
//! it is found without a search.

use super::Shard;
use super::request::Rejection;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::store::AckMode;
use crate::store::pending::{DueFound, PendingKind, SettledBy};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::limits::LONG_NAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::timer::RecallHandle;

const DISABLED: Rejection = Rejection::new(
    Code::NO_PERMISSION,
    "recall failed, operation is forbidden: set recallMessageEnable=true on this broker",
);
const BAD_HANDLE: Rejection =
    Rejection::new(Code::ILLEGAL_OPERATION, "recall failed, handle is invalid: give the one that the send returned");
const OTHER_TOPIC: Rejection =
    Rejection::new(Code::ILLEGAL_OPERATION, "recall failed, topic not match: the handle is of another topic");
const OTHER_BROKER: Rejection = Rejection::new(
    Code::ILLEGAL_OPERATION,
    "recall failed, broker service not available: the handle is of another broker",
);
const TOO_LATE: Rejection = Rejection::new(
    Code::ILLEGAL_OPERATION,
    "recall failed, timestamp invalid or message gone: it was delivered or recalled before",
);

impl Shard {
    /// The handle of a timed message; none when its unique key does not fit into one.
    pub(super) fn recall_handle(
        &self,
        topic: &str,
        unique_key: &str,
        due_ms: u64,
        origin: LogPosition,
    ) -> Option<String> {
        let broker_name = self.settings.broker_name.clone();
        let fits = ![topic, &broker_name, unique_key].iter().any(|part| part.is_empty() || part.contains(' '));
        let deliver_time_ms = i64::try_from(due_ms).ok()?;
        let unique_key = format!("{unique_key}.{:x}", origin.get());
        (fits && unique_key.len() <= LONG_NAME_SIZE_BYTES_MAX)
            .then(|| RecallHandle { topic: topic.into(), broker_name, deliver_time_ms, unique_key }.encode())
    }

    /// Cancels a timed message; gives its unique key. Acknowledged with this receive. `None`: nothing yet, the index is being
    /// read from disk; again when a load has ended.
    ///
    /// # Errors
    /// 16 when recalls are switched off, 604 when the handle is not one of ours or the message is gone, 1 when the index cannot
    /// be read.
    pub(super) fn recall(&mut self, now: &Now, topic: &str, handle: &str) -> Result<Option<String>, Rejection> {
        if !self.settings.features.recall_messages {
            return Err(DISABLED);
        }
        let handle = RecallHandle::decode(handle).map_err(|_| BAD_HANDLE)?;
        if handle.topic != topic {
            return Err(OTHER_TOPIC);
        }
        if handle.broker_name != self.settings.broker_name {
            return Err(OTHER_BROKER);
        }
        let due_ms = u64::try_from(handle.deliver_time_ms).map_err(|_| BAD_HANDLE)?;
        let (unique_key, origin) = handle.unique_key.rsplit_once('.').ok_or(BAD_HANDLE)?;
        let origin = u64::from_str_radix(origin, 16).map_err(|_| BAD_HANDLE)?;
        let proof = timer_proof(topic, unique_key);
        let entry = match self.store.find_pending(due_ms, LogPosition::new(origin)) {
            DueFound::Pending(entry) => entry,
            DueFound::Nothing => return Err(TOO_LATE),
            DueFound::NotYet => return Ok(None),
            DueFound::Failed(why) => return Err(unknown(&why)),
        };
        let same = entry.kind == PendingKind::Timer && entry.due_ms == due_ms && entry.proof == proof;
        // What is due may be on its way already: its sender must not be told that it is not.
        if !same || due_ms <= now.wall_ms {
            return Err(TOO_LATE);
        }
        if mutant::active(Mutant::RecallForgotten) {
            return Ok(Some(unique_key.into()));
        }
        let appended = self.store.settle(&entry, SettledBy::Cancelled)?.ok_or(TOO_LATE)?;
        self.drafts[AckMode::Promised as usize].add(&appended);
        Ok(Some(unique_key.into()))
    }
}

fn unknown(why: &str) -> Rejection {
    let remark = format!("recall failed, the index of timed messages cannot be read ({why}): try again");
    Rejection::because(Code::SYSTEM_ERROR, remark)
}

/// What must be known of a timed message to recall it.
pub(super) fn timer_proof(topic: &str, unique_key: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(b"#");
    hasher.update(unique_key.as_bytes());
    hasher.finalize()
}
