use std::path::Path;

use super::*;
use crate::disk::{Block, Disk, DiskErrorKind, DiskOp};
use ringmq_proto::ids::LogPosition;

const SEGMENT: FileName = FileName::Segment(LogPosition::ZERO);

fn ring() -> RingDisk {
    RingDisk::new(BlockPool::new(1 << 20), RingOptions::default()).expect("a ring")
}

fn ring_on(path: &Path) -> (RingDisk, ShardSlot) {
    let mut ring = ring();
    let shard = ring.add_shard(path, Access::Serve).expect("takes the directory");
    (ring, shard)
}

fn block(byte: u8, length: usize) -> Block {
    let mut block = BlockPool::new(0).take(length);
    block[..length].fill(byte);
    block.freeze()
}

fn write(file: FileName, offset: u64, byte: u8, length: usize, sync: bool) -> DiskOpKind {
    DiskOpKind::Write { file, offset, block: block(byte, length), start: 0, length, sync }
}

fn read(disk: &mut impl Disk, file: FileName, offset: u64, length: usize) -> Vec<u8> {
    match disk.execute(DiskOpKind::Read { file, offset, length }).expect("reads") {
        DiskDone::Read { block, length } => block[..length].to_vec(),
        DiskDone::Done => panic!("a read gives bytes"),
    }
}

#[test]
fn every_operation_does_what_it_says_with_either_flush() {
    for flush in [FlushMethod::WriteThrough, FlushMethod::LinkedSync] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ring =
            RingDisk::new(BlockPool::new(1 << 20), RingOptions { flush: Some(flush), ..RingOptions::default() })
                .expect("a ring");
        let shard = ring.add_shard(directory.path(), Access::Serve).expect("takes the directory");
        assert_eq!(ring.flush_method(shard), flush);
        let mut disk = ring.disk(shard);
        disk.execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 1 << 20 }).expect("creates");
        assert_eq!(read(&mut disk, SEGMENT, 1 << 19, 4096), [0; 4096], "reads as zeros");
        disk.execute(write(SEGMENT, 4096, 7, 8192, true)).expect("writes and flushes");
        disk.execute(write(SEGMENT, 65536, 8, 512, false)).expect("writes");
        disk.execute(DiskOpKind::Sync { file: SEGMENT }).expect("flushes");
        assert_eq!(read(&mut disk, SEGMENT, 4096, 8192), [7; 8192]);
        assert_eq!(read(&mut disk, SEGMENT, 65536, 1024)[511..513], [8, 0]);
        assert_eq!(read(&mut disk, SEGMENT, (1 << 20) - 512, 4096).len(), 512, "short at the end, not an error");
        assert_eq!(read(&mut disk, SEGMENT, 1 << 20, 4096).len(), 0);
        let spare = FileName::Spare(1);
        disk.execute(DiskOpKind::Rename { from: SEGMENT, to: spare }).expect("renames");
        disk.execute(DiskOpKind::SyncDir { directory: Directory::Log }).expect("flushes the directory");
        assert_eq!(disk.list(Directory::Log), Ok(vec![(spare, 1 << 20)]));
        assert_eq!(read(&mut disk, spare, 4096, 512), [7; 512]);
        disk.execute(DiskOpKind::Remove { file: spare }).expect("removes");
        disk.execute(DiskOpKind::Remove { file: spare }).expect("removing what is not there succeeds");
        assert_eq!(disk.list(Directory::Log), Ok(vec![]));
        assert!(disk.free_bytes().expect("says") > 0);
    }
}

#[test]
fn failures_are_told_apart_and_name_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut ring, shard) = ring_on(directory.path());
    let mut disk = ring.disk(shard);
    let missing = disk.execute(DiskOpKind::Read { file: SEGMENT, offset: 0, length: 512 }).expect_err("no file");
    assert_eq!(missing.kind, DiskErrorKind::NotFound);
    assert!(missing.detail.contains("log/00000000000000000000"), "{missing}");
    let from = FileName::Spare(4);
    let unknown = disk.execute(DiskOpKind::Rename { from, to: SEGMENT }).expect_err("no file");
    assert_eq!(unknown.kind, DiskErrorKind::NotFound);
    disk.execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 0 }).expect("creates an empty file");
    let twice = disk.execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 512 }).expect_err("exists");
    assert_eq!(twice.kind, DiskErrorKind::Exists);
    for sync in [false, true] {
        let unaligned = disk.execute(write(SEGMENT, 100, 1, 512, sync)).expect_err("unaligned");
        assert_eq!(unaligned.kind, DiskErrorKind::Io, "{unaligned}");
        assert!(unaligned.detail.contains("Invalid argument"), "the write's own error, not its flush's: {unaligned}");
    }
}

