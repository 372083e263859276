//! Bits that flip on the disk are noticed, wherever they are.

use super::disk::Random;
use super::world::World;
use crate::disk::FileName;
use ringmq_proto::ids::LogPosition;

const BLOCK: usize = 64 << 10;

fn world_with_a_run(seed: u64) -> (World, FileName) {
    let mut world = World::new(seed);
    let mut random = Random(1);
    (0..5000).for_each(|record| world.add(record % 1500, 1, &mut random));
    world.flush();
    world.settle();
    let run = world.disk.names().into_iter().find(|name| matches!(name, FileName::Run(_))).expect("a run");
    (world, run)
}

#[test]
fn flipped_bit_in_any_block_is_refused_by_opening_or_by_reading() {
    let (world, run) = world_with_a_run(1);
    let block_count = world.disk.size_bytes(run) / BLOCK;
    assert_eq!(block_count, 7, "a header, three of entries, two of the directory, a top");
    let mut random = Random(9);
    for block in 0..block_count {
        for _ in 0..6 {
            let (mut world, run) = world_with_a_run(1);
            let byte = block * BLOCK + random.index(BLOCK);
            world.disk.flip(run, byte, 3);
            world.reopen();
            if world.index.covered() == LogPosition::ZERO {
                world.check_all();
                continue;
            }
            assert!((1..block_count - 1).contains(&block), "header and top are checked by opening");
            let refused = (0..1500).filter(|queue| world.find(*queue, 0, 100).is_err()).count();
            assert!(refused > 0, "bit 3 of byte {byte} was not noticed");
            world.index.discard();
            world.add_uncovered();
            world.check_all();
        }
    }
}

#[test]
fn flipped_bit_in_the_checkpoint_means_building_anew() {
    let (world, _) = world_with_a_run(1);
    let checkpoint = world.disk.names().into_iter().find(|name| matches!(name, FileName::Checkpoint(_)));
    let checkpoint = checkpoint.expect("a checkpoint");
    for byte in (0..BLOCK).step_by(997) {
        let (mut world, _) = world_with_a_run(1);
        world.disk.flip(checkpoint, byte, 0);
        world.reopen();
        assert_eq!(world.index.covered(), LogPosition::ZERO, "byte {byte}");
        world.check_find(3, 0, 100);
    }
}

#[test]
fn merge_refuses_a_damaged_input_and_the_next_start_builds_anew() {
    for block in 1..3 {
        let mut world = World::new(2);
        let mut random = Random(1);
        for _ in 0..3 {
            (0..500).for_each(|record| world.add(record % 5, 1, &mut random));
            world.flush();
            world.settle();
        }
        world.disk.flip(FileName::Run(1), block * BLOCK + 100, 1);
        (0..500).for_each(|record| world.add(record % 5, 1, &mut random));
        world.flush();
        while world.damage.is_none() {
            world.work(3);
            assert!(world.complete() || !world.index.is_idle(), "the damage was merged");
        }
        world.settle();
        world.crash();
        assert_eq!(world.index.covered(), LogPosition::ZERO);
        world.check_all();
        world.flush();
        world.settle();
        world.crash();
        assert_eq!(world.index.covered(), world.model.end);
        world.check_all();
    }
}

#[test]
fn damage_that_a_question_finds_is_remembered_and_the_next_start_builds_anew() {
    let (mut world, run) = world_with_a_run(3);
    world.disk.flip(run, BLOCK + 100, 1);
    world.reopen();
    assert_eq!(world.index.covered(), world.model.end, "opening does not read entries");
    assert!(world.find(0, 0, 10).is_err());
    world.check_find(1000, 0, 10);
    let mut random = Random(1);
    (0..5000).for_each(|record| world.add(record % 1500, 1, &mut random));
    world.flush();
    world.settle();
    world.check_find(1000, 0, 10);
    world.crash();
    assert_eq!(world.index.covered(), LogPosition::ZERO);
    world.check_all();
}
