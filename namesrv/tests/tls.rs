//! TLS on the name server's port: who is let in, who is not, and how long it waits for either.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ringmq_namesrv::{Config, Handle, StatsSnapshot, spawn_thread};
use ringmq_proto::remoting::registration::{RegisterBody, RegisterBroker, TopicConfig};
use ringmq_proto::remoting::route::GetRoute;
use ringmq_proto::remoting::{Header, SerializeType, encode_frame, request_code, split_frame};
use ringmq_tls::{ClientSession, ClientTls, Identity, Progress, Settings, Trust};

const PATIENCE: Duration = Duration::from_secs(10);

fn start(choices: &[(&str, &str)]) -> Handle {
    let mut tls = Settings::default();
    for (name, value) in choices {
        tls.set(name, value).expect("understood");
    }
    spawn_thread(Config { tls, handshake_time_max: Duration::from_millis(300), ..Config::default() }).expect("starts")
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the name server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// A connection, with TLS or without.
struct Peer {
    stream: TcpStream,
    tls: Option<ClientSession>,
    input: Vec<u8>,
}

impl Peer {
    fn plain(addr: SocketAddr) -> Self {
        Self { stream: connect(addr), tls: None, input: Vec::new() }
    }

    /// Shakes hands; a refusal may show only with the first answer.
    fn tls(addr: SocketAddr, tls: &ClientTls) -> Result<Self, String> {
        let mut hello = Vec::new();
        let session =
            ClientSession::client(tls.config().expect("usable"), "127.0.0.1", &mut hello).expect("an address");
        let mut peer = Self { stream: connect(addr), tls: Some(session), input: Vec::new() };
        peer.stream.write_all(&hello).expect("the name server reads");
        while peer.tls.as_ref().expect("with TLS").progress() == Progress::Handshaking {
            peer.receive()?;
        }
        Ok(peer)
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut sealed = Vec::new();
        let bytes = match &mut self.tls {
            None => bytes,
            Some(session) => {
                session.seal(bytes, &mut sealed).expect("established");
                &sealed
            }
        };
        self.stream.write_all(bytes).expect("the name server reads");
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut bytes = self.tls.as_ref().map_or(Vec::new(), |session| session.kept().to_vec());
        let (start, mut out) = (bytes.len(), Vec::new());
        bytes.resize(start + 65_536, 0);
        let count = self.stream.read(&mut bytes[start..]).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("closed".into());
        }
        bytes.truncate(start + count);
        match &mut self.tls {
            None => self.input.append(&mut bytes),
            Some(session) => {
                session.receive(&mut bytes, &mut self.input, &mut out).map_err(|error| error.to_string())?;
            }
        }
        self.stream.write_all(&out).map_err(|error| error.to_string())
    }

    /// The code and the size of the body of the answer.
    fn ask(&mut self, header: &Header<'_>, body: &[u8]) -> Result<(i32, usize), String> {
        let mut frame = Vec::new();
        encode_frame(&mut frame, SerializeType::Json, header, body);
        self.send(&frame);
        loop {
            if let Some((frame, size)) = split_frame(&self.input, 16 << 20).expect("a frame") {
                let answer = (frame.decode_header().expect("a header").code, frame.body.len());
                self.input.drain(..size);
                return Ok(answer);
            }
            self.receive()?;
        }
    }

    /// Asks for a topic that is not there.
    fn ask_for_nothing(&mut self) -> Result<(i32, usize), String> {
        let route = GetRoute { topic: "nothing", accept_standard_json_only: None };
        self.ask(&Header::request(request_code::GET_ROUTEINFO_BY_TOPIC, 1).with_ext(&route), b"")
    }
}

fn answered(peer: Result<Peer, String>) -> bool {
    peer.and_then(|mut peer| peer.ask_for_nothing()).is_ok_and(|(code, _)| code == 17)
}

