//! Base64 with the alphabet for URLs, as handles of timed messages are written.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// With padding, as Java writes it.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit) & 63) as usize;
            out.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[value]) });
        }
    }
    out
}

/// With padding or without. `None` for other characters, and for a length that no bytes have.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut word = 0_u32;
        for index in 0..4 {
            word = word << 6 | chunk.get(index).map_or(Some(0), |digit| value_of(*digit))?;
        }
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

fn value_of(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_are_read_as_they_were_written() {
        let bytes: Vec<u8> = (0..=255).rev().collect();
        for size in 0..=bytes.len() {
            let text = encode(&bytes[..size]);
            assert_eq!(text.len() % 4, 0);
            assert_eq!(decode(&text).unwrap(), &bytes[..size]);
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), &bytes[..size]);
        }
        assert_eq!(encode(b"\xfb\xff\xfe"), "-__-");
        assert_eq!(encode(b"f"), "Zg==");
        assert_eq!(encode(b"fo"), "Zm8=");
    }

    #[test]
    fn other_characters_and_lengths_are_refused() {
        for bad in ["A", "AAAAA", "AB+=", "AB/=", "A===", "Zg===", "AA AA"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
