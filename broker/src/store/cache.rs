//! The block cache of a shard: every cold read of log segments and index runs goes through it, so that interleaved
//! readers do not read the same bytes several times.
//!
//! A file is cut into blocks of a fixed size, a segment at once into large and small ones and pages ([`Place`]): who goes through
//! it in order asks for large ones, who wants one record of it for a small one, or, when it is the only one, for its page. A reader asks for a block with
//! [`BlockCache::get`]; when it is not there, the load is wanted (once, however many ask), the reader parks, and tries again
//! when the load that it waits for has ended ([`BlockCache::take_awaited`], [`BlockCache::drain_ended`]). At most
//! [`LOADS_IN_FLIGHT_MAX`] loads are in flight; the rest wait in the order in which they were asked, those that a reader
//! waits for before those that are only read ahead. A load that fails is remembered until somebody asks for its block: the
//! asker gets the error once, and the next one tries again.
//!
//! Eviction is by a clock hand that takes one chance from each block that it passes, and the block that has none: a block
//! that waits for its reader has the most, one that was used again and again more than one that was used once, so
//! that a replay does not wash out the directories of runs. The budget is never below [`BUDGET_BYTES_MIN`], so a reader that needs two blocks at
//! once gets both. Nothing here is durable, and the order of everything follows from the calls alone.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::disk::{Block, Completion, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName, OpId};

/// Bytes of a large block of a log segment.
pub const SEGMENT_BLOCK_SIZE_BYTES: usize = 256 << 10;

/// Bytes of a small block of a log segment: devices give as many of these a second as of 4 KiB, and among 100 000 queues the
/// neighbours of a record are often asked for soon.
pub const SMALL_BLOCK_SIZE_BYTES: usize = 16 << 10;

/// Bytes of a block of a log segment for one record whose neighbours nobody will ask for: below the small ones' size, devices
/// under load give more of these a second (here, 16 at a time: 70 000 against 47 000).
pub const PAGE_BLOCK_SIZE_BYTES: usize = 4 << 10;

/// Bytes of a cached block of any other file: an index run's own block size.
pub const RUN_BLOCK_SIZE_BYTES: usize = 64 << 10;

/// Loads in flight. When reached: further loads wait their turn.
pub const LOADS_IN_FLIGHT_MAX: usize = 16;

/// Bytes of loads in flight. When reached: further loads wait their turn, so that a replay does not fill the device's queue.
pub const LOAD_BYTES_IN_FLIGHT_MAX: usize = 8 * SEGMENT_BLOCK_SIZE_BYTES;

/// Loads that readers wait for and that have not begun. When reached: a read asks for what it cannot go on without, no more.
pub const DEMANDED_MAX: usize = 64;

/// Blocks that are read ahead of a sequential reader of a segment.
pub const READ_AHEAD_BLOCK_COUNT: u64 = 4;

/// Read-ahead loads that wait. When reached: the oldest is forgotten.
pub const READ_AHEAD_WAITING_MAX: usize = 64;

/// Failed loads that are remembered. When reached: the oldest is forgotten, and its asker would load it again.
pub const FAILED_LOADS_MAX: usize = 256;

/// The least budget: the loads in flight and as many bytes again, so that nothing is evicted before it was looked at.
pub const BUDGET_BYTES_MIN: usize = 2 * LOAD_BYTES_IN_FLIGHT_MAX;

/// Chances of a block that was loaded for a reader who has not come back for it yet.
const CHANCES_AWAITED: u8 = 3;

/// Chances of a block that was read ahead, or used more than once.
const CHANCES_USED_AGAIN: u8 = 2;

/// Chances of a block that was used once.
const CHANCES_USED: u8 = 1;

/// The unit of reads: lengths asked of the disk are multiples of it.
const READ_UNIT_BYTES: usize = 4096;

/// One block of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub file: FileName,
    /// Which of its blocks of this size: byte `number * size_bytes()` is the first.
    pub number: u64,
    cut: Cut,
}

/// Which of the blocks into which a segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cut {
    Large,
    Small,
    Page,
}

impl Place {
    /// Block `number` of `file`: of a segment a large one, of an index run one of its own.
    pub const fn new(file: FileName, number: u64) -> Self {
        Self { file, number, cut: Cut::Large }
    }

    /// The block of `file` that holds the byte at `offset`.
    pub fn of(file: FileName, offset: u64) -> Self {
        let place = Self::new(file, 0);
        Self { number: offset / place.size_bytes() as u64, ..place }
    }

