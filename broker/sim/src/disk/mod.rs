//! A disk that a seed decides: it tears, reorders, drops what was not flushed, fails, fills up and rots.
//!
//! Two ways in, as for a real one. [`Disk::execute`] waits: opening and recovery. [`SimDisk::submit`] and
//! [`SimDisk::complete`] run many operations at once; the world chooses which ends next. An operation has its effect when it
//! completes; at a power cut each one in flight happened wholly, partly or not at all.
//!
//! The model is weaker than any disk that keeps its promises: `Write { sync }` covers its own sectors only, `Sync` only what
//! was written before it was *issued*, and names and sizes are lost or kept apart from data. What it does not model: a
//! sector that mixes old and new bytes (the log's alignment is taken for atomic).

mod faults;
mod file;
mod names;

pub use faults::{Class, Fault, Faults};

use crate::rng::Rng;
use file::SimFile;
use names::{Inode, Names};
use ringmq_broker::disk::{
    BlockPool, Completion, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName,
};

/// A garbled read has a wrong bit so often.
const GARBLED_EVERY_BYTES: usize = 61;

thread_local! {
    /// Blocks of all disks of a thread: made once, so that a history does not fill megabytes with zeros.
    static POOL: BlockPool = BlockPool::new(64 << 20);
}

/// An operation on its way, with what was looked up when it was issued.
#[derive(Debug)]
struct InFlight {
    op: DiskOp,
    /// The file that its name led to when it was issued; `None`: look it up when it runs.
    inode: Option<Inode>,
    /// For a flush: covers the writes before this number.
    sequence: u64,
}

/// What happened to a disk, for reports and for tests that want to know that they tested something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations that ran.
    pub operations: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Unflushed sectors that a power cut took back.
    pub sectors_lost: u64,
    /// Unflushed names that a power cut took back.
    pub names_lost: u64,
    /// Operations that failed by a fault.
    pub faults: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// The disk of one shard.
#[derive(Debug)]
pub struct SimDisk {
    rng: Rng,
    alignment: usize,
    pool: BlockPool,
    files: Vec<SimFile>,
    names: Names,
    in_flight: Vec<InFlight>,
    /// Faults that are armed.
    pub faults: Faults,
    /// Bytes that files may take in all.
    pub capacity_bytes: u64,
    /// Power is cut after so many more waited-for operations.
    pub power_left: Option<u64>,
    powered: bool,
    counters: Counters,
    /// Writes every operation and its result to standard error.
    pub trace: bool,
}

impl SimDisk {
    /// An empty disk with sectors of `alignment` bytes (512 or 4096) whose every choice follows from `rng`.
    pub fn new(rng: Rng, alignment: usize) -> Self {
        Self::with_pool(rng, alignment, POOL.with(BlockPool::clone))
    }

    /// The same; the blocks of its reads, and of the store above it, come from `pool`.
    pub fn with_pool(rng: Rng, alignment: usize, pool: BlockPool) -> Self {
        assert!(alignment == 512 || alignment == 4096, "the log's alignment: {alignment}");
        Self {
            rng,
            alignment,
            pool,
            files: Vec::new(),
            names: Names::default(),
            in_flight: Vec::new(),
            faults: Faults::default(),
            capacity_bytes: u64::MAX,
            power_left: None,
            powered: true,
            counters: Counters::default(),
            trace: false,
        }
    }

