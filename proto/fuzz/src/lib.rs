//! What the fuzz targets share: inputs that begin as something valid and are then damaged, so that the fuzzer need not
//! find every length by itself.

use arbitrary::Arbitrary;

/// Bytes to decode.
#[derive(Debug, Arbitrary)]
pub enum Input<T> {
    /// As the fuzzer likes.
    Raw(Vec<u8>),
    /// A valid thing with some of its bytes changed, and cut at the end.
    Damaged {
        /// What is encoded.
        valid: T,
        /// Places (modulo the length) and what they are XORed with.
        changes: Vec<(u16, u8)>,
        /// Bytes that are cut off.
        cut: u8,
    },
}

impl<T> Input<T> {
    /// The bytes, where `encode` makes them of the valid thing.
    pub fn bytes(self, encode: impl FnOnce(T) -> Vec<u8>) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Damaged { valid, changes, cut } => {
                let mut bytes = encode(valid);
                for (place, change) in changes {
                    let length = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(usize::from(place) % length) {
                        *byte ^= change;
                    }
                }
                bytes.truncate(bytes.len().saturating_sub(cut.into()));
                bytes
            }
        }
    }
}

/// A host of either family.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct AnyHost {
    ip: std::net::IpAddr,
    port: u32,
}

impl From<AnyHost> for ringmq_proto::message::Host {
    fn from(host: AnyHost) -> Self {
        Self::new(host.ip, host.port)
    }
}

/// At most `max` bytes of `bytes`.
pub fn at_most(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}
