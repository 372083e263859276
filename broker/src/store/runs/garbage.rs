//! Files that nothing names any more, and operations of what was abandoned: removals wait for them.

use crate::disk::{Completion, DiskDone, DiskError, DiskOp, DiskOpKind, FileName, OpId};
use std::collections::VecDeque;

/// What is left of runs that are given up.
#[derive(Debug, Default)]
pub(in crate::store) struct Garbage {
    waiting: VecDeque<FileName>,
    removing: Option<(OpId, FileName)>,
    /// Could not be removed; tried again after [`Garbage::retry`].
    stuck: Vec<FileName>,
    orphans: Vec<OpId>,
}

impl Garbage {
    /// A file to remove.
    pub(in crate::store) fn push(&mut self, file: FileName) {
        self.waiting.push_back(file);
    }

    /// Operations whose completions are still to come, and matter to nobody.
    pub(in crate::store) fn orphan(&mut self, in_flight: Vec<OpId>) {
        self.orphans.extend(in_flight);
    }

    /// What could not be removed is tried again.
    pub(in crate::store) fn retry(&mut self) {
        self.waiting.extend(self.stuck.drain(..));
    }

    /// Nothing is left.
    pub(in crate::store) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.removing.is_none() && self.orphans.is_empty()
    }

    /// Starts a removal, with at most `ops_free` operations; takes as many off it.
    pub(in crate::store) fn drive(
        &mut self,
        next_id: &mut impl FnMut() -> OpId,
        ops_free: &mut usize,
        out: &mut Vec<DiskOp>,
    ) {
        if *ops_free == 0 || self.removing.is_some() || !self.orphans.is_empty() {
            return;
        }
        let Some(file) = self.waiting.pop_front() else { return };
        let id = next_id();
        self.removing = Some((id, file));
        out.push(DiskOp { id, kind: DiskOpKind::Remove { file } });
        *ops_free -= 1;
    }

    /// Takes the completion of one of its operations.
    pub(in crate::store) fn on_disk(&mut self, completion: &mut Completion) -> Option<Result<(), DiskError>> {
        if let Some(index) = self.orphans.iter().position(|id| *id == completion.id) {
            self.orphans.swap_remove(index);
            completion.result = Ok(DiskDone::Done);
            return Some(Ok(()));
        }
        let (_, file) = self.removing.take_if(|(id, _)| *id == completion.id)?;
        let result = completion.result.as_ref().map(|_| ()).map_err(Clone::clone);
        if result.is_err() {
            self.stuck.push(file);
        }
        Some(result)
    }
}
