//! Bytes that a server sends, in any pieces, to a client's connection of either protocol: no panic, no more kept than one
//! frame, and the pieces do not matter.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringmq_client::connection as native;
use ringmq_client::remoting::connection as remoting;
use ringmq_proto::code::Code;
use ringmq_proto::native::{FrameFlags, Hello, Kind, encode_preamble, encode_request};
use ringmq_proto::remoting::{Header, SerializeType, encode_frame};
use ringmq_proto_fuzz::Input;

/// A frame of a remoting broker.
#[derive(Debug, Arbitrary)]
struct Frame {
    is_response: bool,
    is_binary: bool,
    opaque: u8,
    code: u16,
    remark: Option<String>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Debug, Arbitrary)]
struct Case {
    frames: Input<Vec<Frame>>,
    /// What follows a native server's preamble and hello.
    native: Vec<u8>,
    with_hello: bool,
    /// Sizes of pieces, in turn.
    pieces: Vec<u8>,
}

fn encode(frame: Frame) -> Vec<u8> {
    let Frame { is_response, is_binary, opaque, code, remark, fields, body } = frame;
    let opaque = i32::from(opaque);
    let mut header =
        if is_response { Header::response(Code::new(code), opaque) } else { Header::request(code.into(), opaque) };
    if let Some(remark) = &remark {
        header = header.with_remark(remark);
    }
    fields.iter().for_each(|(name, value)| header.ext.push(name.as_str(), value.as_str()));
    let mut bytes = Vec::new();
    let kind = if is_binary { SerializeType::Binary } else { SerializeType::Json };
    encode_frame(&mut bytes, kind, &header, &body);
    bytes
}

/// `bytes` in pieces of these sizes, and in one.
fn cuts<'b>(bytes: &'b [u8], pieces: &[u8]) -> [Vec<&'b [u8]>; 2] {
    let (mut rest, mut cut) = (bytes, Vec::new());
    for piece in pieces {
        let (now, then) = rest.split_at(rest.len().min(usize::from(*piece)));
        cut.push(now);
        rest = then;
    }
    cut.push(rest);
    [cut, vec![bytes]]
}

fn hear_remoting(pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let mut connection = remoting::Connection::new(SerializeType::Json);
    for code in [10, 11] {
        connection.request(code, &Default::default(), b"").expect("has room");
    }
    let (mut heard, mut asked) = (Vec::new(), Vec::new());
    let mut is_well = true;
    for piece in pieces {
        let result = connection.received(piece, |event| match event {
            remoting::Event::Response(response) => {
                heard.push(format!("{:?} {:?}", response.request, response.code));
            }
            remoting::Event::Request(request) => {
                heard.push(format!("{} {}", request.code, request.body.len()));
                asked.extend(request.reply_to);
            }
        });
        is_well &= result.is_ok();
    }
    for to in asked {
        let _ = connection.answer(to, Code::SUCCESS, None, &Default::default(), b"");
    }
    (heard, is_well)
}

fn hear_native(pieces: &[&[u8]]) -> (usize, bool) {
    let mut connection = native::Connection::new();
    let (mut heard, mut is_well) = (0, true);
    for piece in pieces {
        is_well &= connection.received(piece, |_| heard += 1).is_ok();
    }
    if connection.is_ready() {
        let _ = connection.open_queue("T", 0, true);
    }
    (heard, is_well)
}

fuzz_target!(|case: Case| {
    let bytes = case.frames.bytes(|frames| frames.into_iter().flat_map(encode).collect());
    let [cut, whole] = cuts(&bytes, &case.pieces).map(|pieces| hear_remoting(&pieces));
    assert_eq!(cut, whole);

    let mut bytes = Vec::new();
    if case.with_hello {
        bytes.extend_from_slice(&encode_preamble());
        let hello = Hello { version_min: 1, version_max: 1, ..Hello::default() };
        encode_request(&mut bytes, Kind::HELLO, 0, FrameFlags::REPLY, &hello);
    }
    bytes.extend_from_slice(&case.native);
    let [cut, whole] = cuts(&bytes, &case.pieces).map(|pieces| hear_native(&pieces));
    assert_eq!(cut, whole);
});
