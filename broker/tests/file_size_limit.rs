//! What the ring says when a file may not grow. The limit counts for the whole process, so this test has one of its own.

use ringmq_broker::disk::ring::{Access, RingDisk, RingOptions};
use ringmq_broker::disk::{BlockPool, Directory, Disk, DiskErrorKind, DiskOpKind, FileName};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn file_that_may_not_grow_is_full_and_a_cut_write_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ring = RingDisk::new(BlockPool::new(0), RingOptions::default()).expect("a ring");
    let shard = ring.add_shard(directory.path(), Access::Serve).expect("takes the directory");
    let mut disk = ring.disk(shard);
    let file = FileName::Run(1);
    disk.execute(DiskOpKind::Create { file, size_bytes: 4096 }).expect("creates");
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(8192), ..before }).expect("limits");

    let full = disk.execute(DiskOpKind::Create { file: FileName::Run(2), size_bytes: 1 << 20 }).expect_err("too large");
    assert_eq!(full.kind, DiskErrorKind::Full, "{full}");
    assert_eq!(disk.list(Directory::Index), Ok(vec![(file, 4096)]), "what could not be made in full is gone");

    for sync in [false, true] {
        let block = BlockPool::new(0).take(16384).freeze();
        let cut = disk
            .execute(DiskOpKind::Write { file, offset: 0, block, start: 0, length: 16384, sync })
            .expect_err("the kernel takes 8192 bytes of 16384");
        assert_eq!(cut.kind, DiskErrorKind::Io, "{cut}");
        assert!(cut.detail.contains("cut after 8192 bytes"), "{cut}");
    }
    setrlimit(Resource::Fsize, before).expect("lifts the limit");
    disk.execute(DiskOpKind::Create { file: FileName::Run(2), size_bytes: 1 << 20 }).expect("may grow again");
}
