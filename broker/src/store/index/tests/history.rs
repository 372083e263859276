//! Random histories: whatever happens in whatever order, the index answers as the model does.

use proptest::prelude::*;
use ringmq_proto::ids::{LogPosition, QueueId};

use super::disk::Random;
use super::world::World;

#[derive(Clone, Debug)]
enum Step {
    Add { queue_count: u32, records: u16, batches: bool },
    Flush,
    Work { times: u8, ops_free: u8 },
    Complete { times: u8 },
    Settle,
    Find { queue: u32, at_permille: u64, entries_max: usize },
    Others { queue: u32, at_permille: u64 },
    Trim { at_permille: u64 },
    Remove { queue: u32 },
    Crash,
    Reopen,
    Failures { rate: u64 },
    Full { free_blocks: usize },
    Retry,
    Discard,
}

const QUEUE_COUNT: u32 = 40;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop_oneof![1..3_u32, Just(QUEUE_COUNT)], 1..3000_u16, any::<bool>())
            .prop_map(|(queue_count, records, batches)| Step::Add { queue_count, records, batches }),
        5 => Just(Step::Flush),
        8 => (1..40_u8, 1..5_u8).prop_map(|(times, ops_free)| Step::Work { times, ops_free }),
        8 => (1..30_u8).prop_map(|times| Step::Complete { times }),
        4 => Just(Step::Settle),
        6 => (0..QUEUE_COUNT, 0..1100_u64, 1..3000_usize)
            .prop_map(|(queue, at_permille, entries_max)| Step::Find { queue, at_permille, entries_max }),
        4 => (0..QUEUE_COUNT, 0..1100_u64).prop_map(|(queue, at_permille)| Step::Others { queue, at_permille }),
        1 => (0..900_u64).prop_map(|at_permille| Step::Trim { at_permille }),
        1 => (0..QUEUE_COUNT).prop_map(|queue| Step::Remove { queue }),
        2 => Just(Step::Crash),
        1 => Just(Step::Reopen),
        1 => prop_oneof![Just(0), 5..60_u64].prop_map(|rate| Step::Failures { rate }),
        1 => prop_oneof![Just(usize::MAX), 0..12_usize].prop_map(|free_blocks| Step::Full { free_blocks }),
        3 => Just(Step::Retry),
        1 => Just(Step::Discard),
    ]
}

fn carry_out(world: &mut World, random: &mut Random, step: &Step) {
    match *step {
        Step::Add { queue_count, records, batches } => {
            for _ in 0..records {
                let queue = u32::try_from(random.below(u64::from(queue_count))).expect("small");
                let count = if batches { u16::try_from(1 + random.below(200)).expect("small") } else { 1 };
                world.add(queue, count, random);
            }
        }
        Step::Flush => {
            world.flush();
        }
        Step::Work { times, ops_free } => {
            (0..times).for_each(|_| {
                world.work(usize::from(ops_free));
            });
        }
        Step::Complete { times } => {
            (0..times).for_each(|_| {
                world.complete();
            });
        }
        Step::Settle => {
            (world.disk.failure_rate, world.disk.capacity_bytes) = (0, usize::MAX);
            world.settle();
        }
        Step::Find { queue, at_permille, entries_max } => {
            let end = world.model.next_offset(QueueId::new(queue)).get();
            world.check_find(queue, end * at_permille / 1000, entries_max);
        }
        Step::Others { queue, at_permille } => {
            let (time_ms, end) = (world.time_ms() * at_permille / 1000, world.model.end.get());
            world.check_others(queue, time_ms, end * at_permille / 1000);
        }
        Step::Trim { at_permille } => {
            let position = LogPosition::new(world.model.end.get() * at_permille / 1000);
            world.model.trimmed = world.model.trimmed.max(position);
            world.index.trim(position);
        }
        Step::Remove { queue } => {
            world.model.removed.push(QueueId::new(queue));
            world.index.remove_queue(QueueId::new(queue));
        }
        Step::Crash => world.crash(),
        Step::Reopen => {
            while world.complete() {}
            world.reopen();
        }
        Step::Failures { rate } => world.disk.failure_rate = rate,
        Step::Full { free_blocks } => {
            let used: usize = world.disk.names().into_iter().map(|file| world.disk.size_bytes(file)).sum();
            world.disk.capacity_bytes = used.saturating_add(free_blocks.saturating_mul(64 << 10));
        }
        Step::Retry => world.index.retry(),
        Step::Discard => {
            world.index.discard();
            world.add_uncovered();
        }
    }
    assert_eq!(world.damage, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_history_is_answered_as_the_model_answers_it(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(seed);
        let mut random = Random(seed);
        for step in &steps {
            carry_out(&mut world, &mut random, step);
        }
        world.check_all();
        (world.disk.failure_rate, world.disk.capacity_bytes) = (0, usize::MAX);
        world.index.retry();
        world.settle();
        world.check_all();
        world.crash();
        world.check_all();
    }
}
