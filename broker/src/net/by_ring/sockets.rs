//! Connections and listeners that the ring watches: one look at its completions names everything that is ready, and the
//! loop serves each in turn. No task, no waker and no entry per receive.

use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::AsFd;

use hashbrown::HashMap;

use super::link::{Link, Over};
use super::{Plane, interval_ns};
use crate::disk::ring::{Ready, SocketToken};
use crate::net::plane::{ACCEPT_REST, RECEIVE_BYTES_MAX};
use crate::net::{StepMachine, socket};
use crate::shard::io::ConnectionId;

/// Bytes received before turns, time and messages have theirs: about as much as one commit holds.
pub(super) const PASS_BYTES_MAX: usize = 1 << 20;

/// Sockets served between two looks at the ring.
const SERVED_PER_LOOK: usize = 16;

/// Connections accepted from a listener before others have their turn.
const ACCEPTS_MAX: usize = 64;

/// Everything that is watched.
#[derive(Default)]
pub(super) struct SocketTable {
    entries: HashMap<SocketToken, Entry, foldhash::fast::FixedState>,
    /// Connections that are over for the driver and not yet for the ring.
    over: Over,
    /// To be served, though nothing new may have arrived.
    again: Vec<Ready>,
    /// Listeners that rest, and until when.
    resting: Vec<(u64, SocketToken)>,
    /// Memory for what one pass serves.
    ready: Vec<Ready>,
    writable: Vec<SocketToken>,
}

enum Entry {
    Connection { shard: usize, connection: ConnectionId, link: Link },
    Listener { shard: usize, listener: TcpListener },
}

impl SocketTable {
    /// Something must be served before the thread may sleep.
    pub(super) fn has_more(&self) -> bool {
        !self.again.is_empty()
    }

    /// When the next rest of a listener is over.
    pub(super) fn rest_until_boot_ns(&self) -> Option<u64> {
        self.resting.iter().map(|(until, _)| *until).min()
    }

    fn again(&mut self, token: SocketToken) {
        self.again.push(Ready { token, last: false, unwatched: false });
    }
}

impl<M: StepMachine> Plane<M> {
    /// Accepts from `listener` for `shard` from now on.
    pub(super) fn listen(&mut self, shard: usize, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let token = self.ring.socket_token();
        self.ring.watch(listener.as_fd(), token)?;
        self.sockets.entries.insert(token, Entry::Listener { shard, listener });
        Ok(())
    }

    /// The ports of an ended shard are closed.
    pub(super) fn close_listeners(&mut self, ended: usize) {
        let of_ended = |entry: &Entry| matches!(entry, Entry::Listener { shard, .. } if *shard == ended);
        for (token, _) in self.sockets.entries.extract_if(|_, entry| of_ended(entry)) {
            self.ring.unwatch(token);
        }
    }

    /// Connections that the driver has closed leave the ring.
    pub(super) fn let_go(&mut self) {
        let mut over = self.sockets.over.borrow_mut();
        for token in over.drain(..) {
            // One that was refused has never been watched.
            if self.sockets.entries.remove(&token).is_some() {
                self.ring.unwatch(token);
            }
        }
    }

    /// The kernel took less than all of a connection's output.
    pub(super) fn wait_for_room(&mut self, shard: usize, connection: ConnectionId) -> io::Result<()> {
        match self.shards[shard].driver.socket(connection) {
            Some(link) => self.ring.watch_room(link.fd(), link.token()),
            None => Ok(()),
        }
    }

    /// A connection may be received from again: what came meanwhile has been told of already.
    pub(super) fn look_again(&mut self, shard: usize, connection: ConnectionId) {
        if let Some(link) = self.shards[shard].driver.socket(connection) {
            let token = link.token();
            self.sockets.again(token);
        }
    }

