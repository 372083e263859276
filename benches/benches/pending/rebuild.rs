//! Opens a shard whose index by due time is gone.

use crate::filler::{BASE_MS, ENTROPY, memory_mib, options, ring, rss_mib, runs_on_disk};
use ringmq_broker::now::Now;
use ringmq_broker::store::Store;
use std::path::Path;
use std::time::Instant;

pub(crate) fn rebuild(directory: &Path) {
    let files = std::fs::read_dir(directory.join("index")).expect("a shard").filter_map(Result::ok);
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("due-")) {
        std::fs::remove_file(file.path()).expect("it is ours");
    }
    let (mut ring, slot) = ring(directory);
    let (now, began) = (Now { boot_ns: 1, wall_ms: BASE_MS }, Instant::now());
    let (store, report) = Store::open(&mut ring.disk(slot), options(), ENTROPY, now).expect("it opens");
    let (runs, runs_mib) = runs_on_disk(directory);
    println!(
        "opened without its runs in {:.2} s: {} pending, {} MiB of log read, {runs_mib} MiB written in {runs} runs; resident {} \
         MiB, at most {} MiB",
        began.elapsed().as_secs_f64(),
        store.pending_counts().total(),
        report.end.since(report.scanned_from) >> 20,
        rss_mib(),
        memory_mib("VmHWM")
    );
}
