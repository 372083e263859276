//! Planted bugs: each a single wrong branch that the simulator has to find, so that a clean run means something.
//!
//! A hook is one line, `if mutant::active(Mutant::FlushSkipped) { … }`, at the place where a tired engineer would make
//! the mistake. Without the cargo feature `mutants` [`active`] is a constant `false`: no branch is left in the broker
//! that ships. With it, the simulator plants one mutant at a time, on its own thread.

/// One planted bug. The list of [`Mutant::ALL`] is what `ringmq-sim mutants` has to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// A reader sees records that were appended but not confirmed.
    VisibleBeforeConfirmed,
    /// The internal id of a deleted queue is given to a new one.
    QueueIdUsedAgain,
    /// A record of a MORE group is served although another of the group is damaged.
    HalfGroupServed,
    /// A commit header promises records that no flush has covered yet.
    MarkAheadOfFlush,
    /// A log that is opened for appending goes on with the epoch it had.
    OldEpochContinued,
    /// Appending starts before the superblock's promise is durable.
    SuperblockNotFlushedFirst,
    /// State is changed by records that are not confirmed.
    ApplyAboveConfirmed,
    /// The next queue offset forgets the unconfirmed tail.
    NextOffsetFromConfirmed,
    /// A failed write or flush of the log is taken for a success.
    FlushFailureIgnored,
    /// A failed flush of the log is tried again instead of stopping the shard.
    FlushFailureRetried,
    /// Commits are written without a flush.
    FlushSkipped,
    /// Commits that an older incarnation left beyond the cut are taken for the log's.
    StaleTailAccepted,
    /// Damage below the durable mark ends the log instead of being refused in place.
    DamagedMiddleCut,
    /// Recovery hands out the offset of the last message of a queue once more.
    OffsetGivenTwice,
    /// Replies leave when the commit is issued, not when it is durable.
    AcknowledgedEarly,
    /// A record that comes from disk is served without a look at its checksum.
    RecordUnchecked,
    /// The body's checksum of a commit is not compared.
    CommitBodyUnchecked,
    /// The checksum of the commit before is not compared.
    PreviousChecksumUnchecked,
    /// A new segment is used before its name is durable.
    SegmentNameNotSynced,
    /// A rolled segment starts one alignment unit late.
    RollOffByOne,
    /// Retention drops the state that only a dropped segment held.
    RetentionDropsOwed,
    /// An older consume offset, which retention says again, wins over a newer one.
    ConsumeOffsetFalls,
    /// The queues of a deleted topic stay readable.
    DeletedQueueReadable,
    /// Messages become visible and nobody tells the pulls that wait for them.
    WakeForgotten,
    /// A damaged record is reported as if nothing had ever been there.
    DamageReportedAbsent,
    /// A segment is recycled while a read of it is in flight.
    RecycledUnderRead,
    /// After a roll the last record of the old segment is missing in the queue index.
    IndexForgetsAtRoll,
    /// Neither snapshots nor retention say consume offsets again.
    OffsetsNotOwed,
    /// A snapshot does not say what was trimmed.
    SnapshotForgetsTrim,
    /// The first commit behind a snapshot is chained to nothing.
    SnapshotForgetsChecksum,
    /// What a lost run of the key index covered is never scanned again.
    KeyRunNotRebuilt,
    /// The key index serves messages that retention gave up.
    KeyServedBelowTrim,
    /// Retention lets a segment go without copying the pending messages in it.
    OwedRecordDropped,
    /// Retention copies a pending message whose end is already on its way to the disk.
    SettledOwedAgain,
    /// A timed message that is on its way to its queue is still taken for due.
    TimerDeliveredTwice,
    /// A timed message is delivered before its time.
    TimerDeliveredEarly,
    /// A half message that is being committed can be committed once more.
    HalfCommittedTwice,
    /// A snapshot does not say what is pending.
    SnapshotForgetsPending,
    /// A half message that an old snapshot still places below the trim is taken for pending.
    TrimmedHalfPending,
    /// A run of the index by due time leaves out which messages are settled.
    SettledComesBack,
    /// The end of a transaction is answered before it is durable.
    EndAnsweredEarly,
    /// A half that was asked about too often is delivered instead of given up.
    GivenUpHalfDelivered,
    /// A recalled message is said to be forgotten, and is delivered.
    RecallForgotten,
    /// A message that is sent back is said to come again, and does not.
    SentBackForgotten,
    /// What was found damaged is not said in the log, nor in snapshots.
    DamageForgotten,
    /// A damaged run of the queue index is never made again.
    IndexRunNotRebuilt,
    /// A run of the queue index that is made again lacks its first entry.
    RebuiltRunLacksEntry,
    /// A reader is told to skip what the disk merely failed to read once.
    ReadErrorSkips,
    /// What comes wrong from the disk is called damaged without reading it once more.
    DamagedAtFirstSight,
    /// A consume offset that remoting clients commit is answered, and not kept.
    CommitAnsweredNotKept,
    /// An offset that a pull carried wins over a newer one that was acknowledged.
    PullBorneCommitWins,
    /// A message that is sent back once too often goes to the dead letters twice.
    DeadLetterTwice,
    /// A message that is sent back once too often is said to go to the dead letters, and does not.
    DeadLetterForgotten,
    /// The last message of a batch that remoting clients send is acknowledged and not kept.
    BatchLastForgotten,
    /// A delayed message that a native client sends is acknowledged and not kept.
    NativeDelayForgotten,
    /// The lock of a queue is given to who asks, whoever has it.
    LockGivenTwice,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::VisibleBeforeConfirmed,
        Self::QueueIdUsedAgain,
        Self::HalfGroupServed,
        Self::MarkAheadOfFlush,
        Self::OldEpochContinued,
        Self::SuperblockNotFlushedFirst,
        Self::ApplyAboveConfirmed,
        Self::NextOffsetFromConfirmed,
        Self::FlushFailureIgnored,
        Self::FlushFailureRetried,
        Self::FlushSkipped,
        Self::StaleTailAccepted,
        Self::DamagedMiddleCut,
        Self::OffsetGivenTwice,
        Self::AcknowledgedEarly,
        Self::RecordUnchecked,
        Self::CommitBodyUnchecked,
        Self::PreviousChecksumUnchecked,
        Self::SegmentNameNotSynced,
        Self::RollOffByOne,
        Self::RetentionDropsOwed,
        Self::ConsumeOffsetFalls,
        Self::DeletedQueueReadable,
        Self::WakeForgotten,
        Self::DamageReportedAbsent,
        Self::RecycledUnderRead,
        Self::IndexForgetsAtRoll,
        Self::OffsetsNotOwed,
        Self::SnapshotForgetsTrim,
        Self::SnapshotForgetsChecksum,
        Self::KeyRunNotRebuilt,
        Self::KeyServedBelowTrim,
        Self::OwedRecordDropped,
        Self::SettledOwedAgain,
        Self::TimerDeliveredTwice,
        Self::TimerDeliveredEarly,
        Self::HalfCommittedTwice,
        Self::SnapshotForgetsPending,
        Self::TrimmedHalfPending,
        Self::SettledComesBack,
        Self::EndAnsweredEarly,
        Self::GivenUpHalfDelivered,
        Self::RecallForgotten,
        Self::SentBackForgotten,
        Self::DamageForgotten,
        Self::IndexRunNotRebuilt,
        Self::RebuiltRunLacksEntry,
        Self::ReadErrorSkips,
        Self::DamagedAtFirstSight,
        Self::CommitAnsweredNotKept,
        Self::PullBorneCommitWins,
        Self::DeadLetterTwice,
        Self::DeadLetterForgotten,
        Self::BatchLastForgotten,
        Self::NativeDelayForgotten,
        Self::LockGivenTwice,
    ];
}

/// Whether mutants can be planted in this build.
pub const PLANTABLE: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod planted {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether `mutant` is planted on this thread.
    #[inline]
    pub fn active(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    /// Plants `mutant` on this thread, instead of the one before; `None` makes the broker right again.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }
}

#[cfg(not(feature = "mutants"))]
mod planted {
    use super::Mutant;

    /// Whether `mutant` is planted on this thread: never, in this build.
    #[inline(always)]
    pub const fn active(_mutant: Mutant) -> bool {
        false
    }
}

pub use planted::*;
