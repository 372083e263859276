//! Keeps one shard registered with one name server: at once, with every change, and every three seconds; unregisters at the
//! end. A connection of its own for each, because a name server forgets a broker with the connection it came by.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::registration::{RegisterBroker, UnregisterBroker};
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code, route, split_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::registration::{Identity, Table};

/// Between two registrations.
const BEAT: Duration = Duration::from_secs(3);

/// How long a registration counts without another, in milliseconds; name servers before 5.x wait two minutes.
const HEARTBEAT_TIMEOUT_MS: i64 = 10_000;

/// Between two registrations that a change of topics asks for.
const CHANGE_REST: Duration = Duration::from_millis(20);

/// For connecting, and for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Before a name server that was not there is tried again.
const RETRY_REST: Duration = Duration::from_millis(500);

/// Bytes of an answer. When reached: the connection is given up.
const ANSWER_SIZE_BYTES_MAX: usize = FRAME_SIZE_BYTES_MAX;

/// Runs until the table is `None`; tells `registered` after each first registration on a connection.
pub async fn keep_registered(
    identity: Arc<Identity>,
    server: String,
    mut table: watch::Receiver<Option<Arc<Table>>>,
    registered: mpsc::UnboundedSender<()>,
) {
    let mut complained = false;
    loop {
        match serve_connection(&identity, &server, &mut table, &registered).await {
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
    table: &mut watch::Receiver<Option<Arc<Table>>>,
    registered: &mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    let stream = in_time(TcpStream::connect(server)).await?;
    let mut connection = Connection { stream, opaque: 0, buffer: Vec::new() };
    connection.stream.set_nodelay(true)?;
    let mut first = true;
    loop {
        let Some(current) = table.borrow_and_update().clone() else {
            return connection.unregister(identity).await;
        };
        connection.register(identity, &current).await?;
        if std::mem::take(&mut first) {
            tracing::info!(broker = identity.name, address = identity.address, name_server = server, "registered");
            if registered.send(()).is_err() {
                tracing::trace!("nobody waits for the registration any more");
            }
        }
        tokio::select! {
            () = sleep(BEAT) => {}
            changed = table.changed() => {
                if changed.is_err() {
                    return connection.unregister(identity).await;
                }
                if table.borrow().is_some() {
                    sleep(CHANGE_REST).await;
                }
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    opaque: i32,
    buffer: Vec<u8>,
}

impl Connection {
    async fn register(&mut self, identity: &Identity, table: &Table) -> io::Result<()> {
        let replication_address = identity.replication_address();
        let header = RegisterBroker {
            broker_name: &identity.name,
            broker_addr: &identity.address,
            cluster_name: &identity.cluster,
            ha_server_addr: &replication_address,
            broker_id: route::MASTER_ID,
            heartbeat_timeout_millis: Some(HEARTBEAT_TIMEOUT_MS),
            enable_acting_master: None,
            compressed: Some(table.compressed),
            body_crc32: Some(table.checksum),
            whole_table: Some(true),
        };
        let opaque = self.next();
        self.ask(Header::request(request_code::REGISTER_BROKER, opaque).with_ext(&header), &table.body).await
    }

    async fn unregister(&mut self, identity: &Identity) -> io::Result<()> {
        let header = UnregisterBroker {
            broker_name: &identity.name,
            broker_addr: &identity.address,
            cluster_name: &identity.cluster,
            broker_id: route::MASTER_ID,
        };
        let opaque = self.next();
        self.ask(Header::request(request_code::UNREGISTER_BROKER, opaque).with_ext(&header), &[]).await
    }

    fn next(&mut self) -> i32 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }

    async fn ask(&mut self, header: Header<'_>, body: &[u8]) -> io::Result<()> {
        let opaque = header.opaque;
        let mut request = Vec::new();
        encode_frame(&mut request, SerializeType::Json, &header, body);
        in_time(self.stream.write_all(&request)).await?;
        in_time(self.answer(opaque)).await
    }

    /// Reads until the answer to `opaque`; what else the name server may say is passed over.
    async fn answer(&mut self, opaque: i32) -> io::Result<()> {
        loop {
            while let Some((frame, size)) =
                split_frame(&self.buffer, ANSWER_SIZE_BYTES_MAX).map_err(io::Error::other)?
            {
                let header = frame.decode_header().map_err(io::Error::other)?;
                let result = (header.is_response() && header.opaque == opaque).then(|| match header.response_code() {
                    Code::SUCCESS => Ok(()),
                    code => {
                        let remark = header.remark.as_deref().unwrap_or_default();
                        Err(io::Error::other(format!("the name server answers {code:?}: {remark}")))
                    }
                });
                self.buffer.drain(..size);
                if let Some(result) = result {
                    return result;
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIME, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
