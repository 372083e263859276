//! Consumer groups on the simulated disk: what they are outlives restarts and the segments that said it.

mod common;

use common::{Bench, options};
use ringmq_broker::store::{Attributes, GroupConfig, Retention};
use ringmq_proto::ids::QueueOffset;

#[test]
fn groups_and_their_deletions_survive_restart_and_retention() {
    let mut options = options(512);
    options.segment_size_bytes = 128 << 10;
    options.retention = Retention { bytes: Some(256 << 10), age_ms: None };
    options.checkpoint_interval_bytes = 64 << 10;
    let mut bench = Bench::new(options);
    let queue = bench.topic("t", 1)[0];
    let mut attributes = Attributes::default();
    attributes.set("message.type", "FIFO").expect("short");
    let config = GroupConfig { retry_times_max: 3, attributes, ..GroupConfig::default() };
    for group in ["configured", "dropped", "left"] {
        let _appended = bench.store.append_group_config(bench.now, group, config.clone()).expect("room");
        let _appended = bench.store.append_consume_offset(bench.now, group, queue, QueueOffset::new(5)).expect("room");
    }
    bench.settle();
    for (group, drop_offsets) in [("dropped", true), ("left", false)] {
        let appended = bench.store.append_group_deletion(bench.now, group, drop_offsets).expect("room");
        assert!(appended.is_some(), "it is there");
    }
    bench.settle();
    let cloned = bench.store.append_offsets_clone(bench.now, "configured", "clone", Some("t")).expect("room");
    assert!(cloned.is_some(), "one offset");
    for _ in 0..60 {
        for _ in 0..8 {
            let _appended = bench.send(queue, &[7; 2000]).expect("room");
        }
        bench.settle();
    }
    assert!(bench.store.log_start().get() > 256 << 10, "what was said at first is gone from the log");
    let bench = bench.reopen(|disk, _| disk.kill());
    assert_eq!(bench.store.group("configured").map(|group| &group.config), Some(&config));
    let names: Vec<_> = bench.store.groups_after("").map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["clone", "configured"]);
    let offset = |group| bench.store.consume_offset(group, queue).map(QueueOffset::get);
    assert_eq!(["clone", "dropped", "left"].map(offset), [Some(5), None, Some(5)]);
    assert_eq!(bench.store.groups_of_topic("t").count(), 2);
}
