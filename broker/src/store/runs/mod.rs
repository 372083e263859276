//! What runs of the key index and of the index by due time have in common: files of blocks (`index::block`) that are written
//! once, header last, and are durable or nothing.
//!
//! Knows files and blocks, no entry and no order.

mod garbage;
mod read;
mod write;

pub(super) use garbage::Garbage;
pub(super) use read::{read_block, read_items, remove_files};
pub(super) use write::{FILE_BYTES_MAX, RunFile};
