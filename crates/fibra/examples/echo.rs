//! An echo server in straight-line blocking code: the example of the README.

use fibra::net::TcpListener;
use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    fibra::run(|| {
        let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:7007".into()))?;
        println!("echo on {}", listener.local_addr()?);
        for stream in listener.incoming() {
            let mut stream = stream?;
            fibra::spawn(move || {
                let mut buffer = [0; 4096];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(n) if stream.write_all(&buffer[..n]).is_err() => return,
                        Ok(_) => {}
                    }
                }
            });
        }
        Ok(())
    })
}
