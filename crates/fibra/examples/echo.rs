//! An echo server in straight-line blocking code: the example of the README.
//!
//! With an address (`cargo run --example echo 127.0.0.1:7007`) it serves until it is killed; without one it talks to itself once, and ends.

use fibra::net::{TcpListener, TcpStream};
use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    fibra::run(|| {
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0"))?;
        let here = listener.local_addr()?;
        println!("echo on {here}");
        if address.is_some() {
            return serve(&listener);
        }
        fibra::Builder::new().daemon(true).spawn(move || serve(&listener))?;
        let mut client = TcpStream::connect(here)?;
        client.write_all(b"hello")?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer)?;
        println!("it answers: {}", String::from_utf8_lossy(&answer));
        Ok(())
    })
}

fn serve(listener: &TcpListener) -> std::io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        fibra::Builder::new().daemon(true).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        })?;
    }
    Ok(())
}
