//! What a shard counts. Plain numbers owned by the shard; the operations thread gets copies.

use super::io::CloseReason;
use hdrhistogram::Histogram;
use ringmq_proto::code::Code;
use std::collections::BTreeMap;

/// What a port was asked to speak and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForeignProtocol {
    /// A TLS hello.
    Tls,
    /// The PROXY protocol, either version.
    Proxy,
    /// HTTP; answered with one sentence.
    Http,
    /// RingMQ's native protocol in a version that is not spoken here.
    NativeVersion,
    /// Anything else.
    Unknown,
}

/// Counters and gauges of one shard.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that are open.
    pub connections: u64,
    /// Connections ever opened.
    pub connections_opened: u64,
    /// Connections that the shard ended, by reason.
    pub connections_closed: BTreeMap<CloseReason, u64>,
    /// Connections that spoke something else, by what.
    pub foreign_protocols: BTreeMap<ForeignProtocol, u64>,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes given to the driver to send.
    pub sent_bytes: u64,
    /// Requests, of any kind.
    pub requests: u64,
    /// Messages appended for clients.
    pub messages_appended: u64,
    /// Bytes of records appended for clients.
    pub appended_bytes: u64,
    /// Bytes of records given to consumers.
    pub pulled_bytes: u64,
    /// Messages given to consumers.
    pub messages_pulled: u64,
    /// Pulls, of any outcome.
    pub pulls: u64,
    /// Pulls that were held for messages to come.
    pub pulls_held: u64,
    /// Requests that wait now: held pulls, cold reads, topic changes.
    pub waiting: u64,
    /// Refused requests, by response code.
    pub rejections: BTreeMap<u16, u64>,
    /// Replies that waited for the log and left.
    pub acknowledged: u64,
    /// Replies that left with a degraded code (10, 11, 12).
    pub degraded: u64,
    /// Bytes that are appended and not acknowledged.
    pub in_flight_bytes: u64,
    /// From the append of a receive to the release of its replies, in nanoseconds; one count per reply.
    pub acknowledge_ns: Histogram<u64>,
}

/// Latencies beyond this are counted as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            connections: 0,
            connections_opened: 0,
            connections_closed: BTreeMap::new(),
            foreign_protocols: BTreeMap::new(),
            received_bytes: 0,
            sent_bytes: 0,
            requests: 0,
            messages_appended: 0,
            appended_bytes: 0,
            pulled_bytes: 0,
            messages_pulled: 0,
            pulls: 0,
            pulls_held: 0,
            waiting: 0,
            rejections: BTreeMap::new(),
            acknowledged: 0,
            degraded: 0,
            in_flight_bytes: 0,
            acknowledge_ns: Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3)
                .expect("constant bounds of a histogram are valid"),
        }
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        *self.connections_closed.entry(reason).or_default() += 1;
    }

    pub(super) fn foreign(&mut self, protocol: ForeignProtocol) {
        *self.foreign_protocols.entry(protocol).or_default() += 1;
    }

    pub(super) fn rejected(&mut self, code: Code) {
        *self.rejections.entry(code.get()).or_default() += 1;
    }

    pub(super) fn acknowledged(&mut self, latency_ns: u64, reply_count: u32) {
        self.acknowledged += u64::from(reply_count);
        self.acknowledge_ns.saturating_record_n(latency_ns.min(LATENCY_NS_MAX), reply_count.into());
    }
}
