//! The echo conversation.

use super::{buffers, read, wait_readable};
use crate::Limits;
use crate::protocol::echo::Echo;
use fibra::Enrolled;
use fibra::net::TcpStream;
use std::io::{self, ErrorKind, Write};

/// Echoes until the client says `done`, closes, or is silent for too long; or the server stops.
pub(super) fn converse(stream: &TcpStream, limits: &Limits, idle: &Enrolled) -> io::Result<()> {
    let mut echo = Echo::new();
    loop {
        let stopping = idle.stop().is_triggered();
        match buffers::with(|buffers| turn(stream, &mut echo, &mut buffers.input, stopping)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // The server stops, and every byte that has come has been answered.
            Err(error) if error.kind() == ErrorKind::WouldBlock && stopping => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match wait_readable(stream, idle, limits.idle_timeout) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Ok(Err(error)) => return Err(error),
                    // The server stops: one more look for what has come.
                    Err(_) => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Answers what is there. False when the conversation is over.
#[inline]
fn turn(mut stream: &TcpStream, echo: &mut Echo, buffer: &mut [u8], stopping: bool) -> io::Result<bool> {
    let length = read(stream, buffer, stopping)?;
    if length == 0 {
        return Ok(false);
    }
    let reply = echo.receive(&buffer[..length]);
    write(&mut stream, &buffer[..reply.echo])?;
    if !reply.then.is_empty() {
        write(&mut stream, reply.then)?;
    }
    Ok(!reply.close)
}

/// Writes everything; a client that does not read is an error of its own, so that it is not taken for a socket with nothing to read.
#[inline]
fn write(stream: &mut &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    })
}
