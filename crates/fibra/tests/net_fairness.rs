//! A socket that always has something keeps nobody else from running.

mod network;

use fibra::net::{TcpStream, UdpSocket, UnixStream};
use network::{on_workers, tcp_pair};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// On one worker: runs `operation` again and again until another coroutine has had a number of turns. When it is never the other's
/// turn, the test does not end.
fn others_run_during(operation: impl FnMut() + 'static) {
    let mut operation = operation;
    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&over);
    let other = fibra::spawn_local(move || {
        for _ in 0..200 {
            fibra::yield_now();
        }
        seen.store(true, Ordering::Relaxed);
    });
    while !over.load(Ordering::Relaxed) {
        operation();
    }
    other.join().unwrap();
}

/// A connection whose other end is written to, and read from, as fast as threads can.
fn busy_connection() -> TcpStream {
    let (one, other) = tcp_pair();
    let other = Arc::new(other);
    let writer = Arc::clone(&other);
    thread::spawn(move || while (&*writer).write(&[0; 1 << 16]).is_ok() {});
    thread::spawn(move || while let Ok(1..) = (&*other).read(&mut [0; 1 << 16]) {});
    // It is full before the test begins.
    let mut byte = [0];
    (&one).read_exact(&mut byte).unwrap();
    one
}

#[test]
fn reader_whose_reads_never_wait_lets_others_run() {
    on_workers(&[1], || {
        let stream = busy_connection();
        others_run_during(move || assert_eq!((&stream).read(&mut [0]).unwrap(), 1));
        let stream = busy_connection();
        others_run_during(move || assert_ne!(stream.peek(&mut [0; 100]).unwrap(), 0));
        let stream = busy_connection();
        others_run_during(move || stream.wait_readable().unwrap());
    });
}

#[test]
fn writer_whose_writes_never_wait_lets_others_run() {
    on_workers(&[1], || {
        let stream = busy_connection();
        others_run_during(move || assert_eq!((&stream).write(&[0]).unwrap(), 1));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        others_run_during(move || assert_eq!(socket.send_to(b"x", address).unwrap(), 1));
    });
}

#[test]
fn who_tries_again_and_again_lets_others_run() {
    on_workers(&[1], || {
        let (one, _other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        others_run_during(move || {
            assert_eq!((&one).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        });
        let (one, _other) = UnixStream::pair().unwrap();
        others_run_during(move || {
            assert_eq!(one.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        });
        let stream = busy_connection();
        others_run_during(move || assert_ne!(stream.try_read(&mut [0]).unwrap(), 0));
    });
}

/// Events are asked for also while some coroutine can always run.
#[test]
fn connection_is_served_while_others_are_busy() {
    on_workers(&[1], || {
        let (mut one, mut other) = tcp_pair();
        let over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let over = Arc::clone(&over);
                fibra::spawn_local(move || {
                    while !over.load(Ordering::Relaxed) {
                        fibra::yield_now()
                    }
                })
            })
            .collect();
        let echo = fibra::spawn_local(move || {
            let mut byte = [0];
            while let Ok(1) = other.read(&mut byte) {
                other.write_all(&byte).unwrap();
            }
        });
        for round in 0..100 {
            one.write_all(&[round]).unwrap();
            let mut byte = [0];
            one.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
        }
        drop(one);
        echo.join().unwrap();
        over.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|busy| busy.join().unwrap());
    });
}
