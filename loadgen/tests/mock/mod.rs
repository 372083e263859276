//! A cluster of one in this process, for tests of the generator: a name server that answers 105 and 106, and a broker that keeps
//! messages in memory, speaks the native protocol, and misbehaves when told to.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{
    BATCH_HEAD_SIZE_BYTES, BatchEncoder, BatchHead, Host, StoredMessageParts, batch_entry_len,
};
use ringmq_proto::native::{
    CreateTopic, Frame, Hello, Kind, OpenQueue, OpenedQueue, PullRequest, PullResult, SendFrame, SendItem, SendResult,
    Table, decode_preamble, encode_empty_reply, encode_failure, encode_preamble, encode_pull_reply, encode_reply,
    encode_send_reply, split_frame,
};
use ringmq_proto::record::{RECORD_HEADER_SIZE_BYTES, RecordFlags, RecordKind, seal_record};
use ringmq_proto::remoting::route::{BrokerData, ClusterInfo, GetRoute, QueueData, TopicRoute};
use ringmq_proto::remoting::{self, ExtHeader, Header, SerializeType, request_code};

/// What the broker does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Acknowledges message 100 and stores another in its place.
    Lose,
    /// Stores message 100 twice.
    Duplicate,
    /// Flips a bit of message 100.
    Flip,
    /// Acknowledges message 100 with a wrong offset, and every one after it.
    WrongOffset,
    /// Refuses message 100 as busy, and stores it all the same.
    StoreRefused,
    /// Refuses every third frame as busy.
    Busy,
    /// Closes the connection instead of answering, every 500 frames; half of those are stored.
    Hangup,
    /// Never answers message 100.
    Silent,
}

#[derive(Default)]
struct Queue {
    /// Records with first offset and count.
    records: Vec<(u64, u32, Vec<u8>)>,
    end: u64,
}

#[derive(Default)]
struct State {
    /// By topic, then by number.
    topics: HashMap<String, Vec<Queue>>,
    sent_count: u64,
    frame_count: u64,
}

struct Shared {
    fault: Fault,
    state: Mutex<State>,
    arrived: Condvar,
}

/// The running cluster. Its threads end with the process.
pub(crate) struct MockCluster {
    pub(crate) namesrv: SocketAddr,
    shared: Arc<Shared>,
}

impl MockCluster {
    pub(crate) fn start(fault: Fault) -> Self {
        let shared = Arc::new(Shared { fault, state: Mutex::default(), arrived: Condvar::new() });
        let broker = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = broker.local_addr().expect("bound");
        let of_broker = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in broker.incoming().flatten() {
                let shared = Arc::clone(&of_broker);
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        let names = TcpListener::bind("127.0.0.1:0").expect("a port");
        let namesrv = names.local_addr().expect("bound");
        let of_names = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in names.incoming().flatten() {
                drop(answer_names(stream, address, &of_names));
            }
        });
        Self { namesrv, shared }
    }

    /// Puts foreign bytes at the end of a queue.
    pub(crate) fn store_foreign(&self, topic: &str) {
        let mut state = self.shared.state.lock().expect("no panic");
        let queue = &mut state.topics.get_mut(topic).expect("the topic exists")[0];
        let item =
            SendItem { handle: 0, born_time_ms: 1, flag: 0, sys_flag: 0, properties: &[], body: b"somebody else's" };
        store(queue, topic, 0, &[item]);
    }
}

fn answer_names(mut stream: TcpStream, broker: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Ok(Some((frame, size))) = remoting::split_frame(&received, 1 << 20) {
            let request = frame.decode_header().expect("a header");
            let brokers = BrokerData {
                broker_name: "mock".into(),
                broker_addrs: [(0, broker.to_string())].into(),
                cluster: "C".into(),
                ..BrokerData::default()
            };
            let mut reply = Header::response(Code::SUCCESS, request.opaque);
            let mut body = Vec::new();
            if request.code == request_code::GET_BROKER_CLUSTER_INFO {
                let broker_addr_table = [("mock".to_owned(), brokers)].into();
                body = ClusterInfo { broker_addr_table, ..ClusterInfo::default() }.encode();
            } else {
                let topic = GetRoute::decode(&request.ext).expect("the topic").topic.to_owned();
                let state = shared.state.lock().expect("no panic");
                match state.topics.get(&topic) {
                    None => reply = Header::response(Code::TOPIC_NOT_EXIST, request.opaque),
                    Some(queues) => {
                        let count = i32::try_from(queues.len()).expect("few");
                        let data = QueueData {
                            broker_name: "mock".into(),
                            perm: 6,
                            read_queue_nums: count,
                            write_queue_nums: count,
                            ..QueueData::default()
                        };
                        body = TopicRoute {
                            broker_datas: vec![brokers],
                            queue_datas: vec![data],
                            ..TopicRoute::default()
                        }
                        .encode();
                    }
                }
            }
            let mut out = Vec::new();
            remoting::encode_frame(&mut out, SerializeType::Json, &reply, &body);
            stream.write_all(&out)?;
            received.drain(..size);
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            size => received.extend_from_slice(&chunk[..size]),
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut preamble = [0; 8];
    stream.read_exact(&mut preamble)?;
    decode_preamble(&preamble).expect("a preamble");
    stream.write_all(&encode_preamble())?;
    let mut handles: Vec<(String, usize)> = Vec::new();
    let (mut received, mut chunk, mut out) = (Vec::new(), vec![0; 256 << 10], Vec::new());
    loop {
        let mut at = 0;
        while let Some((frame, size)) = split_frame(&received[at..], 16 << 20).expect("a frame") {
            if !answer(&frame, &mut handles, shared, &mut out) {
                return Ok(());
            }
            at += size;
        }
        received.drain(..at);
        stream.write_all(&out)?;
        out.clear();
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            size => received.extend_from_slice(&chunk[..size]),
        }
    }
}

