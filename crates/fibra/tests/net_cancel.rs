//! Storms of waits that are ended early: by timeouts, by requests to stop, by `close`, by the end of the runtime, at random moments, while the other end writes,
//! sends and connects at random moments too.
//!
//! What must hold whichever comes first: no byte, packet or connection is lost or comes twice; nothing is written into a buffer, or sent from it, after the call
//! has returned (buffers hold canaries then, which are looked at later); no descriptor stays open; nothing hangs.
//!
//! `FIBRA_CANCELS` sets how many operations each storm makes, and `FIBRA_STRESS_SECONDS` how long it lasts at least.

mod network;

use fibra::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use fibra::{Builder, Runtime, Stop};
use network::{Random, on_workers, open_descriptors, reset_on_close, stress_time, tcp_pair, within};
use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: &[usize] = &[1, 2, 4];

/// The longest wait, in microseconds.
const LONGEST: u64 = 300;

/// How long what must happen may take.
const SOON: Duration = Duration::from_secs(20);

/// What buffers hold that nobody reads into or writes from. No byte that is sent is like it.
const CANARY: u8 = 0xFE;

/// The length of a buffer to read into.
const BUFFER: usize = 96;

/// The tests take turns, since they count descriptors, which are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a storm with each number of workers; afterwards there are as many descriptors as before.
fn storm(test: impl Fn() + Send + Clone + 'static) {
    let _alone = alone();
    let before = open_descriptors();
    on_workers(WORKERS, test);
    assert_eq!(open_descriptors(), before, "descriptors");
}

/// How much a context does.
#[derive(Clone)]
struct Work {
    operations: u64,
    until: Instant,
}

impl Work {
    /// A part of the whole.
    fn part(of: u64) -> Work {
        let operations: u64 = match std::env::var("FIBRA_CANCELS") {
            Ok(text) => text.parse().expect("FIBRA_CANCELS is a number"),
            Err(_) if cfg!(debug_assertions) => 25_000,
            Err(_) => 100_000,
        };
        let stress = std::env::var_os("FIBRA_STRESS_SECONDS").is_some();
        let until = Instant::now() + if stress { stress_time() } else { Duration::ZERO };
        Work { operations: operations.div_ceil(of), until }
    }

    fn goes_on(&mut self) -> bool {
        let left = self.operations > 0;
        self.operations = self.operations.saturating_sub(1);
        left || Instant::now() < self.until
    }
}

/// How waits ended.
#[derive(Default)]
struct Counts {
    results: AtomicU64,
    timeouts: AtomicU64,
    stops: AtomicU64,
    /// Results that were returned when the time was over already, or the request made: the moment that the storms are about.
    late: AtomicU64,
}

impl Counts {
    /// Prints them. Every kind that is to be there has to occur, or the storm was none.
    fn check(&self, ends: &Ends) {
        let [results, late, timeouts, stops] = [&self.results, &self.late, &self.timeouts, &self.stops]
            .map(|count| count.load(Ordering::Relaxed));
        println!("{results} results ({late} of them late), {timeouts} timeouts, {stops} stopped");
        assert_ne!(results, 0);
        assert_eq!(timeouts > 0, ends.timeouts);
        assert_eq!(stops > 0, ends.requests.is_some());
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Set when it is dropped, so that a context that fails does not keep those waiting who wait for its end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A pause of a random kind, or none.
fn pause(random: &Random) {
    match random.below(4) {
        0 => {}
        1 => fibra::yield_now(),
        _ => fibra::sleep(random.micros(LONGEST)),
    }
}

/// What ends the waits of a storm early.
#[derive(Clone)]
struct Ends {
    timeouts: bool,
    /// To the thread that makes some of the requests to stop.
    requests: Option<mpsc::Sender<Stop>>,
}

impl Ends {
    fn timeouts() -> Ends {
        Ends { timeouts: true, requests: None }
    }

    fn requests() -> Ends {
        let (requests, stops) = mpsc::channel::<Stop>();
        thread::spawn(move || stops.into_iter().for_each(|stop| stop.trigger()));
        Ends { timeouts: false, requests: Some(requests) }
    }

    fn both() -> Ends {
        Ends { timeouts: true, ..Ends::requests() }
    }

    /// One wait, which is ended early at a random moment, or ends by itself before that. None when it was ended.
    ///
    /// `limit` sets the timeout.
    fn briefly<T>(
        &self,
        random: &Random,
        counts: &Counts,
        limit: impl FnOnce(Option<Duration>),
        wait: impl FnOnce() -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let timeout = self.timeouts.then(|| random.micros(LONGEST) + Duration::from_nanos(1));
        limit(timeout);
        let began = Instant::now();
        let (result, stopped) = match &self.requests {
            None => (wait(), false),
            Some(thread) => {
                let stop = Stop::new();
                let enrolled = stop.enroll();
                request(thread, random, stop.clone());
                match enrolled.interruptible(wait) {
                    Ok(result) => (result, stop.is_triggered()),
                    Err(_) => {
                        assert!(stop.is_triggered(), "nobody has asked");
                        add_one(&counts.stops);
                        return None;
                    }
                }
            }
        };
        let over = timeout.is_some_and(|timeout| began.elapsed() >= timeout);
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(over, "too early");
                add_one(&counts.timeouts);
                None
            }
            result => {
                add_one(&counts.results);
                if over || stopped {
                    add_one(&counts.late);
                }
                Some(result)
            }
        }
    }
}

/// Makes a request to stop soon: by another coroutine of the worker, by one that any worker may take, by a thread.
fn request(thread: &mpsc::Sender<Stop>, random: &Random, stop: Stop) {
    let delay = random.micros(LONGEST);
    match random.below(3) {
        0 => thread.send(stop).unwrap(),
        1 => drop(fibra::spawn_after(delay, move || stop.trigger())),
        _ => drop(fibra::spawn(move || {
            fibra::sleep(delay);
            stop.trigger();
        })),
    }
}

