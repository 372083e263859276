//! A name server and a broker in this process, for a run without a cluster: the same code as the binaries', on real sockets and a
//! real disk.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ringmq_broker::server::Embedded;
use ringmq_broker::server::config::{Config, DataPlane, Flush, Retention};

use crate::cli;
use crate::directory::DataDirectory;
use crate::failure::Failure;
use crate::outcome::MessageCommits;
use crate::plan::EmbeddedPlan;

/// How long the operations port may take.
const OPERATIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// The running cluster.
pub struct EmbeddedCluster {
    namesrv: ringmq_namesrv::Handle,
    broker: Embedded,
    directory: DataDirectory,
}

impl EmbeddedCluster {
    /// Starts both; they serve when this returns.
    pub fn start(plan: &EmbeddedPlan) -> Result<Self, Failure> {
        let directory = DataDirectory::choose(plan.data.as_deref())?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let of_namesrv = ringmq_namesrv::Config { listen: any_port, ..ringmq_namesrv::Config::default() };
        let namesrv = ringmq_namesrv::spawn_thread(of_namesrv)
            .map_err(|error| Failure::unusable(format!("the embedded name server: {error}")))?;
        let broker = Embedded::start(&config(plan, &directory, namesrv.addr, any_port))
            .map_err(|error| Failure::unusable(format!("the embedded broker: {error}")))?;
        Ok(Self { namesrv, broker, directory })
    }

    /// Where the name server listens.
    pub fn namesrv_address(&self) -> String {
        self.namesrv.addr.to_string()
    }

    /// How many messages of `message_bytes` the disk has room for.
    pub fn messages_max(&self, message_bytes: u64) -> u64 {
        self.directory.messages_max(message_bytes)
    }

    /// How long the commits took that the messages waited for; `None` when the broker does not say.
    pub fn message_commits(&self) -> Option<MessageCommits> {
        let text = metrics(self.broker.operations_address()?).ok()?;
        let slowest = |name: &str| {
            let of_shards = text.lines().filter(|line| line.starts_with(name) && line.contains('{'));
            of_shards.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).reduce(f64::max)
        };
        Some(MessageCommits {
            p50: slowest("ringmq_message_commit_p50_us")?,
            p99: slowest("ringmq_message_commit_p99_us")?,
        })
    }

    /// Stops both cleanly. A shard that has failed meanwhile fails the run.
    pub fn stop(self) -> Result<(), Failure> {
        let ended = self.broker.stop();
        self.namesrv.stop();
        let failed = ended.iter().find(|(_, end)| matches!(end, ringmq_broker::net::driver::Ended::Failed(_)));
        match failed {
            Some((shard, end)) => Err(Failure::failed(format!("shard {shard} failed: {end:?}"))),
            None => Ok(()),
        }
    }
}

/// What the operations port says.
fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, OPERATIONS_TIMEOUT)?;
    stream.set_read_timeout(Some(OPERATIONS_TIMEOUT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn config(plan: &EmbeddedPlan, directory: &DataDirectory, namesrv: SocketAddr, listen: SocketAddr) -> Config {
    let default = Config::default();
    Config {
        name: "loadgen".into(),
        namesrv: vec![namesrv.to_string()],
        listen,
        ops: Some(listen),
        data: directory.path().to_owned(),
        shards: Some(plan.shards),
        cores: plan.cores.clone(),
        flush: match plan.flush {
            cli::Flush::Sync => Flush::Sync,
            cli::Flush::Async => Flush::Async,
        },
        data_plane: match plan.data_plane {
            cli::DataPlane::Auto => DataPlane::Auto,
            cli::DataPlane::Ring => DataPlane::Ring,
            cli::DataPlane::Glommio => DataPlane::Glommio,
        },
        hot_tail_bytes: plan.hot_tail_bytes.unwrap_or(default.hot_tail_bytes),
        segment_size_bytes: plan.segment_bytes,
        retention: Retention { age_ms: None, bytes: plan.retention_bytes },
        ..default
    }
}
