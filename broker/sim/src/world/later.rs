//! The books of messages for later: what was promised of each, when it may be seen at the earliest, and how it may end.
//!
//! The judge counts places and knows what must come. What it cannot know is kept here: that nothing comes before its time, that
//! a half is invisible until somebody commits it and is ended once, that a message which nobody ends is given up, and that each
//! send-back brings one more copy. What became of a message is told to the judge at the end, when nothing can change it.

use super::ledger::Ledger;
use ringmq_broker::shard::settings::{DelayLevels, Features};
use ringmq_checker::{MessageId, Outcome, QueueIndex};
use ringmq_proto::ids::LogPosition;
use std::collections::{BTreeMap, BTreeSet};

/// How long the delay levels of a world wait, ms.
pub(super) const LEVELS_MS: [u64; 3] = [1000, 5000, 30_000];

/// The producer of a half is asked after so long, and then again and again, ms.
const ASKED_AFTER_MS: u64 = 2000;
const ASKED_AGAIN_MS: u64 = 3000;
const ASKED_MAX: u32 = 2;

/// Before that nobody gives a half up, ms.
const GIVEN_UP_AFTER_MS: u64 = ASKED_AFTER_MS + ASKED_MAX as u64 * ASKED_AGAIN_MS;

/// What a world's shard offers: short times, so that they end within a history.
pub(super) fn features() -> Features {
    Features {
        delay_levels: DelayLevels::parse("1s 5s 30s").unwrap_or_default(),
        transaction_timeout_ms: ASKED_AFTER_MS,
        transaction_check_interval_ms: ASKED_AGAIN_MS,
        transaction_check_max: ASKED_MAX,
        ..Features::default()
    }
}

/// Why a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For the end of a delay level, or for a time that cannot be recalled any more.
    Delay,
    /// For a time of its own.
    Timer,
    /// For the end of its transaction.
    Half,
}

/// One message for later.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Why it waits.
    pub kind: Kind,
    /// The topic and queue number that it goes to.
    pub to: (usize, u32),
    /// The queue that this is, since a promise was given.
    pub queue: Option<QueueIndex>,
    /// It is not stored in its queue before, wall ms. Of a half: since its first commit has left.
    pub not_before_ms: u64,
    /// When it was sent, wall ms.
    pub sent_ms: u64,
    /// Its send was acknowledged.
    pub accepted: bool,
    /// Its send was refused.
    pub refused: bool,
    /// Of a half: position and offset of its first copy, which ends name.
    pub origin: Option<(u64, u64)>,
    /// Of a half: commits, and all ends, that ever left a client.
    pub commits_left: u32,
    /// The same for commits and rollbacks.
    pub ends_left: u32,
    /// Its end was acknowledged: it was committed, rolled back.
    pub committed: bool,
    /// Its end was acknowledged: it was rolled back, or recalled.
    pub cancelled: bool,
    /// Of a timed message: what recalls it.
    pub handle: Option<String>,
    /// Recalls that may have had an effect, and nobody said so.
    pub recalls_in_doubt: u32,
    seen: bool,
    given_up: bool,
}

impl Waiting {
    /// A message that leaves its client.
    pub(super) fn new(kind: Kind, to: (usize, u32), sent_ms: u64, not_before_ms: u64) -> Self {
        Self {
            kind,
            to,
            queue: None,
            not_before_ms,
            sent_ms,
            accepted: false,
            refused: false,
            origin: None,
            commits_left: 0,
            ends_left: 0,
            committed: false,
            cancelled: false,
            handle: None,
            recalls_in_doubt: 0,
            seen: false,
            given_up: false,
        }
    }

    fn outcome(&self) -> Outcome {
        let owed = match self.kind {
            Kind::Half => self.committed,
            Kind::Delay | Kind::Timer => self.accepted && self.recalls_in_doubt == 0,
        };
        match self.queue {
            _ if self.refused || self.cancelled => Outcome::Failed,
            Some(queue) if owed => Outcome::OkLater { queue },
            _ => Outcome::Unknown,
        }
    }
}

/// One message that a consumer sent back.
#[derive(Clone, Copy, Debug)]
struct Back {
    /// Not stored again before, wall ms.
    not_before_ms: u64,
    /// For the dead letters.
    dead: bool,
    promised: bool,
    refused: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Later {
    waiting: BTreeMap<MessageId, Waiting>,
    backs: BTreeMap<MessageId, Vec<Back>>,
    copies: BTreeMap<MessageId, BTreeSet<(QueueIndex, u64)>>,
    /// A record was damaged at rest that says that messages wait, or have ended: they may come twice, or never.
    in_doubt: bool,
    /// Somebody sets the clock: no time that is counted from another means anything.
    clock_is_set: bool,
}

impl Later {
    /// Empty books.
    pub(super) fn new(clock_is_set: bool) -> Self {
        Self { clock_is_set, ..Self::default() }
    }

