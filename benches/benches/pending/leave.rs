//! Retention takes a segment in which a million messages wait, while others are sent at a fixed rate.

use crate::filler::{BASE_MS, Filler, options, rss_mib};
use ringmq_broker::store::{AckMode, Retention, StoreOptions};
use ringmq_proto::ids::{LogPosition, QueueId};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

const RETENTION_BYTES: u64 = 2 << 30;
/// Ordinary messages per second.
const RATE: u64 = 70_000;
/// Before retention begins.
const BASELINE: Duration = Duration::from_secs(4);
const DAY_MS: u64 = 86_400_000;

/// What senders saw.
#[derive(Default)]
struct Seen {
    /// From when a message was to be sent to when it was promised, in us.
    latencies_us: Vec<u32>,
    /// Between two looks at the clock.
    stall: Duration,
    refused: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let at = |per_mille: usize| sorted[(sorted.len() - 1) * per_mille / 1000];
        write!(
            f,
            "{} sent, p50 {} us, p99 {} us, p99.9 {} us, max {} us; longest step {} us; {} refused",
            sorted.len(),
            at(500),
            at(990),
            at(999),
            at(1000),
            self.stall.as_micros(),
            self.refused
        )
    }
}

/// Sends at the fixed rate until `is_over`.
fn send(filler: &mut Filler, orders: QueueId, mut is_over: impl FnMut(&Filler) -> bool) -> Seen {
    let (began, mut seen, mut sent) = (Instant::now(), Seen::default(), 0);
    let mut waiting: VecDeque<(LogPosition, Duration)> = VecDeque::new();
    let mut before = Duration::ZERO;
    while !is_over(filler) {
        let elapsed = began.elapsed();
        seen.stall = seen.stall.max(elapsed - before);
        before = elapsed;
        let wanted = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) / (1_000_000_000 / RATE);
        while sent < wanted {
            match filler.append(orders, sent, None) {
                Ok(end) => waiting.push_back((end, Duration::from_nanos(sent * (1_000_000_000 / RATE)))),
                Err(_) => seen.refused += 1,
            }
            sent += 1;
        }
        filler.turn(false);
        let (acked, now) = (filler.store.acked(AckMode::Promised).up_to(), began.elapsed());
        while let Some((_, at)) = waiting.pop_front_if(|(end, _)| *end <= acked) {
            seen.latencies_us.push(u32::try_from((now - at).as_micros()).unwrap_or(u32::MAX));
        }
    }
    seen
}

pub(crate) fn leave(directory: &Path, count: u64) {
    let retention = Retention { bytes: Some(RETENTION_BYTES), age_ms: None };
    let mut filler = Filler::new(directory, StoreOptions { retention, ..options() });
    let (orders, timers) = (filler.topic("orders"), filler.topic("rmq_sys_wheel_timer"));
    for number in 0..count {
        filler.send(timers, number, Some(BASE_MS + DAY_MS + number * 7919 % DAY_MS));
    }
    let first_end = filler.store.positions().appended();
    assert!(first_end.get() < filler.store.options().segment_size_bytes, "they do not fit into one segment");
    let mut number = 0;
    while filler.store.positions().appended().get() < RETENTION_BYTES - (200 << 20) {
        filler.send(orders, number, None);
        number += 1;
    }
    filler.turn(true);
    let (began, before_mib) = (Instant::now(), rss_mib());
    println!("before: {}", send(&mut filler, orders, |_| began.elapsed() > BASELINE));
    // To where the first segment is too many.
    while filler.store.positions().appended().get() < RETENTION_BYTES + (1 << 20) {
        filler.send(orders, number, None);
        number += 1;
    }
    filler.turn(true);
    let (began, copied) = (Instant::now(), filler.store.metrics().pending_copied);
    let (mut index_bytes, mut resident_mib, mut looked) = (0, 0, 0);
    let seen = send(&mut filler, orders, |filler| {
        index_bytes = index_bytes.max(filler.store.pending_memory_bytes());
        looked += 1;
        if looked % 1000 == 0 {
            resident_mib = resident_mib.max(rss_mib());
        }
        filler.store.metrics().segments_released > 0 || began.elapsed() > Duration::from_secs(180)
    });
    println!("while it leaves: {seen}");
    println!(
        "the segment left after {:.1} s, {} copied, {} pending; resident before {before_mib} MiB, at most {resident_mib} MiB; \
         of the index by due time at most {} MiB",
        began.elapsed().as_secs_f64(),
        filler.store.metrics().pending_copied - copied,
        filler.store.pending_counts().total(),
        index_bytes >> 20
    );
}
