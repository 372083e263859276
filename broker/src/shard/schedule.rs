//! Messages for later: delay levels, timed messages, and their delivery.
//!
//! A send that is for later goes into a system queue, with REAL_TOPIC and REAL_QID in its properties, as a *pending* message
//! (`store::pending`). When it is due it is read back (from memory or disk), and appended to its real queue in one group
//! with the record that settles it: a consumer sees it exactly once, through crashes and retention. What clients say under
//! the names that the broker uses itself is left out.
//!
//! Work is done in slices ([`SLICE_COUNT_MAX`]), in the order of due times, and stops while the disk is behind. What lies on
//! disk is read before it is due (`soon`).

use super::Shard;
use super::recall::timer_proof;
use super::request::Rejection;
use super::transactions::{Transactions, group_proof};
use crate::now::Now;
use crate::store::limits::WAITING_COMMITS_BYTES_HIGH;
use crate::store::pending::{NewPending, Pending, PendingKind, PendingRead, SettledBy};
use crate::store::{AckMode, NewMessage};
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::limits::PROPERTIES_SIZE_BYTES_MAX;
use ringmq_proto::message::StoredMessage;
use ringmq_proto::message::properties::{Properties, append_property, names};
use ringmq_proto::message::tag::tag_hash_of_properties;
use ringmq_proto::remoting::topics;

/// Properties that the broker says itself: left out of what clients send.
pub(super) const CLIENT_MAY_NOT_SAY: &[&str] = &[
    names::REAL_TOPIC,
    names::REAL_QID,
    names::TIMER_OUT_MS,
    names::TIMER_ENQUEUE_MS,
    names::TIMER_DEQUEUE_MS,
    names::TRANSACTION_CHECK_TIMES,
];

/// Pending messages that are looked at in one step. When reached: the next step goes on.
const SLICE_COUNT_MAX: usize = 64;
/// Bytes of messages that one step delivers. When reached: the next step goes on.
const SLICE_BYTES_MAX: usize = 256 << 10;
/// Time between attempts that were refused (disk full, a topic that is being made), in nanoseconds.
const RETRY_NS: u64 = 100_000_000;
/// At least so often the due times are held against the wall clock, which may be set, in nanoseconds.
const CLOCK_LOOK_NS: u64 = 1_000_000_000;

/// When a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    /// At the end of a delay level (1 is the first).
    Level(u8),
    /// At a wall-clock time in ms.
    At(u64),
    /// When its transaction is committed; its producer is asked from `due_ms` on.
    Half {
        due_ms: u64,
    },
}

/// A message that is not for its queue yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred<'a> {
    /// Where it goes in the end: a topic that exists.
    pub(super) topic: &'a str,
    /// The number of its queue there.
    pub(super) number: u32,
    /// The producer group of a half message.
    pub(super) producer_group: &'a str,
    /// The message as it would be stored now.
    pub(super) message: NewMessage<'a>,
}

/// What became of a message for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is appended, and acknowledged with this receive.
    Stored {
        position: LogPosition,
        /// In the system queue.
        offset: QueueOffset,
        /// Of a timed message.
        recall_handle: Option<String>,
    },
    /// The system topic's record is on its way: again when this version of it is applied.
    AwaitTopic { name: &'static str, version: u64 },
}

/// The state of what is done for later.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Until something has happened on the disk, nothing more can be done.
    blocked: bool,
    /// It is to be this one's turn when its bytes are there.
    awaited: Option<Pending>,
    /// Refused for now.
    retry_at_ns: u64,
    due: Vec<Pending>,
    pub(super) transactions: Transactions,
}

/// What came of one due message.
pub(super) enum Step {
    /// Bytes that were appended.
    Done(usize),
    /// Its bytes are being loaded.
    NotYet,
    /// Not now.
    Refused,
}

/// What a message's properties say of its time.
#[derive(Default)]
struct Wishes<'a> {
    delay: Option<&'a [u8]>,
    seconds: Option<&'a [u8]>,
    delay_ms: Option<&'a [u8]>,
    deliver_ms: Option<&'a [u8]>,
    cancel: bool,
}

