//! The names of a simulated disk: what a look-up finds, and what of it a power cut may take back.
//!
//! A created, renamed or removed name is durable only after its directory was flushed. At a power cut either a prefix of
//! the unflushed changes survives (a journal) or any subset that still makes sense (no promise at all).

use crate::rng::Rng;
use ringmq_broker::disk::{Directory, FileName};
use std::collections::BTreeMap;

/// Which file a name leads to: an index into the disk's files.
pub(super) type Inode = usize;

#[derive(Clone, Copy, Debug)]
enum Change {
    Create { name: FileName, inode: Inode },
    Rename { from: FileName, to: FileName },
    Remove { name: FileName },
}

impl Change {
    fn directory(self) -> Directory {
        match self {
            Self::Create { name, .. } | Self::Rename { from: name, .. } | Self::Remove { name } => name.directory(),
        }
    }

    fn apply(self, names: &mut BTreeMap<FileName, Inode>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name, inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::Remove { name } => {
                names.remove(&name);
            }
        }
    }
}

/// All names of one disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    current: BTreeMap<FileName, Inode>,
    durable: BTreeMap<FileName, Inode>,
    unflushed: Vec<Change>,
}

impl Names {
    /// The file of that name.
    pub(super) fn get(&self, name: FileName) -> Option<Inode> {
        self.current.get(&name).copied()
    }

    /// The names in one directory, in order.
    pub(super) fn list(&self, directory: Directory) -> impl Iterator<Item = (FileName, Inode)> {
        self.current.iter().filter(move |(name, _)| name.directory() == directory).map(|(name, inode)| (*name, *inode))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.unflushed.push(change);
    }

    /// A new name; the caller has made sure that there is none.
    pub(super) fn create(&mut self, name: FileName, inode: Inode) {
        self.change(Change::Create { name, inode });
    }

    /// Renames within a directory, replacing `to`.
    pub(super) fn rename(&mut self, from: FileName, to: FileName) {
        assert_eq!(from.directory(), to.directory(), "a rename stays in its directory");
        self.change(Change::Rename { from, to });
    }

    /// Takes the name away.
    pub(super) fn remove(&mut self, name: FileName) {
        self.change(Change::Remove { name });
    }

    /// Makes the changes in one directory durable.
    pub(super) fn flush(&mut self, directory: Directory) {
        for change in &self.unflushed {
            if change.directory() == directory {
                change.apply(&mut self.durable);
            }
        }
        self.unflushed.retain(|change| change.directory() != directory);
    }

    /// The power is cut. Returns how many changes were lost.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) -> u64 {
        let mut lost = 0;
        let journalled = rng.percent(50);
        for directory in Directory::ALL {
            let mut stopped = false;
            for change in self.unflushed.iter().filter(|change| change.directory() == directory) {
                stopped |= rng.percent(25);
                let survives = if journalled { !stopped } else { rng.percent(50) };
                if survives {
                    change.apply(&mut self.durable);
                } else {
                    lost += 1;
                }
            }
        }
        self.unflushed.clear();
        self.current = self.durable.clone();
        lost
    }

    /// Everything that look-ups find is durable from now on.
    pub(super) fn settle(&mut self) {
        self.unflushed.clear();
        self.durable = self.current.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_proto::ids::LogPosition;

    #[test]
    fn name_survives_for_certain_only_after_its_directory_was_flushed() {
        let (old, new) = (FileName::Spare(1), FileName::Segment(LogPosition::new(4096)));
        let mut outcomes = [0; 3];
        for seed in 0..200 {
            let mut names = Names::default();
            names.create(FileName::Superblock, 0);
            names.flush(Directory::Root);
            names.create(old, 1);
            names.flush(Directory::Log);
            names.rename(old, new);
            assert_eq!((names.get(old), names.get(new)), (None, Some(1)));
            names.power_cut(&mut Rng::new(seed));
            assert_eq!(names.get(FileName::Superblock), Some(0));
            match (names.get(old), names.get(new)) {
                (Some(1), None) => outcomes[0] += 1,
                (None, Some(1)) => outcomes[1] += 1,
                _ => outcomes[2] += 1,
            }
        }
        assert!(outcomes[0] > 20 && outcomes[1] > 20 && outcomes[2] == 0, "{outcomes:?}");
    }
}
