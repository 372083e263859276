//! A shard with a disk in memory and clients made of byte vectors: everything happens when the test says so.

use crate::disk::{
    BlockPool, Completion, Directory, Disk, DiskDone, DiskError, DiskErrorKind, DiskOp, DiskOpKind, FileName,
};
use crate::now::Now;
use crate::shard::io::{CloseReason, ConnectionId, ControlOutput, Effects, Fatal, Input, Output};
use crate::shard::{Settings, Shard};
use crate::store::{Entropy, Store, StoreOptions};
use ringmq_proto::code::Code;
use ringmq_proto::ids::QueueOffset;
use ringmq_proto::message::Host;
use ringmq_proto::native::{
    FrameFlags, FrameHeader, Hello, Kind, OpenQueue, OpenedQueue, PullReply, PullRequest, SendItem, SendReply,
    SendResult, Table, encode_preamble, encode_pull, encode_request, encode_send, split_frame,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Files in memory. Everything written is durable at once.
pub(super) struct MemoryDisk {
    files: BTreeMap<FileName, Vec<u8>>,
    pool: BlockPool,
    /// From now on every write fails.
    pub(super) broken: bool,
}

fn error(kind: DiskErrorKind, detail: &str) -> DiskError {
    DiskError { kind, detail: detail.into() }
}

impl Disk for MemoryDisk {
    fn pool(&self) -> BlockPool {
        self.pool.clone()
    }

    fn execute(&mut self, op: DiskOpKind) -> Result<DiskDone, DiskError> {
        let missing = || error(DiskErrorKind::NotFound, "no such file");
        match op {
            DiskOpKind::Write { .. } if self.broken => return Err(error(DiskErrorKind::Io, "the disk is broken")),
            DiskOpKind::Write { file, offset, block, start, length, .. } => {
                let bytes = self.files.get_mut(&file).ok_or_else(missing)?;
                let at = usize::try_from(offset).expect("small files");
                if bytes.len() < at + length {
                    bytes.resize(at + length, 0);
                }
                bytes[at..at + length].copy_from_slice(&block[start..start + length]);
            }
            DiskOpKind::Read { file, offset, length } => {
                let bytes = self.files.get(&file).ok_or_else(missing)?;
                let rest = bytes.get(usize::try_from(offset).expect("small files")..).unwrap_or_default();
                let length = length.min(rest.len());
                let mut block = self.pool.take(length.max(1));
                block[..length].copy_from_slice(&rest[..length]);
                return Ok(DiskDone::Read { block: block.freeze(), length });
            }
            DiskOpKind::Create { file, size_bytes } => {
                let size = usize::try_from(size_bytes).expect("small files");
                if self.files.insert(file, vec![0; size]).is_some() {
                    return Err(error(DiskErrorKind::Exists, "the file exists"));
                }
            }
            DiskOpKind::Rename { from, to } => {
                let bytes = self.files.remove(&from).ok_or_else(missing)?;
                self.files.insert(to, bytes);
            }
            DiskOpKind::Remove { file } => {
                self.files.remove(&file);
            }
            DiskOpKind::Sync { .. } | DiskOpKind::SyncDir { .. } => {}
        }
        Ok(DiskDone::Done)
    }

    fn list(&mut self, directory: Directory) -> Result<Vec<(FileName, u64)>, DiskError> {
        let of_directory = self.files.iter().filter(|(file, _)| file.directory() == directory);
        Ok(of_directory.map(|(file, bytes)| (*file, bytes.len() as u64)).collect())
    }

    fn free_bytes(&mut self) -> Result<u64, DiskError> {
        Ok(1 << 40)
    }
}

/// One reply of the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) header: FrameHeader,
    pub(super) body: Vec<u8>,
    bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn code(&self) -> Code {
        self.header.code
    }

    pub(super) fn id(&self) -> u32 {
        self.header.request_id
    }

    pub(super) fn results(&self) -> Vec<SendResult> {
        let (frame, _) = split_frame(&self.bytes, usize::MAX).expect("a frame").expect("whole");
        SendReply::decode(&frame).expect("a reply to a send").results().collect()
    }

    /// The records of a pull, and where to go on.
    pub(super) fn pulled(&self) -> (Vec<u8>, u32, QueueOffset) {
        let (frame, _) = split_frame(&self.bytes, usize::MAX).expect("a frame").expect("whole");
        let reply = PullReply::decode(&frame).expect("a reply to a pull");
        (reply.record_bytes().to_vec(), reply.record_count, reply.result.next_offset)
    }

    pub(super) fn table<'a, T: Table<'a>>(&'a self) -> T {
        T::decode(&self.body).expect("the table of this reply")
    }
}

pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) disk: MemoryDisk,
    pub(super) pending: VecDeque<DiskOp>,
    pub(super) now: Now,
    pub(super) turn_wanted: bool,
    pub(super) wake_at_ns: Option<u64>,
    pub(super) control: Vec<ControlOutput>,
    pub(super) fatal: Option<Fatal>,
    pub(super) stopped: bool,
    pub(super) closed: BTreeMap<ConnectionId, CloseReason>,
    pub(super) paused: BTreeSet<ConnectionId>,
    /// Clients that do not read: what the shard gives is not drained.
    pub(super) deaf: BTreeSet<ConnectionId>,
    received: BTreeMap<ConnectionId, Vec<u8>>,
    next_slot: u32,
}

pub(super) fn options() -> StoreOptions {
    StoreOptions {
        segment_size_bytes: 4 << 20,
        hot_tail_bytes: 2 << 20,
        cache_bytes: 1 << 20,
        ..StoreOptions::default()
    }
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let disk = MemoryDisk { files: BTreeMap::new(), pool: BlockPool::new(8 << 20), broken: false };
        Self::open(disk, settings)
    }

    /// Starts a shard on a disk.
    pub(super) fn open(mut disk: MemoryDisk, settings: Settings) -> Self {
        let now = Now { boot_ns: 1_000_000_000, wall_ms: 1_700_000_000_000 };
        let entropy = Entropy { log_id: 7, disk_id: 8 };
        let (store, _) = Store::open(&mut disk, options(), entropy, now).expect("opens");
        Self {
            shard: Shard::new(store, settings, now),
            disk,
            pending: VecDeque::new(),
            now,
            turn_wanted: false,
            wake_at_ns: None,
            control: Vec::new(),
            fatal: None,
            stopped: false,
            closed: BTreeMap::new(),
            paused: BTreeSet::new(),
            deaf: BTreeSet::new(),
            received: BTreeMap::new(),
            next_slot: 0,
        }
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let mut fx = Effects::default();
        self.shard.step(self.now, input, &mut fx);
        self.absorb(fx);
    }

    fn absorb(&mut self, mut fx: Effects) {
        self.pending.extend(fx.disk.drain(..));
        self.turn_wanted |= fx.turn_wanted;
        self.wake_at_ns = fx.wake_at_boot_ns;
        self.control.append(&mut fx.control);
        self.stopped |= fx.stopped;
        self.fatal = self.fatal.take().or(fx.fatal.take());
        self.paused.extend(fx.pause.drain(..));
        for id in fx.resume.drain(..) {
            assert!(self.paused.remove(&id), "resumed without having been paused");
        }
        let output = std::mem::take(&mut fx.output);
        let unique: BTreeSet<_> = output.iter().copied().collect();
        assert_eq!(unique.len(), output.len(), "each connection at most once");
        for id in output {
            let mut taken = Output::default();
            self.shard.take_output(id, &mut taken);
            let bytes = self.received.entry(id).or_default();
            taken.chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk.bytes()));
            if !self.deaf.contains(&id) {
                self.input(Input::Drained { connection: id });
            }
        }
        for (id, reason) in std::mem::take(&mut fx.close) {
            self.closed.insert(id, reason);
            self.input(Input::Closed { connection: id });
        }
    }

    pub(super) fn turn(&mut self) {
        self.turn_wanted = false;
        self.input(Input::Turn);
    }

    /// Carries out the oldest disk operation.
    pub(super) fn complete_one(&mut self) {
        if let Some(op) = self.pending.pop_front() {
            let result = self.disk.execute(op.kind);
            self.input(Input::Disk(Completion { id: op.id, result }));
        }
    }

    /// Lets everything that is under way come to its end.
    pub(super) fn settle(&mut self) {
        while self.turn_wanted || !self.pending.is_empty() {
            if self.turn_wanted {
                self.turn();
            }
            self.complete_one();
            if self.fatal.is_some() {
                return;
            }
        }
    }

    /// Time passes, with the ticks that the shard asks for.
    pub(super) fn pass(&mut self, nanoseconds: u64) {
        let end = self.now.boot_ns + nanoseconds;
        while let Some(at) = self.wake_at_ns.filter(|at| *at <= end) {
            self.now.boot_ns = self.now.boot_ns.max(at);
            self.input(Input::Tick);
            if self.wake_at_ns == Some(at) {
                self.now.boot_ns += 1_000_000;
            }
        }
        self.now.boot_ns = end;
        self.input(Input::Tick);
    }

    pub(super) fn open_connection(&mut self) -> ConnectionId {
        let connection = ConnectionId { slot: self.next_slot, generation: 1 };
        self.next_slot += 1;
        self.input(Input::Opened { connection, peer: Host::new([127, 0, 0, 1].into(), 5000) });
        connection
    }

    /// A connection that has been greeted.
    pub(super) fn connect(&mut self) -> ConnectionId {
        let connection = self.open_connection();
        self.give(connection, &hello(1, 1));
        let greeting = self.received.remove(&connection).expect("greeted");
        assert_eq!(greeting[..8], encode_preamble());
        let (frame, length) = split_frame(&greeting[8..], 1 << 20).expect("a frame").expect("whole");
        assert_eq!((frame.header.kind, frame.header.code, 8 + length), (Kind::HELLO, Code::SUCCESS, greeting.len()));
        connection
    }

    pub(super) fn give(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.input(Input::Received { connection, bytes });
    }

    /// What a connection has been sent and the test has not yet looked at.
    pub(super) fn bytes(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.received.remove(&connection).unwrap_or_default()
    }

    pub(super) fn replies(&mut self, connection: ConnectionId) -> Vec<Reply> {
        let bytes = self.bytes(connection);
        let (mut replies, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let (frame, length) = split_frame(&bytes[at..], usize::MAX).expect("a frame").expect("whole");
            assert!(frame.header.flags.contains(FrameFlags::REPLY));
            let bytes = bytes[at..at + length].to_vec();
            replies.push(Reply { header: frame.header, body: frame.body.to_vec(), bytes });
            at += length;
        }
        replies
    }

    /// The one reply that has come.
    pub(super) fn reply(&mut self, connection: ConnectionId) -> Reply {
        let mut replies = self.replies(connection);
        assert_eq!(replies.len(), 1, "one reply: {replies:?}");
        replies.remove(0)
    }

    /// Opens a queue, creating the topic when needed.
    pub(super) fn open_queue(&mut self, connection: ConnectionId, topic: &str, queue_id: i32) -> OpenedQueue {
        self.give(connection, &open(900, topic, queue_id, true));
        self.settle();
        let reply = self.reply(connection);
        assert_eq!(reply.code(), Code::SUCCESS, "{reply:?}");
        reply.table()
    }
}

