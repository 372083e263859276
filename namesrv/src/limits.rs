//! The limits of a name server, each with what happens when it is reached. Those of frames, headers and a registration's
//! body are `ringmq_proto::limits`, those of
//! TLS `ringmq_tls::limits`.

use std::time::Duration;

/// Broker addresses that are registered at a time. When reached: a new broker is answered 2 SYSTEM_BUSY, known ones go on.
pub const BROKER_COUNT_MAX: usize = 4_096;

/// Topics that are known at a time. When reached: a registration that brings a new one is answered 2 SYSTEM_BUSY and changes
/// nothing.
pub const TOPIC_COUNT_MAX: usize = 200_000;

/// Pairs of a topic and a broker name that has it. When reached: as for [`TOPIC_COUNT_MAX`].
pub const ROUTE_COUNT_MAX: usize = 2_000_000;

/// Queues of one topic on one broker, for reading and for writing. When reached: the topic is left out of the registration.
pub const QUEUE_COUNT_MAX: i32 = 65_536;

/// Bytes of the name of a broker or a cluster, and of an address. When reached: 29 INVALID_PARAMETER.
pub const NAME_SIZE_BYTES_MAX: usize = 255;

/// How long a registration may count without another, whatever the broker asks for, in ms. When reached: this much counts.
pub const HEARTBEAT_TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Keys of the key-value configuration. When reached: a new one is answered 2 SYSTEM_BUSY.
pub const KV_COUNT_MAX: usize = 100_000;

/// Bytes of all keys and values of the key-value configuration. When reached: as for [`KV_COUNT_MAX`].
pub const KV_SIZE_BYTES_MAX: usize = 4 << 20;

/// Messages that wait to be told to one broker. When reached: the newest is dropped; brokers ask by themselves, too.
pub const NOTICE_COUNT_MAX: usize = 64;

/// Connections at a time. When reached: a new one is closed at once, and counted.
pub const CONNECTION_COUNT_MAX: usize = 16_384;

/// Bytes in the buffers of all connections. When reached: the connection that needs more is closed, and counted.
pub const BUFFERED_BYTES_MAX: usize = 256 << 20;

/// Silence on a connection. When reached: it is closed. RocketMQ's `serverChannelMaxIdleTimeSeconds`.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(120);

/// Time from a frame's first byte to its last, and for a peer to take what it asked for. When reached: the connection is
/// closed.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(TOPIC_COUNT_MAX >= ringmq_proto::limits::REGISTRATION_TOPIC_COUNT_MAX);
const _: () = assert!(BUFFERED_BYTES_MAX >= 4 * ringmq_proto::limits::FRAME_SIZE_BYTES_MAX);
