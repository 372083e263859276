//! Bodies that travel compressed: which ones a producer compresses, and how a consumer reads them. Brokers store them as
//! they come; two fields of RocketMQ's sysFlag say what they are.
//!
//! ```text
//! sysFlag  bit 0       the body is compressed
//!          bits 8-10   by what: 1 an LZ4 frame, 2 ZSTD, 3 zlib; 0 zlib too, of clients older than this field
//! ```

use std::io::{self, Read, Write};

use bytes::Bytes;
use ringmq_proto::error::DecodeError;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::message::stored::sys_flag::{COMPRESSED, COMPRESSION_TYPE_MASK};

/// Bytes that a compressed body may inflate to: what a body that is not compressed could have, since it travels in one
/// frame. When reached: the message counts as damaged, and no more than this was taken for it.
pub const INFLATED_BODY_SIZE_BYTES_MAX: usize = FRAME_SIZE_BYTES_MAX;

/// What a body is compressed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionKind {
    /// An LZ4 frame: fast, and the least gain. Understood by RocketMQ's Java clients from 5.0 on. Has no levels here.
    Lz4,
    /// ZSTD: faster than zlib, and a greater gain. Understood by RocketMQ's Java clients from 5.0 on. Levels 1 to 22.
    Zstd,
    /// zlib: understood by clients of every age and language. Levels 1 to 9.
    #[default]
    Zlib,
}

/// Which bodies a producer compresses, and how. Those of batches, and those that do not get smaller, are left as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// By what. [`CompressionKind::Zlib`], as in RocketMQ (`compressType`).
    pub kind: CompressionKind,
    /// How hard to try. 5, as in RocketMQ (`compressLevel`).
    pub level: u8,
    /// Bodies of so many bytes and more are compressed. 4096, as in RocketMQ (`compressMsgBodyOverHowmuch`).
    pub from_size_bytes: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { kind: CompressionKind::default(), level: 5, from_size_bytes: 4096 }
    }
}

impl Compression {
    /// Whether the level is one of the kind's.
    pub(crate) fn is_possible(&self) -> bool {
        match self.kind {
            CompressionKind::Lz4 => true,
            CompressionKind::Zstd => (1..=22).contains(&self.level),
            CompressionKind::Zlib => (1..=9).contains(&self.level),
        }
    }

    /// The body compressed, and what sysFlag says of it; `None` when it is sent as it is.
    pub(crate) fn compress(&self, body: &[u8]) -> Option<(Bytes, i32)> {
        if body.len() < self.from_size_bytes {
            return None;
        }
        match self.deflate(body) {
            Ok(deflated) => (deflated.len() < body.len()).then(|| (deflated.into(), COMPRESSED | self.kind.sys_flag())),
            Err(error) => {
                tracing::error!(%error, kind = ?self.kind, "a body could not be compressed; it is sent as it is");
                None
            }
        }
    }

