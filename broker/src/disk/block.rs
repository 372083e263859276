//! Aligned memory that a disk operation carries: filled by its one owner, then frozen and shared by count.
//!
//! A [`BlockPool`] belongs to one shard's driver. A [`BlockMut`] has one owner, who fills it; [`BlockMut::freeze`] makes
//! a [`Block`], which the disk write, the hot tail and any number of readers hold by reference count. They end in any
//! order; after the last, the memory is back in the pool.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::{Rc, Weak};

/// Alignment of every block: the coarsest logical block that a log may be made with (O_DIRECT asks it of memory too).
pub const BLOCK_ALIGNMENT_BYTES: usize = 4096;

/// One page of aligned memory; a boxed slice of these is aligned without a hand-written allocator.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; BLOCK_ALIGNMENT_BYTES]);

const _: () = assert!(align_of::<Page>() == BLOCK_ALIGNMENT_BYTES && size_of::<Page>() == BLOCK_ALIGNMENT_BYTES);

type Memory = Box<[Page]>;

/// Unused blocks of one size.
#[derive(Default)]
struct Class {
    memories: Vec<Memory>,
    /// The pool's count of takes when one of this size was last asked for.
    asked_at: u64,
}

#[derive(Default)]
struct Free {
    /// By pages.
    classes: BTreeMap<usize, Class>,
    asked_count: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Free {
    fn take(&mut self, page_count: usize) -> Option<Memory> {
        self.asked_count += 1;
        let class = self.classes.entry(page_count).or_default();
        class.asked_at = self.asked_count;
        let memory = class.memories.pop()?;
        self.bytes -= page_count * BLOCK_ALIGNMENT_BYTES;
        Some(memory)
    }

    /// Keeps a block for the next taker. Sizes that nobody has asked for for the longest time make room.
    fn give(&mut self, memory: Memory) {
        let size_bytes = memory.len() * BLOCK_ALIGNMENT_BYTES;
        while self.bytes + size_bytes > self.bytes_max {
            let others = self.classes.iter().filter(|(pages, _)| **pages != memory.len());
            let Some((&pages, _)) = others.min_by_key(|(_, class)| class.asked_at) else { return };
            match self.classes.get_mut(&pages).and_then(|class| class.memories.pop()) {
                Some(_) => self.bytes -= pages * BLOCK_ALIGNMENT_BYTES,
                None => drop(self.classes.remove(&pages)),
            }
        }
        self.bytes += size_bytes;
        self.classes.entry(memory.len()).or_default().memories.push(memory);
    }
}

/// Where blocks come from and go back to. Keeps at most `idle_bytes_max` of unused memory; the rest is freed.
#[derive(Clone)]
pub struct BlockPool {
    free: Rc<RefCell<Free>>,
}

impl BlockPool {
    /// A pool that keeps up to `idle_bytes_max` bytes of unused blocks for the next taker.
    pub fn new(idle_bytes_max: usize) -> Self {
        Self { free: Rc::new(RefCell::new(Free { bytes_max: idle_bytes_max, ..Free::default() })) }
    }

    /// A block of at least `size_bytes`, rounded up to whole pages of 4 KiB. Its content is unspecified (zero when new, old
    /// when reused): the owner writes before it reads.
    pub fn take(&self, size_bytes: usize) -> BlockMut {
        let page_count = size_bytes.div_ceil(BLOCK_ALIGNMENT_BYTES).max(1);
        let reused = self.free.borrow_mut().take(page_count);
        let memory = reused.unwrap_or_else(|| vec![Page([0; BLOCK_ALIGNMENT_BYTES]); page_count].into_boxed_slice());
        BlockMut { memory, home: Rc::downgrade(&self.free) }
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockPool({} idle bytes)", self.free.borrow().bytes)
    }
}

/// A block with one owner, who may fill it. Dereferences to its bytes.
pub struct BlockMut {
    memory: Memory,
    home: Weak<RefCell<Free>>,
}

impl BlockMut {
    /// Ends the filling: the bytes never change again until the last holder lets go.
    pub fn freeze(self) -> Block {
        Block { shared: Rc::new(self) }
    }
}

impl Deref for BlockMut {
    type Target = [u8];

    #[expect(unsafe_code, reason = "pages are seen as the bytes that they are")]
    fn deref(&self) -> &[u8] {
        // SAFETY: a `Page` is 4096 initialised bytes without padding, so `len` pages are `len * 4096` readable bytes.
        unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr().cast::<u8>(), self.memory.len() * BLOCK_ALIGNMENT_BYTES)
        }
    }
}

impl DerefMut for BlockMut {
    #[expect(unsafe_code, reason = "pages are seen as the bytes that they are")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only view, and every byte value is a valid `u8`.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.as_mut_ptr().cast::<u8>(),
                self.memory.len() * BLOCK_ALIGNMENT_BYTES,
            )
        }
    }
}

impl Drop for BlockMut {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.borrow_mut().give(std::mem::take(&mut self.memory));
        }
    }
}

impl fmt::Debug for BlockMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockMut({} bytes)", self.len())
    }
}

/// A frozen block: shared by count, never changed. Dereferences to its bytes.
#[derive(Clone)]
pub struct Block {
    shared: Rc<BlockMut>,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.shared
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes, {} holders)", self.len(), Rc::strong_count(&self.shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_aligned_and_returns_to_its_pool_after_the_last_holder() {
        let pool = BlockPool::new(1 << 20);
        let mut block = pool.take(5000);
        assert_eq!(block.len(), 8192);
        assert_eq!(block.as_ptr() as usize % BLOCK_ALIGNMENT_BYTES, 0);
        block[8191] = 7;
        let frozen = block.freeze();
        let second = frozen.clone();
        drop(frozen);
        assert_eq!(pool.free.borrow().bytes, 0, "a holder is left");
        assert_eq!(second[8191], 7);
        drop(second);
        assert_eq!(pool.free.borrow().bytes, 8192);
        drop(pool.take(8192));
        assert_eq!(pool.free.borrow().classes[&2].memories.len(), 1, "reused, not made anew");
    }

    #[test]
    fn pool_keeps_no_more_than_its_bound() {
        let pool = BlockPool::new(8192);
        let blocks: Vec<_> = (0..4).map(|_| pool.take(4096)).collect();
        drop(blocks);
        assert_eq!(pool.free.borrow().bytes, 8192);
    }

    #[test]
    fn size_that_nobody_asks_for_any_more_makes_room() {
        let pool = BlockPool::new(64 << 10);
        let old: Vec<_> = (0..16).map(|_| pool.take(4096)).collect();
        drop(old);
        for _ in 0..3 {
            drop(pool.take(32 << 10));
            drop(pool.take(16 << 10));
        }
        let free = pool.free.borrow();
        assert_eq!((free.classes[&8].memories.len(), free.classes[&4].memories.len()), (1, 1));
        assert_eq!(free.bytes, 64 << 10, "what still fits is kept");
    }
}
