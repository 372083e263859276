//! Complaints about clients, of which a log gets one a second at most, however many clients misbehave.

/// Milliseconds between two lines.
const INTERVAL_MS: u64 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Seldom {
    next_at_ms: u64,
    unsaid: u64,
}

impl Seldom {
    /// Whether to say it now, on any clock that does not step back: then how many were not said since the last.
    pub fn say(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_at_ms {
            self.unsaid += 1;
            return None;
        }
        self.next_at_ms = now_ms + INTERVAL_MS;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_it_stands_for() {
        let mut seldom = Seldom::default();
        let said = [0, 1, 999, 1_000, 1_500, 9_000].map(|now_ms| seldom.say(now_ms));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
