//! What a loop loses that is edge-triggered and reads once for each event.
//!
//! ```text
//! cargo run -q -p fibra-serve --example read_once
//! ```
//!
//! A client sends 10,000 bytes and waits for an answer; the server reads 4,096 at a time, in three ways. Level-triggered, the kernel tells of the rest
//! again and again, so three events bring all. Edge-triggered, it tells once: a server that reads once has 4,096 bytes and sleeps, while 5,904 lie in
//! the socket, and both wait for each other for ever (here: until a time limit). One byte more is a new edge, but it brings the *old* bytes: such a
//! server is behind its clients from then on. That is what makes the fault hard to find: it heals a little whenever something comes. Edge-triggered and
//! read until `EAGAIN`, nothing is left. `src/model/epoll_et.rs` does that, and gives up the last read where a short one has told it already.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const SENT: usize = 10_000;
/// How long nothing has to come before the server is said to sleep for ever.
const FOR_EVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

fn main() -> io::Result<()> {
    let edge = EventFlags::IN | EventFlags::ET;
    show("level-triggered, one read for an event", EventFlags::IN, read_once)?;
    show("edge-triggered, one read for an event", edge, read_once)?;
    show("edge-triggered, reads until EAGAIN", edge, read_all)
}

fn show(way: &str, flags: EventFlags, read: fn(&mut UnixStream) -> io::Result<usize>) -> io::Result<()> {
    let (mut server, mut client) = UnixStream::pair()?;
    server.set_nonblocking(true)?;
    let list = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&list, &server, EventData::new_u64(0), flags)?;

    client.write_all(&[0; SENT])?;
    let (events, bytes) = until_it_sleeps(&list, &mut server, read)?;
    println!("{way}:\n  {events} event(s) brought {bytes} of {SENT} bytes");
    if bytes < SENT {
        client.write_all(&[0])?;
        let (_, more) = until_it_sleeps(&list, &mut server, read)?;
        println!("  {} lay in the socket; one byte more brought {more} of them", SENT - bytes);
    }
    Ok(())
}

/// The loop: how many events there were, and how many bytes, until no more came.
fn until_it_sleeps(
    list: &OwnedFd,
    server: &mut UnixStream,
    read: fn(&mut UnixStream) -> io::Result<usize>,
) -> io::Result<(usize, usize)> {
    let (mut count, mut bytes) = (0, 0);
    loop {
        let mut events = Vec::with_capacity(1);
        if epoll::wait(list, spare_capacity(&mut events), Some(&FOR_EVER))? == 0 {
            return Ok((count, bytes));
        }
        count += 1;
        bytes += read(server)?;
    }
}

fn read_once(server: &mut UnixStream) -> io::Result<usize> {
    server.read(&mut [0; 4096])
}

fn read_all(server: &mut UnixStream) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        match server.read(&mut [0; 4096]) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}