/// False: hang up.
fn answer(frame: &Frame<'_>, handles: &mut Vec<(String, usize)>, shared: &Shared, out: &mut Vec<u8>) -> bool {
    let (kind, id) = (frame.header.kind, frame.header.request_id);
    match kind {
        Kind::HELLO => {
            let hello = Hello { version_min: 1, version_max: 1, broker_name: "mock", ..Hello::default() };
            encode_reply(out, kind, id, &hello);
        }
        Kind::CREATE_TOPIC => {
            let create = CreateTopic::decode(frame.body).expect("a topic");
            let mut state = shared.state.lock().expect("no panic");
            let queues = (0..create.queue_count).map(|_| Queue::default()).collect();
            state.topics.insert(create.topic.to_owned(), queues);
            encode_empty_reply(out, kind, id);
        }
        Kind::OPEN_QUEUE => {
            let open = OpenQueue::decode(frame.body).expect("a queue");
            let state = shared.state.lock().expect("no panic");
            let number = usize::try_from(open.queue_id).expect("not negative");
            let queues = &state.topics[open.topic];
            let opened = OpenedQueue {
                handle: u32::try_from(handles.len()).expect("few"),
                queue_id: u32::try_from(number).expect("few"),
                queue_count: u32::try_from(queues.len()).expect("few"),
                min_offset: QueueOffset::ZERO,
                max_offset: QueueOffset::new(queues[number].end),
            };
            handles.push((open.topic.to_owned(), number));
            encode_reply(out, kind, id, &opened);
        }
        Kind::SEND => return send(frame, handles, shared, out),
        Kind::PULL => pull(frame, handles, shared, out),
        _ => encode_failure(out, kind, id, Code::SYSTEM_ERROR, "not in this mock"),
    }
    true
}

fn send(frame: &Frame<'_>, handles: &[(String, usize)], shared: &Shared, out: &mut Vec<u8>) -> bool {
    let id = frame.header.request_id;
    let items: Vec<SendItem<'_>> = SendFrame::decode(frame).expect("a send").items().collect();
    let mut state = shared.state.lock().expect("no panic");
    let before = state.sent_count;
    state.sent_count += items.len() as u64;
    state.frame_count += 1;
    let frame_count = state.frame_count;
    let is_hit = (before..before + items.len() as u64).contains(&100);
    if shared.fault == Fault::Busy && frame_count.is_multiple_of(3) {
        encode_failure(out, Kind::SEND, id, Code::SYSTEM_BUSY, "the mock is busy");
        return true;
    }
    let hangs_up = shared.fault == Fault::Hangup && frame_count.is_multiple_of(500);
    if hangs_up && frame_count.is_multiple_of(1000) {
        return false;
    }
    let (topic, number) = &handles[items[0].handle as usize];
    let queue = &mut state.topics.get_mut(topic).expect("opened")[*number];
    let mut altered = Vec::new();
    let items = match shared.fault {
        Fault::Flip if is_hit => {
            altered.extend_from_slice(items[0].body);
            altered[8] ^= 1;
            vec![SendItem { body: &altered, ..items[0] }]
        }
        Fault::Lose if is_hit => {
            // The record of the queue's first message stands in its place.
            let (_, count, record) = queue.records[0].clone();
            let offset = queue.end;
            queue.records.push((offset, count, record));
            let _ = append_again(queue, topic, *number, offset);
            encode_send_reply(out, id, Code::SUCCESS, &[result(items[0].handle, 1, offset)]);
            return true;
        }
        _ => items,
    };
    let first = store(queue, topic, *number, &items);
    if shared.fault == Fault::Duplicate && is_hit {
        store(queue, topic, *number, &items);
    }
    shared.arrived.notify_all();
    if hangs_up {
        return false;
    }
    let count = u32::try_from(items.len()).expect("few");
    match shared.fault {
        Fault::StoreRefused if is_hit => encode_failure(out, Kind::SEND, id, Code::SYSTEM_BUSY, "busy, says the mock"),
        Fault::WrongOffset if before >= 100 => {
            encode_send_reply(out, id, Code::SUCCESS, &[result(items[0].handle, count, first + 1)]);
        }
        Fault::Silent if is_hit => {}
        _ => encode_send_reply(out, id, Code::SUCCESS, &[result(items[0].handle, count, first)]),
    }
    true
}

