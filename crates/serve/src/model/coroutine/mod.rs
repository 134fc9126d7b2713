//! A coroutine for each connection: code that reads as if each conversation had its own thread.
//!
//! ```text
//!   accept ──a coroutine each──▶ converse: wait, read, answer, and again      state: its own stack
//!     │                             │ woken by its worker, when the driver says that its socket is ready
//!     │                             └ blocks in: wait_readable, write, the blocking pool; none of them holds up a worker
//!     └ blocks in: accept; at the limit, until a connection ends; for a moment, when descriptors or memory are out
//! ```
//!
//! One coroutine accepts; the runtime places the connections' coroutines where fewest live, so they spread over the workers.
//!
//! An idle connection holds its socket, a page of stack and no buffer: it waits until it is readable, and then borrows one of the
//! worker's (`buffers`).

mod buffers;
mod echo;
mod http;

use super::admission::{Admission, Place};
use super::deadlines::after;
use super::shortage::Shortage;
use super::{Options, Protocol, Started, Summary, cannot_listen, stopping};
use crate::Limits;
use crate::protocol::http::Service;
use fibra::net::{TcpListener, TcpStream};
use fibra::signal::{SIGINT, SIGTERM, Signals};
use fibra::{Cancelled, DriverKind, Enrolled, Stop};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How many connections a stopping server still takes from the listener's queue: as many as that holds.
const QUEUED: u64 = 4096;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve). Without a `driver` the environment says which it is.
///
/// # Errors
/// When the address cannot be listened on, or the runtime cannot start.
pub fn serve(
    options: &Options,
    driver: Option<DriverKind>,
    started: impl FnOnce(&Started),
) -> io::Result<Summary> {
    let connections = options.service.limits().connections;
    serve_with(options, Settings { driver, listener: None, connections }, started)
}

/// How a server differs that is one of several.
pub(super) struct Settings {
    pub(super) driver: Option<DriverKind>,
    /// Where it listens, if that is not for it to decide.
    pub(super) listener: Option<std::net::TcpListener>,
    /// Its own limit of connections.
    pub(super) connections: usize,
}

/// The same with settings.
pub(super) fn serve_with(
    options: &Options,
    settings: Settings,
    started: impl FnOnce(&Started),
) -> io::Result<Summary> {
    let Settings { driver, listener, connections } = settings;
    let mut builder = fibra::Runtime::builder().name("serve");
    if let Some(driver) = driver {
        builder = builder.driver(driver);
    }
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    builder.run(|| {
        let signals = Signals::new(&[SIGINT, SIGTERM])?;
        let listener = match listener {
            Some(listener) => listener.into(),
            None => {
                TcpListener::bind(options.address).map_err(|error| cannot_listen(options.address, &error))?
            }
        };
        let (workers, driver) = fibra::current_runtime();
        started(&Started { address: listener.local_addr()?, driver, workers });
        let server = Server {
            protocol: options.protocol,
            service: Arc::clone(&options.service),
            stop: Stop::new(),
            admission: Admission::new(connections),
        };
        let (stop, impatience) = (server.stop.clone(), Stop::new());
        let impatient = impatience.clone();
        let asked_at = Arc::new(OnceLock::new());
        let asking_at = Arc::clone(&asked_at);
        fibra::Builder::new().name("signals").daemon(true).spawn(move || {
            // First it is done and then it is told, for the log may be slow or broken.
            let signal = signals.wait();
            asking_at.get_or_init(Instant::now);
            stop.trigger();
            stopping::tell(signal, true);
            let signal = signals.wait();
            impatient.trigger();
            stopping::tell(signal, false);
        })?;
        let mut accepted = server.accept(&listener);
        let deadline = after(*asked_at.get_or_init(Instant::now), server.limits().stop_deadline);
        accepted += server.accept_queued(&listener, deadline);
        drop(listener);
        Ok(Summary { accepted, cut_off: server.finish(deadline, &impatience), ..Summary::default() })
    })?
}

/// What the connections of a server share.
#[derive(Clone)]
struct Server {
    protocol: Protocol,
    service: Arc<Service>,
    /// Ends accepting and idle waits.
    stop: Stop,
    admission: Arc<Admission>,
}

impl Server {
    fn limits(&self) -> &Limits {
        self.service.limits()
    }

