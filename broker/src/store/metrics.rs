//! What a store counts. Plain numbers of one owner; the operations thread sees copies.

use hdrhistogram::Histogram;

/// Counters and histograms of one store, since its start.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Messages appended.
    pub messages: u64,
    /// Commits written.
    pub commits: u64,
    /// Bytes written to the log, padding included.
    pub commit_bytes: u64,
    /// Of these, padding.
    pub padding_bytes: u64,
    /// Records per commit.
    pub group_size: Histogram<u32>,
    /// From the issue of a commit to its completion, in microseconds.
    pub commit_us: Histogram<u32>,
    /// The same over all messages: the longer of its own commit and of the one that it gathered behind.
    pub commit_us_of_messages: Histogram<u64>,
    /// Appends refused because the disk is full.
    pub refused_full: u64,
    /// Appends refused because too much waits for the disk.
    pub refused_busy: u64,
    /// Segments given up by retention.
    pub segments_released: u64,
    /// Background operations that failed.
    pub background_failures: u64,
    /// Reads that hit damage.
    pub damaged_reads: u64,
    /// Reads that the disk failed.
    pub failed_reads: u64,
    /// Pending messages that retention appended again.
    pub pending_copied: u64,
    /// Pending messages found damaged when they were due.
    pub pending_unreadable: u64,
    /// Pending messages that could not be kept or delivered: damaged, or their topic is gone.
    pub pending_lost: u64,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let histogram = |max| Histogram::new_with_bounds(1, max, 2).expect("constant bounds");
        Self {
            messages: 0,
            commits: 0,
            commit_bytes: 0,
            padding_bytes: 0,
            group_size: histogram(1 << 20),
            commit_us: histogram(60_000_000),
            commit_us_of_messages: Histogram::new_with_bounds(1, 60_000_000, 2).expect("constant bounds"),
            refused_full: 0,
            refused_busy: 0,
            segments_released: 0,
            background_failures: 0,
            damaged_reads: 0,
            failed_reads: 0,
            pending_copied: 0,
            pending_unreadable: 0,
            pending_lost: 0,
        }
    }
}
