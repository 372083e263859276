//! The judge of small histories: told every event, it reports what cannot have happened in a sound broker.
//!
//! Events come in the order in which they happened at the client. Memory: 8 bytes for each offset of a queue, 8 for
//! each message; both are vectors by ordinal, so queues and producers are to be numbered densely from 0, and so are a
//! producer's sequences. [`Judge::reset`] keeps all memory for the next history.
//!
//! Life of a history: `send` → `outcome` · `poll` · `commit` · `trimmed` · `power_cut`, any number in any order; then
//! `begin_final_drain`, polls of every queue from its first offset to its end, `drained` for each, and `finish`.
//! What is judged at once: phantoms, offset conflicts, the shape of polls, commits. What needs the end: losses, holes,
//! duplicates, order of sends, rolling hashes.

mod commits;
mod finish;
mod queues;
mod sends;

use crate::anomaly::{Anomalies, Anomaly, AnomalyKind};
use crate::identity::MessageId;
use commits::Commits;
use queues::{ACKED, DRAINED, FORGETTABLE, LOGGED, OCCUPIED, POLLED, QueueTable};
use sends::Sends;

/// A queue of the history, numbered densely from 0 by the caller. A queue that is deleted and made anew gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueIndex(pub u32);

/// How one attempt to send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: the message is in `queue` at `offset`, for good.
    Ok {
        /// The queue it went to.
        queue: QueueIndex,
        /// Its offset there.
        offset: u64,
    },
    /// Acknowledged for later (a delayed message, a committed transaction): it must be in `queue` when the history ends.
    OkLater {
        /// The queue in which it must appear.
        queue: QueueIndex,
    },
    /// Refused: this attempt must never appear.
    Failed,
    /// No answer, or one that says so: this attempt may appear, at most once.
    Unknown,
}

/// What a body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A message of this run, every byte as it was sent.
    Message(MessageId),
    /// Anything else.
    Foreign,
}

/// One message of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Its offset in the queue.
    pub offset: u64,
    /// What its body is.
    pub content: Content,
}

/// What the run promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Sends of one producer to one queue keep their order (one connection, no retry). Default: true.
    pub ordered_sends: bool,
    /// A final drain that leaves a queue with known messages undrained is an anomaly. Default: true.
    pub drain_all: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { ordered_sends: true, drain_all: true }
    }
}

/// The judge of one history at a time.
#[derive(Debug, Default)]
pub struct Judge {
    rules: Rules,
    sends: Sends,
    queues: Vec<QueueTable>,
    queue_count: usize,
    commits: Commits,
    digests: Vec<(QueueIndex, u64, u64)>,
    draining: bool,
    anomalies: Anomalies,
}

impl Judge {
    /// A judge with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Forgets the history and keeps the memory.
    pub fn reset(&mut self) {
        self.sends.reset();
        self.queues[..self.queue_count].iter_mut().for_each(QueueTable::reset);
        self.queue_count = 0;
        self.commits.reset();
        self.digests.clear();
        self.draining = false;
        self.anomalies.clear();
    }

    /// An attempt to send `message` leaves the client. A retry is another attempt with the same message.
    pub fn send(&mut self, message: MessageId) {
        self.sends.attempt(message);
    }

    /// One attempt of `message` ended.
    pub fn outcome(&mut self, message: MessageId, outcome: Outcome) {
        if !self.sends.outcome(message, outcome) {
            self.anomalies.report(Anomaly::new(AnomalyKind::OutcomeWithoutSend).of(message));
        }
        if let Outcome::Ok { queue, offset } = outcome {
            self.place(queue, offset, message, ACKED);
        }
    }