/// The bytes of every stream, from its place on.
fn bytes_at(place: u64, count: usize) -> &'static [u8] {
    const PERIOD: usize = 251;
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..PERIOD as u8).cycle().take(1 << 17).collect());
    &BYTES[(place % PERIOD as u64) as usize..][..count]
}

/// Takes the bytes that a read returned out of its buffer, and leaves canaries. `place` is where the stream has come to.
#[track_caller]
fn take(buffer: &mut [u8], count: usize, place: &mut u64) {
    let (bytes, rest) = buffer.split_at_mut(count);
    assert!(bytes == bytes_at(*place, count), "what was read at {place} is not what was written: {bytes:?}");
    untouched(rest);
    bytes.fill(CANARY);
    *place += count as u64;
}

#[track_caller]
fn untouched(buffer: &[u8]) {
    let touched = buffer.iter().position(|&byte| byte != CANARY);
    assert_eq!(touched, None, "a buffer that nobody reads into has been written to: {buffer:?}");
}

/// Buffers that are used in turn. Those that are not in use hold canaries.
struct Rotation<'a> {
    buffers: Vec<&'a mut [u8]>,
    next: usize,
}

impl<'a> Rotation<'a> {
    fn new(buffers: impl IntoIterator<Item = &'a mut [u8]>) -> Rotation<'a> {
        let mut buffers: Vec<_> = buffers.into_iter().collect();
        buffers.iter_mut().for_each(|buffer| buffer.fill(CANARY));
        Rotation { buffers, next: 0 }
    }

    /// The buffer whose last use is the longest ago.
    fn next(&mut self) -> &mut [u8] {
        self.next = (self.next + 1) % self.buffers.len();
        let buffer = &mut self.buffers[self.next];
        untouched(buffer);
        buffer
    }

    fn check(&self) {
        self.buffers.iter().for_each(|buffer| untouched(buffer));
    }
}

/// TCP and unix streams, for tests that are the same for both.
trait Stream: AsFd + Send + Sync + Sized + 'static {
    fn pair() -> (Self, Self);
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    fn write(&self, buffer: &[u8]) -> io::Result<usize>;
    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
    fn wait_readable(&self) -> io::Result<()>;
    fn wait_writable(&self) -> io::Result<()>;
    fn limit_reads(&self, timeout: Option<Duration>);
    fn limit_writes(&self, timeout: Option<Duration>);

    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

macro_rules! stream {
    ($type:ident, $pair:expr) => {
        impl Stream for $type {
            fn pair() -> (Self, Self) {
                $pair
            }

            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }

            fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                Read::read_vectored(&mut &*self, buffers)
            }

            fn write(&self, buffer: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, buffer)
            }

            fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                Write::write_vectored(&mut &*self, buffers)
            }

            fn wait_readable(&self) -> io::Result<()> {
                $type::wait_readable(self)
            }

            fn wait_writable(&self) -> io::Result<()> {
                $type::wait_writable(self)
            }

            fn limit_reads(&self, timeout: Option<Duration>) {
                self.set_read_timeout(timeout).unwrap();
            }

            fn limit_writes(&self, timeout: Option<Duration>) {
                self.set_write_timeout(timeout).unwrap();
            }
        }
    };
}

stream!(TcpStream, tcp_pair());
stream!(UnixStream, UnixStream::pair().unwrap());

// Reads.

/// Writes a stream at random moments until it is `over`. Returns how many bytes it has.
fn write_at_random(stream: &impl Stream, random: Random, over: &AtomicBool) -> u64 {
    let mut written = 0;
    while !over.load(Ordering::Relaxed) {
        let count = 1 + random.below(40);
        stream.write_all(bytes_at(written, count as usize)).unwrap();
        written += count;
        pause(&random);
    }
    written
}

/// One that reads with waits that are ended early.
struct Reader<'a, S> {
    stream: &'a S,
    ends: &'a Ends,
    counts: &'a Counts,
    random: Random,
    /// Where the stream has come to.
    place: u64,
}

impl<S: Stream> Reader<'_, S> {
    fn briefly(&mut self, buffer: &mut [u8], read: impl FnOnce(&S, &mut [u8]) -> io::Result<usize>) {
        let limit = |timeout| self.stream.limit_reads(timeout);
        let read = || read(self.stream, buffer);
        let count = self.ends.briefly(&self.random, self.counts, limit, read);
        take(buffer, count.unwrap_or(Ok(0)).unwrap(), &mut self.place);
    }

    fn read(&mut self, rotation: &mut Rotation<'_>) {
        match self.random.below(8) {
            0 => {
                self.read_into_frame();
                self.look_at_frames();
            }
            1 => self.briefly(&mut [], |stream, _| stream.wait_readable().map(|()| 0)),
            2 => self.briefly(rotation.next(), |stream, buffer| {
                let (one, other) = buffer.split_at_mut(5);
                stream.read_vectored(&mut [IoSliceMut::new(one), IoSliceMut::new(other)])
            }),
            3 => self.briefly(rotation.next(), |stream, buffer| stream.read(&mut buffer[..1])),
            _ => self.briefly(rotation.next(), |stream, buffer| stream.read(buffer)),
        }
        if self.random.below(16) == 0 {
            pause(&self.random);
            rotation.check();
        }
    }

    /// Reads into a frame of the stack that is gone when this returns.
    #[inline(never)]
    fn read_into_frame(&mut self) {
        let mut buffer = [CANARY; BUFFER];
        self.briefly(&mut buffer, |stream, buffer| stream.read(buffer));
        black_box(&buffer);
    }

    /// Covers the place of such frames, and those of the calls in them, and sees whether somebody writes there.
    #[inline(never)]
    fn look_at_frames(&mut self) {
        let mut frames = [CANARY; 4096];
        black_box(&mut frames);
        fibra::sleep(self.random.micros(LONGEST));
        untouched(&frames);
    }

    /// Reads while there is `work`, then to the end of the stream. Returns how many bytes it had.
    fn run(mut self, mut work: Work, over: Over<'_>) -> u64 {
        let mut heap: [Box<[u8]>; 4] = std::array::from_fn(|_| vec![0; BUFFER].into());
        let mut stack = [[0; BUFFER]; 4];
        let heap = heap.iter_mut().map(|buffer| &mut **buffer);
        let stack = stack.iter_mut().map(|buffer| &mut buffer[..]);
        let mut rotation = Rotation::new(heap.zip(stack).flat_map(|(heap, stack)| [heap, stack]));
        while work.goes_on() {
            self.read(&mut rotation);
        }
        drop(over);
        self.stream.limit_reads(None);
        loop {
            let buffer = rotation.next();
            match self.stream.read(buffer).unwrap() {
                0 => break,
                count => take(buffer, count, &mut self.place),
            }
        }
        rotation.check();
        self.place
    }
}

