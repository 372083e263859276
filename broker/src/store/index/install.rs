//! Changes of the set of runs: a flush adds one, a merge replaces some by one, a trim removes some.
//!
//! Each change is an [`Edit`]; all edits that wait are made by one checkpoint:
//!
//! 1. Create checkpoint n + 1; write it; sync it; sync the directory.
//! 2. Only then the new set is the state ([`Installer::on_disk`] gives the edits back), and
//! 3. the files that it does not name are removed.
//!
//! A crash before the end of 1 leaves checkpoint n and all its runs; after it, both may be there, and the newer one counts.
//! When a step fails, the edits wait for the next attempt: the runs that they add are durable already.

use std::rc::Rc;

use ringmq_proto::ids::{Epoch, LogPosition};

use super::block::BLOCK_SIZE_BYTES;
use super::run::Run;
use crate::disk::{Block, Completion, Directory, DiskError, DiskOp, DiskOpKind, FileName, OpId};

/// One change of the set of runs.
#[derive(Debug, Default)]
pub(super) struct Edit {
    /// A durable run that joins.
    pub(super) add: Option<Rc<Run>>,
    /// Numbers of runs that leave.
    pub(super) remove: Vec<u64>,
    /// How far the runs cover the log afterwards, and the epoch there: of a flush.
    pub(super) covered: Option<(LogPosition, Epoch)>,
}

/// Applies edits to runs in the order of the log.
pub(super) fn apply(runs: &[Rc<Run>], edits: &[Edit]) -> Vec<Rc<Run>> {
    let leaves = |run: &&Rc<Run>| edits.iter().any(|edit| edit.remove.contains(&run.header.number));
    let stay = runs.iter().filter(|run| !leaves(run));
    let mut runs: Vec<_> = stay.chain(edits.iter().filter_map(|edit| edit.add.as_ref())).cloned().collect();
    runs.sort_by_key(|run| run.header.start);
    runs
}

#[derive(Debug)]
enum Step {
    Create,
    Creating(OpId),
    Write,
    Writing(OpId),
    Sync,
    Syncing(OpId),
    SyncDirectory,
    SyncingDirectory(OpId),
}

#[derive(Debug)]
struct Job {
    number: u64,
    block: Block,
    edits: Vec<Edit>,
    step: Step,
}

/// What came of a checkpoint.
#[derive(Debug)]
pub(super) enum Installed {
    /// A step was done; the next one follows.
    Going,
    /// The checkpoint with this number is durable, and with it these edits.
    Done(u64, Vec<Edit>),
    /// It failed; its file is to be removed. The edits wait again.
    Failed(FileName, DiskError),
}

/// Makes edits durable, one checkpoint at a time.
#[derive(Debug)]
pub(super) struct Installer {
    waiting: Vec<Edit>,
    job: Option<Job>,
    number_next: u64,
}

impl Installer {
    /// One that numbers its checkpoints from `number_next`.
    pub(super) fn new(number_next: u64) -> Self {
        Self { waiting: Vec::new(), job: None, number_next }
    }

    /// Lets an edit wait for the next checkpoint.
    pub(super) fn push(&mut self, edit: Edit) {
        self.waiting.push(edit);
    }

    /// All edits that are not installed yet.
    pub(super) fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.waiting.iter().chain(self.job.iter().flat_map(|job| &job.edits))
    }

    /// Whether there is nothing to install.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.job.is_none()
    }

    /// Begins a checkpoint of all waiting edits, if there are some and none is going on. `encode` makes the block from the
    /// edits and the checkpoint's number.
    pub(super) fn start(&mut self, encode: impl FnOnce(&[Edit], u64) -> Block) {
        if self.job.is_some() || self.waiting.is_empty() {
            return;
        }
        let number = self.number_next;
        self.number_next += 1;
        let edits = std::mem::take(&mut self.waiting);
        self.job = Some(Job { number, block: encode(&edits, number), edits, step: Step::Create });
    }

    /// Starts the next step, with at most `ops_free` operations; takes as many off it.
    pub(super) fn drive(&mut self, next_id: &mut impl FnMut() -> OpId, ops_free: &mut usize, out: &mut Vec<DiskOp>) {
        let Some(job) = self.job.as_mut().filter(|_| *ops_free > 0) else { return };
        let file = FileName::Checkpoint(job.number);
        let (kind, step): (_, fn(OpId) -> Step) = match job.step {
            Step::Create => (DiskOpKind::Create { file, size_bytes: BLOCK_SIZE_BYTES as u64 }, Step::Creating),
            Step::Write => {
                let block = job.block.clone();
                let write =
                    DiskOpKind::Write { file, offset: 0, block, start: 0, length: BLOCK_SIZE_BYTES, sync: false };
                (write, Step::Writing)
            }
            Step::Sync => (DiskOpKind::Sync { file }, Step::Syncing),
            Step::SyncDirectory => (DiskOpKind::SyncDir { directory: Directory::Index }, Step::SyncingDirectory),
            _ => return,
        };
        let id = next_id();
        job.step = step(id);
        out.push(DiskOp { id, kind });
        *ops_free -= 1;
    }

    /// Takes the completion of one of its operations; nothing when it is not of this.
    pub(super) fn on_disk(&mut self, completion: &Completion) -> Option<Installed> {
        let job = self.job.as_mut()?;
        let next = match job.step {
            Step::Creating(id) if id == completion.id => Some(Step::Write),
            Step::Writing(id) if id == completion.id => Some(Step::Sync),
            Step::Syncing(id) if id == completion.id => Some(Step::SyncDirectory),
            Step::SyncingDirectory(id) if id == completion.id => None,
            _ => return None,
        };
        if let Err(error) = &completion.result {
            let mut job = self.job.take().expect("seen above");
            job.edits.append(&mut self.waiting);
            self.waiting = job.edits;
            return Some(Installed::Failed(FileName::Checkpoint(job.number), error.clone()));
        }
        match next {
            Some(step) => {
                job.step = step;
                Some(Installed::Going)
            }
            None => self.job.take().map(|job| Installed::Done(job.number, job.edits)),
        }
    }

    /// Forgets all edits and the checkpoint that is being written: its file, and its operation in flight, if any.
    pub(super) fn discard(&mut self) -> Option<(FileName, Option<OpId>)> {
        self.waiting.clear();
        self.job.take().map(|job| {
            let in_flight = match job.step {
                Step::Creating(id) | Step::Writing(id) | Step::Syncing(id) | Step::SyncingDirectory(id) => Some(id),
                _ => None,
            };
            (FileName::Checkpoint(job.number), in_flight)
        })
    }
}
