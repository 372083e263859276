//! Headers that real clients sent, damaged (or any bytes), through the typed headers: reading in one pass and through the
//! list of fields agree, and what is read can be written and reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::remoting::admin::{clients, groups, offsets, progress, settings, topics};
use ringmq_proto::remoting::send::{SendHeader, SendReply, encode_send_request};
use ringmq_proto::remoting::{
    ExtHeader, Frame, Header, SerializeType, client_push, common, consumer, heartbeat, namesrv, peek_code, pull, query,
    split_frame, timer, transaction,
};
use ringmq_proto_fuzz::Input;

const HEADERS: &str = include_str!("../../tests/data/remoting_headers.jsonl");

/// The `which`-th captured header, as JSON or binary.
fn captured(which: u8, serialize_type: SerializeType) -> Vec<u8> {
    let line = HEADERS.lines().nth(usize::from(which) % HEADERS.lines().count()).expect("counted");
    let header = Header::decode(SerializeType::Json, line.as_bytes()).expect("captured");
    match serialize_type {
        SerializeType::Json => line.as_bytes().to_vec(),
        SerializeType::Binary => {
            let mut out = Vec::new();
            header.encode(serialize_type, &mut out);
            out
        }
    }
}

macro_rules! check {
    ($frame:expr, $header:expr, $scratch:expr, $($typed:ty),* $(,)?) => {$({
        let listed = <$typed>::decode(&$header.ext);
        let (head, read) = <$typed>::read(&$frame, $scratch).expect("the list of fields was read");
        assert_eq!(read, listed);
        assert_eq!((head.code, head.opaque, head.flag), ($header.code, $header.opaque, $header.flag));
        if let Ok(typed) = listed {
            let ext = typed.to_ext();
            assert_eq!(<$typed>::decode(&ext), Ok(typed));
        }
    })*};
}

fuzz_target!(|input: (bool, Input<u8>)| {
    let (is_binary, input) = input;
    let serialize_type = if is_binary { SerializeType::Binary } else { SerializeType::Json };
    let bytes = input.bytes(|which| captured(which, serialize_type));
    let frame = Frame { serialize_type, header: &bytes, body: b"" };
    let mut scratch = Vec::new();
    let Ok(header) = frame.decode_header() else {
        assert!(SendHeader::read_send(310, &frame, &mut scratch).is_err(), "one pass accepts what the list does not");
        return;
    };
    let _ = peek_code(&frame).expect("the header was read");
    check!(
        frame,
        header,
        &mut scratch,
        pull::PullMessage<'_>,
        pull::PullResponse,
        consumer::QueryConsumerOffset<'_>,
        consumer::SendMessageBack<'_>,
        consumer::SearchOffset<'_>,
        heartbeat::UnregisterClient<'_>,
        query::QueryMessage<'_>,
        timer::RecallMessage<'_>,
        transaction::EndTransaction<'_>,
        transaction::CheckTransactionState<'_>,
        client_push::PushReply<'_>,
        client_push::ConsumeMessageDirectly<'_>,
        client_push::ResetOffset<'_>,
        common::RequestCommon<'_>,
        SendReply<'_>,
        topics::UpdateTopic<'_>,
        groups::DeleteGroup<'_>,
        clients::QuerySubscription<'_>,
        offsets::InvokeResetOffset<'_>,
        offsets::CloneGroupOffset<'_>,
        progress::QueryConsumeQueue<'_>,
        progress::GetConsumeStats<'_>,
        settings::ResumeCheckHalfMessage<'_>,
        namesrv::PutKvConfig<'_>,
    );
    for code in [10, 310] {
        let listed = SendHeader::decode_send(code, &header.ext);
        let (head, read) = SendHeader::read_send(code, &frame, &mut scratch).expect("the list of fields was read");
        assert_eq!(read, listed);
        assert_eq!((head.language, head.version), (header.language, header.version));
        // Values that are empty do not travel in the binary header.
        let Ok(send) = listed else { continue };
        let mut written = Vec::new();
        encode_send_request(&mut written, SerializeType::Json, (310, head.opaque), head.is_oneway(), &send, b"body");
        let (frame, _) = split_frame(&written, usize::MAX).expect("own frames are frames").expect("and whole");
        let mut again_scratch = Vec::new();
        let (_, again) = SendHeader::read_send(310, &frame, &mut again_scratch).expect("own headers can be read");
        assert_eq!(again, Ok(send));
    }
});
