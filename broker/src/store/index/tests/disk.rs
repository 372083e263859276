//! A small disk for the tests of this directory: in memory, completing in any order, failing, losing what was not synced.

use std::collections::BTreeMap;

use crate::disk::{
    BlockPool, Completion, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName,
};

const TEAR_UNIT_BYTES: usize = 4096;

/// Numbers that follow from a seed (splitmix64).
pub(in crate::store) struct Random(pub(in crate::store) u64);

impl Random {
    pub(in crate::store) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(in crate::store) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(in crate::store) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// The disk. Operations take effect when they complete.
pub(in crate::store) struct TestDisk {
    pool: BlockPool,
    files: Vec<File>,
    names: BTreeMap<FileName, usize>,
    durable_names: BTreeMap<FileName, usize>,
    pub(in crate::store) random: Random,
    /// One in so many operations fails; none when 0.
    pub(in crate::store) failure_rate: u64,
    /// The operation that fails, counted from now; none when it was counted down.
    pub(in crate::store) fails_at: Option<u64>,
    /// Bytes that files may take.
    pub(in crate::store) capacity_bytes: usize,
    /// Operations by what they do, for the tests that look at it.
    pub(in crate::store) reads: u64,
}

impl TestDisk {
    pub(in crate::store) fn new(seed: u64) -> Self {
        Self {
            pool: BlockPool::new(1 << 20),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            random: Random(seed),
            failure_rate: 0,
            fails_at: None,
            capacity_bytes: usize::MAX,
            reads: 0,
        }
    }

    /// Completes one of the operations, whichever.
    pub(in crate::store) fn complete_one(&mut self, pending: &mut Vec<DiskOp>) -> Option<Completion> {
        if pending.is_empty() {
            return None;
        }
        let op = pending.swap_remove(self.random.index(pending.len()));
        let counted_down = self.fails_at == Some(0);
        self.fails_at = self.fails_at.and_then(|left| left.checked_sub(1));
        let fails = counted_down || self.failure_rate > 0 && self.random.below(self.failure_rate) == 0;
        if fails && self.random.below(2) == 0 {
            return Some(Completion { id: op.id, result: Err(failure(DiskErrorKind::Io, "before")) });
        }
        let result = self.carry_out(op.kind);
        let result = if fails { Err(failure(DiskErrorKind::Io, "after")) } else { result };
        Some(Completion { id: op.id, result })
    }

    /// Loses power: of what was not synced, every name and every 4 KiB is kept or lost by itself.
    pub(in crate::store) fn crash(&mut self) {
        let mut names = self.names.keys().chain(self.durable_names.keys()).copied().collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (now, durable) = (self.names.get(&name).copied(), self.durable_names.get(&name).copied());
            let kept = if now == durable || self.random.below(2) == 0 { now } else { durable };
            match kept {
                Some(file) => self.durable_names.insert(name, file),
                None => self.durable_names.remove(&name),
            };
        }
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            for (now, durable) in file.now.chunks_mut(TEAR_UNIT_BYTES).zip(file.durable.chunks_mut(TEAR_UNIT_BYTES)) {
                if self.random.below(2) == 0 {
                    durable.copy_from_slice(now);
                } else {
                    now.copy_from_slice(durable);
                }
            }
        }
    }

    /// Changes one bit.
    pub(in crate::store) fn flip(&mut self, file: FileName, byte: usize, bit: u32) {
        let file = &mut self.files[self.names[&file]];
        file.now[byte] ^= 1 << bit;
    }

    pub(in crate::store) fn size_bytes(&self, file: FileName) -> usize {
        self.files[self.names[&file]].now.len()
    }

    pub(in crate::store) fn names(&self) -> Vec<FileName> {
        self.names.keys().copied().collect()
    }

    fn file(&mut self, name: FileName) -> Result<&mut File, DiskError> {
        let index = self.names.get(&name).ok_or_else(|| failure(DiskErrorKind::NotFound, &name.path()))?;
        Ok(&mut self.files[*index])
    }

    fn carry_out(&mut self, kind: DiskOpKind) -> Result<DiskDone, DiskError> {
        match kind {
            DiskOpKind::Write { file, offset, block, start, length, sync } => {
                let file = self.file(file)?;
                let offset = usize::try_from(offset).expect("small");
                file.now[offset..offset + length].copy_from_slice(&block[start..start + length]);
                if sync {
                    file.durable.clone_from(&file.now);
                }
            }
            DiskOpKind::Read { file, offset, length } => {
                self.reads += 1;
                let mut block = self.pool.take(length);
                let file = self.file(file)?;
                let start = usize::try_from(offset).expect("small").min(file.now.len());
                let end = (start + length).min(file.now.len());
                block[..end - start].copy_from_slice(&file.now[start..end]);
                return Ok(DiskDone::Read { block: block.freeze(), length: end - start });
            }
            DiskOpKind::Sync { file } => {
                let file = self.file(file)?;
                file.durable.clone_from(&file.now);
            }
            DiskOpKind::Create { file, size_bytes } => {
                let size_bytes = usize::try_from(size_bytes).expect("small");
                let used: usize = self.names.values().map(|index| self.files[*index].now.len()).sum();
                if used.saturating_add(size_bytes) > self.capacity_bytes {
                    return Err(failure(DiskErrorKind::Full, &file.path()));
                }
                if self.names.contains_key(&file) {
                    return Err(failure(DiskErrorKind::Exists, &file.path()));
                }
                self.names.insert(file, self.files.len());
                self.files.push(File { now: vec![0; size_bytes], durable: vec![0; size_bytes] });
            }
            DiskOpKind::Rename { from, to } => {
                let index = self.names.remove(&from).ok_or_else(|| failure(DiskErrorKind::NotFound, &from.path()))?;
                self.names.insert(to, index);
            }
            DiskOpKind::Remove { file } => {
                self.names.remove(&file);
            }
            DiskOpKind::SyncDir { directory } => {
                let of_it = |name: &FileName| name.directory() == directory;
                self.durable_names.retain(|name, _| !of_it(name));
                let names = self.names.iter().filter(|(name, _)| of_it(name));
                self.durable_names.extend(names.map(|(name, index)| (*name, *index)));
            }
        }
        Ok(DiskDone::Done)
    }
}

impl Disk for TestDisk {
    fn pool(&self) -> BlockPool {
        self.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        self.carry_out(op)
    }

    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        let names = self.names.iter().filter(|(name, _)| name.directory() == directory);
        Ok(names.map(|(name, index)| (*name, self.files[*index].now.len() as u64)).collect())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}

fn failure(kind: DiskErrorKind, detail: &str) -> DiskError {
    DiskError { kind, detail: detail.into() }
}
