//! Fills a shard with timed messages, and goes on sending ordinary ones.

use crate::filler::{BASE_MS, Filler, options, rss_mib, runs_on_disk};
use std::path::Path;
use std::time::Instant;

pub(crate) const HOUR_MS: u64 = 3_600_000;
const SPREAD_MS: u64 = 30 * 24 * HOUR_MS;
/// One in so many is due in each second that is measured.
pub(crate) const BURST_EVERY: u64 = 100;
/// Seconds that are measured: the first of each of the first hours.
const BURST_COUNT: u64 = 20;

/// Ordinary messages that are sent until the process is killed.
const GO_ON_COUNT_MAX: u64 = 8_000_000;

fn hash(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

/// When the burst of that number begins.
pub(crate) fn burst_ms(which: u64) -> u64 {
    BASE_MS + (1 + which) * HOUR_MS
}

fn due_ms(number: u64) -> u64 {
    match number % BURST_EVERY {
        which if which < BURST_COUNT => burst_ms(which) + hash(number) % 1000,
        _ => burst_ms(BURST_COUNT) + hash(number) % SPREAD_MS,
    }
}

pub(crate) fn fill(directory: &Path, count: u64) {
    let mut filler = Filler::new(directory, options());
    let (orders, timers) = (filler.topic("orders"), filler.topic("rmq_sys_wheel_timer"));
    // What ordinary messages take is not counted.
    (0..2_000_000).for_each(|number| filler.send(orders, number, None));
    filler.turn(true);
    let (before_mib, began) = (rss_mib(), Instant::now());
    let mut most = (0, 0);
    for number in 0..count {
        filler.send(timers, number, Some(due_ms(number)));
        if number.is_multiple_of(50_000) {
            most = (most.0.max(rss_mib()), most.1.max(filler.store.pending_memory_bytes() >> 20));
        }
    }
    filler.turn(true);
    let seconds = began.elapsed().as_secs_f64();
    let (runs, runs_mib) = runs_on_disk(directory);
    println!(
        "filled: {} pending in {seconds:.1} s ({:.0}/s); resident before {before_mib} MiB, after {} MiB, at most {} MiB; \
         of the index by due time {} MiB, at most {} MiB; on disk {runs_mib} MiB in {runs} runs",
        filler.store.pending_counts().total(),
        count as f64 / seconds,
        rss_mib(),
        most.0,
        filler.store.pending_memory_bytes() >> 20,
        most.1
    );
    println!("go on");
    // Until it is killed; if nobody does, the disk is not to be filled.
    (0..GO_ON_COUNT_MAX).for_each(|number| filler.send(orders, number, None));
}
