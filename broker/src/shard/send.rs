//! Sends: what a dialect decoded is checked and appended.
//!
//! A run of messages of one queue with equal shared fields (flag, sysFlag, born time) becomes batch records, a single
//! message a message record. All messages of a request are checked before the first is appended: a request that breaks a
//! rule leaves nothing behind. When the store refuses in the middle (disk full), what was appended before stays, and the
//! answer is the refusal: the outcome of such a request is unknown, as after a time-out.

use super::request::{NO_QUEUE, NOT_WRITABLE, Rejection};
use crate::now::Now;
use crate::store::{Appended, BatchItem, BatchShared, NewMessage, Store};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::limits::{BODY_SIZE_BYTES_MAX, PROPERTIES_SIZE_BYTES_MAX};
use ringmq_proto::message::Host;
use ringmq_proto::message::batch::{BATCH_HEAD_SIZE_BYTES, BATCH_MESSAGE_COUNT_MAX, batch_entry_len};
use ringmq_proto::message::properties::{Properties, names};
use ringmq_proto::message::stored::sys_flag;
use ringmq_proto::message::tag::tag_hash_of_properties;
use ringmq_proto::record::RECORD_HEADER_SIZE_BYTES;

/// RocketMQ's permission to write.
pub(super) const PERM_WRITE: u8 = 2;

/// The bits of sysFlag that a producer may set.
#[expect(clippy::cast_possible_truncation, reason = "the bits lie in the low 16")]
const SYS_FLAG_ALLOWED: u16 = sys_flag::PRODUCER_BITS as u16;

/// One message of a send, borrowed from the received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    /// Nothing when the client named a queue that it has not opened.
    pub(super) queue: Option<QueueId>,
    /// How the dialect calls the queue; comes back in [`Stored`].
    pub(super) reference: u32,
    pub(super) flag: i32,
    pub(super) sys_flag: u16,
    pub(super) born_time_ms: u64,
    pub(super) properties: &'a [u8],
    pub(super) body: &'a [u8],
}

/// One record that a send became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) reference: u32,
    /// Messages in it.
    pub(super) count: u32,
    /// Of the first of them.
    pub(super) offset: QueueOffset,
    /// Where the first of them lies: its PHYSICALOFFSET.
    pub(super) position: LogPosition,
}

/// What was appended in one receive and one mode, for the gate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draft {
    pub(super) end: LogPosition,
    pub(super) bytes: u64,
    pub(super) reply_count: u32,
}

impl Draft {
    pub(super) fn add(&mut self, appended: &Appended) {
        self.end = appended.end;
        self.bytes += appended.end.since(appended.position);
    }
}

#[derive(Clone, Copy, Debug)]
struct Run {
    queue: QueueId,
    reference: u32,
    flag: i32,
    sys_flag: u16,
    born_time_ms: u64,
    /// Its messages: up to here in the scratch, from the end of the run before.
    end: usize,
}

/// Memory that is used again for each request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    items: Vec<BatchItem<'static>>,
    runs: Vec<Run>,
}

/// Items of scratch memory that are kept between requests.
const SCRATCH_ITEMS_KEPT_MAX: usize = 4096;

/// The same empty vector for borrows of another lifetime (the standard library reuses the memory).
fn relife<'b>(mut items: Vec<BatchItem<'_>>) -> Vec<BatchItem<'b>> {
    items.clear();
    items.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

/// Appends for one client.
pub(super) struct Appender<'s> {
    pub(super) store: &'s mut Store,
    pub(super) scratch: &'s mut Scratch,
    pub(super) draft: &'s mut Draft,
    pub(super) now: Now,
    pub(super) peer: Host,
    /// Permission bits that a queue must have.
    pub(super) needed_perm: u8,
}

