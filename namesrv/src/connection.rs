//! One connection: bytes in, frames, answers, bytes out. What it holds is bounded, in bytes and in time.

use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringmq_proto::code::Code;
use ringmq_proto::first_bytes::{FIRST_BYTES_WAIT_MS, FirstBytes};
use ringmq_proto::remoting::{FrameError, Header, encode_frame, request_code, split_frame};
use ringmq_tls::limits::HANDSHAKE_COUNT_MAX;
use ringmq_tls::{Mode, Progress, ServerSession, ServerTls, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::registry::ConnectionId;
use crate::requests::{self, Request};
use crate::server::Shared;

/// Bytes that a buffer begins with.
const READ_SIZE_BYTES: usize = 4 << 10;

/// The same, with TLS: a long record, and some.
const TLS_READ_SIZE_BYTES: usize = 32 << 10;

/// Answers gathered for one write. When reached: they are sent before the next request is looked at.
const WRITE_SIZE_BYTES: usize = 256 << 10;

/// What an HTTP client gets, then the connection closes.
const HTTP_SENTENCE: &str =
    "This is a RingMQ name server: it speaks RocketMQ's remoting protocol on this port, not HTTP.\n";

/// Why a connection ends.
enum End {
    /// The peer closed it, or the network did.
    Closed,
    Idle,
    Slow,
    NoMemory,
    Malformed(FrameError),
    OtherProtocol,
    Http,
    /// Without TLS, where that is enforced.
    Plain,
    Tls(TlsError),
}

/// Serves the connection until it ends. However that comes about, a panic included, its brokers are unregistered.
pub(crate) async fn serve(stream: TcpStream, id: ConnectionId, shared: Arc<Shared>) {
    let stats = &shared.stats;
    let mut connection = Connection {
        stream,
        tls: None,
        shared: &shared,
        input: Vec::new(),
        output: Vec::new(),
        notices: None,
        held: Held { id, shared: &shared, bytes: 0 },
    };
    let end = connection.run().await;
    match &end {
        End::Closed => return,
        End::Idle => stats.closed_idle.add_one(),
        End::Slow => stats.closed_slow.add_one(),
        End::NoMemory => stats.closed_no_memory.add_one(),
        End::Malformed(_) => stats.closed_malformed.add_one(),
        End::OtherProtocol => stats.closed_other_protocol.add_one(),
        End::Plain => {
            stats.closed_plain.add_one();
            if let Some(unsaid) = shared.complain() {
                let peer = connection.peer();
                tracing::warn!(peer, unsaid, "a connection without TLS was refused: tls.server.mode is enforcing");
            }
        }
        End::Tls(error) => {
            stats.closed_tls.add_one();
            if let Some(unsaid) = shared.complain() {
                tracing::warn!(peer = connection.peer(), %error, unsaid, "TLS with a client failed");
            }
        }
        End::Http => {
            stats.answered_http.add_one();
            connection.answer_http().await;
        }
    }
    if let End::Malformed(error) = end {
        tracing::debug!(connection = id.0, %error, "closed: not a remoting frame");
    }
}

struct Connection<'a> {
    stream: TcpStream,
    /// None: in the open.
    tls: Option<Box<ServerSession>>,
    shared: &'a Shared,
    /// Bytes that are not yet a whole frame.
    input: Vec<u8>,
    /// Answers that are not yet sent.
    output: Vec<u8>,
    /// Frames that the server tells this peer unasked, from its first registration as a broker on.
    notices: Option<mpsc::Receiver<Vec<u8>>>,
    held: Held<'a>,
}

