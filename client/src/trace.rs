//! Message traces: what became of each message, told to RocketMQ's trace topic in RocketMQ's form, so that its tools show
//! it. Nobody waits for traces: they gather, leave together, and are thrown away when too many wait.
//!
//! ```text
//! Pub       ⟨1⟩ time ⟨1⟩ region ⟨1⟩ group ⟨1⟩ topic ⟨1⟩ id ⟨1⟩ tags ⟨1⟩ keys ⟨1⟩ broker ⟨1⟩ bytes ⟨1⟩ ms ⟨1⟩ kind ⟨1⟩ offset id ⟨1⟩ success ⟨2⟩
//! SubBefore ⟨1⟩ time ⟨1⟩ region ⟨1⟩ group ⟨1⟩ request ⟨1⟩ id ⟨1⟩ retries ⟨1⟩ keys ⟨2⟩
//! SubAfter  ⟨1⟩ request ⟨1⟩ id ⟨1⟩ ms ⟨1⟩ success ⟨1⟩ keys ⟨1⟩ code ⟨1⟩ time ⟨1⟩ group ⟨2⟩
//! ```
//!
//! The bytes 1 and 2 separate. KEYS of the trace message are the ids and keys of the messages in it.

use std::collections::BTreeSet;
use std::time::Duration;

use ringmq_proto::remoting::topics;
use ringmq_tls::ClientTls;
use tokio::sync::mpsc;

use crate::message::Message;
use crate::outgoing::OutgoingMessage;
use crate::producer::{Dialect, Producer, ProducerConfig};

/// What brokers call their region when nobody said anything else.
const REGION: &str = "DefaultRegion";

/// Records that wait. When reached: new ones are thrown away. RocketMQ's `traceQueue`.
const WAITING_COUNT_MAX: usize = 2048;

/// Records of one trace message, and their bytes.
const BATCH_COUNT_MAX: usize = 100;
const BATCH_SIZE_BYTES_MAX: usize = 128_000;

/// How long records gather.
const GATHER_TIME: Duration = Duration::from_millis(500);

const FIELD: char = '\u{1}';
const RECORD: char = '\u{2}';

/// Takes records and sends them.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    records: mpsc::Sender<Record>,
}

#[derive(Debug)]
struct Record {
    text: String,
    /// What it is found by.
    keys: Vec<String>,
}

/// A message that was sent, as a trace says it.
pub(crate) struct Sent<'a> {
    pub(crate) time_ms: u64,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) unique_id: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) broker_address: &'a str,
    pub(crate) body_size_bytes: usize,
    pub(crate) took: Duration,
    pub(crate) kind: SentKind,
    pub(crate) offset_id: &'a str,
    pub(crate) is_success: bool,
}

/// RocketMQ's `MessageType`, by its ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentKind {
    Normal = 0,
    TransactionHalf = 1,
    Delayed = 3,
}

impl Tracer {
    /// A tracer that sends as a group of its own. Must be called within a tokio runtime.
    pub(crate) fn start(name_servers: &str, tls: Option<&ClientTls>, group: &str) -> crate::error::Result<Self> {
        let producer = Producer::start(ProducerConfig {
            name_servers: name_servers.to_owned(),
            tls: tls.cloned(),
            group: format!("_INNER_TRACE_PRODUCER-{group}").chars().take(255).collect::<String>().into(),
            dialect: Dialect::Remoting,
            trace: false,
            ..ProducerConfig::default()
        })?;
        let (records, waiting) = mpsc::channel(WAITING_COUNT_MAX);
        tokio::spawn(send_all(producer, waiting));
        Ok(Self { records })
    }

    /// A message was sent, or not.
    pub(crate) fn sent(&self, sent: &Sent<'_>) {
        let keys = [sent.unique_id].into_iter().chain(sent.keys.split(' '));
        self.push(sent_text(sent), keys);
    }

    /// A listener is about to be called with these messages. Gives the request id that [`Self::consumed`] takes.
    pub(crate) fn consuming(&self, request_id: &str, group: &str, time_ms: i64, messages: &[Message]) {
        let text = messages.iter().map(|message| before_text(request_id, group, time_ms, message)).collect();
        let ids: Vec<String> = messages.iter().map(Message::unique_id).collect();
        let keys = messages.iter().flat_map(Message::keys);
        self.push(text, ids.iter().map(String::as_str).chain(keys));
    }

    /// A listener was called with them.
    pub(crate) fn consumed(&self, request_id: &str, group: &str, time_ms: i64, messages: &[Message], outcome: Outcome) {
        let text = messages.iter().map(|message| after_text(request_id, group, time_ms, message, outcome)).collect();
        let ids: Vec<String> = messages.iter().map(Message::unique_id).collect();
        let keys = messages.iter().flat_map(Message::keys);
        self.push(text, ids.iter().map(String::as_str).chain(keys));
    }

    fn push<'k>(&self, text: String, keys: impl Iterator<Item = &'k str>) {
        let keys = keys.filter(|key| !key.is_empty()).map(str::to_owned).collect();
        if self.records.try_send(Record { text, keys }).is_err() {
            tracing::debug!("more traces than leave: one is thrown away");
        }
    }
}