#[test]
fn file_renamed_over_a_known_name_is_the_one_that_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut ring, shard) = ring_on(directory.path());
    let mut disk = ring.disk(shard);
    let (old, new) = (FileName::Checkpoint(1), FileName::Checkpoint(2));
    for (file, byte) in [(old, 1), (new, 2)] {
        disk.execute(DiskOpKind::Create { file, size_bytes: 4096 }).expect("creates");
        disk.execute(write(file, 0, byte, 4096, true)).expect("writes");
    }
    disk.execute(DiskOpKind::Rename { from: new, to: old }).expect("replaces");
    assert_eq!(read(&mut disk, old, 0, 512), [2; 512]);
    disk.execute(DiskOpKind::Remove { file: old }).expect("removes");
    disk.execute(DiskOpKind::Create { file: old, size_bytes: 4096 }).expect("creates");
    assert_eq!(read(&mut disk, old, 0, 512), [0; 512], "the new file, not the removed one");
}

/// Three hundred operations at once are more than the submission queue holds, and reads more than may be in flight.
#[test]
fn more_operations_than_the_ring_holds_all_complete_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut ring, shard) = ring_on(directory.path());
    ring.disk(shard).execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 1 << 20 }).expect("creates");
    for id in 0..600 {
        let kind = match id % 2 {
            0 => write(SEGMENT, id / 2 * 512, (id % 251) as u8, 512, true),
            _ => DiskOpKind::Read { file: SEGMENT, offset: id / 2 * 512, length: 512 },
        };
        ring.submit(shard, DiskOp { id: OpId(id), kind });
    }
    let mut ended = Vec::new();
    while ring.pending() > 0 {
        ring.wait().expect("waits");
        ring.reap(&mut ended).expect("reaps");
        assert!(ring.reads_in_flight <= READS_IN_FLIGHT_MAX);
    }
    let mut ids: Vec<u64> = ended.iter().map(|(_, completion)| completion.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..600).collect::<Vec<_>>());
    for (_, completion) in &ended {
        completion.result.as_ref().expect("succeeds");
    }
    for id in (0..600).step_by(2) {
        assert_eq!(read(&mut ring.disk(shard), SEGMENT, id / 2 * 512, 512), [(id % 251) as u8; 512]);
    }
}

#[test]
fn shards_on_one_ring_have_names_and_ids_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ring = ring();
    let shards = ["shard-0", "shard-1"]
        .map(|name| ring.add_shard(&directory.path().join(name), Access::Serve).expect("takes the directory"));
    for (shard, byte) in shards.into_iter().zip([1, 2]) {
        ring.disk(shard).execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 4096 }).expect("creates");
        ring.submit(shard, DiskOp { id: OpId(9), kind: write(SEGMENT, 0, byte, 512, true) });
    }
    let mut ended = Vec::new();
    while ring.pending() > 0 {
        ring.wait().expect("waits");
        ring.reap(&mut ended).expect("reaps");
    }
    ended.sort_by_key(|(shard, _)| *shard);
    assert_eq!(ended.iter().map(|(shard, done)| (*shard, done.id)).collect::<Vec<_>>(), shards.map(|s| (s, OpId(9))));
    for (shard, byte) in shards.into_iter().zip([1, 2]) {
        assert_eq!(read(&mut ring.disk(shard), SEGMENT, 0, 512), [byte; 512]);
    }
}

#[test]
fn directory_in_use_is_refused_and_free_again_when_its_ring_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, _) = ring_on(directory.path());
    let mut second = ring();
    for access in [Access::Serve, Access::Look] {
        let refused = second.add_shard(directory.path(), access);
        assert!(matches!(refused, Err(OpenDirectoryError::InUse(_))), "{refused:?}");
    }
    drop(first);
    second.add_shard(directory.path(), Access::Look).expect("free");
}

