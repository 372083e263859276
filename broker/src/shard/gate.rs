//! The AckGate: replies wait here until the log has the proofs that their mode asks for.
//!
//! One [`Entry`] per connection, receive and mode, never per message: it says up to where the connection's held bytes may
//! leave once the log is acknowledged up to `end`. Entries are made in the order of the log and released in that order,
//! O(1) each. An entry ends in one of three ways: *acknowledged*, *degraded* (the held replies leave with code 10, 11 or
//! 12 instead of 0) or *unknown* (role lost, fatal: the connection is closed without a reply).

use super::io::ConnectionId;
use crate::store::AckMode;
use ringmq_proto::ids::LogPosition;
use std::collections::VecDeque;

/// Replies of one receive of one connection that wait for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What must be acknowledged.
    pub(super) end: LogPosition,
    /// Whose replies they are.
    pub(super) connection: ConnectionId,
    /// They are the connection's held bytes up to this byte of its stream of held bytes.
    pub(super) held_end: u64,
    /// Bytes that the receive appended to the log.
    pub(super) appended_bytes: u64,
    /// How many replies.
    pub(super) reply_count: u32,
    /// When they were appended, in boot nanoseconds.
    pub(super) appended_at_ns: u64,
}

/// All replies of a shard that wait for the log.
#[derive(Debug, Default)]
pub(super) struct Gate {
    promised: VecDeque<Entry>,
    written: VecDeque<Entry>,
    in_flight_bytes: u64,
}

impl Gate {
    /// Adds an entry; its `end` is at or above that of every entry of the same mode.
    pub(super) fn push(&mut self, mode: AckMode, entry: Entry) {
        let queue = self.queue(mode);
        if let Some(last) = queue.back() {
            assert!(last.end <= entry.end, "replies are held in log order: {} then {}", last.end, entry.end);
        }
        queue.push_back(entry);
        self.in_flight_bytes += entry.appended_bytes;
    }

    /// Takes the first entry whose proofs are complete when `mode` is acknowledged up to `acknowledged`.
    pub(super) fn pop_acknowledged(&mut self, mode: AckMode, acknowledged: LogPosition) -> Option<Entry> {
        self.pop_if(mode, |entry| entry.end <= acknowledged)
    }

    /// Takes the first entry that was appended at or before `appended_at_ns`: its wait is over without the proofs.
    pub(super) fn pop_overdue(&mut self, mode: AckMode, appended_at_ns: u64) -> Option<Entry> {
        self.pop_if(mode, |entry| entry.appended_at_ns <= appended_at_ns)
    }

    /// What the newest entry of a mode waits for; nothing when none waits.
    pub(super) fn newest_end(&self, mode: AckMode) -> Option<LogPosition> {
        let queue = match mode {
            AckMode::Promised => &self.promised,
            AckMode::Written => &self.written,
        };
        queue.back().map(|entry| entry.end)
    }

    /// When the entry that has waited longest was appended, in boot nanoseconds.
    pub(super) fn oldest_appended_at_ns(&self) -> Option<u64> {
        self.promised.front().into_iter().chain(self.written.front()).map(|entry| entry.appended_at_ns).min()
    }

    /// Ends every entry as unknown.
    pub(super) fn clear(&mut self) {
        self.promised.clear();
        self.written.clear();
        self.in_flight_bytes = 0;
    }

    /// Bytes appended and not acknowledged.
    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.promised.is_empty() && self.written.is_empty()
    }

    fn queue(&mut self, mode: AckMode) -> &mut VecDeque<Entry> {
        match mode {
            AckMode::Promised => &mut self.promised,
            AckMode::Written => &mut self.written,
        }
    }

    fn pop_if(&mut self, mode: AckMode, ready: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entry = self.queue(mode).pop_front_if(|entry| ready(entry))?;
        self.in_flight_bytes -= entry.appended_bytes;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(end: u64, appended_at_ns: u64) -> Entry {
        let connection = ConnectionId { slot: 0, generation: 1 };
        let end = LogPosition::new(end);
        Entry { end, connection, held_end: end.get(), appended_bytes: 100, reply_count: 1, appended_at_ns }
    }

    #[test]
    fn entries_leave_in_log_order_and_never_before_their_position() {
        let mut gate = Gate::default();
        gate.push(AckMode::Promised, entry(100, 0));
        gate.push(AckMode::Promised, entry(200, 0));
        gate.push(AckMode::Written, entry(150, 0));
        let at = LogPosition::new;
        assert_eq!(gate.pop_acknowledged(AckMode::Promised, at(99)), None);
        assert_eq!(gate.pop_acknowledged(AckMode::Written, at(150)), Some(entry(150, 0)));
        assert_eq!(gate.pop_acknowledged(AckMode::Promised, at(199)), Some(entry(100, 0)));
        assert_eq!(gate.pop_acknowledged(AckMode::Promised, at(199)), None);
        assert_eq!(gate.in_flight_bytes(), 100);
        assert_eq!(gate.pop_acknowledged(AckMode::Promised, at(200)), Some(entry(200, 0)));
        assert!(gate.is_empty());
    }

    #[test]
    fn only_entries_that_have_waited_long_enough_are_overdue() {
        let mut gate = Gate::default();
        gate.push(AckMode::Promised, entry(100, 10));
        gate.push(AckMode::Promised, entry(200, 20));
        assert_eq!(gate.oldest_appended_at_ns(), Some(10));
        assert_eq!(gate.pop_overdue(AckMode::Promised, 9), None);
        assert_eq!(gate.pop_overdue(AckMode::Promised, 15), Some(entry(100, 10)));
        assert_eq!(gate.pop_overdue(AckMode::Promised, 15), None);
    }

    #[test]
    #[should_panic(expected = "log order")]
    fn entry_out_of_log_order_is_a_bug() {
        let mut gate = Gate::default();
        gate.push(AckMode::Promised, entry(100, 0));
        gate.push(AckMode::Promised, entry(99, 0));
    }
}