fn read_impatiently<S: Stream>(ends: &Ends, counts: &Counts, random: Random, work: Work) {
    let (one, other) = S::pair();
    let over = AtomicBool::new(false);
    let moments = random.split();
    let reader = Reader { stream: &one, ends, counts, random, place: 0 };
    fibra::scope(|scope| {
        let over = &over;
        let guard = Over(over);
        let writing = scope.spawn(move || write_at_random(&other, moments, over));
        let read = reader.run(work, guard);
        assert_eq!(read, writing.join().unwrap(), "bytes read, and written");
    });
}

/// What one context of a storm does with a pair of connected sockets.
type OnPair = fn(&Ends, &Counts, Random, Work);

/// A storm over pairs of either kind.
fn storm_of_pairs(ends: &Ends, on_tcp: OnPair, on_unix: OnPair) {
    const PAIRS: u64 = 16;
    let (random, work, counts) = (Random::seeded(), Work::part(PAIRS), Counts::default());
    fibra::scope(|scope| {
        for _ in 0..PAIRS / 2 {
            for on_pair in [on_tcp, on_unix] {
                let (counts, random, work) = (&counts, random.split(), work.clone());
                scope.spawn(move || on_pair(ends, counts, random, work));
            }
        }
    });
    counts.check(ends);
}

fn storm_of_reads(ends: &Ends) {
    storm_of_pairs(ends, read_impatiently::<TcpStream>, read_impatiently::<UnixStream>);
}

#[test]
fn reads_that_time_out_lose_nothing_and_leave_their_buffers_alone() {
    storm(|| storm_of_reads(&Ends::timeouts()));
}

#[test]
fn reads_that_are_stopped_lose_nothing_and_leave_their_buffers_alone() {
    storm(|| storm_of_reads(&Ends::requests()));
}

#[test]
fn reads_that_are_stopped_or_time_out_lose_nothing_and_leave_their_buffers_alone() {
    storm(|| storm_of_reads(&Ends::both()));
}

// Writes.

/// Writes a stream with waits that are ended early, from a buffer that holds canaries at all other times. Returns how many bytes it has, by what the writes
/// have said.
fn write_impatiently(
    stream: &impl Stream,
    ends: &Ends,
    counts: &Counts,
    random: &Random,
    mut work: Work,
) -> u64 {
    let mut buffer = vec![CANARY; 1 << 15];
    let mut written = 0;
    while work.goes_on() {
        let longest = if random.below(4) == 0 { 100 } else { buffer.len() as u64 };
        let block = &mut buffer[..1 + random.below(longest) as usize];
        block.copy_from_slice(bytes_at(written, block.len()));
        let limit = |timeout| stream.limit_writes(timeout);
        let result = match random.below(3) {
            0 => {
                let third = block.len() / 3;
                let slices =
                    [&block[..third], &[], &block[third..2 * third], &block[2 * third..]].map(IoSlice::new);
                ends.briefly(random, counts, limit, || stream.write_vectored(&slices))
            }
            _ => ends.briefly(random, counts, limit, || stream.write(block)),
        };
        block.fill(CANARY);
        let count = result.map(Result::unwrap);
        assert_ne!(count, Some(0), "a write that writes nothing");
        written += count.unwrap_or(0) as u64;
    }
    written
}

/// Reads a stream to its end, and more slowly than it is written. Returns how many bytes it has.
fn read_slowly(stream: &impl Stream, random: &Random, over: &AtomicBool) -> u64 {
    let mut buffer = vec![CANARY; 1 << 13];
    let mut place = 0;
    loop {
        let length = 1 + random.below(buffer.len() as u64) as usize;
        let count = match random.below(2) {
            0 => stream.read(&mut buffer[..length]),
            _ => {
                let (one, other) = buffer[..length].split_at_mut(length / 2);
                stream.read_vectored(&mut [IoSliceMut::new(one), IoSliceMut::new(other)])
            }
        };
        match count.unwrap() {
            0 => return place,
            count => take(&mut buffer, count, &mut place),
        }
        if !over.load(Ordering::Relaxed) {
            pause(random);
        }
    }
}

fn write_to_a_slow_reader<S: Stream>(ends: &Ends, counts: &Counts, random: Random, work: Work) {
    let (one, other) = S::pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&one, 1 << 14).unwrap();
    let over = AtomicBool::new(false);
    let moments = random.split();
    fibra::scope(|scope| {
        let over = &over;
        let guard = Over(over);
        let reading = scope.spawn(move || read_slowly(&other, &moments, over));
        let written = write_impatiently(&one, ends, counts, &random, work);
        drop((one, guard));
        assert_eq!(reading.join().unwrap(), written, "bytes read, and written");
    });
}

