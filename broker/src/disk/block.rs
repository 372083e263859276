//! Aligned memory that a disk operation carries: filled by its one owner, then frozen and shared by count.
//!
//! A [`BlockPool`] belongs to one shard's driver. A [`BlockMut`] has one owner, who fills it; [`BlockMut::freeze`] makes
//! a [`Block`], which the disk write, the hot tail and any number of readers hold by reference count. They end in any
//! order; after the last, the memory is back in the pool.

use std::cell::RefCell;
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

#[derive(Default)]
struct Free {
    memories: Vec<Memory>,
    bytes: usize,
    bytes_max: usize,
}

/// Where blocks come from and go back to. Keeps at most `idle_bytes_max` of unused memory; the rest is freed.
#[derive(Clone)]
pub struct BlockPool {
    free: Rc<RefCell<Free>>,
}

impl BlockPool {
    /// A pool that keeps up to `idle_bytes_max` bytes of unused blocks for the next taker.
    pub fn new(idle_bytes_max: usize) -> Self {
        Self { free: Rc::new(RefCell::new(Free { memories: Vec::new(), bytes: 0, bytes_max: idle_bytes_max })) }
    }

    /// A block of at least `size_bytes`, rounded up to whole pages of 4 KiB. Its content is unspecified (zero when new, old
    /// when reused): the owner writes before it reads.
    pub fn take(&self, size_bytes: usize) -> BlockMut {
        let page_count = size_bytes.div_ceil(BLOCK_ALIGNMENT_BYTES).max(1);
        let reused = {
            let mut free = self.free.borrow_mut();
            let found = free.memories.iter().rposition(|memory| memory.len() == page_count);
            found.map(|index| {
                let memory = free.memories.swap_remove(index);
                free.bytes -= memory.len() * BLOCK_ALIGNMENT_BYTES;
                memory
            })
        };
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
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let mut free = home.borrow_mut();
        let size_bytes = self.memory.len() * BLOCK_ALIGNMENT_BYTES;
        if free.bytes + size_bytes <= free.bytes_max {
            free.bytes += size_bytes;
            free.memories.push(std::mem::take(&mut self.memory));
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
        assert_eq!(pool.free.borrow().memories.len(), 1, "reused, not made anew");
    }

    #[test]
    fn pool_keeps_no_more_than_its_bound() {
        let pool = BlockPool::new(8192);
        let blocks: Vec<_> = (0..4).map(|_| pool.take(4096)).collect();
        drop(blocks);
        assert_eq!(pool.free.borrow().bytes, 8192);
    }
}
