//! System calls on sockets that never wait, for both planes.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

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

/// Ends a connection: what was sent is delivered before the end; the descriptor is closed with its last holder.
pub(super) fn shut_down(socket: BorrowedFd<'_>) {
    if let Err(errno) = rustix::net::shutdown(socket, Shutdown::Both) {
        tracing::trace!(%errno, "the client was gone already");
    }
}
