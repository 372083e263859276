//! Records one after the other: no panic, no byte read twice, and a sealed record is whole only where it was sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::record::{RecordFlags, RecordHeader, RecordKind, RecordView, records, seal_record};
use ringmq_proto_fuzz::Input;

type Valid = (u128, u64, Vec<(u8, u8, u32, Vec<u8>)>);

fuzz_target!(|input: Input<Valid>| {
    let bytes = input.bytes(|(log_id, position, payloads)| {
        let mut log = Vec::new();
        for (kind, flags, queue_id, payload) in payloads {
            let mut record = [&[0; 16], payload.as_slice()].concat();
            let (kind, flags, queue_id) = (RecordKind(kind), RecordFlags(flags), QueueId::new(queue_id));
            let at = LogPosition::new(position);
            let header = seal_record(&mut record, kind, flags, queue_id, log_id, at);
            let (view, rest) = RecordView::decode(&record).expect("just written");
            assert!(view.header == header && rest.is_empty() && view.payload == payload);
            assert!(view.is_whole(log_id, at));
            assert!(!view.is_whole(log_id, LogPosition::new(position ^ 0x1000)));
            assert!(!view.is_whole(log_id ^ 1, at));
            log.extend_from_slice(&record);
        }
        log
    });
    let mut iterator = records(&bytes);
    let mut read = 0;
    while let Some(record) = iterator.next() {
        let Ok(record) = record else {
            assert!(iterator.next().is_none());
            return;
        };
        assert_eq!(RecordHeader::decode(&record.header.encode()), Ok(record.header));
        read += record.header.length as usize;
        let _ = record.is_whole(7, LogPosition::new(8));
        assert_eq!(iterator.rest(), &bytes[read..]);
    }
    assert_eq!(read, bytes.len());
});
