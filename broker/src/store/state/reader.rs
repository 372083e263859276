//! Takes the fields of a state record's payload off its front.

/// What is left of a payload.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Text behind its length (u16).
    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    /// All that is left, as text.
    pub(super) fn name(self) -> Option<String> {
        String::from_utf8(self.0.to_vec()).ok()
    }

    /// The value, if nothing is left.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Appends text behind its length (u16).
///
/// # Panics
/// When it is longer than 65 535 bytes: names are checked before they get here.
pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).expect("names are bounded").to_le_bytes());
    out.extend(text.as_bytes());
}