    /// Accepts until asked to stop; returns how many.
    fn accept(&self, listener: &TcpListener) -> u64 {
        let listening = self.stop.enroll();
        let mut accepted = 0;
        let mut shortage = Shortage::default();
        // What need not wait is not interrupted: a connection that is there, an error that comes at once. So each round looks itself.
        while !self.stop.is_triggered() {
            let place = listening.interruptible(|| self.admission.wait());
            let Ok(place) = place else { break };
            match listening.interruptible(|| listener.accept()) {
                Err(Cancelled { .. }) => break,
                Ok(Ok((stream, _))) => match self.start(stream, place) {
                    Ok(()) => {
                        accepted += 1;
                        shortage.is_over();
                    }
                    Err(error) => pause(&mut shortage, &listening, &error),
                },
                Ok(Err(error)) => pause(&mut shortage, &listening, &error),
            }
        }
        accepted
    }

    /// Takes those who were in the queue when the server was asked to stop, since to them it looks as if they were connected; returns how
    /// many. Nothing is waited for, and those who still come do not keep the server.
    fn accept_queued(&self, listener: &TcpListener, deadline: Instant) -> u64 {
        let mut accepted = 0;
        if listener.set_nonblocking(true).is_err() {
            return accepted;
        }
        while accepted < QUEUED
            && Instant::now() < deadline
            && let Some(place) = self.admission.take()
            && let Ok((stream, _)) = listener.accept()
            && self.start(stream, place).is_ok()
        {
            accepted += 1;
        }
        accepted
    }

    /// Gives a connection its coroutine. It is a daemon: stopping waits for it in [`finish`](Self::finish), and not longer.
    fn start(&self, stream: TcpStream, place: Place) -> io::Result<()> {
        let server = self.clone();
        fibra::Builder::new().daemon(true).spawn(move || {
            let _place = place;
            if let Err(error) = server.converse(&stream) {
                // The client went away, or was too slow: its business, not ours.
                tracing::debug!(%error, "a connection ended early");
            }
        })?;
        Ok(())
    }

    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        let limits = self.limits();
        stream.set_write_timeout(Some(limits.write_timeout))?;
        let idle = self.stop.enroll();
        match self.protocol {
            Protocol::Echo => echo::converse(stream, limits, &idle),
            Protocol::Http => http::converse(stream, &self.service, &idle),
        }
    }

    /// Waits for the connections to end, until the deadline; returns how many had not.
    fn finish(&self, deadline: Instant, impatience: &Stop) -> usize {
        let waiting = impatience.enroll();
        let _ = waiting.interruptible(|| self.admission.wait_until_empty(deadline));
        let left = self.admission.open();
        stopping::tell_cut_off(left);
        left
    }
}

/// Waits until there is something to read. `Err` when the server is stopping: then nothing more is to be waited for.
fn wait_readable(
    stream: &TcpStream,
    idle: &Enrolled,
    patience: Duration,
) -> Result<io::Result<()>, Cancelled> {
    if let Err(error) = stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))) {
        return Ok(Err(error));
    }
    idle.interruptible(|| stream.wait_readable())
}

/// Reads what is there. While the server stops the kernel itself is asked, since nobody will wait for an event that is still on its way.
#[inline]
fn read(mut stream: &TcpStream, buffer: &mut [u8], stopping: bool) -> io::Result<usize> {
    if !stopping {
        return stream.try_read(buffer);
    }
    stream.set_nonblocking(true)?;
    let result = io::Read::read(&mut stream, buffer);
    stream.set_nonblocking(false)?;
    result
}

/// Lets a while pass before the next accept. It is interrupted by the end of the server, which the loop meets as well.
#[cold]
fn pause(shortage: &mut Shortage, listening: &Enrolled, error: &io::Error) {
    let pause = shortage.pause(error);
    let _ = listening.interruptible(|| fibra::sleep(pause));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Site;
    use std::net;

    #[test]
    fn who_is_in_the_queue_when_the_server_stops_does_not_hold_it_up() {
        fibra::run(|| {
            let server = Server {
                protocol: Protocol::Http,
                service: Arc::new(Service::new(Site::hello(), Limits::default())),
                stop: Stop::new(),
                admission: Admission::new(4),
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..3).map(|_| net::TcpStream::connect(address).unwrap()).collect();
            server.stop.trigger();
            assert_eq!(server.accept(&listener), 0);
            let now = Instant::now();
            assert_eq!(server.accept_queued(&listener, now), 0, "the time is over");
            assert_eq!(
                server.accept_queued(&listener, now + Duration::from_secs(60)),
                3,
                "and no more are waited for"
            );
            drop(clients);
            assert_eq!(server.finish(now + Duration::from_secs(60), &Stop::new()), 0);
        });
    }
}
