//! What name servers are told about a shard: its topics and those of the system, under a version that grows with each
//! change.

use ringmq_proto::remoting::registration::{DataVersion, RegisterBody, TopicConfig, body_checksum};
use ringmq_proto::remoting::route::{PERM_INHERIT, PERM_READ, PERM_WRITE};

use crate::shard::io::TopicNotice;

/// The template of automatically created topics.
pub const DEFAULT_TOPIC: &str = "TBW102";

/// Bodies above this travel compressed.
const PLAIN_BODY_BYTES_MAX: usize = 16 << 10;

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
}

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

/// A shard's table of topics, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Body of REGISTER_BROKER.
    pub body: Vec<u8>,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Its checksum.
    pub checksum: i32,
}

impl Table {
    /// Encodes the topics of a shard with those of the system. Tombstones are left out: what is not told is gone.
    pub fn new<'a>(identity: &Identity, version: DataVersion, topics: impl Iterator<Item = &'a TopicNotice>) -> Self {
        let alive = topics.filter(|notice| !notice.deleted).map(|notice| TopicConfig {
            order: notice.ordered,
            read_queue_nums: narrow(notice.shape.read_queue_count),
            ..topic(&notice.topic, notice.shape.write_queue_count, narrow(notice.shape.perm))
        });
        let body = RegisterBody { data_version: version, topics: system_topics(identity).chain(alive).collect() };
        let plain = body.encode_json();
        let (body, compressed) =
            if plain.len() > PLAIN_BODY_BYTES_MAX { (body.encode_compressed(), true) } else { (plain, false) };
        Self { checksum: body_checksum(&body), body, compressed }
    }
}

/// Clients ask for the route of the template topic when they send to a topic that nobody has.
fn system_topics(identity: &Identity) -> impl Iterator<Item = TopicConfig> {
    let perm = PERM_READ | PERM_WRITE | PERM_INHERIT;
    identity.default_topic_queue_count.map(|count| topic(DEFAULT_TOPIC, count, perm)).into_iter()
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
        Identity { name, cluster, address, default_topic_queue_count }
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

    #[test]
    fn table_has_the_template_topic_and_every_topic_that_is_not_deleted() {
        let version = DataVersion { counter: 3, timestamp: 4, state_version: 0 };
        let table = Table::new(&identity(Some(4)), version, notices(3).iter());
        assert!(!table.compressed);
        assert_eq!(identity(None).replication_address(), "127.0.0.1:10912");
        assert_eq!(table.checksum, body_checksum(&table.body));
        let body = RegisterBody::decode_json(&table.body).expect("decodes");
        assert_eq!(body.data_version, version);
        let shown: Vec<_> =
            body.topics.iter().map(|t| (t.topic_name.as_str(), t.read_queue_nums, t.perm, t.order)).collect();
        assert_eq!(shown, [("TBW102", 4, 7, false), ("topic-00000", 8, 6, true), ("topic-00002", 8, 6, false)]);
        let closed = Table::new(&identity(None), version, notices(1).iter());
        assert_eq!(RegisterBody::decode_json(&closed.body).expect("decodes").topics.len(), 1);
    }

    #[test]
    fn large_table_travels_compressed_and_whole() {
        let table = Table::new(&identity(None), DataVersion::default(), notices(5000).iter());
        assert!(table.compressed && table.body.len() < 5000 * 20, "{}", table.body.len());
        let version = ringmq_proto::remoting::header::VERSION_REPORTED;
        assert_eq!(RegisterBody::decode_compressed(version, &table.body).expect("decodes").topics.len(), 4999);
    }
}
