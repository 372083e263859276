//! Bytes from the network as remoting frames: what is read can be written, and reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::registration::{RegisterBroker, RegisterReply, UnregisterBroker};
use ringmq_proto::remoting::route::GetRoute;
use ringmq_proto::remoting::{ExtHeader, encode_frame, split_frame};

/// Escapes and replaced bytes make a header up to six times longer, and what is encoded must be within its limit.
const FRAME_SIZE_BYTES_MAX: usize = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((frame, size))) = split_frame(rest, FRAME_SIZE_BYTES_MAX) {
        assert!(size >= 8 && size == 8 + frame.header.len() + frame.body.len());
        rest = &rest[size..];
        let Ok(header) = frame.decode_header() else {
            continue;
        };
        let _ = GetRoute::decode(&header.ext);
        let _ = RegisterReply::decode(&header.ext);
        let _ = UnregisterBroker::decode(&header.ext);
        if let Ok(broker) = RegisterBroker::decode(&header.ext) {
            let ext = broker.to_ext();
            assert_eq!(RegisterBroker::decode(&ext), Ok(broker));
        }

        let mut written = Vec::new();
        encode_frame(&mut written, frame.serialize_type, &header, frame.body);
        // Replaced bytes and escapes may make it longer than the limit that it came under.
        let (again, size) = split_frame(&written, usize::MAX).expect("own frames are frames").expect("and whole");
        assert_eq!(size, written.len());
        assert_eq!(again.decode_header().expect("own headers can be read"), header);
        assert_eq!(again.body, frame.body);
    }
});
