//! Questions to the index: first the recent entries, then the runs, newest first.
//!
//! The entries of a queue are in order everywhere: by offset, position and time at once. Runs hold them in the order of
//! the log, and memory holds the newest. So every question is for the border of a prefix ([`Bound`]), and it is asked of
//! one source only: the one in which the border lies.

use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};

use super::entry::IndexEntry;
use super::recent::Recent;
use super::run::{DirectoryRecord, Run, Span};
use super::{Cold, Index};
use crate::store::cache::BlockCache;

/// Divides a queue's entries: those below the bound come first.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Below: entries that end at or before this offset.
    Covers(QueueOffset),
    /// Below: entries stored before this millisecond.
    StoredAtOrAfter(u64),
    /// Below: entries before this position.
    Position(LogPosition),
}

/// Where the first entry that is not below a bound lies.
enum Found<'a> {
    Recent(&'a Recent, usize),
    Run(&'a Run, DirectoryRecord, u64),
    Nowhere,
}

impl Bound {
    fn entry_is_below(self, entry: &IndexEntry) -> bool {
        match self {
            Self::Covers(offset) => entry.next_offset() <= offset,
            Self::StoredAtOrAfter(time_ms) => entry.store_time_ms() < time_ms,
            Self::Position(position) => entry.position < position,
        }
    }

    /// Whether everything before `first` is below, whatever it is.
    fn preceding_is_below(self, first: &IndexEntry) -> bool {
        match self {
            Self::Covers(offset) => first.offset <= offset,
            Self::StoredAtOrAfter(_) | Self::Position(_) => self.entry_is_below(first),
        }
    }

    /// Whether all that a run holds of a queue is below.
    fn all_is_below(self, run: &Run, record: &DirectoryRecord) -> bool {
        match self {
            Self::Covers(offset) => record.next_offset <= offset,
            Self::StoredAtOrAfter(time_ms) => record.last_time_ms < time_ms,
            Self::Position(position) => run.header.end <= position,
        }
    }

    /// Whether all that older runs hold of the queue is below.
    fn older_is_below(self, run: &Run, record: &DirectoryRecord) -> bool {
        match self {
            Self::Covers(offset) => record.first_offset <= offset,
            Self::StoredAtOrAfter(time_ms) => record.first_time_ms < time_ms,
            Self::Position(position) => run.header.start <= position,
        }
    }

    fn span(self, record: &DirectoryRecord) -> Option<Span> {
        match self {
            Self::Covers(offset) => {
                Some(Span { first: record.first_offset.get(), end: record.next_offset.get(), target: offset.get() })
            }
            Self::StoredAtOrAfter(time_ms) => {
                Some(Span { first: record.first_time_ms, end: record.last_time_ms + 1, target: time_ms })
            }
            Self::Position(_) => None,
        }
    }

    fn key(self, entry: &IndexEntry) -> u64 {
        match self {
            Self::Covers(_) => entry.offset.get(),
            Self::StoredAtOrAfter(_) => entry.store_time_ms(),
            Self::Position(_) => entry.position.get(),
        }
    }
}

impl Index {
    /// Appends to `out` up to `entries_max` entries of a queue in order, from the one that covers `from` (or, when none does,
    /// the first one after it); none of them lies wholly below `min_offset`. Fewer do not mean that there are no more:
    /// only an empty answer does.
    ///
    /// # Errors
    /// [`Cold`]; nothing was appended then.
    pub fn find(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
        from: QueueOffset,
        min_offset: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Cold> {
        match self.first_not_below(cache, queue, Bound::Covers(from.max(min_offset)))? {
            Found::Recent(recent, start) => {
                let end = recent.len().min(start.saturating_add(entries_max));
                let mut next = start;
                while next < end {
                    let slice = recent.slice_from(next);
                    let count = slice.len().min(end - next);
                    out.extend_from_slice(&slice[..count]);
                    next += count;
                }
            }
            Found::Run(run, record, start) => run.copy_entries(cache, start, record.entry_end(), entries_max, out)?,
            Found::Nowhere => {}
        }
        Ok(())
    }

    /// The offset of the first message that was stored at `time_ms` or later; with `upper`, of the last one that was
    /// stored at `time_ms` or earlier. Nothing when there is none.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn find_by_time(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
        time_ms: u64,
        upper: bool,
    ) -> Result<Option<QueueOffset>, Cold> {
        if upper {
            let entry = self.last_stored_at_or_before(cache, queue, time_ms)?;
            return Ok(entry.map(|entry| QueueOffset::new(entry.next_offset().get() - 1)));
        }
        let found = self.first_not_below(cache, queue, Bound::StoredAtOrAfter(time_ms))?;
        Ok(found.entry(cache)?.map(|entry| entry.offset))
    }

    /// The first entry of a queue at or after a position of the log: after a trim, where the queue begins.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn first_at_or_after_position(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
        position: LogPosition,
    ) -> Result<Option<IndexEntry>, Cold> {
        self.first_not_below(cache, queue, Bound::Position(position))?.entry(cache)
    }

    /// The newest entry of a queue that is not trimmed; its `next_offset()` is the queue's next offset.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn newest(&self, cache: &mut BlockCache, queue: QueueId) -> Result<Option<IndexEntry>, Cold> {
        let newest = match self.recent.get(queue).and_then(Recent::last) {
            Some(entry) => Some(entry),
            None => match self.newest_record(cache, queue)? {
                Some((run, record)) => Some(run.entry(cache, record.entry_end() - 1)?),
                None => None,
            },
        };
        Ok(newest.filter(|entry| entry.position >= self.trimmed))
    }

    /// The next offset of a queue as far as its entries (also trimmed ones that are not gone yet) tell: nothing when it
    /// has none.
    ///
    /// # Errors
    /// [`Cold`].
    pub fn next_offset(&self, cache: &mut BlockCache, queue: QueueId) -> Result<Option<QueueOffset>, Cold> {
        if let Some(entry) = self.recent.get(queue).and_then(Recent::last) {
            return Ok(Some(entry.next_offset()));
        }
        Ok(self.newest_record(cache, queue)?.map(|(_, record)| record.next_offset))
    }

    /// The first entry of a queue that is neither below `bound` nor trimmed.
    fn first_not_below(&self, cache: &mut BlockCache, queue: QueueId, bound: Bound) -> Result<Found<'_>, Cold> {
        let below = |entry: &IndexEntry| bound.entry_is_below(entry) || entry.position < self.trimmed;
        let recent = self.recent.get(queue);
        let in_recent = |recent: &Recent| recent.first().is_some_and(|first| bound.preceding_is_below(&first));
        if !recent.is_some_and(in_recent) && !self.recent.is_removed(queue) {
            for (run, record) in self.candidates(cache, queue, bound)?.into_iter().rev() {
                let span = bound.span(&record);
                let ordinal = run.search(cache, &record, span, |entry| bound.key(entry), below)?;
                if ordinal < record.entry_end() {
                    return Ok(Found::Run(run, record, ordinal));
                }
            }
        }
        let Some(recent) = recent else { return Ok(Found::Nowhere) };
        let guess = match bound {
            Bound::Covers(offset) => recent.guess(offset).filter(|index| recent.get(*index).position >= self.trimmed),
            _ => None,
        };
        let index = guess.unwrap_or_else(|| recent.partition_point(below));
        Ok(if index < recent.len() { Found::Recent(recent, index) } else { Found::Nowhere })
    }

    /// The runs in which the first entry at or above `bound` may lie, newest first. When the directory of one is not in
    /// the cache, those of all others are wanted too, so that one wait is enough.
    fn candidates(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
        bound: Bound,
    ) -> Result<Vec<(&Run, DirectoryRecord)>, Cold> {
        let mut candidates = Vec::new();
        let mut waits = false;
        for run in self.runs.iter().rev().take_while(|run| run.header.end > self.trimmed) {
            let record = match run.record(cache, queue) {
                Err(Cold::NotYet) => {
                    waits = true;
                    continue;
                }
                record => record?,
            };
            let Some(record) = record else { continue };
            if !bound.all_is_below(run, &record) {
                candidates.push((&**run, record));
            }
            if bound.older_is_below(run, &record) {
                break;
            }
        }
        if waits { Err(Cold::NotYet) } else { Ok(candidates) }
    }

    fn last_stored_at_or_before(
        &self,
        cache: &mut BlockCache,
        queue: QueueId,
        time_ms: u64,
    ) -> Result<Option<IndexEntry>, Cold> {
        let later = Bound::StoredAtOrAfter(time_ms.saturating_add(1));
        let untrimmed = |entry: IndexEntry| Some(entry).filter(|entry| entry.position >= self.trimmed);
        if let Some(recent) = self.recent.get(queue) {
            let index = recent.partition_point(|entry| later.entry_is_below(entry));
            if index > 0 {
                return Ok(untrimmed(recent.get(index - 1)));
            }
        }
        if self.recent.is_removed(queue) {
            return Ok(None);
        }
        for run in self.runs.iter().rev().take_while(|run| run.header.end > self.trimmed) {
            let Some(record) = run.record(cache, queue)?.filter(|record| record.first_time_ms <= time_ms) else {
                continue;
            };
            let span = later.span(&record);
            let end =
                run.search(cache, &record, span, |entry| later.key(entry), |entry| later.entry_is_below(entry))?;
            return Ok(untrimmed(run.entry(cache, end - 1)?));
        }
        Ok(None)
    }

    /// The newest run that holds entries of a queue, and what it says of it.
    fn newest_record(&self, cache: &mut BlockCache, queue: QueueId) -> Result<Option<(&Run, DirectoryRecord)>, Cold> {
        if self.recent.is_removed(queue) {
            return Ok(None);
        }
        for run in self.runs.iter().rev() {
            if let Some(record) = run.record(cache, queue)? {
                return Ok(Some((run, record)));
            }
        }
        Ok(None)
    }
}

impl Found<'_> {
    fn entry(&self, cache: &mut BlockCache) -> Result<Option<IndexEntry>, Cold> {
        match self {
            Self::Recent(recent, index) => Ok(Some(recent.get(*index))),
            Self::Run(run, _, ordinal) => run.entry(cache, *ordinal).map(Some),
            Self::Nowhere => Ok(None),
        }
    }
}
