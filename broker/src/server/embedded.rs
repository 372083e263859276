//! A whole broker process inside another one: the binary's own main, and the load generator's cluster.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::RecvError;
use std::time::Duration;

use ringmq_proto::message::Host;
use ringmq_proto::remoting::topics;
use ringmq_tls::{ClientTls, ServerTls};

use super::config::{Config, DataPlane, Flush};
use super::error::StartError;
use super::executor::{self, Executor, ExecutorPlan, ShardPlan, random};
use super::machine;
use crate::control::hub::Hub;
use crate::control::operations::{Operations, OperationsPlan, Stopper};
use crate::control::registration::{Identity, PERM_ALL};
use crate::disk::probe;
use crate::disk::ring::RingOptions;
use crate::net::driver::Ended;
use crate::net::listen::{VIP_PORT_DISTANCE, listen};
use crate::net::plane::{Mail, Receiving};
use crate::shard::limits::Limits;
use crate::shard::settings::{Settings, SystemTopic};
use crate::store::{FlushMode, Retention, StoreOptions};

/// How long the advertised address is given to answer.
const REACH_TIME: Duration = Duration::from_millis(500);

/// Where a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardAddress {
    /// Its broker name.
    pub name: String,
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    /// What clients are told.
    pub advertised: Host,
}

/// A running broker.
pub struct Embedded {
    shards: Vec<ShardAddress>,
    operations_address: Option<SocketAddr>,
    executors: Vec<Executor>,
    operations: Operations,
    hub: Arc<Hub>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts a broker: returns when all shards are recovered, bound and registered (or three seconds were waited for
    /// that).
    ///
    /// # Errors
    /// In one sentence, with nothing left running.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        probe::check_io_uring()?;
        machine::raise_descriptor_limit();
        let helper_cores = machine::check_cores(config, &machine::allowed_cores()?)?;
        let operations_listener = config.ops.map(listen).transpose()?;
        let operations_address = local_address(operations_listener.as_ref())?;
        let shard_count = machine::shard_count(config)?;
        let name_server_tls = config.tls.outgoing()?;
        name_server_tls.as_ref().map(ClientTls::config).transpose()?;
        let tls = ServerTls::open(&config.tls, Some(&config.tls_home()), &tls_names(config))?;
        let mut shards = Vec::new();
        let mut plans = Vec::new();
        for index in 0..shard_count {
            let listeners = listeners(config, index)?;
            let address = local_address(listeners.first())?.expect("a shard listens");
            let advertised = machine::advertised(config, index, address)?;
            let plan = shard_plan(config, index, shard_count, listeners, advertised, operations_address)?;
            plans.push(ShardPlan { tls: tls.clone(), ..plan });
            shards.push(ShardAddress { name: config.shard_name(index), address, advertised });
        }
        warn_if_open(config);
        let (hub, events) = Hub::new(shards.len());
        let executors = start_executors(config, plans, &helper_cores, &hub)?;
        let plan = OperationsPlan {
            identities: shards.iter().map(|shard| identity(config, shard, shard_count)).collect(),
            name_servers: config.namesrv.clone(),
            name_server_tls,
            tls,
            listener: operations_listener,
            exit_on_failed_shard: config.exit_on_failed_shard,
            data: Some(config.data.clone()),
        };
        let operations = Operations::start(plan, Arc::clone(&hub), events)
            .map_err(StartError::io("starting the operations thread"))?;
        for executor in &executors {
            if executor.go.send(()).is_err() {
                tracing::error!("an executor ended before it served");
            }
        }
        operations.wait_until_ready();
        if config.advertise.is_some() {
            shards.iter().for_each(warn_if_unreachable);
        }
        Ok(Self { shards, operations_address, executors, operations, hub })
    }

    /// The shards, in order.
    pub fn shards(&self) -> &[ShardAddress] {
        &self.shards
    }

