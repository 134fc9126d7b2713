//! The event loop's descriptors: who is called for what, and that whatever was removed is not.

use fibra::event_loop::{Event, EventLoop, Interest, Key};
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(2);

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

/// Turns until nothing comes for a moment; returns how many callbacks were called.
fn settle<D>(events: &mut EventLoop<D>) -> usize {
    std::iter::from_fn(|| Some(events.run_once(Some(MOMENT)).unwrap())).take_while(|&called| called > 0).sum()
}

#[test]
fn a_descriptor_is_called_for_as_long_as_something_is_there() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    other.write_all(b"abc").unwrap();
    events
        .register(one, Interest::READABLE, move |one, events, event| {
            assert!(event.readable && !event.writable && !event.timed_out);
            let mut byte = [0];
            match one.read(&mut byte) {
                Ok(0) => {
                    assert!(events.unregister(event.key).is_none(), "its own source stays until it returns")
                }
                Ok(_) => {
                    events.data.push(byte[0]);
                    if byte[0] == b'c' {
                        other.shutdown(Shutdown::Both).unwrap();
                    }
                }
                Err(error) => panic!("{error}"),
            }
        })
        .unwrap();
    events.run().unwrap();
    assert_eq!(events.data, b"abc");
    assert!(events.is_empty());
}

#[test]
fn an_edge_triggered_one_is_called_when_something_new_has_come() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    other.write_all(b"ab").unwrap();
    let key = events
        .register(one, Interest::READABLE.edge(), |one, events, _| {
            let mut buffer = [0; 16];
            let count = one.read(&mut buffer).unwrap_or(0);
            events.data.push(count);
        })
        .unwrap();
    settle(&mut events);
    assert_eq!(events.data.iter().sum::<usize>(), 2);
    other.write_all(b"c").unwrap();
    settle(&mut events);
    assert_eq!(events.data.iter().sum::<usize>(), 3);
    events.unregister(key).unwrap();
}

#[test]
fn an_edge_triggered_one_hears_of_the_end_that_came_with_the_last_bytes() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    events
        .register(one, Interest::READABLE.edge(), |one, events, _| {
            // A short read means that it is empty; that it has ended, it does not say.
            let count = one.read(&mut [0; 16]).unwrap();
            events.data.push(count);
            if count == 0 {
                events.cancel_current();
            }
        })
        .unwrap();
    events.call_soon(move |_| other.write_all(b"bye").unwrap());
    events.run().unwrap();
    assert_eq!(events.data, [3, 0]);
}

#[test]
fn the_interest_decides_and_is_modified_from_within_and_without() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    other.write_all(b"x").unwrap();
    let key = events
        .register(one, Interest::NONE, |_, events, event| {
            events.data.push((event.readable, event.writable));
            let next = if event.writable { Interest::NONE } else { Interest::WRITABLE };
            events.modify(event.key, next).unwrap();
            assert_eq!(events.interest(event.key), Some(next));
        })
        .unwrap();
    assert_eq!(settle(&mut events), 0, "it waits for nothing");
    events.modify(key, Interest::READABLE).unwrap();
    settle(&mut events);
    assert_eq!(events.data, [(true, false), (false, true)]);
    events.modify(key, Interest::BOTH).unwrap();
    settle(&mut events);
    assert_eq!(events.data.last(), Some(&(true, true)), "one call for both");
    events.unregister(key).unwrap();
    assert_eq!(events.modify(key, Interest::BOTH).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((events.interest(key), events.is_registered(key)), (None, false));
}

#[test]
fn an_interest_that_comes_back_is_told_of_what_came_meanwhile() {
    for interest in [Interest::READABLE, Interest::READABLE.edge()] {
        let mut events = EventLoop::with_data(0).unwrap();
        let (one, mut other) = pair();
        let key = events
            .register(one, interest, |one, events, _| {
                while let Ok(1..) = one.read(&mut [0; 16]) {
                    events.data += 1;
                }
            })
            .unwrap();
        assert_eq!(settle(&mut events), 0);
        events.modify(key, Interest::NONE).unwrap();
        other.write_all(b"x").unwrap();
        assert_eq!(settle(&mut events), 0);
        events.modify(key, interest).unwrap();
        settle(&mut events);
        assert_eq!(events.data, 1, "{interest:?}");
        events.unregister(key).unwrap();
    }
}

