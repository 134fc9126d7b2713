//! Closing sockets that are in use, and dropping handles to them.

mod network;

use fibra::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use network::{Random, duplicate, let_others_wait, on_workers, storm_end, tcp_pair, within};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];

fn is_closed<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotConnected);
}

fn fill(stream: &TcpStream) -> io::Result<()> {
    loop {
        { stream }.write_all(&[0; 1 << 16])?;
    }
}

/// Every way to wait for a TCP connection.
const WAITS: [fn(&TcpStream) -> io::Result<()>; 6] = [
    |stream| { stream }.read(&mut [0; 8]).map(drop),
    |stream| { stream }.read_vectored(&mut [io::IoSliceMut::new(&mut [0; 8])]).map(drop),
    |stream| stream.peek(&mut [0; 8]).map(drop),
    |stream| stream.wait_readable(),
    fill,
    |stream| {
        // What `fill` of another context leaves is no room at all, and this waits; or there is room now.
        stream.wait_writable()?;
        fill(stream)
    },
];

#[test]
fn close_ends_whatever_is_in_progress() {
    // From a coroutine and from a thread, with nobody waiting yet and with everybody.
    on_workers(BOTH, || {
        let random = Random::seeded();
        for round in 0..40 {
            let (one, _other) = tcp_pair();
            let one = Arc::new(one);
            let waiting: Vec<_> = WAITS
                .into_iter()
                .map(|wait| {
                    let one = if random.below(2) == 0 {
                        Arc::clone(&one)
                    } else {
                        Arc::new(one.try_clone().unwrap())
                    };
                    fibra::spawn(move || is_closed(wait(&one)))
                })
                .collect();
            let clone = one.try_clone().unwrap();
            let on_threads: Vec<_> = WAITS
                .into_iter()
                .map(|wait| {
                    let one = Arc::clone(&one);
                    thread::spawn(move || is_closed(wait(&one)))
                })
                .collect();
            if round % 4 > 0 {
                fibra::sleep(random.micros(500));
            }
            if round % 2 == 0 {
                clone.close();
            } else {
                fibra::spawn_blocking(move || clone.close()).join().unwrap();
            }
            waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
            fibra::spawn_blocking(move || on_threads.into_iter().for_each(|waiting| waiting.join().unwrap()))
                .join()
                .unwrap();
        }
    });
}

#[test]
fn operations_after_close_fail_on_all_clones() {
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        let clone = one.try_clone().unwrap();
        other.write_all(b"unread").unwrap();
        one.wait_readable().unwrap();
        one.close();
        one.close();
        for stream in [&one, &clone, &clone.try_clone().unwrap()] {
            for wait in WAITS {
                is_closed(wait(stream));
            }
            is_closed(stream.try_read(&mut [0; 8]));
            stream.set_nonblocking(true).unwrap();
            is_closed({ stream }.read(&mut [0; 8]));
            is_closed({ stream }.write(b"x"));
            stream.set_nonblocking(false).unwrap();
        }
        // The peer sees the end, as after a shutdown.
        assert!(matches!(other.read(&mut [0; 8]), Ok(0) | Err(_)));
    });
}

