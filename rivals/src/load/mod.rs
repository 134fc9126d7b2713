//! The load: a lean epoll client in a process of its own, on a core of its own. It keeps a closed loop on each
//! connection (a request, the whole of its answer, the next request), compares every answer with what it has to be, and
//! reads the server's CPU clock at the very ends of the time that counts.
//!
//! Connections come from sixteen addresses of the loopback, so that ports do not run out, and are opened a few at a
//! time, each with one exchange before the next, so that no listener's queue overflows (a lost SYN is sent again after
//! a second). They are reset at the end, not closed: ten thousand a round would fill the kernel's table of connections
//! in TIME_WAIT. (`accept`, where closing is what is measured, closes.)

mod accept;
mod echo;
mod http;
mod socket;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use self::echo::Echo;
use self::http::Http;
use crate::cli::{Load, LoadKind};
use crate::process::{CpuClock, CpuUsed, Figures, Memory, descriptors};
use crate::system_calls::SystemCalls;

const EVENTS_AT_ONCE: usize = 1_024;
/// Connections opened before the answers of the first of them are awaited.
const OPENED_AT_ONCE: usize = 64;
/// A server silent for so long with requests before it has lost them.
const PATIENCE: Duration = Duration::from_secs(10);
/// The active among the idle.
const ACTIVE: usize = 100;
/// How long a server may take to deal with its connections' end.
const CLOSING: Duration = Duration::from_secs(5);
/// Memory that has not fallen for so long will not fall by itself.
const SETTLED: Duration = Duration::from_secs(1);

/// Puts the load on, and says what came of it.
pub(crate) fn run(load: &Load) -> Result<Figures> {
    match load.kind {
        LoadKind::Echo => saturate(load, Echo::new(load.connections, load.size, load.seed)),
        LoadKind::Http => saturate(load, Http::new(load.connections)),
        LoadKind::Idle => idle(load),
        LoadKind::Accept => accept::run(load),
    }
}

/// What is said on the connections.
trait Conversation {
    /// The next request on connection `index`.
    fn request(&mut self, index: usize) -> &[u8];

    /// Takes more of the answer; true when that was the last of it.
    ///
    /// # Errors
    ///
    /// When it is not the right answer.
    fn answer(&mut self, index: usize, received: &[u8]) -> Result<bool>;
}

/// All connections at work.
fn saturate(load: &Load, conversation: impl Conversation) -> Result<Figures> {
    let mut client = Client::new(load, conversation)?;
    client.open(load.connections)?;
    let everyone: Vec<usize> = (0..load.connections).collect();
    let counted = client.exchange_for(&everyone, load)?;
    let mut figures = counted.figures()?;
    figures.set("seconds", counted.seconds);
    match client.count_system_calls(&everyone, load) {
        Ok(each) => figures.set("system_calls", each),
        Err(error) => figures.note(format!("system calls are not counted: {error:#}")),
    }
    Ok(figures)
}

/// All connections idle but a few.
fn idle(load: &Load) -> Result<Figures> {
    let mut client = Client::new(load, Echo::new(load.connections, load.size, load.seed))?;
    // What a server sets up with its first connections is not theirs.
    client.open(1)?;
    let (before, descriptors_before) = (Memory::of(load.server)?, descriptors(load.server)?);

    let mut figures = Figures::default();
    let stages =
        [("p99_few_us", ACTIVE), ("p99_tenth_us", load.connections / 10), ("p99_all_us", load.connections)];
    for (name, connections) in stages {
        client.open(connections)?;
        let mut active: Vec<usize> = (0..client.sockets.len()).collect();
        client.rng.shuffle(&mut active);
        active.truncate(ACTIVE);
        let counted = client.exchange_for(&active, load)?;
        figures.set(name, counted.all.value_at_quantile(0.99) as f64 / 1e3);
    }

    let after = Memory::of(load.server)?;
    let connections = (load.connections - 1) as f64;
    let resident = after.resident - before.resident;
    figures.set("bytes", resident / connections);
    figures.set("bytes_tables", (resident + after.page_tables - before.page_tables) / connections);

    // The first one stays, as it was there when the memory was first read.
    client.sockets.truncate(1);
    let start = Instant::now();
    let mut left = descriptors(load.server)?;
    while left > descriptors_before && start.elapsed() < CLOSING {
        std::thread::sleep(Duration::from_millis(20));
        left = descriptors(load.server)?;
    }
    figures.set("descriptors_left", left as f64 - descriptors_before as f64);
    // Some give memory back only when they have had nothing else to do for a while.
    let mut resident = Memory::of(load.server)?.resident;
    let mut fell = Instant::now();
    while fell.elapsed() < SETTLED && start.elapsed() < CLOSING {
        std::thread::sleep(Duration::from_millis(50));
        let now = Memory::of(load.server)?.resident;
        if now < resident {
            (resident, fell) = (now, Instant::now());
        }
    }
    figures.set("resident_left_kib", (resident - before.resident) / 1_024.0);
    Ok(figures)
}

/// What was counted between the end of the warm-up and the end of the load.
struct Counted {
    requests: u64,
    seconds: f64,
    cpu: CpuUsed,
    /// Nanoseconds from a request to the end of its answer.
    all: Histogram<u64>,
    /// The same on a random 1% of the connections.
    sample: Histogram<u64>,
}

impl Counted {
    fn figures(&self) -> Result<Figures> {
        if self.requests == 0 {
            bail!("no request was answered in the time that counts");
        }
        let each = |nanoseconds: f64| nanoseconds / 1e3 / self.requests as f64;
        let microseconds =
            |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let mut figures = Figures::default()
            .with("cpu_us", each(self.cpu.total))
            .with("requests", self.requests as f64)
            .with("per_second", self.requests as f64 / self.seconds)
            .with("p50_us", microseconds(&self.all, 0.5))
            .with("p99_us", microseconds(&self.all, 0.99))
            .with("sample_p99_us", microseconds(&self.sample, 0.99));
        if let Some((user, system)) = self.cpu.split {
            figures.set("user_us", each(user));
            figures.set("system_us", each(system));
        }
        Ok(figures)
    }
}

