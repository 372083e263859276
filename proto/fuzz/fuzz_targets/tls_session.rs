//! TLS sessions of both sides: bytes that are nobody's, and a true conversation that is cut into any pieces and damaged
//! anywhere. No panic, no more kept than is allowed; what is not damaged arrives, what is damaged is never believed.
#![no_main]

use std::sync::{Arc, OnceLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringmq_tls::limits::KEPT_BYTES_MAX;
use ringmq_tls::{ClientSession, ClientTls, Progress, ServerSession, ServerTls, Settings, Side, Trust};

#[derive(Debug, Arbitrary)]
enum Case {
    /// To a server that waits for a first message.
    Nobody { bytes: Vec<u8>, pieces: Vec<u8> },
    /// Two that speak.
    Conversation(Vec<Act>),
}

#[derive(Debug, Arbitrary)]
enum Act {
    /// So many bytes that are on their way arrive.
    Deliver { to_server: bool, size_bytes: u16 },
    /// One that is on its way is changed.
    Damage { to_server: bool, place: u16, change: u8 },
    /// Some are added behind.
    Insert { to_server: bool, bytes: Vec<u8> },
    /// A side speaks.
    Say { by_server: bool, text: Vec<u8> },
    /// A side says that it will say no more.
    Close { by_server: bool },
}

/// A client's session whose first message goes to the argument.
type MakeClient = Box<dyn Fn(&mut Vec<u8>) -> ClientSession + Send + Sync>;

/// Certificates are made once.
fn configurations() -> &'static (Arc<ServerTls>, MakeClient) {
    static MADE: OnceLock<(Arc<ServerTls>, MakeClient)> = OnceLock::new();
    MADE.get_or_init(|| {
        let server = ServerTls::open(&Settings::default(), None, &["localhost".to_owned()]);
        let client = ClientTls { trust: Trust::Anyone, identity: None }.config().expect("usable");
        let make =
            move |out: &mut Vec<u8>| ClientSession::client(Arc::clone(&client), "localhost", out).expect("usable");
        (server.expect("usable").expect("permissive"), Box::new(make))
    })
}

/// One side, and what is on its way to it.
struct End<S> {
    session: ringmq_tls::Session<S>,
    incoming: Vec<u8>,
    /// What it has heard, and what it should hear.
    heard: Vec<u8>,
    told: Vec<u8>,
    is_tampered: bool,
    /// Nothing is taken any more.
    is_over: bool,
    /// It has said that it will say no more.
    has_closed: bool,
}

impl<S: Side> End<S> {
    fn new(session: ringmq_tls::Session<S>, incoming: Vec<u8>) -> Self {
        Self {
            session,
            incoming,
            heard: Vec::new(),
            told: Vec::new(),
            is_tampered: false,
            is_over: false,
            has_closed: false,
        }
    }

    /// Takes `size_bytes` of what is on its way. What is to be sent goes to `out`.
    fn take(&mut self, size_bytes: usize, out: &mut Vec<u8>) {
        let arrived: Vec<u8> = self.incoming.drain(..size_bytes.min(self.incoming.len())).collect();
        // Who has said that it says no more listens no more where that could be nonsense: rustls would answer with an alert, and
        // asserts (in debug builds) that nothing follows a close.
        if self.is_over || self.has_closed && self.is_tampered {
            return;
        }
        let mut bytes = [self.session.kept(), &arrived].concat();
        let mut plain = Vec::new();
        match self.session.receive(&mut bytes, &mut plain, out) {
            Ok(progress) => {
                self.heard.extend_from_slice(&plain);
                self.is_over = progress == Progress::Closed;
            }
            Err(error) => {
                assert!(self.is_tampered, "{error} without damage");
                self.is_over = true;
            }
        }
        assert!(self.session.kept().len() <= KEPT_BYTES_MAX);
        assert!(self.told.starts_with(&self.heard), "something was heard that nobody said");
    }
}

fn say<A: Side, B>(from: &mut End<A>, to: &mut End<B>, text: &[u8]) {
    if !from.is_over && !from.has_closed && from.session.progress() == Progress::Established {
        let mut sealed = Vec::new();
        from.session.seal(text, &mut sealed).expect("established");
        to.incoming.extend_from_slice(&sealed);
        to.told.extend_from_slice(text);
    }
}

fn close<A: Side, B>(from: &mut End<A>, to: &mut End<B>) {
    if !from.is_over && !from.has_closed && from.session.progress() == Progress::Established {
        from.session.close(&mut to.incoming);
        from.has_closed = true;
    }
}

fn tamper<S>(end: &mut End<S>, place: u16, change: u8) {
    let length = end.incoming.len().max(1);
    if let Some(byte) = end.incoming.get_mut(usize::from(place) % length) {
        *byte ^= change;
        end.is_tampered |= change != 0;
    }
}

fn converse(acts: Vec<Act>) {
    let (server, client) = configurations();
    let mut first = Vec::new();
    let client = client(&mut first);
    let mut server = End::new(ServerSession::server(server.config()).expect("usable"), first);
    let mut client = End::new(client, Vec::new());
    for act in acts {
        match act {
            Act::Deliver { to_server: true, size_bytes } => server.take(size_bytes.into(), &mut client.incoming),
            Act::Deliver { to_server: false, size_bytes } => client.take(size_bytes.into(), &mut server.incoming),
            Act::Damage { to_server: true, place, change } => tamper(&mut server, place, change),
            Act::Damage { to_server: false, place, change } => tamper(&mut client, place, change),
            Act::Insert { to_server: true, bytes } => {
                server.is_tampered |= !bytes.is_empty();
                server.incoming.extend_from_slice(&bytes);
            }
            Act::Insert { to_server: false, bytes } => {
                client.is_tampered |= !bytes.is_empty();
                client.incoming.extend_from_slice(&bytes);
            }
            Act::Say { by_server: true, text } => say(&mut server, &mut client, &text),
            Act::Say { by_server: false, text } => say(&mut client, &mut server, &text),
            Act::Close { by_server: true } => close(&mut server, &mut client),
            Act::Close { by_server: false } => close(&mut client, &mut server),
        }
        // What damage does to one side, that one tells the other.
        let is_tampered = server.is_tampered || client.is_tampered;
        (server.is_tampered, client.is_tampered) = (is_tampered, is_tampered);
    }
    for _ in 0..8 {
        server.take(usize::MAX, &mut client.incoming);
        client.take(usize::MAX, &mut server.incoming);
    }
    if !server.is_tampered && !server.is_over && !client.is_over {
        assert_eq!(
            (server.session.progress(), client.session.progress()),
            (Progress::Established, Progress::Established)
        );
        assert_eq!((&server.heard, &client.heard), (&server.told, &client.told));
    }
}

fuzz_target!(|case: Case| match case {
    Case::Nobody { bytes, pieces } => {
        let session = ServerSession::server(configurations().0.config()).expect("usable");
        let mut server = End::new(session, bytes);
        server.is_tampered = true;
        let mut out = Vec::new();
        for piece in pieces.iter().map(|piece| usize::from(*piece)).chain([usize::MAX]) {
            server.take(piece, &mut out);
            assert!(server.heard.is_empty(), "nobody was heard");
        }
    }
    Case::Conversation(acts) => converse(acts),
});
