//! Consume offsets: what is read back is the last acknowledged one, or one that was tried after it.

use super::QueueIndex;
use crate::anomaly::AnomalyKind;

/// One group on one queue.
#[derive(Debug)]
struct Committed {
    group: u32,
    queue: QueueIndex,
    /// The last one that was acknowledged, or seen.
    firm: Option<u64>,
    /// Tried since, outcome unknown; after a power cut also those before.
    tried: Vec<u64>,
}

/// All groups of a history. Sought from the end of a short list: histories of the judge have few groups.
#[derive(Debug, Default)]
pub(super) struct Commits {
    all: Vec<Committed>,
}

impl Commits {
    pub(super) fn reset(&mut self) {
        self.all.clear();
    }

    fn of(&mut self, group: u32, queue: QueueIndex) -> &mut Committed {
        let found = self.all.iter().position(|one| one.group == group && one.queue == queue);
        let index = found.unwrap_or_else(|| {
            self.all.push(Committed { group, queue, firm: None, tried: Vec::new() });
            self.all.len() - 1
        });
        &mut self.all[index]
    }

    pub(super) fn commit(&mut self, group: u32, queue: QueueIndex, offset: u64, acknowledged: bool) {
        let committed = self.of(group, queue);
        if acknowledged {
            committed.firm = Some(offset);
            committed.tried.clear();
        } else {
            committed.tried.push(offset);
        }
    }

    pub(super) fn loosen(&mut self) {
        for committed in &mut self.all {
            // Zero stands for "none is known any more": a reader starts from the beginning then, which is no loss.
            committed.tried.extend(committed.firm.take());
        }
    }

    /// Checks what the broker says; the error carries the offset that was owed.
    pub(super) fn read(
        &mut self,
        group: u32,
        queue: QueueIndex,
        offset: Option<u64>,
    ) -> Result<(), (AnomalyKind, u64)> {
        let committed = self.of(group, queue);
        let owed = committed.firm;
        let Some(offset) = offset else {
            return owed.map_or(Ok(()), |owed| Err((AnomalyKind::CommitRegress, owed)));
        };
        if owed == Some(offset) {
            return Ok(());
        }
        if committed.tried.contains(&offset) {
            committed.firm = Some(offset);
            return Ok(());
        }
        match owed {
            Some(owed) if offset < owed => Err((AnomalyKind::CommitRegress, owed)),
            _ => Err((AnomalyKind::CommitInvented, owed.unwrap_or(0))),
        }
    }
}
