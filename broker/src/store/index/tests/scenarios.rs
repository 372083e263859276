//! What the index promises, one claim at a time.

use ringmq_proto::ids::{Epoch, LogPosition, QueueId};

use super::disk::Random;
use super::world::{EPOCH, LOG_ID, World, open};
use crate::disk::FileName;
use crate::store::index::{Index, IndexLimits};

/// Adds `records` round over `queue_count` queues and flushes them into a run, without letting merges begin.
fn add_run(world: &mut World, queue_count: u32, records: u32) {
    let mut random = Random(1);
    for record in 0..records {
        world.add(record % queue_count, 1, &mut random);
    }
    while !world.flush() {
        world.work(2);
        world.complete();
    }
    let covered = world.model.end;
    while world.index.covered() < covered {
        world.work(2);
        world.complete();
    }
}

#[test]
fn entries_are_found_at_every_step_of_a_flush() {
    let mut world = World::new(1);
    let mut random = Random(2);
    for record in 0..6000 {
        world.add(record % 3, 1, &mut random);
    }
    world.flush();
    let mut steps = 0;
    while !world.index.is_idle() {
        world.work(1);
        world.complete();
        world.add(steps % 3, 1, &mut random);
        for queue in 0..3 {
            world.check_find(queue, u64::from(steps) % 2000, 100);
        }
        steps += 1;
    }
    assert!(steps > 6, "{steps} steps");
    assert_eq!(world.index.run_entry_count(), 6000);
    assert!(world.index.recent_bytes() < 6000 * 32, "what was flushed is dropped from memory");
}

#[test]
fn power_cut_at_every_step_of_flushes_and_merges_loses_nothing() {
    for cut_after in 0..240 {
        let mut world = World::new(cut_after);
        for _ in 0..5 {
            let mut random = Random(cut_after);
            (0..300).for_each(|record| world.add(record % 7, 1, &mut random));
            world.flush();
            for _ in 0..cut_after / 5 {
                world.work(2);
                world.complete();
            }
        }
        world.crash();
        world.check_all();
        world.settle();
        world.check_all();
    }
}

#[test]
fn failure_of_any_single_operation_loses_nothing_and_is_made_good() {
    for (fails_at, seed) in (0..90).flat_map(|at| [(at, 1), (at, 2)]) {
        let mut world = World::new(seed);
        let mut random = Random(seed);
        world.disk.fails_at = Some(fails_at);
        for _ in 0..4 {
            (0..300).for_each(|record| world.add(record % 7, 1, &mut random));
            world.flush();
            world.settle();
            world.check_all();
        }
        if world.index.covered() < world.model.end {
            world.flush();
            world.settle();
        }
        assert_eq!(world.index.covered(), world.model.end, "operation {fails_at}");
        let runs = world.disk.names().into_iter().filter(|name| matches!(name, FileName::Run(_))).count();
        assert_eq!((world.index.run_count(), world.index.run_entry_count()), (runs, 1200), "operation {fails_at}");
        world.crash();
        world.check_all();
    }
}

/// Six records of two queues, among them batches; every way to cut them into runs and memory, every trim, every question.
#[test]
fn every_small_layout_answers_every_question() {
    const RECORDS: [(u32, u16); 6] = [(0, 1), (1, 3), (0, 2), (0, 1), (1, 1), (0, 3)];
    for layout in 0..1_u32 << RECORDS.len() {
        let mut world = World::new(u64::from(layout));
        let mut random = Random(u64::from(layout));
        for (number, (queue, count)) in RECORDS.into_iter().enumerate() {
            world.add(queue, count, &mut random);
            if layout & 1 << number != 0 {
                world.flush();
                world.settle();
            }
        }
        let positions: Vec<u64> = world.model.log.iter().map(|(_, entry)| entry.position.get()).collect();
        for trimmed in [0].into_iter().chain(positions.iter().map(|position| position + 1)) {
            world.model.trimmed = LogPosition::new(trimmed);
            world.index.trim(LogPosition::new(trimmed));
            for queue in 0..3 {
                let end = world.model.next_offset(QueueId::new(queue)).get();
                for (from, entries_max) in (0..=end + 1).flat_map(|from| [(from, 1), (from, 2), (from, 9)]) {
                    world.check_find(queue, from, entries_max);
                }
                for time_ms in 0..=world.time_ms() + 1 {
                    world.check_others(queue, time_ms, positions[usize::try_from(time_ms).expect("small") % 6]);
                }
            }
        }
    }
}

#[test]
fn runs_are_merged_so_that_few_are_left() {
    let mut world = World::new(3);
    for _ in 0..64 {
        add_run(&mut world, 50, 200);
    }
    world.settle();
    assert!(world.index.run_count() <= 9, "{} runs", world.index.run_count());
    assert_eq!(world.index.run_entry_count(), 64 * 200);
    world.check_all();
    world.crash();
    assert_eq!(world.index.run_entry_count(), 64 * 200);
    world.check_all();
}

#[test]
fn files_are_those_that_the_checkpoint_names() {
    let mut world = World::new(4);
    for _ in 0..9 {
        add_run(&mut world, 5, 100);
    }
    world.settle();
    let runs = world.disk.names().into_iter().filter(|name| matches!(name, FileName::Run(_))).count();
    assert_eq!(runs, world.index.run_count());
    assert_eq!(world.disk.names().len(), runs + 1, "one checkpoint and no other file");
}

