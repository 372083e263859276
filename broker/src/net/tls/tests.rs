use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ringmq_tls::{ClientSession, ClientTls, Progress, ServerTls, Settings};

use crate::net::driver::Counts;
use crate::net::plane::Receiving;
use crate::net::tests::{BIG_BYTES, Heard, Running, ask, run_with, with_both};

fn run(receiving: Receiving, mode: &str) -> Running {
    let mut settings = Settings::default();
    settings.set("tls.server.mode", mode).expect("a mode");
    run_with(1, 10, receiving, ServerTls::open(&settings, None, &[]).expect("usable"))
}

/// A client of TLS that sends its bytes in pieces.
struct Client {
    stream: TcpStream,
    session: ClientSession,
    piece_bytes: usize,
    heard: Vec<u8>,
}

impl Client {
    fn connect(running: &Running, piece_bytes: usize) -> Self {
        let mut hello = Vec::new();
        let config = ClientTls::default().config().expect("usable");
        let session = ClientSession::client(config, "127.0.0.1", &mut hello).expect("an address");
        let mut client = Self { stream: running.connect(0), session, piece_bytes, heard: Vec::new() };
        client.write(&hello);
        while client.session.progress() == Progress::Handshaking {
            assert!(client.receive(), "the handshake goes on");
        }
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.set_nodelay(true).expect("sets");
        for piece in bytes.chunks(self.piece_bytes) {
            self.stream.write_all(piece).expect("sends");
        }
    }

    fn say(&mut self, plain: &[u8]) {
        let mut sealed = Vec::new();
        self.session.seal(plain, &mut sealed).expect("established");
        self.write(&sealed);
    }

    /// False at the end.
    fn receive(&mut self) -> bool {
        let mut bytes = self.session.kept().to_vec();
        let start = bytes.len();
        bytes.resize(start + 100_000, 0);
        let count = self.stream.read(&mut bytes[start..]).expect("is answered in time");
        bytes.truncate(start + count);
        let mut out = Vec::new();
        self.session.receive(&mut bytes, &mut self.heard, &mut out).expect("a sound record");
        self.write(&out);
        count > 0 && self.session.progress() != Progress::Closed
    }

    fn ask(&mut self, plain: &[u8], size_bytes: usize) -> Vec<u8> {
        self.say(plain);
        while self.heard.len() < size_bytes {
            assert!(self.receive(), "the connection goes on");
        }
        std::mem::take(&mut self.heard)
    }
}

fn last_counts(running: Running) -> Counts {
    let mut counts = running.stop().into_iter().filter_map(|heard| match heard {
        Heard::Counts(counts) => Some(counts),
        _ => None,
    });
    counts.next_back().expect("counted at the end")
}

fn permissive_serves_each_client_as_it_begins(receiving: Receiving) {
    let running = run(receiving, "permissive");
    let mut plain = running.connect(0);
    let mut clients = [1, 100, 100_000].map(|piece_bytes| Client::connect(&running, piece_bytes));
    for _ in 0..3 {
        assert_eq!(ask(&mut plain, "hello"), "hello");
        for client in &mut clients {
            assert_eq!(client.ask(b"hello", 5), b"hello");
            assert_eq!(client.ask(b"tick", 6), b"ticked");
        }
    }
    let counts = last_counts(running).tls;
    assert_eq!((counts.begun, counts.failed, counts.refused_plain), (3, 0, 0));
}

fn enforcing_serves_tls_alone(receiving: Receiving) {
    let running = run(receiving, "enforcing");
    let mut plain = running.connect(0);
    plain.write_all(b"hello").expect("sends");
    // Closed, or reset over what was not heard.
    assert!(!matches!(plain.read(&mut [0; 8]), Ok(1..)));
    assert_eq!(Client::connect(&running, 1000).ask(b"hello", 5), b"hello");
    let counts = last_counts(running).tls;
    assert_eq!((counts.begun, counts.failed, counts.refused_plain), (1, 0, 1));
}

fn long_talk_arrives_whole_and_in_order_in_both_directions(receiving: Receiving) {
    let running = run(receiving, "permissive");
    let mut client = Client::connect(&running, usize::MAX);
    client.say(b"big");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let all = client.ask(b"", BIG_BYTES / 200 * 200);
    assert!(all.chunks(BIG_BYTES / 200).zip(0..).all(|(piece, number)| piece.iter().all(|byte| *byte == number)));
    let said: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_be_bytes()[(number % 4) as usize]).collect();
    for piece in said.chunks(700_000) {
        assert!(client.ask(piece, piece.len()) == piece, "what comes back is what was said");
    }
    running.stop();
}

fn last_words_come_before_the_end(receiving: Receiving) {
    let running = run(receiving, "permissive");
    let mut client = Client::connect(&running, 1000);
    client.say(b"close");
    while client.receive() {}
    assert_eq!(client.heard, b"bye");
    assert_eq!(client.session.progress(), Progress::Closed, "said, not only cut off");
    running.stop();
}

fn who_misbehaves_loses_its_connection_and_its_place(receiving: Receiving) {
    let running = run(receiving, "permissive");
    for bytes in [&b"\x16garbage that is no record at all"[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"] {
        let mut stream = running.connect(0);
        stream.write_all(bytes).expect("sends");
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        assert!(ended.is_err() || said.len() < 16, "an alert at most: {said:?}");
    }
    let mut client = Client::connect(&running, 1000);
    assert_eq!(client.ask(b"hello", 5), b"hello");
    client.stream.write_all(b"\x17\x03\x03\x00\x20 that was encrypted by nobody ---").expect("sends");
    let mut said = Vec::new();
    assert!(client.stream.read_to_end(&mut said).is_err() || said.len() < 64, "{said:?}");
    // The half of a handshake, and its end.
    running.connect(0).write_all(b"\x16\x03").expect("sends");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(Client::connect(&running, 1000).ask(b"hello", 5), b"hello");
    let counts = last_counts(running).tls;
    assert_eq!((counts.begun, counts.failed), (5, 3));
}

#[test]
fn handshakes_beyond_the_bound_are_refused_until_others_have_ended() {
    use super::{Beginning, Lane, Tls};
    use crate::now::Now;
    use ringmq_proto::message::Host;

    let source = ServerTls::open(&Settings::default(), None, &[]).expect("usable");
    let mut tls = Tls::new(source.as_ref().map(Arc::clone));
    let peer = Host::new([127, 0, 0, 1].into(), 1);
    let mut lanes: Vec<Lane> = (0..=ringmq_tls::limits::HANDSHAKE_COUNT_MAX).map(|_| tls.lane(peer)).collect();
    let begun: Vec<_> = lanes.iter_mut().map(|lane| tls.begin(Now::default(), lane, b"\x16")).collect();
    let (last, others) = begun.split_last().expect("one more than there may be");
    assert!(others.iter().all(|beginning| matches!(beginning, Beginning::Secured)));
    assert!(matches!(last, Beginning::Refused));
    let mut other = tls.lane(peer);
    assert!(matches!(tls.begin(Now::default(), &mut other, b"\x16"), Beginning::Refused));
    assert!(tls.end(&mut lanes[0]).is_empty(), "there are no keys to say farewell with");
    assert!(matches!(tls.begin(Now::default(), &mut other, b"\x16"), Beginning::Secured));
}

with_both! {
    permissive_serves_each_client_as_it_begins
    enforcing_serves_tls_alone
    long_talk_arrives_whole_and_in_order_in_both_directions
    last_words_come_before_the_end
    who_misbehaves_loses_its_connection_and_its_place
}
