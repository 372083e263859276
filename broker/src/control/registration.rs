//! What name servers are told about a shard: its topics and those of the system, under a version that grows with each
//! change.
//!
//! A large table travels in parts, as RocketMQ's own brokers split theirs. Each part has a version of its own, so that a name
//! server takes it for a change, and the last has the table's.

use std::collections::BTreeMap;

use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, TopicConfig, body_checksum};
use ringmq_proto::remoting::route::{PERM_INHERIT, PERM_READ, PERM_WRITE};
use ringmq_proto::remoting::topics;

use crate::shard::io::TopicNotice;

/// Queues of the topic that is named like its cluster, over all shards.
const CLUSTER_TOPIC_QUEUE_COUNT: u32 = 16;

/// Bodies above this travel compressed.
const PLAIN_BODY_BYTES_MAX: usize = 16 << 10;

/// Topics in one registration. When reached: the table travels in parts. At 255 bytes a name, a part is below 8 MiB.
const PART_TOPIC_COUNT_MAX: usize = 20_000;

/// A shard as name servers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Broker name of the shard.
    pub name: String,
    /// RocketMQ's cluster name.
    pub cluster: String,
    /// Advertised `ip:port`.
    pub address: String,
    /// Queues of the template topic on this shard; none when topics are not created automatically.
    pub default_topic_queue_count: Option<u32>,
    /// Shards of the broker, this one included.
    pub shard_count: u32,
    /// What the broker may be used for, in RocketMQ's permission bits: [`PERM_ALL`], or less while it is being drained.
    pub perm: i32,
}

/// Reading and writing.
pub const PERM_ALL: i32 = PERM_READ | PERM_WRITE;

impl Identity {
    /// Where slaves would replicate from: RocketMQ's default, the port behind the shard's. Name servers refuse a
    /// registration without one.
    pub fn replication_address(&self) -> String {
        match self.address.rsplit_once(':').map(|(ip, port)| (ip, port.parse::<u16>())) {
            Some((ip, Ok(port))) => format!("{ip}:{}", port.checked_add(1).unwrap_or(port)),
            _ => self.address.clone(),
        }
    }
}

/// One REGISTER_BROKER's worth of topics, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Body of REGISTER_BROKER.
    pub body: Vec<u8>,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Its checksum.
    pub checksum: i32,
}

impl Part {
    fn new(data_version: DataVersion, topics: Vec<TopicConfig>) -> Self {
        let body = RegisterBody { data_version, topics };
        let plain = body.encode_json();
        let (body, compressed) =
            if plain.len() > PLAIN_BODY_BYTES_MAX { (body.encode_compressed(), true) } else { (plain, false) };
        Self { checksum: body_checksum(&body), body, compressed }
    }
}

/// A shard's table of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The version of it, which a name server knows after the last part.
    pub version: DataVersion,
    /// All of it; at least one.
    pub parts: Vec<Part>,
    names: Vec<Box<str>>,
}

impl Table {
    /// Encodes the topics of a shard with those of the system. Tombstones are left out.
    pub fn new<'a>(identity: &Identity, version: DataVersion, topics: impl Iterator<Item = &'a TopicNotice>) -> Self {
        // By name: the store may have a topic that is registered in any case.
        let mut table: BTreeMap<String, TopicConfig> = BTreeMap::new();
        let alive = topics.filter(|notice| !notice.deleted).map(|notice| TopicConfig {
            order: notice.ordered,
            read_queue_nums: narrow(notice.shape.read_queue_count),
            ..topic(&notice.topic, notice.shape.write_queue_count, narrow(notice.shape.perm))
        });
        for mut topic in alive.chain(system_topics(identity)) {
            if identity.perm != PERM_ALL {
                topic.perm &= identity.perm;
            }
            table.insert(topic.topic_name.clone(), topic);
        }
        let names = table.keys().map(|name| name.as_str().into()).collect();
        let all: Vec<_> = table.into_values().collect();
        let part_count = all.chunks(PART_TOPIC_COUNT_MAX).len();
        let parts = all.chunks(PART_TOPIC_COUNT_MAX).enumerate();
        let parts = parts.map(|(index, topics)| Part::new(before(version, part_count - 1 - index), topics.to_vec()));
        Self { version, parts: parts.collect(), names }
    }

    /// Topics of an older table that this one has no more.
    pub fn gone_since<'a>(&self, older: &'a Self) -> Vec<&'a str> {
        let is_known = |name: &str| self.names.binary_search_by(|known| (**known).cmp(name)).is_ok();
        older.names.iter().map(|name| &**name).filter(|name| !is_known(name)).collect()
    }

    /// What takes topics out of service at a name server that forgets none by itself: they are registered without queues,
    /// under a version just before this table's parts.
    pub fn without_queues(&self, topics: &[&str]) -> Part {
        let topics = topics.iter().map(|name| topic(name, 0, 0)).collect();
        Part::new(before(self.version, self.parts.len()), topics)
    }
}

/// A version that is not `version`, nor that of another step.
fn before(version: DataVersion, steps: usize) -> DataVersion {
    DataVersion { timestamp: version.timestamp - i64::try_from(steps).unwrap_or(0), ..version }
}