impl Appender<'_> {
    /// Appends a request of one message.
    #[inline]
    pub(super) fn one(&mut self, item: &Item<'_>) -> Result<Stored, Rejection> {
        let queue = self.check_queue(item.queue)?;
        let tag_hash = check(item, ALONE)?;
        let shared = Run {
            queue,
            reference: item.reference,
            flag: item.flag,
            sys_flag: item.sys_flag,
            born_time_ms: item.born_time_ms,
            end: 0,
        };
        self.append_single(&shared, &BatchItem { tag_hash, properties: item.properties, body: item.body })
    }

    /// Appends a request of many messages; `stored` is told of each record.
    pub(super) fn many<'a>(
        &mut self,
        items: impl Iterator<Item = Item<'a>>,
        stored: impl FnMut(Stored),
    ) -> Result<u32, Rejection> {
        let mut scratch: Vec<BatchItem<'a>> = relife(std::mem::take(&mut self.scratch.items));
        let mut runs = std::mem::take(&mut self.scratch.runs);
        let result = self.gather(items, &mut scratch, &mut runs);
        let result = result.and_then(|()| self.append_runs(&scratch, &runs, stored));
        let count = u32::try_from(scratch.len()).unwrap_or(u32::MAX);
        runs.clear();
        if scratch.capacity() <= SCRATCH_ITEMS_KEPT_MAX {
            *self.scratch = Scratch { items: relife(scratch), runs };
        }
        result.map(|()| count)
    }

    /// Checks all messages and finds the runs among them.
    fn gather<'a>(
        &mut self,
        items: impl Iterator<Item = Item<'a>>,
        scratch: &mut Vec<BatchItem<'a>>,
        runs: &mut Vec<Run>,
    ) -> Result<(), Rejection> {
        for item in items {
            let tag_hash = check(&item, IN_A_BATCH)?;
            let same = runs.last().is_some_and(|run| {
                run.reference == item.reference
                    && run.born_time_ms == item.born_time_ms
                    && run.flag == item.flag
                    && run.sys_flag == item.sys_flag
            });
            if !same {
                let queue = self.check_queue(item.queue)?;
                let Item { reference, flag, sys_flag, born_time_ms, .. } = item;
                runs.push(Run { queue, reference, flag, sys_flag, born_time_ms, end: 0 });
            }
            scratch.push(BatchItem { tag_hash, properties: item.properties, body: item.body });
            if let Some(run) = runs.last_mut() {
                run.end = scratch.len();
            }
        }
        Ok(())
    }

    fn append_runs(
        &mut self,
        items: &[BatchItem<'_>],
        runs: &[Run],
        mut stored: impl FnMut(Stored),
    ) -> Result<(), Rejection> {
        let mut start = 0;
        for run in runs {
            let mut rest = &items[start..run.end];
            start = run.end;
            while let Some(first) = rest.first() {
                let count = self.record_count(rest);
                let result =
                    if count == 1 { self.append_single(run, first) } else { self.append_batch(run, &rest[..count]) };
                stored(result?);
                rest = &rest[count..];
            }
        }
        Ok(())
    }

    /// How many of `items` go into the next record.
    fn record_count(&self, items: &[BatchItem<'_>]) -> usize {
        let bytes_max = self.store.batch_size_bytes_max();
        let mut bytes = RECORD_HEADER_SIZE_BYTES + BATCH_HEAD_SIZE_BYTES;
        let mut count = 0;
        for item in items.iter().take(BATCH_MESSAGE_COUNT_MAX) {
            bytes += batch_entry_len(item.properties.len(), item.body.len());
            if bytes > bytes_max && count > 0 {
                break;
            }
            count += 1;
        }
        count
    }

    fn append_single(&mut self, run: &Run, item: &BatchItem<'_>) -> Result<Stored, Rejection> {
        let message = NewMessage {
            flag: run.flag,
            sys_flag: i32::from(run.sys_flag),
            born_time_ms: run.born_time_ms,
            born_host: self.peer,
            reconsume_times: 0,
            prepared_transaction_position: 0,
            properties: item.properties,
            body: item.body,
            tag_hash: item.tag_hash,
        };
        let appended = self.store.append_message(self.now, run.queue, &message)?;
        self.draft.add(&appended);
        Ok(Stored { reference: run.reference, count: 1, offset: appended.first_offset, position: appended.position })
    }

    fn append_batch(&mut self, run: &Run, items: &[BatchItem<'_>]) -> Result<Stored, Rejection> {
        let shared = BatchShared {
            flag: run.flag,
            sys_flag: run.sys_flag,
            born_time_ms: run.born_time_ms,
            born_host: self.peer,
        };
        let appended = self.store.append_batch(self.now, run.queue, &shared, items)?;
        self.draft.add(&appended);
        let head_bytes = RECORD_HEADER_SIZE_BYTES + BATCH_HEAD_SIZE_BYTES;
        Ok(Stored {
            reference: run.reference,
            count: u32::try_from(items.len()).unwrap_or(u32::MAX),
            offset: appended.first_offset,
            position: appended.position.plus(head_bytes as u64),
        })
    }

    #[inline]
    fn check_queue(&self, queue: Option<QueueId>) -> Result<QueueId, Rejection> {
        let Some(id) = queue else {
            return Err(NOT_OPENED);
        };
        match self.store.queue(id) {
            None => Err(NO_QUEUE),
            Some(queue) if queue.perm & self.needed_perm != self.needed_perm => Err(NOT_WRITABLE),
            Some(_) => Ok(id),
        }
    }
}

pub(super) const NOT_OPENED: Rejection = Rejection::new(
    Code::INVALID_PARAMETER,
    "the handle names no queue: open the queue on this connection before using it",
);
const BODY_TOO_LARGE: Rejection =
    Rejection::new(Code::MESSAGE_ILLEGAL, "the message body is larger than 4 MiB: send a smaller one");
const PROPERTIES_TOO_LARGE: Rejection =
    Rejection::new(Code::MESSAGE_ILLEGAL, "the message properties are larger than 32767 bytes: send smaller ones");
pub(super) const SYS_FLAG_ILLEGAL: Rejection =
    Rejection::new(Code::MESSAGE_ILLEGAL, "the message sets bits of sysFlag that a producer may not set");
const NOT_SERVED: Rejection = Rejection::new(
    Code::MESSAGE_ILLEGAL,
    "delayed and timed messages are sent one by one, transactional ones by RocketMQ's clients: leave out DELAY, TIMER_* and TRAN_MSG",
);

/// Properties that ask for what is not done: taking them silently would promise a delay that does not happen.
const IN_A_BATCH: &[&str] =
    &[names::TRAN_MSG, names::DELAY, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS, names::TIMER_DELIVER_MS];
const ALONE: &[&str] = &[names::TRAN_MSG];

/// What can be said without the queue: sizes, flags, properties. Gives the tag's hash.
#[inline(always)]
fn check(item: &Item<'_>, unserved: &[&str]) -> Result<i32, Rejection> {
    let plain =
        item.properties.is_empty() && item.body.len() <= BODY_SIZE_BYTES_MAX && item.sys_flag & !SYS_FLAG_ALLOWED == 0;
    if plain { Ok(0) } else { check_closely(item, unserved) }
}

/// Checks a message that is sent alone and for later. Gives the tag's hash.
pub(super) fn check_deferred(item: &Item<'_>) -> Result<i32, Rejection> {
    check(item, ALONE)
}

fn check_closely(item: &Item<'_>, unserved: &[&str]) -> Result<i32, Rejection> {
    if item.body.len() > BODY_SIZE_BYTES_MAX {
        return Err(BODY_TOO_LARGE);
    }
    if item.sys_flag & !SYS_FLAG_ALLOWED != 0 {
        return Err(SYS_FLAG_ILLEGAL);
    }
    check_properties(item.properties, unserved)
}

fn check_properties(properties: &[u8], unserved: &[&str]) -> Result<i32, Rejection> {
    if properties.len() > PROPERTIES_SIZE_BYTES_MAX {
        return Err(PROPERTIES_TOO_LARGE);
    }
    let is_unserved = |name: &[u8]| unserved.iter().any(|unserved| unserved.as_bytes() == name);
    if Properties::new(properties).iter().any(|(name, _)| is_unserved(name)) {
        return Err(NOT_SERVED);
    }
    Ok(tag_hash_of_properties(properties))
}
