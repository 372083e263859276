//! A broker and a name server in memory, on loopback ports, for tests of the client alone. The broker speaks native
//! frames and keeps its messages as records; what it should do wrong is told to it by a [`Fault`].

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::ids::{LogPosition, QueueId, QueueOffset};
use ringmq_proto::message::{Host, StoredMessageParts};
use ringmq_proto::native::{
    CommitOffset, CreateTopic, DeleteTopic, Frame, FrameFlags, Hello, Kind, ListTopics, OffsetResult, OpenQueue,
    OpenedQueue, PREAMBLE_SIZE_BYTES, PullRequest, PullResult, QueryOffset, QueueState, QueueStateResult, QueueStats,
    SearchOffset, SendFrame, SendResult, Table, TopicInfo, TopicList, TopicStats, TopicStatsResult, encode_empty_reply,
    encode_failure, encode_preamble, encode_pull_reply, encode_reply, encode_send_reply, split_frame,
};
use ringmq_proto::record::{RecordFlags, RecordKind, seal_record};
use ringmq_proto::remoting::route::{BrokerData, ClusterInfo, GetRoute, QueueData, TopicRoute};
use ringmq_proto::remoting::{ExtHeader, Header, SerializeType, encode_frame, request_code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What a broker does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Sends are answered with this code.
    RefuseSends(Code),
    /// Sends with this in a body are illegal.
    Illegal(&'static [u8]),
    /// Sends are stored and the connection is closed instead of an answer.
    CloseAfterSend,
    /// Nothing is answered.
    Silent,
    /// Sends are answered only after this.
    Slow(Duration),
}

/// A message as the mock keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) body: Vec<u8>,
    pub(crate) properties: Vec<u8>,
    pub(crate) store_time_ms: u64,
}

#[derive(Default)]
struct Queue {
    messages: Vec<Kept>,
    min_offset: u64,
}

#[derive(Default)]
struct Store {
    topics: BTreeMap<String, Vec<Queue>>,
    /// Offsets by group, topic and queue.
    committed: HashMap<(String, String, u32), u64>,
    fault: Fault,
    /// Messages of each send frame, in order.
    frames: Vec<usize>,
    may_create: bool,
    clock_ms: u64,
}

/// See the module's text.
pub(crate) struct MockBroker {
    pub(crate) name: String,
    pub(crate) address: String,
    store: Arc<Mutex<Store>>,
    grown: Arc<Notify>,
    stop: Arc<Notify>,
    stopped: Arc<AtomicBool>,
}

impl MockBroker {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(name: &str, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let broker = Self {
            name: name.to_owned(),
            address: listener.local_addr().expect("bound").to_string(),
            store: Arc::new(Mutex::new(Store { clock_ms: 1_000, ..Store::default() })),
            grown: Arc::default(),
            stop: Arc::default(),
            stopped: Arc::default(),
        };
        broker.listen(listener);
        broker
    }