impl<'a> Wishes<'a> {
    /// In one pass: most messages say nothing.
    fn of(properties: &'a [u8]) -> Self {
        let mut wishes = Self::default();
        for (name, value) in Properties::new(properties).iter() {
            match name {
                b"DELAY" => wishes.delay = Some(value),
                b"TIMER_DELAY_SEC" => wishes.seconds = Some(value),
                b"TIMER_DELAY_MS" => wishes.delay_ms = Some(value),
                b"TIMER_DELIVER_MS" => wishes.deliver_ms = Some(value),
                b"TIMER_DEL_UNIQKEY" => wishes.cancel = true,
                _ => {}
            }
        }
        wishes
    }
}

fn number(value: Option<&[u8]>) -> Result<Option<i64>, Rejection> {
    let Some(value) = value else { return Ok(None) };
    let text = std::str::from_utf8(value).map_err(|_| NOT_A_TIME)?;
    text.trim().parse().map(Some).map_err(|_| NOT_A_TIME)
}

fn too_far(max_ms: u64) -> Rejection {
    let remark = format!(
        "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; or if set del msg, \
         the delay time should be bigger than the current time"
    );
    Rejection::because(Code::MESSAGE_ILLEGAL, remark)
}

const NOT_A_TIME: Rejection = Rejection::new(
    Code::MESSAGE_ILLEGAL,
    "timer message illegal, DELAY and TIMER_* must be whole numbers: correct the properties of the message",
);
const PROPERTIES_TOO_LARGE: Rejection = Rejection::new(
    Code::MESSAGE_ILLEGAL,
    "the message properties, with what the broker adds to a message for later, are larger than 32767 bytes",
);

impl Shard {
    /// What the properties of a message ask for. `prepared`: it is the first half of a transaction.
    ///
    /// # Errors
    /// 13 for what is no time, or lies too far away.
    pub(super) fn when(&self, now: &Now, properties: &[u8], prepared: bool) -> Result<When, Rejection> {
        if prepared {
            let immunity_ms = self.check_immunity_ms(Properties::new(properties));
            return Ok(When::Half { due_ms: now.wall_ms.saturating_add(immunity_ms) });
        }
        let Wishes { delay, seconds, delay_ms, deliver_ms, cancel } = Wishes::of(properties);
        if let Some(level) = number(delay)?.filter(|level| *level > 0) {
            let count = self.settings.features.delay_levels.count();
            return Ok(When::Level(u8::try_from(level).unwrap_or(count).min(count)));
        }
        let max_ms = self.settings.features.timer_max_delay_ms;
        if cancel {
            return Err(too_far(max_ms));
        }
        let wall_ms = now.wall_ms.cast_signed();
        let relative = number(seconds)?.map(|seconds| seconds.saturating_mul(1000));
        let due_ms = match relative.or(number(delay_ms)?) {
            Some(delay_ms) => wall_ms.saturating_add(delay_ms),
            None => number(deliver_ms)?.unwrap_or(wall_ms),
        };
        let wait_ms = due_ms.saturating_sub(wall_ms).max(0).cast_unsigned();
        match wait_ms {
            0 => Ok(When::Now),
            _ if wait_ms > max_ms => Err(too_far(max_ms)),
            _ => Ok(When::At(now.wall_ms + wait_ms)),
        }
    }

    /// Appends a message that is for later.
    ///
    /// # Errors
    /// What the store refuses; 13 when its properties grow too large. Nothing was appended then.
    pub(super) fn defer(
        &mut self,
        now: &Now,
        mode: AckMode,
        when: When,
        deferred: &Deferred<'_>,
    ) -> Result<Taken, Rejection> {
        let unique_key = Properties::new(deferred.message.properties).get_str(names::UNIQ_KEY).unwrap_or_default();
        let (name, number, new) = match when {
            When::Level(level) => {
                let due_ms = now.wall_ms.saturating_add(self.settings.features.delay_levels.wait_ms(level));
                (topics::DELAYED, u32::from(level) - 1, NewPending { kind: PendingKind::Delay, due_ms, proof: 0 })
            }
            When::At(due_ms) => {
                let proof = timer_proof(deferred.topic, unique_key);
                (topics::TIMED, 0, NewPending { kind: PendingKind::Timer, due_ms, proof })
            }
            When::Half { due_ms } => {
                let proof = group_proof(producer_group(deferred));
                (topics::HALVES, 0, NewPending { kind: PendingKind::Half, due_ms, proof })
            }
            When::Now => unreachable!("a message for now is sent to its queue"),
        };
        let queue = match self.system_queue(now, name, number)? {
            Ok(queue) => queue,
            Err(version) => return Ok(Taken::AwaitTopic { name, version }),
        };
        let properties = deferred_properties(when, deferred)?;
        let message = NewMessage { properties: &properties, ..deferred.message };
        let appended = self.store.append_pending(*now, queue, &message, new)?;
        self.drafts[mode as usize].add(&appended);
        let recall_handle = match when {
            When::At(due_ms) => self.recall_handle(deferred.topic, unique_key, due_ms, appended.position),
            _ => None,
        };
        Ok(Taken::Stored { position: appended.position, offset: appended.first_offset, recall_handle })
    }

