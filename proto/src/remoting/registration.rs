//! What brokers tell a name server: REGISTER_BROKER (103) and UNREGISTER_BROKER (104).
//!
//! A registration carries the broker's topics, with the version of that table, as JSON or compressed:
//!
//! ```text
//! zlib( i32 length, data version as JSON
//!     | i32 count, count × (i32 length, "topic readQueues writeQueues perm SINGLE_TAG {attributes}")
//!     | i32 length, filter servers as JSON
//!     | from version 413 on: i32 count, count × (i32 length, mapping of a static topic as JSON) )
//! ```
//!
//! The header's checksum covers the body as it travels. The compressed form says neither `order` nor `topicSysFlag`: that is
//! RocketMQ's, too. Static topics' mappings are skipped. Inflation is bounded and reads as a stream: a small body that
//! inflates without end costs no memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::BodyError;
use super::ext::ext_header;
use super::lenient;
use crate::limits::{REGISTRATION_INFLATED_SIZE_BYTES_MAX, REGISTRATION_TOPIC_COUNT_MAX};

/// From this version of the sender on, a compressed body ends with the mappings of static topics.
pub const VERSION_WITH_MAPPINGS: i32 = 413;

/// What a zlib stream with a window of 32 KiB begins with, as all of Java's do, and no JSON.
const ZLIB_FIRST_BYTE: u8 = 0x78;

/// Bytes of one text inside a compressed body. When reached: the body is refused.
const TEXT_SIZE_BYTES_MAX: usize = 64 << 10;

ext_header! {
    /// REGISTER_BROKER (103): the body is a [`RegisterBody`]. Answered with [`RegisterReply`].
    pub struct RegisterBroker<'a> {
        /// Name that a master and its slaves share.
        broker_name: &'a str = "brokerName",
        /// Advertised `ip:port`.
        broker_addr: &'a str = "brokerAddr",
        /// The cluster it belongs to.
        cluster_name: &'a str = "clusterName",
        /// Where slaves replicate from, `ip:port`.
        ha_server_addr: &'a str = "haServerAddr",
        /// 0 for the master.
        broker_id: i64 = "brokerId",
        /// How long the registration counts without another, in ms (5.x).
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether the lowest slave stands in for a missing master (5.x).
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed.
        compressed: Option<bool> = "compressed",
        /// [`body_checksum`] of the body; 0 or absent means unchecked.
        body_crc32: Option<i32> = "bodyCrc32",
        /// RingMQ's own: the body has all topics of the broker, so others are gone. RocketMQ's brokers do not say so (theirs
        /// may hold one new topic alone), and its name servers do not ask.
        whole_table: Option<bool> = "wholeTable",
    }
}

ext_header! {
    /// The answer to 103. Addresses are for slaves only.
    pub struct RegisterReply<'a> {
        /// Where to replicate from.
        ha_server_addr: Option<&'a str> = "haServerAddr",
        /// The master's address.
        master_addr: Option<&'a str> = "masterAddr",
        /// RingMQ's own: the name server has forgotten the topics that are not in the body, as it was asked to.
        whole_table: Option<bool> = "wholeTable",
    }
}

ext_header! {
    /// UNREGISTER_BROKER (104). Answered with 0.
    pub struct UnregisterBroker<'a> {
        /// Name that a master and its slaves share.
        broker_name: &'a str = "brokerName",
        /// Advertised `ip:port`.
        broker_addr: &'a str = "brokerAddr",
        /// The cluster it belongs to.
        cluster_name: &'a str = "clusterName",
        /// 0 for the master.
        broker_id: i64 = "brokerId",
    }
}

/// RocketMQ's checksum of a body: CRC-32/IEEE without its highest bit.
pub fn body_checksum(body: &[u8]) -> i32 {
    i32::try_from(crc32fast::hash(body) & 0x7fff_ffff).expect("31 bits")
}