/// Topics that clients and tools look for at a name server, and that need no queue in the store until they are used. Clients
/// ask for the route of the template when they send to a topic that nobody has; a cluster's and a broker's name are templates,
/// too. RocketMQ's `BenchmarkTest` is not among them: its 1024 queues a shard would be polled one by one for nothing, and the
/// first send makes the topic like any other.
fn system_topics(identity: &Identity) -> impl Iterator<Item = TopicConfig> {
    let perm = PERM_READ | PERM_WRITE | PERM_INHERIT;
    let cluster_queues = (CLUSTER_TOPIC_QUEUE_COUNT / identity.shard_count.max(1)).max(1);
    let always = [
        topic(&identity.cluster, cluster_queues, perm),
        topic(&identity.name, 1, perm),
        topic(topics::SELF_TEST, 1, PERM_READ | PERM_WRITE),
    ];
    let template = identity.default_topic_queue_count.map(|count| topic(topics::TEMPLATE, count, perm));
    always.into_iter().chain(template)
}

fn narrow(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn topic(name: &str, queue_count: u32, perm: i32) -> TopicConfig {
    let queues = narrow(queue_count);
    let (read_queue_nums, write_queue_nums) = (queues, queues);
    TopicConfig { topic_name: name.to_owned(), read_queue_nums, write_queue_nums, perm, ..TopicConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::io::TopicShape;

    fn identity(default_topic_queue_count: Option<u32>) -> Identity {
        let (name, cluster, address) = ("a".into(), "C".into(), "127.0.0.1:10911".into());
        Identity { name, cluster, address, default_topic_queue_count, shard_count: 4, perm: PERM_ALL }
    }

    fn notices(count: usize) -> Vec<TopicNotice> {
        let notice = |number| TopicNotice {
            topic: format!("topic-{number:05}"),
            version: 1,
            shape: TopicShape::plain(8, 6),
            ordered: number == 0,
            deleted: number == 1,
        };
        (0..count).map(notice).collect()
    }

    const VERSION: DataVersion = DataVersion { counter: 3, timestamp: 4, state_version: 0 };

    fn decode(part: &Part) -> RegisterBody {
        assert_eq!(part.checksum, body_checksum(&part.body));
        match part.compressed {
            true => RegisterBody::decode_compressed(ringmq_proto::remoting::header::VERSION_REPORTED, &part.body),
            false => RegisterBody::decode_json(&part.body),
        }
        .expect("decodes")
    }

    #[test]
    fn table_has_the_system_s_topics_and_every_topic_that_is_not_deleted() {
        let table = Table::new(&identity(Some(4)), VERSION, notices(3).iter());
        assert_eq!((table.parts.len(), table.parts[0].compressed), (1, false));
        assert_eq!(identity(None).replication_address(), "127.0.0.1:10912");
        let body = decode(&table.parts[0]);
        assert_eq!(body.data_version, VERSION);
        let shown: Vec<_> =
            body.topics.iter().map(|t| (t.topic_name.as_str(), t.read_queue_nums, t.perm, t.order)).collect();
        let system =
            [("C", 4, 7, false), ("SELF_TEST_TOPIC", 1, 6, false), ("TBW102", 4, 7, false), ("a", 1, 7, false)];
        assert_eq!(shown[..4], system);
        assert_eq!(shown[4..], [("topic-00000", 8, 6, true), ("topic-00002", 8, 6, false)]);
        let closed = Table::new(&identity(None), VERSION, notices(0).iter());
        assert!(
            decode(&closed.parts[0]).topics.len() > 1,
            "Apache's name servers refuse a first registration of one topic"
        );
    }

    #[test]
    fn large_table_travels_compressed_in_parts_of_different_versions_the_last_with_its_own() {
        let table = Table::new(&identity(None), VERSION, notices(2 * PART_TOPIC_COUNT_MAX).iter());
        let bodies: Vec<_> = table.parts.iter().map(decode).collect();
        assert_eq!(bodies.len(), 3);
        assert!(table.parts.iter().all(|part| part.body.len() < PART_TOPIC_COUNT_MAX * 20));
        let versions: Vec<_> = bodies.iter().map(|body| body.data_version.timestamp).collect();
        assert_eq!((versions, bodies[2].data_version), (vec![2, 3, 4], VERSION));
        assert_eq!(bodies.iter().map(|body| body.topics.len()).sum::<usize>(), 2 * PART_TOPIC_COUNT_MAX + 2);
        let names: std::collections::BTreeSet<_> =
            bodies.iter().flat_map(|body| &body.topics).map(|t| &t.topic_name).collect();
        assert_eq!(names.len(), table.names.len(), "none twice");
        let first = RegisterBody { data_version: before(VERSION, 3), topics: vec![topic("T", 0, 0)] };
        assert_eq!(decode(&table.without_queues(&["T"])), first, "another version than any part");
    }

    #[test]
    fn topics_that_went_between_two_tables_are_known_by_name() {
        let older = Table::new(&identity(Some(1)), VERSION, notices(4).iter());
        let newer = Table::new(&identity(Some(1)), VERSION, notices(3).iter());
        assert_eq!((newer.gone_since(&older), older.gone_since(&newer)), (vec!["topic-00003"], vec![]));
    }
}
