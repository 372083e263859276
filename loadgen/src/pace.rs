//! When a connection's next frame is due. Closed loop: at once. Open loop: by a schedule that does not care about answers, so
//! that a stalled broker is charged for every message it kept waiting (no coordinated omission).

/// The schedule of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When the first frame is due, and nanoseconds between two; `None` in closed loop.
    schedule: Option<(u64, f64)>,
    frames_sent: u64,
}

impl Pace {
    /// As fast as the window of unanswered frames allows.
    pub const fn closed() -> Self {
        Self { schedule: None, frames_sent: 0 }
    }

    /// Connection `index` of `count`, which together send `frames_per_second` from `start_ns` on, evenly interleaved.
    pub fn open(start_ns: u64, frames_per_second: f64, index: u32, count: u32) -> Self {
        let interval_ns = 1e9 * f64::from(count) / frames_per_second;
        let phase_ns = interval_ns * f64::from(index) / f64::from(count);
        Self { schedule: Some((start_ns.saturating_add(nanoseconds(phase_ns)), interval_ns)), frames_sent: 0 }
    }

    /// When the next frame is due. Closed loop: `now_ns`.
    #[inline]
    pub fn due_ns(&self, now_ns: u64) -> u64 {
        match self.schedule {
            None => now_ns,
            Some((first_ns, interval_ns)) => first_ns + nanoseconds(self.frames_sent as f64 * interval_ns),
        }
    }

    /// Whether answers, not time, let the next frame go.
    pub const fn is_closed(&self) -> bool {
        self.schedule.is_none()
    }

    /// The frame that was due has left.
    #[inline]
    pub const fn sent(&mut self) {
        self.frames_sent += 1;
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; a float saturates")]
fn nanoseconds(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_schedule_does_not_slow_down_with_the_answers() {
        let mut pace = Pace::open(1_000, 1_000_000.0, 1, 4);
        assert_eq!(pace.due_ns(u64::MAX), 2_000);
        (0..1_000_000).for_each(|_| pace.sent());
        assert_eq!(pace.due_ns(0), 2_000 + 4_000_000_000);
    }

    #[test]
    fn the_connections_of_a_run_share_its_rate() {
        let due: Vec<u64> = (0..4).map(|index| Pace::open(0, 1e9 / 250.0, index, 4).due_ns(0)).collect();
        assert_eq!(due, [0, 250, 500, 750]);
    }
}
