//! Sockets in the hands of OS threads, and of threads and coroutines at once.

mod network;

use fibra::net::{Shutdown, TcpListener, TcpStream, UdpSocket, UnixStream};
use network::{Random, by_uring, on_workers, storm_end, tcp_pair, within};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..count]).unwrap();
    }
}

fn ask(address: fibra::net::SocketAddr, question: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, question);
}

#[test]
fn everything_works_without_any_runtime() {
    within(LIMIT, || {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for stream in listener.incoming().take(10) {
                echo(stream.unwrap());
            }
        });
        for _ in 0..5 {
            ask(address, b"plain threads");
            ask(address, &[1; 100_000]);
        }
        server.join().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.send_to(b"x", other.local_addr().unwrap()).unwrap();
        assert_eq!(other.recv_from(&mut [0; 8]).unwrap(), (1, one.local_addr().unwrap()));
        let (one, other) = UnixStream::pair().unwrap();
        one.wait_writable().unwrap();
        (&one).write_all(b"x").unwrap();
        other.wait_readable().unwrap();
        assert_eq!(other.try_read(&mut [0; 8]).unwrap(), 1);
        one.set_nonblocking(true).unwrap();
        assert_eq!((&one).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn threads_and_coroutines_talk_in_both_directions() {
    on_workers(&[1, 2], || {
        for threads_serve in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let serve = move || {
                for stream in listener.incoming().take(50) {
                    let stream = stream.unwrap();
                    if threads_serve {
                        thread::spawn(move || echo(stream));
                    } else {
                        fibra::spawn(move || echo(stream));
                    }
                }
            };
            let clients = move || (0..50).for_each(|_| ask(address, b"who is there?"));
            let (thread, coroutine) = if threads_serve {
                (thread::spawn(serve), fibra::spawn(clients))
            } else {
                (thread::spawn(clients), fibra::spawn(serve))
            };
            coroutine.join().unwrap();
            fibra::spawn_blocking(move || thread.join().unwrap()).join().unwrap();
        }
    });
}

/// A thread waits in the kernel and a coroutine at its driver, for the same bytes.
#[test]
fn bytes_go_to_a_thread_or_a_coroutine_and_never_to_both() {
    on_workers(&[1, 2, 4], || {
        let (random, until) = (Random::seeded(), storm_end());
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        let sum = Arc::new(AtomicU64::new(0));
        let read = |one: Arc<TcpStream>, sum: Arc<AtomicU64>| {
            move || {
                let (mut buffer, mut reads) = ([0; 3], 0_u64);
                loop {
                    match (&*one).read(&mut buffer).unwrap() {
                        0 => return reads,
                        count => {
                            sum.fetch_add(
                                buffer[..count].iter().map(|&byte| u64::from(byte)).sum(),
                                Ordering::AcqRel,
                            );
                            reads += 1;
                        }
                    }
                }
            }
        };
        let threads: Vec<_> =
            (0..2).map(|_| thread::spawn(read(Arc::clone(&one), Arc::clone(&sum)))).collect();
        let coroutines: Vec<_> =
            (0..2).map(|_| fibra::spawn(read(Arc::clone(&one), Arc::clone(&sum)))).collect();
        let mut sent = 0;
        while Instant::now() < until {
            let bytes: Vec<u8> = (0..1 + random.below(6)).map(|_| random.next() as u8).collect();
            sent += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
            other.write_all(&bytes).unwrap();
            if random.below(3) == 0 {
                fibra::sleep(random.micros(100));
            }
        }
        drop(other);
        let by_coroutines: u64 = coroutines.into_iter().map(|reader| reader.join().unwrap()).sum();
        let join = move || threads.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>();
        let by_threads = fibra::spawn_blocking(join).join().unwrap();
        assert_eq!(sum.load(Ordering::Acquire), sent);
        println!("{by_coroutines} by coroutines, {by_threads} by threads");
        // Where the kernel receives for the coroutines it may be quicker than any thread.
        assert!(by_coroutines > 0 && (by_threads > 0 || by_uring()));
    });
}

#[test]
fn socket_made_by_a_thread_is_waited_for_by_a_coroutine_of_the_default_runtime() {
    within(LIMIT, || {
        let (mut one, mut other) = tcp_pair();
        let reading = fibra::spawn(move || {
            let mut byte = [0];
            one.read_exact(&mut byte).unwrap();
            byte
        });
        other.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap(), *b"x");
    });
}