    /// The small block of a segment that holds the byte at `offset`.
    pub const fn small(file: FileName, offset: u64) -> Self {
        Self { file, number: offset / SMALL_BLOCK_SIZE_BYTES as u64, cut: Cut::Small }
    }

    /// The page of a segment that holds the byte at `offset`.
    pub const fn page(file: FileName, offset: u64) -> Self {
        Self { file, number: offset / PAGE_BLOCK_SIZE_BYTES as u64, cut: Cut::Page }
    }

    /// Bytes of the block.
    pub const fn size_bytes(self) -> usize {
        match (self.file, self.cut) {
            (FileName::Segment(_), Cut::Large) => SEGMENT_BLOCK_SIZE_BYTES,
            (FileName::Segment(_), Cut::Small) => SMALL_BLOCK_SIZE_BYTES,
            (FileName::Segment(_), Cut::Page) => PAGE_BLOCK_SIZE_BYTES,
            _ => RUN_BLOCK_SIZE_BYTES,
        }
    }

    /// The first byte of the block in its file.
    pub const fn start(self) -> u64 {
        self.number * self.size_bytes() as u64
    }
}

/// A block that is there: `block[..length]` are bytes of the file.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Holds the bytes; the holder keeps them alive beyond eviction.
    pub block: Block,
    /// How many of them are valid: at least what was asked for.
    pub length: usize,
}

/// Why a block is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is being loaded: try again after [`BlockCache::loads_completed`] has changed.
    NotYet,
    /// The load failed. Said once; asking again loads again.
    Failed(DiskError),
    /// The bytes do not pass the asker's check: what it said. The block is dropped; asking again loads again.
    Damaged(String),
}

/// What came of [`BlockCache::demand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demanded {
    /// [`BlockCache::get`] has an answer.
    Ready,
    /// Its load was wanted before and has not ended.
    OnItsWay,
    /// Its load is wanted now.
    Newly,
}

#[derive(Debug)]
enum Entry {
    Resident(u32),
    /// Waits for its turn; `demanded`: in the queue of those that a reader waits for.
    Wanted {
        length: usize,
        demanded: bool,
    },
    Loading {
        demanded: bool,
    },
    Failed(DiskError),
}

#[derive(Debug)]
struct Slot {
    place: Place,
    block: Block,
    length: usize,
    chances: u8,
    used: bool,
    checked: bool,
    /// The blocks after this one were already wanted on its behalf.
    read_ahead: bool,
}

#[derive(Debug)]
struct Load {
    id: OpId,
    place: Place,
    length: usize,
    /// The file was forgotten meanwhile: the bytes are of no use.
    forgotten: bool,
}

/// The cache of one shard.
#[derive(Debug)]
pub struct BlockCache {
    budget_bytes: usize,
    resident_bytes: usize,
    entries: HashMap<Place, Entry, FixedState>,
    slots: Vec<Option<Slot>>,
    slots_free: Vec<u32>,
    hand: usize,
    demanded: VecDeque<Place>,
    ahead: VecDeque<Place>,
    in_flight: Vec<Load>,
    in_flight_bytes: usize,
    failed: VecDeque<Place>,
    loads_completed: u64,
    /// The last load that a reader was told to wait for.
    awaited: Option<Place>,
    /// Loads that have ended, well or not, or will not be.
    ended: Vec<Place>,
}

impl BlockCache {
    /// A cache of at most `budget_bytes` of blocks, but at least [`BUDGET_BYTES_MIN`]. `hash_seed` comes from outside.
    pub fn new(budget_bytes: usize, hash_seed: u64) -> Self {
        Self {
            budget_bytes: budget_bytes.max(BUDGET_BYTES_MIN),
            resident_bytes: 0,
            entries: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            slots: Vec::new(),
            slots_free: Vec::new(),
            hand: 0,
            demanded: VecDeque::new(),
            ahead: VecDeque::new(),
            in_flight: Vec::new(),
            in_flight_bytes: 0,
            failed: VecDeque::new(),
            loads_completed: 0,
            awaited: None,
            ended: Vec::new(),
        }
    }

