//! The event loop calls what was registered, in order, and nothing that was removed.

use fibra::event_loop::{EventLoop, Interest};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

#[test]
fn callbacks_are_called_in_the_order_in_which_they_were_given() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    for number in 0..10 {
        events.call_soon(move |events| {
            events.data.push(number);
            events.call_soon(move |events| events.data.push(number + 10));
        });
    }
    events.run().unwrap();
    assert_eq!(events.data, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_million_continuations_do_not_grow_the_stack() {
    fn next(events: &mut EventLoop<(u32, usize, usize)>) {
        let here = std::ptr::from_ref(&0_u8) as usize;
        let local = 0_u8;
        let here = here.min(std::ptr::from_ref(&local) as usize);
        let (left, low, high) = &mut events.data;
        (*low, *high) = ((*low).min(here), (*high).max(here));
        *left -= 1;
        if *left > 0 {
            events.call_soon(next);
        }
    }
    let mut events = EventLoop::with_data((1_000_000, usize::MAX, 0)).unwrap();
    events.call_soon(next);
    events.run().unwrap();
    let (left, low, high) = events.data;
    assert_eq!(left, 0);
    assert!(high >= low);
}

#[test]
fn a_descriptor_is_called_for_as_long_as_something_is_there() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = pair();
    other.write_all(b"abc").unwrap();
    events
        .register(one, Interest::READABLE, move |one, events, event| {
            assert!(event.readable && !event.writable);
            let mut byte = [0];
            match one.read(&mut byte) {
                Ok(0) => assert!(events.unregister(event.key).is_none()),
                Ok(_) => {
                    events.data.push(byte[0]);
                    if byte[0] == b'c' {
                        other.shutdown(std::net::Shutdown::Both).unwrap();
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
