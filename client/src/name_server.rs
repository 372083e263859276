//! Asking name servers where topics and brokers are, by remoting (105 and 106), over one connection that is kept.
//!
//! Several addresses are tried in turn, beginning with the one that answered last. A topic that one of them does not know
//! is asked of the others too: a name server that was just restarted knows nothing until the brokers have registered again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::limits::FRAME_SIZE_BYTES_MAX;
use ringmq_proto::remoting::route::{ClusterInfo, GetRoute, TopicRoute};
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code, split_frame};
use ringmq_tls::{ClientStream, ClientTls};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How long one name server has for connecting and answering: RocketMQ's `mqClientApiTimeout`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Free bytes that a read is given at least.
const READ_SIZE_BYTES: usize = 16 << 10;

/// The name servers of a cluster.
#[derive(Debug)]
pub(crate) struct NameServers {
    addresses: Vec<Arc<str>>,
    written: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None: they are spoken to without TLS.
    tls: Option<ClientTls>,
    /// Index of the address that is asked first.
    current: usize,
    /// The connection to it.
    stream: Option<ClientStream>,
    opaque: i32,
}

/// A name server's answer.
struct Answer {
    code: i32,
    remark: String,
    body: Vec<u8>,
}

impl NameServers {
    /// Reads `address;address;…`.
    pub(crate) fn parse(written: &str, tls: Option<ClientTls>) -> Result<Self> {
        let addresses: Vec<Arc<str>> =
            written.split(';').map(str::trim).filter(|address| !address.is_empty()).map(Arc::from).collect();
        let is_address = |address: &Arc<str>| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if addresses.is_empty() || !addresses.iter().all(is_address) {
            return Err(Error::Argument("name servers are written HOST:PORT, several separated by ';'"));
        }
        let state = State { tls, ..State::default() };
        Ok(Self { addresses, written: written.into(), state: Mutex::new(state) })
    }

    /// The first address.
    pub(crate) fn first(&self) -> &str {
        &self.addresses[0]
    }

    /// Where `topic` is.
    pub(crate) async fn route(&self, topic: &str) -> Result<TopicRoute> {
        let fields = GetRoute { topic, accept_standard_json_only: Some(true) };
        let header = Header::request(request_code::GET_ROUTEINFO_BY_TOPIC, 0).with_ext(&fields);
        self.ask(&header, |address, answer| match u16::try_from(answer.code).map(Code::new) {
            Ok(Code::SUCCESS) => TopicRoute::decode(&answer.body)
                .map_err(|error| Error::BadRoute { address: Arc::clone(address), reason: error.to_string() }),
            Ok(Code::TOPIC_NOT_EXIST) => Err(Error::NoRoute { topic: topic.to_owned(), remark: answer.remark }),
            _ => Err(refused(address, answer)),
        })
        .await
    }

    /// All brokers and clusters.
    pub(crate) async fn cluster(&self) -> Result<ClusterInfo> {
        let header = Header::request(request_code::GET_BROKER_CLUSTER_INFO, 0);
        self.ask(&header, |address, answer| match u16::try_from(answer.code).map(Code::new) {
            Ok(Code::SUCCESS) => ClusterInfo::decode(&answer.body)
                .map_err(|error| Error::BadRoute { address: Arc::clone(address), reason: error.to_string() }),
            _ => Err(refused(address, answer)),
        })
        .await
    }

    /// Asks one after the other until an answer is usable. "No such topic" counts only when nobody has a better one.
    async fn ask<T>(&self, header: &Header<'_>, read: impl Fn(&Arc<str>, Answer) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock().await;
        let (mut unknown, mut last) = (None, None);
        for _ in 0..self.addresses.len() {
            let address = &self.addresses[state.current];
            match state.exchange(address, header).await.and_then(|answer| read(address, answer)) {
                Ok(value) => return Ok(value),
                Err(error @ Error::NoRoute { .. }) => unknown = Some(error),
                Err(error) => {
                    tracing::debug!(%address, %error, "name server");
                    last = Some(error);
                }
            }
            if self.addresses.len() > 1 {
                state.stream = None;
                state.current = (state.current + 1) % self.addresses.len();
            }
        }
        let last = last.unwrap_or(Error::Argument("no name server"));
        Err(unknown.unwrap_or(Error::NameServers { addresses: Arc::clone(&self.written), last: Box::new(last) }))
    }
}

impl State {
    async fn exchange(&mut self, address: &Arc<str>, header: &Header<'_>) -> Result<Answer> {
        // A connection that was kept may have been closed meanwhile; a fresh one then deserves a try of its own.
        if let Some(stream) = self.stream.take()
            && let Ok(answer) = self.exchange_on(stream, address, header).await
        {
            return Ok(answer);
        }
        let connect = async {
            let tls = self.tls.as_ref().map(ClientTls::config).transpose()?;
            ClientStream::new(TcpStream::connect(&**address).await?, address, tls).await
        };
        let stream = timeout(ANSWER_TIMEOUT, connect).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|source| Error::Connect { address: Arc::clone(address), source: source.into() })?;
        self.exchange_on(stream, address, header).await
    }

    async fn exchange_on(
        &mut self,
        mut stream: ClientStream,
        address: &Arc<str>,
        header: &Header<'_>,
    ) -> Result<Answer> {
        self.opaque = self.opaque.wrapping_add(1);
        let header = Header { opaque: self.opaque, ..header.clone() };
        let answer = timeout(ANSWER_TIMEOUT, exchange_frames(&mut stream, address, &header)).await;
        let answer = answer.unwrap_or(Err(Error::Timeout { what: "a name server request", after: ANSWER_TIMEOUT }))?;
        self.stream = Some(stream);
        Ok(answer)
    }
}

async fn exchange_frames(stream: &mut ClientStream, address: &Arc<str>, header: &Header<'_>) -> Result<Answer> {
    let disconnected = |source: io::Error| Error::Disconnected { address: Arc::clone(address), source: source.into() };
    let bad = |reason: String| Error::BadRoute { address: Arc::clone(address), reason };
    let mut request = Vec::new();
    encode_frame(&mut request, SerializeType::Json, header, &[]);
    stream.write_all(&request).await.map_err(disconnected)?;
    let mut received = Vec::new();
    loop {
        while let Some((frame, size)) =
            split_frame(&received, FRAME_SIZE_BYTES_MAX).map_err(|error| bad(error.to_string()))?
        {
            let reply = frame.decode_header().map_err(|error| bad(error.to_string()))?;
            if reply.is_response() && reply.opaque == header.opaque {
                let remark = reply.remark.as_deref().unwrap_or_default().to_owned();
                return Ok(Answer { code: reply.code, remark, body: frame.body.to_vec() });
            }
            received.drain(..size);
        }
        received.reserve(READ_SIZE_BYTES);
        if stream.read_buf(&mut received).await.map_err(disconnected)? == 0 {
            return Err(disconnected(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn refused(address: &Arc<str>, answer: Answer) -> Error {
    let code = Code::new(u16::try_from(answer.code).unwrap_or(u16::MAX));
    Error::Refused { code, remark: answer.remark, address: Arc::clone(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_separated_by_semicolons() {
        let servers = NameServers::parse("127.0.0.1:9876; localhost:9877;", None).expect("two addresses");
        assert_eq!(servers.addresses, ["127.0.0.1:9876".into(), "localhost:9877".into()] as [Arc<str>; 2]);
        for wrong in ["", ";", "localhost", "localhost:port", ":9876", "a:1;b"] {
            assert!(NameServers::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
