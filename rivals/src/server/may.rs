//! may: a coroutine a connection.

use std::io::{Read as _, Write as _};

use anyhow::Result;
use may::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};
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

fn converse(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(received) => {
                if stream.write_all(&buffer[..received]).is_err() {
                    return;
                }
            }
        }
    }
}
