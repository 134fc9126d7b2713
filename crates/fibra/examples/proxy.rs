//! A TCP proxy: what comes to one address goes on to another, and back, and neither way through the program's memory.
//!
//! `cargo run --example proxy 127.0.0.1:7008 127.0.0.1:7007` forwards the first address to the second until it is killed; without addresses it stands between
//! itself and an echo for a moment, and ends.

use fibra::io::copy;
use fibra::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let addresses = arguments.next().zip(arguments.next());
    fibra::run(|| {
        if let Some((here, there)) = addresses {
            let there = there.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            return forward(&TcpListener::bind(here)?, there);
        }
        let (echo, proxy) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (there, here) = (echo.local_addr()?, proxy.local_addr()?);
        fibra::Builder::new().daemon(true).spawn(move || forward(&proxy, there))?;
        fibra::Builder::new().daemon(true).spawn(move || {
            let (stream, _) = echo.accept()?;
            copy(&mut &stream, &mut &stream)
        })?;
        let mut client = TcpStream::connect(here)?;
        client.write_all(b"there and back")?;
        client.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        println!("by way of {here}: {answer}");
        assert_eq!(answer, "there and back");
        Ok(())
    })
}

/// Forwards each connection by two coroutines, one for each direction.
fn forward(listener: &TcpListener, to: SocketAddr) -> io::Result<()> {
    for client in listener.incoming() {
        let client = client?;
        fibra::Builder::new().daemon(true).spawn(move || {
            let result = TcpStream::connect(to).and_then(|server| {
                fibra::scope(|scope| {
                    let there = scope.spawn(|| one_way(&client, &server));
                    let back = one_way(&server, &client);
                    there.join().unwrap_or(Ok(())).and(back)
                })
            });
            if let Err(error) = result {
                eprintln!("a connection ended early: {error}");
            }
        })?;
    }
    Ok(())
}

/// Copies until one end has no more to say, and says so to the other, whose answer may still be on its way. After an error nobody waits for the other direction any more.
fn one_way(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write));
    if copied.is_err() {
        from.close();
        to.close();
    }
    copied
}
