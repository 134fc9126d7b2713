//! A thread of the operating system for each connection, with std's default stack.

use std::net::TcpListener;

use anyhow::Result;

use super::{ADDRESS, announce, converse};

pub(super) fn serve() -> Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    announce(listener.local_addr())?;
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::Builder::new().spawn(move || converse(stream))?;
    }
}
