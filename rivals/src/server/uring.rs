//! One io_uring loop, written by hand the straightforward way. Each connection has one operation under way: it receives
//! into a buffer of its own, sends what has come until all of it is through, and receives again. What the completions of
//! one round ask for goes to the kernel in one call, which also waits for the next of them; connections are accepted by
//! one operation that stays.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{SubmissionQueue, Submitter, cqueue, opcode};

use super::{ADDRESS, BUFFER, announce};
use crate::runtime::ring;

/// Operations given to the kernel at once; more than so many take another call.
const SUBMITTED_AT_ONCE: u32 = 4_096;
/// Completions that are kept for us: at most one a connection, and the accepted ones.
const COMPLETIONS: u32 = 32_768;
/// Buffers that the pool grows by.
const BUFFERS_AT_ONCE: usize = 256;
const LISTENER: u64 = u64::MAX;

/// Buffers, one for each slot of the connections. They never move, and never go: the kernel writes to them.
#[derive(Default)]
struct Buffers {
    blocks: Vec<*mut u8>,
}

impl Buffers {
    fn of(&mut self, slot: usize) -> *mut u8 {
        while slot >= self.blocks.len() * BUFFERS_AT_ONCE {
            self.blocks.push(Box::leak(vec![0; BUFFERS_AT_ONCE * BUFFER].into_boxed_slice()).as_mut_ptr());
        }
        // SAFETY: the block has so many buffers, and stays for good.
        unsafe { self.blocks[slot / BUFFERS_AT_ONCE].add(slot % BUFFERS_AT_ONCE * BUFFER) }
    }
}

/// What is under way on a connection.
enum Doing {
    Receiving,
    /// These bytes of the buffer are still to be sent.
    Sending {
        from: usize,
        to: usize,
    },
}

struct Connection {
    socket: OwnedFd,
    buffer: *mut u8,
    doing: Doing,
}

impl Connection {
    /// The operation that gets on with what is being done.
    fn operation(&self, slot: usize) -> Entry {
        let socket = Fd(self.socket.as_raw_fd());
        let entry = match self.doing {
            Doing::Receiving => opcode::Recv::new(socket, self.buffer, BUFFER as u32).build(),
            Doing::Sending { from, to } => {
                opcode::Send::new(socket, self.buffer.wrapping_add(from), (to - from) as u32)
                    .flags(libc::MSG_NOSIGNAL)
                    .build()
            }
        };
        entry.user_data(slot as u64)
    }

    /// Takes the result of the operation; false when the conversation is over.
    fn goes_on(&mut self, result: i32) -> bool {
        let Ok(moved) = usize::try_from(result) else {
            return matches!(-result, libc::EINTR | libc::EAGAIN);
        };
        self.doing = match self.doing {
            Doing::Receiving if moved == 0 => return false,
            Doing::Receiving => Doing::Sending { from: 0, to: moved },
            Doing::Sending { from, to } if from + moved < to => Doing::Sending { from: from + moved, to },
            Doing::Sending { .. } => Doing::Receiving,
        };
        true
    }
}

pub(super) fn serve() -> Result<()> {
    let listener = std::net::TcpListener::bind(ADDRESS)?;
    let mut ring = ring(SUBMITTED_AT_ONCE, COMPLETIONS)?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(LISTENER);
    announce(listener.local_addr())?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffers = Buffers::default();
    let (submitter, mut submissions, mut completions) = ring.split();
    // SAFETY: the listener is open as long as the ring.
    unsafe { push(&submitter, &mut submissions, &accept)? };
    loop {
        submissions.sync();
        // What has been taken must not count as what is waited for.
        completions.sync();
        match submitter.submit_and_wait(1) {
            Ok(_) => {}
            // Busy: completions are to be taken first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            Err(error) => return Err(error).context("io_uring_enter"),
        }
        submissions.sync();
        completions.sync();
        for completion in &mut completions {
            let result = completion.result();
            let slot = if completion.user_data() == LISTENER {
                if !cqueue::more(completion.flags()) {
                    // SAFETY: as above.
                    unsafe { push(&submitter, &mut submissions, &accept)? };
                }
                match -result {
                    ..=0 => {}
                    libc::ECONNABORTED | libc::EINTR => continue,
                    error => return Err(io::Error::from_raw_os_error(error)).context("accepting"),
                }
                let slot = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                // SAFETY: this is a descriptor that the kernel has just opened for us.
                let socket = unsafe { OwnedFd::from_raw_fd(result) };
                connections[slot] =
                    Some(Connection { socket, buffer: buffers.of(slot), doing: Doing::Receiving });
                slot
            } else {
                completion.user_data() as usize
            };
            let Some(connection) = &mut connections[slot] else { continue };
            if completion.user_data() != LISTENER && !connection.goes_on(result) {
                // Nothing is under way on it: what was has just come to its end.
                connections[slot] = None;
                free.push(slot);
                continue;
            }
            // SAFETY: socket and buffer belong to the connection, which stays until this operation has completed; nobody else
            // touches the buffer.
            unsafe { push(&submitter, &mut submissions, &connection.operation(slot))? };
        }
    }
}

/// Puts an operation into the queue; when that is full, the kernel gets it first.
///
/// # Safety
///
/// What the operation names stays as it is until its completion.
unsafe fn push(
    submitter: &Submitter<'_>,
    submissions: &mut SubmissionQueue<'_>,
    entry: &Entry,
) -> Result<()> {
    // SAFETY: as our caller promises.
    while unsafe { submissions.push(entry) }.is_err() {
        submissions.sync();
        submitter.submit().context("io_uring_enter")?;
        submissions.sync();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_short_send_has_left_is_sent_before_more_is_received() {
        let socket = std::net::UdpSocket::bind(ADDRESS).expect("a socket").into();
        let mut connection = Connection { socket, buffer: std::ptr::null_mut(), doing: Doing::Receiving };
        assert!(connection.goes_on(10));
        assert!(matches!(connection.doing, Doing::Sending { from: 0, to: 10 }));
        assert!(connection.goes_on(4));
        assert!(matches!(connection.doing, Doing::Sending { from: 4, to: 10 }));
        assert!(connection.goes_on(6));
        assert!(matches!(connection.doing, Doing::Receiving));
        assert!(!connection.goes_on(0));
    }

    #[test]
    fn buffers_stay_where_they_are_as_the_pool_grows() {
        let mut buffers = Buffers::default();
        let first = buffers.of(0);
        assert_eq!(buffers.of(1), first.wrapping_add(BUFFER));
        buffers.of(10 * BUFFERS_AT_ONCE);
        assert_eq!(buffers.of(0), first);
    }
}
