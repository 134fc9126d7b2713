//! Moving bytes from one descriptor to another: [`copy`], which takes them through the kernel alone, without a copy in user memory.
//!
//! `std::io::copy` does so too on Linux, for std's types; given the library's it would read and write by way of a buffer of 8 KiB. What can be copied from is an [`Origin`] (a stream
//! socket, a file, and so much of one as a [`Take`](std::io::Take) allows), and what can be copied to a [`Destination`] (a stream socket).
//!
//! ```
//! use fibra::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! fibra::run(|| {
//!     // Whoever sends to this port hears their own words.
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let echo = fibra::spawn(move || {
//!         let (stream, _) = listener.accept()?;
//!         fibra::io::copy(&mut &stream, &mut &stream)
//!     });
//!     let mut client = TcpStream::connect(address)?;
//!     client.write_all(b"hello")?;
//!     client.shutdown(fibra::net::Shutdown::Write)?;
//!     let mut text = String::new();
//!     client.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     assert_eq!(echo.join().unwrap()?, 5);
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The way of a byte, and what is lost when a wait ends
//! ```text
//!  from a socket:  socket ──splice──▶ pipe ──splice──▶ socket        the pipe is filled only when it is empty
//!  from a file:    file ───────────sendfile──────────▶ socket        on the blocking pool; what the socket does not take stays in the file
//!  else:           any ────read───▶ buffer ──write───▶ socket        no descriptors left for a pipe; a file without places; urgent data in the way; filled only when it is empty
//! ```
//!
//! A wait that ends early (a timeout, a request to stop, an error) is either for the origin, and then the pipe is empty and nothing has been taken that was not handed on; or for
//! the destination, and then what it has not taken is in the pipe, or in the buffer. That is what [`Transfer`] is for: it owns both. After the error or the unwind it tells how much
//! there is ([`Transfer::pending`]), and the next [`Transfer::copy`] begins with it. The counts are right whichever comes first, since an operation that has moved something
//! returns, also when it was asked to end. With the function [`copy`] these bytes are lost, as those in the buffer of `std::io::copy` are.
//!
//! # What it saves
//! 64 MiB over loopback, one worker, two cores and other programs running, Linux 6.18 (`benches/copy.rs`, medians of 21 interleaved rounds, two runs): from connection to connection the
//! copying takes 0.57 and 0.72 times the processor time of reading and writing by a buffer of 64 KiB with epoll, 0.59 and 0.63 with io_uring, and 0.96 and 1.03 where everything is submitted to the
//! ring. What it saves is the copier's: with the two ends on the same machine all together take 0.85 to 1.06 times as much, for who reads the pages has them from further away. From a
//! file that is in the page cache it was 0.51 to 1.14, different from one run to the next; but neither the disk nor the sending keeps the worker, and there is one trip to the pool
//! for up to 4 MiB.
//!
//! # The mode of the sockets
//! `splice(2)` and `sendfile(2)` know no flag that keeps them from waiting for a socket: for as long as one is copied from or to, its open file is in non-blocking mode
//! (`O_NONBLOCK`). The library's own operations do not care; who uses the open file by another way meanwhile, through its descriptor, a duplicate or in another process, finds it so.

mod ends;
mod transfer;

pub use ends::{Destination, Origin};
use std::io;
pub use transfer::Transfer;

/// Copies all that `reader` has, until its end, to `writer`, and returns how many bytes that was, as [`std::io::copy`].
///
/// What has been taken from the reader and not yet by the writer is lost when the wait for the writer ends early; a [`Transfer`] keeps it. The writer is not shut down.
///
/// # Errors
/// Those of reading and of writing.
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Origin + ?Sized,
    W: Destination + ?Sized,
{
    Transfer::new().copy(reader, writer)
}