    /// Where the operations port is, with its real number.
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations_address
    }

    /// What stops it from another thread while somebody waits.
    pub fn stopper(&self) -> Stopper {
        self.operations.stopper()
    }

    /// Waits until every shard has ended, and says how each did.
    pub fn wait(self) -> Vec<(String, Ended)> {
        let mut all = Vec::new();
        for executor in self.executors {
            // A thread catches its own panics; one that could not has no shards to speak for.
            all.extend(executor.thread.join().unwrap_or_default());
        }
        self.operations.join();
        all
    }

    /// Stops cleanly: unregistered, everything acknowledged or refused, files closed.
    pub fn stop(self) -> Vec<(String, Ended)> {
        self.stopper().stop();
        self.wait()
    }

    /// Ends at once, as if the process had been killed: no last commit, no clean mark, nothing unregistered first.
    pub fn kill(self) -> Vec<(String, Ended)> {
        for shard in 0..self.shards.len() {
            self.hub.post(shard, Mail::Kill);
        }
        self.wait()
    }
}

fn start_executors(
    config: &Config,
    plans: Vec<ShardPlan>,
    helper_cores: &[usize],
    hub: &Arc<Hub>,
) -> Result<Vec<Executor>, StartError> {
    let executor_count = if config.cores.is_empty() { plans.len() } else { config.cores.len().min(plans.len()) };
    let ring = RingOptions { helper_cores: helper_cores.to_vec(), flush: config.flush_method };
    let receiving = match config.data_plane {
        // Less than half of the processor time per frame at 128 connections, and never more (examples/durable_echo).
        DataPlane::Auto | DataPlane::Ring => Receiving::Ring,
        DataPlane::Glommio => Receiving::Glommio,
    };
    let mut executors: Vec<ExecutorPlan> = (0..executor_count)
        .map(|index| ExecutorPlan {
            receiving,
            core: config.cores.get(index).copied(),
            ring: ring.clone(),
            shards: Vec::new(),
        })
        .collect();
    for (index, plan) in plans.into_iter().enumerate() {
        executors[index % executor_count].shards.push(plan);
    }
    let executors: Vec<Executor> =
        executors.into_iter().map(|plan| executor::spawn(plan, Arc::clone(hub))).collect::<Result<_, _>>()?;
    let recovered = executors.iter().map(|executor| match executor.recovered.recv() {
        Ok(result) => result,
        Err(RecvError) => Err(StartError::Executor("it panicked".into())),
    });
    match recovered.collect::<Result<Vec<()>, _>>() {
        Ok(_) => Ok(executors),
        Err(error) => {
            // Those that are recovered end when nobody lets them serve; their directories are free when they are joined.
            for Executor { thread, go, recovered } in executors {
                drop((go, recovered));
                if thread.join().is_err() {
                    tracing::error!("an executor of a failed start has panicked");
                }
            }
            Err(error)
        }
    }
}

/// For whom a certificate of the broker's own making is.
fn tls_names(config: &Config) -> Vec<String> {
    let advertised =
        config.advertise.as_deref().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned());
    ["localhost".to_owned(), config.listen.ip().to_string()].into_iter().chain(advertised).collect()
}

/// The shard's own port, and the one that old clients use.
fn listeners(config: &Config, shard: u32) -> Result<Vec<TcpListener>, StartError> {
    let address = config.shard_listen(shard).map_err(StartError::Config)?;
    let mut listeners = vec![listen(address)?];
    if let Some(vip) = address.port().checked_sub(VIP_PORT_DISTANCE).filter(|vip| *vip > 0) {
        match listen(SocketAddr::new(address.ip(), vip)) {
            Ok(listener) => listeners.push(listener),
            Err(error) => tracing::warn!(%error, "clients up to 4.4 that use the VIP channel will not find this shard"),
        }
    }
    Ok(listeners)
}

fn local_address(listener: Option<&TcpListener>) -> Result<Option<SocketAddr>, StartError> {
    listener.map(|listener| listener.local_addr().map_err(StartError::io("asking for a port"))).transpose()
}

