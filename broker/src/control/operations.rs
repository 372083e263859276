//! The operations thread: one tokio runtime that hears what shards tell, keeps them registered, brings topics to siblings and
//! serves the operations port.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use ringmq_proto::remoting::registration::DataVersion;
use ringmq_tls::{ClientTls, ServerTls};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::handovers::Handovers;
use super::http::{self, Status};
use super::hub::{Event, Hub};
use super::metrics::Snapshots;
use super::namesrv::{Report, keep_registered};
use super::registered::{Known, Registered};
use super::registration::{Identity, PERM_ALL, Table};
use super::siblings::{Post, Siblings};
use crate::net::clock;
use crate::net::driver::Ended;
use crate::net::plane::Mail;
use crate::shard::io::{ControlInput, ControlOutput, DiskSpace};

/// How long the process waits to be registered before it calls itself ready all the same.
const REGISTRATION_TIME: Duration = Duration::from_secs(3);

/// How long it waits for the name servers to take note of its end.
const UNREGISTRATION_TIME: Duration = Duration::from_secs(1);

/// Between two looks at who has waited too long.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Between two comparisons of the shards' topics.
const COMPARE_INTERVAL: Duration = Duration::from_secs(3);

/// Between two looks at the files of TLS.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at how full the disk is.
const DISK_INTERVAL: Duration = Duration::from_secs(10);

/// What the thread needs to know.
pub struct OperationsPlan {
    /// The shards, in order.
    pub identities: Vec<Identity>,
    /// Name servers, `host:port`.
    pub name_servers: Vec<String>,
    /// How name servers are spoken to; none: without TLS.
    pub name_server_tls: Option<ClientTls>,
    /// The operations port, bound.
    pub listener: Option<TcpListener>,
    /// What is shown to clients of TLS, to be read again when it changes.
    pub tls: Option<Arc<ServerTls>>,
    /// One failed shard is the end of the process.
    pub exit_on_failed_shard: bool,
    /// Where the shards' files lie; none: nobody is told how full the disk is.
    pub data: Option<PathBuf>,
}

/// The thread.
pub struct Operations {
    thread: JoinHandle<()>,
    stop: Stopper,
    ready: std::sync::mpsc::Receiver<()>,
}

/// Asks for a clean stop of the process's shards, from any thread, any number of times.
#[derive(Clone)]
pub struct Stopper {
    wanted: Arc<watch::Sender<bool>>,
}

impl Stopper {
    /// Name servers are told first, then each shard is asked to stop. The thread ends with the last of them.
    pub fn stop(&self) {
        self.wanted.send_replace(true);
    }
}

impl Operations {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread or runtime to be had.
    pub fn start(plan: OperationsPlan, hub: Arc<Hub>, events: UnboundedReceiver<Event>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (ready_to, ready) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("operations".into()).spawn(move || {
            runtime.block_on(Thread::new(plan, hub, ready_to).run(events, stopped));
        })?;
        Ok(Self { thread, stop: Stopper { wanted: Arc::new(stop) }, ready })
    }

    /// Waits until every shard is registered with every name server, or three seconds.
    pub fn wait_until_ready(&self) {
        if self.ready.recv_timeout(REGISTRATION_TIME * 2).is_err() {
            tracing::warn!("the operations thread does not answer");
        }
    }

    /// What stops the shards.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Waits for the end of the thread, which comes with the end of the last shard.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the operations thread has panicked");
        }
    }
}

struct Thread {
    plan: OperationsPlan,
    hub: Arc<Hub>,
    status: Arc<Status>,
    siblings: Siblings,
    handovers: Handovers,
    tables: Vec<watch::Sender<Option<Arc<Table>>>>,
    versions: Vec<DataVersion>,
    reported: Vec<bool>,
    ended: Vec<bool>,
    stopping: bool,
    tasks: JoinSet<()>,
    registrations_due: usize,
    registered: Registered,
    told: UnboundedSender<Known>,
    told_heard: UnboundedReceiver<Known>,
    ready: Option<std::sync::mpsc::Sender<()>>,
}