pub(super) fn hello(version_min: u16, version_max: u16) -> Vec<u8> {
    let mut bytes = encode_preamble().to_vec();
    let hello = Hello { version_min, version_max, software: "test", ..Hello::default() };
    encode_request(&mut bytes, Kind::HELLO, 0, FrameFlags::NONE, &hello);
    bytes
}

pub(super) fn request<'a>(kind: Kind, id: u32, body: &impl Table<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, kind, id, FrameFlags::NONE, body);
    bytes
}

pub(super) fn open(id: u32, topic: &str, queue_id: i32, create_topic: bool) -> Vec<u8> {
    request(Kind::OPEN_QUEUE, id, &OpenQueue { topic, queue_id, create_topic })
}

pub(super) fn item(handle: u32, body: &[u8]) -> SendItem<'_> {
    SendItem { handle, born_time_ms: 1_700_000_000_001, flag: 0, sys_flag: 0, properties: b"", body }
}

pub(super) fn send(id: u32, flags: FrameFlags, items: &[SendItem<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_send(&mut bytes, id, flags, items);
    bytes
}

pub(super) fn send_one(id: u32, handle: u32, body: &[u8]) -> Vec<u8> {
    send(id, FrameFlags::NONE, &[item(handle, body)])
}

pub(super) fn pull(id: u32, handle: u32, offset: u64, wait_ms: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let offset = QueueOffset::new(offset);
    encode_pull(&mut bytes, id, &PullRequest { handle, offset, messages_max: 1000, bytes_max: 1 << 20, wait_ms });
    bytes
}