#[test]
fn who_is_removed_by_another_callback_of_the_same_turn_is_not_called() {
    type Keys = Rc<Cell<[Option<Key<UnixStream>>; 2]>>;
    let mut events = EventLoop::with_data(0).unwrap();
    let keys = Keys::default();
    let (mut held, mut registered) = (Vec::new(), [None; 2]);
    for (index, registered) in registered.iter_mut().enumerate() {
        let (one, mut other) = pair();
        other.write_all(b"x").unwrap();
        held.push(other);
        let keys = Rc::clone(&keys);
        let callback = move |_: &mut UnixStream, events: &mut EventLoop<i32>, _: Event<UnixStream>| {
            events.data += 1;
            let other = keys.get()[1 - index].unwrap();
            let stream = events.unregister(other).unwrap();
            assert_eq!((&stream).read(&mut [0; 2]).unwrap(), 1, "nobody has taken its byte");
            assert!(events.unregister(other).is_none());
            events.cancel_current();
        };
        *registered = Some(events.register(one, Interest::READABLE, callback).unwrap());
    }
    keys.set(registered);
    events.run().unwrap();
    assert_eq!(events.data, 1);
}

#[test]
fn a_descriptor_number_that_is_used_again_is_not_taken_for_the_old_one() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (first, mut rouse) = pair();
    rouse.write_all(b"x").unwrap();
    let (old, mut peer) = pair();
    peer.write_all(b"old").unwrap();
    let old_number = old.as_raw_fd();
    let key = Rc::new(Cell::new(None::<Key<UnixStream>>));
    let found = Rc::clone(&key);
    // Registered first, so that it is called first, when the other's event has been taken already.
    events
        .register(first, Interest::READABLE, move |_, events, _| {
            events.cancel_current();
            let old = events.unregister(found.get().unwrap()).unwrap();
            let (new, mut peer) = pair();
            // Closes the old file, and gives its number to the new one.
            let mut number = OwnedFd::from(old);
            rustix::io::dup2(&new, &mut number).unwrap();
            drop(new);
            let new = UnixStream::from(number);
            assert_eq!(new.as_raw_fd(), old_number);
            events
                .register(new, Interest::READABLE, |new, events, _| {
                    let mut buffer = [0; 16];
                    let count = new.read(&mut buffer).expect("it is called for its own events only");
                    events.data.extend_from_slice(&buffer[..count]);
                    events.cancel_current();
                })
                .unwrap();
            events.call_later(2 * MOMENT, move |events| {
                assert!(events.data.is_empty());
                peer.write_all(b"new").unwrap();
            });
        })
        .unwrap();
    let registered =
        events.register(old, Interest::READABLE, |_, _, _| panic!("it was removed before its turn")).unwrap();
    key.set(Some(registered));
    events.on_panic(|_, panic| std::panic::resume_unwind(panic.payload));
    events.run().unwrap();
    assert_eq!(events.data, b"new");
    assert!(!events.is_registered(registered));
}

#[test]
fn a_source_comes_back_as_it_was_and_can_be_registered_anew() {
    let mut events = EventLoop::with_data(0).unwrap();
    let (one, mut other) = pair();
    let mut one = Some(one);
    for round in 1..=20 {
        let stream = one.take().unwrap();
        let key = events
            .register(stream, Interest::BOTH, |stream, events, event| {
                if event.readable && stream.read(&mut [0; 16]).is_ok() {
                    events.data += 1;
                }
            })
            .unwrap();
        other.write_all(b"x").unwrap();
        while events.data < round {
            events.run_once(None).unwrap();
        }
        one = events.unregister(key);
    }
    assert!(events.is_empty());
    events.run().unwrap();
}