#[test]
fn close_ends_accepts() {
    on_workers(&[1, 2, 4], || {
        for from_thread in [false, true] {
            let tcp = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let path = std::env::temp_dir().join(format!("fibra-close-{}-{from_thread}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let unix = Arc::new(UnixListener::bind(&path).unwrap());
            let mut accepting = Vec::new();
            let mut on_threads = Vec::new();
            for _ in 0..4 {
                let (tcp, unix) = (Arc::clone(&tcp), Arc::clone(&unix));
                let (tcp_clone, unix_clone) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
                accepting.push(fibra::spawn(move || is_closed(tcp.accept())));
                accepting.push(fibra::spawn(move || is_closed(unix.accept())));
                on_threads.push(thread::spawn(move || is_closed(tcp_clone.accept())));
                on_threads.push(thread::spawn(move || is_closed(unix_clone.accept())));
            }
            fibra::sleep(Duration::from_millis(1));
            let address = tcp.local_addr().unwrap();
            let (tcp_too, unix_too) = (Arc::clone(&tcp), Arc::clone(&unix));
            let close = move || {
                tcp_too.close();
                unix_too.close();
            };
            if from_thread {
                fibra::spawn_blocking(close).join().unwrap();
            } else {
                close();
            }
            accepting.into_iter().for_each(|accepting| accepting.join().unwrap());
            fibra::spawn_blocking(move || on_threads.into_iter().for_each(|thread| thread.join().unwrap()))
                .join()
                .unwrap();
            assert!(TcpStream::connect(address).is_err(), "it does not listen any more");
            is_closed(tcp.accept());
            std::fs::remove_file(&path).unwrap();
        }
    });
}

#[test]
fn close_ends_waits_for_packets() {
    on_workers(BOTH, || {
        let udp = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let (unix, _other) = UnixDatagram::pair().unwrap();
        let unix = Arc::new(unix);
        let mut waiting = Vec::new();
        let mut on_threads = Vec::new();
        for _ in 0..3 {
            let (udp, unix) = (Arc::clone(&udp), Arc::clone(&unix));
            let (udp_too, unix_too) = (Arc::clone(&udp), Arc::clone(&unix));
            waiting.push(fibra::spawn(move || is_closed(udp.recv_from(&mut [0; 8]))));
            waiting.push(fibra::spawn(move || is_closed(unix.recv(&mut [0; 8]))));
            on_threads.push(thread::spawn(move || is_closed(udp_too.recv_from(&mut [0; 8]))));
            on_threads.push(thread::spawn(move || is_closed(unix_too.recv(&mut [0; 8]))));
        }
        fibra::sleep(Duration::from_millis(1));
        udp.close();
        unix.close();
        waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
        fibra::spawn_blocking(move || on_threads.into_iter().for_each(|thread| thread.join().unwrap()))
            .join()
            .unwrap();
    });
}

/// Close and a result in the same moment: the operation ends, one way or the other.
#[test]
fn close_in_the_midst_of_traffic_ends_it() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let (ended, ended_early) = (AtomicUsize::new(0), AtomicUsize::new(0));
        fibra::scope(|scope| {
            for _ in 0..8 {
                let random = random.split();
                let (ended, ended_early) = (&ended, &ended_early);
                scope.spawn(move || {
                    while Instant::now() < until {
                        let (one, other) = UnixStream::pair().unwrap();
                        let (one, closing) = (Arc::new(one), random.micros(200));
                        let reader = |stream: Arc<UnixStream>| {
                            move || {
                                let mut buffer = [0; 16];
                                while let Ok(1..) = (&*stream).read(&mut buffer) {}
                            }
                        };
                        let mut tasks = vec![
                            fibra::spawn(reader(Arc::clone(&one))),
                            fibra::spawn(reader(Arc::clone(&one))),
                            fibra::spawn(move || while (&other).write_all(b"some bytes").is_ok() {}),
                        ];
                        fibra::sleep(closing);
                        one.close();
                        if tasks[0].is_finished() {
                            ended_early.fetch_add(1, Ordering::Relaxed);
                        }
                        tasks.drain(..).for_each(|task| task.join().unwrap());
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        println!("{ended:?} closed, {ended_early:?} had ended before");
    });
}

#[test]
fn dropping_one_clone_leaves_the_other_working() {
    on_workers(BOTH, || {
        for waits_through_clone in [false, true] {
            let (one, mut other) = tcp_pair();
            let clone = one.try_clone().unwrap();
            // So that the driver has registered it, with the descriptor of this handle.
            let (registered, kept) = if waits_through_clone { (clone, one) } else { (one, clone) };
            registered.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert_eq!((&registered).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            registered.set_read_timeout(None).unwrap();
            drop(registered);
            for round in 0..20 {
                let mut kept = kept.try_clone().unwrap();
                let reading = fibra::spawn(move || {
                    let mut byte = [0];
                    kept.read_exact(&mut byte).map(|()| byte[0])
                });
                if round % 2 == 0 {
                    let_others_wait();
                }
                other.write_all(&[round]).unwrap();
                assert_eq!(reading.join().unwrap().unwrap(), round);
            }
        }
    });
}

#[test]
fn handle_can_be_dropped_while_its_clone_waits() {
    on_workers(BOTH, || {
        for _ in 0..50 {
            let (one, mut other) = tcp_pair();
            let mut clone = one.try_clone().unwrap();
            // Registers with the descriptor of `one`.
            let first = fibra::spawn(move || {
                let mut byte = [0];
                (&one).read_exact(&mut byte).unwrap();
            });
            fibra::yield_now();
            let second = fibra::spawn(move || {
                let mut byte = [0];
                clone.read_exact(&mut byte).unwrap();
                clone.read_exact(&mut byte).unwrap();
                byte[0]
            });
            for byte in 1..=3 {
                other.write_all(&[byte]).unwrap();
                fibra::yield_now();
            }
            first.join().unwrap();
            assert!(second.join().unwrap() >= 2);
        }
    });
}

#[test]
fn descriptor_is_released_with_the_last_handle() {
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        let clone = one.try_clone().unwrap();
        drop(one);
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "the connection stands");
        other.set_nonblocking(false).unwrap();
        drop(clone);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn duplicate_from_outside_keeps_the_connection_open() {
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        let kept = duplicate(&one);
        drop(one);
        let again = TcpStream::from(kept);
        other.write_all(b"still here").unwrap();
        let mut text = [0; 10];
        (&again).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"still here");
    });
}

#[test]
fn close_from_a_thread_without_a_runtime() {
    within(Duration::from_secs(30), || {
        let (one, _other) = tcp_pair();
        let one = Arc::new(one);
        let reading = {
            let one = Arc::clone(&one);
            fibra::spawn(move || is_closed((&*one).read(&mut [0])))
        };
        one.close();
        reading.join().unwrap();
        is_closed((&*one).read(&mut [0]));
    });
}