fn storm_of_writes(ends: &Ends) {
    storm_of_pairs(ends, write_to_a_slow_reader::<TcpStream>, write_to_a_slow_reader::<UnixStream>);
}

#[test]
fn writes_that_time_out_send_what_they_say_and_nothing_else() {
    storm(|| storm_of_writes(&Ends::timeouts()));
}

#[test]
fn writes_that_are_stopped_send_what_they_say_and_nothing_else() {
    storm(|| storm_of_writes(&Ends::both()));
}

// Accepts and connects.

/// TCP and unix listeners.
trait Listener: AsFd + Send + Sync + Sized + 'static {
    type Stream: Stream;
    type Address: Clone + Send + Sync + 'static;
    fn open() -> (Self, Self::Address);
    fn accept(&self) -> io::Result<Self::Stream>;
    fn connect(address: &Self::Address, timeout: Option<Duration>) -> io::Result<Self::Stream>;
    fn never_wait(&self);
    fn close(&self);
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn open() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).map(|(stream, _)| stream)
    }

    /// Connections are reset in the end, so that their ports are free again.
    fn connect(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let stream = match timeout {
            None => TcpStream::connect(address),
            Some(timeout) => TcpStream::connect_timeout(address, timeout),
        }?;
        reset_on_close(&stream);
        Ok(stream)
    }

    fn never_wait(&self) {
        self.set_nonblocking(true).unwrap();
    }

    fn close(&self) {
        TcpListener::close(self);
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Address = UnixAddr;

    fn open() -> (UnixListener, UnixAddr) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = UnixAddr::from_abstract_name(format!("fibra-cancel-{}-{number}", std::process::id()));
        let address = address.unwrap();
        (UnixListener::bind_addr(&address).unwrap(), address)
    }

    fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).map(|(stream, _)| stream)
    }

    fn connect(address: &UnixAddr, _: Option<Duration>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(address)
    }

    fn never_wait(&self) {
        self.set_nonblocking(true).unwrap();
    }

    fn close(&self) {
        UnixListener::close(self);
    }
}

/// Reads the number that a client sends, answers, and waits for its end. None for one that has said nothing.
fn serve(stream: &impl Stream) -> Option<u64> {
    let mut number = [0; 8];
    let mut read = 0;
    while read < number.len() {
        read += stream.read(&mut number[read..]).ok().filter(|&count| count > 0)?;
    }
    if stream.write(b"!").is_ok() {
        let _ = stream.read(&mut [0]);
    }
    Some(u64::from_ne_bytes(number))
}

/// Connects at random moments, each time with the next number, until it is `over`. Some wait for the answer, others have gone when they are accepted.
fn connect_at_random<L: Listener>(
    address: &L::Address,
    random: &Random,
    numbers: &AtomicU64,
    over: &AtomicBool,
) {
    while !over.load(Ordering::Relaxed) {
        let stream = L::connect(address, None).unwrap();
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        stream.write_all(&number.to_ne_bytes()).unwrap();
        if random.below(2) == 0 {
            stream.limit_reads(Some(SOON));
            assert_eq!(stream.read(&mut [0]).unwrap(), 1, "{number} was accepted, and forgotten");
        }
        drop(stream);
        pause(random);
    }
}

fn accept_impatiently<L: Listener>(ends: &Ends, counts: &Counts, random: Random, work: Work) {
    let (listener, address) = L::open();
    let (over, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut accepted: Vec<u64> = Vec::new();
    // Later there may always be somebody to accept, on a machine that is slow to make the requests.
    let stopped = ends.briefly(&random, counts, |_| (), || listener.accept());
    assert!(stopped.is_none(), "nobody has come yet");
    fibra::scope(|scope| {
        let (listener, address, over, numbers) = (&listener, &address, &over, &numbers);
        let guard = Over(over);
        let connecting = [(); 3].map(|()| {
            let random = random.split();
            scope.spawn(move || connect_at_random::<L>(address, &random, numbers, over))
        });
        let accepting = [(); 2].map(|()| {
            let (random, mut work) = (random.split(), work.clone());
            scope.spawn(move || {
                let mut accepted = Vec::new();
                while work.goes_on() {
                    match ends.briefly(&random, counts, |_| (), || listener.accept()) {
                        Some(stream) => accepted.push(serve(&stream.unwrap()).unwrap()),
                        None => pause(&random),
                    }
                }
                accepted
            })
        });
        accepting.into_iter().for_each(|accepting| accepted.extend(accepting.join().unwrap()));
        drop(guard);
        // Those that are still in the backlog.
        listener.never_wait();
        loop {
            let no_more = connecting.iter().all(|connecting| connecting.is_finished());
            match listener.accept() {
                Ok(stream) => accepted.push(serve(&stream).unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    if no_more {
                        break;
                    }
                    fibra::sleep(Duration::from_micros(100));
                }
            }
        }
    });
    accepted.sort_unstable();
    let all: Vec<u64> = (0..numbers.into_inner()).collect();
    assert!(accepted == all, "{} connections were made, {} accepted", all.len(), accepted.len());
}

#[test]
fn accepts_that_are_stopped_lose_no_connection() {
    storm(|| {
        let (random, ends, counts) = (Random::seeded(), Ends::requests(), Counts::default());
        let work = Work::part(8);
        fibra::scope(|scope| {
            for _ in 0..2 {
                let (first, second) = (random.split(), random.split());
                let (ends, counts, work) = (&ends, &counts, &work);
                scope.spawn(move || accept_impatiently::<TcpListener>(ends, counts, first, work.clone()));
                scope.spawn(move || accept_impatiently::<UnixListener>(ends, counts, second, work.clone()));
            }
        });
        counts.check(&ends);
    });
}

/// Accepts and serves until the listener is closed.
fn accept_until_closed(listener: &impl Listener) -> Vec<u64> {
    let mut accepted = Vec::new();
    loop {
        match listener.accept() {
            Ok(stream) => accepted.push(serve(&stream).unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
                return accepted;
            }
        }
    }
}

/// Connects until nobody listens any more. Returns who was answered.
fn connect_until_refused<L: Listener>(
    address: &L::Address,
    random: &Random,
    numbers: &AtomicU64,
) -> Vec<u64> {
    let mut answered = Vec::new();
    while let Ok(stream) = L::connect(address, None) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        stream.limit_reads(Some(SOON));
        let answer = stream.write_all(&number.to_ne_bytes()).and_then(|()| stream.read(&mut [0]));
        match answer {
            Ok(1) => answered.push(number),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("{number} was left alone"),
            _ => {}
        }
        pause(random);
    }
    answered
}

