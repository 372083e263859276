//! Sizes and spans of time as an operator writes them.

/// Reads a size in bytes: `4096`, `64KiB`, `256 MiB`, `1GiB`, `2TiB`. `K`, `M`, `G`, `T` with or without `B` mean the
/// same powers of 1024.
///
/// # Errors
/// One sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write a number with KiB, MiB, GiB or TiB, such as 256MiB");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Reads a span of time in milliseconds: `500ms`, `15s`, `30m`, `72h`, `7d`.
///
/// # Errors
/// One sentence.
pub fn parse_span_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a span of time: write a number with ms, s, m, h or d, such as 72h");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Writes a size with the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Writes a span of time with the largest unit that divides it.
pub fn show_span_ms(milliseconds: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(factor, _)| milliseconds > 0 && milliseconds.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", milliseconds / factor),
        None => format!("{milliseconds}ms"),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_back_from_what_is_shown() {
        for (text, bytes) in [("4096", 4096), ("256MiB", 256 << 20), ("1 g", 1 << 30), ("3kb", 3072), ("0", 0)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for (text, milliseconds) in [("72h", 259_200_000), ("500ms", 500), ("7d", 604_800_000), ("90s", 90_000)] {
            assert_eq!(parse_span_ms(text), Ok(milliseconds), "{text}");
            assert_eq!(parse_span_ms(&show_span_ms(milliseconds)), Ok(milliseconds));
        }
    }

    #[test]
    fn what_is_neither_is_refused_in_one_sentence() {
        for text in ["", "MiB", "-1", "1.5GiB", "12 apples", "99999999999TiB", "72 hours"] {
            assert_eq!(parse_size(text).expect_err(text).lines().count(), 1);
            assert!(parse_span_ms(text).is_err(), "{text}");
        }
    }
}
