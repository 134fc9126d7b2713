//! A hundred thousand sockets that were opened, used and closed leave nothing behind. Alone in its file: it counts what the process has.

mod network;

use fibra::net::{TcpListener, TcpStream, UnixStream};
use network::{on_workers, open_descriptors, reset_on_close};
use std::io::{Read, Write};

const CYCLES: usize = if cfg!(debug_assertions) { 30_000 } else { 100_000 };

/// Resident memory in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn use_unix_sockets(cycles: usize) {
    for _ in 0..cycles {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let reading = fibra::spawn(move || one.read(&mut [0; 8]).unwrap());
        fibra::yield_now();
        other.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap(), 1);
    }
}

fn use_tcp_sockets(cycles: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = fibra::spawn(move || {
        for _ in 0..cycles {
            let (mut stream, _) = listener.accept().unwrap();
            fibra::spawn(move || while let Ok(1..) = stream.read(&mut [0; 8]) {});
        }
    });
    for _ in 0..cycles {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
        reset_on_close(&stream);
    }
    server.join().unwrap();
}

#[test]
fn nothing_is_left_of_a_hundred_thousand_sockets() {
    let before = open_descriptors();
    on_workers(&[1, 2], || {
        use_unix_sockets(2000);
        use_tcp_sockets(2000);
        let (descriptors, memory) = (open_descriptors(), resident());
        use_unix_sockets(CYCLES);
        use_tcp_sockets(CYCLES);
        let grown = resident().saturating_sub(memory);
        println!("{} KiB more", grown >> 10);
        assert!(grown < 4 << 20, "{grown} bytes have been left");
        // Server coroutines may be about to close the last of theirs.
        while open_descriptors() > descriptors {
            fibra::yield_now();
        }
    });
    assert_eq!(open_descriptors(), before);
}