#[test]
fn what_was_trimmed_or_removed_is_gone_from_disk_after_merges() {
    let mut world = World::new(5);
    for _ in 0..2 {
        add_run(&mut world, 10, 1000);
    }
    let middle = world.model.end;
    add_run(&mut world, 10, 1000);
    let trimmed = LogPosition::new((world.model.end.get() + middle.get()) / 2);
    world.index.trim(trimmed);
    world.model.trimmed = trimmed;
    world.index.remove_queue(QueueId::new(4));
    world.model.removed.push(QueueId::new(4));
    world.settle();
    assert_eq!(world.index.run_count(), 1, "runs that lie below the trim are removed whole");
    for _ in 0..3 {
        add_run(&mut world, 10, 1000);
    }
    world.settle();
    assert_eq!(world.index.run_count(), 1);
    let left = world.model.log.iter().filter(|(queue, entry)| queue.get() != 4 && entry.position >= trimmed).count();
    assert_eq!(world.index.run_entry_count(), left as u64);
    world.check_all();
}

#[test]
fn trim_of_everything_leaves_no_run() {
    let mut world = World::new(6);
    for _ in 0..6 {
        add_run(&mut world, 10, 100);
    }
    world.model.trimmed = world.model.end;
    world.index.trim(world.model.end);
    world.settle();
    assert_eq!((world.index.run_count(), world.index.covered()), (0, world.model.end));
    world.check_all();
    world.crash();
    assert_eq!(world.index.covered(), world.model.end);
}

#[test]
fn checkpoint_of_another_log_epoch_or_end_is_refused() {
    let mut world = World::new(7);
    add_run(&mut world, 3, 300);
    world.settle();
    let (limits, end) = (IndexLimits::default(), world.model.end);
    let before = LogPosition::new(end.get() - 1);
    let all = |_: LogPosition, epoch: Epoch| epoch == EPOCH;
    let copy = world.disk.names();
    assert_eq!(open(&mut world.disk, limits, end).covered(), end);
    assert_eq!(world.disk.names(), copy, "nothing is a leftover");
    for case in 0..3 {
        let mut world = World::new(7);
        add_run(&mut world, 3, 300);
        world.settle();
        let index = match case {
            0 => Index::open(&mut world.disk, LOG_ID + 1, limits, end, all),
            1 => Index::open(&mut world.disk, LOG_ID, limits, before, all),
            _ => Index::open(&mut world.disk, LOG_ID, limits, end, |_, _| false),
        };
        let index = index.expect("the disk works");
        assert_eq!((index.covered(), index.run_count()), (LogPosition::ZERO, 0), "case {case}");
        assert_eq!(world.disk.names(), [], "case {case}: its files are leftovers");
    }
}

#[test]
fn missing_run_means_an_older_checkpoint_or_none() {
    let mut world = World::new(8);
    add_run(&mut world, 3, 300);
    world.settle();
    let run = world.disk.names().into_iter().find(|name| matches!(name, FileName::Run(_))).expect("a run");
    crate::disk::Disk::execute(&mut world.disk, crate::disk::DiskOpKind::Remove { file: run }).expect("removed");
    world.reopen();
    assert_eq!(world.index.covered(), LogPosition::ZERO);
    world.check_all();
}

#[test]
fn full_disk_stops_flushes_until_there_is_space_and_loses_nothing() {
    let mut world = World::new(9);
    world.disk.capacity_bytes = 100;
    let mut random = Random(1);
    (0..1000).for_each(|record| world.add(record % 3, 1, &mut random));
    world.limits.uncovered_bytes_max = 1;
    world.flush();
    while world.index.take_failure().is_none() {
        world.work(2);
        world.complete();
    }
    assert!(!world.index.flush_due(world.model.end.plus(1 << 40)), "not before the next retry");
    world.check_all();
    world.disk.capacity_bytes = usize::MAX;
    world.index.retry();
    assert!(world.index.flush_due(world.model.end.plus(1 << 40)));
    world.flush();
    world.settle();
    assert_eq!(world.index.covered(), world.model.end);
    world.check_all();
}

#[test]
fn coverage_moves_without_entries() {
    let mut world = World::new(10);
    world.index.start_flush(LogPosition::new(1 << 30), EPOCH);
    world.settle();
    assert_eq!((world.index.covered().get(), world.index.run_count()), (1 << 30, 0));
    world.model.end = LogPosition::new(1 << 30);
    world.crash();
    assert_eq!(world.index.covered().get(), 1 << 30);
}

#[test]
#[should_panic(expected = "below")]
fn entry_below_what_is_covered_is_refused() {
    let mut world = World::new(11);
    let mut random = Random(1);
    world.add(0, 1, &mut random);
    world.flush();
    let (queue, entry) = world.model.log[0];
    world.index.add(queue, entry);
}

#[test]
fn page_of_removed_queues_is_freed_and_their_entries_are_ignored() {
    let mut world = World::new(13);
    let mut random = Random(1);
    for queue in 0..2048 {
        world.add(queue, 1, &mut random);
    }
    let full = world.index.memory_bytes();
    let entry = world.model.log[0].1;
    for queue in 0..1024 {
        world.model.removed.push(QueueId::new(queue));
        world.index.remove_queue(QueueId::new(queue));
    }
    assert!(world.index.memory_bytes() * 10 < full * 6, "{} of {full} bytes", world.index.memory_bytes());
    let late = crate::store::index::IndexEntry::new(entry.offset, 1, world.model.end, 100, 1, 0);
    world.index.add(QueueId::new(0), late);
    world.check_all();
}

#[test]
fn search_in_a_large_queue_reads_few_blocks() {
    let mut world = World::new(14);
    add_run(&mut world, 1, 100_000);
    world.settle();
    world.reopen();
    let before = world.disk.reads;
    let found = world.find(0, 54_321, 10).expect("undamaged");
    assert_eq!((found[0].offset.get(), found.len()), (54_321, 10));
    assert!(
        world.disk.reads - before <= 3,
        "{} reads of one directory block and 49 of entries",
        world.disk.reads - before
    );
}
