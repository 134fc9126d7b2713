//! A ring with a safe surface: what the kernel may touch is the ring's for as long as it may.
//!
//! An operation that the kernel has goes on whatever becomes of who asked for it. So nothing is lent to it:
//!
//! ```text
//!  receive   names no memory at all: the kernel takes one of the provided buffers, and the completion says which
//!            ──▶ Buffer: the right to look at it, until it is given back
//!  send      hands its bytes over ──▶ kept here ──▶ the completion hands them back
//!  drop      everything is cancelled and waited for; what will not end keeps its memory for ever
//! ```
//! The sockets are the caller's, who keeps them open until their operations have completed. If one were closed before, an operation could meet another
//! file of the same number: the wrong peer, but no wrong memory.

#![expect(unsafe_code, reason = "submitting to io_uring, and the memory that is shared with it")]

use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, types::BufRingEntry};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How many submissions are collected at most before the kernel must take them.
const ENTRIES: u32 = 1024;

/// How many buffers are provided; a power of two.
const BUFFERS: u16 = 256;

/// How many bytes a buffer holds.
const BUFFER: usize = 16 << 10;

/// The number of the group of buffers: there is one.
const GROUP: u16 = 0;

/// The alignment of the memory that is shared with the kernel.
const PAGE: usize = 4096;

/// `IORING_RECVSEND_POLL_FIRST`: nothing is tried before the socket is ready.
const POLL_FIRST: u16 = 1;

/// How long a ring that is dropped waits for what it has cancelled.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a completion is of, in the lowest bits of its `user_data`; the key is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Kind {
    Ignored,
    Accept,
    Bell,
    Receive,
    Send,
}

const KINDS: [Kind; 5] = [Kind::Ignored, Kind::Accept, Kind::Bell, Kind::Receive, Kind::Send];

fn user_data(kind: Kind, key: usize) -> u64 {
    (key as u64) << 3 | kind as u64
}

/// What has completed.
#[derive(Debug)]
pub(super) enum Completion {
    /// A connection; and whether there will be more without asking anew.
    Accepted(io::Result<OwnedFd>, bool),
    /// The descriptor that was polled is readable.
    Rang,
    /// What was received for this key: none is the end of the stream.
    Received(usize, io::Result<Option<Buffer>>),
    /// The bytes that were sent for this key, and how many of them.
    Sent(usize, Vec<u8>, io::Result<usize>),
}

/// The right to look at a buffer, of the ring that handed it out, which the kernel has filled. Dropped without [`Ring::give_back`] the buffer is out of use.
#[derive(Debug)]
pub(super) struct Buffer {
    id: u16,
    len: usize,
    /// Whether the socket is known to have been empty after it.
    pub(super) emptied: bool,
}

/// One ring, of one thread.
pub(super) struct Ring {
    ring: IoUring,
    provided: Provided,
    /// What is being sent, by key.
    sending: Vec<Option<Vec<u8>>>,
    /// Operations whose last completion has not come.
    in_flight: usize,
    /// Completions that were taken to make room.
    early: Vec<cqueue::Entry>,
}

impl Ring {
    /// # Errors
    /// When there can be none, with the reason in words.
    pub(super) fn new() -> io::Result<Ring> {
        let ring = build().map_err(|error| {
            let what = "this model needs io_uring as of Linux 5.19, which this system refuses";
            io::Error::new(error.kind(), format!("{what}: {error}; see 'fibra doctor'"))
        })?;
        let provided = Provided::new(&ring).map_err(|error| {
            let what = "this model needs rings of provided buffers, as of Linux 5.19";
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })?;
        Ok(Ring { ring, provided, sending: Vec::new(), in_flight: 0, early: Vec::new() })
    }

    /// Accepts connections from `listener`, one after another, until it is cancelled or fails.
    pub(super) fn accept(&mut self, listener: &impl AsFd) {
        let flags = SocketFlags::CLOEXEC.bits() as i32;
        let entry = opcode::AcceptMulti::new(fd(listener)).flags(flags).build();
        // SAFETY: it names no memory.
        unsafe { self.push(entry, Kind::Accept, 0) };
    }