    /// The block at `place`, of which the caller needs the first `needed_bytes`. `valid_end` is the end of what may be read
    /// of the file (what has been written): bytes beyond it are neither loaded nor given, and a block that was loaded while
    /// the end was lower is loaded again when more of it is needed.
    ///
    /// # Errors
    /// [`Miss::NotYet`] after the load is wanted; [`Miss::Failed`] when it was tried and failed.
    ///
    /// # Panics
    /// When more is needed than lies in the block below `valid_end`: the caller's arithmetic is wrong.
    pub fn get(&mut self, place: Place, needed_bytes: usize, valid_end: u64) -> Result<Cached, Miss> {
        self.get_checked(place, needed_bytes, valid_end, |_| Ok(()))
    }

    /// As [`BlockCache::get`], for blocks that carry a checksum of their own: `check` sees the valid bytes once after each
    /// load, before anybody is given them.
    ///
    /// # Errors
    /// As [`BlockCache::get`], and [`Miss::Damaged`] with what `check` said.
    pub fn get_checked(
        &mut self,
        place: Place,
        needed_bytes: usize,
        valid_end: u64,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<Cached, Miss> {
        let available_bytes = available_bytes(place, valid_end);
        assert!(
            needed_bytes <= available_bytes,
            "{needed_bytes} bytes needed of {available_bytes} at {place:?}, end {valid_end}"
        );
        let index = self.resident(place, needed_bytes, available_bytes);
        let index = match index {
            Ok(index) => index,
            Err(miss) => {
                if miss == Miss::NotYet {
                    self.awaited = Some(place);
                }
                self.read_ahead(place, valid_end);
                return Err(miss);
            }
        };
        let slot = self.slots[index as usize].as_mut().expect("a resident block has a slot");
        slot.chances = if std::mem::replace(&mut slot.used, true) { CHANCES_USED_AGAIN } else { CHANCES_USED };
        if !slot.checked {
            if let Err(why) = check(&slot.block[..slot.length]) {
                self.evict(index);
                return Err(Miss::Damaged(why));
            }
            slot.checked = true;
        }
        let cached = Cached { block: slot.block.clone(), length: slot.length };
        if !std::mem::replace(&mut slot.read_ahead, true) {
            self.read_ahead(place, valid_end);
        }
        Ok(cached)
    }

    /// Says that the block at `place` will be asked for soon: it is loaded after those that readers wait for.
    pub fn expect(&mut self, place: Place, valid_end: u64) {
        self.want(place, available_bytes(place, valid_end));
    }

    /// Whether the first `needed_bytes` of a block are there.
    pub fn holds(&self, place: Place, needed_bytes: usize) -> bool {
        match self.entries.get(&place) {
            Some(Entry::Resident(index)) => {
                self.slots[*index as usize].as_ref().is_some_and(|slot| slot.length >= needed_bytes)
            }
            _ => false,
        }
    }

    /// Asks for the first `needed_bytes` of a block as [`BlockCache::get`] does, but without looking at it.
    pub fn demand(&mut self, place: Place, needed_bytes: usize, valid_end: u64) -> Demanded {
        let demanded = match self.entries.get(&place) {
            Some(Entry::Failed(_)) => return Demanded::Ready,
            Some(Entry::Wanted { .. } | Entry::Loading { .. }) => Demanded::OnItsWay,
            _ if self.holds(place, needed_bytes) => return Demanded::Ready,
            _ => Demanded::Newly,
        };
        let missing = self.resident(place, needed_bytes, available_bytes(place, valid_end));
        assert_eq!(missing.err(), Some(Miss::NotYet), "it is not there");
        self.awaited = Some(place);
        demanded
    }

    /// Whether so many loads are waited for that nobody should ask for more than it cannot go on without.
    pub fn is_pressed(&self) -> bool {
        self.demanded.len() >= DEMANDED_MAX
    }

    /// The load that the last [`Miss::NotYet`] was about, once.
    pub fn take_awaited(&mut self) -> Option<Place> {
        self.awaited.take()
    }

    /// Loads that have ended since the last call, well or not, or will not be: who waits for one may try again.
    pub fn drain_ended(&mut self, out: &mut Vec<Place>) {
        out.append(&mut self.ended);
    }

    /// Starts wanted loads while there is room for more in flight.
    pub fn take_ops(&mut self, next_id: &mut impl FnMut() -> OpId, out: &mut Vec<DiskOp>) {
        while self.has_room_in_flight() {
            let (place, queue_demanded) = match (self.demanded.pop_front(), self.ahead.is_empty()) {
                (Some(place), _) => (place, true),
                (None, false) => (self.ahead.pop_front().expect("not empty"), false),
                (None, true) => return,
            };
            let Some(Entry::Wanted { length, demanded }) = self.entries.get(&place) else { continue };
            let (length, demanded) = (*length, *demanded);
            if demanded != queue_demanded {
                continue; // It moved to the other queue.
            }
            self.entries.insert(place, Entry::Loading { demanded });
            let id = next_id();
            self.in_flight.push(Load { id, place, length, forgotten: false });
            self.in_flight_bytes += length;
            let length = length.next_multiple_of(READ_UNIT_BYTES);
            out.push(DiskOp { id, kind: DiskOpKind::Read { file: place.file, offset: place.start(), length } });
        }
    }

    /// Takes the completion of one of our loads, leaving [`DiskDone::Done`] in its place; false when it is not ours.
    pub fn on_disk(&mut self, completion: &mut Completion) -> bool {
        let Some(index) = self.in_flight.iter().position(|load| load.id == completion.id) else {
            return false;
        };
        let load = self.in_flight.remove(index);
        let result = std::mem::replace(&mut completion.result, Ok(DiskDone::Done));
        self.loads_completed += 1;
        self.in_flight_bytes -= load.length;
        if load.forgotten {
            return true;
        }
        self.ended.push(load.place);
        let Some(Entry::Loading { demanded }) = self.entries.remove(&load.place) else {
            unreachable!("a load in flight is known as such")
        };
        match result {
            Ok(DiskDone::Read { block, length }) if length >= load.length => {
                self.insert(load.place, block, load.length, demanded);
            }
            // Read-ahead that nobody waits for may be tried again by whoever needs it.
            _ if !demanded => {}
            Err(error) => self.remember_failure(load.place, error),
            Ok(done) => {
                let detail = match done {
                    DiskDone::Read { length, .. } => format!("{length} of {} bytes", load.length),
                    DiskDone::Done => "no bytes".into(),
                };
                let detail = format!("read {} at {}: {detail}", load.place.file.path(), load.place.start());
                self.remember_failure(load.place, DiskError { kind: DiskErrorKind::Io, detail });
            }
        }
        true
    }

    /// Counts loads that ended, well or not: when it has changed, parked readers may try again.
    pub fn loads_completed(&self) -> u64 {
        self.loads_completed
    }

    /// Whether [`BlockCache::take_ops`] would have something to start.
    pub fn has_wanted(&self) -> bool {
        self.has_room_in_flight() && !(self.demanded.is_empty() && self.ahead.is_empty())
    }

    fn has_room_in_flight(&self) -> bool {
        self.in_flight.len() < LOADS_IN_FLIGHT_MAX && self.in_flight_bytes < LOAD_BYTES_IN_FLIGHT_MAX
    }

    /// Whether any load is in flight or wanted.
    pub fn is_busy(&self) -> bool {
        !(self.in_flight.is_empty() && self.demanded.is_empty() && self.ahead.is_empty())
    }

    /// Whether a load of `file` is in flight: until then it must not be removed or reused.
    pub fn is_loading(&self, file: FileName) -> bool {
        self.in_flight.iter().any(|load| load.place.file == file)
    }

    /// Drops everything of `file`: it was removed, truncated or reused. What readers hold stays alive; loads in flight
    /// will be ignored.
    pub fn forget(&mut self, file: FileName) {
        for index in 0..self.slots.len() {
            if self.slots[index].as_ref().is_some_and(|slot| slot.place.file == file) {
                self.evict(u32::try_from(index).expect("slots are counted in u32"));
            }
        }
        for queue in [&mut self.demanded, &mut self.ahead, &mut self.failed] {
            queue.retain(|place| {
                let keep = place.file != file;
                if !keep {
                    self.entries.remove(place);
                    self.ended.push(*place);
                }
                keep
            });
        }
        for load in &mut self.in_flight {
            if load.place.file == file && !load.forgotten {
                load.forgotten = true;
                self.entries.remove(&load.place);
                self.ended.push(load.place);
            }
        }
    }

    /// Drops the blocks of `file` that hold any byte from `start` on and below `end`: who asks for them reads them again. What
    /// readers hold stays alive.
    pub fn drop_range(&mut self, file: FileName, start: u64, end: u64) {
        for index in 0..self.slots.len() {
            let lies_in = |place: Place| {
                place.file == file && place.start() < end && place.start() + place.size_bytes() as u64 > start
            };
            if self.slots[index].as_ref().is_some_and(|slot| lies_in(slot.place)) {
                self.evict(u32::try_from(index).expect("slots are counted in u32"));
            }
        }
    }

    /// Bytes of the blocks that are held.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes
    }

