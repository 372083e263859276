//! Reading a run's header and fences while a store opens, and removing what is no run.

use crate::disk::{Block, Directory, Disk, DiskDone, DiskError, DiskOpKind, FileName};
use crate::store::index::block::{self, BLOCK_SIZE_BYTES, Label};
use std::ops::Range;

/// The block that the label names, if it can be read and checks.
pub(in crate::store) fn read_block<D: Disk>(
    disk: &mut D,
    file: FileName,
    label: Label,
    item_size_bytes: usize,
) -> Option<Block> {
    let offset = label.block * BLOCK_SIZE_BYTES as u64;
    let block = match disk.execute(DiskOpKind::Read { file, offset, length: BLOCK_SIZE_BYTES }) {
        Ok(DiskDone::Read { block, length: BLOCK_SIZE_BYTES }) => block,
        _ => return None,
    };
    block::check(&block, label, item_size_bytes).ok()?;
    Some(block)
}

/// The items of these blocks, which are labelled as `label` but for their numbers; nothing when one does not check.
pub(in crate::store) fn read_items<D: Disk, T>(
    disk: &mut D,
    file: FileName,
    label: Label,
    blocks: Range<u64>,
    item_size_bytes: usize,
    decode: impl Fn(&[u8]) -> T,
) -> Option<Vec<T>> {
    let mut items = Vec::new();
    for number in blocks {
        let block = read_block(disk, file, Label { block: number, ..label }, item_size_bytes)?;
        let count = block::item_count(&block) as usize;
        items.extend((0..count).map(|index| decode(block::item(&block, index, item_size_bytes))));
    }
    Some(items)
}

/// Removes files of the index's directory.
///
/// # Errors
/// When the disk fails to.
pub(in crate::store) fn remove_files<D: Disk>(disk: &mut D, files: &[FileName]) -> Result<(), DiskError> {
    for file in files {
        disk.execute(DiskOpKind::Remove { file: *file })?;
    }
    if !files.is_empty() {
        disk.execute(DiskOpKind::SyncDir { directory: Directory::Index })?;
    }
    Ok(())
}
