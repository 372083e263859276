//! Bytes on their way to one connection: what may leave ([`OutputQueue`]) and what waits for the log ([`Held`]).
//!
//! Replies to sends are encoded once, when the message is appended, into [`Held`]; the gate later says up to which byte of
//! that stream they may leave. Usually all of it leaves at once and the buffer itself moves: no byte is copied.

use super::io::Chunk;
use super::limits::{BUFFER_KEPT_BYTES_MAX, SHARED_SLICE_BYTES_MIN};
use crate::disk::Block;

/// Empty buffers that wait for their next use: what a driver has sent comes back here.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: Vec<Vec<u8>>,
}

impl Spare {
    const COUNT_MAX: usize = 256;

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let worth_it = (1..=BUFFER_KEPT_BYTES_MAX).contains(&buffer.capacity());
        if worth_it && self.buffers.len() < Self::COUNT_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// A place in an [`OutputQueue`], to come back to: the start of a reply whose length is known later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    chunk: usize,
    offset: usize,
    bytes: usize,
}

/// Bytes that may leave, in order.
#[derive(Debug, Default)]
pub(super) struct OutputQueue {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl OutputQueue {
    /// Bytes that wait to be taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets `write` append to the bytes that leave.
    pub(super) fn append(&mut self, spare: &mut Spare, write: impl FnOnce(&mut Vec<u8>)) {
        let tail = self.tail(spare);
        let before = tail.len();
        write(tail);
        let added = tail.len() - before;
        self.bytes += added;
    }

    /// Appends a slice of the log, in place when that is cheaper than a copy.
    pub(super) fn append_shared(&mut self, spare: &mut Spare, block: &Block, start: usize, length: usize) {
        if length < SHARED_SLICE_BYTES_MIN {
            self.append(spare, |tail| tail.extend_from_slice(&block[start..start + length]));
        } else {
            self.chunks.push(Chunk::Shared { block: block.clone(), start, length });
            self.bytes += length;
        }
    }

    /// Appends a whole buffer without copying it, unless it is small and would make one more piece to send.
    pub(super) fn append_buffer(&mut self, spare: &mut Spare, buffer: Vec<u8>) {
        match self.chunks.last() {
            Some(Chunk::Owned(_)) if buffer.len() < SHARED_SLICE_BYTES_MIN => {
                self.append(spare, |tail| tail.extend_from_slice(&buffer));
                spare.give(buffer);
            }
            _ => {
                self.bytes += buffer.len();
                self.chunks.push(Chunk::Owned(buffer));
            }
        }
    }

    /// Appends everything that another queue holds.
    pub(super) fn append_queue(&mut self, spare: &mut Spare, mut other: Self) {
        for chunk in other.chunks.drain(..) {
            match chunk {
                Chunk::Owned(buffer) => self.append_buffer(spare, buffer),
                shared @ Chunk::Shared { length, .. } => {
                    self.bytes += length;
                    self.chunks.push(shared);
                }
            }
        }
    }

    /// Here: the next byte appended.
    pub(super) fn mark(&mut self, spare: &mut Spare) -> Mark {
        let offset = self.tail(spare).len();
        Mark { chunk: self.chunks.len() - 1, offset, bytes: self.bytes }
    }

    /// Takes back everything appended since `mark`. A queue that is empty then keeps no memory.
    pub(super) fn truncate(&mut self, spare: &mut Spare, mark: Mark) {
        self.chunks.truncate(mark.chunk + 1);
        if let Some(Chunk::Owned(tail)) = self.chunks.last_mut() {
            tail.truncate(mark.offset);
        }
        self.bytes = mark.bytes;
        if self.bytes == 0 {
            for chunk in self.chunks.drain(..) {
                if let Chunk::Owned(buffer) = chunk {
                    spare.give(buffer);
                }
            }
        }
    }

    /// The bytes that were appended to the buffer at `mark`, to be patched; and how many bytes followed the mark in all.
    pub(super) fn since(&mut self, mark: Mark) -> (&mut [u8], usize) {
        match &mut self.chunks[mark.chunk] {
            Chunk::Owned(buffer) => (&mut buffer[mark.offset..], self.bytes - mark.bytes),
            Chunk::Shared { .. } => (&mut [], 0),
        }
    }

    /// Hands everything over; returns how many bytes.
    pub(super) fn take(&mut self, into: &mut Vec<Chunk>) -> usize {
        into.append(&mut self.chunks);
        if self.chunks.capacity() > 64 {
            self.chunks = Vec::new();
        }
        std::mem::take(&mut self.bytes)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.chunks = Vec::new();
        self.bytes = 0;
    }

    fn tail(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if !matches!(self.chunks.last(), Some(Chunk::Owned(_))) {
            self.chunks.push(Chunk::Owned(spare.take()));
        }
        match self.chunks.last_mut() {
            Some(Chunk::Owned(tail)) => tail,
            _ => unreachable!("an owned chunk was just pushed"),
        }
    }
}

/// Encoded replies that wait for the log, as a stream: byte `n` of it is held until the gate releases beyond `n`.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// `buffer[start..]` is held.
    buffer: Vec<u8>,
    start: usize,
    /// How many bytes were released before `buffer[start]`.
    released: u64,
}