    /// Serves the same messages again after [`Self::stop`], on the same port.
    pub(crate) async fn restart(&self) {
        let listener = loop {
            match TcpListener::bind(&self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        self.stopped.store(false, Ordering::SeqCst);
        self.listen(listener);
    }

    /// Closes the port and all connections; the messages stay.
    pub(crate) async fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Whoever serves looks at `stopped` when woken; those that come to wait later look before.
        for _ in 0..5 {
            self.stop.notify_waiters();
            self.grown.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn listen(&self, listener: TcpListener) {
        let (store, grown) = (Arc::clone(&self.store), Arc::clone(&self.grown));
        let (stop, stopped, name) = (Arc::clone(&self.stop), Arc::clone(&self.stopped), self.name.clone());
        tokio::spawn(async move {
            loop {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.expect("accepted").0,
                    () = stop.notified() => return,
                };
                let connection = Connection {
                    stream,
                    name: name.clone(),
                    store: Arc::clone(&store),
                    grown: Arc::clone(&grown),
                    handles: Vec::new(),
                };
                let (stop, stopped) = (Arc::clone(&stop), Arc::clone(&stopped));
                tokio::spawn(async move {
                    let stop = async {
                        while !stopped.load(Ordering::SeqCst) {
                            stop.notified().await;
                        }
                    };
                    tokio::select! {
                        () = connection.serve() => {}
                        () = stop => {}
                    }
                });
            }
        });
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no test panicked in here")
    }

    pub(crate) fn create_topic(&self, topic: &str, queue_count: usize) {
        self.store().topics.insert(topic.to_owned(), (0..queue_count).map(|_| Queue::default()).collect());
    }

    pub(crate) fn delete_topic(&self, topic: &str) {
        self.store().topics.remove(topic);
        self.grown.notify_waiters();
    }

    /// Topics are created by whoever opens a queue and asks for it.
    pub(crate) fn allow_creation(&self) {
        self.store().may_create = true;
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.store().fault = fault;
    }

    /// Bodies of a queue, in order.
    pub(crate) fn bodies(&self, topic: &str, queue_id: usize) -> Vec<String> {
        let store = self.store();
        let messages = store.topics.get(topic).map(|queues| &queues[queue_id].messages);
        messages.into_iter().flatten().map(|kept| String::from_utf8_lossy(&kept.body).into_owned()).collect()
    }

    /// Messages of a topic.
    pub(crate) fn count(&self, topic: &str) -> usize {
        self.store().topics.get(topic).map_or(0, |queues| queues.iter().map(|queue| queue.messages.len()).sum())
    }

    /// Retention took all below `offset`.
    pub(crate) fn trim(&self, topic: &str, queue_id: usize, offset: u64) {
        self.store().topics.get_mut(topic).expect("the topic")[queue_id].min_offset = offset;
    }

    /// Messages of each send frame so far.
    pub(crate) fn frames(&self) -> Vec<usize> {
        self.store().frames.clone()
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.store().topics.contains_key(topic)
    }
}

struct Connection {
    stream: TcpStream,
    name: String,
    store: Arc<Mutex<Store>>,
    grown: Arc<Notify>,
    handles: Vec<(String, u32)>,
}

/// What to do after a request.
enum Then {
    Reply(Vec<u8>),
    Later(Duration, Vec<u8>),
    Nothing,
    Close,
}

impl Connection {
    async fn serve(mut self) {
        let mut received = Vec::new();
        let mut seen_preamble = false;
        let mut held: Vec<(u32, PullRequest, tokio::time::Instant)> = Vec::new();
        loop {
            let next = held.iter().map(|(_, _, until)| *until).min();
            let wake = next.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
            let grown = Arc::clone(&self.grown);
            let grown = grown.notified();
            if self.answer_held(&mut held).await.is_err() {
                return;
            }
            tokio::select! {
                read = self.stream.read_buf(&mut received) => if !matches!(read, Ok(1..)) { return },
                () = grown => continue,
                () = tokio::time::sleep_until(wake) => continue,
            }
            if !seen_preamble && received.len() >= PREAMBLE_SIZE_BYTES {
                received.drain(..PREAMBLE_SIZE_BYTES);
                seen_preamble = true;
                if self.stream.write_all(&encode_preamble()).await.is_err() {
                    return;
                }
            }
            if !seen_preamble {
                continue;
            }
            while let Ok(Some((frame, used))) = split_frame(&received, 16 << 20) {
                let then = self.handle(&frame, &mut held);
                received.drain(..used);
                let done = match then {
                    Then::Reply(bytes) => self.stream.write_all(&bytes).await.is_ok(),
                    Then::Later(pause, bytes) => {
                        tokio::time::sleep(pause).await;
                        self.stream.write_all(&bytes).await.is_ok()
                    }
                    Then::Nothing => true,
                    Then::Close => false,
                };
                if !done {
                    return;
                }
            }
        }
    }

    async fn answer_held(&mut self, held: &mut Vec<(u32, PullRequest, tokio::time::Instant)>) -> std::io::Result<()> {
        let now = tokio::time::Instant::now();
        let mut index = 0;
        while index < held.len() {
            let (id, request, until) = held[index];
            match self.pull(id, &request, now >= until) {
                Some(bytes) => {
                    held.remove(index);
                    self.stream.write_all(&bytes).await?;
                }
                None => index += 1,
            }
        }
        Ok(())
    }

    fn handle(&mut self, frame: &Frame<'_>, held: &mut Vec<(u32, PullRequest, tokio::time::Instant)>) -> Then {
        let (id, kind) = (frame.header.request_id, frame.header.kind);
        if kind != Kind::HELLO && self.store.lock().expect("unpoisoned").fault == Fault::Silent {
            return Then::Nothing;
        }
        let mut out = Vec::new();
        match kind {
            Kind::HELLO => {
                let hello = Hello { version_min: 1, version_max: 1, broker_name: &self.name, ..Hello::default() };
                encode_reply(&mut out, kind, id, &hello);
            }
            Kind::SEND => return self.send(frame),
            Kind::PULL => {
                let request = PullRequest::decode(frame).expect("a valid pull");
                let until = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms.into());
                match self.pull(id, &request, request.wait_ms == 0) {
                    Some(bytes) => return Then::Reply(bytes),
                    None => held.push((id, request, until)),
                }
                return Then::Nothing;
            }
            _ => self.table(frame, &mut out),
        }
        Then::Reply(out)
    }

    fn send(&mut self, frame: &Frame<'_>) -> Then {
        let send = SendFrame::decode(frame).expect("a valid send");
        let mut store = self.store.lock().expect("unpoisoned");
        let (id, fault) = (frame.header.request_id, store.fault);
        let mut out = Vec::new();
        store.frames.push(send.len());
        let is_illegal = |bad: &[u8]| send.items().any(|item| item.body.windows(bad.len()).any(|part| part == bad));
        match fault {
            Fault::RefuseSends(code) => encode_failure(&mut out, Kind::SEND, id, code, "refused by the test"),
            Fault::Illegal(bad) if is_illegal(bad) => {
                encode_failure(&mut out, Kind::SEND, id, Code::MESSAGE_ILLEGAL, "illegal by the test");
            }
            _ => {
                let mut results = Vec::new();
                for item in send.items() {
                    let (topic, queue_id) = &self.handles[item.handle as usize];
                    store.clock_ms += 1;
                    let store_time_ms = store.clock_ms;
                    let Some(queues) = store.topics.get_mut(topic) else {
                        encode_failure(&mut out, Kind::SEND, id, Code::TOPIC_NOT_EXIST, "the topic was deleted");
                        return Then::Reply(out);
                    };
                    let queue = &mut queues[*queue_id as usize];
                    let queue_offset = QueueOffset::new(queue.messages.len() as u64);
                    let (body, properties) = (item.body.to_vec(), item.properties.to_vec());
                    queue.messages.push(Kept { body, properties, store_time_ms });
                    let position = position_of(*queue_id, queue_offset.get());
                    results.push(SendResult { handle: item.handle, count: 1, queue_offset, position });
                }
                encode_send_reply(&mut out, id, Code::SUCCESS, &results);
            }
        }
        drop(store);
        self.grown.notify_waiters();
        if frame.header.flags.contains(FrameFlags::ONEWAY) {
            return Then::Nothing;
        }
        match fault {
            Fault::CloseAfterSend => Then::Close,
            Fault::Slow(pause) => Then::Later(pause, out),
            _ => Then::Reply(out),
        }
    }

    /// The answer to a pull, unless it should wait.
    fn pull(&self, id: u32, request: &PullRequest, at_once: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let store = self.store.lock().expect("unpoisoned");
        let (topic, queue_id) = &self.handles[request.handle as usize];
        let Some(queue) = store.topics.get(topic).map(|queues| &queues[*queue_id as usize]) else {
            encode_failure(&mut out, Kind::PULL, id, Code::TOPIC_NOT_EXIST, "the topic was deleted");
            return Some(out);
        };
        let (min, max) = (queue.min_offset, queue.messages.len() as u64);
        let from = request.offset.get();
        let mut result = PullResult {
            next_offset: request.offset,
            min_offset: QueueOffset::new(min),
            max_offset: QueueOffset::new(max),
        };
        if from < min || from > max {
            result.next_offset = QueueOffset::new(if from < min { min } else { max });
            encode_pull_reply(&mut out, id, Code::PULL_OFFSET_MOVED, &result, 0, &[]);
            return Some(out);
        }
        if from == max {
            if !at_once {
                return None;
            }
            encode_pull_reply(&mut out, id, Code::PULL_NOT_FOUND, &result, 0, &[]);
            return Some(out);
        }
        let end = max.min(from + u64::from(request.messages_max));
        let mut records = Vec::new();
        for offset in from..end {
            let index = usize::try_from(offset).expect("small");
            records.extend(record(topic, *queue_id, offset, &queue.messages[index]));
        }
        result.next_offset = QueueOffset::new(end);
        let count = u32::try_from(end - from).expect("small");
        encode_pull_reply(&mut out, id, Code::SUCCESS, &result, count, &records);
        Some(out)
    }

    fn table(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let (id, kind) = (frame.header.request_id, frame.header.kind);
        let store = &mut *self.store.lock().expect("unpoisoned");
        let name_of = |handle: u32| self.handles[handle as usize].clone();
        let topic = match kind {
            Kind::OPEN_QUEUE => OpenQueue::decode(frame.body).expect("valid").topic.to_owned(),
            Kind::COMMIT_OFFSET => name_of(CommitOffset::decode(frame.body).expect("valid").handle).0,
            Kind::QUERY_OFFSET => name_of(QueryOffset::decode(frame.body).expect("valid").handle).0,
            Kind::QUEUE_STATE => name_of(QueueState::decode(frame.body).expect("valid").handle).0,
            Kind::SEARCH_OFFSET => name_of(SearchOffset::decode(frame.body).expect("valid").handle).0,
            Kind::DELETE_TOPIC => DeleteTopic::decode(frame.body).expect("valid").topic.to_owned(),
            Kind::TOPIC_STATS => TopicStats::decode(frame.body).expect("valid").topic.to_owned(),
            _ => String::new(),
        };
        if kind == Kind::OPEN_QUEUE
            && !store.topics.contains_key(&topic)
            && store.may_create
            && OpenQueue::decode(frame.body).expect("valid").create_topic
        {
            store.topics.insert(topic.clone(), (0..4).map(|_| Queue::default()).collect());
        }
        if !topic.is_empty() && !store.topics.contains_key(&topic) {
            return encode_failure(out, kind, id, Code::TOPIC_NOT_EXIST, "no such topic");
        }
        match kind {
            Kind::OPEN_QUEUE => {
                let queue_id =
                    u32::try_from(OpenQueue::decode(frame.body).expect("valid").queue_id).expect("not chosen");
                let queues = &store.topics[&topic];
                let Some(queue) = queues.get(queue_id as usize) else {
                    return encode_failure(out, kind, id, Code::INVALID_PARAMETER, "no such queue");
                };
                let opened = OpenedQueue {
                    handle: u32::try_from(self.handles.len()).expect("few"),
                    queue_id,
                    queue_count: u32::try_from(queues.len()).expect("few"),
                    min_offset: QueueOffset::new(queue.min_offset),
                    max_offset: QueueOffset::new(queue.messages.len() as u64),
                };
                self.handles.push((topic, queue_id));
                encode_reply(out, kind, id, &opened);
            }
            Kind::COMMIT_OFFSET => {
                let commit = CommitOffset::decode(frame.body).expect("valid");
                let queue_id = name_of(commit.handle).1;
                store.committed.insert((commit.group.to_owned(), topic, queue_id), commit.offset.get());
                encode_empty_reply(out, kind, id);
            }
            Kind::QUERY_OFFSET => {
                let query = QueryOffset::decode(frame.body).expect("valid");
                let key = (query.group.to_owned(), topic, name_of(query.handle).1);
                match store.committed.get(&key) {
                    Some(offset) => {
                        encode_reply(out, kind, id, &OffsetResult { offset: QueueOffset::new(*offset) });
                    }
                    None => encode_failure(out, kind, id, Code::QUERY_NOT_FOUND, "never committed"),
                }
            }
            Kind::QUEUE_STATE => {
                let queue_id = name_of(QueueState::decode(frame.body).expect("valid").handle).1;
                let queue = &store.topics[&topic][queue_id as usize];
                let state = QueueStateResult {
                    min_offset: QueueOffset::new(queue.min_offset),
                    max_offset: QueueOffset::new(queue.messages.len() as u64),
                    earliest_store_time_ms: 0,
                };
                encode_reply(out, kind, id, &state);
            }
            Kind::SEARCH_OFFSET => {
                let search = SearchOffset::decode(frame.body).expect("valid");
                let queue = &store.topics[&topic][name_of(search.handle).1 as usize];
                let offset = queue.messages.iter().filter(|kept| kept.store_time_ms < search.store_time_ms).count();
                encode_reply(out, kind, id, &OffsetResult { offset: QueueOffset::new(offset as u64) });
            }
            Kind::CREATE_TOPIC => {
                let create = CreateTopic::decode(frame.body).expect("valid");
                let queues = (0..create.queue_count).map(|_| Queue::default()).collect();
                store.topics.insert(create.topic.to_owned(), queues);
                encode_empty_reply(out, kind, id);
            }
            Kind::DELETE_TOPIC => {
                store.topics.remove(&topic);
                encode_empty_reply(out, kind, id);
            }
            Kind::LIST_TOPICS => list(store, frame, out),
            Kind::TOPIC_STATS => stats(&store.topics[&topic], frame, out),
            _ => encode_empty_reply(out, kind, id),
        }
    }
}

/// Two topics a page, so that paging is exercised.
fn list(store: &Store, frame: &Frame<'_>, out: &mut Vec<u8>) {
    let after = ListTopics::decode(frame.body).expect("valid").after.to_owned();
    let mut topics: Vec<TopicInfo<'_>> = store
        .topics
        .iter()
        .filter(|(name, _)| **name > after)
        .map(|(name, queues)| TopicInfo {
            topic: name,
            queue_count: u32::try_from(queues.len()).expect("few"),
            perm: 6,
            ordered: false,
            version: 1,
        })
        .collect();
    let more = topics.len() > 2;
    topics.truncate(2);
    encode_reply(out, Kind::LIST_TOPICS, frame.header.request_id, &TopicList { topics, more });
}

fn stats(queues: &[Queue], frame: &Frame<'_>, out: &mut Vec<u8>) {
    let queues = (0..).zip(queues).map(|(queue_id, queue)| QueueStats {
        queue_id,
        min_offset: QueueOffset::new(queue.min_offset),
        max_offset: QueueOffset::new(queue.messages.len() as u64),
        last_store_time_ms: queue.messages.last().map_or(0, |kept| kept.store_time_ms),
    });
    encode_reply(out, Kind::TOPIC_STATS, frame.header.request_id, &TopicStatsResult { queues: queues.collect() });
}

fn position_of(queue_id: u32, offset: u64) -> LogPosition {
    LogPosition::new((u64::from(queue_id) << 32) + offset * 512)
}

fn stored(topic: &str, queue_id: u32, offset: u64, kept: &Kept) -> Vec<u8> {
    let parts = StoredMessageParts {
        queue_id: i32::try_from(queue_id).expect("small"),
        flag: 0,
        queue_offset: QueueOffset::new(offset),
        position: position_of(queue_id, offset),
        sys_flag: 0,
        born_time_ms: kept.store_time_ms,
        born_host: Host::new([127, 0, 0, 1].into(), 1),
        store_time_ms: kept.store_time_ms,
        store_host: Host::new([127, 0, 0, 1].into(), 2),
        reconsume_times: 0,
        prepared_transaction_position: 0,
        body: &kept.body,
        topic: topic.as_bytes(),
        properties: &kept.properties,
    };
    parts.to_vec()
}

fn record(topic: &str, queue_id: u32, offset: u64, kept: &Kept) -> Vec<u8> {
    let mut record = vec![0; 16];
    record.extend(stored(topic, queue_id, offset, kept));
    let position = position_of(queue_id, offset);
    seal_record(&mut record, RecordKind::MESSAGE, RecordFlags::NONE, QueueId::new(queue_id), 1, position);
    record
}

/// A name server that knows what it is told.
pub(crate) struct MockNameServer {
    pub(crate) address: String,
    routes: Arc<Mutex<Routes>>,
}

#[derive(Default)]
struct Routes {
    /// Queue count by topic and broker name.
    topics: BTreeMap<String, BTreeMap<String, i32>>,
    /// Address by broker name.
    brokers: BTreeMap<String, String>,
}

impl MockNameServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let routes = Arc::new(Mutex::new(Routes::default()));
        let server = Self { address, routes: Arc::clone(&routes) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                tokio::spawn(serve_routes(stream, Arc::clone(&routes)));
            }
        });
        server
    }

    /// Registers `queue_count` queues of `topic` on `broker`.
    pub(crate) fn register(&self, broker: &MockBroker, topic: &str, queue_count: i32) {
        let mut routes = self.routes.lock().expect("unpoisoned");
        routes.brokers.insert(broker.name.clone(), broker.address.clone());
        routes.topics.entry(topic.to_owned()).or_default().insert(broker.name.clone(), queue_count);
    }

    /// No broker has `topic` any more.
    pub(crate) fn forget(&self, topic: &str) {
        self.routes.lock().expect("unpoisoned").topics.remove(topic);
    }
}

