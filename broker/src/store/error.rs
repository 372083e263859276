//! The store's errors, in four kinds that are never mixed (STYLE §5).

use crate::disk::DiskError;
use ringmq_proto::ids::LogPosition;
use std::borrow::Cow;
use thiserror::Error;

/// *Reject* and *Unavailable*: an append that was not taken. Nothing was written, nothing is owed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{remark}")]
pub struct Refusal {
    /// RocketMQ's response code.
    pub code: u16,
    /// One sentence that says what to do.
    pub remark: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a fixed text.
    pub const fn new(code: u16, remark: &'static str) -> Self {
        Self { code, remark: Cow::Borrowed(remark) }
    }
}

/// 2 SYSTEM_BUSY: the disk is slower than the senders.
pub const BUSY: Refusal =
    Refusal::new(2, "[PCBUSY_CLEAN_QUEUE]broker busy, the log's waiting commits are at their limit: retry later");
/// 14 SERVICE_NOT_AVAILABLE: no room for another segment.
pub const DISK_FULL: Refusal = Refusal::new(
    14,
    "service not available now. The disk is full: free space, add a retention limit, or send to another broker",
);
/// 14 SERVICE_NOT_AVAILABLE: not the master of this log.
pub const NOT_MASTER: Refusal =
    Refusal::new(14, "service not available now. This shard does not accept writes: send to another broker");
/// 17 TOPIC_NOT_EXIST.
pub const NO_QUEUE: Refusal =
    Refusal::new(17, "the topic of this queue does not exist: create it, or open the queue again");
/// 13 MESSAGE_ILLEGAL.
pub const TOO_LARGE: Refusal = Refusal::new(13, "the message is larger than this broker stores: make it smaller");
/// 1 SYSTEM_ERROR: a quota of state.
pub const TOO_MANY_QUEUES: Refusal =
    Refusal::new(1, "this shard holds as many queues as it may: delete topics that are not used");
/// 1 SYSTEM_ERROR: a quota of state.
pub const TOO_MANY_GROUPS: Refusal =
    Refusal::new(1, "this shard holds as many consumer groups as it may: delete groups that are not used");
/// 14 SERVICE_NOT_AVAILABLE: a quota of pending messages.
pub const TOO_MANY_PENDING: Refusal = Refusal::new(
    14,
    "service not available now. This shard holds as many delayed messages as it may: send to another broker, or wait until some are delivered",
);
/// 2 SYSTEM_BUSY: the index of pending messages is written slower than they come.
pub const PENDING_BEHIND: Refusal = Refusal::new(
    2,
    "[PCBUSY_CLEAN_QUEUE]broker busy, delayed messages come faster than the disk takes their index: retry later",
);
/// 14 SERVICE_NOT_AVAILABLE: a quota of open transactions.
pub const TOO_MANY_HALVES: Refusal = Refusal::new(
    14,
    "service not available now. This shard holds as many open transactions as it may: end some, or send to another broker",
);
/// 14 SERVICE_NOT_AVAILABLE: what is pending would fill what retention leaves of the log.
pub const PENDING_OWED: Refusal = Refusal::new(
    14,
    "service not available now. Delayed messages take half of what retention keeps: raise the retention limit, or send to another broker",
);

/// 1 SYSTEM_ERROR: attributes of a topic or a group, or a group's retry policy, beyond their limits.
pub const ATTRIBUTES_TOO_LARGE: Refusal = Refusal::new(
    1,
    "the attributes or retry steps are more, longer or emptier than a topic or group may have: give fewer or shorter ones",
);

/// *Fatal*: the shard stops, keeps its files, and answers nothing that still waits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreFatal {
    #[error(
        "a write or flush of the commit log failed, nothing that waited was acknowledged ({0}): check the device, then restart the broker"
    )]
    Log(DiskError),
    #[error("the superblock could not be written ({0}): check the device, then restart the broker")]
    Superblock(DiskError),
    #[error("the disk completed an operation that was not issued: {0}")]
    Driver(String),
}

/// Why a shard's directory cannot be opened. One sentence each, for the operator.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("the disk failed while the shard was opened: {0}")]
    Disk(#[from] DiskError),
    #[error("this directory belongs to shard {found}, not to {asked}: give the directory of {asked}, or an empty one")]
    OtherShard { found: String, asked: String },
    #[error("the directory has format version {found}, this program knows {known}: use a newer program")]
    NewerFormat { found: u16, known: u16 },
    #[error("{what} is damaged and has no valid copy: restore it from a backup, or start with an empty directory")]
    Damaged { what: &'static str },
    #[error("the superblock's log id does not match the identity: the directory holds files of two shards")]
    MixedFiles,
    #[error(
        "the segment size must be a multiple of {alignment_bytes} bytes between 64 KiB and 16 GiB, not {segment_size_bytes}"
    )]
    SegmentSize { segment_size_bytes: u64, alignment_bytes: u32 },
    #[error("the alignment must be 512 or 4096 bytes, not {0}")]
    Alignment(u32),
    #[error(
        "the log was made with an alignment of {log_bytes} bytes, the device writes in units of {device_bytes}: move the directory to a device with a finer block"
    )]
    CoarserDevice { log_bytes: u32, device_bytes: u32 },
    #[error(
        "the log ends at {end}, but everything up to {promised} was promised: this disk lost data; restore it from a backup or a peer"
    )]
    Amnesia { end: LogPosition, promised: LogPosition },
    #[error("no commit of the log starts at {position}: give the start or the end of one")]
    NotACommit { position: LogPosition },
}
