//! The servers, one runtime a file, all on one worker. Each reads what there is into 4 KiB, sends it back, and closes
//! when the client has; none sets socket options, none has timeouts: what differs is how the waiting is done.

mod epoll;
#[cfg(feature = "fibra")]
mod fibra;
mod hyper;
mod may;
mod monoio;
mod thread;
mod tokio;
mod uring;

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::cli::{Protocol, Server};
use crate::rival::Rival;

/// Any free port of the loopback.
const ADDRESS: &str = "127.0.0.1:0";
/// What a conversation reads at once.
const BUFFER: usize = 4_096;
/// The page that every HTTP server here answers with.
const HELLO: &str = "hello\n";

/// Serves until it is killed.
pub(crate) fn serve(server: &Server) -> Result<()> {
    match (server.protocol, server.rival) {
        (Protocol::Echo, Rival::Epoll) => epoll::serve(epoll::Echo),
        (Protocol::Http, Rival::Epoll) => epoll::serve(epoll::Hello::new()),
        #[cfg(feature = "fibra")]
        (Protocol::Echo, Rival::Fibra | Rival::FibraUringSubmit | Rival::FibraUringTry) => {
            fibra::serve(converse)
        }
        #[cfg(feature = "fibra")]
        (Protocol::Echo, Rival::FibraShared) => fibra::serve(fibra::converse_borrowing),
        (Protocol::Echo, Rival::May) => may::serve(),
        (Protocol::Echo, Rival::Monoio) => monoio::serve(),
        (Protocol::Echo, rival @ (Rival::TokioCt | Rival::TokioMt1)) => tokio::serve(rival),
        (Protocol::Echo, Rival::Thread) => thread::serve(),
        (Protocol::Echo, Rival::Uring) => uring::serve(),
        (Protocol::Http, Rival::Hyper) => hyper::serve(),
        (_, rival) => bail!("there is no such server on {}", rival.label()),
    }
}

/// Tells the harness where to connect.
fn announce(address: io::Result<SocketAddr>) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "port {}", address?.port())?;
    out.flush()?;
    Ok(())
}

/// The conversation where reading and writing wait by themselves.
fn converse(mut stream: impl Read + Write) {
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