impl Held {
    /// Where the next reply is appended.
    pub(super) fn buffer(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare.take();
        }
        &mut self.buffer
    }

    /// The end of the stream so far.
    pub(super) fn end(&self) -> u64 {
        self.released + (self.buffer.len() - self.start) as u64
    }

    /// The held bytes before `end`.
    pub(super) fn before(&self, end: u64) -> &[u8] {
        let until = self.start + self.length_before(end);
        &self.buffer[self.start..until]
    }

    /// Drops the bytes before `end`; `bytes` go to `output` in their place.
    pub(super) fn release_as(&mut self, end: u64, bytes: Vec<u8>, output: &mut OutputQueue, spare: &mut Spare) {
        output.append_buffer(spare, bytes);
        self.start += self.length_before(end);
        self.released = end;
        self.compact(spare);
    }

    /// Moves the bytes before `end` to `output`.
    pub(super) fn release(&mut self, end: u64, output: &mut OutputQueue, spare: &mut Spare) {
        let length = self.length_before(end);
        if self.start == 0 && length == self.buffer.len() {
            output.append_buffer(spare, std::mem::take(&mut self.buffer));
        } else {
            let until = self.start + length;
            output.append(spare, |tail| tail.extend_from_slice(&self.buffer[self.start..until]));
            self.start = until;
        }
        self.released = end;
        self.compact(spare);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn length_before(&self, end: u64) -> usize {
        assert!(self.released <= end && end <= self.end(), "{} <= {end} <= {}", self.released, self.end());
        usize::try_from(end - self.released).unwrap_or(usize::MAX)
    }

    /// Keeps the released prefix at most as long as the held rest, so that each byte is moved a bounded number of times.
    fn compact(&mut self, spare: &mut Spare) {
        if self.start == self.buffer.len() {
            spare.give(std::mem::take(&mut self.buffer));
            self.start = 0;
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::BlockPool;

    fn bytes_of(queue: &mut OutputQueue) -> Vec<u8> {
        let mut chunks = Vec::new();
        queue.take(&mut chunks);
        chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect()
    }

    #[test]
    fn held_bytes_leave_up_to_the_released_byte_and_in_order() {
        let (mut spare, mut held, mut queue) = (Spare::default(), Held::default(), OutputQueue::default());
        held.buffer(&mut spare).extend_from_slice(b"abcdef");
        held.release(2, &mut queue, &mut spare);
        held.buffer(&mut spare).extend_from_slice(b"gh");
        held.release(7, &mut queue, &mut spare);
        assert_eq!(held.end(), 8);
        assert_eq!(bytes_of(&mut queue), b"abcdefg");
        held.release(8, &mut queue, &mut spare);
        assert_eq!(bytes_of(&mut queue), b"h");
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn wholly_released_buffer_is_moved_not_copied() {
        let (mut spare, mut held, mut queue) = (Spare::default(), Held::default(), OutputQueue::default());
        held.buffer(&mut spare).extend_from_slice(&[7; 4000]);
        let address = held.buffer(&mut spare).as_ptr();
        held.release(4000, &mut queue, &mut spare);
        let mut chunks = Vec::new();
        assert_eq!(queue.take(&mut chunks), 4000);
        assert_eq!(chunks[0].bytes().as_ptr(), address);
    }

    #[test]
    fn truncated_output_is_as_before_the_mark() {
        let (mut spare, mut queue) = (Spare::default(), OutputQueue::default());
        queue.append(&mut spare, |tail| tail.extend_from_slice(b"keep"));
        let mark = queue.mark(&mut spare);
        let block = BlockPool::new(0).take(8192).freeze();
        queue.append(&mut spare, |tail| tail.extend_from_slice(b"drop"));
        queue.append_shared(&mut spare, &block, 0, 5000);
        queue.append_shared(&mut spare, &block, 0, 10);
        assert_eq!(queue.since(mark).1, 4 + 5000 + 10);
        queue.truncate(&mut spare, mark);
        assert_eq!(queue.bytes(), 4);
        assert_eq!(bytes_of(&mut queue), b"keep");
    }

    #[test]
    fn large_slices_of_the_log_are_sent_in_place_and_small_ones_copied() {
        let (mut spare, mut queue) = (Spare::default(), OutputQueue::default());
        let block = BlockPool::new(0).take(8192).freeze();
        queue.append_shared(&mut spare, &block, 100, SHARED_SLICE_BYTES_MIN - 1);
        queue.append_shared(&mut spare, &block, 100, SHARED_SLICE_BYTES_MIN);
        let mut chunks = Vec::new();
        queue.take(&mut chunks);
        assert!(matches!(chunks[0], Chunk::Owned(_)) && matches!(chunks[1], Chunk::Shared { start: 100, .. }));
    }
}
