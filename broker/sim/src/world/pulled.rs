//! What a pull gave, in either dialect, and what the judge hears of it.

use super::ledger::Ledger;
use ringmq_broker::store::Store;
use ringmq_checker::{Polled, QueueIndex};
use ringmq_proto::code::Code;

/// The answer to a pull that was carried out.
#[derive(Debug)]
pub(super) struct Pulled {
    /// Of this queue.
    pub queue: QueueIndex,
    /// The offset that was asked for.
    pub from: u64,
    /// Behind the last offset that was known when it was asked.
    pub known_end: u64,
    /// How it ended.
    pub code: Code,
    /// Where to go on.
    pub next: u64,
    /// Behind the last visible offset.
    pub max: u64,
    /// The messages at and behind `from`.
    pub polled: Vec<Polled>,
}

impl Pulled {
    /// Tells the judge.
    ///
    /// # Errors
    /// What is wrong with the answer, where the judge has no eyes.
    pub(super) fn judge(self, ledger: &mut Ledger, store: &Store) -> Result<(), String> {
        let Self { queue, from, known_end, code, next, max, polled } = self;
        let id = ledger.queue(queue).id;
        let visible = store.queue(id).map_or(u64::MAX, |queue| queue.visible_offset.get());
        if let Some(last) = polled.last().filter(|last| last.offset >= visible) {
            return Err(format!("offset {} of {queue:?} was read, visible is what lies below {visible}", last.offset));
        }
        if code == Code::PULL_OFFSET_MOVED {
            if next > from {
                ledger.judge.moved(queue, from, next);
            } else if next < known_end {
                return Err(format!(
                    "a reader at {from} is sent back to {next}, and the queue was known to reach {known_end}"
                ));
            }
        } else {
            ledger.judge.poll(queue, from, next, &polled);
        }
        if code == Code::PULL_NOT_FOUND && max > from {
            return Err(format!("nothing was found at {from}, and the queue ends at {max}"));
        }
        if code == Code::SUCCESS && polled.is_empty() {
            return Err("found, and nothing in it".into());
        }
        Ok(())
    }
}

/// A pull was refused: where to go on, if the refusal says so.
///
/// # Errors
/// A refusal without a reason.
pub(super) fn refused(
    code: Code,
    remark: &str,
    (queue, from): (QueueIndex, u64),
    ledger: &mut Ledger,
) -> Result<Option<u64>, String> {
    if code != Code::SYSTEM_ERROR {
        return Ok(None);
    }
    let behind = remark.split_once("that can be read has offset ").map(|(_, behind)| behind);
    let number =
        behind.and_then(|behind| behind.split([':', ';']).next()).and_then(|number| number.trim().parse().ok());
    if let Some(next) = number {
        // Whoever is told to go on elsewhere never comes back: nothing but damage excuses that, also on a failing disk.
        ledger.refused_as_damaged(queue, from, next);
        return Ok(Some(next));
    }
    let excused = ledger.faulty || (ledger.index_damaged && remark.contains("queue index"));
    if excused { Ok(None) } else { Err(format!("a pull failed: {remark}")) }
}
