//! The disk is damaged while the shard is down: a bit flips, in a commit that was promised or in a file that is only derived;
//! or a write turns out to have landed elsewhere.
//!
//! A commit that was never promised to be durable may be cut as a torn tail when it is bad; one below a later commit's durable
//! mark must be refused in place, and nothing else may be lost. Only commits of messages are hit: what state is lost with
//! a damaged record of state is the business of a scenario. Where groups are played, what says that messages wait or have ended
//! is hit too: then nobody can say how often they come, and all else must hold.

use super::World;
use crate::log::Commit;
use ringmq_broker::disk::{Directory, FileName};

impl World {
    /// Flips one bit somewhere that must not matter, or must matter to one commit only.
    pub(super) fn flip_a_bit(&mut self) {
        if self.rng.percent(70) { self.flip_in_the_log() } else { self.flip_in_a_derived_file() }
    }

    /// Commits that were promised, and hold messages alone.
    fn targets(&self) -> Vec<Commit> {
        let commits = crate::log::commits(&self.machine.disk, self.log_id);
        let promised = commits.iter().map(|commit| commit.durable).max().unwrap_or_default();
        commits
            .into_iter()
            .filter(|commit| commit.messages_only || (commit.ends_only && self.plan.groups))
            .filter(|commit| !commit.messages.is_empty())
            .filter(|commit| commit.position.plus(commit.length) <= promised)
            .collect()
    }

    fn flip_in_the_log(&mut self) {
        let targets = self.targets();
        if targets.is_empty() {
            return;
        }
        let target = &targets[self.rng.index(targets.len())];
        let byte = target.position.since(target.segment) + self.rng.below(target.length);
        let bit = u8::try_from(self.rng.below(8)).unwrap_or(0);
        self.ledger.commit_damaged(target.position, &target.messages);
        if target.ends_only {
            self.ledger.ends_damaged();
        }
        self.say(|| format!("bit {bit} of byte {byte} flips in the commit at {}", target.position));
        self.machine.disk.flip(FileName::Segment(target.segment), byte, bit);
        self.tally.flips += 1;
    }

    /// The write of a commit landed elsewhere in the log's files, and nobody has looked since: its own place holds nothing, and
    /// where it landed is either of no use yet, or another commit's.
    pub(super) fn lead_a_write_astray(&mut self) {
        if self.ledger.damaged {
            // Behind other damage nobody here could say whose places the write hits.
            return;
        }
        let targets = self.targets();
        if targets.is_empty() {
            return;
        }
        let lost = &targets[self.rng.index(targets.len())];
        let file = FileName::Segment(lost.segment);
        let at = lost.position.since(lost.segment);
        let length = usize::try_from(lost.length).unwrap_or(0);
        let start = usize::try_from(at).unwrap_or(0);
        let Some(bytes) =
            self.machine.disk.content(file).and_then(|all| all.get(start..start + length).map(<[u8]>::to_vec))
        else {
            return;
        };
        let (hit_file, hit_at, hit) = match self.place_to_hit(&targets, lost) {
            Some(place) => place,
            None => return,
        };
        self.say(|| {
            let where_to = hit_file.path();
            format!("the write of the commit at {} landed at {hit_at} of {where_to}: {} hit", lost.position, hit.len())
        });
        self.machine.disk.overwrite(file, at, &vec![0; length]);
        self.machine.disk.overwrite(hit_file, hit_at, &bytes);
        for commit in std::iter::once(lost).chain(&hit) {
            self.ledger.commit_damaged(commit.position, &commit.messages);
            if commit.ends_only {
                self.ledger.ends_damaged();
            }
        }
        self.tally.astray += 1;
    }

    /// Where a write of the size of `lost` goes: a spare file, or the places of other targets. Gives the commits it hits.
    fn place_to_hit(&mut self, targets: &[Commit], lost: &Commit) -> Option<(FileName, u64, Vec<Commit>)> {
        let size_bytes = self.plan.segment_size_bytes;
        if self.rng.percent(30) {
            let spares = self.machine.disk.files(Directory::Log);
            let whole = |file: &(FileName, u64)| matches!(file.0, FileName::Spare(_)) && file.1 == size_bytes;
            let spare = spares.into_iter().find(whole)?.0;
            let blocks = (size_bytes - lost.length) / self.plan.alignment as u64;
            return Some((spare, self.rng.below(blocks + 1) * self.plan.alignment as u64, Vec::new()));
        }
        let first = &targets[self.rng.index(targets.len())];
        let end = first.position.plus(lost.length);
        let hit: Vec<Commit> = targets
            .iter()
            .filter(|commit| commit.segment == first.segment)
            .filter(|commit| commit.position < end && commit.position.plus(commit.length) > first.position)
            .cloned()
            .collect();
        // Nothing but targets may be hit, whole or in part: they lie side by side.
        let covered: u64 = hit.iter().map(|commit| commit.length).sum();
        let is_whole = hit.last().is_some_and(|last| last.position.plus(last.length).since(first.position) == covered);
        let is_lost = hit.iter().any(|commit| commit.position == lost.position);
        let place = first.position.since(first.segment);
        (!is_lost && is_whole && covered >= lost.length && place + lost.length <= size_bytes).then_some((
            FileName::Segment(first.segment),
            place,
            hit,
        ))
    }

    fn flip_in_a_derived_file(&mut self) {
        let disk = &self.machine.disk;
        let files: Vec<(FileName, u64)> =
            [Directory::Index, Directory::Snapshot].iter().flat_map(|directory| disk.files(*directory)).collect();
        if files.is_empty() {
            return;
        }
        let (file, size) = self.rng.pick(&files);
        let byte = self.rng.below(size);
        let bit = u8::try_from(self.rng.below(8)).unwrap_or(0);
        self.say(|| format!("bit {bit} of byte {byte} flips in {}", file.path()));
        self.machine.disk.flip(file, byte, bit);
        self.ledger.derived_damaged = true;
        self.ledger.index_damaged |= file.directory() == Directory::Index;
        self.tally.flips += 1;
    }
}
