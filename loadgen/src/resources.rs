//! What the run costs: CPU time by the kernel's own clocks, and resident memory. Nobody is to mistake the generator's limit
//! for the broker's, so both are measured.
//!
//! Embedded, the broker's threads are told by their names: `shard-*` (the shards) and `iou-wrk-*` (what io_uring made of their
//! requests in the kernel; the generator has no ring). A generator thread reads its own clock when it ends.

use std::fs;
use std::path::Path;

/// The names that the embedded broker's threads begin with.
pub const BROKER_THREADS: &[&str] = &["shard-", "iou-wrk-"];

/// CPU time of all threads of this process whose name begins with one of `names`, nanoseconds.
pub fn threads_cpu_ns(names: &[&str]) -> u64 {
    tasks_cpu_ns(Path::new("/proc/self/task"), |name| names.iter().any(|wanted| name.starts_with(wanted)))
}

/// CPU time of all threads of process `pid`, nanoseconds; `None` when it is gone.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let tasks = format!("/proc/{pid}/task");
    fs::metadata(&tasks).ok()?;
    Some(tasks_cpu_ns(Path::new(&tasks), |_| true))
}

fn tasks_cpu_ns(tasks: &Path, wanted: impl Fn(&str) -> bool) -> u64 {
    let Ok(entries) = fs::read_dir(tasks) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        // A thread may end between the listing and the reading: it then counts nothing.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if !wanted(name.trim_end()) {
            continue;
        }
        let Ok(statistics) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        sum += statistics.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    sum
}

/// Resident memory of a process (`None`: this one), bytes.
pub fn resident_bytes(pid: Option<u32>) -> Option<u64> {
    let path = pid.map_or_else(|| "/proc/self/status".to_owned(), |pid| format!("/proc/{pid}/status"));
    let status = fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Whose CPU time and memory are the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerProcess {
    /// In this process.
    Embedded,
    /// Another one on this machine.
    Watched(u32),
    /// Out of sight.
    Unknown,
}

/// CPU time that was used in some stretch of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// The broker's, when it is in sight, nanoseconds.
    pub broker_ns: Option<u64>,
    /// The generator's, nanoseconds.
    pub generator_ns: u64,
}

/// CPU time of the calling thread, nanoseconds.
pub fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl BrokerProcess {
    /// The broker's clock, nanoseconds. Threads that have ended no longer count: read before they end.
    pub fn cpu_ns(self) -> Option<u64> {
        match self {
            Self::Embedded => Some(threads_cpu_ns(BROKER_THREADS)),
            Self::Watched(pid) => process_cpu_ns(pid),
            Self::Unknown => None,
        }
    }

    /// Resident memory of the broker's process (embedded: with the generator's part), bytes.
    pub fn resident_bytes(self) -> Option<u64> {
        match self {
            Self::Embedded => resident_bytes(None),
            Self::Watched(pid) => resident_bytes(Some(pid)),
            Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_named_thread_is_found_and_others_do_not_count() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let busy = std::thread::Builder::new().name("load-test-busy".into()).spawn(move || {
            let mut x = 1u64;
            for index in 0..30_000_000u64 {
                x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(index));
            }
            // Wait to be read: the clock of a thread that has ended is gone.
            let _ = receiver.recv();
            x
        });
        let busy = busy.expect("thread");
        let mut seen = 0;
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            seen = threads_cpu_ns(&["load-test-b"]);
            if seen > 5_000_000 {
                break;
            }
        }
        assert!(seen > 5_000_000, "{seen}");
        assert_eq!(threads_cpu_ns(&["load-test-c"]), 0);
        drop(sender);
        busy.join().expect("joins");
        assert!(resident_bytes(None).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(process_cpu_ns(u32::MAX), None);
    }
}
