//! What is known of each offset of a queue: 8 bytes, by offset.

use crate::identity::MessageId;

/// The entry holds a message.
pub(super) const OCCUPIED: u16 = 1;
/// An acknowledgement named this offset.
pub(super) const ACKED: u16 = 2;
/// A reader was given it.
pub(super) const POLLED: u16 = 4;
/// The final drain was given it.
pub(super) const DRAINED: u16 = 8;
/// The log was found to hold it.
pub(super) const LOGGED: u16 = 16;
/// A power cut may have removed it: it may come back, go, or be replaced by another.
pub(super) const FORGETTABLE: u16 = 32;

/// Offsets of one queue of one history. When reached: the offset is reported as impossible. (Larger histories are for
/// [`crate::compact`].)
pub(super) const OFFSET_COUNT_MAX: u64 = 1 << 28;

/// One offset: 48 bits of message, 16 of flags.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    message_low: u32,
    message_high: u16,
    pub(super) flags: u16,
}

const _: () = assert!(size_of::<Entry>() == 8);

impl Entry {
    #[expect(clippy::cast_possible_truncation, reason = "an id has 48 bits: 32 here, 16 there")]
    pub(super) fn set(&mut self, message: MessageId, flags: u16) {
        self.message_low = message.bits() as u32;
        self.message_high = (message.bits() >> 32) as u16;
        self.flags = flags | OCCUPIED;
    }

    pub(super) fn message(self) -> MessageId {
        MessageId::from_bits(u64::from(self.message_low) | u64::from(self.message_high) << 32)
    }

    /// Somebody was told of it, and nothing excuses that it goes.
    pub(super) fn is_firm(self) -> bool {
        self.flags & (ACKED | POLLED) != 0 && self.flags & FORGETTABLE == 0
    }
}

/// One queue.
#[derive(Debug, Default)]
pub(super) struct QueueTable {
    pub(super) entries: Vec<Entry>,
    /// Offsets below are no longer owed.
    pub(super) trimmed_below: u64,
    /// Unknown offsets below may be holes.
    pub(super) may_skip_below: u64,
    /// The largest visible end that anybody saw.
    pub(super) visible_end: u64,
    /// First and end offset of the final drain.
    pub(super) drained: Option<(u64, u64)>,
    pub(super) redelivery: bool,
    /// The log was decoded and told: it can be compared.
    pub(super) log_told: bool,
}

impl QueueTable {
    pub(super) fn reset(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = Self { entries, ..Self::default() };
    }

    pub(super) fn is_trimmed(&self, offset: u64) -> bool {
        offset < self.trimmed_below
    }

    /// The entry of `offset`, which the caller has bounded.
    pub(super) fn entry(&mut self, offset: u64) -> &mut Entry {
        let index = usize::try_from(offset).expect("bounded by OFFSET_COUNT_MAX");
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry::default());
        }
        &mut self.entries[index]
    }

    /// Whether any message in `from..to` is owed.
    pub(super) fn any_firm(&self, from: u64, to: u64) -> bool {
        let end = self.entries.len();
        let from = usize::try_from(from.max(self.trimmed_below)).unwrap_or(end).min(end);
        let to = usize::try_from(to).unwrap_or(end).min(end);
        from < to && self.entries[from..to].iter().any(|entry| entry.is_firm())
    }

    pub(super) fn forget_from(&mut self, offset: u64) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.entries.len());
        for entry in &mut self.entries[from..] {
            if entry.flags & OCCUPIED != 0 {
                entry.flags = OCCUPIED | FORGETTABLE;
            }
        }
    }
}
