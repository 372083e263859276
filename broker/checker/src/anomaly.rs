//! What can be wrong with a history, each with one meaning; and the bounded list that they are kept in.

use std::fmt;

use crate::identity::MessageId;
use crate::judge::QueueIndex;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One way in which a history can be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AnomalyKind { $($(#[$doc])* $name,)* }

        impl AnomalyKind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &[AnomalyKind] = &[$(AnomalyKind::$name,)*];

            /// The name that reports print.
            pub const fn name(self) -> &'static str {
                match self { $(AnomalyKind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// Acknowledged (or handed to a reader before), below what the final drain read, and not in it.
    Lost = "lost",
    /// Acknowledged (or handed to a reader before), beyond everything that the final drain read.
    UnseenTail = "unseen tail",
    /// Accepted for later (delayed, transactional) and never delivered to its queue.
    NeverDelivered = "never delivered",
    /// Read, but nobody sent it, or its bytes are not those that were sent.
    Phantom = "phantom read",
    /// Read, although every attempt to send it failed definitely.
    AbortedRead = "aborted read",
    /// One offset of one queue named two messages.
    OffsetConflict = "offset conflict",
    /// One message at more offsets than it had attempts that may have succeeded.
    Duplicate = "duplicate",
    /// An offset that cannot be: beyond all sends that were ever tried.
    OffsetImpossible = "impossible offset",
    /// A hole: the final drain of a queue found nothing at an offset between its first and last.
    OffsetHole = "offset hole",
    /// A read left out offsets, or began beyond the offset that was asked for.
    PollSkip = "poll skip",
    /// A read went backwards, began before the offset that was asked for, or its next offset does not follow its last.
    NonMonotonicPoll = "non-monotonic poll",
    /// Two sends of one producer to one queue, each tried once, got offsets against their order.
    NonMonotonicSend = "non-monotonic send",
    /// A queue's visible end went backwards.
    VisibleRegress = "visible end regress",
    /// A group's consume offset is older than the one that was acknowledged.
    CommitRegress = "commit regress",
    /// A group's consume offset is one that nobody committed.
    CommitInvented = "commit invented",
    /// The log and the queue index do not name the same messages.
    QueueNotLog = "queue is not log",
    /// Two observers computed different rolling hashes of the same messages.
    RollingHashMismatch = "rolling hash mismatch",
    /// An acknowledgement left before its position was proven.
    AckWithoutProof = "ack without proof",
    /// More memory in use than the limit allows.
    MemoryOverLimit = "memory over limit",
    /// The history ended with a queue that was never drained: its messages were not judged.
    NotDrained = "not drained",
    /// An outcome for a message that nobody sent, or more outcomes than attempts.
    OutcomeWithoutSend = "outcome without send",
}

/// One thing that is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What is wrong.
    pub kind: AnomalyKind,
    /// The queue, when one is concerned.
    pub queue: Option<QueueIndex>,
    /// The offset in that queue (of a commit: the offset that was read).
    pub offset: Option<u64>,
    /// The message, when one is concerned.
    pub message: Option<MessageId>,
    /// What it should have been, or the other one: an offset, a message's id or a hash, by kind.
    pub other: Option<u64>,
}

impl Anomaly {
    pub(crate) const fn new(kind: AnomalyKind) -> Self {
        Self { kind, queue: None, offset: None, message: None, other: None }
    }

    pub(crate) const fn at(mut self, queue: QueueIndex, offset: u64) -> Self {
        self.queue = Some(queue);
        self.offset = Some(offset);
        self
    }

    pub(crate) const fn of(mut self, message: MessageId) -> Self {
        self.message = Some(message);
        self
    }

    pub(crate) const fn other(mut self, other: u64) -> Self {
        self.other = Some(other);
        self
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(queue) = self.queue {
            write!(f, ", queue {}", queue.0)?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(message) = self.message {
            write!(f, ", message {message}")?;
        }
        if let Some(other) = self.other {
            write!(f, ", other {other}")?;
        }
        Ok(())
    }
}

/// The anomalies of one history: all counted by kind, the first [`Anomalies::KEPT_MAX`] kept.
#[derive(Clone, Debug)]
pub struct Anomalies {
    kept: Vec<Anomaly>,
    counts: [u64; AnomalyKind::ALL.len()],
}

impl Default for Anomalies {
    fn default() -> Self {
        Self { kept: Vec::new(), counts: [0; AnomalyKind::ALL.len()] }
    }
}

impl Anomalies {
    /// How many are kept with their details. When reached: further ones are only counted.
    pub const KEPT_MAX: usize = 64;

    pub(crate) fn report(&mut self, anomaly: Anomaly) {
        self.counts[anomaly.kind as usize] += 1;
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(anomaly);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.counts.fill(0);
    }

    /// Takes out those of a kind that is no fault here.
    pub(crate) fn excuse(&mut self, kind: AnomalyKind) {
        self.counts[kind as usize] = 0;
        self.kept.retain(|anomaly| anomaly.kind != kind);
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// All of them, also those that are not kept.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many there are of one kind.
    pub fn count(&self, kind: AnomalyKind) -> u64 {
        self.counts[kind as usize]
    }

    /// The first ones, with details.
    pub fn kept(&self) -> &[Anomaly] {
        &self.kept
    }

    /// Adds those of another list, as a judge of several parts does.
    pub fn absorb(&mut self, other: &Anomalies) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        let room = Self::KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.iter().take(room));
    }
}

impl fmt::Display for Anomalies {
    /// One line per kept anomaly, then the counts when more were found than kept; "sound" when there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("sound");
        }
        for anomaly in &self.kept {
            writeln!(f, "{anomaly}")?;
        }
        for &kind in AnomalyKind::ALL {
            if self.count(kind) > 0 {
                write!(f, "[{} x {}] ", self.count(kind), kind.name())?;
            }
        }
        Ok(())
    }
}
