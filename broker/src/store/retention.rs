//! Letting old segments go, without losing what they still say.
//!
//! 1. **Choose** a segment's start P by size or age: a decision of the master, made here and written down in step 3.
//! 2. **Pay what is owed**: every topic, group, offset and queue floor whose last record lies below P is appended again,
//!    in slices, each with the position of the record that said it first (a newer one may be on its way). Then pending
//!    messages that lie below P are copied (`store::pending`), a slice per commit: halves, then those that the index by due
//!    time finds, batch by batch.
//! 3. **Trim**: a record says "everything below P is gone". Applied when confirmed; min offsets follow from it.
//! 4. **Release**, when the trim record is durable and no read of the segment is in flight: it becomes a spare.
//!
//! A crash before 3 is durable leaves the segments and some repeated records, which do no harm. After it, recovery removes
//! what lies below P.

use super::Store;
use super::limits::{PENDING_COPY_BYTES_MAX, PENDING_COPY_BYTES_MIN};
use super::pending::{OwedNext, Paid, Pending};
use super::state::records::StateRecord;
use super::state::snapshot::Cursor;
use crate::disk::DiskOp;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use ringmq_proto::ids::LogPosition;

/// Steps of the walk in one slice.
const WALK_STEPS: usize = 256;

/// Where a run of retention has come to.
#[derive(Debug, Default)]
pub(super) enum RetentionRun {
    #[default]
    Idle,
    /// Step 2.
    Paying(Paying),
    /// Step 3: waits until the log is durable up to `end`.
    Trimming { end: LogPosition },
}

/// Step 2 under way.
#[derive(Debug)]
pub(super) struct Paying {
    target: LogPosition,
    cursor: Cursor,
    /// Behind the cursor: the last delayed or timed message of the batch that is paid.
    later_to: LogPosition,
    /// Behind the last slice. The next one waits until the log is written up to here.
    slice_end: LogPosition,
    /// The last slice found no room, or something that is not yet applied: the next one is not to be hurried.
    stalled: bool,
}

/// What one slice has done.
struct Slice {
    /// Pending messages that it may copy.
    bytes_max: u64,
    /// Behind its last record.
    end: LogPosition,
    copied_bytes: u64,
    /// The last pending message that is paid.
    paid_to: Option<LogPosition>,
}

impl Store {
    /// Step 1, asked about once a second.
    pub(super) fn consider_retention(&mut self, now: Now) {
        if !matches!(self.retention, RetentionRun::Idle) {
            return;
        }
        if let Some(target) = self.retention_target(now) {
            let cursor = if mutant::active(Mutant::RetentionDropsOwed) { Cursor::Done } else { Cursor::start() };
            let (later_to, slice_end) = (LogPosition::ZERO, self.positions.written());
            self.retention = RetentionRun::Paying(Paying { target, cursor, later_to, slice_end, stalled: false });
        }
    }

    /// The start of the first segment to keep, if one before it has to go. The segment that is written, and the one before
    /// what is confirmed, stay.
    fn retention_target(&self, now: Now) -> Option<LogPosition> {
        let files = self.segments.files();
        let visible = self.positions.visible();
        let mut target = None;
        let mut newer_time = u64::MAX;
        let mut expired_to = None;
        if let Some(age_ms) = self.options.retention.age_ms {
            // After a restart, segments that were not scanned do not know their times: the next one's bounds them.
            for (segment, next) in files.iter().zip(files.iter().skip(1)).rev() {
                if segment.store_time_ms_max > 0 {
                    newer_time = segment.store_time_ms_max;
                }
                if expired_to.is_none() && newer_time.saturating_add(age_ms) < now.wall_ms {
                    expired_to = Some(next.start);
                }
            }
        }
        for next in files.iter().skip(1) {
            let before = LogPosition::new(next.start.get() - self.segments.size_bytes());
            let kept = visible.get().saturating_sub(before.get());
            let too_many = self.options.retention.bytes.is_some_and(|bytes| kept > bytes);
            let too_old = expired_to.is_some_and(|to| next.start <= to);
            if (too_many || too_old) && next.start <= visible {
                target = Some(next.start);
            } else {
                break;
            }
        }
        target.filter(|target| *target > self.state.trim())
    }

    /// Steps 2 to 4, in slices.
    pub(super) fn retention_work(&mut self, now: Now, ops: &mut Vec<DiskOp>) {
        match std::mem::take(&mut self.retention) {
            RetentionRun::Idle => {}
            RetentionRun::Paying(paying) if self.positions.written() >= paying.slice_end => {
                self.retention = self.pay(now, paying);
            }
            RetentionRun::Trimming { end } if self.positions.durable() >= end => {}
            waiting => self.retention = waiting,
        }
        self.release_segments(ops);
    }