fn eventually(server: &Handle, mut wish: impl FnMut(&StatsSnapshot) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wish(&server.stats()) {
        assert!(Instant::now() < deadline, "{:?}", server.stats());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Who signs certificates, in a folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs itself");
        let directory = tempfile::tempdir().expect("a folder");
        fs::write(directory.path().join("ca.crt"), issuer.pem()).expect("writes");
        Self { issuer, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn issue(&self, name: &str, host: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let signed = CertificateParams::new([host.to_owned()]).expect("a name").signed_by(&key, &self.issuer);
        let [certificate, private] = ["crt", "key"].map(|kind| self.path(&format!("{name}.{kind}")));
        fs::write(&certificate, signed.expect("signs").pem()).expect("writes");
        fs::write(&private, key.serialize_pem()).expect("writes");
        Identity { certificate: certificate.into(), key: private.into(), password: None }
    }

    fn trusting(&self, identity: Option<Identity>) -> ClientTls {
        ClientTls { trust: Trust::Named(Path::new(&self.path("ca.crt")).into()), identity }
    }
}

#[test]
fn permissive_answers_with_and_without_tls() {
    let server = start(&[]);
    assert!(answered(Ok(Peer::plain(server.addr))));
    assert!(answered(Peer::tls(server.addr, &ClientTls::default())));
    let stats = server.stats();
    assert_eq!((stats.tls, stats.closed_tls, stats.closed_plain, stats.handshakes), (1, 0, 0, 0));
}

#[test]
fn enforcing_refuses_who_comes_without_tls() {
    let server = start(&[("tls.server.mode", "enforcing")]);
    assert!(answered(Peer::tls(server.addr, &ClientTls::default())));
    assert!(!answered(Ok(Peer::plain(server.addr))));
    eventually(&server, |stats| stats.closed_plain == 1 && stats.requests == 1);
}

#[test]
fn disabled_closes_on_who_begins_tls() {
    let server = start(&[("tls.server.mode", "disabled")]);
    assert!(answered(Ok(Peer::plain(server.addr))));
    assert!(!answered(Peer::tls(server.addr, &ClientTls::default())));
    eventually(&server, |stats| stats.closed_other_protocol == 1);
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let authority = Authority::new();
    let shows = authority.issue("server", "127.0.0.1");
    let [certificate, key] = [&shows.certificate, &shows.key].map(|path| path.display().to_string());
    let server = start(&[
        ("tls.server.certPath", &certificate),
        ("tls.server.keyPath", &key),
        ("tls.server.need.client.auth", "require"),
        ("tls.server.trustCertPath", &authority.path("ca.crt")),
    ]);
    let other = Authority::new();
    let (known, stranger) = (authority.issue("known", "known"), other.issue("stranger", "stranger"));
    for (shown, accepted) in [(None, false), (Some(stranger), false), (Some(known), true)] {
        assert_eq!(answered(Peer::tls(server.addr, &authority.trusting(shown.clone()))), accepted, "{shown:?}");
    }
    eventually(&server, |stats| stats.closed_tls == 2 && stats.requests == 1);
}

#[test]
fn a_changed_certificate_is_shown_to_the_next_client() {
    let authority = Authority::new();
    let shows = authority.issue("server", "192.0.2.1");
    let [certificate, key] = [&shows.certificate, &shows.key].map(|path| path.display().to_string());
    let server = start(&[("tls.server.certPath", &certificate), ("tls.server.keyPath", &key)]);
    let mut early = Peer::tls(server.addr, &ClientTls::default()).expect("trusts anyone");
    assert!(!answered(Peer::tls(server.addr, &authority.trusting(None))), "for another address");
    authority.issue("server", "127.0.0.1");
    let deadline = Instant::now() + PATIENCE;
    while !answered(Peer::tls(server.addr, &authority.trusting(None))) {
        assert!(Instant::now() < deadline, "the new certificate is in use within seconds");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(early.ask_for_nothing().is_ok(), "connections that stand go on");
}

#[test]
fn half_a_handshake_is_closed_when_its_time_is_over() {
    let server = start(&[]);
    for bytes in [&b"\x16"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = connect(server.addr);
        stream.write_all(bytes).expect("the name server reads");
        let began = Instant::now();
        assert_eq!(stream.read(&mut [0; 64]).expect("closed"), 0);
        assert!((200..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
    eventually(&server, |stats| stats.closed_slow == 2 && stats.connections == 0 && stats.handshakes == 0);
    assert_eq!(server.stats().buffered_bytes, 0);
}

#[test]
fn garbage_behind_the_first_byte_closes() {
    let server = start(&[]);
    for bytes in [&b"\x16garbage that is no record at all"[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"] {
        let mut stream = connect(server.addr);
        stream.write_all(bytes).expect("the name server reads");
        let mut said = Vec::new();
        // Closing over unread bytes resets.
        let ended = stream.read_to_end(&mut said);
        assert!(ended.is_err() || said.len() < 16, "an alert at most: {said:?}");
    }
    eventually(&server, |stats| stats.closed_tls == 2 && stats.connections == 0 && stats.buffered_bytes == 0);
}

#[test]
fn what_is_no_remoting_inside_of_tls_is_refused_as_it_is_outside() {
    let server = start(&[]);
    let mut peer = Peer::tls(server.addr, &ClientTls::default()).expect("trusts anyone");
    peer.send(b"GET / HTTP/1.1\r\n\r\n");
    while peer.receive().is_ok() {}
    assert!(peer.input.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&peer.input));
    let mut peer = Peer::tls(server.addr, &ClientTls::default()).expect("trusts anyone");
    peer.send(b"\x16\x03\x01");
    while peer.receive().is_ok() {}
    eventually(&server, |stats| stats.answered_http == 1 && stats.closed_other_protocol == 1);
}

#[test]
fn long_requests_and_answers_pass_through_tls() {
    let server = start(&[]);
    let mut peer = Peer::tls(server.addr, &ClientTls::default()).expect("trusts anyone");
    let topics =
        (0..5_000).map(|number| TopicConfig { topic_name: format!("Topic{number}"), ..TopicConfig::default() });
    let body = RegisterBody { topics: topics.collect(), ..RegisterBody::default() }.encode_json();
    let broker = RegisterBroker {
        broker_name: "broker-a",
        broker_addr: "127.0.0.1:10911",
        cluster_name: "cluster",
        ha_server_addr: "127.0.0.1:10912",
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: None,
        body_crc32: None,
        whole_table: None,
    };
    let registered = peer.ask(&Header::request(request_code::REGISTER_BROKER, 1).with_ext(&broker), &body);
    assert_eq!(registered.map(|(code, _)| code), Ok(0));
    let all = peer.ask(&Header::request(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, 2), b"");
    assert!(all.as_ref().is_ok_and(|(code, bytes)| *code == 0 && *bytes > 40_000), "{all:?}");
}
