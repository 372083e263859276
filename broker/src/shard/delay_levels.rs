//! Delay levels: RocketMQ's way to say how late a message is to be delivered.

use std::fmt;

/// How long each level waits, in milliseconds; level 1 is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayLevels {
    waits_ms: Vec<u64>,
}

/// Levels that can be configured. When reached: the setting is refused.
pub(super) const DELAY_LEVEL_COUNT_MAX: usize = 64;

/// RocketMQ's `messageDelayLevel`.
const DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Why a `messageDelayLevel` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("messageDelayLevel is a list of up to {DELAY_LEVEL_COUNT_MAX} times like 1s 5m 2h 1d, not {0:?}")]
pub struct BadDelayLevels(String);

impl DelayLevels {
    /// Reads RocketMQ's `messageDelayLevel`: times with the unit s, m, h or d, separated by spaces.
    ///
    /// # Errors
    /// Another unit, no number, no level, or too many.
    pub fn parse(text: &str) -> Result<Self, BadDelayLevels> {
        let bad = || BadDelayLevels(text.into());
        let waits: Option<Vec<u64>> = text.split_whitespace().map(parse_wait).collect();
        let waits_ms = waits.filter(|waits| (1..=DELAY_LEVEL_COUNT_MAX).contains(&waits.len())).ok_or_else(bad)?;
        Ok(Self { waits_ms })
    }

    /// How many levels there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.waits_ms.len()).expect("at most 64 levels")
    }

    /// How long `level` (1 is the first) waits, in ms; one beyond the last waits as long as the last.
    pub fn wait_ms(&self, level: u8) -> u64 {
        let index = usize::from(level.clamp(1, self.count())) - 1;
        self.waits_ms[index]
    }
}

fn parse_wait(text: &str) -> Option<u64> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let unit_ms: u64 = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    text[..unit_at].parse::<u64>().ok()?.checked_mul(unit_ms)
}

impl fmt::Display for DelayLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wait_ms) in self.waits_ms.iter().enumerate() {
            let units = [(86_400_000, 'd'), (3_600_000, 'h'), (60_000, 'm')];
            let fits = |(unit_ms, _): &&(u64, char)| *wait_ms > 0 && wait_ms.is_multiple_of(*unit_ms);
            let (unit_ms, unit) = units.iter().find(fits).copied().unwrap_or((1000, 's'));
            let separator = if index > 0 { " " } else { "" };
            write!(f, "{separator}{}{unit}", wait_ms / unit_ms)?;
        }
        Ok(())
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("RocketMQ's own levels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_levels_are_rocketmqs_and_a_level_beyond_the_last_is_the_last() {
        let levels = DelayLevels::default();
        assert_eq!(levels.count(), 18);
        assert_eq!(levels.to_string(), DEFAULT);
        assert_eq!(
            [1, 2, 3, 5, 17, 18, 200].map(|level| levels.wait_ms(level) / 1000),
            [1, 5, 10, 60, 3600, 7200, 7200]
        );
    }

    #[test]
    fn levels_have_units_and_at_least_one_of_them() {
        assert_eq!(DelayLevels::parse(" 100s  1d ").map(|levels| levels.waits_ms), Ok(vec![100_000, 86_400_000]));
        for bad in ["", "5", "5x", "s", "1s,2s", "-1s", "99999999999999999999d", "ß"] {
            assert!(DelayLevels::parse(bad).is_err(), "{bad}");
        }
    }
}