    /// Ends accepting.
    pub(super) fn cancel_accept(&mut self) {
        self.cancel(Kind::Accept, 0);
    }

    /// Waits for a descriptor to be readable, once.
    pub(super) fn poll(&mut self, descriptor: &impl AsFd) {
        let entry = opcode::PollAdd::new(fd(descriptor), u32::from(PollFlags::IN.bits())).build();
        // SAFETY: it names no memory.
        unsafe { self.push(entry, Kind::Bell, 0) };
    }

    /// Receives once, for `key`; if the socket was `emptied`, without a try before it is ready.
    pub(super) fn receive(&mut self, socket: &impl AsFd, key: usize, emptied: bool) {
        let entry = opcode::Recv::new(fd(socket), std::ptr::null_mut(), BUFFER as u32)
            .buf_group(GROUP)
            .ioprio(if emptied { POLL_FIRST } else { 0 })
            .build()
            .flags(io_uring::squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel chooses among the provided buffers, which are its own until it has said that it used one, and live as long as the ring.
        unsafe { self.push(entry, Kind::Receive, key) };
    }

    /// Sends `bytes` from the place `from` on, for `key`, which is sending nothing else.
    pub(super) fn send(&mut self, socket: &impl AsFd, key: usize, bytes: Vec<u8>, from: usize) {
        if key >= self.sending.len() {
            self.sending.resize_with(key + 1, || None);
        }
        assert!(self.sending[key].is_none(), "one send at a time");
        let rest = &self.sending[key].insert(bytes)[from..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let flags = SendFlags::NOSIGNAL.bits() as i32;
        let entry = opcode::Send::new(fd(socket), rest.as_ptr(), len).flags(flags).build();
        // SAFETY: the bytes stay in `sending`, unchanged, until the completion has come; a ring that is dropped before waits for it, or leaks them.
        unsafe { self.push(entry, Kind::Send, key) };
    }

    /// Asks the kernel to end what is in flight for `key`. The operations complete nonetheless: with an error, or with what they had done.
    pub(super) fn cancel_receive(&mut self, key: usize) {
        self.cancel(Kind::Receive, key);
    }

    /// The same for a send.
    pub(super) fn cancel_send(&mut self, key: usize) {
        self.cancel(Kind::Send, key);
    }

    fn cancel(&mut self, kind: Kind, key: usize) {
        let entry = opcode::AsyncCancel::new(user_data(kind, key)).build();
        // SAFETY: it names no memory.
        unsafe { self.push(entry, Kind::Ignored, 0) };
    }

    /// # Safety
    /// What `entry` names stays valid until its completion has come.
    unsafe fn push(&mut self, entry: Entry, kind: Kind, key: usize) {
        let entry = entry.user_data(user_data(kind, key));
        // SAFETY: as the caller says.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The queue is full: the kernel takes it. What might keep it from that are completions that nobody has taken.
            if self.ring.submit().is_err() {
                self.early.extend(self.ring.completion());
            }
        }
        self.in_flight += 1;
    }

    /// Hands over what was begun, waits for a completion, for at most `timeout`, and appends all there are to `completions`.
    ///
    /// # Errors
    /// When the ring is broken.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let timeout = if self.early.is_empty() { timeout } else { Some(Duration::ZERO) };
        let timeout = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            arguments = arguments.timespec(timeout);
        }
        match self
            .ring
            .submitter()
            .submit_with_args(1, &arguments)
            .map_err(|error| Errno::from_io_error(&error))
        {
            // Time is up, a signal came, completions have to be taken first, or memory is short for a moment.
            Ok(_) | Err(Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN)) => {}
            Err(Some(error)) => return Err(error.into()),
            Err(None) => return Err(io::Error::other("waiting for completions failed")),
        }
        let mut entries = std::mem::take(&mut self.early);
        entries.extend(self.ring.completion());
        for entry in entries.drain(..) {
            completions.extend(self.complete(&entry));
        }
        // Its room is kept.
        self.early = entries;
        Ok(())
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let more = cqueue::more(entry.flags());
        if !more {
            self.in_flight -= 1;
        }
        let result = match entry.result() {
            result @ 0.. => Ok(result as usize),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
        let key = (entry.user_data() >> 3) as usize;
        Some(match KINDS[(entry.user_data() & 7) as usize] {
            Kind::Ignored => return None,
            Kind::Bell => Completion::Rang,
            Kind::Accept => {
                // SAFETY: the kernel has just opened it for us.
                let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                Completion::Accepted(socket, more)
            }
            Kind::Receive => {
                let buffer = cqueue::buffer_select(entry.flags());
                let emptied = !cqueue::sock_nonempty(entry.flags());
                let buffer = result.map(|len| {
                    let buffer = buffer.map(|id| Buffer { id, len, emptied: emptied && len < BUFFER });
                    // At the end of the stream it may have taken one all the same.
                    if len == 0 {
                        buffer.into_iter().for_each(|buffer| self.give_back(buffer));
                        return None;
                    }
                    buffer
                });
                Completion::Received(key, buffer)
            }
            Kind::Send => {
                let bytes = self.sending[key].take().expect("it was kept for this completion");
                Completion::Sent(key, bytes, result)
            }
        })
    }

    /// What the kernel has put into a buffer.
    pub(super) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.provided.bytes(buffer)
    }

    /// Provides a buffer anew.
    #[expect(clippy::needless_pass_by_value, reason = "the right to look at it ends here")]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.provided.provide(buffer.id);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for key in 0..self.sending.len() {
            if self.sending[key].is_some() {
                self.cancel_send(key);
            }
        }
        // What is received goes into the provided buffers, which a ring that is closed does not use any more; see `Provided`.
        let (deadline, mut completions) = (Instant::now() + PATIENCE, Vec::new());
        while self.sending.iter().any(Option::is_some) && Instant::now() < deadline {
            if self.wait(Some(Duration::from_millis(10)), &mut completions).is_err() {
                break;
            }
        }
        // The kernel may still read them: they are its for ever.
        self.sending.drain(..).for_each(std::mem::forget);
        if self.ring.submitter().unregister_buf_ring(GROUP).is_err() || self.in_flight > 0 {
            self.provided.leak();
        }
    }
}

