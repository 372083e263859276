//! A native connection's bytes: frames are cut off without a panic, in order, and never beyond what was received.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::code::Code;
use ringmq_proto::native::{
    Failure, FrameHeader, Kind, PullReply, PullRequest, SendFrame, SendReply, decode_preamble, encode_failure,
    encode_ping, split_frame,
};
use ringmq_proto_fuzz::Input;

fuzz_target!(|input: (u16, Input<Vec<(u32, Option<String>)>>)| {
    let (frame_size_bytes_max, input) = input;
    let bytes = input.bytes(|frames| {
        let mut bytes = Vec::new();
        for (request_id, remark) in frames {
            match remark {
                None => encode_ping(&mut bytes, request_id),
                Some(remark) => encode_failure(&mut bytes, Kind::SEND, request_id, Code::SYSTEM_BUSY, &remark),
            }
        }
        bytes
    });
    if let Some((preamble, _)) = bytes.split_first_chunk() {
        let _ = decode_preamble(preamble);
    }
    let mut rest = bytes.as_slice();
    while let Ok(Some((frame, consumed))) = split_frame(rest, frame_size_bytes_max.into()) {
        assert!(consumed >= 16 && consumed <= frame_size_bytes_max.into());
        assert_eq!(frame.body.len(), consumed - 16);
        assert_eq!(rest[..16], frame.header.encode());
        assert_eq!(FrameHeader::decode(&frame.header.encode()), frame.header);
        let _ = SendFrame::decode(&frame).map(|send| send.items().count());
        let _ = SendReply::decode(&frame).map(|reply| reply.results().count());
        let _ = PullRequest::decode(&frame);
        let _ = PullReply::decode(&frame).map(|reply| reply.records().count());
        let _ = Failure::of(&frame);
        rest = &rest[consumed..];
    }
});
