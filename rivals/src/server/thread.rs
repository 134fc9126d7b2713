//! A thread of the operating system for each connection, with std's default stack.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;

use super::{ADDRESS, BUFFER, announce};

pub(super) fn serve() -> Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    announce(listener.local_addr())?;
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::Builder::new().spawn(move || converse(stream))?;
    }
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
