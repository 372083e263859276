//! One message by due time and origin.

use super::{DueIndex, DueKey};
use crate::store::cache::BlockCache;
use crate::store::index::Cold;
use crate::store::pending::record::Pending;

/// What is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueFound {
    /// It is pending.
    Pending(Pending),
    /// Nothing of this name is pending (any more).
    Nothing,
    /// Blocks are being loaded: ask again when a load has ended.
    NotYet,
    /// The index cannot be read: what went wrong.
    Failed(String),
}

impl DueIndex {
    /// Looks for a message, wherever its newest word lies.
    pub(in crate::store) fn find(&mut self, cache: &mut BlockCache, key: DueKey) -> DueFound {
        let trimmed = self.trimmed;
        let answer = |said: Option<Pending>| {
            said.filter(|entry| entry.position >= trimmed).map_or(DueFound::Nothing, DueFound::Pending)
        };
        let memory = self.recent.get(&key).or_else(|| self.frozen().and_then(|table| table.get(&key)));
        if let Some(said) = memory.copied().or_else(|| self.near.get(&key).map(|entry| Some(*entry))) {
            return answer(said);
        }
        for index in (0..self.runs.len()).rev() {
            if key.due_ms < self.dead_below_ms(index) {
                break;
            }
            match self.runs[index].find(cache, key) {
                Ok(Some(said)) => return answer(said),
                Ok(None) => {}
                Err(Cold::NotYet) => return DueFound::NotYet,
                Err(Cold::Failed(error)) => return DueFound::Failed(error.to_string()),
                Err(Cold::Damaged(why)) => {
                    self.give_up_to(self.runs[index].header.number);
                    return DueFound::Failed(why);
                }
            }
        }
        if self.incomplete { DueFound::Failed("it is built anew at the next start".into()) } else { DueFound::Nothing }
    }
}
