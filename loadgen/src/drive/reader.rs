//! The reading role: pulls of up to 1 MiB, one at a time for each queue, many queues at a time; every message is verified as it
//! arrives and marked in the thread's books.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringmq_checker::compact::Reading;
use ringmq_proto::code::Code;

use super::Role;
use super::wire::{Heard, Messages, Opening, Pulling, Read, Refusal, Wire};
use crate::cluster::Cluster;
use crate::count::{Board, add};
use crate::latency::Latencies;
use crate::send_times::SendTimes;

/// Bytes of records that one pull asks for.
const PULL_SIZE_BYTES: u32 = 1 << 20;

/// Messages that one round over all queues of a connection asks for. Of few queues a pull takes as many as fit into its
/// bytes; many are read abreast, about as they were written, so that what a broker reads from disk serves many of them.
const ROUND_MESSAGE_COUNT: usize = 1 << 18;

/// Messages that one pull asks for at least.
const PULL_MESSAGE_COUNT_MIN: usize = 8;

/// How long a pull at the end of a queue waits at the broker, ms.
const PULL_WAIT_MS: u32 = 500;

/// Unanswered pulls of one connection: bounds what may be under way to it.
const PULLS_IN_FLIGHT_MAX: usize = 16;

/// Pause after a pull that failed, nanoseconds.
const FAILED_NS: u64 = 20_000_000;

/// An end that is not known yet.
pub const END_UNKNOWN: u64 = u64::MAX;

/// Where each queue of the run begins and ends, for its readers.
#[derive(Debug)]
pub struct Bounds {
    /// First offset to read, by queue.
    pub starts: Vec<u64>,
    /// One beyond the last offset to read, by queue; [`END_UNKNOWN`] while messages still come.
    pub ends: Vec<AtomicU64>,
}

/// What the readers of one thread share.
pub struct ReaderShared {
    /// All threads' counters and the wish to stop.
    pub board: Arc<Board>,
    /// Which thread this is.
    pub thread: usize,
    /// The run's queues.
    pub cluster: Arc<Cluster>,
    /// The run's topics.
    pub topics: Arc<[String]>,
    /// Where each queue begins and ends.
    pub bounds: Arc<Bounds>,
    /// What was read.
    pub reading: Reading,
    /// Of pulls: from asking to having, counted for each message.
    pub latencies: Latencies,
    /// From sending (or being due) to having.
    pub end_to_end: Latencies,
    /// Messages whose sending time was forgotten when they came.
    pub unmeasured: u64,
    /// When messages were sent, when end-to-end latency is measured.
    pub send_times: Option<Arc<SendTimes>>,
    /// When the last message came.
    pub last_read_ns: u64,
    /// What cannot be in a sound broker's answer, in words; and failed pulls.
    pub complaints: Vec<String>,
    /// Records that are no messages of their queue, or do not decode.
    pub unreadable: u64,
}

impl ReaderShared {
    fn complain(&mut self, text: String) {
        if self.complaints.len() < 4 {
            self.complaints.push(text);
        }
    }

    fn unreadable(&mut self, text: String) {
        self.unreadable += 1;
        self.complain(text);
    }
}

/// One queue of a reading connection.
#[derive(Clone, Copy)]
struct ReadQueue {
    /// Index into the cluster's queues.
    queue: u32,
    handle: Option<u32>,
    next: u64,
}

/// One reading connection.
pub struct Reader {
    queues: Vec<ReadQueue>,
    /// Messages that one pull asks for.
    pull_message_count: u32,
    /// Indexes of queues to ask about next.
    idle: VecDeque<u32>,
    finished_count: usize,
    /// By slot of the request: which queue, and when it was asked.
    asked: Vec<(u32, u64)>,
    in_flight_count: usize,
    pause_until_ns: u64,
}

impl Reader {
    /// A reader of these queues, all of one broker, from the starts of `bounds` on.
    pub fn new(queues: &[u32], bounds: &Bounds) -> Self {
        let of = |&queue: &u32| ReadQueue { queue, handle: None, next: bounds.starts[queue as usize] };
        let count = u32::try_from(queues.len()).expect("bounded by QUEUE_COUNT_MAX");
        let pull_message_count = (ROUND_MESSAGE_COUNT / queues.len().max(1)).max(PULL_MESSAGE_COUNT_MIN);
        Self {
            queues: queues.iter().map(of).collect(),
            pull_message_count: u32::try_from(pull_message_count).expect("at most a round's"),
            idle: (0..count).collect(),
            finished_count: 0,
            asked: Vec::new(),
            in_flight_count: 0,
            pause_until_ns: 0,
        }
    }

    /// The queues, as indexes into the cluster's.
    pub fn queues(&self) -> impl Iterator<Item = u32> {
        self.queues.iter().map(|of| of.queue)
    }

    /// Opens the queue, or pulls from it. False when the connection takes no further request now.
    fn ask(&mut self, shared: &ReaderShared, wire: &mut Wire, index: u32, now_ns: u64) -> Result<bool, String> {
        let of = self.queues[index as usize];
        let asked = match of.handle {
            None => {
                let queue = shared.cluster.queues[of.queue as usize];
                wire.open(Opening { topic: &shared.topics[queue.topic as usize], number: queue.number })
            }
            Some(handle) => wire.pull(&Pulling {
                handle,
                offset: of.next,
                messages_max: self.pull_message_count,
                bytes_max: PULL_SIZE_BYTES,
                wait_ms: PULL_WAIT_MS,
            }),
        };
        match asked {
            Ok(slot) => {
                if slot >= self.asked.len() {
                    self.asked.resize(slot + 1, (0, 0));
                }
                self.asked[slot] = (index, now_ns);
                self.in_flight_count += 1;
                Ok(true)
            }
            Err(Refusal::Full) if self.in_flight_count > 0 => Ok(false),
            Err(Refusal::Full) => Err("the broker takes no request".into()),
            Err(Refusal::Unusable(reason)) => Err(reason),
        }
    }

