//! Numbers and strings as they stand in a JSON header, appended to a buffer.

/// Appends a number in decimal.
#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, value: i64) {
    let mut text = [0; 2 * NUMBER_SIZE_BYTES_MAX];
    let Some(front) = text.first_chunk_mut() else { return };
    let size = number_text(value, front).len();
    // Copying as many bytes as a number may have, whatever it has, is cheaper than asking how many.
    if let Some(number) = text[NUMBER_SIZE_BYTES_MAX - size..].first_chunk::<NUMBER_SIZE_BYTES_MAX>() {
        let end = out.len() + size;
        out.extend_from_slice(number);
        out.truncate(end);
    }
}

/// Digits of an i64, with its sign.
pub(super) const NUMBER_SIZE_BYTES_MAX: usize = 20;

/// Writes a number in decimal at the end of `text`: that end.
#[inline]
pub(super) fn number_text(value: i64, text: &mut [u8; NUMBER_SIZE_BYTES_MAX]) -> &[u8] {
    let mut start = text.len();
    let mut rest = value.unsigned_abs();
    // Two digits a division.
    while rest >= 100 {
        let pair = usize::from((rest % 100).to_le_bytes()[0]);
        rest /= 100;
        start -= 2;
        text[start..start + 2].copy_from_slice(&PAIRS[pair]);
    }
    let low = rest.to_le_bytes()[0];
    if low >= 10 {
        start -= 2;
        text[start..start + 2].copy_from_slice(&PAIRS[usize::from(low)]);
    } else {
        start -= 1;
        text[start] = b'0' + low;
    }
    if value < 0 {
        start -= 1;
        text[start] = b'-';
    }
    &text[start..]
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [*b"00"; 100];
    let mut value = 0_u8;
    while value < 100 {
        pairs[value as usize] = [b'0' + value / 10, b'0' + value % 10];
        value += 1;
    }
    pairs
};

/// Appends a string with its quotes, escaped where JSON asks for it.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_text(out, text.as_bytes());
    out.push(b'"');
}

/// Appends what stands between the quotes of a string.
#[inline]
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\')) {
        put_escaping(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

fn put_escaping(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(index) = rest.iter().position(|byte| NEEDS_ESCAPE[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..index]);
        put_escaped(out, rest[index]);
        rest = &rest[index + 1..];
    }
    out.extend_from_slice(rest);
}

const NEEDS_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

fn put_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let edges = [0, 1, 9, 10, 11, 99, 100, 101, 999, 1_000, 12_345, i64::MAX, i64::MIN, -1, -10, -99, -100];
        let powers = (0..19).map(|power| 10_i64.pow(power));
        for value in edges.into_iter().chain(powers.flat_map(|power| [power, power - 1, -power])) {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