    /// A reader asked `queue` for messages from offset `from` on, got `messages` and is to ask for `next` afterwards. An
    /// answer without messages is told too: its `next` must be `from` (for a corrected offset see [`Judge::moved`]).
    pub fn poll(&mut self, queue: QueueIndex, from: u64, next: u64, messages: &[Polled]) {
        let mut expected = from;
        for polled in messages {
            if polled.offset > expected && !self.table(queue).is_trimmed(polled.offset - 1) {
                self.report_at(AnomalyKind::PollSkip, queue, polled.offset, expected);
            } else if polled.offset < expected {
                self.report_at(AnomalyKind::NonMonotonicPoll, queue, polled.offset, expected);
            }
            expected = polled.offset.saturating_add(1).max(expected);
            match polled.content {
                Content::Message(message) if self.sends.is_known(message) => {
                    let flags = if self.draining { POLLED | DRAINED } else { POLLED };
                    self.place(queue, polled.offset, message, flags);
                }
                Content::Message(message) => {
                    self.anomalies.report(Anomaly::new(AnomalyKind::Phantom).at(queue, polled.offset).of(message));
                }
                Content::Foreign => {
                    self.anomalies.report(Anomaly::new(AnomalyKind::Phantom).at(queue, polled.offset));
                }
            }
        }
        if next > expected {
            self.report_at(AnomalyKind::PollSkip, queue, next, expected);
        } else if next < expected {
            self.report_at(AnomalyKind::NonMonotonicPoll, queue, next, expected);
        }
    }

    /// The broker answered a pull at `from` with a corrected offset `to` (code 21): forward only over what was trimmed,
    /// backward only to an end beyond which nothing is known.
    pub fn moved(&mut self, queue: QueueIndex, from: u64, to: u64) {
        let table = self.table(queue);
        if to > from && !table.is_trimmed(to - 1) && table.any_firm(from, to) {
            self.report_at(AnomalyKind::PollSkip, queue, to, from);
        } else if to < from && table.any_firm(to, u64::MAX) {
            self.report_at(AnomalyKind::NonMonotonicPoll, queue, to, from);
        }
    }

    /// The log itself holds `message` as offset `offset` of `queue` (decoded without the index).
    pub fn logged(&mut self, queue: QueueIndex, offset: u64, message: MessageId) {
        if self.sends.is_known(message) {
            self.table(queue).log_told = true;
            self.place(queue, offset, message, LOGGED);
        } else {
            self.anomalies.report(Anomaly::new(AnomalyKind::Phantom).at(queue, offset).of(message));
        }
    }

    /// Somebody saw that messages of `queue` below `max_offset` are visible.
    pub fn visible(&mut self, queue: QueueIndex, max_offset: u64) {
        let known = self.table(queue).visible_end;
        if max_offset < known {
            self.report_at(AnomalyKind::VisibleRegress, queue, max_offset, known);
        }
        self.table(queue).visible_end = known.max(max_offset);
    }

    /// Retention was allowed to remove the messages of `queue` below `min_offset`: they are no longer owed.
    pub fn trimmed(&mut self, queue: QueueIndex, min_offset: u64) {
        let table = self.table(queue);
        table.trimmed_below = table.trimmed_below.max(min_offset);
    }

    /// The queue was deleted with its topic: nothing of it is owed any more.
    pub fn queue_deleted(&mut self, queue: QueueIndex) {
        self.trimmed(queue, u64::MAX);
    }

    /// The disk was damaged at rest, and the broker goes on at `next_offset` because the damage may hide messages: offsets
    /// below that nobody knows may stay empty. What somebody knows is owed as before.
    pub fn may_skip(&mut self, queue: QueueIndex, next_offset: u64) {
        let table = self.table(queue);
        table.may_skip_below = table.may_skip_below.max(next_offset);
    }

    /// Copies of messages may stand in `queue` (a retry or dead-letter topic): they count as no duplicates.
    pub fn redelivery_queue(&mut self, queue: QueueIndex) {
        self.table(queue).redelivery = true;
    }

    /// A power cut in a mode that does not promise the disk (`flush = async`, or a send that did not wait): what
    /// `queue` held from `flushed_offset` on may be gone, and those offsets may be given anew.
    pub fn power_cut(&mut self, queue: QueueIndex, flushed_offset: u64) {
        let table = self.table(queue);
        table.forget_from(flushed_offset);
        table.visible_end = table.visible_end.min(flushed_offset);
    }

    /// After such a power cut: consume offsets may have fallen back to any that was committed before.
    pub fn commits_may_regress(&mut self) {
        self.commits.loosen();
    }

    /// `group` commits `offset` for `queue`; `acknowledged` when an answer said that it is kept (else it may be or not).
    pub fn commit(&mut self, group: u32, queue: QueueIndex, offset: u64, acknowledged: bool) {
        self.commits.commit(group, queue, offset, acknowledged);
    }

