//! Which runs are merged next: size-tiered, so that each entry is rewritten once per level.

use std::rc::Rc;

use super::super::run::Run;

/// Runs of one level that become one of the next; fewer are left alone.
const FAN_IN: usize = 4;

/// Runs of one level that one merge takes when merges have fallen behind.
const FAN_IN_MAX: usize = 8;

/// Entries of a merged run. When reached: its level is not merged further.
const MERGED_ENTRY_COUNT_MAX: u64 = 1 << 30;

/// The runs for the next merge: the oldest neighbours of the lowest level that has [`FAN_IN`] of them, all `free` and below
/// level `level_end`.
pub(in super::super) fn choose(runs: &[Rc<Run>], free: impl Fn(&Run) -> bool, level_end: u32) -> Option<Vec<Rc<Run>>> {
    let level = |run: &Rc<Run>| run.header.level;
    let groups = runs.chunk_by(|left, right| level(left) == level(right) && free(left) == free(right));
    let groups = groups.filter(|group| group.len() >= FAN_IN && level(&group[0]) < level_end && free(&group[0]));
    let small = groups.filter_map(|group| {
        let mut total = 0;
        let fitting = group.iter().take(FAN_IN_MAX).take_while(|run| {
            total += run.header.entry_count;
            total <= MERGED_ENTRY_COUNT_MAX
        });
        let fitting: Vec<_> = fitting.cloned().collect();
        (fitting.len() >= FAN_IN).then_some(fitting)
    });
    small.min_by_key(|group| level(&group[0]))
}