/// Replaces the copied record at `offset` by one that says that offset.
fn append_again(queue: &mut Queue, topic: &str, number: usize, offset: u64) -> Option<()> {
    let (_, _, record) = queue.records.pop()?;
    let stored = ringmq_proto::message::StoredMessage::decode(&record[RECORD_HEADER_SIZE_BYTES..]).ok()?;
    let body = stored.parts.body.to_vec();
    let item = SendItem { handle: 0, born_time_ms: 1, flag: 0, sys_flag: 0, properties: &[], body: &body };
    assert_eq!(store(queue, topic, number, &[item]), offset);
    Some(())
}

fn result(handle: u32, count: u32, offset: u64) -> SendResult {
    SendResult { handle, count, queue_offset: QueueOffset::new(offset), position: LogPosition::ZERO }
}

/// Stores the messages as one record; gives the first offset.
fn store(queue: &mut Queue, topic: &str, number: usize, items: &[SendItem<'_>]) -> u64 {
    let host = Host::new([127, 0, 0, 1].into(), 1);
    let first = queue.end;
    let (kind, payload) = if let [item] = items {
        let parts = StoredMessageParts {
            queue_id: i32::try_from(number).expect("few"),
            flag: item.flag,
            queue_offset: QueueOffset::new(first),
            position: LogPosition::ZERO,
            sys_flag: 0,
            born_time_ms: item.born_time_ms,
            born_host: host,
            store_time_ms: item.born_time_ms,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_position: 0,
            body: item.body,
            topic: topic.as_bytes(),
            properties: item.properties,
        };
        (RecordKind::MESSAGE, parts.to_vec())
    } else {
        let head = BatchHead {
            first_queue_offset: QueueOffset::new(first),
            position: LogPosition::ZERO,
            store_time_ms: 1,
            born_time_ms: 1,
            count: 0,
            sys_flag: 0,
            flag: 0,
            born_host: host,
            store_host: host,
        };
        let size = items.iter().map(|item| batch_entry_len(item.properties.len(), item.body.len())).sum::<usize>();
        let mut payload = vec![0; BATCH_HEAD_SIZE_BYTES + size];
        let mut encoder = BatchEncoder::new(&mut payload, &head);
        items.iter().for_each(|item| encoder.push(0, item.properties, item.body).expect("room"));
        assert_eq!(encoder.finish(), payload.len());
        (RecordKind::BATCH, payload)
    };
    let mut record = vec![0; RECORD_HEADER_SIZE_BYTES];
    record.extend_from_slice(&payload);
    seal_record(&mut record, kind, RecordFlags::NONE, QueueId::new(1), 7, LogPosition::ZERO);
    let count = u32::try_from(items.len()).expect("few");
    queue.records.push((first, count, record));
    queue.end += u64::from(count);
    first
}

fn pull(frame: &Frame<'_>, handles: &[(String, usize)], shared: &Shared, out: &mut Vec<u8>) {
    let request = PullRequest::decode(frame).expect("a pull");
    let (topic, number) = &handles[request.handle as usize];
    let mut state = shared.state.lock().expect("no panic");
    let from = request.offset.get();
    if state.topics[topic][*number].end <= from {
        // The mock answers in order, so it must not wait long: other pulls of the connection wait behind this one.
        let wait = Duration::from_millis(u64::from(request.wait_ms.min(2)));
        (state, _) = shared.arrived.wait_timeout(state, wait).expect("no panic");
    }
    let queue = &state.topics[topic][*number];
    let (mut records, mut count, mut next) = (Vec::new(), 0, from);
    let at = queue.records.partition_point(|&(first, count, _)| first + u64::from(count) <= from);
    for (first, messages, record) in &queue.records[at..] {
        if !records.is_empty() && records.len() + record.len() > request.bytes_max as usize {
            break;
        }
        records.extend_from_slice(record);
        count += 1;
        next = first + u64::from(*messages);
    }
    let result = PullResult {
        next_offset: QueueOffset::new(next),
        min_offset: QueueOffset::ZERO,
        max_offset: QueueOffset::new(queue.end),
    };
    let code = if count == 0 { Code::PULL_NOT_FOUND } else { Code::SUCCESS };
    encode_pull_reply(out, frame.header.request_id, code, &result, count, &records);
}
