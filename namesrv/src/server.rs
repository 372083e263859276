//! The server: accepts connections, lends them the registry, and lets silent brokers expire.
//!
//! Everything runs on the tokio runtime of the caller, one task a connection; a single thread is enough. The registry stands
//! behind one lock that is held for one request at a time and never across an await.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection;
use crate::limits::{BUFFERED_BYTES_MAX, CONNECTION_COUNT_MAX, FRAME_TIME_MAX, IDLE_TIME_MAX};
use crate::registry::{ConnectionId, Gone, Registry};
use crate::stats::{Stats, StatsSnapshot};

/// Connections that wait to be accepted (the kernel's `net.core.somaxconn` bounds it, too). When reached: the client's
/// kernel tries again after a second. All clients reconnect at once when a name server restarts.
const ACCEPT_BACKLOG: u32 = 4_096;

/// How long to pause when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a name server listens and what it bounds. The default is a production server on a free port of the loopback.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How often silent brokers are looked for.
    pub expiry_interval: Duration,
    /// See [`IDLE_TIME_MAX`].
    pub idle_time_max: Duration,
    /// See [`FRAME_TIME_MAX`].
    pub frame_time_max: Duration,
    /// See [`FRAME_SIZE_BYTES_MAX`].
    pub frame_size_bytes_max: usize,
    /// See [`CONNECTION_COUNT_MAX`].
    pub connection_count_max: usize,
    /// See [`BUFFERED_BYTES_MAX`].
    pub buffered_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            expiry_interval: Duration::from_secs(5),
            idle_time_max: IDLE_TIME_MAX,
            frame_time_max: FRAME_TIME_MAX,
            frame_size_bytes_max: FRAME_SIZE_BYTES_MAX,
            connection_count_max: CONNECTION_COUNT_MAX,
            buffered_bytes_max: BUFFERED_BYTES_MAX,
        }
    }
}

/// A name server that listens. It answers while [`Server::run`] runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens. Fails when the address is taken or is none of this machine.
    pub async fn bind(config: Config) -> io::Result<Self> {
        let socket = if config.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted server may listen again at once; a second server still cannot.
        socket.set_reuseaddr(true)?;
        socket.bind(config.listen)?;
        let listener = socket.listen(ACCEPT_BACKLOG)?;
        let local_addr = listener.local_addr()?;
        Ok(Self { listener, local_addr, shared: Arc::new(Shared::new(config)) })
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A view of the counters that stays valid while the server runs.
    pub fn stats(&self) -> StatsHandle {
        StatsHandle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown` is there; then listener and connections are closed. Nothing is lost by that: brokers register
    /// again with whoever listens here next.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = JoinSet::new();
        let mut expiry = tokio::time::interval_at(
            Instant::now() + self.shared.config.expiry_interval,
            self.shared.config.expiry_interval,
        );
        let mut last_id = 0;
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        last_id += 1;
                        self.admit(stream, ConnectionId(last_id), &mut connections);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        self.shared.stats.panics.add_one();
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
                _ = expiry.tick() => self.shared.expire(),
            }
        }
    }

    fn admit(&self, stream: TcpStream, id: ConnectionId, connections: &mut JoinSet<()>) {
        let stats = &self.shared.stats;
        stats.accepted.add_one();
        if stats.connections.load(Ordering::Relaxed) >= self.shared.config.connection_count_max {
            stats.refused_full.add_one();
            return;
        }
        stats.connections.fetch_add(1, Ordering::Relaxed);
        // Answers are small and awaited: without this, one of them may wait for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        connections.spawn(connection::serve(stream, id, Arc::clone(&self.shared)));
    }
}

/// A view of a server's counters.
#[derive(Clone, Debug)]
pub struct StatsHandle {
    shared: Arc<Shared>,
}

impl StatsHandle {
    /// The counters now.
    pub fn snapshot(&self) -> StatsSnapshot {
        self.shared.stats.snapshot()
    }
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    started: Instant,
    registry: Mutex<Registry>,
}

impl Shared {
    fn new(config: Config) -> Self {
        Self { config, stats: Stats::default(), started: Instant::now(), registry: Mutex::new(Registry::new()) }
    }

    /// Time since the server was made, in ms.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The registry, for one request. After a panic inside it, the next request takes it as it is: a route may be missing
    /// until its broker registers again, which all clients can bear.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the part of the buffers that one connection has from `from` to `to` bytes, when that is allowed.
    pub(crate) fn resize_buffers(&self, from: usize, to: usize) -> Result<(), ()> {
        let buffered = &self.stats.buffered_bytes;
        if to <= from {
            buffered.fetch_sub(from - to, Ordering::Relaxed);
            return Ok(());
        }
        let sum = buffered.fetch_add(to - from, Ordering::Relaxed) + (to - from);
        if sum > self.config.buffered_bytes_max {
            buffered.fetch_sub(to - from, Ordering::Relaxed);
            return Err(());
        }
        Ok(())
    }

    /// Takes back what a connection held.
    pub(crate) fn connection_closed(&self, id: ConnectionId, bytes: usize) {
        self.stats.connections.fetch_sub(1, Ordering::Relaxed);
        self.stats.buffered_bytes.fetch_sub(bytes, Ordering::Relaxed);
        log_gone(&self.registry().connection_closed(id), "its connection closed");
    }

    fn expire(&self) {
        let now_ms = self.now_ms();
        log_gone(&self.registry().expire(now_ms), "it fell silent");
    }
}

fn log_gone(gone: &[Gone], why: &str) {
    for Gone { broker_name: name, broker_id: id, broker_addr: addr } in gone {
        tracing::warn!(name, addr, id, why, "broker forgotten");
    }
}
