//! PULL and its reply: no panic, and what is read can be written alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::native::{Frame, PullReply, PullRequest, PullResult, encode_pull, encode_pull_reply, split_frame};
use ringmq_proto::record::{RecordFlags, RecordKind, seal_record};
use ringmq_proto_fuzz::Input;

type Valid = ((u64, u64, u64), Vec<Vec<u8>>);

fn encode((offsets, payloads): Valid) -> Vec<u8> {
    let mut records = Vec::new();
    for payload in &payloads {
        let mut record = [&[0; 16], payload.as_slice()].concat();
        seal_record(&mut record, RecordKind::MESSAGE, RecordFlags::NONE, QueueId::new(1), 2, LogPosition::new(3));
        records.extend_from_slice(&record);
    }
    let [next_offset, min_offset, max_offset] = [offsets.0, offsets.1, offsets.2].map(QueueOffset::new);
    let result = PullResult { next_offset, min_offset, max_offset };
    let mut bytes = Vec::new();
    let count = u32::try_from(payloads.len()).expect("few");
    encode_pull_reply(&mut bytes, 1, Code::SUCCESS, &result, count, &records);
    let (frame, _) = split_frame(&bytes, 1 << 30).expect("a length").expect("a frame");
    let reply = PullReply::decode(&frame).expect("just written");
    assert_eq!(reply.result, result);
    assert!(reply.records().map(|record| record.expect("just written").payload).eq(payloads.iter()));
    bytes
}

fuzz_target!(|input: Input<Valid>| {
    let bytes = input.bytes(encode);
    let Ok(Some((frame, _))) = split_frame(&bytes, 1 << 30) else { return };
    let Frame { header, body } = frame;
    if let Ok(reply) = PullReply::decode(&frame) {
        assert!(reply.records().count() <= body.len() / 16 + 1);
        let mut written = Vec::new();
        let (id, count) = (header.request_id, reply.record_count);
        encode_pull_reply(&mut written, id, header.code, &reply.result, count, reply.record_bytes());
        assert_eq!(written[16..], *body);
    }
    if let Ok(request) = PullRequest::decode(&frame) {
        let mut written = Vec::new();
        encode_pull(&mut written, header.request_id, &request);
        assert_eq!(written[16..], *body);
    }
});
