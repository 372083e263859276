//! SEND and its reply: no panic; an accepted send has all its items, within limits, and they fill the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::native::{
    FrameFlags, SendFrame, SendFrameBuilder, SendItem, SendReply, encode_send, encode_send_reply, split_frame,
};
use ringmq_proto_fuzz::{Input, at_most};

type Item = (u32, u64, i32, u16, Vec<u8>, Vec<u8>);

fn encode(items: &[Item]) -> Vec<u8> {
    let items: Vec<_> = items
        .iter()
        .map(|(handle, born_time_ms, flag, sys_flag, properties, body)| SendItem {
            handle: *handle,
            born_time_ms: *born_time_ms,
            flag: *flag,
            sys_flag: *sys_flag & 0x703,
            properties: at_most(properties, 32_767),
            body,
        })
        .collect();
    let mut bytes = Vec::new();
    if items.is_empty() {
        return bytes;
    }
    encode_send(&mut bytes, 1, FrameFlags::NONE, &items);
    let (frame, _) = split_frame(&bytes, 1 << 30).expect("a length").expect("a frame");
    assert!(SendFrame::decode(&frame).expect("just written").items().eq(items.iter().copied()));
    let mut builder = SendFrameBuilder::new(1 << 30, 65_535);
    items.iter().for_each(|item| builder.push(item).expect("within the limits"));
    let mut built = Vec::new();
    builder.finish(&mut built, 1, FrameFlags::NONE);
    assert_eq!(built, bytes);
    bytes
}

fuzz_target!(|input: Input<Vec<Item>>| {
    let bytes = input.bytes(|items| encode(&items));
    let Ok(Some((frame, _))) = split_frame(&bytes, 1 << 30) else { return };
    if let Ok(send) = SendFrame::decode(&frame) {
        assert_eq!(send.items().count(), frame.header.count as usize);
        assert_eq!(send.handles().len(), send.len());
        assert_eq!(send.items().map(|item| item.encoded_len()).sum::<usize>(), frame.body.len());
        assert!(send.items().all(|item| item.sys_flag & !0x703 == 0 && item.properties.len() <= 32_767));
        let items: Vec<_> = send.items().collect();
        let mut written = Vec::new();
        encode_send(&mut written, frame.header.request_id, frame.header.flags, &items);
        assert_eq!(written[16..], *frame.body);
    }
    if let Ok(reply) = SendReply::decode(&frame) {
        let results: Vec<_> = reply.results().collect();
        let mut written = Vec::new();
        encode_send_reply(&mut written, frame.header.request_id, frame.header.code, &results);
        assert_eq!(written[16..], *frame.body);
    }
});