    /// Times can be held against each other.
    pub(super) fn clock_is_sound(&self) -> bool {
        !self.clock_is_set
    }

    /// A time that is counted from now, if that means something.
    pub(super) fn counted(&self, wall_ms: u64, wait_ms: u64) -> u64 {
        if self.clock_is_set { 0 } else { wall_ms + wait_ms }
    }

    /// Nobody can say how often a message comes.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// A message for later leaves.
    pub(super) fn sent(&mut self, message: MessageId, waiting: Waiting) {
        self.waiting.insert(message, waiting);
    }

    /// What is known of one.
    pub(super) fn get(&mut self, message: MessageId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&message)
    }

    /// Halves that can be ended, and what was done so far.
    pub(super) fn halves(&self) -> impl Iterator<Item = (MessageId, &Waiting)> {
        let halves = self.waiting.iter().filter(|(_, waiting)| waiting.kind == Kind::Half && waiting.origin.is_some());
        halves.map(|(message, waiting)| (*message, waiting))
    }

    /// Timed messages that can be recalled.
    pub(super) fn timers(&self) -> impl Iterator<Item = (MessageId, &Waiting)> {
        self.waiting
            .iter()
            .filter(|(_, waiting)| waiting.handle.is_some())
            .map(|(message, waiting)| (*message, waiting))
    }

    /// Whether nobody can have ended this half yet, but for `others` ends that left.
    pub(super) fn must_be_pending(&self, message: MessageId, others: u32, wall_ms: u64) -> bool {
        let Some(half) = self.waiting.get(&message) else { return false };
        let too_young = wall_ms < half.sent_ms + GIVEN_UP_AFTER_MS;
        half.ends_left <= others && too_young && !self.clock_is_set && !self.in_doubt
    }

    /// A message is sent back; gives the number of the attempt.
    pub(super) fn sent_back(&mut self, message: MessageId, not_before_ms: u64, dead: bool) -> usize {
        let backs = self.backs.entry(message).or_default();
        backs.push(Back { not_before_ms, dead, promised: false, refused: false });
        backs.len() - 1
    }

    /// The attempt was acknowledged, or refused.
    pub(super) fn back_answered(&mut self, message: MessageId, attempt: usize, promised: bool) {
        if let Some(back) = self.backs.get_mut(&message).and_then(|backs| backs.get_mut(attempt)) {
            (back.promised, back.refused) = (promised, !promised);
        }
    }
}

impl Ledger {
    /// A record that says that messages wait, or have ended, was damaged at rest: each may be delivered once more.
    pub(super) fn ends_damaged(&mut self) {
        self.later.in_doubt = true;
        let messages: Vec<MessageId> = self.later.waiting.keys().copied().collect();
        for message in messages {
            self.judge.send(message);
            self.judge.outcome(message, Outcome::Unknown);
        }
    }

    /// A reader saw a message, stored at this time.
    pub(super) fn later_seen(&mut self, message: MessageId, queue: QueueIndex, offset: u64, store_time_ms: u64) {
        let topic = &self.topics[self.queue(queue).topic];
        let later = &mut self.later;
        let early = |not_before_ms: u64| {
            (store_time_ms < not_before_ms)
                .then(|| format!("{message} is stored at {store_time_ms}, and not due before {not_before_ms}"))
        };
        let wrong = if topic.redelivery {
            later.copies.entry(message).or_default().insert((queue, offset));
            match later.backs.get(&message).and_then(|backs| backs.iter().map(|back| back.not_before_ms).min()) {
                None => Some(format!("{message} comes again, and nobody sent it back")),
                Some(not_before_ms) => early(not_before_ms),
            }
        } else if let Some(waiting) = later.waiting.get_mut(&message) {
            let given_up = topic.name == super::ledger::MADE_BY_THE_BROKER[0].0;
            if given_up {
                waiting.given_up = true;
                let ended = waiting.kind != Kind::Half || waiting.committed || waiting.cancelled;
                ended.then(|| format!("{message} is given up: {waiting:?}"))
            } else {
                waiting.seen = true;
                let half = waiting.kind == Kind::Half;
                let hidden = (half && waiting.commits_left == 0) || waiting.cancelled;
                hidden.then(|| format!("{message} is seen: {waiting:?}")).or_else(|| early(waiting.not_before_ms))
            }
        } else {
            None
        };
        if let Some(wrong) = wrong.filter(|_| !self.later.in_doubt) {
            self.wrong(|| wrong);
        }
    }

    /// A half was rolled back, or a timed message recalled, and that was acknowledged.
    pub(super) fn cancelled(&mut self, message: MessageId) {
        let in_doubt = self.later.in_doubt;
        let Some(waiting) = self.later.get(message) else { return };
        let contradiction = waiting.seen || waiting.given_up || waiting.committed || waiting.cancelled;
        waiting.cancelled = true;
        if contradiction && !in_doubt {
            let text = format!("{message} was cancelled, although it had ended: {waiting:?}");
            self.wrong(|| text);
        }
    }