    /// The slot of a block that is there with enough bytes; otherwise its load is wanted.
    fn resident(&mut self, place: Place, needed_bytes: usize, available_bytes: usize) -> Result<u32, Miss> {
        match self.entries.get_mut(&place) {
            Some(Entry::Resident(index)) => {
                let index = *index;
                if self.slots[index as usize].as_ref().is_some_and(|slot| slot.length >= needed_bytes) {
                    return Ok(index);
                }
                self.evict(index);
            }
            Some(Entry::Wanted { length, demanded }) => {
                *length = (*length).max(available_bytes);
                if !std::mem::replace(demanded, true) {
                    self.demanded.push_back(place);
                }
                return Err(Miss::NotYet);
            }
            Some(Entry::Loading { demanded }) => {
                *demanded = true;
                return Err(Miss::NotYet);
            }
            Some(Entry::Failed(_)) => {
                let Some(Entry::Failed(error)) = self.entries.remove(&place) else { unreachable!("seen above") };
                self.failed.retain(|failed| *failed != place);
                return Err(Miss::Failed(error));
            }
            None => {}
        }
        self.entries.insert(place, Entry::Wanted { length: available_bytes, demanded: true });
        self.demanded.push_back(place);
        Err(Miss::NotYet)
    }

    /// Wants the blocks after `place` when the reader of a segment seems to go through it in order.
    fn read_ahead(&mut self, place: Place, valid_end: u64) {
        if !matches!(place.file, FileName::Segment(_)) || place.cut != Cut::Large {
            return;
        }
        let before = place.number.checked_sub(1).map(|number| Place { number, ..place });
        if before.is_some_and(|before| !self.entries.contains_key(&before)) {
            return;
        }
        for number in place.number + 1..=place.number + READ_AHEAD_BLOCK_COUNT {
            let next = Place { number, ..place };
            let length = available_bytes(next, valid_end);
            if length < place.size_bytes() {
                return; // A block that is still growing would soon be loaded again.
            }
            self.want(next, length);
        }
    }