/// A ring as this kernel has it: what newer ones offer saves interrupts.
fn build() -> io::Result<IoUring> {
    let newest = IoUring::builder()
        .dontfork()
        .setup_clamp()
        .setup_cqsize(16 * ENTRIES)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(ENTRIES);
    match newest {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_cqsize(16 * ENTRIES)
            .setup_coop_taskrun()
            .build(ENTRIES),
        ring => ring,
    }
}

fn fd(descriptor: &impl AsFd) -> Fd {
    Fd(descriptor.as_fd().as_raw_fd())
}

/// The provided buffers: a ring of entries that say where they are, and behind it the buffers themselves.
///
/// ```text
///  ┌ entries: address, length, number ┐┌ buffer 0 ┐┌ buffer 1 ┐ …
///  the kernel takes at its head, we add at the tail (which lies in the first entry)
/// ```
/// All of it is reached by pointers only, since the kernel writes to it at any time. A buffer whose number is in no entry, because a completion named it, is ours
/// alone.
struct Provided {
    memory: NonNull<u8>,
    layout: Layout,
    tail: u16,
}

impl Provided {
    fn new(ring: &IoUring) -> io::Result<Provided> {
        let entries = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let size = entries.next_multiple_of(PAGE) + usize::from(BUFFERS) * BUFFER;
        let layout = Layout::from_size_align(size, PAGE).expect("some megabytes are a layout");
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
        let mut provided = Provided { memory, layout, tail: 0 };
        // SAFETY: the memory begins with so many entries, and lives until the ring is closed or the group unregistered: see the drop of `Ring`.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, BUFFERS, GROUP, 0)?;
        }
        (0..BUFFERS).for_each(|id| provided.provide(id));
        Ok(provided)
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        assert!(id < BUFFERS, "there is no such buffer");
        let entries = (usize::from(BUFFERS) * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
        // SAFETY: it lies within the memory.
        unsafe { self.memory.add(entries + usize::from(id) * BUFFER) }
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        // SAFETY: a `Buffer` is made for a buffer that the kernel has filled and named, and is gone before it is provided again. It filled so many bytes, and
        // all were initialised to begin with.
        unsafe { std::slice::from_raw_parts(self.buffer(buffer.id).as_ptr(), buffer.len.min(BUFFER)) }
    }

