//! may: a coroutine a connection.

use anyhow::Result;
use may::net::TcpListener;

use super::{ADDRESS, announce, converse};
use crate::runtime::{Blocking as _, May};

pub(super) fn serve() -> Result<()> {
    May::run(|| {
        let listener = TcpListener::bind(ADDRESS)?;
        announce(listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept()?;
            May::spawn(move || converse(stream));
        }
    })
}
