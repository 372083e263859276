//! Received bytes, however they were cut, into the units of a protocol. Units that arrive whole are read where they lie;
//! only one that arrives in pieces is copied. Of either dialect.

/// What a protocol's units are.
pub(crate) trait Units {
    /// How it can be broken.
    type Error;

    /// Bytes of the unit that begins with `begun`, as far as that can be told; more than there are while it is not whole.
    /// [`Self::take`] has seen these bytes, and refused a length that is out of range.
    fn needed(&self, begun: &[u8]) -> usize;

    /// Reads the unit at the start of `bytes`: how many bytes it takes, 0 when it is not whole.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Self::Error>;
}

/// The beginning of a unit whose rest has not arrived. Holds no more than one unit may have.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    partial: Vec<u8>,
}

impl Cutter {
    /// Nothing has begun.
    pub(crate) const fn new() -> Self {
        Self { partial: Vec::new() }
    }

    /// Gives the units in `bytes` to `units`, and keeps what is not whole.
    ///
    /// # Errors
    /// The first of `units`; what was kept is then worth nothing.
    #[inline]
    pub(crate) fn cut<U: Units>(&mut self, mut bytes: &[u8], units: &mut U) -> Result<(), U::Error> {
        while !self.partial.is_empty() && !bytes.is_empty() {
            bytes = self.complete(bytes, units)?;
        }
        while !bytes.is_empty() {
            let used = units.take(bytes)?;
            if used == 0 {
                self.partial.extend_from_slice(bytes);
                break;
            }
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Adds to the unit that has begun no more than it needs, and gives it on when it is whole. Gives the rest of `bytes`.
    fn complete<'b, U: Units>(&mut self, bytes: &'b [u8], units: &mut U) -> Result<&'b [u8], U::Error> {
        let missing = units.needed(&self.partial).saturating_sub(self.partial.len());
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.partial.extend_from_slice(now);
        let used = units.take(&self.partial)?;
        assert!(used == 0 || used == self.partial.len(), "{used} of {} collected bytes are a unit", self.partial.len());
        if used > 0 {
            self.partial.clear();
        }
        Ok(rest)
    }
}