    /// A slice may be paid now.
    pub(super) fn retention_is_ready(&self) -> bool {
        matches!(&self.retention, RetentionRun::Paying(paying) if self.positions.written() >= paying.slice_end)
    }

    /// A slice may be paid now, and nothing else will say so.
    pub(super) fn retention_wants_tick(&self) -> bool {
        let stalled = matches!(&self.retention, RetentionRun::Paying(paying) if paying.stalled);
        self.retention_is_ready() && !stalled && !self.cache.is_busy()
    }

    fn pay(&mut self, now: Now, Paying { target, mut cursor, mut later_to, slice_end, .. }: Paying) -> RetentionRun {
        // The log must not outgrow its limit while this goes on, however fast it grows.
        let grown_bytes = self.positions.appended().since(slice_end);
        let bytes_max = (grown_bytes / 2).clamp(PENDING_COPY_BYTES_MIN, PENDING_COPY_BYTES_MAX);
        let before = cursor.clone();
        let mut owed = Vec::new();
        self.state.walk(&mut cursor, WALK_STEPS, target, |position, record| owed.push((position, record)));
        let mut slice = Slice { bytes_max, end: slice_end, copied_bytes: 0, paid_to: None };
        let mut stalled = false;
        for (position, mut record) in owed {
            if let StateRecord::Floor { queue, next_offset } = &mut record
                && let Some(queue) = self.state.queues.get(*queue)
            {
                // Messages that are on their way lie before this record: where it stands, they are counted.
                *next_offset = queue.next_offset;
            }
            let paid = match record {
                StateRecord::Pending(entry) => self.pay_slice(now, &entry, target, &mut slice),
                record => self.append_state(&record, Some(position)).map(|appended| slice.end = appended.end).is_ok(),
            };
            if !paid {
                // Small state of this slice is paid again later, which does no harm.
                stalled = slice.copied_bytes < bytes_max;
                cursor = slice.paid_to.map_or(before, Cursor::Pending);
                return RetentionRun::Paying(Paying { target, cursor, later_to, slice_end: slice.end, stalled });
            }
        }
        if cursor == Cursor::Done && self.pay_later(now, target, &mut later_to, &mut slice) {
            let trim = self.state.trim_record(target, self.store_time_ms);
            match self.append_state(&StateRecord::Trim(trim), None) {
                Ok(appended) => return RetentionRun::Trimming { end: appended.end },
                Err(_) => stalled = true,
            }
        } else if cursor == Cursor::Done {
            stalled = slice.copied_bytes < bytes_max;
        }
        RetentionRun::Paying(Paying { target, cursor, later_to, slice_end: slice.end, stalled })
    }

    /// Pays for delayed and timed messages; true when none is owed any more. `paid_to`: the last one of the batch.
    fn pay_later(&mut self, now: Now, target: LogPosition, paid_to: &mut LogPosition, slice: &mut Slice) -> bool {
        loop {
            match self.state.pending.later.owed_next(target, *paid_to) {
                OwedNext::Done => return true,
                OwedNext::Collecting => {
                    *paid_to = LogPosition::ZERO;
                    return false;
                }
                OwedNext::Entry(entry) => {
                    if !self.pay_slice(now, &entry, target, slice) {
                        return false;
                    }
                    *paid_to = entry.origin;
                }
            }
        }
    }

    /// Pays for a pending message; false when the slice ends before it.
    fn pay_slice(&mut self, now: Now, entry: &Pending, target: LogPosition, slice: &mut Slice) -> bool {
        if slice.copied_bytes >= slice.bytes_max {
            return false;
        }
        match self.pay_pending(now, entry, target) {
            Ok(Paid::Yes { end, bytes }) => {
                slice.end = slice.end.max(end);
                slice.copied_bytes += bytes;
                slice.paid_to = Some(entry.origin);
                true
            }
            Ok(Paid::NotYet) | Err(_) => false,
        }
    }

    fn release_segments(&mut self, ops: &mut Vec<DiskOp>) {
        if matches!(self.retention, RetentionRun::Trimming { .. }) || self.segments.is_leaving() {
            return;
        }
        // With `flush = "async"` a confirmed trim may still be lost, and what it took from index and log with it.
        if self.positions.durable() < self.trim_record_end {
            return;
        }
        let trim = self.state.trim();
        self.index.trim(trim);
        self.keys.trim(trim);
        self.state.pending.later.trim(trim);
        let files = self.segments.files();
        let Some(oldest) = files.front().filter(|segment| files.len() > 1 && segment.start < trim) else { return };
        let file = oldest.file();
        if oldest.start.plus(self.segments.size_bytes()) > trim {
            return;
        }
        if self.cache.is_loading(file) && !mutant::active(Mutant::RecycledUnderRead) {
            return;
        }
        self.cache.forget(file);
        self.segments.release_oldest(&mut self.ids, ops);
        self.metrics.segments_released += 1;
    }
}