/// The version of a broker's table of topics. Two are the same version only when all members are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Grows with every change.
    pub counter: i64,
    /// The broker's term (5.x): of two brokers that claim one id, the one with the larger term wins.
    pub state_version: i64,
    /// Wall time of the last change, in ms.
    pub timestamp: i64,
}

/// One topic of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes (5.x), or changes of them with `+` and `-`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is ordered.
    pub order: bool,
    /// Permissions, [`super::route::PERM_READ`] and others.
    pub perm: i32,
    /// Queues that consumers divide.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG`; the other one, `MULTI_TAG`, was never used.
    pub topic_filter_type: String,
    /// Name of the topic.
    pub topic_name: String,
    /// Flags of the topic: 1 unit, 2 subscribed by a unit.
    pub topic_sys_flag: i32,
    /// Queues that producers choose from.
    pub write_queue_nums: i32,
}

/// RocketMQ's defaults for members that are left out.
impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: super::route::PERM_READ | super::route::PERM_WRITE,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// The body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterBody {
    /// Version of `topics`.
    pub data_version: DataVersion,
    /// The broker's topics, or those that are new. When a name comes twice the last one counts.
    pub topics: Vec<TopicConfig>,
}

impl RegisterBody {
    /// Reads the body that came with `header` from a sender of this version, its checksum included.
    pub fn decode(header: &RegisterBroker<'_>, sender_version: i32, body: &[u8]) -> Result<Self, BodyError> {
        if header.body_crc32.is_some_and(|checksum| checksum != 0 && checksum != body_checksum(body)) {
            return Err(BodyError::Checksum);
        }
        // 5.3 brokers with `compressedRegister` send a compressed body and say that it is none.
        if header.compressed == Some(true) || body.first() == Some(&ZLIB_FIRST_BYTE) {
            Self::decode_compressed(sender_version, body)
        } else if body.is_empty() {
            Ok(Self::default())
        } else {
            Self::decode_json(body)
        }
    }

    /// Reads the JSON form.
    pub fn decode_json(body: &[u8]) -> Result<Self, BodyError> {
        let body: BodyJson = lenient::decode(body)?;
        let wrapper = body.topic_config_serialize_wrapper;
        Ok(Self { data_version: wrapper.data_version, topics: wrapper.topic_config_table.0 })
    }

    /// Writes the JSON form.
    pub fn encode_json(&self) -> Vec<u8> {
        lenient::encode(&BodyJsonRef {
            filter_server_list: [],
            topic_config_serialize_wrapper: WrapperJsonRef {
                data_version: &self.data_version,
                topic_config_table: TableRef(&self.topics),
            },
        })
    }

    /// Reads the compressed form.
    pub fn decode_compressed(sender_version: i32, body: &[u8]) -> Result<Self, BodyError> {
        let mut input = Inflated { stream: ZlibDecoder::new(body).take(REGISTRATION_INFLATED_SIZE_BYTES_MAX) };
        let data_version = lenient::decode(&input.text()?)?;
        let count = input.count("topics")?;
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(topic_from_text(&input.text()?)?);
        }
        input.text()?; // filter servers: an extinct feature
        if sender_version >= VERSION_WITH_MAPPINGS {
            for _ in 0..input.count("mappings")? {
                input.text()?;
            }
        }
        Ok(Self { data_version, topics })
    }

    /// Writes the compressed form as a sender of version [`super::header::VERSION_REPORTED`].
    pub fn encode_compressed(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        put_text(&mut plain, &lenient::encode(&self.data_version));
        put_length(&mut plain, self.topics.len());
        for topic in &self.topics {
            put_text(&mut plain, topic_to_text(topic).as_bytes());
        }
        put_text(&mut plain, b"[]");
        put_length(&mut plain, 0);
        let mut out = Vec::new();
        ZlibEncoder::new(plain.as_slice(), Compression::default())
            .read_to_end(&mut out)
            .expect("compressing memory into memory does no I/O");
        out
    }
}

const _: () = assert!(super::header::VERSION_REPORTED >= VERSION_WITH_MAPPINGS);

