//! Listening sockets, made by the standard library: glommio's own would share the port silently with another process
//! (SO_REUSEPORT).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Connections that the kernel keeps until they are accepted. When reached: the client tries again after a second.
const BACKLOG: i32 = 4096;

/// RocketMQ's clients up to 4.4 connect to the port minus this, the "VIP channel".
pub const VIP_PORT_DISTANCE: u16 = 2;

/// Why a port cannot be had, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error("port {0} is taken: stop the process that listens there, or choose another with --listen")]
    Taken(SocketAddr),
    /// The address is not of this host, the port needs privileges, and so on.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// How long a port may stay taken before it counts as taken: the kernel takes apart the rings of a process that was killed,
/// and with them the sockets they hold, some time after the process is gone.
const TAKEN_FOR: Duration = Duration::from_secs(2);

/// Binds `address` for one shard alone. Waits for up to two seconds while it is taken.
///
/// # Errors
/// When the port is taken or cannot be used.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        _ => ListenError::Io { address, source },
    };
    let began = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < TAKEN_FOR => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => break other.map_err(failed)?,
        }
    };
    rustix::net::listen(&listener, BACKLOG).map_err(|errno| failed(errno.into()))?;
    // Connections take this over. Where BBR is the default it shrinks the window to four packets for 200 ms now and then:
    // inside one machine there is no path to probe, and replies would wait for it.
    if address.ip().is_loopback()
        && let Err(errno) = rustix::net::sockopt::set_tcp_congestion(&listener, "reno")
    {
        tracing::debug!(%errno, "the system's congestion control stays");
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_in_use_is_refused_and_not_shared() {
        let first = listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = first.local_addr().expect("bound");
        assert!(matches!(listen(address), Err(ListenError::Taken(taken)) if taken == address));
    }
}
