//! What a leaving segment owes: pending messages that lie below its end, collected in the order of due times, given in that of
//! their origins, so that the segment is read in order.
//!
//! A batch is collected from all there is, and given to retention, until the walk is through. What is settled or copied in
//! the meantime is taken out of the batch; what comes in the meantime lies above the target.

use super::near::Walked;
use super::scan::Scan;
use super::{DueIndex, DueKey};
use crate::store::pending::record::Pending;
use ringmq_proto::ids::LogPosition;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

#[derive(Debug)]
pub(super) struct Owed {
    target: LogPosition,
    /// Stands at `next`.
    pub(super) scan: Option<Scan>,
    next: DueKey,
    pub(super) batch: BTreeMap<LogPosition, Pending>,
    pub(super) is_collected: bool,
    is_through: bool,
}

/// What retention is to copy next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum OwedNext {
    /// This.
    Entry(Pending),
    /// It is being looked for. The next batch begins anew.
    Collecting,
    /// Nothing more.
    Done,
}

impl DueIndex {
    /// The next message that lies below `target`, of a batch in which all up to the origin `after` were copied.
    pub(in crate::store) fn owed_next(&mut self, target: LogPosition, after: LogPosition) -> OwedNext {
        if self.owed.as_ref().is_none_or(|owed| owed.target != target) {
            self.drop_owed_scan();
            let batch = BTreeMap::new();
            let next = DueKey::MIN;
            self.owed = Some(Owed { target, scan: None, next, batch, is_collected: false, is_through: false });
        }
        let Some(owed) = &mut self.owed else { return OwedNext::Collecting };
        if !owed.is_collected {
            return OwedNext::Collecting;
        }
        let from = if after == LogPosition::ZERO { Unbounded } else { Excluded(after) };
        if let Some((_, entry)) = owed.batch.range((from, Unbounded)).next() {
            return OwedNext::Entry(*entry);
        }
        owed.batch.clear();
        if owed.is_through && !self.incomplete {
            return OwedNext::Done;
        }
        owed.is_collected = owed.is_through;
        OwedNext::Collecting
    }

    /// The message was settled, or lies elsewhere.
    pub(super) fn owed_no_more(&mut self, key: DueKey) {
        if let Some(owed) = &mut self.owed {
            owed.batch.remove(&key.origin);
        }
    }

    pub(super) fn drop_owed_scan(&mut self) {
        if let Some(scan) = self.owed.as_mut().and_then(|owed| owed.scan.take()) {
            self.garbage.orphan(scan.in_flight());
        }
    }

    /// One slice of collecting. True when there is more to do at once, for this or for who copies what was collected.
    pub(super) fn collect_owed(&mut self) -> bool {
        if self.suspended {
            return false;
        }
        let Some(mut owed) = self.owed.take_if(|owed| !owed.is_collected) else { return false };
        let mut scan = owed.scan.take().unwrap_or_else(|| self.scan_owed(&owed));
        let mut found = Vec::new();
        let walked = self.walk(&mut scan, owed.next, usize::MAX, &mut found);
        let target = owed.target;
        let below = found.into_iter().filter(|entry| entry.position < target);
        owed.batch.extend(below.map(|entry| (entry.origin, entry)));
        match walked {
            Walked::To(key) | Walked::NotYet(key) => (owed.next, owed.scan) = (key, Some(scan)),
            Walked::End => (owed.is_collected, owed.is_through) = (true, true),
        }
        owed.is_collected |= owed.batch.len() >= self.limits.owed_entry_count_max;
        let waits = matches!(walked, Walked::NotYet(_)) && !owed.is_collected;
        self.owed = Some(owed);
        !waits
    }

    /// A scan of the runs; of none when nothing in them lies so low.
    fn scan_owed(&self, owed: &Owed) -> Scan {
        if self.runs.iter().any(|run| run.header.position_min < owed.target) {
            self.scan_from(owed.next)
        } else {
            Scan::new(std::iter::empty(), owed.next)
        }
    }
}
