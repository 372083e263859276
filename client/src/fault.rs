//! Avoiding brokers that are slow or do not answer, as RocketMQ's `MQFaultStrategy` does: what was seen decides for how long
//! other brokers are preferred. It never refuses a send: when every broker is to be avoided, all are as good again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From this latency on (ms, left) a broker is avoided for so long (ms, right). RocketMQ 4.9's table.
const AVOIDANCE_MS: [(u64, u64); 7] =
    [(50, 0), (100, 0), (550, 30_000), (1_000, 60_000), (2_000, 120_000), (3_000, 180_000), (15_000, 600_000)];

/// How long a broker is avoided after a send that failed: as RocketMQ 5 (4.9 takes ten minutes, in which a broker that was
/// merely restarted gets nothing).
const AVOIDANCE_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long to prefer other brokers after a send that took `latency`.
pub(crate) fn avoidance_after(latency: Duration) -> Duration {
    let latency_ms = latency.as_millis();
    let avoid_ms = AVOIDANCE_MS.iter().rev().find(|(from_ms, _)| latency_ms >= u128::from(*from_ms));
    Duration::from_millis(avoid_ms.map_or(0, |(_, avoid_ms)| *avoid_ms))
}

/// What is known of one broker. Shared by all that send to it; a stale read merely costs a slow send.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// From when on the broker is as good as any, in ms on the client's own clock.
    avoided_until_ms: AtomicU64,
}

impl Health {
    /// Whether another broker should be preferred at `now_ms`.
    #[inline]
    pub(crate) fn is_avoided(&self, now_ms: u64) -> bool {
        self.avoided_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// A send was answered after `latency`. A fast answer ends an avoidance: the broker is back.
    #[inline]
    pub(crate) fn answered(&self, now_ms: u64, latency: Duration) {
        let until_ms = now_ms.saturating_add(to_ms(avoidance_after(latency)));
        // Most answers change nothing, and a store would take the line away from the other cores.
        if self.avoided_until_ms.load(Ordering::Relaxed) > now_ms || until_ms > now_ms {
            self.avoided_until_ms.store(until_ms, Ordering::Relaxed);
        }
    }

    /// A send failed, or its connection did.
    pub(crate) fn failed(&self, now_ms: u64) {
        let until_ms = now_ms.saturating_add(to_ms(AVOIDANCE_AFTER_FAILURE));
        self.avoided_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoidance_follows_rocketmqs_table() {
        let avoided_s = |latency_ms| avoidance_after(Duration::from_millis(latency_ms)).as_secs();
        assert_eq!([0, 49, 549, 550, 999].map(avoided_s), [0, 0, 0, 30, 30]);
        assert_eq!([1_000, 2_000, 3_000, 14_999, 15_000, 99_000].map(avoided_s), [60, 120, 180, 180, 600, 600]);
    }

    #[test]
    fn a_slow_broker_is_avoided_until_its_time_is_over() {
        let health = Health::default();
        health.answered(1_000, Duration::from_millis(600));
        assert!(health.is_avoided(30_999));
        assert!(!health.is_avoided(31_000));
    }

    #[test]
    fn a_fast_answer_ends_the_avoidance_of_a_failed_broker() {
        let health = Health::default();
        health.failed(0);
        assert!(health.is_avoided(9_999));
        health.answered(5_000, Duration::from_millis(1));
        assert!(!health.is_avoided(5_001));
    }
}
