//! Sizes on the command line: bytes with a unit, and mixes of body sizes.

use std::str::FromStr;

use ringmq_checker::identity::IDENTITY_SIZE_BYTES;
use ringmq_proto::limits::BODY_SIZE_BYTES_MAX;

/// `4096`, `64KiB`, `256MiB`, `1GiB`, `1TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(format!("unknown unit '{unit}': write KiB, MiB or GiB")),
        };
        let number: u64 = number.parse().map_err(|_| "expected a size like 256MiB".to_owned())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| "too large".to_owned())
    }
}

/// Entries of the table that sizes are taken from: a power of two, so that a sequence indexes it by its low bits.
const TABLE_COUNT: usize = 4096;

/// How large bodies are: drawn once into a table, the same for every run.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeMix {
    text: String,
    table: Vec<u32>,
}

impl SizeMix {
    /// The size of the body of message `sequence`, bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
    pub fn of(&self, sequence: u64) -> usize {
        self.table[sequence as usize & (self.table.len() - 1)] as usize
    }

    /// The mean, bytes.
    pub fn mean(&self) -> f64 {
        self.table.iter().map(|&size| f64::from(size)).sum::<f64>() / self.table.len() as f64
    }

    /// The largest, bytes.
    pub fn largest(&self) -> usize {
        self.table.iter().copied().max().unwrap_or(0) as usize
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for SizeMix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let table = if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (body_size(low)?, body_size(high)?);
            if high < low {
                return Err("the range is empty".into());
            }
            shuffled(|index| low + u32::try_from(index * (high - low + 1) as usize / TABLE_COUNT).unwrap_or(0))
        } else if text.contains('%') {
            shares(text)?
        } else {
            vec![body_size(text)?]
        };
        Ok(Self { text: text.to_owned(), table })
    }
}

fn body_size(text: &str) -> Result<u32, String> {
    let ByteSize(size) = text.trim().parse()?;
    if size < IDENTITY_SIZE_BYTES as u64 {
        return Err(format!("a body needs {IDENTITY_SIZE_BYTES} bytes for its identity"));
    }
    if size > BODY_SIZE_BYTES_MAX as u64 {
        return Err(format!("a body has at most {BODY_SIZE_BYTES_MAX} bytes"));
    }
    u32::try_from(size).map_err(|_| "too large".to_owned())
}

/// `90%10,10%1024`: the shares must make 100.
fn shares(text: &str) -> Result<Vec<u32>, String> {
    let mut bounds = Vec::new();
    let mut sum = 0.0f64;
    for part in text.split(',') {
        let (share, size) = part.split_once('%').ok_or("expected shares like 90%10,10%1024")?;
        let share: f64 = share.trim().parse().map_err(|_| format!("'{share}' is no share"))?;
        if share.is_nan() || share <= 0.0 {
            return Err("a share must be above 0".into());
        }
        sum += share;
        bounds.push((sum, body_size(size)?));
    }
    if (sum - 100.0).abs() > 0.01 {
        return Err(format!("the shares make {sum} %, not 100"));
    }
    let largest = bounds.last().map_or(0, |&(_, size)| size);
    Ok(shuffled(|index| {
        let point = (index as f64 + 0.5) * 100.0 / TABLE_COUNT as f64;
        bounds.iter().find(|&&(bound, _)| point <= bound).map_or(largest, |&(_, size)| size)
    }))
}

/// The table with `size_of(0..TABLE_COUNT)` in an order that looks random: the odd factor visits every entry once.
fn shuffled(size_of: impl Fn(usize) -> u32) -> Vec<u32> {
    (0..TABLE_COUNT).map(|index| size_of((index * 2_654_435_761 + 12_345) % TABLE_COUNT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_the_shares_that_were_asked_for() {
        let mix: SizeMix = "90%10,10%1024".parse().expect("mix");
        let large = (0..TABLE_COUNT as u64).filter(|&sequence| mix.of(sequence) == 1024).count();
        assert!((400..=420).contains(&large), "{large}");
        assert_eq!(mix.largest(), 1024);
    }

    #[test]
    fn a_range_reaches_both_ends_and_no_farther() {
        let mix: SizeMix = "10..1024".parse().expect("range");
        let sizes: Vec<usize> = (0..TABLE_COUNT as u64).map(|sequence| mix.of(sequence)).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&10), Some(&1024)));
        assert!((mix.mean() - 517.0).abs() < 1.0, "{}", mix.mean());
    }

    #[test]
    fn sizes_that_carry_no_identity_or_are_too_large_are_refused() {
        for bad in ["9", "0", "5..20", "50%10", "100%4", "5MiB", "x", "", "20..10"] {
            assert!(bad.parse::<SizeMix>().is_err(), "{bad}");
        }
        assert_eq!("1KiB".parse::<SizeMix>().expect("unit").of(77), 1024);
    }
}
