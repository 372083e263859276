//! What an operator can choose for a broker process, with defaults. How the layers of choices are put together is in
//! [`super::settings`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::disk::probe::FlushMethod;
use crate::shard::settings::Features;

/// Distance between the ports of neighbouring shards.
pub const SHARD_PORT_DISTANCE: u16 = 10;

/// Shards of one process. When reached: the configuration is refused.
pub const SHARD_COUNT_MAX: u32 = 1024;

/// When a send is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// On disk.
    #[default]
    Sync,
    /// In the kernel's hands; flushed every 500 ms.
    Async,
}

/// How sockets and disk are driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPlane {
    /// The best that is built.
    #[default]
    Auto,
    /// One ring carries the log and says which sockets have something to receive.
    Ring,
    /// glommio's sockets, with a task each; the log on a ring of its own.
    Glommio,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// When old segments go; both bounds may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Keep messages for this long, in milliseconds.
    pub age_ms: Option<u64>,
    /// Keep at most about this many bytes of log on each shard.
    pub bytes: Option<u64>,
}

/// Everything that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Broker name of shard 0; shard k is `sK-NAME`.
    pub name: String,
    /// RocketMQ's cluster name.
    pub cluster: String,
    /// Name servers, `host:port`. None: the broker serves unregistered.
    pub namesrv: Vec<String>,
    /// Where shard 0 listens; shard k ten ports further on. Port 0: every shard takes a free port, and no VIP port.
    pub listen: SocketAddr,
    /// `HOST[:PORT]` that clients are told, when it is not the address to listen on.
    pub advertise: Option<String>,
    /// The data directory.
    pub data: PathBuf,
    /// Shards of a new data directory (none: one); for an existing one it must be the same number, or none.
    pub shards: Option<u32>,
    /// Cores for the executors, one each; shards are dealt out to them in turn. Empty: one unpinned executor per shard.
    pub cores: Vec<usize>,
    /// When a send is acknowledged.
    pub flush: Flush,
    /// How a durable write is made (none: what the device needs).
    pub flush_method: Option<FlushMethod>,
    /// How sockets and disk are driven.
    pub data_plane: DataPlane,
    /// Memory of each shard for the newest part of its log, in bytes.
    pub hot_tail_bytes: u64,
    /// Memory of each shard for blocks that cold readers share, in bytes.
    pub cache_bytes: u64,
    /// Size of a segment of a new log, in bytes.
    pub segment_size_bytes: u64,
    /// Alignment of a new log in bytes, 512 or 4096 (none: the device's logical block).
    pub alignment_bytes: Option<u32>,
    /// When old segments go.
    pub retention: Retention,
    /// Where the operations port is (none: there is none).
    pub ops: Option<SocketAddr>,
    /// A send to, or a route for, an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Queues of an automatically created topic, over all shards.
    pub topic_queue_count_default: u32,
    /// What clients may ask for beside sending and pulling.
    pub features: Features,
    /// There is a topic for the traces of clients.
    pub trace_topic: bool,
    /// Whether and how TLS is spoken, with clients and with name servers.
    pub tls: ringmq_tls::Settings,
    /// Connections of one shard at one time.
    pub connection_count_max: usize,
    /// The process ends as soon as one shard has failed, instead of with the last.
    pub exit_on_failed_shard: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: `info`, `debug`, `ringmq_broker=trace,info`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            namesrv: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 10911)),
            advertise: None,
            data: PathBuf::new(),
            shards: None,
            cores: Vec::new(),
            flush: Flush::Sync,
            flush_method: None,
            data_plane: DataPlane::Auto,
            hot_tail_bytes: 256 << 20,
            cache_bytes: 64 << 20,
            segment_size_bytes: 1 << 30,
            alignment_bytes: None,
            retention: Retention { age_ms: Some(72 * 3_600_000), bytes: None },
            ops: None,
            auto_create_topics: true,
            topic_queue_count_default: 8,
            features: Features::default(),
            trace_topic: false,
            tls: ringmq_tls::Settings::default(),
            connection_count_max: 65_536,
            exit_on_failed_shard: false,
            log_format: LogFormat::Text,
            log_level: "info".into(),
        }
    }
}

