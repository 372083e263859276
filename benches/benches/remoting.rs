//! What the headers of RocketMQ's own clients cost: a send read and answered, a pull read and answered.
//!
//! `cargo bench -p ringmq-benches --bench remoting`. Each figure is one frame. The header is one that a Java client sent,
//! with five properties; beside it the binary form, and the way through the list of fields.

use criterion::{Criterion, criterion_group, criterion_main};
use ringmq_proto::code::Code;
use ringmq_proto::ids::LogPosition;
use ringmq_proto::message::{Host, OffsetId};
use ringmq_proto::remoting::pull::{PullMessage, PullResponse, encode_pull_response_head};
use ringmq_proto::remoting::send::{SendHeader, SendResponse, encode_send_response};
use ringmq_proto::remoting::{ExtHeader, Header, SendTemplate, SerializeType, encode_frame, peek_code, split_frame};
use std::hint::black_box;

const FRAME_SIZE_BYTES_MAX: usize = 16 << 20;

const SEND: &str = r#"{"code":310,"extFields":{"a":"pcap","b":"TopicT","c":"TBW102","d":"4","e":"0","f":"0","g":"1795218652421","h":"0","i":"a\u00015\u0002KEYS\u0001K1 K2\u0002UNIQ_KEY\u0001C00002027F035FFD2B2766F6D5050000\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":10,"serializeTypeCurrentRPC":"JSON","version":409}"#;

const PULL: &str = r#"{"code":11,"extFields":{"queueId":"0","maxMsgNums":"32","sysFlag":"2","suspendTimeoutMillis":"15000","commitOffset":"0","bname":"broker-a","topic":"TopicT","queueOffset":"0","expressionType":"TAG","subVersion":"1795218652820","consumerGroup":"gcap"},"flag":0,"language":"JAVA","opaque":56,"serializeTypeCurrentRPC":"JSON","version":409}"#;

fn frame_bytes(header: &str, wanted: SerializeType) -> Vec<u8> {
    let header = Header::decode(SerializeType::Json, header.as_bytes()).expect("a captured header");
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, wanted, &header, b"0123456789");
    bytes
}

fn send(c: &mut Criterion) {
    let mut group = c.benchmark_group("remoting send");
    let mut scratch = Vec::new();
    for (name, wanted) in [("JSON", SerializeType::Json), ("binary", SerializeType::Binary)] {
        let bytes = frame_bytes(SEND, wanted);
        group.bench_function(format!("read a frame, {name}"), |b| {
            b.iter(|| {
                let Ok(Some((frame, _))) = split_frame(black_box(&bytes), FRAME_SIZE_BYTES_MAX) else { return };
                let Ok(code) = peek_code(&frame) else { return };
                if let Ok((head, Ok(send))) = SendHeader::read_send(code, &frame, &mut scratch) {
                    black_box((head, send));
                }
            });
        });
        if wanted == SerializeType::Json {
            let (frame, _) = split_frame(&bytes, FRAME_SIZE_BYTES_MAX).expect("a frame").expect("whole");
            let (head, read) = SendHeader::read_send(310, &frame, &mut scratch).expect("a header");
            let template = SendTemplate::of(&frame, &head, &read.expect("all fields")).expect("a usual header");
            let mut scratch = Vec::new();
            group.bench_function("read a frame by the template of an earlier one, JSON", |b| {
                b.iter(|| {
                    let Ok(Some((frame, _))) = split_frame(black_box(&bytes), FRAME_SIZE_BYTES_MAX) else { return };
                    black_box(template.read(&frame, &mut scratch));
                });
            });
        }
        group.bench_function(format!("read a frame through the list of fields, {name}"), |b| {
            b.iter(|| {
                let Ok(Some((frame, _))) = split_frame(black_box(&bytes), FRAME_SIZE_BYTES_MAX) else { return };
                let Ok(header) = frame.decode_header() else { return };
                black_box(SendHeader::decode_send(header.code, &header.ext)).ok();
            });
        });
        let offset_id =
            OffsetId { store_host: Host::new([127, 0, 0, 1].into(), 10_911), position: LogPosition::new(0x1143a9) };
        let mut out = Vec::with_capacity(1 << 10);
        group.bench_function(format!("write the answer, {name}"), |b| {
            b.iter(|| {
                out.clear();
                let response = SendResponse {
                    code: Code::SUCCESS,
                    offset_ids: &[black_box(offset_id)],
                    queue_id: 3,
                    queue_offset: black_box(1_234_567),
                    transaction_id: None,
                    trace_on: true,
                    region: "DefaultRegion",
                    batch_uniq_id: None,
                    recall_handle: None,
                    remark: "",
                };
                encode_send_response(&mut out, wanted, black_box(98_765), &response);
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn pull(c: &mut Criterion) {
    let mut group = c.benchmark_group("remoting pull");
    let mut scratch = Vec::new();
    let bytes = frame_bytes(PULL, SerializeType::Json);
    group.bench_function("read a frame", |b| {
        b.iter(|| {
            let Ok(Some((frame, _))) = split_frame(black_box(&bytes), FRAME_SIZE_BYTES_MAX) else { return };
            if let Ok((head, Ok(pull))) = PullMessage::read(&frame, &mut scratch) {
                black_box((head, pull));
            }
        });
    });
    let mut out = Vec::with_capacity(1 << 10);
    group.bench_function("write the head of the answer", |b| {
        b.iter(|| {
            out.clear();
            let response = PullResponse {
                next_begin_offset: black_box(1_234_567),
                max_offset: black_box(1_234_599),
                ..PullResponse::default()
            };
            encode_pull_response_head(&mut out, SerializeType::Json, (Code::SUCCESS, 56), "FOUND", &response, 4096);
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, send, pull);
criterion_main!(benches);
