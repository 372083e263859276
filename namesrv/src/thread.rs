//! A name server on a thread of its own, for programs that are not on tokio (an embedded cluster, tests).

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::server::{Config, Server, StartError, StatsHandle};
use crate::stats::StatsSnapshot;

/// A running name server. It stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// Where it listens, with the real port.
    pub addr: SocketAddr,
    stats: StatsHandle,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Starts a name server on a new thread; it listens when this returns.
pub fn spawn_thread(config: Config) -> io::Result<Handle> {
    let (bound_sender, bound) = mpsc::sync_channel::<io::Result<(SocketAddr, StatsHandle)>>(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("namesrv".to_owned()).spawn(move || {
        let bind = || -> io::Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let server = runtime.block_on(Server::bind(config)).map_err(|error| match error {
                StartError::Listen { source, .. } => source,
                other => io::Error::other(other),
            })?;
            Ok((runtime, server))
        };
        // That nobody listens to the outcome any more is impossible: the starter waits for it below.
        match bind() {
            Err(error) => drop(bound_sender.send(Err(error))),
            Ok((runtime, server)) => {
                drop(bound_sender.send(Ok((server.local_addr(), server.stats()))));
                // A sender that was dropped stops the server as well.
                runtime.block_on(server.run(async { drop(stopped.await) }));
            }
        }
    })?;
    let (addr, stats) = bound.recv().map_err(|_| io::Error::other("the name server's thread ended early"))??;
    Ok(Handle { addr, stats, running: Some((stop, thread)) })
}

impl Handle {
    /// The counters now.
    pub fn stats(&self) -> StatsSnapshot {
        self.stats.snapshot()
    }

    /// Stops the server, closes its connections and waits for its thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the name server's thread panicked");
            }
        }
    }
}