impl Connection<'_> {
    async fn run(&mut self) -> End {
        match self.serve_all().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve_all(&mut self) -> Result<std::convert::Infallible, End> {
        // A first byte may take as long as any silence; what follows it may not.
        self.read(self.shared.config.idle_time_max, End::Idle).await?;
        let mut first = self.first_bytes().await?;
        match &self.shared.tls {
            Some(tls) if first == FirstBytes::Tls => {
                self.shake_hands(tls).await?;
                if self.input.is_empty() {
                    self.read(self.shared.config.idle_time_max, End::Idle).await?;
                }
                first = self.first_bytes().await?;
            }
            Some(tls) if tls.mode() == Mode::Enforcing => return Err(End::Plain),
            _ => {}
        }
        match first {
            FirstBytes::Remoting => {}
            FirstBytes::Http => return Err(End::Http),
            _ => return Err(End::OtherProtocol),
        }
        loop {
            self.answer_frames().await?;
            if self.input.is_empty() {
                self.read(self.shared.config.idle_time_max, End::Idle).await?;
            } else {
                self.complete_frame().await?;
            }
        }
    }

    /// What the input begins with, when that can be told.
    async fn first_bytes(&mut self) -> Result<FirstBytes, End> {
        let decided_by = Instant::now() + Duration::from_millis(FIRST_BYTES_WAIT_MS);
        loop {
            match FirstBytes::of(&self.input) {
                FirstBytes::Undecided => self.read(decided_by - Instant::now(), End::Slow).await?,
                decided => return Ok(decided),
            }
        }
    }

    /// From here on, what is received and sent goes through TLS; the input so far is the beginning of the client's hello.
    async fn shake_hands(&mut self, tls: &ServerTls) -> Result<(), End> {
        self.shared.stats.tls.add_one();
        let _place = Handshake::begin(self.shared)?;
        let mut hello = mem::take(&mut self.input);
        self.tls = Some(Box::new(ServerSession::server(tls.config()).map_err(End::Tls)?));
        let mut progress = self.decrypt(&mut hello).await?;
        let complete_by = Instant::now() + self.shared.config.handshake_time_max;
        while progress == Progress::Handshaking {
            if !self.receive(complete_by).await? {
                return Err(End::Slow);
            }
            progress = self.tls.as_ref().map_or(Progress::Closed, |session| session.progress());
        }
        Ok(())
    }

    /// Gives received bytes, with what was kept before them, to TLS: adds what they say to the input and sends what they ask for.
    async fn decrypt(&mut self, received: &mut [u8]) -> Result<Progress, End> {
        let Some(session) = &mut self.tls else { return Err(End::Closed) };
        let (mut out, before) = (Vec::new(), self.input.len());
        let result = session.receive(received, &mut self.input, &mut out);
        self.send(&out).await?;
        match result {
            // What it said before that is still answered.
            Ok(Progress::Closed) if self.input.len() == before => Err(End::Closed),
            other => other.map_err(End::Tls),
        }
    }

    /// Reads until the input begins with a whole frame.
    async fn complete_frame(&mut self) -> Result<(), End> {
        let complete_by = Instant::now() + self.shared.config.frame_time_max;
        let size_max = self.shared.config.frame_size_bytes_max;
        while split_frame(&self.input, size_max).map_err(End::Malformed)?.is_none() {
            self.read(complete_by - Instant::now(), End::Slow).await?;
        }
        Ok(())
    }

    /// Answers all whole frames of the input. What was answered before a malformed one is still sent.
    async fn answer_frames(&mut self) -> Result<(), End> {
        let mut done = 0;
        loop {
            match self.answer_frame(done).await {
                Ok(0) => break,
                Ok(size) => done += size,
                Err(error) => {
                    self.flush().await?;
                    return Err(End::Malformed(error));
                }
            }
            if self.output.len() >= WRITE_SIZE_BYTES {
                self.flush().await?;
            }
        }
        self.input.drain(..done);
        self.flush().await
    }

    /// Answers the frame that begins at `start` of the input: its size, or 0 when it has not arrived as a whole.
    async fn answer_frame(&mut self, start: usize) -> Result<usize, FrameError> {
        let input = &self.input[start..];
        let Some((frame, size)) = split_frame(input, self.shared.config.frame_size_bytes_max)? else {
            return Ok(0);
        };
        let header = frame.decode_header()?;
        // The name server asks brokers one-way alone, so a response is somebody's mistake: it is dropped.
        if header.is_response() {
            return Ok(size);
        }
        if header.code == request_code::REGISTER_BROKER && self.notices.is_none() {
            self.notices = Some(self.shared.open_notices(self.held.id));
        }
        let (mut answer, kv_changes) = {
            let mut state = self.shared.state();
            let request =
                Request { now_ms: self.shared.now_ms(), connection: self.held.id, header: &header, body: frame.body };
            let changes_before = state.kv.changes();
            let answer = requests::answer(&mut state, request);
            self.shared.tell_min_ids(&mut state);
            (answer, (state.kv.changes() > changes_before).then(|| state.kv.changes()))
        };
        if let Some(changes) = kv_changes
            && let Err(error) = self.shared.save_kv(changes).await
        {
            tracing::error!(%error, "the key-value configuration is not saved");
            let remark = format!("changed, but not saved: {error}");
            answer.header = Header::response(Code::SYSTEM_ERROR, header.opaque).with_remark(remark);
        }
        let stats = &self.shared.stats;
        stats.requests.add_one();
        if answer.header.response_code() == Code::REQUEST_CODE_NOT_SUPPORTED {
            stats.requests_not_supported.add_one();
        }
        if !header.is_oneway() {
            encode_frame(&mut self.output, frame.serialize_type, &answer.header, &answer.body);
        }
        Ok(size)
    }

    /// Waits for more input.
    async fn read(&mut self, patience: Duration, impatience: End) -> Result<(), End> {
        let deadline = Instant::now() + patience;
        let before = self.input.len();
        while self.input.len() == before {
            if !self.receive(deadline).await? {
                return Err(impatience);
            }
        }
        Ok(())
    }

    /// Receives once, which adds to the input, or not if TLS needs more to understand any of it; false when the time is over.
    async fn receive(&mut self, deadline: Instant) -> Result<bool, End> {
        loop {
            tokio::select! {
                readable = timeout_at(deadline, self.stream.readable()) => match readable {
                    Err(_) => return Ok(false),
                    Ok(Err(_)) => return Err(End::Closed),
                    Ok(Ok(())) => {}
                },
                notice = next(&mut self.notices) => {
                    self.output.extend_from_slice(&notice);
                    self.flush().await?;
                    continue;
                }
            }
            let received = match self.tls {
                None => self.receive_plain()?,
                Some(_) => self.receive_tls().await?,
            };
            if received {
                return Ok(true);
            }
            self.release()?;
        }
    }

    /// The buffer grows by what arrives, never by what a frame claims; a silent connection has none.
    fn receive_plain(&mut self) -> Result<bool, End> {
        self.input.reserve(READ_SIZE_BYTES);
        self.held.resize(self.input.capacity() + self.output.capacity())?;
        some(self.stream.try_read_buf(&mut self.input))
    }

    async fn receive_tls(&mut self) -> Result<bool, End> {
        let kept = self.tls.as_ref().map_or(&[][..], |session| session.kept());
        let mut bytes = Vec::with_capacity(kept.len() + TLS_READ_SIZE_BYTES);
        bytes.extend_from_slice(kept);
        // What was kept, what is received, and what that says.
        self.held.resize(self.input.capacity() + self.output.capacity() + 3 * bytes.capacity())?;
        let received = some(self.stream.try_read_buf(&mut bytes))?;
        if received {
            self.decrypt(&mut bytes).await?;
        }
        Ok(received)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = mem::take(&mut self.output);
        let mut sealed = Vec::new();
        let mut bytes = &output;
        if let Some(session) = &mut self.tls {
            session.seal(&output, &mut sealed).map_err(End::Tls)?;
            bytes = &sealed;
        }
        self.held.resize(self.input.capacity() + output.capacity() + sealed.capacity())?;
        self.send(bytes).await?;
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Sends as the peer takes it.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match timeout(self.shared.config.frame_time_max, self.stream.write_all(bytes)).await {
            Err(_) => Err(End::Slow),
            Ok(sent) => sent.map_err(|_| End::Closed),
        }
    }

    fn peer(&self) -> String {
        self.stream.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string())
    }

    /// Gives back the buffers before a silence.
    fn release(&mut self) -> Result<(), End> {
        if self.input.is_empty() {
            self.input = Vec::new();
            self.output = Vec::new();
            self.held.resize(self.tls.as_ref().map_or(0, |session| session.kept().len()))?;
        }
        Ok(())
    }

    /// One sentence, then the end. What the client still sends is read and dropped for a moment: closing over unread bytes
    /// would reset the connection and might destroy the sentence.
    async fn answer_http(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{HTTP_SENTENCE}",
            HTTP_SENTENCE.len()
        );
        self.output.extend_from_slice(answer.as_bytes());
        if !matches!(timeout_at(deadline, self.flush()).await, Ok(Ok(()))) {
            return;
        }
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut dropped = [0; 1024];
        while matches!(timeout_at(deadline, self.stream.read(&mut dropped)).await, Ok(Ok(1..))) {}
    }
}

