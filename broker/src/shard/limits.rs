//! The limits of a shard's clients, each with what happens when it is reached.
//!
//! They are settings with these defaults, so that tests and small machines can choose others. No length, count or name
//! from the network takes memory before it was held against one of them.

/// What one shard's clients may ask for at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time. When reached: a new connection is closed.
    pub connection_count_max: usize,
    /// Bytes of half-received frames over all connections. When reached: the connection that asks for more is closed
    /// (`InputFull`).
    pub input_bytes_max: usize,
    /// Bytes of replies that one connection has not read. When reached: its pulls wait and it is not read from.
    pub output_bytes_soft_max: usize,
    /// The same, absolutely. When reached: the connection is closed (`OutputFull`).
    pub output_bytes_hard_max: usize,
    /// Bytes appended but not acknowledged for one connection. When reached: it is not read from.
    pub in_flight_bytes_max: u64,
    /// Queues that one connection has opened. When reached: code 2 SYSTEM_BUSY.
    pub handle_count_max: usize,
    /// Requests of one connection that wait (long polls, cold reads, topic changes). When reached: code 2 SYSTEM_BUSY.
    pub connection_waiting_count_max: u32,
    /// Requests of all connections that wait. When reached: code 2 SYSTEM_BUSY.
    pub waiting_count_max: u32,
    /// Bytes of records in one reply to a pull. A larger wish is cut down to it.
    pub pull_bytes_max: u32,
    /// Messages in one reply to a pull. A larger wish is cut down to it.
    pub pull_messages_max: u32,
    /// Queues of one topic on this shard. When reached: code 29 INVALID_PARAMETER.
    pub topic_queue_count_max: u32,
    /// Topic changes that are written but not yet confirmed. When reached: code 2 SYSTEM_BUSY.
    pub topic_change_count_max: usize,
    /// One-way offset commits that wait to be written together. When reached: they are written at once.
    pub coalesced_commit_count_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connection_count_max: 65_536,
            input_bytes_max: 256 << 20,
            output_bytes_soft_max: 4 << 20,
            output_bytes_hard_max: 32 << 20,
            in_flight_bytes_max: 4 << 20,
            handle_count_max: 65_536,
            connection_waiting_count_max: 65_536,
            waiting_count_max: 1 << 18,
            pull_bytes_max: 4 << 20,
            pull_messages_max: 65_536,
            topic_queue_count_max: 65_536,
            topic_change_count_max: 4096,
            coalesced_commit_count_max: 1024,
        }
    }
}

/// Time for preamble and hello, in nanoseconds. When reached: the connection is closed (`HandshakeTimeout`).
pub const HANDSHAKE_NS_MAX: u64 = 2_000_000_000;

/// Time for a handshake of TLS before that, in nanoseconds. When reached: as above.
pub const SECURING_NS_MAX: u64 = ringmq_tls::limits::HANDSHAKE_MS_MAX * 1_000_000;

/// Time without a byte from a client, in nanoseconds. When reached: the connection is closed (`IdleTimeout`).
pub const IDLE_NS_MAX: u64 = 120_000_000_000;

/// How long a pull is held for messages to come, in milliseconds. A longer wish is cut down to it.
pub const PULL_WAIT_MS_MAX: u32 = 30_000;

/// How long a request may wait for a cold read, a topic's record or the siblings, in nanoseconds. When reached: code 2
/// SYSTEM_BUSY for reads, code 1 SYSTEM_ERROR for changes, each with a sentence; the change itself may still happen.
pub const WAIT_NS_MAX: u64 = 10_000_000_000;

/// How long acknowledgements wait for the disk, in nanoseconds. When reached: they leave with code 10
/// FLUSH_DISK_TIMEOUT. RocketMQ's `syncFlushTimeout`.
pub const FLUSH_NS_MAX: u64 = 5_000_000_000;

/// How long one-way offset commits are gathered before they are written, in nanoseconds.
pub const COALESCE_NS_MAX: u64 = 1_000_000_000;

/// Memberships (a connection in a group of producers or consumers) of one shard. When reached: code 2 SYSTEM_BUSY.
pub const MEMBERSHIP_COUNT_MAX: usize = 1 << 18;

/// Topics that one group may subscribe to. When reached: code 2 SYSTEM_BUSY.
pub const SUBSCRIPTION_COUNT_MAX: usize = 4096;

/// Resets of offsets that no consumer has followed yet, by group and queue. When reached: code 2 SYSTEM_BUSY.
pub const RESET_COUNT_MAX: usize = 1 << 16;

/// How long a queue lock holds without being taken again, in nanoseconds. When reached: another client may have it.
pub const LOCK_NS_MAX: u64 = 60_000_000_000;

/// How long a client may take to answer what an administrator asks it, in nanoseconds. When reached: code 207
/// CONSUME_MSG_TIMEOUT, or the answers that have come.
pub const QUESTION_NS_MAX: u64 = 10_000_000_000;

/// Questions that one client has not answered. When reached: code 2 SYSTEM_BUSY.
pub const QUESTION_COUNT_MAX: usize = 1024;

/// How long it may take to find an asker on another shard, in nanoseconds. When reached: code 1 SYSTEM_ERROR.
pub const HANDOVER_NS_MAX: u64 = 5_000_000_000;

/// Bytes of answers on their way to other shards. When reached: code 2 SYSTEM_BUSY.
pub const HANDOVER_BYTES_MAX: usize = 64 << 20;

/// Bytes of a message's slice of the log from which on it is sent in place; smaller ones are copied.
pub const SHARED_SLICE_BYTES_MIN: usize = 1024;

/// Topics in one reply to LIST_TOPICS. A larger wish is cut down to it.
pub const LIST_TOPICS_MAX: u32 = 1000;

/// Bytes of an empty buffer that is kept for the next user. When exceeded: it is given back to the allocator.
pub const BUFFER_KEPT_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(PULL_WAIT_MS_MAX as u64 * 1_000_000 < IDLE_NS_MAX, "a held pull alone must not look idle");

/// Bytes of delayed and timed messages that are read from disk before they are due. When reached: the next ones are read when
/// some of these are delivered.
pub const SOON_BYTES_MAX: usize = 16 << 20;
