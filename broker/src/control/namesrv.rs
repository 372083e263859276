//! Keeps one shard registered with one name server, RingMQ's or Apache's; unregisters at the end.
//!
//! 1. At once, with every change, and every 30 s: the whole table of topics (103).
//! 2. Every 3 s in between: only its version (322), which is a sign of life as well. A name server that has another one, or
//!    does not know the code, gets the table.
//! 3. After a deletion: RingMQ's name servers forget what is not in a whole table. Apache's never do: there a deleted topic is
//!    registered without queues, so that no client uses it here, and when no other broker has queues of it either, it is deleted
//!    (216). Two brokers that delete it at the same time both see that, or the later one does.
//!
//! A connection of its own for each shard and name server, because a name server forgets a broker with the connection it came
//! by, and because a dead one must not delay the others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::namesrv::{CHANGED, DeleteTopicInNamesrv, QueryDataVersion};
use ringmq_proto::remoting::registration::{RegisterBroker, RegisterReply, UnregisterBroker};
use ringmq_proto::remoting::route::{self, GetRoute, TopicRoute};
use ringmq_proto::remoting::{
    ExtHeader, Header, SerializeType, encode_frame, lenient, request_code as code, split_frame,
};
use ringmq_tls::{ClientStream, ClientTls};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::registered::Known;
use super::registration::{Identity, Part, Table};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(3);

/// Between two registrations of the whole table without a change: a name server may have lost a topic to another broker's
/// deletion. As often as RocketMQ's brokers do it.
const FULL_INTERVAL: Duration = Duration::from_secs(30);

/// How long a registration counts without another, in milliseconds; name servers before 5.x wait two minutes.
const HEARTBEAT_TIMEOUT_MS: i64 = 10_000;

/// Between two registrations that a change of topics asks for. RocketMQ's consumers look for their retry topic 10 ms after their
/// start, when their heartbeat has just made it, and then not for half a minute: where many topics are made, each must still be
/// known by then.
const CHANGE_REST: Duration = Duration::from_millis(4);

/// For connecting, and for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Before a name server that was not there is tried again.
const RETRY_REST: Duration = Duration::from_millis(500);

/// Bytes of an answer. When reached: the connection is given up.
const ANSWER_SIZE_BYTES_MAX: usize = FRAME_SIZE_BYTES_MAX;

/// Where it is told what a name server knows of a shard.
pub struct Report {
    /// Index of the shard.
    pub shard: usize,
    /// Index of the name server.
    pub server: usize,
    /// Who is told.
    pub to: mpsc::UnboundedSender<Known>,
}

impl Report {
    fn tell(&self, version: Option<i64>) {
        if self.to.send(Known { shard: self.shard, server: self.server, version }).is_err() {
            tracing::trace!("nobody asks for registrations any more");
        }
    }
}

/// Runs until the table is `None`; reports each registration, and the end of each connection.
pub async fn keep_registered(
    identity: Arc<Identity>,
    server: String,
    tls: Option<ClientTls>,
    mut table: watch::Receiver<Option<Arc<Table>>>,
    report: Report,
) {
    let mut complained = false;
    loop {
        let ended_by = serve_connection(&identity, &server, tls.as_ref(), &mut table, &report).await;
        report.tell(None);
        match ended_by {
            Ok(()) => return,
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(broker = identity.name, name_server = server, %error, "not registered; trying on");
            }
            Err(error) => tracing::debug!(broker = identity.name, name_server = server, %error, "not registered"),
        }
        tokio::select! {
            () = sleep(RETRY_REST) => {}
            () = ended(table.clone()) => return,
        }
    }
}

async fn ended(mut table: watch::Receiver<Option<Arc<Table>>>) {
    // An error means that the operations thread is gone: that is the end, too.
    if table.wait_for(Option::is_none).await.is_err() {
        tracing::trace!("the tables' owner is gone");
    }
}

async fn serve_connection(
    identity: &Identity,
    server: &str,
    tls: Option<&ClientTls>,
    table: &mut watch::Receiver<Option<Arc<Table>>>,
    report: &Report,
) -> io::Result<()> {
    let stream = in_time(TcpStream::connect(server)).await?;
    stream.set_nodelay(true)?;
    // Read anew for each connection: changed certificates need no restart.
    let tls = tls.map(ClientTls::config).transpose()?;
    let stream = in_time(ClientStream::new(stream, server, tls)).await?;
    let mut connection = Connection { identity, stream, opaque: 0, buffer: Vec::new(), told: None };
    let mut first = true;
    loop {
        let Some(current) = table.borrow_and_update().clone() else {
            return connection.unregister().await;
        };
        let version = current.version.counter;
        connection.keep(current).await?;
        report.tell(Some(version));
        if std::mem::take(&mut first) {
            tracing::info!(broker = identity.name, address = identity.address, name_server = server, "registered");
        }
        tokio::select! {
            () = sleep(BEAT) => {}
            changed = table.changed() => {
                if changed.is_err() {
                    return connection.unregister().await;
                }
                if table.borrow().is_some() {
                    sleep(connection.rest()).await;
                }
            }
        }
    }
}

/// What this name server was told over this connection.
struct Told {
    table: Arc<Table>,
    at: Instant,
    /// It knows 322.
    compares: bool,
}

struct Reply {
    header: Header<'static>,
    body: Vec<u8>,
}

struct Connection<'a> {
    identity: &'a Identity,
    stream: ClientStream,
    opaque: i32,
    buffer: Vec<u8>,
    told: Option<Told>,
}