fn shard_plan(
    config: &Config,
    index: u32,
    shard_count: u32,
    listeners: Vec<TcpListener>,
    advertised: Host,
    operations: Option<SocketAddr>,
) -> Result<ShardPlan, StartError> {
    let memory = |bytes: u64| usize::try_from(bytes).map_err(|_| StartError::Config("a size exceeds memory".into()));
    #[expect(clippy::cast_possible_truncation, reason = "64 random bits are enough for a seed")]
    let hash_seed = random()? as u64;
    let store = StoreOptions {
        cluster: config.cluster.clone(),
        broker_name: config.shard_name(index),
        shard_index: index,
        segment_size_bytes: config.segment_size_bytes,
        hot_tail_bytes: memory(config.hot_tail_bytes)?,
        cache_bytes: memory(config.cache_bytes)?,
        flush: match config.flush {
            Flush::Sync => FlushMode::Sync,
            Flush::Async => FlushMode::Async,
        },
        retention: Retention { bytes: config.retention.bytes, age_ms: config.retention.age_ms },
        advertised,
        hash_seed,
        ..StoreOptions::default()
    };
    let settings = Settings {
        broker_name: config.shard_name(index),
        operations_address: operations.map(|address| address.to_string()),
        auto_create_topics: config.auto_create_topics,
        topic_queue_count_default: config.topic_queue_count_default,
        sibling_count: shard_count - 1,
        awaits_registration: !config.namesrv.is_empty(),
        told: tls_settings(config),
        features: config.features.clone(),
        system_topics: system_topics(config),
        hash_seed,
        limits: Limits { connection_count_max: config.connection_count_max, ..Limits::default() },
        ..Settings::default()
    };
    let directory = config.shard_directory(index);
    Ok(ShardPlan { index, directory, listeners, store, alignment_bytes: config.alignment_bytes, settings, tls: None })
}

/// What administrators are told of TLS: what was chosen, but nothing of keys.
fn tls_settings(config: &Config) -> Vec<(&'static str, String)> {
    let is_told = |name: &&str| !name.contains(".key");
    let names = ringmq_tls::settings::NAMES.into_iter().filter(is_told);
    names.map(|name| (name, config.tls.show(name))).filter(|(_, value)| !value.is_empty()).collect()
}

/// Topics that messages of the broker's own features lie in. RocketMQ's names, so that its tools see them.
fn system_topics(config: &Config) -> Vec<SystemTopic> {
    let reply = format!("{}_REPLY_TOPIC", config.cluster);
    let delay_levels = u32::from(config.features.delay_levels.count()).max(18);
    let own = [
        (topics::DELAYED, delay_levels),
        (topics::TIMED, 1),
        (topics::HALVES, 1),
        (topics::HALVES_ENDED, 1),
        (topics::HALVES_GIVEN_UP, 1),
        (topics::OFFSET_MOVED, 1),
        (&reply, 1),
    ];
    let own = own.into_iter().chain(config.trace_topic.then_some((topics::TRACE, 1)));
    own.map(|(name, queue_count)| SystemTopic { name: name.to_owned(), queue_count }).collect()
}

fn identity(config: &Config, shard: &ShardAddress, shard_count: u32) -> Identity {
    let per_shard = (config.topic_queue_count_default / shard_count).max(1);
    Identity {
        name: shard.name.clone(),
        cluster: config.cluster.clone(),
        address: shard.advertised.to_string(),
        default_topic_queue_count: config.auto_create_topics.then_some(per_shard),
        shard_count,
        perm: PERM_ALL,
    }
}

/// Behind some kinds of NAT a host cannot reach itself by its outer address: a warning, not an error.
fn warn_if_unreachable(shard: &ShardAddress) {
    let reached = shard.advertised.socket_addr().map(|address| TcpStream::connect_timeout(&address, REACH_TIME));
    if let Some(Err(error)) = reached {
        tracing::warn!(
            shard = shard.name,
            advertised = %shard.advertised,
            %error,
            "clients are told an address that this host cannot reach itself: check --advertise"
        );
    }
}

fn warn_if_open(config: &Config) {
    for address in [Some(config.listen), config.ops].into_iter().flatten() {
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "reachable from other hosts, and there is no access control: whoever reaches it may read and write");
        }
    }
}