/// glommio would ask an empty file whether the device can be polled, and believe the answer for every later read
/// (reference/deps.md §1.2). Our files never pass through it; this holds the claim.
#[test]
fn empty_log_file_opened_first_spoils_no_later_read_on_any_executor() {
    let directory = tempfile::tempdir().expect("a directory");
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let path = directory.path().join(format!("shard-{number}"));
            glommio::LocalExecutorBuilder::default()
                .io_memory(256 << 10)
                .spawn(move || async move {
                    let (mut ring, shard) = ring_on(&path);
                    let waiter = ring.waiter().expect("waits");
                    let mut disk = ring.disk(shard);
                    disk.execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 0 }).expect("creates");
                    assert_eq!(read(&mut disk, SEGMENT, 0, 4096).len(), 0);
                    disk.execute(write(SEGMENT, 0, 3, 4096, true)).expect("writes");
                    ring.submit(
                        shard,
                        DiskOp { id: OpId(1), kind: DiskOpKind::Read { file: SEGMENT, offset: 0, length: 4096 } },
                    );
                    ring.enter().expect("submits");
                    let mut ended = Vec::new();
                    while ended.is_empty() {
                        waiter.wait().await.expect("is woken");
                        ring.reap(&mut ended).expect("reaps");
                    }
                    match &ended[0].1.result {
                        Ok(DiskDone::Read { block, length: 4096 }) => assert_eq!(block[..4096], [3; 4096]),
                        other => panic!("{other:?}"),
                    }
                })
                .expect("spawns")
        })
        .collect();
    for thread in threads {
        thread.join().expect("the executor did not panic");
    }
}

#[test]
fn dropping_a_ring_waits_for_what_the_kernel_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut ring, shard) = ring_on(directory.path());
    ring.disk(shard).execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 1 << 20 }).expect("creates");
    ring.disk(shard).execute(write(SEGMENT, 0, 0, 512, true)).expect("opens");
    let held = block(5, 1 << 20);
    let kind =
        DiskOpKind::Write { file: SEGMENT, offset: 0, block: held.clone(), start: 0, length: 1 << 20, sync: true };
    ring.submit(shard, DiskOp { id: OpId(1), kind });
    ring.enter().expect("submits");
    drop(ring);
    assert!(format!("{held:?}").contains("1 holders"), "{held:?}");
    let (mut ring, shard) = ring_on(directory.path());
    assert_eq!(read(&mut ring.disk(shard), SEGMENT, (1 << 20) - 512, 512), [5; 512]);
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Signals at a sleeping ring: each sleep may end early, no wake-up is lost, and no operation fails.
#[test]
#[expect(unsafe_code, reason = "signals at one thread have no safe call")]
fn signals_end_a_sleep_early_and_nothing_else() {
    const WAKES: u64 = 200;
    // SAFETY: the handler does nothing, and no other test uses this signal.
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as libc::sighandler_t) };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let (started, ring_of) = std::sync::mpsc::channel();
    let (heard, wakes) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        let (mut ring, shard) = ring_on(&path);
        ring.disk(shard).execute(DiskOpKind::Create { file: SEGMENT, size_bytes: 1 << 20 }).expect("creates");
        ring.hear_wakes();
        // SAFETY: asks for the calling thread's own handle.
        started.send((ring.wake_handle(), unsafe { libc::pthread_self() })).expect("the test waits");
        let mut ended = Vec::new();
        for number in 0..WAKES {
            while !ring.take_wake().expect("reads") {
                ring.sleep(std::time::Duration::from_secs(20)).expect("sleeps");
            }
            ring.submit(shard, DiskOp { id: OpId(number), kind: write(SEGMENT, 0, 1, 512, true) });
            while ended.len() as u64 <= number {
                ring.sleep(std::time::Duration::from_secs(20)).expect("sleeps");
                ring.reap(&mut ended).expect("reaps");
            }
            heard.send(number).expect("the test waits");
        }
        for (_, completion) in ended {
            completion.result.expect("is written");
        }
    });
    let (wake, thread) = ring_of.recv().expect("starts");
    for number in 0..WAKES {
        for _ in 0..5 {
            // SAFETY: the thread has not been joined, so its handle is good.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            std::thread::yield_now();
        }
        wake.wake();
        loop {
            // SAFETY: as above; it ends only after its last message.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            match wakes.recv_timeout(std::time::Duration::from_millis(1)) {
                Ok(heard) => break assert_eq!(heard, number),
                Err(error) => assert_eq!(error, std::sync::mpsc::RecvTimeoutError::Timeout),
            }
        }
    }
    sleeper.join().expect("did not panic");
}
