//! The HTTP conversation.

use super::super::deadlines::after;
use super::buffers::{self, Buffers};
use super::{read, wait_readable};
use crate::protocol::http::{Connection, FileSpan, Found, Next, Service, Wanted};
use fibra::Enrolled;
use fibra::fs::File;
use fibra::net::{Shutdown, TcpStream};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How many bytes of a file are sent at once.
const CHUNK: usize = 64 << 10;

/// Answers requests until the client closes or is too slow, or the server stops.
pub(super) fn converse(stream: &TcpStream, service: &Arc<Service>, idle: &Enrolled) -> io::Result<()> {
    let limits = service.limits();
    let mut connection = Connection::new();
    let mut stage = (connection.stage(), Instant::now());
    loop {
        let stopping = idle.stop().is_triggered();
        if stopping {
            connection.finish();
        }
        match buffers::with(|buffers| turn(stream, service, &mut connection, buffers, stopping)) {
            Ok(Turn::Again) => continue,
            Ok(Turn::Over) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Nothing is there: wait, without a buffer.
        if stopping && connection.is_idle() {
            return Ok(());
        }
        if connection.stage() != stage.0 {
            stage = (connection.stage(), Instant::now());
        }
        let patience = limits.patience(stage.0.phase).saturating_sub(stage.1.elapsed());
        let waited = if patience.is_zero() {
            Err(ErrorKind::WouldBlock.into())
        } else if connection.is_idle() {
            match wait_readable(stream, idle, patience) {
                Ok(waited) => waited,
                // The server stops: one more look, without waiting, for what has arrived already.
                Err(_) => Ok(()),
            }
        } else {
            stream.set_read_timeout(Some(patience)).and_then(|()| stream.wait_readable())
        };
        match waited {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return buffers::with(|buffers| {
                    buffers.date.refresh(SystemTime::now());
                    let next = connection.expire(&buffers.date, &mut buffers.output);
                    advance(stream, service, &mut connection, buffers, next).map(drop)
                });
            }
            Err(error) => return Err(error),
        }
    }
}

enum Turn {
    /// More may be there.
    Again,
    /// The connection has been closed in good order.
    Over,
}

/// Reads what is there and answers it.
#[inline]
fn turn(
    stream: &TcpStream,
    service: &Arc<Service>,
    connection: &mut Connection,
    buffers: &mut Buffers,
    stopping: bool,
) -> io::Result<Turn> {
    let length = read(stream, &mut buffers.input, stopping)?;
    if length == 0 {
        return Ok(Turn::Over);
    }
    buffers.date.refresh(SystemTime::now());
    let next = connection.receive(&buffers.input[..length], service, &buffers.date, &mut buffers.output);
    advance(stream, service, connection, buffers, next)
}

/// Does what the protocol says, until it wants to receive.
fn advance(
    stream: &TcpStream,
    service: &Arc<Service>,
    connection: &mut Connection,
    buffers: &mut Buffers,
    mut next: Next,
) -> io::Result<Turn> {
    loop {
        next = match next {
            Next::Receive => {
                send(stream, &mut buffers.output)?;
                return Ok(Turn::Again);
            }
            Next::Send => {
                send(stream, &mut buffers.output)?;
                buffers.date.refresh(SystemTime::now());
                connection.resume(service, &buffers.date, &mut buffers.output)
            }
            Next::Open(wanted) => {
                let found = find(*wanted, service)?;
                buffers.date.refresh(SystemTime::now());
                connection.opened(found, service, &buffers.date, &mut buffers.output)
            }
            Next::SendFile(span) => {
                // Several writes make up one answer: the last must not wait for the client's acknowledgement.
                stream.set_nodelay(true)?;
                send(stream, &mut buffers.output)?;
                send_file(stream, span, &mut buffers.output)?;
                buffers.date.refresh(SystemTime::now());
                connection.resume(service, &buffers.date, &mut buffers.output)
            }
            Next::Close { linger } => {
                send(stream, &mut buffers.output)?;
                if linger {
                    self::linger(stream, service, &mut buffers.input)?;
                }
                return Ok(Turn::Over);
            }
        };
    }
}

/// Looks for a file on the pool, since the filesystem may block. Without a thread for it the client is asked to come again.
fn find(wanted: Wanted, service: &Arc<Service>) -> io::Result<Found> {
    let unavailable = wanted.unavailable();
    let of_lookup = Arc::clone(service);
    let lookup = move || wanted.find(of_lookup.site());
    // It panics when the pool has no thread and can start none.
    match catch_unwind(AssertUnwindSafe(|| fibra::spawn_blocking(lookup))) {
        Ok(looking) => looking.join().map_err(|_| io::Error::other("looking up a file panicked")),
        Err(_) => Ok(unavailable),
    }
}

/// Sends the output and empties it. A client that does not read is an error of its own, so that it is not taken for a socket with
/// nothing to read.
#[inline]
fn send(mut stream: &TcpStream, output: &mut Vec<u8>) -> io::Result<()> {
    if !output.is_empty() {
        stream.write_all(output).map_err(too_slow)?;
        output.clear();
    }
    Ok(())
}

fn too_slow(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Sends a part of a file, a chunk at a time.
fn send_file(mut stream: &TcpStream, span: FileSpan, chunk: &mut Vec<u8>) -> io::Result<()> {
    let FileSpan { file, mut offset, len } = span;
    let file = File::from(file);
    let end = offset + len;
    chunk.resize(CHUNK.min(usize::try_from(len).unwrap_or(CHUNK)), 0);
    while offset < end {
        let most = chunk.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        match file.read_at(&mut chunk[..most], offset)? {
            // The file is shorter than was promised.
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                stream.write_all(&chunk[..read]).map_err(too_slow)?;
                offset += read as u64;
            }
        }
    }
    chunk.clear();
    Ok(())
}

/// Lets the client read the last answer: closing with unread bytes in the socket would send a reset that can overtake it.
fn linger(stream: &TcpStream, service: &Service, input: &mut [u8]) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let until = after(Instant::now(), service.limits().linger_deadline);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        let mut reader = stream;
        match io::Read::read(&mut reader, input) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
