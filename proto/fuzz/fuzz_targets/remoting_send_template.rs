//! A template made of one send's header reads other headers as the general reader does, or not at all; whatever the headers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::send::SendHeader;
use ringmq_proto::remoting::{Frame, SendTemplate, SerializeType};
use ringmq_proto_fuzz::Input;

const HEADERS: &str = include_str!("../../tests/data/remoting_headers.jsonl");

/// The `which`-th captured header of a send.
fn captured(which: u8) -> Vec<u8> {
    let sends: Vec<&str> = HEADERS.lines().filter(|line| line.starts_with(r#"{"code":310"#)).collect();
    sends[usize::from(which) % sends.len()].as_bytes().to_vec()
}

fn frame(header: &[u8]) -> Frame<'_> {
    Frame { serialize_type: SerializeType::Json, header, body: b"" }
}

fuzz_target!(|input: (Input<u8>, Vec<Input<u8>>)| {
    let (first, others) = input;
    let first = first.bytes(captured);
    let mut scratch = Vec::new();
    let Ok((head, Ok(send))) = SendHeader::read_send(310, &frame(&first), &mut scratch) else { return };
    let Some(template) = SendTemplate::of(&frame(&first), &head, &send) else { return };
    for other in others {
        let other = other.bytes(captured);
        let (mut quick, mut general) = (Vec::new(), Vec::new());
        if let Some((head, send)) = template.read(&frame(&other), &mut quick) {
            let (general_head, read) =
                SendHeader::read_send(310, &frame(&other), &mut general).expect("it is a header");
            assert_eq!((head, Ok(send)), (general_head, read));
        }
    }
});
