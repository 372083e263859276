//! What a seed decides before its history begins: the machine, the load, and what goes wrong.

use crate::rng::Rng;

/// How one life of the shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power is cut: unflushed sectors and names survive or not.
    PowerCut,
    /// The process is killed: the operating system keeps what was issued.
    Kill,
    /// The shard is asked to stop and does.
    Stop,
}

/// What the disk does wrong in one life, beside losing power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// An operation fails, counted from the start of the life.
    Fails {
        /// Which one.
        after: u64,
        /// All later ones too.
        forever: bool,
    },
    /// A flush fails (or a write with a flush).
    FlushFails {
        /// Which one.
        after: u64,
    },
    /// Reads fail, once each: the others of the disk's operations do not.
    ReadsFail {
        /// Reads before the first of them.
        after: u64,
        /// So many.
        count: u64,
    },
    /// A read of the log gives wrong bytes, once.
    Garbled {
        /// Reads of the log before it.
        after: u64,
    },
    /// The disk has no room for more than what is there plus so many bytes; it heals when the life ends, or before.
    Full {
        /// Room left.
        bytes_left: u64,
    },
}

/// One life of the shard: from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Requests that clients make in it.
    pub request_count: u32,
    /// Steps of the world after the last of them.
    pub steps_after: u32,
    /// How it ends.
    pub end: End,
    /// What the disk does wrong.
    pub trouble: Trouble,
    /// Power is cut after so many operations of the next opening; again and again, so many times.
    pub cuts_in_recovery: u32,
    /// A bit of the log flips while the shard is down.
    pub flip: bool,
    /// A write of this life turns out to have landed elsewhere.
    pub astray: bool,
}

/// The history of a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The sector size, and the log's alignment.
    pub alignment: usize,
    /// Bytes of a segment.
    pub segment_size_bytes: u64,
    /// Flushes of the log are awaited before an acknowledgement.
    pub flush_sync: bool,
    /// Bytes of log after which old segments go.
    pub retention_bytes: Option<u64>,
    /// Milliseconds after which they go.
    pub retention_age_ms: Option<u64>,
    /// Of 1000 steps, at so many somebody sets the wall clock.
    pub clock_set_permille: u64,
    /// Clients at the same time.
    pub client_count: usize,
    /// Clients that speak RocketMQ's protocol, and send messages for later.
    pub remote_count: usize,
    /// They commit offsets, lock queues, and give up on messages too.
    pub groups: bool,
    /// Topics that clients know of.
    pub topic_count: usize,
    /// Queues of a new topic.
    pub queue_count: u32,
    /// Requests of one client that may wait for an answer.
    pub pipeline_max: usize,
    /// Largest body.
    pub body_bytes_max: u64,
    /// Most messages in one frame.
    pub batch_max: u64,
    /// Of 100 requests, so many change topics.
    pub topic_percent: u64,
    /// How eagerly the disk completes, against 8 for a client's bytes.
    pub disk_weight: u64,
    /// Received bytes are split at random places.
    pub split_receives: bool,
    /// One after the other; the last one ends with the final drain.
    pub lives: Vec<Life>,
}

impl Plan {
    /// The plan that follows from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let body_bytes_max = rng.pick(&[10, 24, 24, 100, 600, 3000, 9000]);
        let flush_sync = rng.percent(85);
        let life_count = rng.between(1, 5);
        let requests_max = rng.pick(&[4, 12, 30, 60]);
        let segment_size_bytes = rng.pick(&[64 << 10, 64 << 10, 64 << 10, 128 << 10, 256 << 10]);
        Self {
            alignment: rng.pick(&[512, 4096]),
            segment_size_bytes,
            flush_sync,
            retention_age_ms: None,
            clock_set_permille: 0,
            retention_bytes: rng.percent(30).then(|| segment_size_bytes * rng.between(1, 3)),
            client_count: rng.index(3) + 1,
            remote_count: 0,
            groups: false,
            topic_count: rng.index(3) + 1,
            queue_count: u32::try_from(rng.between(1, 3)).unwrap_or(1),
            pipeline_max: rng.pick(&[1, 2, 4, 16]),
            body_bytes_max,
            batch_max: rng.pick(&[1, 4, 4, 30]),
            // A power cut may take topic changes back that were not flushed: then nobody could say which queue is which.
            topic_percent: if flush_sync { rng.pick(&[0, 2, 10]) } else { 0 },
            disk_weight: rng.pick(&[1, 4, 16]),
            split_receives: rng.percent(50),
            lives: (0..life_count).map(|_| Life::new(rng, requests_max)).collect(),
        }
    }

    /// What is rare, drawn apart from all else: the seeds that found something before there was more to draw keep their
    /// histories, most of them.
    #[must_use]
    pub fn with_rarities(mut self, rng: &mut Rng) -> Self {
        if rng.percent(10) {
            self.clock_set_permille = rng.pick(&[1, 5, 20]);
        }
        if rng.percent(4) {
            self.retention_age_ms = Some(rng.pick(&[1000, 60_000, 3_600_000]));
        }
        if rng.percent(3) {
            self.segment_size_bytes = 1 << 20;
            self.retention_bytes = self.retention_bytes.map(|_| (1 << 20) * rng.between(1, 2));
            self.body_bytes_max = rng.pick(&[600, 9000, 40_000]);
        }
        for life in &mut self.lives {
            life.astray = rng.percent(1);
        }
        // What is asynchronous may be taken back: nobody could say what was promised.
        if self.flush_sync && rng.percent(15) {
            self.remote_count = rng.index(2) + 1;
            self.lives.iter_mut().for_each(|life| life.request_count += 40);
        }
        for life in self.lives.iter_mut().filter(|life| life.trouble == Trouble::None) {
            match rng.below(50) {
                0 => life.trouble = Trouble::ReadsFail { after: rng.below(4), count: rng.between(1, 3) },
                1 => life.trouble = Trouble::Garbled { after: rng.below(4) },
                _ => {}
            }
        }
        self.groups = self.remote_count > 0 && rng.percent(60);
        self
    }
}

impl Life {
    fn new(rng: &mut Rng, requests_max: u64) -> Self {
        let trouble = match rng.below(20) {
            0 => Trouble::Fails { after: rng.below(80), forever: rng.percent(50) },
            1 => Trouble::FlushFails { after: rng.below(30) },
            2 => Trouble::Full { bytes_left: rng.below(300 << 10) },
            _ => Trouble::None,
        };
        Self {
            request_count: u32::try_from(rng.between(1, requests_max)).unwrap_or(1),
            steps_after: u32::try_from(rng.below(60)).unwrap_or(0),
            end: rng.pick(&[End::PowerCut, End::PowerCut, End::PowerCut, End::Kill, End::Stop]),
            trouble,
            cuts_in_recovery: if rng.percent(25) { u32::try_from(rng.between(1, 3)).unwrap_or(1) } else { 0 },
            flip: rng.percent(4),
            astray: false,
        }
    }
}