/// How a call of a listener ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    pub(crate) is_success: bool,
}

impl Outcome {
    /// RocketMQ's `ConsumeReturnType`, by its ordinal: SUCCESS or FAILED.
    const fn code(self) -> u8 {
        if self.is_success { 0 } else { 4 }
    }
}

fn sent_text(sent: &Sent<'_>) -> String {
    let fields = [
        "Pub",
        &sent.time_ms.to_string(),
        REGION,
        sent.group,
        sent.topic,
        sent.unique_id,
        sent.tag,
        sent.keys,
        sent.broker_address,
        &sent.body_size_bytes.to_string(),
        &sent.took.as_millis().to_string(),
        &(sent.kind as u8).to_string(),
        sent.offset_id,
        &sent.is_success.to_string(),
    ];
    record(&fields)
}

fn before_text(request_id: &str, group: &str, time_ms: i64, message: &Message) -> String {
    let (time, retries) = (time_ms.to_string(), message.reconsume_times.to_string());
    record(&["SubBefore", &time, REGION, group, request_id, &message.unique_id(), &retries, &keys_of(message)])
}

fn after_text(request_id: &str, group: &str, time_ms: i64, message: &Message, outcome: Outcome) -> String {
    record(&[
        "SubAfter",
        request_id,
        &message.unique_id(),
        &outcome.took.as_millis().to_string(),
        &outcome.is_success.to_string(),
        &keys_of(message),
        &outcome.code().to_string(),
        &time_ms.to_string(),
        group,
    ])
}

fn keys_of(message: &Message) -> String {
    message.keys().collect::<Vec<_>>().join(" ")
}

fn record(fields: &[&str]) -> String {
    let mut text = fields.join(&FIELD.to_string());
    text.push(RECORD);
    text
}

/// Sends what waits until nobody traces any more.
async fn send_all(producer: Producer, mut waiting: mpsc::Receiver<Record>) {
    let mut records = Vec::new();
    while waiting.recv_many(&mut records, BATCH_COUNT_MAX).await > 0 {
        // What comes a little later goes along.
        tokio::time::sleep(GATHER_TIME).await;
        while records.len() < BATCH_COUNT_MAX
            && let Ok(record) = waiting.try_recv()
        {
            records.push(record);
        }
        while !records.is_empty() {
            let message = gather(&mut records);
            if let Err(error) = producer.send(message).await {
                tracing::debug!(%error, "traces are lost");
            }
        }
    }
    producer.close().await;
}

/// A message of the first records, as many as fit.
fn gather(records: &mut Vec<Record>) -> OutgoingMessage {
    let (mut body, mut keys, mut count) = (String::new(), BTreeSet::new(), 0);
    for record in records.iter() {
        if count > 0 && body.len() + record.text.len() > BATCH_SIZE_BYTES_MAX {
            break;
        }
        body.push_str(&record.text);
        keys.extend(record.keys.iter().cloned());
        count += 1;
    }
    records.drain(..count);
    keys.iter().fold(OutgoingMessage::new(topics::TRACE, body), |message, key| message.key(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;

    #[test]
    fn a_send_is_told_in_rocketmqs_order() {
        let sent = Sent {
            time_ms: 1,
            group: "g",
            topic: "T",
            unique_id: "ID",
            tag: "A",
            keys: "k1 k2",
            broker_address: "127.0.0.1:10911",
            body_size_bytes: 5,
            took: Duration::from_millis(3),
            kind: SentKind::Delayed,
            offset_id: "OID",
            is_success: true,
        };
        let expected = "Pub|1|DefaultRegion|g|T|ID|A|k1 k2|127.0.0.1:10911|5|3|3|OID|true;";
        assert_eq!(sent_text(&sent).replace(FIELD, "|").replace(RECORD, ";"), expected);
    }

    #[test]
    fn consumption_is_told_before_and_after() {
        let message = message(5, "body");
        let id = message.unique_id();
        let before = before_text("R", "g", 7, &message).replace(FIELD, "|");
        assert_eq!(before, format!("SubBefore|7|DefaultRegion|g|R|{id}|0|k1 k2{RECORD}"));
        let outcome = Outcome { took: Duration::from_millis(9), is_success: false };
        let after = after_text("R", "g", 8, &message, outcome).replace(FIELD, "|");
        assert_eq!(after, format!("SubAfter|R|{id}|9|false|k1 k2|4|8|g{RECORD}"));
    }

    #[test]
    fn a_trace_message_is_bounded_and_found_by_all_its_keys() {
        let record = |key: &str| Record { text: "x".repeat(BATCH_SIZE_BYTES_MAX / 2), keys: vec![key.to_owned()] };
        let mut records = vec![record("a"), record("b"), record("c")];
        let parts = gather(&mut records).into_parts().expect("valid");
        assert_eq!((parts.body.len(), records.len()), (BATCH_SIZE_BYTES_MAX, 1));
        assert_eq!(&parts.properties[..], b"KEYS\x01a b");
    }
}
