//! TLS of RingMQ's servers and clients, without a socket, a thread or a clock of its own (but for `ClientStream`, which is
//! tokio's).
//!
//! [`settings`] are RocketMQ's (`tls.server.mode` and its siblings). From them come a [`ServerTls`], which holds what a server
//! shows and asks for and reads changed files again, and a [`ClientTls`], which says whom a client trusts. A [`Session`] is one
//! connection's state: received bytes in, messages and bytes to send out; broker, name server and clients put it between
//! their sockets and what they speak. Below is rustls with *ring* as its provider: that needs a C compiler and nothing else.
//!
//! **No bytes of a peer take memory beyond [`limits`]; no error names a key.**

mod any_client;
mod client;
mod error;
pub mod limits;
mod pem;
mod seldom;
mod self_signed;
mod server;
mod session;
pub mod settings;
#[cfg(feature = "tokio")]
mod stream;
#[cfg(test)]
mod tests;

pub use client::{ClientTls, Trust};
pub use error::TlsError;
pub use seldom::Seldom;
pub use server::{Reload, ServerTls};
pub use session::{ClientSession, Progress, ServerSession, Session, Side};
pub use settings::{ClientAuth, Identity, Mode, Settings};
#[cfg(feature = "tokio")]
pub use stream::ClientStream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