    fn want(&mut self, place: Place, length: usize) {
        if self.entries.contains_key(&place) {
            return;
        }
        if self.ahead.len() == READ_AHEAD_WAITING_MAX {
            let oldest = self.ahead.pop_front().expect("full");
            if matches!(self.entries.get(&oldest), Some(Entry::Wanted { demanded: false, .. })) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(place, Entry::Wanted { length, demanded: false });
        self.ahead.push_back(place);
    }

    fn insert(&mut self, place: Place, block: Block, length: usize, demanded: bool) {
        while self.resident_bytes > 0 && self.resident_bytes + block.len() > self.budget_bytes {
            self.advance_hand();
        }
        self.resident_bytes += block.len();
        let chances = if demanded { CHANCES_AWAITED } else { CHANCES_USED_AGAIN };
        let slot = Slot { place, block, length, chances, used: false, checked: false, read_ahead: false };
        let index = match self.slots_free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                self.slots.push(Some(slot));
                u32::try_from(self.slots.len() - 1).expect("slots are counted in u32")
            }
        };
        self.entries.insert(place, Entry::Resident(index));
    }

    fn advance_hand(&mut self) {
        self.hand = (self.hand + 1) % self.slots.len();
        let Some(slot) = &mut self.slots[self.hand] else { return };
        if slot.chances > 0 {
            slot.chances -= 1;
            return;
        }
        self.evict(u32::try_from(self.hand).expect("slots are counted in u32"));
    }

    fn evict(&mut self, index: u32) {
        let slot = self.slots[index as usize].take().expect("only taken slots are evicted");
        self.resident_bytes -= slot.block.len();
        self.slots_free.push(index);
        self.entries.remove(&slot.place);
    }

    fn remember_failure(&mut self, place: Place, error: DiskError) {
        if self.failed.len() == FAILED_LOADS_MAX
            && let Some(oldest) = self.failed.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.failed.push_back(place);
        self.entries.insert(place, Entry::Failed(error));
    }
}

/// Bytes of the block at `place` below `valid_end`.
fn available_bytes(place: Place, valid_end: u64) -> usize {
    let rest = valid_end.saturating_sub(place.start());
    usize::try_from(rest).unwrap_or(usize::MAX).min(place.size_bytes())
}

#[cfg(test)]
mod tests;
