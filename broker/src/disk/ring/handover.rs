//! Descriptors on their way between the standard library and glommio, which knows them only as bare numbers.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};

use glommio::net;

/// Gives a listening socket to the calling executor.
#[expect(unsafe_code, reason = "glommio takes a listener as a bare descriptor")]
pub fn listener(listener: TcpListener) -> net::TcpListener {
    // SAFETY: `into_raw_fd` gives up the only owner of an open listening socket; glommio's listener closes it.
    unsafe { net::TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// The descriptor of a connection, for calls that glommio does not offer.
#[expect(unsafe_code, reason = "glommio shows its descriptor as a bare number")]
pub fn descriptor(stream: &net::TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and keeps it open as long as it lives, which the borrow does not outlast.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}