    /// The broker says that `group`'s consume offset for `queue` is `offset` (`None`: it knows none).
    pub fn committed(&mut self, group: u32, queue: QueueIndex, offset: Option<u64>) {
        if let Err((kind, owed)) = self.commits.read(group, queue, offset) {
            self.report_at(kind, queue, offset.unwrap_or(0), owed);
        }
    }

    /// An observer (a reader, the broker, a replica) has `hash` as [`crate::RollingHash`] of all messages of `queue` from
    /// offset 0 up to `end`, exclusive.
    pub fn digest(&mut self, queue: QueueIndex, end: u64, hash: u64) {
        self.table(queue);
        self.digests.push((queue, end, hash));
    }

    /// An acknowledgement left for what ends at log position `end`, when positions below `proven` were proven.
    pub fn acknowledged_at(&mut self, end: u64, proven: u64) {
        if end > proven {
            let anomaly = Anomaly { offset: Some(end), ..Anomaly::new(AnomalyKind::AckWithoutProof) };
            self.anomalies.report(anomaly.other(proven));
        }
    }

    /// `used` bytes (or entries) were in use where `limit` are allowed.
    pub fn memory(&mut self, used: u64, limit: u64) {
        if used > limit {
            let anomaly = Anomaly { offset: Some(used), ..Anomaly::new(AnomalyKind::MemoryOverLimit) };
            self.anomalies.report(anomaly.other(limit));
        }
    }

    /// From here on polls belong to the final drain: faults are healed, senders have ended, every queue is read again
    /// from its first offset.
    pub fn begin_final_drain(&mut self) {
        self.draining = true;
    }

    /// The final drain of `queue` ended: it holds the offsets from `min_offset` to `max_offset`, exclusive.
    pub fn drained(&mut self, queue: QueueIndex, min_offset: u64, max_offset: u64) {
        self.table(queue).drained = Some((min_offset, max_offset));
        self.visible(queue, max_offset);
    }

    /// Ends the history and judges what needs its end. Empty means sound.
    pub fn finish(&mut self) -> &Anomalies {
        self.judge_end();
        &self.anomalies
    }

    /// What was found so far.
    pub fn anomalies(&self) -> &Anomalies {
        &self.anomalies
    }

    fn table(&mut self, queue: QueueIndex) -> &mut QueueTable {
        let index = queue.0 as usize;
        if index >= self.queue_count {
            if index >= self.queues.len() {
                self.queues.resize_with(index + 1, QueueTable::default);
            }
            self.queue_count = index + 1;
        }
        &mut self.queues[index]
    }

    fn report_at(&mut self, kind: AnomalyKind, queue: QueueIndex, offset: u64, other: u64) {
        self.anomalies.report(Anomaly::new(kind).at(queue, offset).other(other));
    }

    /// `message` stands at `offset` of `queue`, as `flags` tells. One offset, one message, for ever; except where a
    /// power cut made the old one forgettable.
    fn place(&mut self, queue: QueueIndex, offset: u64, message: MessageId, flags: u16) {
        // Every offset of a queue was taken by an attempt; with none to account for it, it is invented. (This also bounds
        // the memory that a broken broker can make the judge take.)
        let offsets_max = self.sends.attempt_count();
        let table = self.table(queue);
        if !table.redelivery && offset >= offsets_max.saturating_add(table.may_skip_below) {
            self.anomalies.report(Anomaly::new(AnomalyKind::OffsetImpossible).at(queue, offset).of(message));
            return;
        }
        if offset >= queues::OFFSET_COUNT_MAX {
            self.anomalies.report(Anomaly::new(AnomalyKind::OffsetImpossible).at(queue, offset).of(message));
            return;
        }
        let redelivery = table.redelivery;
        let entry = table.entry(offset);
        if entry.flags & OCCUPIED == 0 {
            entry.set(message, flags);
            if !redelivery {
                self.sends.placed(message, 1);
            }
        } else if entry.message() == message {
            entry.flags = (entry.flags | flags) & !FORGETTABLE;
        } else if entry.flags & FORGETTABLE != 0 {
            let old = entry.message();
            entry.set(message, flags);
            if !redelivery {
                self.sends.placed(old, -1);
                self.sends.placed(message, 1);
            }
        } else {
            let other = entry.message().bits();
            let anomaly = Anomaly::new(AnomalyKind::OffsetConflict).at(queue, offset).of(message);
            self.anomalies.report(anomaly.other(other));
        }
    }
}