/// One listener that is closed at a random moment.
fn close_while_accepting<L: Listener>(closer: Closer, random: &Random) -> u64 {
    let (listener, address) = L::open();
    let listener = Arc::new(listener);
    let accepting: Vec<_> = (0..3)
        .map(|_| {
            let listener = Arc::clone(&listener);
            fibra::spawn(move || accept_until_closed(&*listener))
        })
        .collect();
    let numbers = Arc::new(AtomicU64::new(0));
    let connecting: Vec<_> = (0..2)
        .map(|_| {
            let (address, random, numbers) = (address.clone(), random.split(), Arc::clone(&numbers));
            fibra::spawn(move || connect_until_refused::<L>(&address, &random, &numbers))
        })
        .collect();
    fibra::sleep(random.micros(4 * LONGEST));
    closer.close(move || listener.close());
    let sorted = |tasks: Vec<fibra::JoinHandle<Vec<u64>>>| {
        let mut all: Vec<u64> = tasks.into_iter().flat_map(|task| task.join().unwrap()).collect();
        all.sort_unstable();
        all
    };
    let accepted = sorted(accepting);
    assert_eq!(accepted, sorted(connecting), "accepted, and answered");
    accepted.len() as u64
}

#[test]
fn listeners_that_are_closed_have_served_whom_they_accepted() {
    storm(|| {
        let (random, mut work) = (Random::seeded(), Work::part(250));
        let (mut rounds, mut accepted) = (0, 0);
        while work.goes_on() {
            let closer = Closer::any(&random);
            accepted += close_while_accepting::<TcpListener>(closer, &random);
            accepted += close_while_accepting::<UnixListener>(closer, &random);
            rounds += 2;
        }
        println!("{rounds} closed, {accepted} accepted");
        assert_ne!(accepted, 0);
    });
}

/// Connects, with waits that are ended early, to a listener that has room for one at a time.
fn connect_impatiently<L: Listener>(ends: &Ends, counts: &Counts, random: Random, mut work: Work) {
    let (listener, address) = L::open();
    rustix::net::listen(&listener, 0).unwrap();
    let over = AtomicBool::new(false);
    let moments = random.split();
    fibra::scope(|scope| {
        let over = &over;
        let guard = Over(over);
        listener.never_wait();
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let _ = listener.accept();
                fibra::sleep(moments.micros(LONGEST));
            }
        });
        while work.goes_on() {
            let timeout = Cell::new(None);
            let stream = ends.briefly(
                &random,
                counts,
                |limit| timeout.set(limit),
                || {
                    L::connect(&address, timeout.get()).map_err(|error| match error.kind() {
                        ErrorKind::TimedOut => ErrorKind::WouldBlock.into(),
                        _ => error,
                    })
                },
            );
            drop(stream.map(Result::unwrap));
        }
        drop(guard);
    });
}

#[test]
fn connects_that_are_stopped_or_time_out_leave_nothing_behind() {
    storm(|| {
        let random = Random::seeded();
        for ends in [Ends::timeouts(), Ends::requests()] {
            let (counts, work) = (Counts::default(), Work::part(16));
            fibra::scope(|scope| {
                for _ in 0..4 {
                    let (first, second) = (random.split(), random.split());
                    let (ends, counts, work) = (&ends, &counts, &work);
                    scope
                        .spawn(move || connect_impatiently::<TcpListener>(ends, counts, first, work.clone()));
                    if !ends.timeouts {
                        scope.spawn(move || {
                            connect_impatiently::<UnixListener>(ends, counts, second, work.clone());
                        });
                    }
                }
            });
            counts.check(&ends);
        }
    });
}

// Close.

/// Who closes.
#[derive(Clone, Copy)]
enum Closer {
    Here,
    AnyWorker,
    Thread,
}

impl Closer {
    fn any(random: &Random) -> Closer {
        [Closer::Here, Closer::AnyWorker, Closer::Thread][random.below(3) as usize]
    }

    fn close(self, close: impl FnOnce() + Send + 'static) {
        match self {
            Closer::Here => close(),
            Closer::AnyWorker => fibra::spawn(close).join().unwrap(),
            Closer::Thread => join(thread::spawn(close)),
        }
    }
}

/// Joins a thread, and keeps its worker from nobody.
fn join(thread: thread::JoinHandle<()>) {
    while !thread.is_finished() {
        fibra::sleep(Duration::from_micros(100));
    }
    thread.join().unwrap();
}

/// Something that waits for a socket again and again until that is closed.
type Waiter = Box<dyn FnOnce() + Send>;

fn waiter<S: Send + Sync + 'static>(socket: &Arc<S>, wait: fn(&S) -> io::Result<()>) -> Waiter {
    let socket = Arc::clone(socket);
    Box::new(move || {
        let error = loop {
            if let Err(error) = wait(&socket) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
    })
}

