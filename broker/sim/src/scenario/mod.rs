//! Scenarios: what went wrong in other brokers, each as a script, by the names of the reliability reference (L1 to L9).
//!
//! A scenario panics when its claim does not hold. All run with both alignments, as tests and by
//! `ringmq-sim scenario NAME`; the mutants have to fail in them or in the random histories.

mod damage;
mod failure;
mod pending;
mod rig;
mod tail;

pub use rig::{Got, LOG_ID, Rig};

/// A claim about one alignment.
pub type Scenario = fn(usize);

/// All of them, by name.
pub const ALL: &[(&str, Scenario)] = &[
    ("fsync_error_is_fatal", failure::fsync_error_is_fatal),
    ("bitflip_in_middle_loses_at_most_that_commit", damage::bitflip_in_middle_loses_at_most_that_commit),
    ("stale_tail_never_returns", tail::stale_tail_never_returns),
    ("every_bit_of_record_is_covered", damage::every_bit_of_record_is_covered),
    ("recycled_segment_is_empty", tail::recycled_segment_is_empty),
    ("queue_equals_log_after_any_crash", tail::queue_equals_log_after_any_crash),
    ("no_checksum_value_means_none", damage::no_checksum_value_means_none),
    ("offsets_survive_torn_write", failure::offsets_survive_torn_write),
    ("recovery_never_deletes", tail::recovery_never_deletes),
    ("every_nth_operation_may_fail", failure::every_nth_operation_may_fail),
    ("half_a_group_is_never_served", damage::half_a_group_is_never_served),
    ("commit_of_another_history_is_refused", damage::commit_of_another_history_is_refused),
    ("owed_offset_never_wins_over_a_newer_one", tail::owed_offset_never_wins_over_a_newer_one),
    ("lying_flush_is_detected", failure::lying_flush_is_detected),
    ("full_disk_refuses_and_comes_back", failure::full_disk_refuses_and_comes_back),
    ("pending_message_ends_exactly_once", pending::pending_message_ends_exactly_once),
    ("pending_message_below_the_trim_has_ended", pending::pending_message_below_the_trim_has_ended),
    ("segment_stays_while_it_is_read", tail::segment_stays_while_it_is_read),
    ("store_time_never_falls_when_the_clock_is_set_back", tail::store_time_never_falls_when_the_clock_is_set_back),
    ("damage_in_a_trimmed_log_gives_no_offset_twice", damage::damage_in_a_trimmed_log_gives_no_offset_twice),
    ("misdirected_write_is_refused_and_reported", damage::misdirected_write_is_refused_and_reported),
    ("write_that_goes_astray_is_seen_by_the_next_start", damage::write_that_goes_astray_is_seen_by_the_next_start),
    ("damaged_index_is_refused_and_made_again", damage::damaged_index_is_refused_and_made_again),
    ("damage_at_the_beginning_of_a_queue_stays_damage", damage::damage_at_the_beginning_of_a_queue_stays_damage),
    ("dead_disk_is_asked_again_after_a_while", failure::dead_disk_is_asked_again_after_a_while),
];

/// The body of the `n`-th message of a script.
fn body(n: u64) -> Vec<u8> {
    format!("message {n:06}").into_bytes()
}

/// A rig with one queue that holds `count` promised messages, one commit each, and a mark behind them.
fn filled(seed: u64, alignment: usize, segment_size_bytes: u64, count: u64) -> (Rig, ringmq_proto::ids::QueueId) {
    let mut rig = Rig::new(seed, alignment, segment_size_bytes);
    let queue = rig.topic("orders", 1)[0];
    for n in 0..count {
        let _promised = rig.send(queue, &body(n));
    }
    rig.idle();
    (rig, queue)
}

/// What a reader of that queue gets.
fn whole(count: u64) -> Vec<(u64, Got)> {
    (0..count).map(|n| (n, Got::Message(body(n)))).collect()
}
