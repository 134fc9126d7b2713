//! Short connections: connect, send, receive, close, so many at once.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::echo::Echo;
use super::{Conversation as _, EVENTS_AT_ONCE, PATIENCE, socket};
use crate::cli::Load;
use crate::process::{CpuClock, Figures};

/// Connections before those that count.
const WARM_UP: usize = 500;
/// A server that uses no processor time for so long has dealt with the last connection.
const QUIET: Duration = Duration::from_millis(20);

pub(super) fn run(load: &Load) -> Result<Figures> {
    let server = CpuClock::of(load.server)?;
    connections(load, WARM_UP)?;
    wait_until_idle(server)?;

    let before = server.read()?;
    let start = Instant::now();
    connections(load, load.total)?;
    let seconds = start.elapsed().as_secs_f64();
    wait_until_idle(server)?;
    let used = before.until(&server.read()?);

    let each = |nanoseconds: f64| nanoseconds / 1e3 / load.total as f64;
    let mut figures = Figures::default()
        .with("cpu_us", each(used.total))
        .with("per_second", load.total as f64 / seconds)
        .with("connections", load.total as f64);
    if let Some((user, system)) = used.split {
        figures.set("user_us", each(user));
        figures.set("system_us", each(system));
    }
    Ok(figures)
}

/// Takes `total` connections through their short lives, `load.connections` at a time.
fn connections(load: &Load, total: usize) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_AT_ONCE);
    let mut conversation = Echo::new(load.connections, load.size, load.seed);
    let mut sockets: Vec<Option<OwnedFd>> = (0..load.connections).map(|_| None).collect();
    let mut buffer = vec![0; 64 * 1024];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut opened = 0;
    let mut answered = 0;

    while answered < total {
        for (slot, place) in sockets.iter_mut().enumerate() {
            if place.is_none() && opened < total {
                let socket = socket::connect(load.address, opened)?;
                rustix::net::send(&socket, conversation.request(slot), SendFlags::NOSIGNAL)?;
                epoll::add(&epoll, &socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
                *place = Some(socket);
                opened += 1;
            }
        }
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => bail!("the server has been silent for {PATIENCE:?}"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let slot = event.data.u64() as usize;
            let Some(socket) = &sockets[slot] else { continue };
            let (received, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
            if received == 0 {
                bail!("the server closed a connection");
            }
            if conversation.answer(slot, &buffer[..received])? {
                sockets[slot] = None;
                answered += 1;
            }
        }
    }
    Ok(())
}

fn wait_until_idle(server: CpuClock) -> Result<()> {
    let start = Instant::now();
    let mut before = server.nanoseconds()?;
    while start.elapsed() < PATIENCE {
        std::thread::sleep(QUIET);
        let now = server.nanoseconds()?;
        // Some runtimes wake now and then with nothing to do: that is not a connection's work.
        if now - before < QUIET.as_nanos() as u64 / 100 {
            return Ok(());
        }
        before = now;
    }
    bail!("the server does not become idle")
}
