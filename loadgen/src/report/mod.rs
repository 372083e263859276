//! What the run prints and writes: a table for people, JSON for scripts, a page with drawings.

mod chart;
mod html;
mod json;
mod table;

pub use html::page;
pub use json::json;
pub use table::{table, verdict_line};

/// A number with its thousands apart: `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A rate, rounded to whole messages.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative; a float saturates"
)]
fn rounded(rate: f64) -> String {
    grouped(rate.round() as u64)
}

/// Microseconds, in the unit that reads best.
fn duration(microseconds: f64) -> String {
    match microseconds {
        us if us < 1e3 => format!("{us:.1} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(21_234_567), "21 234 567");
        assert_eq!(duration(12.34), "12.3 us");
        assert_eq!(duration(12_340.0), "12.34 ms");
        assert_eq!(duration(12_340_000.0), "12.34 s");
    }
}