impl Thread {
    fn new(plan: OperationsPlan, hub: Arc<Hub>, ready: std::sync::mpsc::Sender<()>) -> Self {
        let count = plan.identities.len();
        let (told, told_heard) = mpsc::unbounded_channel();
        let status = Status {
            snapshots: Snapshots::default(),
            ready: AtomicBool::new(false),
            failed: Mutex::default(),
            hub: Arc::clone(&hub),
        };
        Self {
            siblings: Siblings::new(plan.identities.iter().map(|identity| identity.name.clone())),
            handovers: Handovers::new(count),
            status: Arc::new(status),
            hub,
            tables: (0..count).map(|_| watch::channel(None).0).collect(),
            versions: vec![DataVersion::default(); count],
            reported: vec![false; count],
            ended: vec![false; count],
            stopping: false,
            tasks: JoinSet::new(),
            registrations_due: count * plan.name_servers.len(),
            registered: Registered::new(count, plan.name_servers.len()),
            told,
            told_heard,
            ready: Some(ready),
            plan,
        }
    }

    async fn run(mut self, mut events: UnboundedReceiver<Event>, mut stopped: watch::Receiver<bool>) {
        if let Some(listener) = self.plan.listener.take() {
            let status = Arc::clone(&self.status);
            tokio::spawn(async move {
                if let Err(error) = http::serve(listener, status).await {
                    tracing::error!(%error, "the operations port is closed");
                }
            });
        }
        for shard in 0..self.plan.identities.len() {
            self.hub.post(shard, Mail::Control(ControlInput::ReportTopics));
        }
        let deadline = Instant::now() + REGISTRATION_TIME;
        let mut watching = interval(WATCH_INTERVAL);
        let mut certificates = interval(CERTIFICATE_INTERVAL);
        certificates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut disks = interval(DISK_INTERVAL);
        disks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparing = interval(COMPARE_INTERVAL);
        comparing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.registrations_due == 0 || Instant::now() >= deadline {
                self.call_ready();
            }
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => break,
                },
                Some(told) = self.told_heard.recv() => self.on_told(told),
                _ = watching.tick() => {
                    let posts = self.siblings.answer(now_ms());
                    self.deliver(posts);
                    let posts = self.registered.answer(now_ms());
                    self.deliver(posts);
                    let posts = self.handovers.answer(now_ms());
                    self.deliver(posts);
                }
                _ = comparing.tick() => {
                    let posts = self.siblings.compare();
                    self.deliver(posts);
                }
                _ = disks.tick() => self.tell_disk_space(),
                _ = certificates.tick() => if let Some(tls) = &self.plan.tls {
                    tls.reload_and_tell();
                },
                _ = stopped.wait_for(|stopped| *stopped), if !self.stopping => self.stop().await,
            }
            if self.ended.iter().all(|ended| *ended) {
                self.unregister().await;
                return;
            }
        }
    }

    fn tell_disk_space(&self) {
        let Some(status) = self.plan.data.as_ref().and_then(|data| rustix::fs::statvfs(data).ok()) else { return };
        let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
        let space = DiskSpace {
            total_bytes: bytes(status.f_blocks),
            used_bytes: bytes(status.f_blocks.saturating_sub(status.f_bfree)),
            free_bytes: bytes(status.f_bavail),
        };
        for shard in 0..self.ended.len() {
            self.hub.post(shard, Mail::Control(ControlInput::DiskSpace(space)));
        }
    }

    async fn stop(&mut self) {
        self.stopping = true;
        self.unregister().await;
        for shard in 0..self.ended.len() {
            self.hub.post(shard, Mail::Stop);
        }
    }

    fn call_ready(&mut self) {
        let Some(ready) = self.ready.take() else { return };
        if self.registrations_due > 0 {
            tracing::warn!(missing = self.registrations_due, "not every name server knows every shard yet");
        }
        self.status.ready.store(true, Ordering::Release);
        if ready.send(()).is_err() {
            tracing::trace!("nobody waits for the process to be ready");
        }
    }

    async fn unregister(&mut self) {
        self.status.ready.store(false, Ordering::Release);
        for table in &self.tables {
            table.send_replace(None);
        }
        let deadline = Instant::now() + UNREGISTRATION_TIME;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
    }

    fn deliver(&self, posts: Vec<Post>) {
        for Post { to, input } in posts {
            self.hub.post(to, Mail::Control(input));
        }
    }

    fn on_told(&mut self, told: Known) {
        if self.registered.told(told) {
            self.registrations_due = self.registrations_due.saturating_sub(1);
        }
        let posts = self.registered.answer(now_ms());
        self.deliver(posts);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Published { shard, snapshot } => {
                self.status.snapshots.set(&self.plan.identities[shard].name, *snapshot);
            }
            Event::Ended { shard, ended } => self.on_ended(shard, ended),
            Event::Control { shard, message } => self.on_control(shard, message),
        }
    }

    fn on_control(&mut self, shard: usize, message: ControlOutput) {
        match message {
            ControlOutput::Topics(notices) => {
                let changed = self.siblings.topics(shard, notices);
                if changed || !self.reported[shard] {
                    self.tell_name_servers(shard);
                }
            }
            ControlOutput::Permission(perm) => {
                self.plan.identities[shard].perm = i32::try_from(perm).unwrap_or(PERM_ALL);
                self.tell_name_servers(shard);
            }
            ControlOutput::TopicForSiblings { notice, ticket } => {
                let posts = self.siblings.offer(now_ms(), shard, &notice, ticket);
                self.tell_name_servers(shard);
                self.deliver(posts);
            }
            ControlOutput::WhenRegistered { topic, ticket } => {
                let versions = self.versions.iter().map(|version| version.counter).collect();
                self.registered.wait(now_ms(), (shard, topic, ticket), versions);
                let posts = self.registered.answer(now_ms());
                self.deliver(posts);
            }
            ControlOutput::ReplyForSiblings { ticket, reply } => {
                let posts = self.handovers.offer(now_ms(), (shard, ticket), &reply);
                self.deliver(posts);
            }
            ControlOutput::SiblingReplyDone { from, ticket, pushed } => {
                let posts = self.handovers.done(now_ms(), shard, (from, ticket), pushed);
                self.deliver(posts);
            }
            ControlOutput::SiblingTopicDone { topic, version, failure } => {
                if let Some(failure) = &failure {
                    let name = &self.plan.identities[shard].name;
                    tracing::warn!(shard = name, topic, version, failure, "a topic of a sibling was not taken");
                }
                let posts = self.siblings.done(now_ms(), shard, &topic, version, failure.as_deref());
                self.deliver(posts);
            }
        }
    }

    /// A new table under a new version; the first one starts the shard's registrations.
    fn tell_name_servers(&mut self, shard: usize) {
        if self.ended[shard] || self.stopping {
            return;
        }
        let version = &mut self.versions[shard];
        version.counter += 1;
        version.timestamp = i64::try_from(clock::now().wall_ms).unwrap_or(i64::MAX);
        let identity = &self.plan.identities[shard];
        let table = Table::new(identity, *version, self.siblings.topics_of(shard));
        self.tables[shard].send_replace(Some(Arc::new(table)));
        if std::mem::replace(&mut self.reported[shard], true) {
            return;
        }
        let identity = Arc::new(identity.clone());
        for (index, server) in self.plan.name_servers.iter().enumerate() {
            let (identity, table) = (Arc::clone(&identity), self.tables[shard].subscribe());
            let report = Report { shard, server: index, to: self.told.clone() };
            let (server, tls) = (server.clone(), self.plan.name_server_tls.clone());
            self.tasks.spawn(keep_registered(identity, server, tls, table, report));
        }
    }

    fn on_ended(&mut self, shard: usize, ended: Ended) {
        let name = self.plan.identities[shard].name.clone();
        self.ended[shard] = true;
        self.tables[shard].send_replace(None);
        let posts = self.siblings.ended(now_ms(), shard);
        self.deliver(posts);
        let posts = self.handovers.ended(now_ms(), shard);
        self.deliver(posts);
        if let Ended::Failed(fatal) = ended {
            self.status.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(name, fatal.0);
            if self.plan.exit_on_failed_shard {
                for other in 0..self.ended.len() {
                    self.hub.post(other, Mail::Stop);
                }
            }
        }
    }
}

fn now_ms() -> u64 {
    clock::now().boot_ns / 1_000_000
}
