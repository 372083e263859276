//! The server: accepts connections, lends them the registry, and lets silent brokers expire.
//!
//! Everything runs on the tokio runtime of the caller, one task a connection; a single thread is enough. The state stands
//! behind one lock that is held for one request at a time and never across an await.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::{SerializeType, encode_frame};
use ringmq_tls::limits::HANDSHAKE_MS_MAX;
use ringmq_tls::{Seldom, ServerTls, TlsError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::connection;
use crate::kv::KvConfig;
use crate::kv_file::KvFile;
use crate::limits::{BUFFERED_BYTES_MAX, CONNECTION_COUNT_MAX, FRAME_TIME_MAX, IDLE_TIME_MAX, NOTICE_COUNT_MAX};
use crate::options::Options;
use crate::registry::{ConnectionId, Gone};
use crate::requests;
use crate::state::State;
use crate::stats::{Stats, StatsSnapshot};

/// Connections that wait to be accepted (the kernel's `net.core.somaxconn` bounds it, too). When reached: the client's
/// kernel tries again after a second. All clients reconnect at once when a name server restarts.
const ACCEPT_BACKLOG: u32 = 4_096;

/// How long to pause when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the files of TLS are looked at: a look is three system calls.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(1);

/// How a name server listens and what it bounds. The default is a production server on a free port of the loopback.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the key-value configuration is saved; without a file it ends with the server.
    pub kv_config: Option<PathBuf>,
    /// What administrators may switch while it runs.
    pub options: Options,
    /// Whether and how TLS is spoken.
    pub tls: ringmq_tls::Settings,
    /// The folder of a certificate of the server's own making; without one, each start makes another.
    pub tls_home: Option<PathBuf>,
    /// See [`HANDSHAKE_MS_MAX`].
    pub handshake_time_max: Duration,
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
            kv_config: None,
            options: Options::default(),
            tls: ringmq_tls::Settings::default(),
            tls_home: None,
            handshake_time_max: Duration::from_millis(HANDSHAKE_MS_MAX),
            expiry_interval: Duration::from_secs(5),
            idle_time_max: IDLE_TIME_MAX,
            frame_time_max: FRAME_TIME_MAX,
            frame_size_bytes_max: FRAME_SIZE_BYTES_MAX,
            connection_count_max: CONNECTION_COUNT_MAX,
            buffered_bytes_max: BUFFERED_BYTES_MAX,
        }
    }
}

/// Why a name server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or is none of this machine.
    #[error("cannot listen on {address}; choose another address with --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The saved configuration cannot be read.
    #[error("cannot read {}: mend it or choose another file with --kv-config", path.display())]
    KvConfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates, keys or their settings cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

/// A name server that listens. It answers while [`Server::run`] runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let open =
            |path: &PathBuf| KvFile::open(path).map_err(|source| StartError::KvConfig { path: path.clone(), source });
        let (file, kv) = config.kv_config.as_ref().map(open).transpose()?.unzip();
        let address = config.listen;
        let names = ["localhost".to_owned(), address.ip().to_string()];
        let tls = ServerTls::open(&config.tls, config.tls_home.as_deref(), &names)?;
        let (listener, local_addr) = listen(address).map_err(|source| StartError::Listen { address, source })?;
        let settings = settings(&config, local_addr);
        let state = State { kv: kv.unwrap_or_default(), options: config.options, settings, ..State::default() };
        Ok(Self { listener, local_addr, shared: Arc::new(Shared::new(config, tls, file, state)) })
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
        let mut certificates = tokio::time::interval(CERTIFICATE_INTERVAL);
        certificates.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = certificates.tick() => if let Some(tls) = &self.shared.tls {
                    tls.reload_and_tell();
                },
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
    /// None: it is disabled.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) stats: Stats,
    started: Instant,
    state: Mutex<State>,
    /// Writers of the file take turns.
    kv_file: Option<Arc<tokio::sync::Mutex<KvFile>>>,
    /// Complaints about clients.
    seldom: Mutex<Seldom>,
    /// Connections of brokers, for what they are told unasked.
    notices: Mutex<BTreeMap<ConnectionId, mpsc::Sender<Vec<u8>>>>,
}

impl Shared {
    fn new(config: Config, tls: Option<Arc<ServerTls>>, kv_file: Option<KvFile>, state: State) -> Self {
        Self {
            config,
            tls,
            stats: Stats::default(),
            started: Instant::now(),
            state: Mutex::new(state),
            kv_file: kv_file.map(|file| Arc::new(tokio::sync::Mutex::new(file))),
            seldom: Mutex::default(),
            notices: Mutex::default(),
        }
    }

    /// Time since the server was made, in ms.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether to log a complaint about a client now: then how many were not logged since the last.
    pub(crate) fn complain(&self) -> Option<u64> {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner).say(self.now_ms())
    }

    /// The state, for one request. After a panic inside it, the next request takes it as it is: a route may be missing until
    /// its broker registers again, which all clients can bear.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves the key-value configuration, unless a later change than this one has been saved already.
    pub(crate) async fn save_kv(&self, changes: u64) -> io::Result<()> {
        let Some(file) = &self.kv_file else {
            tracing::warn!("the key-value configuration ends with this process: it has no file (--kv-config)");
            return Ok(());
        };
        let mut file = Arc::clone(file).lock_owned().await;
        if file.has(changes) {
            return Ok(());
        }
        let config: KvConfig = self.state().kv.clone();
        tokio::task::spawn_blocking(move || file.save(&config)).await?
    }

    /// From now on the connection may be told something unasked.
    pub(crate) fn open_notices(&self, id: ConnectionId) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(NOTICE_COUNT_MAX);
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        receiver
    }

    /// Tells brokers that the lowest id of their name has changed. Who cannot take it asks by itself (901), so a full or closed
    /// connection is left alone.
    pub(crate) fn tell_min_ids(&self, state: &mut State) {
        let changes = state.registry.take_min_id_changes();
        if !state.options.notify_min_id || changes.is_empty() {
            return;
        }
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        for (opaque, change) in (0..).zip(&changes) {
            let mut frame = Vec::new();
            encode_frame(&mut frame, SerializeType::Json, &requests::min_id_request(change, opaque), &[]);
            for sender in change.to.iter().filter_map(|id| notices.get(id)) {
                if sender.try_send(frame.clone()).is_err() {
                    tracing::debug!(broker = change.broker_name, "a broker was not told of its lowest id");
                }
            }
        }
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
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let mut state = self.state();
        log_gone(&state.registry.connection_closed(id), "its connection closed");
        self.tell_min_ids(&mut state);
    }

    fn expire(&self) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        log_gone(&state.registry.expire(now_ms), "it fell silent");
        self.tell_min_ids(&mut state);
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server may listen again at once; a second server still cannot.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(ACCEPT_BACKLOG)?;
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// What was chosen at the start, under RocketMQ's names.
fn settings(config: &Config, listen: SocketAddr) -> Vec<(String, String)> {
    let settings = [
        ("bindAddress", listen.ip().to_string()),
        ("listenPort", listen.port().to_string()),
        ("scanNotActiveBrokerInterval", config.expiry_interval.as_millis().to_string()),
        ("serverChannelMaxIdleTimeSeconds", config.idle_time_max.as_secs().to_string()),
        ("tls.server.mode", config.tls.show("tls.server.mode")),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn log_gone(gone: &[Gone], why: &str) {
    for Gone { broker_name: name, broker_id: id, broker_addr: addr } in gone {
        tracing::warn!(name, addr, id, why, "broker forgotten");
    }
}