/// The times of answers, up to a minute, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

struct Client<C> {
    address: SocketAddr,
    epoll: OwnedFd,
    events: Vec<Event>,
    sockets: Vec<OwnedFd>,
    /// When the request now under way was sent, in nanoseconds since `started`.
    sent_at: Vec<u64>,
    started: Instant,
    buffer: Vec<u8>,
    conversation: C,
    rng: fastrand::Rng,
}

impl<C: Conversation> Client<C> {
    fn new(load: &Load, conversation: C) -> Result<Self> {
        Ok(Self {
            address: load.address,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            sockets: Vec::with_capacity(load.connections),
            sent_at: vec![0; load.connections],
            started: Instant::now(),
            buffer: vec![0; 64 * 1024],
            conversation,
            rng: fastrand::Rng::with_seed(load.seed),
        })
    }

    /// Opens connections until there are `connections`, each with one exchange.
    fn open(&mut self, connections: usize) -> Result<()> {
        while self.sockets.len() < connections {
            let first = self.sockets.len();
            let last = connections.min(first + OPENED_AT_ONCE);
            for index in first..last {
                let socket = socket::connect(self.address, index)?;
                socket::reset_when_dropped(&socket)?;
                rustix::io::ioctl_fionbio(&socket, true)?;
                let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), flags)?;
                self.sockets.push(socket);
                self.send(index)?;
            }
            let mut awaited = last - first;
            while awaited > 0 {
                self.wait_and_answer(|_, _| {
                    awaited -= 1;
                    false
                })?;
            }
        }
        Ok(())
    }

    /// Keeps the given connections busy for the warm-up and the time that counts, and lets what is then under way end.
    fn exchange_for(&mut self, active: &[usize], load: &Load) -> Result<Counted> {
        let server = CpuClock::of(load.server)?;
        let mut sampled = vec![false; self.sockets.len()];
        let mut order = active.to_vec();
        self.rng.shuffle(&mut order);
        for index in &order[..active.len().div_ceil(100)] {
            sampled[*index] = true;
        }
        let (mut all, mut sample) = (histogram()?, histogram()?);

        for index in active {
            self.send(*index)?;
        }
        let mut under_way = active.len();

        self.keep_busy(load.warm_up)?;

        let start = Instant::now();
        let cpu_at_start = server.read()?;
        let end = start + Duration::from_secs_f64(load.seconds);
        let mut requests = 0;
        let mut now = start;
        while now < end {
            self.wait_and_answer(|index, took| {
                requests += 1;
                all.saturating_record(took);
                if sampled[index] {
                    sample.saturating_record(took);
                }
                true
            })?;
            now = Instant::now();
        }
        let cpu = cpu_at_start.until(&server.read()?);
        let seconds = now.duration_since(start).as_secs_f64();

        while under_way > 0 {
            self.wait_and_answer(|_, _| {
                under_way -= 1;
                false
            })?;
        }
        Ok(Counted { requests, seconds, cpu, all, sample })
    }

    /// Keeps them busy once more, for a quarter of the time, and counts what the server asks of the kernel for each
    /// request, from the first of them to the answer to the last. Being counted slows it down: hence this is not the time
    /// that counts for the rest.
    fn count_system_calls(&mut self, active: &[usize], load: &Load) -> Result<f64> {
        let calls = SystemCalls::of(load.server)?;
        calls.start()?;
        for index in active {
            self.send(*index)?;
        }
        let mut answered = self.keep_busy(load.seconds / 4.0)?;
        let all = answered + active.len() as u64;
        while answered < all {
            self.wait_and_answer(|_, _| {
                answered += 1;
                false
            })?;
        }
        Ok(calls.stop()? as f64 / all as f64)
    }

    /// Lets every answer be followed by the next request, for so many seconds; how many answers there were.
    fn keep_busy(&mut self, seconds: f64) -> Result<u64> {
        let mut answered = 0;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            self.wait_and_answer(|_, _| {
                answered += 1;
                true
            })?;
        }
        Ok(answered)
    }

    fn nanoseconds(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn send(&mut self, index: usize) -> Result<()> {
        self.sent_at[index] = self.nanoseconds();
        let request = self.conversation.request(index);
        let sent = rustix::net::send(&self.sockets[index], request, SendFlags::NOSIGNAL)?;
        if sent < request.len() {
            bail!("a request does not fit the socket's buffer");
        }
        Ok(())
    }

    /// Waits once, and takes what has come. For each answer that is whole, `answered` is told the connection and the
    /// nanoseconds it took, and says whether the next request goes out.
    fn wait_and_answer(&mut self, mut answered: impl FnMut(usize, u64) -> bool) -> Result<()> {
        let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => bail!("the server has been silent for {PATIENCE:?}"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            loop {
                let received =
                    match rustix::net::recv(&self.sockets[index], &mut self.buffer[..], RecvFlags::empty()) {
                        Ok((0, _)) => bail!("the server closed a connection"),
                        Ok((received, _)) => received,
                        Err(Errno::AGAIN) => break,
                        Err(error) => return Err(error.into()),
                    };
                if self.conversation.answer(index, &self.buffer[..received])? {
                    let took = self.nanoseconds() - self.sent_at[index];
                    if answered(index, took) {
                        self.send(index)?;
                    }
                }
                if received < self.buffer.len() {
                    break;
                }
            }
        }
        self.events = events;
        Ok(())
    }
}