async fn serve_routes(mut stream: TcpStream, routes: Arc<Mutex<Routes>>) {
    let mut received = Vec::new();
    while matches!(stream.read_buf(&mut received).await, Ok(1..)) {
        while let Ok(Some((frame, used))) = ringmq_proto::remoting::split_frame(&received, 1 << 20) {
            let request = frame.decode_header().expect("a valid header");
            let mut out = Vec::new();
            let (code, body) = answer_route(&request, &routes.lock().expect("unpoisoned"));
            let header = Header::response(code, request.opaque).with_remark("the test's");
            encode_frame(&mut out, SerializeType::Json, &header, &body);
            received.drain(..used);
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
    }
}

fn answer_route(request: &Header<'_>, routes: &Routes) -> (Code, Vec<u8>) {
    let broker_data = |name: &String| BrokerData {
        broker_addrs: BTreeMap::from([(0, routes.brokers[name].clone())]),
        broker_name: name.clone(),
        cluster: "DefaultCluster".to_owned(),
        ..BrokerData::default()
    };
    if request.code == request_code::GET_BROKER_CLUSTER_INFO {
        let broker_addr_table = routes.brokers.keys().map(|name| (name.clone(), broker_data(name))).collect();
        return (Code::SUCCESS, ClusterInfo { broker_addr_table, ..ClusterInfo::default() }.encode());
    }
    let topic = GetRoute::decode(&request.ext).expect("a topic").topic;
    let Some(queues) = routes.topics.get(topic) else { return (Code::TOPIC_NOT_EXIST, Vec::new()) };
    let queue_data = |(name, count): (&String, &i32)| QueueData {
        broker_name: name.clone(),
        perm: 6,
        read_queue_nums: *count,
        write_queue_nums: *count,
        topic_sys_flag: 0,
    };
    let route = TopicRoute {
        broker_datas: queues.keys().map(broker_data).collect(),
        queue_datas: queues.iter().map(queue_data).collect(),
        ..TopicRoute::default()
    };
    (Code::SUCCESS, route.encode())
}

/// Waits until `condition` holds.
///
/// Panics when it does not within five seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}
