//! An echo server in the style of Python's `selectors`, which talks to itself and ends.
//!
//! ```text
//! cargo run -p fibra --example selectors_echo
//! ```
//!
//! The Python that it follows:
//!
//! ```text
//! sel.register(listener, EVENT_READ, accept)        events.register(listener, Interest::READABLE, accept)
//! while True:                                       events.run()
//!     for key, mask in sel.select():
//!         key.data(key.fileobj, mask)               accept(&mut listener, &mut events, event)
//! ```
//!
//! Look at what has become of `echo`: a conversation is two functions and a struct, since neither may wait. What the kernel does not take at once has to be kept, the
//! interest has to be turned round until it has, and the buffer's state is the program counter. The same with coroutines (`examples/echo.rs`) is a loop with a read and a write in it.

use fibra::event_loop::{Event, EventLoop, Interest};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// More than the kernel's buffers hold, so that the server meets a client that does not read.
const MESSAGE: usize = 4 * 1024 * 1024;
const CLIENTS: usize = 3;

/// What the callbacks share.
#[derive(Default)]
struct Log {
    accepted: usize,
    calls: usize,
    kept: usize,
}

/// A connection with its state: the user data.
struct Connection {
    stream: TcpStream,
    number: usize,
    /// What has been received and not been sent yet.
    unsent: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn accept(listener: &mut TcpListener, events: &mut EventLoop<Log>, event: Event<TcpListener>) {
    let (stream, peer) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) => return println!("accept: {error}"),
    };
    events.data.accepted += 1;
    let number = events.data.accepted;
    println!("connection {number} from {peer}: registered, readable");
    if let Err(error) = stream.set_nonblocking(true).and_then(|()| {
        events.register(Connection { stream, number, unsent: Vec::new() }, Interest::READABLE, echo)
    }) {
        println!("connection {number}: {error}");
    }
    if number == CLIENTS {
        println!("that was the last one: the listener is unregistered");
        events.unregister(event.key);
    }
}

fn echo(connection: &mut Connection, events: &mut EventLoop<Log>, event: Event<Connection>) {
    events.data.calls += 1;
    let result = if event.writable { send(connection) } else { receive(connection) };
    match result {
        // The peer waits for its bytes and sends none, or the other way round.
        Ok(true) if connection.unsent.is_empty() => {
            let _ = events.modify(event.key, Interest::READABLE);
        }
        Ok(true) => {
            if !event.writable {
                events.data.kept += 1;
            }
            let _ = events.modify(event.key, Interest::WRITABLE);
        }
        Ok(false) => {
            println!("connection {}: the end, unregistered", connection.number);
            events.unregister(event.key);
        }
        Err(error) => {
            println!("connection {}: {error}", connection.number);
            events.unregister(event.key);
        }
    }
}

/// False at the end of the stream.
fn receive(connection: &mut Connection) -> io::Result<bool> {
    let mut buffer = [0; 64 * 1024];
    match connection.stream.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            connection.unsent.extend_from_slice(&buffer[..count]);
            send(connection)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

fn send(connection: &mut Connection) -> io::Result<bool> {
    match connection.stream.write(&connection.unsent) {
        Ok(count) => drop(connection.unsent.drain(..count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// A client writes everything, and only then reads.
fn talk(address: std::net::SocketAddr, number: usize) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let message: Vec<u8> = (0..MESSAGE).map(|index| (index + number) as u8).collect();
    let writer = std::thread::spawn({
        let (mut stream, message) = (stream.try_clone()?, message.clone());
        move || stream.write_all(&message).and_then(|()| stream.shutdown(Shutdown::Write))
    });
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer)?;
    writer.join().expect("it does not panic")?;
    assert!(answer == message, "what comes back is what was sent");
    println!("client {number}: {} MiB went there and came back", MESSAGE / 1024 / 1024);
    Ok(())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let clients: Vec<_> =
        (1..=CLIENTS).map(|number| std::thread::spawn(move || talk(address, number))).collect();

    let mut events = EventLoop::with_data(Log::default())?;
    println!("serving on {address}, driver {}", events.driver());
    events.register(listener, Interest::READABLE, accept)?;
    // It returns when nothing is registered any more.
    events.run()?;
    for client in clients {
        client.join().expect("no client panics")?;
    }
    let Log { accepted, calls, kept } = events.data;
    println!(
        "{accepted} connections, {calls} calls of `echo`; {kept} times the kernel did not take all, and the rest was kept"
    );
    Ok(())
}