    /// Serves what is ready as far as one pass goes; true when there is more, which comes first in the next pass.
    pub(super) fn serve_sockets(&mut self) -> io::Result<bool> {
        let mut writable = mem::take(&mut self.sockets.writable);
        self.ring.take_writable(&mut writable);
        for token in writable.drain(..) {
            self.send_rest(token)?;
        }
        self.sockets.writable = writable;
        let now = self.now.boot_ns;
        let SocketTable { again, resting, .. } = &mut self.sockets;
        for (_, token) in resting.extract_if(.., |(until, _)| *until <= now) {
            again.push(Ready { token, last: false, unwatched: false });
        }

        let mut ready = mem::take(&mut self.sockets.ready);
        ready.append(&mut self.sockets.again);
        self.ring.take_ready(&mut ready);
        let (mut received_bytes, mut done) = (0, 0);
        let mut result = Ok(());
        while received_bytes < PASS_BYTES_MAX && done < ready.len() && result.is_ok() {
            result = self.serve_one(ready[done]).map(|count| received_bytes += count);
            done += 1;
            if done % SERVED_PER_LOOK == 0 && result.is_ok() {
                // A flush that follows a write needs this thread to go on.
                result = self.ring.look();
            }
        }
        ready.drain(..done);
        let is_full = !ready.is_empty();
        self.sockets.again.splice(..0, ready.drain(..));
        self.sockets.ready = ready;
        result.map(|()| is_full)
    }

    fn send_rest(&mut self, token: SocketToken) -> io::Result<()> {
        let Some(&Entry::Connection { shard, connection, .. }) = self.sockets.entries.get(&token) else {
            return Ok(());
        };
        self.shards[shard].driver.writable(self.now, connection, &mut self.ring);
        self.see_to(shard)
    }

    /// How many bytes were received, or what else that cost in bytes.
    fn serve_one(&mut self, ready: Ready) -> io::Result<usize> {
        match self.sockets.entries.get(&ready.token) {
            // A late word of a connection that is gone is nobody's.
            None => Ok(0),
            Some(Entry::Connection { shard, connection, link }) => {
                let (shard, connection, link) = (*shard, *connection, link.clone());
                self.receive(ready, shard, connection, &link)
            }
            Some(Entry::Listener { listener, .. }) => {
                if ready.unwatched {
                    self.ring.watch(listener.as_fd(), ready.token)?;
                }
                // One that rests is told of each further client.
                match self.sockets.resting.iter().any(|(_, token)| *token == ready.token) {
                    true => Ok(0),
                    false => self.accept(ready.token).map(|()| 0),
                }
            }
        }
    }

    fn receive(&mut self, ready: Ready, shard: usize, connection: ConnectionId, link: &Link) -> io::Result<usize> {
        if ready.last {
            link.set_last();
        }
        if ready.unwatched && !link.is_last() {
            self.ring.watch(link.fd(), ready.token)?;
        }
        if link.is_paused() {
            // Resuming looks again.
            return Ok(0);
        }
        let driver = &mut self.shards[shard].driver;
        let mut received = 0;
        match socket::receive(link.fd(), self.buffer.space()) {
            Ok(count) if count > 0 => {
                received = driver.receive(self.now, connection, &mut self.buffer, count, &mut self.ring);
                // A full buffer says that there is more; after the last word, only the end says that there is not.
                if count == RECEIVE_BYTES_MAX || link.is_last() {
                    self.sockets.again(ready.token);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !link.is_last() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.sockets.again(ready.token),
            Ok(_) | Err(_) => driver.hang_up(self.now, connection, &mut self.ring),
        }
        self.see_to(shard)?;
        Ok(received)
    }

    fn accept(&mut self, token: SocketToken) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            let Some(Entry::Listener { shard, listener }) = self.sockets.entries.get(&token) else { return Ok(()) };
            let shard = *shard;
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // Gone before it was looked at.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        self.sockets.resting.push((self.now.boot_ns + interval_ns(ACCEPT_REST), token));
                        return Ok(());
                    }
                },
            };
            socket::prepare(stream.as_fd());
            let token = self.ring.socket_token();
            let link = Link::new(stream, token, Over::clone(&self.sockets.over));
            let opened = self.shards[shard].driver.open(self.now, link.clone(), peer.into(), &mut self.ring);
            if let Some(connection) = opened.filter(|_| !link.is_closed()) {
                self.ring.watch(link.fd(), token)?;
                self.sockets.entries.insert(token, Entry::Connection { shard, connection, link });
            }
            self.see_to(shard)?;
        }
        self.sockets.again(token);
        Ok(())
    }
}
