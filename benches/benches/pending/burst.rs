//! Opens a shard after kill -9, and delivers what is due in one second.

use crate::fill::{BURST_EVERY, burst_ms};
use crate::filler::{ENTROPY, options, ring, rss_mib};
use ringmq_broker::now::Now;
use ringmq_broker::shard::io::{Effects, Input};
use ringmq_broker::shard::{Settings, Shard};
use ringmq_broker::store::Store;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time before the first is due, in ms.
const EARLIER_MS: u64 = 2000;

pub(crate) fn burst(directory: &Path, count: u64, which: u64) {
    let (mut ring, slot) = ring(directory);
    let clock = |began: Instant| {
        let elapsed = began.elapsed();
        Now {
            boot_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) + 1,
            wall_ms: burst_ms(which) - EARLIER_MS + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    };
    let began = Instant::now();
    let (store, report) = Store::open(&mut ring.disk(slot), options(), ENTROPY, clock(began)).expect("it opens");
    let total = store.pending_counts().total();
    println!(
        "opened after kill -9 in {:.2} s: {total} pending, {} MiB of log read, resident {} MiB",
        began.elapsed().as_secs_f64(),
        report.end.since(report.scanned_from) >> 20,
        rss_mib()
    );
    let burst = count / BURST_EVERY;
    assert_eq!(total, count - which * burst, "all that was promised is pending");
    let began = Instant::now();
    let mut shard = Shard::new(store, Settings::default(), clock(began));
    let (mut fx, mut done) = (Effects::default(), Vec::new());
    let (mut by_half_seconds, mut last) = (Vec::new(), Duration::ZERO);
    while total - shard.store().pending_counts().total() < burst && began.elapsed() < Duration::from_secs(120) {
        shard.step(clock(began), if fx.turn_wanted { Input::Turn } else { Input::Tick }, &mut fx);
        fx.turn_wanted = false;
        fx.disk.drain(..).for_each(|op| ring.submit(slot, op));
        ring.enter().expect("the ring goes on");
        ring.reap(&mut done).expect("the ring goes on");
        for (_, completion) in done.drain(..) {
            shard.step(clock(began), Input::Disk(completion), &mut fx);
        }
        assert!(fx.fatal.is_none(), "{:?}", fx.fatal);
        last = began.elapsed();
        if last.as_millis() / 500 > by_half_seconds.len() as u128 {
            by_half_seconds.push(total - shard.store().pending_counts().total());
        }
    }
    let delivered = total - shard.store().pending_counts().total();
    println!(
        "delivered {delivered} of {burst} that were due within one second; the last one {:.2} s after that second began; \
         every half second from 2 s before: {by_half_seconds:?}; resident {} MiB, of the index by due time {} MiB",
        last.as_secs_f64() - EARLIER_MS as f64 / 1000.0,
        rss_mib(),
        shard.store().pending_memory_bytes() >> 20
    );
}
