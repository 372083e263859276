//! A damaged run is made again from the log, in pieces, while the shard serves.
//!
//! 1. The store goes through the part of the log that the run covers (`store::index_rebuild`) and gives the entries here.
//! 2. When memory has enough of them, they are written as a run of their own, a piece: durable, named by nothing yet.
//! 3. After the last piece, and when the log says durably what was found damaged on the way: one checkpoint names all pieces
//!    instead of the run.
//!
//! Until 3 questions that need the damaged blocks are refused, and all others are answered. A crash before 3 leaves a
//! checkpoint that says of damage: the next start builds the whole index anew.

use std::rc::Rc;

use ringmq_proto::ids::{LogPosition, QueueId};

use super::Index;
use super::checkpoint::RUN_COUNT_MAX;
use super::entry::{ENTRY_SIZE_BYTES, IndexEntry};
use super::flush::Cursor;
use super::install::Edit;
use super::recent::{Recent, RecentTable};
use super::run::{Run, RunWriter, WriterPlan};
use crate::disk::Completion;
use crate::mutant::{self, Mutant};

/// Pieces of one run. When reached: the run is left to the next start (it would take more memory, or more runs than a
/// checkpoint can name).
const PIECE_COUNT_MAX: usize = RUN_COUNT_MAX / 2;

/// A run that is being made again.
pub(super) struct Rebuild {
    run: Rc<Run>,
    /// Where the piece begins whose entries are in memory.
    start: LogPosition,
    /// Up to where the log was looked through.
    at: LogPosition,
    table: RecentTable,
    writing: Option<(Box<RunWriter>, Cursor)>,
    /// The piece could not be written: it is tried again.
    failed: bool,
    pieces: Vec<Rc<Run>>,
}

impl Rebuild {
    fn end(&self) -> LogPosition {
        self.run.header.end
    }

    /// Whether it takes the place of this run.
    pub(super) fn is_of(&self, number: u64) -> bool {
        self.run.header.number == number
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    pub(super) fn writer_mut(&mut self) -> Option<&mut RunWriter> {
        self.writing.as_mut().map(|(writer, _)| &mut **writer)
    }

    /// Whether all pieces are durable.
    fn is_done(&self) -> bool {
        self.at >= self.end() && self.writing.is_none() && !self.failed
    }
}

impl Index {
    /// The part of the log whose entries a damaged run has lost and that is to be looked through next, if there is one and
    /// there is room for what will be found.
    pub fn rebuild_wants(&mut self) -> Option<(LogPosition, LogPosition)> {
        if self.suspended || mutant::active(Mutant::IndexRunNotRebuilt) {
            return None;
        }
        if self.rebuild.is_none() {
            let run = self.runs.iter().find(|run| run.damaged.get() && self.is_free(run) && self.fits(run))?;
            let (run, start) = (Rc::clone(run), run.header.start);
            let table = RecentTable::default();
            self.rebuild =
                Some(Rebuild { run, start, at: start, table, writing: None, failed: false, pieces: Vec::new() });
        }
        let rebuild = self.rebuild.as_ref()?;
        let has_room = rebuild.writing.is_none() && !rebuild.failed && rebuild.at < rebuild.end();
        has_room.then(|| (rebuild.at.max(self.trimmed).min(rebuild.end()), rebuild.end()))
    }

    /// Takes an entry of the part that is looked through, in log order; false for one that cannot be of this log, because a
    /// later offset of the queue was seen before it.
    pub fn rebuild_add(&mut self, queue: QueueId, entry: IndexEntry) -> bool {
        let Some(rebuild) = &mut self.rebuild else { return true };
        if self.recent.is_removed(queue) {
            return true;
        }
        if rebuild.table.entry_count() == 0 && rebuild.pieces.is_empty() && mutant::active(Mutant::RebuiltRunLacksEntry)
        {
            rebuild.table.remove(queue);
        }
        let last = rebuild.table.get(queue).and_then(Recent::last);
        if last.is_some_and(|last| last.next_offset() > entry.offset || last.position >= entry.position) {
            return false;
        }
        rebuild.table.add(queue, entry);
        true
    }

