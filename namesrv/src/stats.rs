//! What a name server has counted since it started.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters, live: relaxed atomics, since they are for reading by people.
        #[derive(Debug, Default)]
        pub(crate) struct Stats {
            $(pub(crate) $name: Counter,)*
            /// Connections that are open now.
            pub(crate) connections: AtomicUsize,
            /// Of these, shaking hands.
            pub(crate) handshakes: AtomicUsize,
            /// Bytes in the buffers of all connections.
            pub(crate) buffered_bytes: AtomicUsize,
        }

        /// The counters at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections that are open now.
            pub connections: usize,
            /// Of these, shaking hands.
            pub handshakes: usize,
            /// Bytes in the buffers of all connections.
            pub buffered_bytes: usize,
        }

        impl Stats {
            pub(crate) fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot {
                    $($name: self.$name.get(),)*
                    connections: self.connections.load(Ordering::Relaxed),
                    handshakes: self.handshakes.load(Ordering::Relaxed),
                    buffered_bytes: self.buffered_bytes.load(Ordering::Relaxed),
                }
            }
        }
    };
}

counters! {
    /// Connections accepted, those included that were closed at once.
    accepted,
    /// Connections closed at once: there were too many.
    refused_full,
    /// Connections closed because all buffers together were full.
    closed_no_memory,
    /// Connections closed after too long a silence.
    closed_idle,
    /// Connections closed because a frame, or the taking of an answer, took too long.
    closed_slow,
    /// Connections closed because their bytes were no remoting frame.
    closed_malformed,
    /// Connections that began with another protocol than remoting or HTTP.
    closed_other_protocol,
    /// Connections that began a handshake of TLS.
    tls,
    /// Connections closed because TLS with them failed, or too many were shaking hands.
    closed_tls,
    /// Connections closed because they began without TLS where that is enforced.
    closed_plain,
    /// Connections that began with HTTP and got one sentence.
    answered_http,
    /// Requests carried out.
    requests,
    /// Of these, with code 3: not known here.
    requests_not_supported,
    /// Connections whose task panicked: a bug.
    panics,
}

/// One number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