/// Starts some waiters, coroutines and threads, closes the socket at a random moment, and waits for them.
fn close_what_is_in_use(
    waiters: impl Fn() -> Vec<Waiter>,
    close: impl FnOnce() + Send + 'static,
    random: &Random,
) {
    let tasks: Vec<_> = waiters().into_iter().map(fibra::spawn).collect();
    let threads = if random.below(4) == 0 { waiters() } else { Vec::new() };
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    pause(random);
    Closer::any(random).close(close);
    tasks.into_iter().for_each(|task| task.join().unwrap());
    threads.into_iter().for_each(join);
}

fn close_a_stream<S: Stream>(close: fn(&S), random: &Random) {
    let (one, other) = S::pair();
    let one = Arc::new(one);
    let waiters = || {
        vec![
            waiter(&one, |stream: &S| stream.read(&mut [0; BUFFER]).map(drop)),
            waiter(&one, |stream| stream.read_vectored(&mut [IoSliceMut::new(&mut [0; 8])]).map(drop)),
            waiter(&one, |stream| stream.write(&[0; 1 << 14]).map(drop)),
            waiter(&one, |stream| stream.write_vectored(&[IoSlice::new(&[0; 1 << 14])]).map(drop)),
            waiter(&one, |stream| stream.wait_readable().and_then(|()| stream.read(&mut [0]).map(drop))),
            waiter(&one, |stream| {
                stream.wait_writable().and_then(|()| stream.write(&[0; 1 << 10]).map(drop))
            }),
        ]
    };
    let (over, moments) = (AtomicBool::new(false), random.split());
    fibra::scope(|scope| {
        let over = &over;
        let guard = Over(over);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) && other.write(b"bytes").is_ok() {
                pause(&moments);
            }
        });
        let closing = Arc::clone(&one);
        close_what_is_in_use(waiters, move || close(&closing), random);
        drop(guard);
    });
}

fn close_a_listener<L: Listener>(random: &Random) {
    let (listener, address) = L::open();
    let listener = Arc::new(listener);
    let waiters = || {
        let wait = |listener: &L| listener.accept().map(drop);
        vec![waiter(&listener, wait), waiter(&listener, wait), waiter(&listener, wait)]
    };
    let closing = Arc::clone(&listener);
    let client = (random.below(2) == 0).then(|| L::connect(&address, None).unwrap());
    close_what_is_in_use(waiters, move || closing.close(), random);
    drop(client);
}

fn close_datagrams(random: &Random) {
    let (one, other) = <UdpSocket as Datagrams>::pair();
    let one = Arc::new(one);
    let waiters = || {
        vec![
            waiter(&one, |socket: &UdpSocket| socket.recv(&mut [0; 8]).map(drop)),
            waiter(&one, |socket| socket.recv_from(&mut [0; 8]).map(drop)),
            waiter(&one, |socket| socket.wait_readable()),
        ]
    };
    other.send(b"packet").unwrap();
    let closing = Arc::clone(&one);
    close_what_is_in_use(waiters, move || closing.close(), random);
    let (one, other) = UnixDatagram::pair().unwrap();
    let one = Arc::new(one);
    let waiters = || {
        vec![
            waiter(&one, |socket: &UnixDatagram| socket.recv(&mut [0; 8]).map(drop)),
            waiter(&one, |socket| socket.recv_from(&mut [0; 8]).map(drop)),
            waiter(&one, |socket| socket.send(&[0; 8]).map(drop)),
            waiter(&one, |socket| socket.wait_readable()),
        ]
    };
    other.send(b"packet").unwrap();
    let closing = Arc::clone(&one);
    close_what_is_in_use(waiters, move || closing.close(), random);
}

#[test]
fn closing_ends_every_wait_whoever_closes_and_whoever_waits() {
    storm(|| {
        let (random, mut work) = (Random::seeded(), Work::part(40));
        let mut rounds = 0;
        while work.goes_on() {
            match random.below(5) {
                0 => close_a_stream(TcpStream::close, &random),
                1 => close_a_stream(UnixStream::close, &random),
                2 => close_a_listener::<TcpListener>(&random),
                3 => close_a_listener::<UnixListener>(&random),
                _ => close_datagrams(&random),
            }
            rounds += 1;
        }
        println!("{rounds} closed");
    });
}

// Datagrams.

/// UDP and unix datagram sockets.
trait Datagrams: Send + Sync + Sized + 'static {
    fn pair() -> (Self, Self);
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn wait_readable(&self) -> io::Result<()>;
    fn send(&self, buffer: &[u8]) -> io::Result<usize>;
    fn limit_reads(&self, timeout: Option<Duration>);
}

macro_rules! datagrams {
    ($type:ident, $pair:expr, $check:expr) => {
        impl Datagrams for $type {
            fn pair() -> (Self, Self) {
                $pair
            }

            fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
                $type::recv(self, buffer)
            }

            fn recv_from(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let (count, address) = $type::recv_from(self, buffer)?;
                $check(self, address);
                Ok(count)
            }

            fn wait_readable(&self) -> io::Result<()> {
                $type::wait_readable(self)
            }

            fn send(&self, buffer: &[u8]) -> io::Result<usize> {
                $type::send(self, buffer)
            }

            fn limit_reads(&self, timeout: Option<Duration>) {
                self.set_read_timeout(timeout).unwrap();
            }
        }
    };
}

datagrams!(UdpSocket, udp_pair(), |socket: &UdpSocket, address| assert_eq!(
    address,
    socket.peer_addr().unwrap()
));
datagrams!(UnixDatagram, UnixDatagram::pair().unwrap(), |_, address: UnixAddr| assert!(address.is_unnamed()));

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

/// Packets on their way at once: so many have room.
const ROOM: u64 = 8;

/// The packet of a number has the number, and bytes that depend on it.
fn packet(number: u64) -> Vec<u8> {
    let mut packet = number.to_ne_bytes().to_vec();
    packet.extend_from_slice(bytes_at(number, number as usize % 60));
    packet
}

