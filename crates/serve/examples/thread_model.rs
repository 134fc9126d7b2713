//! HTTP with a thread for each connection: the whole of a service model.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use fibra_serve::protocol::http::{Connection, Date, FileSpan, Next, Service};
use fibra_serve::{Limits, Site};

fn main() -> io::Result<()> {
    let service = Arc::new(Service::new(Site::root("public")?, Limits::default()));
    for socket in TcpListener::bind("127.0.0.1:8080")?.incoming() {
        let (socket, service) = (socket?, Arc::clone(&service));
        thread::spawn(move || converse(&socket, &service));
    }
    Ok(())
}

pub(crate) fn converse(mut socket: &TcpStream, service: &Service) -> io::Result<()> {
    let limits = service.limits();
    socket.set_write_timeout(Some(limits.write_timeout))?;
    let mut connection = Connection::new();
    let mut date = Date::at(SystemTime::now());
    let (mut input, mut out) = ([0; 8192], Vec::new());
    let mut stage = (connection.stage(), Instant::now());
    let mut next = Next::Receive;
    loop {
        next = match next {
            Next::Receive => {
                socket.write_all(&out)?;
                out.clear();
                if connection.stage() != stage.0 {
                    stage = (connection.stage(), Instant::now());
                }
                let patience = limits.patience(stage.0.phase).saturating_sub(stage.1.elapsed());
                let read = match patience.is_zero() {
                    true => Err(ErrorKind::WouldBlock.into()),
                    false => socket.set_read_timeout(Some(patience)).and_then(|()| socket.read(&mut input)),
                };
                date.refresh(SystemTime::now());
                match read {
                    Ok(0) => return Ok(()),
                    Ok(len) => connection.receive(&input[..len], service, &date, &mut out),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => connection.expire(&date, &mut out),
                    Err(error) => return Err(error),
                }
            }
            Next::Send => {
                socket.write_all(&out)?;
                out.clear();
                connection.resume(service, &date, &mut out)
            }
            // Here the filesystem may block; a model whose contexts must not block sends this elsewhere.
            Next::Open(wanted) => connection.opened(wanted.find(service.site()), service, &date, &mut out),
            Next::SendFile(span) => {
                socket.write_all(&out)?;
                out.clear();
                send(span, socket)?;
                connection.resume(service, &date, &mut out)
            }
            Next::Close { linger } => {
                socket.write_all(&out)?;
                if linger {
                    socket.shutdown(Shutdown::Write)?;
                    socket.set_read_timeout(Some(limits.linger_deadline))?;
                    let until = Instant::now() + limits.linger_deadline;
                    while Instant::now() < until && socket.read(&mut input)? > 0 {}
                }
                return Ok(());
            }
        };
    }
}

/// sendfile(2) does this without a copy through the process.
fn send(span: FileSpan, mut socket: &TcpStream) -> io::Result<()> {
    let FileSpan { file, mut offset, len } = span;
    let end = offset + len;
    let mut buffer = [0; 8192];
    while offset < end {
        let most = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let read = file.read_at(&mut buffer[..most], offset)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into()); // The file is shorter than was promised.
        }
        socket.write_all(&buffer[..read])?;
        offset += read as u64;
    }
    Ok(())
}