#[test]
fn the_source_is_the_user_data_and_others_can_reach_it() {
    struct Connection {
        stream: UnixStream,
        received: Vec<u8>,
    }
    impl AsFd for Connection {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.stream.as_fd()
        }
    }
    let mut events = EventLoop::new().unwrap();
    let (stream, mut other) = pair();
    let key = events
        .register(
            Connection { stream, received: Vec::new() },
            Interest::READABLE,
            |connection, events, event| {
                let mut buffer = [0; 16];
                let count = connection.stream.read(&mut buffer).unwrap();
                connection.received.extend_from_slice(&buffer[..count]);
                assert!(events.source(event.key).is_none(), "the callback has it");
            },
        )
        .unwrap();
    events.call_soon(move |_| other.write_all(b"hello").unwrap());
    while events.source(key).unwrap().received.len() < 5 {
        events.run_once(None).unwrap();
    }
    assert_eq!(events.unregister(key).unwrap().received, b"hello");
}

#[test]
fn shared_sources_and_two_watchers_of_one_file_are_told_each() {
    let mut events = EventLoop::with_data([0; 2]).unwrap();
    let (one, mut other) = pair();
    let one = Rc::new(one);
    for index in 0..2 {
        events
            .register(Rc::clone(&one), Interest::READABLE, move |_, events, _| {
                events.data[index] += 1;
                events.cancel_current();
            })
            .unwrap();
    }
    other.write_all(b"x").unwrap();
    events.run().unwrap();
    assert_eq!((events.data, Rc::strong_count(&one)), ([1, 1], 1));
}

#[test]
fn a_timeout_of_a_watcher_comes_once_unless_it_is_put_off() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    let key = events
        .register(one, Interest::READABLE, |one, events, event| {
            if event.timed_out {
                assert!(!event.readable);
                events.data.push("idle");
                events.cancel_current();
            } else {
                assert_eq!(one.read(&mut [0; 16]).unwrap(), 1);
                events.data.push("alive");
                events.set_timeout(event.key, Some(MOMENT));
            }
        })
        .unwrap();
    assert!(events.set_timeout(key, Some(Duration::from_secs(3600))));
    other.write_all(b"x").unwrap();
    events.run().unwrap();
    assert_eq!(events.data, ["alive", "idle"]);
    assert!(!events.set_timeout(key, None));
}

#[test]
fn a_timeout_that_is_taken_back_does_not_come() {
    let mut events = EventLoop::with_data(0).unwrap();
    let (one, _other) = pair();
    let key = events.register(one, Interest::READABLE, |_, events, _| events.data += 1).unwrap();
    events.set_timeout(key, Some(Duration::ZERO));
    // It is due already, and behind this in the queue.
    events.call_soon(move |events| assert!(events.set_timeout(key, None)));
    settle(&mut events);
    assert_eq!(events.data, 0);
    events.unregister(key).unwrap();
}