fn receive_impatiently<S: Datagrams>(ends: &Ends, counts: &Counts, random: Random, mut work: Work) {
    let (one, other) = S::pair();
    let (over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let moments = random.split();
    let mut seen = Vec::new();
    let mut buffers = [[CANARY; BUFFER]; 6];
    let mut rotation = Rotation::new(buffers.iter_mut().map(|buffer| &mut buffer[..]));
    let mut note = |buffer: &mut [u8], count: usize| {
        let (bytes, rest) = buffer.split_at_mut(count);
        let number = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, packet(number), "packet {number}");
        untouched(rest);
        bytes.fill(CANARY);
        let at = number as usize;
        seen.resize(seen.len().max(at + 1), false);
        assert!(!std::mem::replace(&mut seen[at], true), "packet {number} came twice");
        received.fetch_add(1, Ordering::Relaxed) + 1
    };
    let sent = fibra::scope(|scope| {
        let (over, received) = (&over, &received);
        let guard = Over(over);
        let sending = scope.spawn(move || {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                if sent - received.load(Ordering::Relaxed) < ROOM {
                    let packet = packet(sent);
                    assert_eq!(other.send(&packet).unwrap(), packet.len());
                    sent += 1;
                }
                if moments.below(8) == 0 {
                    // However slow the receiver is: now and then it has received everything, and has to wait for more.
                    while received.load(Ordering::Relaxed) < sent && !over.load(Ordering::Relaxed) {
                        fibra::sleep(moments.micros(LONGEST));
                    }
                    fibra::sleep(Duration::from_micros(4 * LONGEST));
                }
                fibra::sleep(moments.micros(LONGEST));
            }
            sent
        });
        while work.goes_on() {
            let buffer = rotation.next();
            let limit = |timeout| one.limit_reads(timeout);
            let count = match random.below(4) {
                0 => ends.briefly(&random, counts, limit, || one.wait_readable().map(|()| 0)),
                1 => ends.briefly(&random, counts, limit, || one.recv_from(buffer)),
                _ => ends.briefly(&random, counts, limit, || one.recv(buffer)),
            };
            match count.unwrap_or(Ok(0)).unwrap() {
                0 => untouched(buffer),
                count => drop(note(buffer, count)),
            }
            if random.below(16) == 0 {
                pause(&random);
                rotation.check();
            }
        }
        drop(guard);
        sending.join().unwrap()
    });
    one.limit_reads(Some(SOON));
    let mut all = received.load(Ordering::Relaxed);
    while all < sent {
        let buffer = rotation.next();
        let count = one.recv(buffer).expect("a packet has been lost");
        all = note(buffer, count);
    }
    one.limit_reads(Some(Duration::from_nanos(1)));
    assert!(one.recv(rotation.next()).is_err(), "a packet that nobody has sent");
    rotation.check();
}

fn storm_of_packets(ends: &Ends) {
    const PAIRS: u64 = 16;
    let (random, work, counts) = (Random::seeded(), Work::part(PAIRS), Counts::default());
    fibra::scope(|scope| {
        for _ in 0..PAIRS / 2 {
            let (first, second) = (random.split(), random.split());
            let (counts, work) = (&counts, &work);
            scope.spawn(move || receive_impatiently::<UdpSocket>(ends, counts, first, work.clone()));
            scope.spawn(move || receive_impatiently::<UnixDatagram>(ends, counts, second, work.clone()));
        }
    });
    counts.check(ends);
}

#[test]
fn packets_that_meet_a_timeout_come_once() {
    storm(|| storm_of_packets(&Ends::timeouts()));
}

#[test]
fn packets_that_meet_a_request_to_stop_come_once() {
    storm(|| storm_of_packets(&Ends::both()));
}

// The end of the runtime.

/// Where the buffers of daemons come back to.
type Back = Arc<Mutex<Vec<Box<[u8]>>>>;

/// A daemon's buffer, which comes back when the daemon has been unwound.
struct Lent {
    buffer: Box<[u8]>,
    back: Back,
}

