//! A bit flips while the shard is down: in a commit that was promised, or in a file that is only derived.
//!
//! A commit that was never promised to be durable may be cut as a torn tail when it is bad; one below a later commit's durable
//! mark must be refused in place, and nothing else may be lost. Only commits of messages are hit: what state is lost with
//! a damaged record of state is the business of a scenario.

use super::World;
use ringmq_broker::disk::{Directory, FileName};

impl World {
    /// Flips one bit somewhere that must not matter, or must matter to one commit only.
    pub(super) fn flip_a_bit(&mut self) {
        if self.rng.percent(70) { self.flip_in_the_log() } else { self.flip_in_a_derived_file() }
    }

    fn flip_in_the_log(&mut self) {
        let commits = crate::log::commits(&self.machine.disk, self.log_id);
        let promised = commits.iter().map(|commit| commit.durable).max().unwrap_or_default();
        let targets: Vec<_> = commits
            .iter()
            .filter(|commit| commit.messages_only && !commit.messages.is_empty())
            .filter(|commit| commit.position.plus(commit.length) <= promised)
            .collect();
        if targets.is_empty() {
            return;
        }
        let target = targets[self.rng.index(targets.len())];
        let byte = target.position.since(target.segment) + self.rng.below(target.length);
        let bit = u8::try_from(self.rng.below(8)).unwrap_or(0);
        for (queue, offset, body) in &target.messages {
            if let Some(message) = self.ledger.run.read(body) {
                self.ledger.excused.insert((*queue, *offset), message);
            }
        }
        let position = target.position;
        self.say(|| format!("bit {bit} of byte {byte} flips in the commit at {position}"));
        self.machine.disk.flip(FileName::Segment(target.segment), byte, bit);
        self.ledger.damaged = true;
        self.tally.flips += 1;
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
        self.ledger.index_damaged |= file.directory() == Directory::Index;
        self.tally.flips += 1;
    }

    /// The operator's remedy for a damaged index: its files are derived, so they may be taken away, and a start makes them
    /// anew.
    pub(super) fn make_the_index_anew(&mut self) {
        self.say(|| "the index's files are taken away".into());
        self.restart_by_kill(|disk| {
            for (file, _) in disk.files(Directory::Index) {
                disk.lose(file);
            }
        });
        self.ledger.index_damaged = false;
    }
}
