//! The store's limits, each with what happens when it is reached.

/// Bytes of an ordinary commit. When reached: the commit is closed and the next one opened behind it.
pub const COMMIT_SIZE_BYTES_MAX: usize = 1 << 20;

/// Bytes in commits that wait for their turn to be written. When reached: sends are refused with code 2.
pub const WAITING_COMMITS_BYTES_MAX: usize = 64 << 20;

/// Bytes of waiting commits from which on the shard should stop reading from senders (back-pressure before refusal).
pub const WAITING_COMMITS_BYTES_HIGH: usize = 8 << 20;

/// A batch record's bytes. When reached: the batch is continued in another record.
pub const BATCH_RECORD_SIZE_BYTES_MAX: usize = 256 << 10;

/// Queues that a shard has ever numbered and not deleted. When reached: creating a topic answers code 1.
pub const QUEUE_COUNT_MAX: usize = 4_000_000;

/// Queues of one topic on one shard. When reached: creating a topic answers code 29.
pub const TOPIC_QUEUE_COUNT_MAX: u32 = 65_536;

/// Messages of a shard that wait for their time or for the end of their transaction. When reached: code 14 for delayed
/// sends and half messages. Each takes about 50 bytes of disk beside the log (while runs are merged, twice that), and no memory.
pub const PENDING_COUNT_MAX: u64 = 20_000_000;

/// Open transactions of a shard. When reached: code 14 for half messages.
pub const PENDING_HALF_COUNT_MAX: u64 = 200_000;

/// Bytes that a pending message must leave below the largest record: where it is delivered, its topic's name may be
/// longer. When reached: code 13.
pub const PENDING_ROOM_BYTES: usize = 512;

/// Bytes of pending messages that retention copies in one slice, which senders wait for, at least; or half as many as were
/// sent since the last slice. When reached: the next slice waits for a commit.
pub const PENDING_COPY_BYTES_MIN: u64 = 64 << 10;

/// Bytes of pending messages that retention copies in one slice at most.
pub const PENDING_COPY_BYTES_MAX: u64 = 1 << 20;

/// Tombstones of deleted topics that a shard keeps. When reached: the oldest is forgotten (`store::state` says what that
/// means).
pub const TOMBSTONE_COUNT_MAX: usize = 10_000;

/// Consumer groups of a shard. When reached: an offset commit of a new group answers code 1.
pub const GROUP_COUNT_MAX: usize = 100_000;

/// Groups and what deletions left of them. When reached: a group of a new name answers code 1.
pub const GROUP_RECORD_COUNT_MAX: usize = 4 * GROUP_COUNT_MAX;

/// Attributes of a topic or a group. When reached: a change that adds one answers code 1.
pub const ATTRIBUTE_COUNT_MAX: usize = 64;

/// Bytes of an attribute's key, and of its value. When longer: the change answers code 1.
pub const ATTRIBUTE_SIZE_BYTES_MAX: usize = 1024;

/// Steps of a group's own retry policy. When there are more: the change answers code 1.
pub const RETRY_STEP_COUNT_MAX: usize = 256;

/// Messages that a question by key is answered with. When reached: the newest of them.
pub const KEY_QUERY_MESSAGE_COUNT_MAX: usize = 64;

/// Messages that a question by unique id is answered with, as RocketMQ does. When reached: the newest of them.
pub const UNIQUE_KEY_QUERY_MESSAGE_COUNT_MAX: usize = 32;

/// Bytes of the messages that a question by key is answered with, but for the last one. When reached: no more are read.
pub const KEY_QUERY_BYTES_MAX: usize = 4 << 20;

/// Messages that one question by key reads and compares. When reached: what was found is the answer, said to be incomplete.
pub const KEY_QUERY_CANDIDATE_COUNT_MAX: usize = 1024;

/// Bytes of log that recovery looks through behind a bad commit for proof that it was promised. When reached: later
/// segments are still asked, and the superblock's floor.
pub const RECOVERY_LOOKAHEAD_BYTES: u64 = 64 << 20;

/// Damaged parts of the retained log that are told apart. When reached: the two closest are taken for one, with what lies
/// between: a reader who begins there is refused where it might have been moved on.
pub const DAMAGED_PART_COUNT_MAX: usize = 256;

/// Bytes of log between two checkpoints: recovery replays at most about twice this. When reached: the index is flushed
/// and a snapshot is taken.
pub const CHECKPOINT_INTERVAL_BYTES: u64 = 192 << 20;

/// Bytes of one slice of zero-filling: commits go between.
pub const ZERO_FILL_SLICE_BYTES: usize = 128 << 10;

/// Slices of zero-filling in flight when the log is about to catch up. When reached: the next waits for one to end.
pub const ZERO_FILL_DEPTH_MAX: usize = 8;

/// Spare segments that are kept: one in reserve for what must not be refused on a full disk, one to continue in.
pub const SPARE_SEGMENT_COUNT: usize = 2;

/// Idle time after which an empty commit says how far the last one was promised, in nanoseconds (FORMATS: 100 ms).
pub const MARK_AFTER_IDLE_NS: u64 = 100_000_000;

/// Time between flushes with `flush = "async"`, in nanoseconds. RocketMQ's `flushIntervalCommitLog`.
pub const ASYNC_FLUSH_INTERVAL_NS: u64 = 500_000_000;

/// Time between attempts of background work that failed (full disk), and between retention checks, in nanoseconds.
pub const RETRY_INTERVAL_NS: u64 = 1_000_000_000;

/// Time between slices of zero-filling that nobody waits for, in nanoseconds.
pub const ZERO_FILL_PACE_NS: u64 = 2_000_000;