impl Lent {
    fn new(back: &Back) -> Lent {
        Lent { buffer: vec![CANARY; BUFFER].into(), back: Arc::clone(back) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.back.lock().unwrap().push(buffer);
    }
}

fn daemon(body: impl FnOnce() + Send + 'static) {
    drop(Builder::new().daemon(true).spawn(body).unwrap());
}

/// Daemons that wait for streams when the runtime ends. Returns what is to be looked at afterwards.
fn daemons_of_streams<S: Stream>(back: &Back, random: &Random) -> impl FnOnce() + use<S> {
    let looks = (
        daemons_that_read::<S>(back),
        daemon_that_reads_busily::<S>(back, random),
        daemons_that_write::<S>(back),
    );
    move || {
        looks.0();
        looks.1();
        looks.2();
    }
}

fn daemons_that_read<S: Stream>(back: &Back) -> impl FnOnce() + use<S> {
    let (one, other) = S::pair();
    let one = Arc::new(one);
    let (reads, readable, mut lent) = (Arc::clone(&one), Arc::clone(&one), Lent::new(back));
    daemon(move || drop(reads.read(&mut lent.buffer)));
    daemon(move || drop(readable.wait_readable()));
    move || {
        other.write_all(b"for the next reader").unwrap();
        let mut buffer = [0; BUFFER];
        one.limit_reads(Some(SOON));
        assert_eq!(one.read(&mut buffer).expect("what was written comes"), 19);
        assert_eq!(&buffer[..19], b"for the next reader");
    }
}

/// While the runtime ends, a thread goes on writing. What the daemon has not read is there afterwards.
fn daemon_that_reads_busily<S: Stream>(back: &Back, random: &Random) -> impl FnOnce() + use<S> {
    let (one, other) = S::pair();
    let (one, over, place) = (Arc::new(one), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = {
        let (over, random) = (Arc::clone(&over), random.split());
        thread::spawn(move || write_at_random(&other, random, &over))
    };
    let (random, mut lent) = (random.split(), Lent::new(back));
    let (reads, read) = (Arc::clone(&one), Arc::clone(&place));
    daemon(move || {
        loop {
            reads.limit_reads(
                (random.below(2) == 0).then(|| random.micros(LONGEST) + Duration::from_nanos(1)),
            );
            let count = reads.read(&mut lent.buffer).unwrap_or(0);
            let mut place = read.load(Ordering::Relaxed);
            take(&mut lent.buffer, count, &mut place);
            read.store(place, Ordering::Relaxed);
        }
    });
    move || {
        thread::sleep(Duration::from_millis(1));
        over.store(true, Ordering::Relaxed);
        // Before the thread is joined: it may wait for room, since nobody has read since the daemon ended.
        one.limit_reads(Some(SOON));
        let mut place = place.load(Ordering::Relaxed);
        let mut buffer = [CANARY; BUFFER];
        loop {
            match one.read(&mut buffer).expect("the thread writes, or ends the stream") {
                0 => break,
                count => take(&mut buffer, count, &mut place),
            }
        }
        let written = writing.join().unwrap();
        assert_eq!(place, written, "bytes read, and written");
    }
}

fn daemons_that_write<S: Stream>(back: &Back) -> impl FnOnce() + use<S> {
    let (full, empty) = S::pair();
    let written = Arc::new(AtomicU64::new(0));
    let full = Arc::new(full);
    for vectored in [false, true] {
        let (full, written, lent) = (Arc::clone(&full), Arc::clone(&written), Lent::new(back));
        daemon(move || {
            let _lent = lent;
            let block = [b'x'; 1 << 13];
            loop {
                let count =
                    if vectored { full.write_vectored(&[IoSlice::new(&block)]) } else { full.write(&block) };
                written.fetch_add(count.unwrap() as u64, Ordering::Relaxed);
            }
        });
    }
    move || {
        drop(full);
        let mut read = 0;
        let mut buffer = vec![0; 1 << 16];
        empty.limit_reads(Some(SOON));
        while let count @ 1.. = empty.read(&mut buffer).expect("no daemon has the other end any more") {
            read += count as u64;
        }
        assert_eq!(read, written.load(Ordering::Relaxed), "bytes read, and written");
    }
}

fn daemons_of_listeners<L: Listener>(back: &Back) -> impl FnOnce() + use<L> {
    let (listener, address) = L::open();
    let listener = Arc::new(listener);
    for _ in 0..2 {
        let (listener, lent) = (Arc::clone(&listener), Lent::new(back));
        daemon(move || {
            let _lent = lent;
            let _ = listener.accept();
        });
    }
    // A connect that waits, since there is room for one.
    let (full, busy) = L::open();
    rustix::net::listen(&full, 0).unwrap();
    for _ in 0..3 {
        let (busy, lent) = (busy.clone(), Lent::new(back));
        daemon(move || {
            let _lent = lent;
            let _kept = L::connect(&busy, None);
            fibra::park();
        });
    }
    move || {
        let _full = full;
        let client = L::connect(&address, Some(SOON)).expect("there is room in the backlog");
        let served = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        served.limit_reads(Some(SOON));
        assert_eq!(served.read(&mut [0; 8]).expect("who was accepted is the client"), 1);
    }
}

fn daemons_of_datagrams<S: Datagrams>(back: &Back) -> impl FnOnce() + use<S> {
    let (one, other) = S::pair();
    let one = Arc::new(one);
    for from in [false, true] {
        let (one, mut lent) = (Arc::clone(&one), Lent::new(back));
        daemon(move || drop(if from { one.recv_from(&mut lent.buffer) } else { one.recv(&mut lent.buffer) }));
    }
    move || {
        other.send(b"packet").unwrap();
        one.limit_reads(Some(SOON));
        assert_eq!(one.recv(&mut [0; BUFFER]).expect("what was sent comes"), 6);
    }
}

/// How many daemons lend something in all.
const LENT: usize = 2 * 4 + 2 * 5 + 2 * 2;

fn end_a_runtime(workers: usize, random: &Random) {
    let back = Back::default();
    let (lent, random) = (Arc::clone(&back), random.split());
    let afterwards = Runtime::builder().workers(workers).run(move || {
        let afterwards: Vec<Box<dyn FnOnce() + Send>> = vec![
            Box::new(daemons_of_streams::<TcpStream>(&lent, &random)),
            Box::new(daemons_of_streams::<UnixStream>(&lent, &random)),
            Box::new(daemons_of_listeners::<TcpListener>(&lent)),
            Box::new(daemons_of_listeners::<UnixListener>(&lent)),
            Box::new(daemons_of_datagrams::<UdpSocket>(&lent)),
            Box::new(daemons_of_datagrams::<UnixDatagram>(&lent)),
        ];
        fibra::sleep(random.micros(3 * LONGEST));
        afterwards
    });
    let afterwards = afterwards.unwrap();
    let buffers = std::mem::take(&mut *back.lock().unwrap());
    assert_eq!(buffers.len(), LENT, "not every daemon has been unwound");
    afterwards.into_iter().for_each(|look| look());
    buffers.iter().for_each(|buffer| untouched(buffer));
}

#[test]
fn daemons_that_wait_when_their_runtime_ends_leave_nothing_in_the_kernel() {
    let _alone = alone();
    let before = open_descriptors();
    within(Duration::from_secs(60) + stress_time(), || {
        let (random, mut work) = (Random::seeded(), Work::part(1500));
        let mut rounds = 0;
        while work.goes_on() {
            end_a_runtime(1 + rounds % 4, &random);
            rounds += 1;
        }
        println!("{rounds} runtimes");
    });
    assert_eq!(open_descriptors(), before, "descriptors");
}
