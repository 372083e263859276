//! System calls on sockets that never wait, for both planes.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

/// Sends what the kernel takes now.
pub(super) fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = match slices {
        [bytes] => rustix::net::send(socket, bytes, flags),
        _ => rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags),
    };
    Ok(sent?)
}

/// Receives what is there.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// A new connection: it is reset, not closed, if the process ends without a word.
pub(super) fn prepare(socket: BorrowedFd<'_>) {
    if let Err(errno) = rustix::net::sockopt::set_tcp_nodelay(socket, true) {
        tracing::debug!(%errno, "a connection that waits for small replies");
    }
    linger(socket, Some(Duration::ZERO));
}

fn linger(socket: BorrowedFd<'_>, linger: Option<Duration>) {
    if let Err(errno) = rustix::net::sockopt::set_socket_linger(socket, linger) {
        tracing::debug!(%errno, "a connection that ends as the system wants it to");
    }
}

/// Ends a connection with a reset. What the client has received it can still read.
pub(super) fn reset(socket: BorrowedFd<'_>) {
    linger(socket, Some(Duration::ZERO));
    if let Err(errno) = rustix::net::connect_unspec(socket) {
        tracing::trace!(%errno, "the client was gone already");
    }
}

/// Ends a connection: what was sent is delivered before the end; the descriptor is closed with its last holder.
pub(super) fn shut_down(socket: BorrowedFd<'_>) {
    linger(socket, None);
    if let Err(errno) = rustix::net::shutdown(socket, Shutdown::Both) {
        tracing::trace!(%errno, "the client was gone already");
    }
}