    fn deflate(&self, body: &[u8]) -> io::Result<Vec<u8>> {
        use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
        match self.kind {
            CompressionKind::Lz4 => {
                // Java's decoder reads no blocks that look back into earlier ones.
                let info = FrameInfo::new().block_mode(BlockMode::Independent);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(body)?;
                Ok(encoder.finish()?)
            }
            CompressionKind::Zstd => zstd::bulk::compress(body, self.level.into()),
            CompressionKind::Zlib => {
                let level = flate2::Compression::new(self.level.into());
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

impl CompressionKind {
    const fn sys_flag(self) -> i32 {
        match self {
            Self::Lz4 => 0x100,
            Self::Zstd => 0x200,
            Self::Zlib => 0x300,
        }
    }

    fn of(sys_flag: i32) -> Result<Self, DecodeError> {
        match sys_flag & COMPRESSION_TYPE_MASK {
            0x100 => Ok(Self::Lz4),
            0x200 => Ok(Self::Zstd),
            0 | 0x300 => Ok(Self::Zlib),
            other => {
                let value = other.cast_unsigned().into();
                Err(DecodeError::Unknown { what: "compression of the message's body", value })
            }
        }
    }
}

/// The body as its producer had it: a slice of `owner` when it is not compressed.
///
/// # Errors
/// When it does not inflate, or to more than [`INFLATED_BODY_SIZE_BYTES_MAX`].
pub(crate) fn plain_body(owner: &Bytes, body: &[u8], sys_flag: i32) -> Result<Bytes, DecodeError> {
    if sys_flag & COMPRESSED == 0 {
        return Ok(owner.slice_ref(body));
    }
    let read = match CompressionKind::of(sys_flag)? {
        CompressionKind::Lz4 if !is_ended_lz4(body) => Err(io::ErrorKind::UnexpectedEof.into()),
        CompressionKind::Lz4 => inflate(lz4_flex::frame::FrameDecoder::new(body)),
        // The window that its header claims (128 MiB at most) is touched only as far as it is filled.
        CompressionKind::Zstd => zstd::stream::read::Decoder::with_buffer(body).and_then(inflate),
        CompressionKind::Zlib => inflate(flate2::read::ZlibDecoder::new(body)),
    };
    let inflated =
        read.map_err(|_| DecodeError::Malformed { what: "the message's compressed body does not inflate" })?;
    if inflated.len() > INFLATED_BODY_SIZE_BYTES_MAX {
        return Err(DecodeError::Malformed { what: "the message's compressed body inflates beyond 16 MiB" });
    }
    Ok(inflated.into())
}

/// Whether an LZ4 frame has its end mark, for which its decoder does not look: without it, blocks may be missing.
fn is_ended_lz4(frame: &[u8]) -> bool {
    const FLAGS_AT: usize = 4;
    const HAS_CHECKSUM: u8 = 4;
    const END_MARK: [u8; 4] = [0; 4];
    let checksum_size_bytes = if frame.get(FLAGS_AT).is_some_and(|flags| flags & HAS_CHECKSUM != 0) { 4 } else { 0 };
    let end = frame.len().checked_sub(checksum_size_bytes).and_then(|end| frame.get(..end));
    end.is_some_and(|frame| frame.ends_with(&END_MARK))
}

/// Reads to the end, or one byte more than is allowed.
fn inflate(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder.take(INFLATED_BODY_SIZE_BYTES_MAX as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

const _: () = assert!(INFLATED_BODY_SIZE_BYTES_MAX == 16 << 20, "plain_body's sentence says so");

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [CompressionKind; 3] = [CompressionKind::Lz4, CompressionKind::Zstd, CompressionKind::Zlib];

    fn plain(compressed: &[u8], sys_flag: i32) -> Result<Bytes, DecodeError> {
        let owner = Bytes::copy_from_slice(compressed);
        plain_body(&owner, &owner, sys_flag)
    }

    fn compress(kind: CompressionKind, body: &[u8]) -> (Bytes, i32) {
        Compression { kind, ..Compression::default() }.compress(body).expect("gets smaller")
    }

    /// Does not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_is_compressed_by_any_kind_at_any_level_inflates_to_the_same() {
        let body = ["a body of more than 4 KiB ".repeat(300).into_bytes(), noise(700)].concat();
        for kind in KINDS {
            for level in [1, 5, 9, 22] {
                let compression = Compression { kind, level, ..Compression::default() };
                if !compression.is_possible() {
                    continue;
                }
                let (compressed, sys_flag) = compression.compress(&body).expect("gets smaller");
                assert!(compressed.len() < body.len() / 4, "{kind:?} {level}: {}", compressed.len());
                assert_eq!(plain(&compressed, sys_flag).expect("inflates"), body, "{kind:?} {level}");
            }
        }
    }

    #[test]
    fn the_sys_flag_is_rocketmqs() {
        let body = [b'x'; 5000];
        assert_eq!(KINDS.map(|kind| compress(kind, &body).1), [0x101, 0x201, 0x301]);
        let (zlib, _) = compress(CompressionKind::Zlib, &body);
        assert_eq!(zlib[0], 0x78, "with zlib's own header");
        assert_eq!(plain(&zlib, 0x001).expect("of an old client"), body[..]);
        assert_eq!(plain(&zlib, 0x300).expect("not flagged as compressed"), zlib);
    }

    /// What `CompressorFactory.getCompressor(type).compress(body, 5)` of rocketmq-common 5.3.3 makes of the body below.
    const BY_JAVA: [(i32, &str); 3] = [
        (
            0x101,
            "04224d186070732c0000007f52696e674d51200700ffffffffffffffffffffffffffffffffffffffffffffffffffffff54506e674d51\
             2000000000",
        ),
        (0x201, "28b52ffd00587c00003852696e674d512001004eabbe1801010000"),
        (0x301, "785eedc5211100400800b02a5f08f194e030f49724a0c166963d15ffa5244992244992244992a4bb05bf640138"),
    ];

    #[test]
    fn what_javas_clients_compress_is_read() {
        for (sys_flag, hex) in BY_JAVA {
            let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
            let compressed: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
            assert_eq!(plain(&compressed, sys_flag).expect("inflates"), "RingMQ ".repeat(1000), "{sys_flag:#x}");
        }
    }

    #[test]
    fn short_bodies_and_those_that_do_not_get_smaller_are_sent_as_they_are() {
        let compression = Compression::default();
        assert_eq!(compression.compress(&[b'x'; 4095]), None);
        assert!(compression.compress(&[b'x'; 4096]).is_some());
        for kind in KINDS {
            assert_eq!(Compression { kind, ..compression }.compress(&noise(8192)), None);
        }
    }

    #[test]
    fn a_bomb_is_an_error_and_takes_no_more_than_the_limit() {
        let body = vec![0; INFLATED_BODY_SIZE_BYTES_MAX + 1];
        for kind in KINDS {
            let (bomb, sys_flag) = compress(kind, &body);
            assert!(bomb.len() < 128 << 10, "{kind:?}: {}", bomb.len());
            let refused = DecodeError::Malformed { what: "the message's compressed body inflates beyond 16 MiB" };
            assert_eq!(plain(&bomb, sys_flag), Err(refused), "{kind:?}");
            let (largest, sys_flag) = compress(kind, &body[1..]);
            assert_eq!(plain(&largest, sys_flag).expect("at the limit").len(), INFLATED_BODY_SIZE_BYTES_MAX);
        }
    }

    #[test]
    fn damage_and_kinds_that_nobody_knows_are_errors() {
        let body = ["damage ".repeat(700).into_bytes(), noise(3000)].concat();
        for kind in KINDS {
            let (compressed, sys_flag) = compress(kind, &body);
            for length in [0, 1, 10, compressed.len() / 2, compressed.len() - 5] {
                let cut = plain(&compressed[..length], sys_flag);
                assert!(cut.is_err(), "{kind:?} cut at {length}: {cut:?}");
            }
            assert!(plain(&body, sys_flag).is_err(), "{kind:?} of what is not compressed");
        }
        for unknown in [0x401, 0x501, 0x601, 0x701] {
            assert!(matches!(plain(b"?", unknown), Err(DecodeError::Unknown { .. })), "{unknown:#x}");
        }
    }
}