impl Connection<'_> {
    /// How long a change of topics waits for others: those that come one after another are told together.
    fn rest(&self) -> Duration {
        self.told.as_ref().map_or(Duration::ZERO, |told| CHANGE_REST.saturating_sub(told.at.elapsed()))
    }

    /// One beat: the name server knows that the shard lives, and has this table.
    async fn keep(&mut self, table: Arc<Table>) -> io::Result<()> {
        let Some(told) = &self.told else {
            self.register(&table).await?;
            self.told = Some(Told { table, at: Instant::now(), compares: true });
            return Ok(());
        };
        let (before, mut compares) = (Arc::clone(&told.table), told.compares);
        let is_same = before.version == table.version;
        if is_same && compares && told.at.elapsed() < FULL_INTERVAL {
            match self.has_version(&table).await? {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => compares = false,
            }
        }
        let gone = table.gone_since(&before);
        let forgets = self.register(&table).await?;
        if !gone.is_empty() && !forgets {
            self.delete(&table, &gone).await?;
        }
        self.told = Some(Told { table, at: Instant::now(), compares });
        Ok(())
    }

    /// Registers all parts of a table; whether the name server has forgotten the topics that are not in it.
    async fn register(&mut self, table: &Table) -> io::Result<bool> {
        let whole = (table.parts.len() == 1).then_some(true);
        let mut forgets = false;
        for part in &table.parts {
            forgets = self.register_part(part, whole).await?;
        }
        Ok(forgets)
    }

    async fn register_part(&mut self, part: &Part, whole_table: Option<bool>) -> io::Result<bool> {
        let replication_address = self.identity.replication_address();
        let header = RegisterBroker {
            broker_name: &self.identity.name,
            broker_addr: &self.identity.address,
            cluster_name: &self.identity.cluster,
            ha_server_addr: &replication_address,
            broker_id: route::MASTER_ID,
            heartbeat_timeout_millis: Some(HEARTBEAT_TIMEOUT_MS),
            enable_acting_master: None,
            compressed: Some(part.compressed),
            body_crc32: Some(part.checksum),
            whole_table,
        };
        let reply = self.ask(code::REGISTER_BROKER, &header, &part.body).await?.successful()?;
        let reply = RegisterReply::decode(&reply.header.ext).map_err(io::Error::other)?;
        Ok(reply.whole_table == Some(true))
    }

    /// Whether the name server has this version of the table; nothing when it does not know the question.
    async fn has_version(&mut self, table: &Table) -> io::Result<Option<bool>> {
        let header = QueryDataVersion {
            broker_name: &self.identity.name,
            broker_addr: &self.identity.address,
            cluster_name: &self.identity.cluster,
            broker_id: route::MASTER_ID,
        };
        let reply = self.ask(code::QUERY_DATA_VERSION, &header, &lenient::encode(&table.version)).await?;
        if reply.header.response_code() == Code::REQUEST_CODE_NOT_SUPPORTED {
            return Ok(None);
        }
        Ok(Some(reply.successful()?.header.ext.get(CHANGED) == Some("false")))
    }

    /// Takes topics out of service, and deletes those that no other broker has.
    async fn delete(&mut self, table: &Table, gone: &[&str]) -> io::Result<()> {
        self.register_part(&table.without_queues(gone), None).await?;
        for topic in gone {
            let header = GetRoute { topic, accept_standard_json_only: Some(true) };
            let reply = self.ask(code::GET_ROUTEINFO_BY_TOPIC, &header, &[]).await?;
            if reply.header.response_code() == Code::TOPIC_NOT_EXIST {
                continue;
            }
            let route = TopicRoute::decode(&reply.successful()?.body).map_err(io::Error::other)?;
            if route.queue_datas.iter().all(|data| data.read_queue_nums == 0 && data.write_queue_nums == 0) {
                let header = DeleteTopicInNamesrv { topic, cluster_name: None };
                self.ask(code::DELETE_TOPIC_IN_NAMESRV, &header, &[]).await?.successful()?;
            }
        }
        // The version of the table is the last that the name server hears.
        self.register(table).await?;
        Ok(())
    }

    async fn unregister(&mut self) -> io::Result<()> {
        let header = UnregisterBroker {
            broker_name: &self.identity.name,
            broker_addr: &self.identity.address,
            cluster_name: &self.identity.cluster,
            broker_id: route::MASTER_ID,
        };
        self.ask(code::UNREGISTER_BROKER, &header, &[]).await?.successful()?;
        Ok(())
    }

    async fn ask<'h>(&mut self, code: i32, typed: &impl ExtHeader<'h>, body: &[u8]) -> io::Result<Reply> {
        self.opaque = self.opaque.wrapping_add(1);
        let opaque = self.opaque;
        let mut request = Vec::new();
        encode_frame(&mut request, SerializeType::Json, &Header::request(code, opaque).with_ext(typed), body);
        in_time(self.stream.write_all(&request)).await?;
        in_time(self.answer(opaque)).await
    }

    /// Reads until the answer to `opaque`; what else the name server may say is passed over.
    async fn answer(&mut self, opaque: i32) -> io::Result<Reply> {
        loop {
            while let Some((frame, size)) =
                split_frame(&self.buffer, ANSWER_SIZE_BYTES_MAX).map_err(io::Error::other)?
            {
                let header = frame.decode_header().map_err(io::Error::other)?;
                let reply = (header.is_response() && header.opaque == opaque)
                    .then(|| Reply { header: header.into_owned(), body: frame.body.to_vec() });
                self.buffer.drain(..size);
                if let Some(reply) = reply {
                    return Ok(reply);
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Reply {
    fn successful(self) -> io::Result<Self> {
        match self.header.response_code() {
            Code::SUCCESS => Ok(self),
            code => {
                let remark = self.header.remark.as_deref().unwrap_or_default();
                Err(io::Error::other(format!("the name server answers {code:?}: {remark}")))
            }
        }
    }
}

async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIME, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