    /// Adds an entry for a buffer that is in none.
    fn provide(&mut self, id: u16) {
        let address = self.buffer(id).as_ptr() as u64;
        let entries = self.memory.cast::<BufRingEntry>();
        // SAFETY: the entry lies within the memory, and the kernel does not look at it before the tail has passed it. The tail is written last, and as a release, since
        // the kernel reads it as an acquire. The setters write each its own field, so that they leave the tail alone, which lies in the first entry.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail % BUFFERS)).as_ptr();
            entry.set_addr(address);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Leaves the memory to the kernel for ever.
    fn leak(&mut self) {
        self.layout = Layout::new::<()>();
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: it was allocated with this layout, and the kernel has been told not to use it any more.
            unsafe { dealloc(self.memory.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn wait(ring: &mut Ring) -> Completion {
        let mut completions = Vec::new();
        while completions.is_empty() {
            ring.wait(None, &mut completions).unwrap();
        }
        assert_eq!(completions.len(), 1);
        completions.remove(0)
    }

    /// None where there is no io_uring.
    fn ring() -> Option<Ring> {
        Ring::new().inspect_err(|error| println!("not tested: {error}")).ok()
    }

    #[test]
    fn buffers_come_round_again_with_what_was_received() {
        let Some(mut ring) = ring() else { return };
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for round in 0..3 * u32::from(BUFFERS) {
            ring.receive(&ours, 7, round % 2 == 0);
            theirs.write_all(&round.to_le_bytes()).unwrap();
            let Completion::Received(7, Ok(Some(buffer))) = wait(&mut ring) else { panic!("not received") };
            assert_eq!(ring.bytes(&buffer), round.to_le_bytes());
            ring.give_back(buffer);
        }
        ring.receive(&ours, 7, false);
        drop(theirs);
        assert!(matches!(wait(&mut ring), Completion::Received(7, Ok(None))));
    }

    #[test]
    fn what_was_sent_comes_back() {
        let Some(mut ring) = ring() else { return };
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ring.send(&ours, 3, b"unsaid, said".to_vec(), 8);
        let Completion::Sent(3, bytes, Ok(4)) = wait(&mut ring) else { panic!("not sent") };
        assert_eq!(bytes, b"unsaid, said");
        let mut said = [0; 4];
        theirs.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"said");
    }

    #[test]
    fn a_ring_that_is_dropped_takes_back_what_is_being_sent() {
        let Some(mut ring) = ring() else { return };
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // More than the socket holds, and a receive that nobody answers.
        ring.send(&ours, 0, vec![1; 8 << 20], 0);
        ring.receive(&ours, 1, false);
        ring.wait(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
        let began = Instant::now();
        drop(ring);
        assert!(began.elapsed() < PATIENCE, "the cancelled send has completed");
        drop(ours);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        assert!(sent.len() < 8 << 20 && sent.iter().all(|&byte| byte == 1));
    }

    #[test]
    fn a_receive_that_is_cancelled_completes() {
        let Some(mut ring) = ring() else { return };
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ring.receive(&ours, 5, false);
        ring.cancel_receive(5);
        assert!(matches!(wait(&mut ring), Completion::Received(5, Err(_))));
    }
}
