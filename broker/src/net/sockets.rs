//! Receiving as the ring tells: one look at its completions names every connection that has something, and the executor's
//! one task receives from each in turn. No task, no waker and no entry per receive.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;

use glommio::net::TcpStream;
use hashbrown::HashMap;

use super::StepMachine;
use super::clock::now;
use super::link::{Link, Watched};
use super::plane::{Plane, RECEIVE_BYTES_MAX};
use crate::disk::ring::{Ready, SocketToken};
use crate::shard::io::ConnectionId;

/// Bytes received before turns, timers and messages have theirs: about as much as one commit holds.
const PASS_BYTES_MAX: usize = 1 << 20;

/// Connections that the ring watches.
#[derive(Default)]
pub(super) struct SocketTable {
    connections: RefCell<HashMap<SocketToken, Entry, foldhash::fast::FixedState>>,
    /// Connections that are over for the driver and not yet for the ring.
    over: Rc<RefCell<Vec<SocketToken>>>,
    /// To be received from, though nothing new may have arrived.
    again: RefCell<Vec<Ready>>,
    /// Memory for what one look names.
    ready: RefCell<Vec<Ready>>,
}

#[derive(Clone)]
struct Entry {
    shard: usize,
    connection: ConnectionId,
    link: Link,
}

impl<M: StepMachine + 'static> Plane<M> {
    fn table(&self) -> &SocketTable {
        self.sockets.as_ref().expect("asked of an executor whose ring watches")
    }

    /// Opens a connection that the ring watches.
    pub(super) fn open_watched(self: &Rc<Self>, shard: usize, stream: TcpStream, peer: SocketAddr) {
        let table = self.table();
        let token = self.ring.borrow_mut().socket_token();
        let link = Link::new(stream, Some(Watched { token, over: Rc::clone(&table.over) }));
        let opened = self.call(shard, |driver, ring| driver.open(now(), link.clone(), peer.into(), ring));
        let Some(connection) = opened.filter(|_| !link.is_closed()) else { return };
        let watched = link.watch(&mut self.ring.borrow_mut());
        table.connections.borrow_mut().insert(token, Entry { shard, connection, link });
        if let Err(error) = watched {
            self.fail(&format!("the executor's ring failed: {error}"));
        }
    }

    /// Connections that the driver closed leave the ring; those that it resumed are looked at.
    pub(super) fn after_call(self: &Rc<Self>, shard: usize, resumed: &[ConnectionId]) {
        let table = self.table();
        for connection in resumed {
            let token = self.shards[shard].driver.borrow().socket(*connection).and_then(Link::token);
            if let Some(token) = token {
                table.again.borrow_mut().push(Ready { token, last: false, unwatched: false });
            }
        }
        if !resumed.is_empty() {
            // The task that receives may be asleep: this was another's call.
            self.ring.borrow().wake().handle().wake();
        }
        for token in mem::take(&mut *table.over.borrow_mut()) {
            table.connections.borrow_mut().remove(&token);
            let ended = self.ring.borrow_mut().unwatch(token);
            if let Err(error) = ended {
                tracing::error!(%error, "a closed connection stays with the ring");
            }
        }
    }

    /// Receives from the connections that the last look at the ring named, as far as one pass goes; true when there were
    /// any. The others come first in the next pass.
    pub(super) fn receive_ready(self: &Rc<Self>) -> bool {
        let Some(table) = &self.sockets else { return false };
        let mut ready = mem::take(&mut *table.ready.borrow_mut());
        ready.append(&mut table.again.borrow_mut());
        self.ring.borrow_mut().take_ready(&mut ready);
        let any = !ready.is_empty();
        let (mut received_bytes, mut done) = (0, 0);
        while received_bytes < PASS_BYTES_MAX && done < ready.len() {
            received_bytes += self.receive_one(table, ready[done]);
            done += 1;
        }
        ready.drain(..done);
        if !ready.is_empty() {
            let mut again = table.again.borrow_mut();
            again.splice(..0, ready.drain(..));
        }
        *table.ready.borrow_mut() = ready;
        any
    }

    /// How many bytes there were.
    fn receive_one(self: &Rc<Self>, table: &SocketTable, ready: Ready) -> usize {
        // A late word of a connection that is gone is nobody's.
        let Some(Entry { shard, connection, link }) = table.connections.borrow().get(&ready.token).cloned() else {
            return 0;
        };
        if ready.last {
            link.set_last();
        }
        if ready.unwatched && !link.is_last() {
            let watched = link.watch(&mut self.ring.borrow_mut());
            if let Err(error) = watched {
                self.fail(&format!("the executor's ring failed: {error}"));
                return 0;
            }
        }
        if link.is_paused() {
            // Resuming looks again.
            return 0;
        }
        let received = link.receive_now(&mut self.buffer.borrow_mut());
        match received {
            Ok(count) if count > 0 => {
                self.call(shard, |driver, ring| {
                    driver.receive(now(), connection, &self.buffer.borrow()[..count], ring);
                });
                // A full buffer says that there is more; after the last word, only the end says that there is not.
                if count == RECEIVE_BYTES_MAX || link.is_last() {
                    table.again.borrow_mut().push(Ready { unwatched: false, ..ready });
                }
                return count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.last => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                table.again.borrow_mut().push(Ready { unwatched: false, ..ready });
            }
            Ok(_) | Err(_) => self.call(shard, |driver, ring| driver.hang_up(now(), connection, ring)),
        }
        0
    }
}