fn topic_to_text(topic: &TopicConfig) -> String {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, attributes, .. } = topic;
    let attributes = String::from_utf8(lenient::encode(attributes)).expect("JSON is text");
    format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {topic_filter_type} {attributes}")
}

/// Reads `topic readQueues writeQueues perm filterType attributes`; 4.x sends no attributes. What cannot be
/// read as attributes is left out, as RocketMQ does.
fn topic_from_text(text: &[u8]) -> Result<TopicConfig, BodyError> {
    const BAD: BodyError = BodyError::Content("a topic without its five members");
    let text = std::str::from_utf8(text).map_err(|_| BodyError::Content("a topic that is no UTF-8"))?;
    let mut members = text.splitn(6, ' ');
    let mut next = || members.next().ok_or(BAD);
    let topic_name = next()?.to_owned();
    let mut number = || next()?.parse().map_err(|_| BodyError::Content("a topic with a bad number"));
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = next()?.to_owned();
    let attributes = next().ok().and_then(|json| lenient::decode(json.as_bytes()).ok()).unwrap_or_default();
    Ok(TopicConfig {
        attributes,
        topic_name,
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type,
        ..TopicConfig::default()
    })
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&i32::try_from(length).expect("a table of topics is far smaller than 2 GiB").to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_length(out, text.len());
    out.extend_from_slice(text);
}

/// The inflated bytes, as a stream of at most [`REGISTRATION_INFLATED_SIZE_BYTES_MAX`].
struct Inflated<'a> {
    stream: std::io::Take<ZlibDecoder<&'a [u8]>>,
}

impl Inflated<'_> {
    fn number(&mut self) -> Result<usize, BodyError> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        usize::try_from(i32::from_be_bytes(bytes)).map_err(|_| BodyError::Content("a negative length"))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BodyError> {
        self.stream.read_exact(bytes).map_err(|error| match self.stream.limit() {
            0 => BodyError::Content("more than a registration may inflate to"),
            _ => BodyError::Zlib(error),
        })
    }

    fn count(&mut self, what: &'static str) -> Result<usize, BodyError> {
        match self.number()? {
            count if count > REGISTRATION_TOPIC_COUNT_MAX => {
                Err(BodyError::TooMany { what, count_max: REGISTRATION_TOPIC_COUNT_MAX })
            }
            count => Ok(count),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, BodyError> {
        let size = self.number()?;
        if size > TEXT_SIZE_BYTES_MAX {
            return Err(BodyError::Content("a text that is too long"));
        }
        let mut text = vec![0; size];
        self.read(&mut text)?;
        Ok(text)
    }
}

// The JSON form, reading.

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BodyJson {
    topic_config_serialize_wrapper: WrapperJson,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WrapperJson {
    data_version: DataVersion,
    topic_config_table: Table,
}

/// The topics of `topicConfigTable`, counted while they are read.
#[derive(Default)]
struct Table(Vec<TopicConfig>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Table {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of at most {REGISTRATION_TOPIC_COUNT_MAX} topics")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if self.0.len() == REGISTRATION_TOPIC_COUNT_MAX {
                return Err(A::Error::custom(format_args!("more than {REGISTRATION_TOPIC_COUNT_MAX} topics")));
            }
            let mut topic: TopicConfig = map.next_value()?;
            if topic.topic_name.is_empty() {
                topic.topic_name = name;
            }
            self.0.push(topic);
        }
        Ok(self)
    }
}

// The JSON form, writing.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyJsonRef<'a> {
    filter_server_list: [&'a str; 0],
    topic_config_serialize_wrapper: WrapperJsonRef<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrapperJsonRef<'a> {
    data_version: &'a DataVersion,
    topic_config_table: TableRef<'a>,
}

struct TableRef<'a>(&'a [TopicConfig]);

impl Serialize for TableRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for topic in self.0 {
            map.serialize_entry(&topic.topic_name, topic)?;
        }
        map.end()
    }
}