    /// A queue of one of the topics above; `Err`: the version of the topic that has to be applied first.
    pub(super) fn system_queue(
        &mut self,
        now: &Now,
        name: &'static str,
        number: u32,
    ) -> Result<Result<QueueId, u64>, Rejection> {
        if let Some(topic) = self.store.state().topic(name)
            && let Some(queue) = topic.queues.get(number as usize)
        {
            return Ok(Ok(*queue));
        }
        let queue_count =
            if name == topics::DELAYED { u32::from(self.settings.features.delay_levels.count()).max(18) } else { 1 };
        self.start_system_topic(now, name, queue_count).map(Err)
    }

    /// Does what is due, one slice of it.
    pub(super) fn due_work(&mut self, now: &Now) {
        if now.boot_ns < self.schedule.retry_at_ns || self.is_stopping() {
            return;
        }
        let is_awaiting = self.schedule.awaited.is_some_and(|entry| !self.store.demand_pending_message(&entry));
        self.schedule.blocked = is_awaiting || self.store.waiting_bytes() >= WAITING_COMMITS_BYTES_HIGH / 2;
        if self.schedule.blocked {
            return;
        }
        self.schedule.awaited = None;
        let mut due = std::mem::take(&mut self.schedule.due);
        due.clear();
        self.store.due(now.wall_ms, SLICE_COUNT_MAX, &mut due);
        let mut bytes_left = SLICE_BYTES_MAX;
        for entry in &due {
            if bytes_left == 0 {
                break;
            }
            match self.step_due(now, entry) {
                Step::Done(bytes) => bytes_left = bytes_left.saturating_sub(bytes),
                Step::NotYet => {
                    (self.schedule.blocked, self.schedule.awaited) = (true, Some(*entry));
                    self.soon.read_from(entry);
                    break;
                }
                Step::Refused => {
                    self.schedule.retry_at_ns = now.boot_ns + RETRY_NS;
                    break;
                }
            }
        }
        self.schedule.due = due;
        self.read_soon(now);
    }

    fn step_due(&mut self, now: &Now, entry: &Pending) -> Step {
        let message = match self.soon.take(entry) {
            Some(message) => message,
            None => match self.store.pending_message(entry) {
                PendingRead::Found(message) => message,
                PendingRead::NotYet => return Step::NotYet,
                PendingRead::Failed(_) => return Step::Refused,
                // Counted by the store, and left alone from now on.
                PendingRead::Damaged(_) => return Step::Done(0),
            },
        };
        match entry.kind {
            PendingKind::Delay | PendingKind::Timer => self.deliver(now, entry, &message),
            PendingKind::Half => self.check_half(now, entry, &message),
        }
    }

    /// Appends a due message to its real queue.
    fn deliver(&mut self, now: &Now, entry: &Pending, message: &[u8]) -> Step {
        let Some(real) = RealMessage::read(message) else { return self.lose(entry) };
        let queue = match self.real_queue(real.topic, real.number) {
            Some(queue) => queue,
            None if self.store.state().topic_is_pending(real.topic) => return Step::Refused,
            // Its topic was deleted, and all messages of it with it.
            None => return self.lose(entry),
        };
        let timed = (entry.kind == PendingKind::Timer).then(|| timer_properties(&real, now));
        let properties = timed.as_deref().unwrap_or(real.message.properties);
        let message = NewMessage { properties, ..real.message };
        let settled = self.store.settle_with_message(*now, entry, SettledBy::Delivered, (queue, &message), false);
        match settled {
            Ok(appended) => Step::Done(appended.map_or(0, |_| entry.size_bytes as usize)),
            Err(refusal) => {
                self.metrics.rejected(Code::new(refusal.code));
                Step::Refused
            }
        }
    }

    fn lose(&mut self, entry: &Pending) -> Step {
        match self.store.settle(entry, SettledBy::Lost) {
            Ok(_) => Step::Done(0),
            Err(_) => Step::Refused,
        }
    }