    /// A half was committed, and that was acknowledged.
    pub(super) fn committed(&mut self, message: MessageId, queue: QueueIndex) {
        let in_doubt = self.later.in_doubt;
        let Some(waiting) = self.later.get(message) else { return };
        let contradiction = waiting.given_up || waiting.committed || waiting.cancelled;
        (waiting.committed, waiting.queue) = (true, Some(queue));
        if contradiction && !in_doubt {
            let text = format!("{message} was committed, although it had ended: {waiting:?}");
            self.wrong(|| text);
        }
    }

    /// The history is over, everything is due and was read: what was promised has come, and what was not has not.
    pub(super) fn judge_later(&mut self, log_start: LogPosition) {
        // Behind damage the broker may not know what was trimmed of a queue that nobody has read.
        let in_doubt = self.damaged && log_start > LogPosition::ZERO;
        let outcome = |waiting: &Waiting| match waiting.outcome() {
            _ if self.later.in_doubt => Outcome::Unknown,
            Outcome::OkLater { .. } if in_doubt && !waiting.seen => Outcome::Unknown,
            outcome => outcome,
        };
        let told: Vec<_> = self.later.waiting.iter().map(|(message, waiting)| (*message, outcome(waiting))).collect();
        for (message, outcome) in told {
            self.judge.outcome(message, outcome);
        }
        let copies = |message: &MessageId| self.later.copies.get(message).map_or(0, BTreeSet::len);
        let mut wrong = None;
        for (message, backs) in &self.later.backs {
            let possible = backs.iter().filter(|back| !back.refused).count();
            if copies(message) > possible && !self.later.in_doubt {
                wrong =
                    Some(format!("{message} was sent back {possible} times and came again {} times", copies(message)));
            }
        }
        // What was hit by damage is known to the judge alone, and no order of times means anything when clocks are set.
        if !self.damaged && !self.later.clock_is_set {
            wrong = wrong.or_else(|| self.missing());
        }
        if let Some(wrong) = wrong {
            self.wrong(|| wrong);
        }
    }

    /// Something that must have come, and be there still.
    fn missing(&self) -> Option<String> {
        for (message, waiting) in &self.later.waiting {
            let queue = waiting.queue.filter(|_| matches!(waiting.outcome(), Outcome::OkLater { .. }));
            if let Some(queue) = queue.filter(|queue| !waiting.seen && self.must_hold(*queue, waiting.not_before_ms)) {
                return Some(format!("{message} was promised to {queue:?} and never came: {waiting:?}"));
            }
            let forgotten = waiting.kind == Kind::Half && waiting.accepted && waiting.ends_left == 0;
            let given_up_at_ms = waiting.sent_ms + GIVEN_UP_AFTER_MS;
            if forgotten && !waiting.given_up && self.made_must_hold(0, given_up_at_ms) {
                return Some(format!("{message} was ended by nobody, and is not given up: {waiting:?}"));
            }
        }
        for (message, backs) in &self.later.backs {
            for (made, dead) in [(1, false), (2, true)] {
                let owed =
                    |back: &&Back| back.promised && back.dead == dead && self.made_must_hold(made, back.not_before_ms);
                let owed = backs.iter().filter(owed).count();
                let is_there = |(queue, _): &&(QueueIndex, u64)| self.queue(*queue).topic == self.made(made);
                let came = self.later.copies.get(message).map_or(0, |copies| copies.iter().filter(is_there).count());
                if came < owed {
                    return Some(format!(
                        "{message} was sent back {owed} times and came again {came} times: {backs:?}"
                    ));
                }
            }
        }
        None
    }

    /// The index of one of the topics that the broker makes.
    fn made(&self, number: usize) -> usize {
        self.topics.len() - super::ledger::MADE_BY_THE_BROKER.len() + number
    }

    /// The same of the only queue of a topic that the broker makes.
    fn made_must_hold(&self, number: usize, not_before_ms: u64) -> bool {
        let topic = self.made(number);
        let queue = self.queues().find(|(_, queue)| queue.topic == topic).map(|(index, _)| index);
        queue.is_none_or(|queue| self.must_hold(queue, not_before_ms))
    }

    /// Whether a message that was not stored before that time is still in the queue: retention has not come so far.
    fn must_hold(&self, queue: QueueIndex, not_before_ms: u64) -> bool {
        let books = self.queue(queue);
        let first_ms = books.drained_from.and_then(|min| books.store_times.range(min..).next().map(|(_, time)| *time));
        let from_the_start = books.drained_from == Some(0);
        !books.deleted && (from_the_start || first_ms.is_some_and(|first_ms| first_ms < not_before_ms))
    }
}