impl Config {
    /// Broker name of a shard.
    pub fn shard_name(&self, shard: u32) -> String {
        if shard == 0 { self.name.clone() } else { format!("s{shard}-{}", self.name) }
    }

    /// Where a shard listens.
    ///
    /// # Errors
    /// When its port would be above 65535.
    pub fn shard_listen(&self, shard: u32) -> Result<SocketAddr, String> {
        Ok(SocketAddr::new(self.listen.ip(), shard_port(self.listen.port(), shard)?))
    }

    /// Directory of a shard.
    pub fn shard_directory(&self, shard: u32) -> PathBuf {
        self.data.join(format!("shard-{shard}"))
    }

    /// Folder of a certificate of the broker's own making.
    pub fn tls_home(&self) -> PathBuf {
        self.data.join("tls")
    }

    /// Checks what no single setting can.
    ///
    /// # Errors
    /// One sentence.
    pub fn validate(&self) -> Result<(), String> {
        if self.data.as_os_str().is_empty() {
            return Err("no data directory is set: give one with --data DIR".into());
        }
        let names = [("name", &self.name), ("cluster", &self.cluster)];
        if let Some((setting, name)) = names.iter().find(|(_, name)| !is_name(name)) {
            return Err(format!("{setting} {name:?} must be 1 to 100 letters, digits, '-', '_' or '.'"));
        }
        if let Some(count) = self.shards {
            if count == 0 || count > SHARD_COUNT_MAX {
                return Err(format!("--shards must be from 1 to {SHARD_COUNT_MAX}, not {count}"));
            }
            self.shard_listen(count - 1)?;
        }
        if let Some(alignment) = self.alignment_bytes.filter(|bytes| ![512, 4096].contains(bytes)) {
            return Err(format!("alignment must be 512 or 4096, not {alignment}"));
        }
        if !self.segment_size_bytes.is_multiple_of(4096) || self.segment_size_bytes < 1 << 20 {
            return Err("segment must be a multiple of 4KiB and at least 1MiB".into());
        }
        if self.cores.iter().enumerate().any(|(index, core)| self.cores[..index].contains(core)) {
            return Err("a core is named twice in --cores".into());
        }
        Ok(())
    }
}

/// The port of a shard whose first sibling has `base`.
///
/// # Errors
/// When there is no such port.
pub fn shard_port(base: u16, shard: u32) -> Result<u16, String> {
    if base == 0 {
        return Ok(0);
    }
    u32::from(base)
        .checked_add(shard.saturating_mul(u32::from(SHARD_PORT_DISTANCE)))
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| {
            format!("shard {shard} would need a port above 65535 (base {base} + {SHARD_PORT_DISTANCE} a shard)")
        })
}

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { data: "/data".into(), ..Config::default() }
    }

    #[test]
    fn shards_have_names_ports_and_directories_of_their_own() {
        let config = config();
        assert_eq!([0, 2].map(|shard| config.shard_name(shard)), ["broker-a", "s2-broker-a"]);
        assert_eq!(config.shard_listen(3).map(|address| address.port()), Ok(10941));
        assert_eq!(config.shard_directory(1), PathBuf::from("/data/shard-1"));
        let any = Config { listen: ([127, 0, 0, 1], 0).into(), ..config };
        assert_eq!(any.shard_listen(3).map(|address| address.port()), Ok(0), "every shard takes a free port");
    }

    #[test]
    fn default_with_a_data_directory_is_valid() {
        assert_eq!(config().validate(), Ok(()));
        assert!(Config::default().validate().is_err());
    }

    #[test]
    fn what_cannot_work_is_refused_in_one_sentence() {
        let wrong = [
            Config { name: "a b".into(), ..config() },
            Config { cluster: String::new(), ..config() },
            Config { shards: Some(0), ..config() },
            Config { shards: Some(10), listen: ([127, 0, 0, 1], 65530).into(), ..config() },
            Config { alignment_bytes: Some(1024), ..config() },
            Config { segment_size_bytes: 1000, ..config() },
            Config { cores: vec![1, 2, 1], ..config() },
        ];
        for config in wrong {
            let sentence = config.validate().expect_err("refused");
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
        }
    }
}