    /// The log was looked through up to `at`.
    pub fn rebuild_scanned(&mut self, at: LogPosition) {
        let bytes_max = self.limits.recent_bytes_max;
        let Some(rebuild) = &mut self.rebuild else { return };
        rebuild.at = at.min(rebuild.run.header.end);
        let filled_bytes = rebuild.table.entry_count() * ENTRY_SIZE_BYTES;
        if rebuild.table.entry_count() > 0 && (rebuild.at >= rebuild.end() || filled_bytes >= bytes_max) {
            self.start_piece();
        }
    }

    /// Step 3, once all pieces are durable. True when the run was replaced.
    pub fn rebuild_install(&mut self) -> bool {
        let Some(rebuild) = self.rebuild.take_if(|rebuild| rebuild.is_done()) else { return false };
        let number = rebuild.run.header.number;
        for piece in rebuild.pieces {
            self.installer.push(Edit { add: Some(piece), ..Edit::default() });
        }
        self.installer.push(Edit { remove: vec![number], ..Edit::default() });
        true
    }

    fn fits(&self, run: &Run) -> bool {
        let entries_max = (self.limits.recent_bytes_max / ENTRY_SIZE_BYTES).max(1) as u64;
        run.header.entry_count.div_ceil(entries_max) <= PIECE_COUNT_MAX as u64
    }

    fn start_piece(&mut self) {
        let number = self.take_run_number();
        let Some(rebuild) = &mut self.rebuild else { return };
        let plan = WriterPlan {
            log_id: self.log_id,
            number,
            level: rebuild.run.header.level,
            start: rebuild.start,
            end: rebuild.at,
            entry_count_max: rebuild.table.entry_count() as u64,
            queue_count_max: rebuild.table.queue_count() as u64,
        };
        rebuild.writing = Some((Box::new(RunWriter::new(&self.pool, plan)), Cursor::default()));
    }

    /// One slice of a piece. True when there is more to do at once.
    pub(super) fn rebuild_slice(&mut self) -> bool {
        let Some(rebuild) = &mut self.rebuild else { return false };
        if rebuild.failed && !self.suspended {
            rebuild.failed = false;
            self.start_piece();
            return false;
        }
        let Some((writer, cursor)) = &mut rebuild.writing else { return false };
        if writer.takes_entries() {
            cursor.fill(&rebuild.table, self.trimmed, rebuild.at, writer);
        }
        if !cursor.is_ended() {
            return writer.takes_entries();
        }
        if writer.is_empty() {
            let (file, in_flight) = (writer.file(), writer.in_flight());
            rebuild.next_piece(None);
            self.abandon(file, in_flight);
        } else if writer.is_done()
            && let Some((writer, _)) = rebuild.writing.take()
        {
            rebuild.next_piece(Some(Rc::new(writer.into_run())));
        }
        false
    }

    /// Takes a completion of the piece that is written; false when it is not of it.
    pub(super) fn rebuild_on_disk(&mut self, completion: &Completion) -> bool {
        let Some(rebuild) = &mut self.rebuild else { return false };
        let Some(outcome) = rebuild.writer_mut().and_then(|writer| writer.on_disk(completion)) else { return false };
        if let Err(error) = outcome {
            if let Some((writer, _)) = rebuild.writing.take() {
                rebuild.failed = true;
                self.abandon(writer.file(), writer.in_flight());
            }
            self.fail(error);
        }
        true
    }

    /// Lets go of what is being made again, with its files.
    pub(super) fn abandon_rebuild(&mut self) {
        let Some(rebuild) = self.rebuild.take() else { return };
        if let Some((writer, _)) = rebuild.writing {
            self.abandon(writer.file(), writer.in_flight());
        }
        for piece in rebuild.pieces {
            self.abandon(piece.header.file(), Vec::new());
        }
    }
}

impl Rebuild {
    fn next_piece(&mut self, piece: Option<Rc<Run>>) {
        self.pieces.extend(piece);
        self.writing = None;
        self.table = RecentTable::default();
        self.start = self.at;
    }
}