    fn pulled(
        &mut self,
        shared: &mut ReaderShared,
        slot: usize,
        code: Code,
        (next, messages): (u64, Messages<'_>),
        now_ns: u64,
    ) {
        let (index, asked_ns) = self.asked[slot];
        self.in_flight_count -= 1;
        self.idle.push_back(index);
        let of = &mut self.queues[index as usize];
        let before = shared.reading.read();
        let mut body_bytes = 0;
        messages.each(of.next, |read| match read {
            Ok(read) => {
                body_bytes += read.body.len() as u64;
                take(shared, of.queue, &read, now_ns);
            }
            Err(error) => shared.unreadable(format!("queue {}: {error}", of.queue)),
        });
        let count = shared.reading.read() - before;
        if code == Code::PULL_OFFSET_MOVED {
            shared
                .complain(format!("queue {}: the broker moved the reader from offset {} to {next}", of.queue, of.next));
            // Before the first message that is retention: the queue begins later than was said when it was opened. What
            // was acknowledged and is gone is found missing. A later move is a hole, which the next message shows.
            if of.next == shared.bounds.starts[of.queue as usize] {
                shared.reading.start(of.queue, next);
            }
        } else if count > 0 && shared.reading.next_offset(of.queue) != Some(next) {
            shared.unreadable(format!(
                "queue {}: the answer's next offset {next} does not follow its messages",
                of.queue
            ));
        } else if count == 0 && next != of.next {
            shared.unreadable(format!("queue {}: an empty answer moves from offset {} to {next}", of.queue, of.next));
        }
        of.next = next;
        if count > 0 {
            shared.latencies.record(now_ns.saturating_sub(asked_ns), count);
            shared.last_read_ns = now_ns;
            let counters = shared.board.of(shared.thread);
            add(&counters.read, count);
            add(&counters.read_bytes, body_bytes);
        }
    }

    fn failed(&mut self, shared: &mut ReaderShared, slot: usize, code: Code, remark: &str, now_ns: u64) {
        let (index, _) = self.asked[slot];
        self.in_flight_count -= 1;
        self.idle.push_back(index);
        self.pause_until_ns = now_ns + FAILED_NS;
        add(&shared.board.of(shared.thread).errors, 1);
        let of = self.queues[index as usize];
        shared.complain(format!("queue {} at offset {}: code {code}: {remark}", of.queue, of.next));
    }
}

/// Verifies one message and marks it.
#[inline]
fn take(shared: &mut ReaderShared, queue: u32, read: &Read<'_>, now_ns: u64) {
    if let Some((topic, number)) = read.place {
        let of = shared.cluster.queues[queue as usize];
        if number != of.number || topic != shared.topics[of.topic as usize].as_bytes() {
            shared.unreadable(format!("queue {queue} gives a message of queue number {number}"));
        }
    }
    let Some(message) = shared.reading.message(queue, read.offset, read.body) else { return };
    if let Some(times) = &shared.send_times {
        match times.get(message.producer(), message.sequence()) {
            Some(sent_ns) => shared.end_to_end.record(now_ns.saturating_sub(sent_ns), 1),
            None => shared.unmeasured += 1,
        }
    }
}

impl Role for Reader {
    type Shared = ReaderShared;

    fn hear(&mut self, shared: &mut ReaderShared, heard: Heard<'_>, now_ns: u64) -> Result<(), String> {
        match heard {
            Heard::Pulled { slot, code, next_offset, messages } => {
                self.pulled(shared, slot, code, (next_offset, messages), now_ns);
            }
            Heard::Opened { slot, handle, .. } => {
                let (index, _) = self.asked[slot];
                self.in_flight_count -= 1;
                self.queues[index as usize].handle = Some(handle);
                self.idle.push_front(index);
            }
            Heard::Failed { slot, code, remark } => self.failed(shared, slot, code, remark, now_ns),
            Heard::Sent { .. } | Heard::Done => {}
        }
        Ok(())
    }

    fn pump(&mut self, shared: &mut ReaderShared, wire: &mut Wire, now_ns: u64) -> Result<(), String> {
        if now_ns < self.pause_until_ns {
            return Ok(());
        }
        self.pause_until_ns = 0;
        while self.in_flight_count < PULLS_IN_FLIGHT_MAX {
            let Some(index) = self.idle.pop_front() else { break };
            let of = self.queues[index as usize];
            if of.next >= shared.bounds.ends[of.queue as usize].load(Ordering::Relaxed) {
                self.finished_count += 1;
            } else if !self.ask(shared, wire, index, now_ns)? {
                self.idle.push_front(index);
                break;
            }
        }
        Ok(())
    }

    fn lost(&mut self, _shared: &mut ReaderShared) {
        // Everything is looked at again, from the offset that was reached; what is finished is found so without a request.
        self.in_flight_count = 0;
        self.finished_count = 0;
        self.queues.iter_mut().for_each(|of| of.handle = None);
        self.idle = (0..u32::try_from(self.queues.len()).expect("bounded by QUEUE_COUNT_MAX")).collect();
    }

    fn due_ns(&self) -> Option<u64> {
        // Only a pause ends by the time; all else follows an answer.
        (self.pause_until_ns > 0 && !self.idle.is_empty()).then_some(self.pause_until_ns)
    }

    fn is_done(&self, _shared: &ReaderShared) -> bool {
        self.finished_count == self.queues.len()
    }
}