    /// The queue that a pending message goes to: by the names of today, a topic that has fewer queues by now takes it in
    /// another.
    pub(super) fn real_queue(&self, topic: &str, number: u32) -> Option<QueueId> {
        let queues = &self.store.state().topic(topic)?.queues;
        let count = u32::try_from(queues.len()).ok().filter(|count| *count > 0)?;
        queues.get((number % count) as usize).copied()
    }

    /// When [`Shard::due_work`] next has something to do, in boot nanoseconds.
    pub(super) fn due_wake_at_ns(&self, now: &Now) -> Option<u64> {
        if self.schedule.blocked || self.is_stopping() {
            return None;
        }
        let wait_ms = self.store.next_due_ms()?.saturating_sub(now.wall_ms);
        let at = now.boot_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
        Some(at.min(now.boot_ns + CLOCK_LOOK_NS).max(self.schedule.retry_at_ns))
    }
}

fn producer_group<'a>(deferred: &Deferred<'a>) -> &'a str {
    Properties::new(deferred.message.properties).get_str(names::PGROUP).unwrap_or(deferred.producer_group)
}

/// The properties of a message in its system queue.
fn deferred_properties(when: When, deferred: &Deferred<'_>) -> Result<Vec<u8>, Rejection> {
    let given = Properties::new(deferred.message.properties);
    let mut left_out = CLIENT_MAY_NOT_SAY.to_vec();
    if matches!(when, When::Level(_)) {
        left_out.extend([names::DELAY, names::TIMER_DELIVER_MS, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS]);
    }
    let mut properties = Vec::with_capacity(given.as_bytes().len() + 64);
    given.append_without(&left_out, &mut properties);
    let mut say = |name: &str, value: &str| append_property(&mut properties, name.as_bytes(), value.as_bytes());
    match when {
        When::Level(level) => say(names::DELAY, &level.to_string()),
        When::At(due_ms) => say(names::TIMER_OUT_MS, &due_ms.to_string()),
        When::Half { .. } if given.get(names::PGROUP).is_none() => say(names::PGROUP, deferred.producer_group),
        _ => {}
    }
    say(names::REAL_TOPIC, deferred.topic);
    say(names::REAL_QID, &deferred.number.to_string());
    if properties.len() > PROPERTIES_SIZE_BYTES_MAX { Err(PROPERTIES_TOO_LARGE) } else { Ok(properties) }
}

/// A timed message is delivered without what led it here, and says when it was taken and delivered, if there is room.
fn timer_properties(real: &RealMessage<'_>, now: &Now) -> Vec<u8> {
    let mut properties = Vec::new();
    let given = Properties::new(real.message.properties);
    given.append_without(&[names::REAL_TOPIC, names::REAL_QID], &mut properties);
    let size_bytes = properties.len();
    append_property(&mut properties, names::TIMER_ENQUEUE_MS.as_bytes(), real.store_time_ms.to_string().as_bytes());
    append_property(&mut properties, names::TIMER_DEQUEUE_MS.as_bytes(), now.wall_ms.to_string().as_bytes());
    if properties.len() > PROPERTIES_SIZE_BYTES_MAX {
        properties.truncate(size_bytes);
    }
    properties
}

/// A pending message as it goes to its real queue.
pub(super) struct RealMessage<'a> {
    pub(super) topic: &'a str,
    pub(super) number: u32,
    pub(super) store_time_ms: u64,
    pub(super) message: NewMessage<'a>,
    pub(super) stored: StoredMessage<'a>,
}

impl<'a> RealMessage<'a> {
    /// Reads what [`Shard::defer`] has written; nothing when it is not that.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let stored = StoredMessage::decode(message).ok()?;
        let parts = &stored.parts;
        let properties = Properties::new(parts.properties);
        Some(Self {
            topic: properties.get_str(names::REAL_TOPIC)?,
            number: properties.get_str(names::REAL_QID)?.parse().ok()?,
            store_time_ms: parts.store_time_ms,
            message: NewMessage {
                flag: parts.flag,
                sys_flag: parts.sys_flag,
                born_time_ms: parts.born_time_ms,
                born_host: parts.born_host,
                reconsume_times: parts.reconsume_times,
                prepared_transaction_position: parts.prepared_transaction_position,
                properties: parts.properties,
                body: parts.body,
                tag_hash: tag_hash_of_properties(parts.properties),
            },
            stored,
        })
    }
}
