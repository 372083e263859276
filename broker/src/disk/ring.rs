//! The disk of an executor: one raw io_uring ring that carries every disk operation of every shard on it.
//!
//! ```text
//! submit(shard, op) ─► table of operations ─► ready queue ─┐                    ┌─► open, fallocate, … (next stage)
//!                        │   (files opened on first use)   ├─► SQ ═ kernel ═ CQ ┤
//!                        └─► waiting reads (bounded) ──────┘                    └─► done ─► reap
//! ```
//!
//! Owned by one executor thread, never shared. An operation owns its memory (a clone of its block, its path, its file
//! descriptor) in the table until the kernel has answered for all its parts, also when the ring is dropped. **A `Write
//! { sync: true }` is complete only when the write *and* its flush have both succeeded; nothing is ever retried.**
//!
//! Log writes go before reads: at most [`READS_IN_FLIGHT_MAX`] reads are with the kernel at a time.
//!
//! The ring can carry all that an executor waits for: sockets (`sockets`), other threads' messages (`wake`), and the
//! waiting itself with a time (`idle`).

mod files;
mod flush;
pub mod handover;
mod idle;
mod make;
mod op;
mod sockets;
#[cfg(test)]
mod tests;
mod waiting;
mod wake;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::Path;

use io_uring::{IoUring, cqueue};

use self::files::{FileTable, Lookup};
use self::make::{cpu_set, make_ring, push};
use self::op::{Op, Step, Work};
use self::sockets::Sockets;
use super::OpId;
use super::probe::FlushMethod;
use super::{BlockPool, Completion, Directory, DiskDone, DiskError, DiskOp, DiskOpKind, FileName};

pub use self::files::{Access, OpenDirectoryError};
pub use self::sockets::{Ready, SocketToken};
pub use self::waiting::ShardDisk;
use self::wake::Wake;
pub use self::wake::{Waiter, WakeHandle};

/// Parts of disk operations that are with the kernel at a time. Fewer than completion entries: they cannot overflow.
const PARTS_IN_FLIGHT_MAX: usize = 1024;

/// Reads that are with the kernel at a time. When reached: further reads wait in the driver, writes pass them.
pub const READS_IN_FLIGHT_MAX: usize = 16;

/// Times that a submission is tried again when the kernel is short of memory, before the ring counts as failed.
const SUBMIT_TRIES_MAX: usize = 1000;

/// A shard's place in the ring of its executor, given by [`RingDisk::add_shard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardSlot(pub usize);

/// The id of the operation that [`ShardDisk`] waits for. Shards do not use it.
const WAITED: OpId = OpId(u64::MAX);

/// How a ring is made.
#[derive(Clone, Debug, Default)]
pub struct RingOptions {
    /// Cores for the kernel's helper threads (flushes, opens); empty: wherever the thread itself may run. They inherit
    /// the pinning of the executor otherwise, and would take its time.
    pub helper_cores: Vec<usize>,
    /// Instead of what the probe found.
    pub flush: Option<FlushMethod>,
}

/// The ring. See the module.
pub struct RingDisk {
    ring: IoUring,
    pool: BlockPool,
    options: RingOptions,
    wake: Wake,
    shards: Vec<FileTable>,
    /// Operations by the index that their completions carry.
    ops: Vec<Option<Op>>,
    free: Vec<usize>,
    /// Operations whose next stage waits for room in the ring.
    ready: VecDeque<usize>,
    reads: VecDeque<usize>,
    reads_in_flight: usize,
    /// Parts that the kernel owes a completion for.
    in_flight: usize,
    /// Pushed and not yet taken by the kernel.
    unsubmitted: usize,
    done: Vec<(ShardSlot, Completion)>,
    sockets: Sockets,
    scratch: Vec<(u64, i32, u32)>,
}

impl RingDisk {
    /// A ring for the calling thread, which must be the only one to use it. Blocks for reads come from `pool`.
    ///
    /// # Errors
    /// When the kernel refuses the ring or its event descriptor.
    pub fn new(pool: BlockPool, options: RingOptions) -> io::Result<Self> {
        let ring = make_ring()?;
        let wake = Wake::new()?;
        if !options.helper_cores.is_empty() {
            let set = cpu_set(&options.helper_cores);
            if let Err(error) = ring.submitter().register_iowq_aff(&set) {
                tracing::warn!(cores = ?options.helper_cores, %error, "disk helper threads stay on the executor's core");
            }
        }
        Ok(Self {
            ring,
            pool,
            options,
            wake,
            shards: Vec::new(),
            ops: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            reads: VecDeque::new(),
            reads_in_flight: 0,
            in_flight: 0,
            unsubmitted: 0,
            done: Vec::new(),
            sockets: Sockets::default(),
            scratch: Vec::new(),
        })
    }

