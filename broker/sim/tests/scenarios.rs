//! The scenarios of the reliability reference, each with both alignments.

use ringmq_sim::scenario;

fn run(name: &str) {
    let (_, scenario) = scenario::ALL.iter().find(|(known, _)| *known == name).expect("listed");
    for alignment in [512, 4096] {
        eprintln!("again: cargo run -p ringmq-sim -- scenario {name}   (alignment {alignment})");
        scenario(alignment);
    }
}

macro_rules! scenarios {
    ($($name:ident,)*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_listed_scenario_is_run() {
            let run = [$(stringify!($name)),*];
            let listed: Vec<&str> = scenario::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(listed, run);
        }
    };
}

scenarios! {
    fsync_error_is_fatal,
    bitflip_in_middle_loses_at_most_that_commit,
    stale_tail_never_returns,
    every_bit_of_record_is_covered,
    recycled_segment_is_empty,
    queue_equals_log_after_any_crash,
    no_checksum_value_means_none,
    offsets_survive_torn_write,
    recovery_never_deletes,
    every_nth_operation_may_fail,
    half_a_group_is_never_served,
    commit_of_another_history_is_refused,
    owed_offset_never_wins_over_a_newer_one,
    lying_flush_is_detected,
    full_disk_refuses_and_comes_back,
    pending_message_ends_exactly_once,
    pending_message_below_the_trim_has_ended,
    segment_stays_while_it_is_read,
    store_time_never_falls_when_the_clock_is_set_back,
    damage_in_a_trimmed_log_gives_no_offset_twice,
    misdirected_write_is_refused_and_reported,
    write_that_goes_astray_is_seen_by_the_next_start,
    damaged_index_is_refused_and_made_again,
    damage_at_the_beginning_of_a_queue_stays_damage,
    dead_disk_is_asked_again_after_a_while,
}