#[test]
fn a_watcher_that_panics_is_removed_with_its_source() {
    let mut events = EventLoop::with_data(0).unwrap();
    events.on_panic(|events, panic| {
        assert_eq!(panic.message(), Some("broken"));
        events.data += 1;
    });
    let (one, mut other) = pair();
    let key = events.register(one, Interest::READABLE, |_, _, _| panic!("broken")).unwrap();
    other.write_all(b"x").unwrap();
    events.run().unwrap();
    assert!(!events.is_registered(key));
    assert_eq!(events.data, 1);
    assert_eq!(other.read(&mut [0; 16]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_refused_connection_makes_writable() {
    let mut events = EventLoop::with_data(None).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let result = rustix::net::connect(&socket, &address);
    if result == Err(rustix::io::Errno::CONNREFUSED) {
        return;
    }
    events
        .register(TcpStream::from(socket), Interest::WRITABLE, |stream, events, event| {
            assert!(event.writable);
            events.data = stream.take_error().unwrap().map(|error| error.kind());
            events.cancel_current();
        })
        .unwrap();
    events.run().unwrap();
    assert_eq!(events.data, Some(ErrorKind::ConnectionRefused));
}

#[test]
fn a_regular_file_is_refused_or_always_ready() {
    let mut events = EventLoop::with_data(0).unwrap();
    let file = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let result = events.register(file, Interest::READABLE, |_, events, _| {
        events.data += 1;
        if events.data == 3 {
            events.cancel_current();
        }
    });
    match events.driver() {
        "epoll" => {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
            assert!(events.is_empty());
        }
        _ => {
            result.unwrap();
            events.run().unwrap();
            assert_eq!(events.data, 3);
        }
    }
}

#[test]
fn many_descriptors_are_all_served_and_the_busy_ones_do_not_starve_the_others() {
    const COUNT: usize = 300;
    let mut events = EventLoop::with_data(vec![0; COUNT]).unwrap();
    let mut others: Vec<UnixStream> = Vec::new();
    let busy = pair();
    let busy_key = events.register(busy.0, Interest::WRITABLE, |_, _, _| {}).unwrap();
    for index in 0..COUNT {
        let (one, other) = pair();
        others.push(other);
        events
            .register(one, Interest::READABLE, move |one, events, event| {
                match one.read(&mut [0; 1]).unwrap() {
                    0 => drop(events.unregister(event.key)),
                    _ => events.data[index] += 1,
                }
                if events.len() == 1 {
                    events.stop();
                }
            })
            .unwrap();
    }
    for (index, mut other) in others.into_iter().enumerate() {
        other.write_all(&vec![b'x'; index % 7]).unwrap();
    }
    events.run().unwrap();
    assert_eq!(events.data, (0..COUNT).map(|index| index % 7).collect::<Vec<_>>());
    assert!(events.unregister(busy_key).is_some());
}

#[test]
fn an_echo_server_and_its_clients_talk_on_one_loop() {
    const CLIENTS: usize = 50;
    const ROUNDS: usize = 20;
    let mut events = EventLoop::with_data(0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepted = 0;
    events
        .register(listener, Interest::READABLE, move |listener, events, _| {
            while let Ok((stream, _)) = listener.accept() {
                accepted += 1;
                stream.set_nonblocking(true).unwrap();
                let serve =
                    |stream: &mut TcpStream, events: &mut EventLoop<usize>, event: Event<TcpStream>| {
                        let mut buffer = [0; 64];
                        match stream.read(&mut buffer) {
                            Ok(0) => drop(events.unregister(event.key)),
                            Ok(count) => stream.write_all(&buffer[..count]).unwrap(),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                    };
                events.register(stream, Interest::READABLE, serve).unwrap();
            }
            if accepted == CLIENTS {
                events.cancel_current();
            }
        })
        .unwrap();
    for _ in 0..CLIENTS {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut left = ROUNDS;
        (&stream).write_all(b"ping").unwrap();
        events
            .register(stream, Interest::READABLE.edge(), move |stream, events, event| {
                let mut buffer = [0; 64];
                while let Ok(count) = stream.read(&mut buffer) {
                    assert_eq!(&buffer[..count], b"ping");
                    events.data += 1;
                    left -= 1;
                    if left == 0 {
                        drop(events.unregister(event.key));
                        return;
                    }
                    stream.write_all(b"ping").unwrap();
                }
            })
            .unwrap();
    }
    events.run().unwrap();
    assert_eq!(events.data, CLIENTS * ROUNDS);
}

#[test]
fn a_source_that_is_unregistered_and_dropped_is_closed_at_once() {
    for interest in [Interest::READABLE, Interest::BOTH, Interest::READABLE.edge()] {
        let mut events = EventLoop::new().unwrap();
        let (one, mut other) = pair();
        let key = events.register(one, interest, |_, _, _| {}).unwrap();
        events.run_once(Some(MOMENT)).unwrap();
        drop(events.unregister(key).unwrap());
        assert_eq!(other.read(&mut [0; 1]).unwrap(), 0, "{interest:?}");
        // From within its own callback, which is called for one direction while the other is waited for.
        let (one, mut other) = pair();
        other.write_all(b"x").unwrap();
        let waits = events.register(one, Interest::READABLE, |_, events, event| {
            if event.writable {
                events.cancel_current();
            } else {
                events.modify(event.key, Interest::WRITABLE).unwrap();
            }
        });
        events.run().unwrap();
        assert!(!events.is_registered(waits.unwrap()));
        let end = other.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "it left a byte unread");
    }
}

#[test]
fn a_loop_that_is_dropped_closes_what_it_watches() {
    let mut events = EventLoop::new().unwrap();
    let mut others = Vec::new();
    for interest in [Interest::NONE, Interest::READABLE, Interest::BOTH] {
        let (one, other) = pair();
        events.register(one, interest, |_, _, _| {}).unwrap();
        others.push(other);
    }
    events.run_once(Some(Duration::ZERO)).unwrap();
    drop(events);
    for mut other in others {
        assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
    }
}