    /// Takes the directory of one shard: locks it against other processes, makes missing subdirectories (durably) and finds
    /// out how its devices flush.
    ///
    /// # Errors
    /// When it is in use, cannot be opened, or has no direct I/O.
    pub fn add_shard(&mut self, path: &Path, access: Access) -> Result<ShardSlot, OpenDirectoryError> {
        let table = FileTable::open(path, access, self.options.flush)?;
        self.shards.push(table);
        Ok(ShardSlot(self.shards.len() - 1))
    }

    /// The multiple that offsets and lengths must have on the device of a shard's log, in bytes.
    pub fn alignment_bytes(&self, shard: ShardSlot) -> u32 {
        self.shards[shard.0].alignment_bytes()
    }

    /// How a shard's log is flushed.
    pub fn flush_method(&self, shard: ShardSlot) -> FlushMethod {
        self.shards[shard.0].flush_of(Directory::Log)
    }

    /// The waiting view of one shard's files: for opening and recovery, before the executor serves.
    pub fn disk(&mut self, shard: ShardSlot) -> ShardDisk<'_> {
        ShardDisk { ring: self, shard }
    }

    /// For other threads that leave messages.
    pub fn wake_handle(&self) -> WakeHandle {
        self.wake.handle()
    }

    /// Takes an operation. It starts with the next [`RingDisk::enter`].
    pub fn submit(&mut self, shard: ShardSlot, op: DiskOp) {
        let (flush, chosen) = match &op.kind {
            DiskOpKind::Write { file, sync: true, .. } => self.shards[shard.0].choose_flush(file.directory()),
            _ => (None, None),
        };
        let work = Work::of(op.kind, flush, &self.pool);
        let index = self.insert(Op::new(shard, op.id, work).chosen(chosen));
        self.start(index);
    }

    /// Hands what is ready to the kernel, in one system call; none when nothing is ready.
    ///
    /// # Errors
    /// When the ring itself has failed: fatal for every shard on it.
    pub fn enter(&mut self) -> io::Result<()> {
        self.push_ready();
        if self.unsubmitted == 0 { Ok(()) } else { self.kernel(0) }
    }

    /// Moves what has ended into `completions` and starts what that allows. Makes no system call when nothing has ended.
    ///
    /// # Errors
    /// As [`RingDisk::enter`].
    pub fn reap(&mut self, completions: &mut Vec<(ShardSlot, Completion)>) -> io::Result<()> {
        self.look()?;
        self.enter()?;
        completions.append(&mut self.done);
        Ok(())
    }

    /// Operations that have been taken and not yet reaped.
    pub fn pending(&self) -> usize {
        self.ops.len() - self.free.len() + self.done.len()
    }

    /// Waits for at least one completion, then takes all that are there.
    fn wait(&mut self) -> io::Result<()> {
        self.push_ready();
        if !self.take_completions() {
            self.kernel(1)?;
            self.take_completions();
        }
        Ok(())
    }

    fn insert(&mut self, op: Op) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.ops[index] = Some(op);
                index
            }
            None => {
                self.ops.push(Some(op));
                self.ops.len() - 1
            }
        }
    }

    /// Puts the operation into the queue of its kind, after its file has been opened.
    fn start(&mut self, index: usize) {
        let op = self.ops[index].as_mut().expect("an operation that starts is in the table");
        let shard = op.shard;
        if let Some(file) = op.work.file_wanted() {
            match self.shards[shard.0].lookup(file) {
                Lookup::Open(fd) => op.work.give_file(fd),
                Lookup::Opening(opener) => return self.wait_for_file(opener, index),
                Lookup::Closed => return self.open_file(shard, file, index),
            }
        }
        op.work.before_start(&mut self.shards[shard.0]);
        match op.work {
            Work::Read { .. } => self.reads.push_back(index),
            _ => self.ready.push_back(index),
        }
    }

    fn open_file(&mut self, shard: ShardSlot, file: FileName, waiting: usize) {
        let work = self.shards[shard.0].open_work(file, waiting);
        let opener = self.insert(Op::new(shard, WAITED, work));
        self.shards[shard.0].opening(file, opener);
        self.ready.push_back(opener);
    }

    fn wait_for_file(&mut self, opener: usize, index: usize) {
        match self.ops[opener].as_mut().map(|op| &mut op.work) {
            Some(Work::Open { waiting, .. }) => waiting.push(index),
            _ => unreachable!("the table names the operation that opens the file"),
        }
    }

    /// Moves operations into the submission queue while there is room; writes and the like before reads.
    fn push_ready(&mut self) {
        while let Some(entry) = self.sockets.waiting.front() {
            if !push(&mut self.ring, std::slice::from_ref(entry)) {
                return;
            }
            self.sockets.waiting.pop_front();
            self.unsubmitted += 1;
        }
        loop {
            let is_read = self.ready.is_empty();
            if is_read && (self.reads.is_empty() || self.reads_in_flight >= READS_IN_FLIGHT_MAX) {
                return;
            }
            let queue = if is_read { &mut self.reads } else { &mut self.ready };
            let Some(&index) = queue.front() else { return };
            let op = self.ops[index].as_mut().expect("an operation that waits is in the table");
            let entries = op.entries(index as u64, &self.shards[op.shard.0]);
            if self.in_flight + entries.len() > PARTS_IN_FLIGHT_MAX || !push(&mut self.ring, &entries) {
                // No room: what is in the submission queue goes to the kernel first, the rest with a later call.
                return;
            }
            queue.pop_front();
            op.parts_due = entries.len();
            self.in_flight += entries.len();
            self.unsubmitted += entries.len();
            self.reads_in_flight += usize::from(is_read);
        }
    }

    /// Submits all that is pushed and waits for `want` completions, in one system call unless the queue overflows.
    /// Interruptions and shortage of kernel memory are not the operations' failures: nothing has been started then, so
    /// asking again repeats nothing.
    fn kernel(&mut self, want: usize) -> io::Result<()> {
        let mut shortages = 0;
        loop {
            match self.ring.submit_and_wait(want) {
                Ok(taken) => {
                    self.unsubmitted -= taken.min(self.unsubmitted);
                    self.push_ready();
                    if self.unsubmitted == 0 {
                        return Ok(());
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) if shortages < SUBMIT_TRIES_MAX => {
                        shortages += 1;
                        self.take_completions();
                        std::thread::yield_now();
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Takes every completion that is there; false when there was none.
    fn take_completions(&mut self) -> bool {
        let mut scratch = mem::take(&mut self.scratch);
        let entries =
            self.ring.completion().map(|entry: cqueue::Entry| (entry.user_data(), entry.result(), entry.flags()));
        scratch.extend(entries);
        for &(user_data, result, flags) in &scratch {
            if !self.sockets.completed(user_data, result, flags) {
                self.on_completion(user_data, result);
            }
        }
        let any = !scratch.is_empty();
        scratch.clear();
        self.scratch = scratch;
        any
    }

    fn on_completion(&mut self, user_data: u64, result: i32) {
        let (index, part) = op::unpack(user_data);
        self.in_flight -= 1;
        let op = self.ops[index].as_mut().expect("a completion names an operation in flight");
        op.on_part(part, result);
        if op.parts_due > 0 {
            return;
        }
        let shard = op.shard;
        if matches!(op.work, Work::Read { .. }) {
            self.reads_in_flight -= 1;
        }
        let table = &mut self.shards[shard.0];
        match op.step(table, index) {
            Step::Again => match op.work {
                // The rest of a read that the kernel cut goes before new reads.
                Work::Read { .. } => self.reads.push_front(index),
                _ => self.ready.push_back(index),
            },
            Step::Opened(waiting, fd) => {
                self.remove(index);
                for waiting in waiting {
                    let op = self.ops[waiting].as_mut().expect("an operation that waits is in the table");
                    op.work.give_file(std::rc::Rc::clone(&fd));
                    self.start(waiting);
                }
            }
            Step::OpenFailed(waiting, error) => {
                self.remove(index);
                for waiting in waiting {
                    self.finish(waiting, Err(error.clone()));
                }
            }
            Step::Done(result) => {
                if let Some(chosen) = op.chosen {
                    table.flush_ended(chosen);
                }
                self.finish(index, result);
            }
        }
    }

    fn finish(&mut self, index: usize, result: Result<DiskDone, DiskError>) {
        let op = self.remove(index);
        self.done.push((op.shard, Completion { id: op.id, result }));
    }

    fn remove(&mut self, index: usize) -> Op {
        self.free.push(index);
        self.ops[index].take().expect("an operation ends once")
    }
}
