//! How far the log has come, in four positions, and the proofs that a reply needs.
//!
//! appended ≥ written ≥ durable are local facts; confirmed is what the replica group promises, and alone the group is
//! {me}: confirmed = own durable, or own written with `flush = "async"`. **Visible = confirmed**, and
//! [`Positions::visible`] is the only function that hands it out.
//!
//! A proof is a type: [`Durable`] is made by a flush's completion alone, [`Confirmed`] by the group's calculation alone,
//! and an [`Acked`] only from those that its mode lists.

use ringmq_proto::ids::{Epoch, LogPosition};

/// When a send is acknowledged, and what "confirmed" counts alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// On disk: survives a power cut.
    Sync,
    /// Handed to the disk, flushed every 500 ms: survives kill -9, not a power cut.
    Async,
}

/// What a waiting reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckMode {
    /// What the broker promises by its configuration: durable and confirmed, or written and confirmed.
    Promised,
    /// Written only (a send with WAIT=false). Visible at confirmed all the same.
    Written,
}

/// The bytes below have been handed to the disk and the disk said so.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    up_to: LogPosition,
}

/// The bytes below are on disk. Constructed by the completion of a flush alone.
#[derive(Clone, Copy, Debug)]
pub struct Durable {
    up_to: LogPosition,
    _only_flush: (),
}

/// The group promises the bytes below, in this epoch. Constructed by [`Positions`] alone.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// How far.
    pub up_to: LogPosition,
    /// In which term.
    pub epoch: Epoch,
}

/// Replies up to this position may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acked {
    up_to: LogPosition,
}

impl Acked {
    /// How far.
    pub fn up_to(self) -> LogPosition {
        self.up_to
    }
}

/// The four positions of one log.
#[derive(Clone, Copy, Debug)]
pub struct Positions {
    mode: FlushMode,
    epoch: Epoch,
    appended: LogPosition,
    written: Written,
    durable: Durable,
    confirmed: Confirmed,
}

impl Positions {
    /// After recovery: everything up to `end` was found and flushed.
    pub(super) fn recovered(mode: FlushMode, epoch: Epoch, end: LogPosition) -> Self {
        Self {
            mode,
            epoch,
            appended: end,
            written: Written { up_to: end },
            durable: Durable { up_to: end, _only_flush: () },
            confirmed: Confirmed { up_to: end, epoch },
        }
    }

    /// Behind the last appended record.
    pub fn appended(&self) -> LogPosition {
        self.appended
    }

    /// Behind the last written commit.
    pub fn written(&self) -> LogPosition {
        self.written.up_to
    }

    /// Behind the last flushed commit.
    pub fn durable(&self) -> LogPosition {
        self.durable.up_to
    }

    /// **The limit of every read**: pulls, wake-ups, max offsets, searches, queries. What the group has confirmed.
    pub fn visible(&self) -> LogPosition {
        self.confirmed.up_to
    }

    /// The term in which this log is written.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What may be answered in `mode`.
    pub fn acked(&self, mode: AckMode) -> Acked {
        let up_to = match (mode, self.mode) {
            (AckMode::Written, _) => self.written.up_to,
            (AckMode::Promised, FlushMode::Sync) => self.durable.up_to.min(self.confirmed.up_to),
            (AckMode::Promised, FlushMode::Async) => self.written.up_to.min(self.confirmed.up_to),
        };
        Acked { up_to }
    }

    pub(super) fn append(&mut self, end: LogPosition) {
        assert!(end > self.appended, "append to {end} behind {}", self.appended);
        self.appended = end;
    }

    /// A commit's write has completed.
    pub(super) fn write_completed(&mut self, end: LogPosition) {
        assert!(end <= self.appended && end > self.written.up_to, "written {end}, appended {}", self.appended);
        self.written = Written { up_to: end };
        self.confirm();
    }

    /// A flush that covers everything below `end` has completed.
    pub(super) fn flush_completed(&mut self, end: LogPosition) {
        assert!(end <= self.written.up_to && end >= self.durable.up_to, "durable {end}, written {}", self.written());
        self.durable = Durable { up_to: end, _only_flush: () };
        self.confirm();
    }

    /// The group's calculation: the minimum over the in-sync set of what each member reports; the set is {me}.
    fn confirm(&mut self) {
        let mine = match self.mode {
            FlushMode::Sync => self.durable.up_to,
            FlushMode::Async => self.written.up_to,
        };
        assert!(mine >= self.confirmed.up_to, "confirmed never goes back: {mine}, was {}", self.confirmed.up_to);
        self.confirmed = Confirmed { up_to: mine, epoch: self.epoch };
    }
}
