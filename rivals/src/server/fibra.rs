//! fibra: a coroutine a connection, written like a thread. Two ways to wait for the next request: read into a buffer
//! on the coroutine's stack, which then stays resident while it waits; or wait until the socket is readable, and only
//! then borrow a buffer of the worker's.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};

use anyhow::Result;
use fibra::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};
use crate::runtime::{Blocking as _, Fibra};

pub(super) fn serve(converse: fn(TcpStream)) -> Result<()> {
    Fibra::start(move || {
        let listener = TcpListener::bind(ADDRESS)?;
        announce(listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept()?;
            Fibra::spawn(move || converse(stream));
        }
    })?
}

thread_local! {
    /// Buffers not borrowed now. There are as many as conversations have at one time been between a read and the end of
    /// its write: one, unless a write has to wait.
    static BUFFERS: RefCell<Vec<Box<[u8; BUFFER]>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn converse_borrowing(stream: TcpStream) {
    while stream.wait_readable().is_ok() {
        let buffer = BUFFERS.with_borrow_mut(Vec::pop);
        let mut buffer = buffer.unwrap_or_else(|| Box::new([0; BUFFER]));
        let goes_on = match (&stream).read(&mut buffer[..]) {
            Ok(0) | Err(_) => false,
            Ok(received) => (&stream).write_all(&buffer[..received]).is_ok(),
        };
        // The coroutine is pinned to its worker: this is the list the buffer came from.
        BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
        if !goes_on {
            return;
        }
    }
}