    /// A disk with the same content, at rest, and chances of its own.
    #[must_use]
    pub fn copy(&self, rng: Rng) -> Self {
        Self {
            rng,
            alignment: self.alignment,
            pool: self.pool.clone(),
            files: self.files.clone(),
            names: self.names.clone(),
            in_flight: Vec::new(),
            faults: Faults::default(),
            capacity_bytes: self.capacity_bytes,
            power_left: None,
            powered: true,
            counters: Counters::default(),
            trace: self.trace,
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The sector size.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// Operations that were issued and have not completed.
    pub fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes of all files that a look-up finds.
    pub fn used_bytes(&self) -> u64 {
        Directory::ALL.iter().flat_map(|directory| self.names.list(*directory)).map(|(_, i)| self.files[i].size()).sum()
    }

    /// Sectors that a power cut may take back.
    pub fn unflushed_count(&self) -> usize {
        self.files.iter().map(SimFile::unflushed_count).sum()
    }

    /// Issues an operation.
    pub fn submit(&mut self, op: DiskOp) {
        assert!(self.powered, "an operation is issued without power: {op:?}");
        assert!(self.in_flight.iter().all(|other| other.op.id != op.id), "operation id {:?} is in flight twice", op.id);
        self.check_alignment(&op.kind);
        self.check_no_read_of_what_goes(&op.kind);
        // A driver may look the file up when the operation is issued or when it runs: the store must not care.
        let inode = file_of(&op.kind).filter(|_| self.rng.percent(50)).and_then(|file| self.names.get(file));
        let sequence = file_of(&op.kind).and_then(|file| self.names.get(file)).map_or(0, |i| self.files[i].sequence());
        self.in_flight.push(InFlight { op, inode, sequence });
    }

    /// Ends one of the operations in flight, chosen by chance.
    pub fn complete(&mut self) -> Option<Completion> {
        if self.in_flight.is_empty() {
            return None;
        }
        let index = self.rng.index(self.in_flight.len());
        let InFlight { op, inode, sequence } = self.in_flight.swap_remove(index);
        let result = self.run(&op.kind, inode, Some(sequence));
        Some(Completion { id: op.id, result })
    }

    /// Ends the first operation in flight that `wanted` accepts.
    pub fn complete_one(&mut self, wanted: impl Fn(&DiskOpKind) -> bool) -> Option<Completion> {
        let index = self.in_flight.iter().position(|flying| wanted(&flying.op.kind))?;
        let InFlight { op, inode, sequence } = self.in_flight.remove(index);
        let result = self.run(&op.kind, inode, Some(sequence));
        Some(Completion { id: op.id, result })
    }

    /// Whether an operation that `wanted` accepts is in flight.
    pub fn has_in_flight(&self, wanted: impl Fn(&DiskOpKind) -> bool) -> bool {
        self.in_flight.iter().any(|flying| wanted(&flying.op.kind))
    }

    /// The power is cut, now. Returns to a disk at rest that can be opened again.
    pub fn power_cut(&mut self) {
        let survive_percent = self.rng.pick(&[0, 5, 50, 50, 50, 80, 95, 100]);
        let mut flying = std::mem::take(&mut self.in_flight);
        while !flying.is_empty() {
            let InFlight { op, inode, sequence } = flying.swap_remove(self.rng.index(flying.len()));
            self.half_done(&op.kind, inode, sequence);
        }
        for file in &mut self.files {
            self.counters.sectors_lost += file.power_cut(&mut self.rng, survive_percent);
        }
        self.counters.names_lost += self.names.power_cut(&mut self.rng);
        self.counters.power_cuts += 1;
        self.power_left = None;
        self.powered = true;
    }

    /// The process is killed, and the machine lives: what was issued happens or not, and nothing else is lost.
    pub fn kill(&mut self) {
        let mut flying = std::mem::take(&mut self.in_flight);
        while !flying.is_empty() {
            let InFlight { op, inode, sequence } = flying.swap_remove(self.rng.index(flying.len()));
            if self.rng.percent(70) {
                let _ = self.run(&op.kind, inode, Some(sequence));
            }
        }
        for file in &mut self.files {
            file.resolve_failed_flushes(&mut self.rng);
        }
        self.power_left = None;
        self.powered = true;
    }

    /// The operating system writes everything back in its own time.
    pub fn settle(&mut self) {
        self.files.iter_mut().for_each(SimFile::settle);
        self.names.settle();
    }

    /// Flips one bit of a file, at rest. False when there is no such byte.
    pub fn flip(&mut self, name: FileName, byte: u64, bit: u8) -> bool {
        match self.names.get(name) {
            Some(inode) if byte < self.files[inode].size() => {
                self.files[inode].flip(byte, bit);
                true
            }
            _ => false,
        }
    }

    /// Takes a file away, at rest, as a careless hand would.
    pub fn lose(&mut self, name: FileName) {
        self.names.remove(name);
        self.names.settle();
    }

    /// Cuts a file to `size` bytes, at rest.
    pub fn truncate(&mut self, name: FileName, size: u64) {
        if let Some(inode) = self.names.get(name) {
            self.files[inode].truncate(size);
        }
    }

    /// The whole content of a file, as a look-up finds it now.
    pub fn content(&self, name: FileName) -> Option<Vec<u8>> {
        let file = &self.files[self.names.get(name)?];
        let mut bytes = vec![0; usize::try_from(file.size()).ok()?];
        file.read(0, &mut bytes);
        Some(bytes)
    }

    /// Replaces bytes of a file, at rest. The range is made of whole sectors.
    pub fn overwrite(&mut self, name: FileName, offset: u64, bytes: &[u8]) {
        if let Some(inode) = self.names.get(name) {
            self.files[inode].write_durable(offset, bytes);
        }
    }

    /// The files in one directory with their sizes.
    pub fn files(&self, directory: Directory) -> Vec<(FileName, u64)> {
        self.names.list(directory).map(|(name, inode)| (name, self.files[inode].size())).collect()
    }

    fn check_alignment(&self, op: &DiskOpKind) {
        let aligned = |value: u64| value.is_multiple_of(self.alignment as u64);
        match op {
            DiskOpKind::Write { offset, block, start, length, .. } => {
                assert!(aligned(*offset) && aligned(*start as u64) && aligned(*length as u64), "unaligned: {op:?}");
                assert!(*length > 0 && start + length <= block.len(), "a write beyond its block: {op:?}");
            }
            DiskOpKind::Read { offset, length, .. } => {
                assert!(aligned(*offset) && aligned(*length as u64) && *length > 0, "unaligned: {op:?}");
            }
            _ => {}
        }
    }

    /// A segment leaves when no read of it is in flight: the read would find another segment's bytes.
    fn check_no_read_of_what_goes(&self, op: &DiskOpKind) {
        if let DiskOpKind::Rename { from: file, .. } | DiskOpKind::Remove { file } = op
            && matches!(file, FileName::Segment(_))
        {
            let reads_it = |kind: &DiskOpKind| matches!(kind, DiskOpKind::Read { file: read, .. } if read == file);
            assert!(!self.has_in_flight(reads_it), "{} leaves while a read of it is in flight", file.path());
        }
    }

    fn run(&mut self, op: &DiskOpKind, inode: Option<Inode>, sequence: Option<u64>) -> Result<DiskDone, DiskError> {
        self.counters.operations += 1;
        let result = match self.faults.strike(op) {
            Some(kind) => {
                self.counters.faults += 1;
                self.fail(op, inode, kind);
                Err(error(kind, op))
            }
            None => self.run_soundly(op, inode, sequence),
        };
        if self.trace {
            match &result {
                Ok(DiskDone::Done) => eprintln!("    disk {}", describe(op)),
                Ok(DiskDone::Read { length, .. }) => eprintln!("    disk {} -> {length}", describe(op)),
                Err(error) => eprintln!("    disk {} -> {:?}", describe(op), error.kind),
            }
        }
        result
    }

    /// A failing operation may have done a part of its work, and what it left will not be flushed.
    fn fail(&mut self, op: &DiskOpKind, inode: Option<Inode>, kind: DiskErrorKind) {
        let inode = inode.or_else(|| file_of(op).and_then(|file| self.names.get(file)));
        let Some(inode) = inode else { return };
        let rng = &mut self.rng;
        let file = &mut self.files[inode];
        match op {
            DiskOpKind::Write { offset, block, start, length, .. } => {
                let kept = rng.pick(&[0, 50, 100]);
                let before = file.sequence();
                let room = kind != DiskErrorKind::Full || offset + *length as u64 <= file.size();
                if room {
                    file.write(*offset, &block[*start..start + length], || rng.percent(kept));
                }
                file.fail_flush(before, file.sequence());
            }
            DiskOpKind::Sync { .. } => file.fail_flush(0, file.sequence()),
            _ => {}
        }
    }

    fn run_soundly(
        &mut self,
        op: &DiskOpKind,
        inode: Option<Inode>,
        sequence: Option<u64>,
    ) -> Result<DiskDone, DiskError> {
        let find = |names: &Names, file: &FileName| {
            inode.or_else(|| names.get(*file)).ok_or_else(|| error(DiskErrorKind::NotFound, op))
        };
        match op {
            DiskOpKind::Write { file, offset, block, start, length, sync } => {
                let inode = find(&self.names, file)?;
                let growth = (offset + *length as u64).saturating_sub(self.files[inode].size());
                if growth > 0 && self.used_bytes() + growth > self.capacity_bytes {
                    return Err(error(DiskErrorKind::Full, op));
                }
                self.counters.bytes_written += *length as u64;
                let astray = if self.faults.misdirects() { self.alignment as u64 } else { 0 };
                let (file, bytes) = (&mut self.files[inode], &block[*start..start + length]);
                if *sync && !self.faults.lying {
                    file.write_durable(offset + astray, bytes);
                } else {
                    file.write(offset + astray, bytes, || true);
                }
            }
            DiskOpKind::Read { file, offset, length } => {
                let inode = find(&self.names, file)?;
                let mut block = self.pool.take(*length);
                let read = self.files[inode].read(*offset, &mut block[..*length]);
                if self.faults.garbles(*file) {
                    self.counters.faults += 1;
                    // Something on the way: no record of it is whole.
                    block[..read].iter_mut().step_by(GARBLED_EVERY_BYTES).for_each(|byte| *byte ^= 4);
                }
                return Ok(DiskDone::Read { block: block.freeze(), length: read });
            }
            DiskOpKind::Sync { file } => {
                let inode = find(&self.names, file)?;
                if !self.faults.lying {
                    let file = &mut self.files[inode];
                    file.flush(sequence.unwrap_or_else(|| file.sequence()));
                }
            }
            DiskOpKind::Create { file, size_bytes } => {
                if self.names.get(*file).is_some() {
                    return Err(error(DiskErrorKind::Exists, op));
                }
                if self.used_bytes() + size_bytes > self.capacity_bytes {
                    return Err(error(DiskErrorKind::Full, op));
                }
                self.files.push(SimFile::new(*size_bytes, self.alignment));
                self.names.create(*file, self.files.len() - 1);
            }
            DiskOpKind::Rename { from, to } => {
                find(&self.names, from)?;
                self.names.rename(*from, *to);
            }
            DiskOpKind::Remove { file } => {
                if self.names.get(*file).is_some() {
                    self.names.remove(*file);
                }
            }
            DiskOpKind::SyncDir { directory } => {
                if !self.faults.lying {
                    self.names.flush(*directory);
                }
            }
        }
        Ok(DiskDone::Done)
    }

    /// The power is cut while `op` is in flight: all, a part or nothing of it is in the caches that are lost next.
    fn half_done(&mut self, op: &DiskOpKind, inode: Option<Inode>, sequence: u64) {
        match op {
            DiskOpKind::Write { file, offset, block, start, length, .. } => {
                if let Some(inode) = inode.or_else(|| self.names.get(*file)) {
                    self.files[inode].write(*offset, &block[*start..start + length], || true);
                }
            }
            DiskOpKind::Read { .. } => {}
            _ => {
                if self.rng.percent(50) {
                    let _ = self.run_soundly(op, inode, Some(sequence));
                }
            }
        }
    }
}

impl Disk for SimDisk {
    fn pool(&self) -> BlockPool {
        self.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        self.check_alignment(&op);
        match &mut self.power_left {
            Some(0) => {
                if self.powered {
                    self.powered = false;
                    let sequence = file_of(&op).and_then(|f| self.names.get(f)).map_or(0, |i| self.files[i].sequence());
                    self.half_done(&op, None, sequence);
                }
                return Err(error(DiskErrorKind::Crashed, &op));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.run(&op, None, None)
    }

    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        Ok(self.files(directory))
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(self.capacity_bytes.saturating_sub(self.used_bytes()))
    }
}

fn file_of(op: &DiskOpKind) -> Option<FileName> {
    match op {
        DiskOpKind::Write { file, .. } | DiskOpKind::Read { file, .. } | DiskOpKind::Sync { file } => Some(*file),
        _ => None,
    }
}

fn describe(op: &DiskOpKind) -> String {
    match op {
        DiskOpKind::Write { file, offset, length, sync, .. } => {
            format!("write {} at {offset} length {length}{}", file.path(), if *sync { " sync" } else { "" })
        }
        DiskOpKind::Read { file, offset, length } => format!("read {} at {offset} length {length}", file.path()),
        DiskOpKind::Sync { file } => format!("sync {}", file.path()),
        DiskOpKind::Create { file, size_bytes } => format!("create {} of {size_bytes}", file.path()),
        DiskOpKind::Rename { from, to } => format!("rename {} to {}", from.path(), to.path()),
        DiskOpKind::Remove { file } => format!("remove {}", file.path()),
        DiskOpKind::SyncDir { directory } => format!("sync directory '{}'", directory.path()),
    }
}

fn error(kind: DiskErrorKind, op: &DiskOpKind) -> DiskError {
    DiskError { kind, detail: format!("{}: {kind:?}", describe(op)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_broker::disk::OpId;

    const FILE: FileName = FileName::Superblock;

    fn disk(seed: u64) -> SimDisk {
        let mut disk = SimDisk::new(Rng::new(seed), 512);
        disk.execute(DiskOpKind::Create { file: FILE, size_bytes: 4096 }).unwrap();
        disk.execute(DiskOpKind::Sync { file: FILE }).unwrap();
        disk.execute(DiskOpKind::SyncDir { directory: Directory::Root }).unwrap();
        disk
    }

    fn write(disk: &SimDisk, offset: u64, byte: u8, length: usize, sync: bool) -> DiskOpKind {
        let mut block = disk.pool().take(4096);
        block.fill(byte);
        DiskOpKind::Write { file: FILE, offset, block: block.freeze(), start: 0, length, sync }
    }

    #[test]
    fn completed_write_with_flush_survives_every_power_cut() {
        for seed in 0..50 {
            let mut disk = disk(seed);
            disk.submit(DiskOp { id: OpId(1), kind: write(&disk, 512, 7, 1024, true) });
            assert!(disk.complete().unwrap().result.is_ok());
            disk.power_cut();
            let content = disk.content(FILE).unwrap();
            assert_eq!((content[511], content[512], content[1535], content[1536]), (0, 7, 7, 0), "seed {seed}");
        }
    }

    #[test]
    fn write_in_flight_at_a_power_cut_is_torn_between_sectors() {
        let mut torn = 0;
        for seed in 0..200 {
            let mut disk = disk(seed);
            disk.submit(DiskOp { id: OpId(1), kind: write(&disk, 0, 7, 4096, true) });
            disk.power_cut();
            let content = disk.content(FILE).unwrap();
            let sectors: Vec<u8> = content.chunks(512).map(|sector| sector[0]).collect();
            assert!(content.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "inside a sector");
            torn += u32::from(sectors.contains(&7) && sectors.contains(&0));
        }
        assert!(torn > 50, "{torn} of 200");
    }

    #[test]
    fn power_is_cut_at_the_chosen_waited_for_operation() {
        let mut disk = disk(1);
        disk.power_left = Some(1);
        assert!(disk.execute(DiskOpKind::Sync { file: FILE }).is_ok());
        for _ in 0..2 {
            let error = disk.execute(DiskOpKind::Sync { file: FILE }).unwrap_err();
            assert_eq!(error.kind, DiskErrorKind::Crashed, "and stays off");
        }
        disk.power_cut();
        assert!(disk.execute(DiskOpKind::Sync { file: FILE }).is_ok());
    }

    #[test]
    fn armed_fault_hits_the_nth_operation_of_its_class() {
        let mut disk = disk(1);
        disk.faults.arm(Fault { class: Class::Flush, after: 1, kind: DiskErrorKind::Io, forever: false });
        let first = write(&disk, 0, 1, 512, false);
        assert!(disk.execute(first).is_ok(), "not of the class");
        assert!(disk.execute(DiskOpKind::Sync { file: FILE }).is_ok());
        assert_eq!(disk.execute(DiskOpKind::Sync { file: FILE }).unwrap_err().kind, DiskErrorKind::Io);
        assert!(disk.execute(DiskOpKind::Sync { file: FILE }).is_ok(), "once");
    }

    #[test]
    fn full_disk_refuses_a_file_and_heals_when_one_goes() {
        let mut disk = disk(1);
        disk.capacity_bytes = 8192;
        let spare = |number| DiskOpKind::Create { file: FileName::Spare(number), size_bytes: 4096 };
        assert!(disk.execute(spare(1)).is_ok());
        assert_eq!(disk.execute(spare(2)).unwrap_err().kind, DiskErrorKind::Full);
        disk.execute(DiskOpKind::Remove { file: FileName::Spare(1) }).unwrap();
        assert!(disk.execute(spare(2)).is_ok());
    }

    #[test]
    fn lying_flush_makes_nothing_durable() {
        let mut disk = disk(3);
        disk.faults.lying = true;
        let write = write(&disk, 0, 1, 4096, true);
        disk.execute(write).unwrap();
        assert!(disk.unflushed_count() > 0);
    }
}