/// Whether anything was received.
fn some(read: io::Result<usize>) -> Result<bool, End> {
    match read {
        Ok(1..) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Ok(0) | Err(_) => Err(End::Closed),
    }
}

/// A handshake's place among those under way. Given back on drop.
struct Handshake<'a> {
    under_way: &'a AtomicUsize,
}

impl<'a> Handshake<'a> {
    fn begin(shared: &'a Shared) -> Result<Self, End> {
        let under_way = &shared.stats.handshakes;
        let place = Self { under_way };
        if under_way.fetch_add(1, Ordering::Relaxed) >= HANDSHAKE_COUNT_MAX {
            return Err(End::Tls(TlsError::TooMany(HANDSHAKE_COUNT_MAX)));
        }
        Ok(place)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn next(notices: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Vec<u8> {
    if let Some(receiver) = notices
        && let Some(notice) = receiver.recv().await
    {
        return notice;
    }
    std::future::pending().await
}

/// What a connection holds of the server's: its place, its part of the buffers, the registrations that came over it. Given
/// back on drop.
struct Held<'a> {
    id: ConnectionId,
    shared: &'a Shared,
    bytes: usize,
}

impl Held<'_> {
    /// Notes that the connection's buffers now have this size.
    fn resize(&mut self, bytes: usize) -> Result<(), End> {
        self.shared.resize_buffers(self.bytes, bytes).map_err(|()| End::NoMemory)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.connection_closed(self.id, self.bytes);
    }
}
