//! `future`: the same state machine as a hand-written [`Future`], on a minimal executor of ours.
//!
//! ```text
//!   executor ── poll ──▶ Serving: step, step, step … would block ──▶ leaves its waker with the reactor ── Pending
//!      ▲                                                                      │
//!      │ ready queue                                                          ▼
//!      └────────────── wake: the task's number into the queue ◀────── reactor: epoll_wait, time limits
//!
//!  state:  a future for each connection, boxed in the executor's table; its fields are what must outlive a wait
//!  wakes:  its waker, which the reactor holds while the future is pending
//!  blocks: in the reactor's epoll_wait, and in the filesystem (see `conversation`)
//! ```
//!
//! What a `Future` adds to [`state_machine`](super::state_machine) is a contract between those who do not know each other: *whoever returns
//! `Pending` has seen to it that its waker will be woken*. The executor knows nothing of sockets, the reactor nothing of tasks, and the
//! futures neither. `async fn` has the compiler write [`Serving`] and its `poll`.
//!
//! - `executor`: which tasks there are, and which are to be polled.
//! - `reactor`: who waits for which descriptor, and until when. Edge-triggered: a future waits only after the kernel has said that there is nothing.
//! - [`Serving`], [`Accepting`], [`Hearing`]: a client, the door, the signals.

mod executor;
mod reactor;

use super::admission::Admission;
use super::conversation::Desk;
use super::door::{self, Door, Visitor};
use super::guest::{Guest, Interest, READ, Step};
use super::stopping::{Bell, Ending, tell, tell_cut_off};
use super::{Options, Started, Summary, loops};
use executor::Executor;
use reactor::{Reactor, Registration};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How often a future steps before others have their turn.
const STEPS: usize = 16;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::is_one(options)?;
    let listener = door::listen(options.address, options.accept, 1)?.remove(0);
    let address = listener.local_addr()?;
    let bell = Bell::new()?;
    let server = Rc::new(Server {
        executor: Executor::default(),
        reactor: Reactor::new()?,
        admission: Admission::new(options.service.limits().connections),
        desk: RefCell::new(Desk::new(options.protocol, Arc::clone(&options.service))),
        input: RefCell::new(vec![0; READ].into_boxed_slice()),
        ending: Cell::new(Ending::No),
        accepted: Cell::new(0),
        wakeups: Cell::new(0),
    });
    let registered = server.reactor.register(&bell)?;
    server.executor.spawn(Hearing { server: Rc::clone(&server), bell, registered });
    let registered = server.reactor.register(&listener)?;
    server.executor.spawn(Accepting { server: Rc::clone(&server), listener, registered, door: None });
    started(&Started { address, driver: "epoll", workers: 1 });
    loop {
        let busy = server.executor.poll_ready();
        if server.is_over() {
            break;
        }
        server.reactor.wait(busy, server.ending.get().deadline())?;
        server.desk.borrow_mut().now = server.reactor.now();
    }
    let cut_off = server.admission.open();
    tell_cut_off(cut_off);
    server.executor.clear();
    Ok(Summary { accepted: server.accepted.get(), cut_off, wakeups: server.wakeups.get() })
}

/// What the futures share. All of them run on this thread.
struct Server {
    executor: Executor,
    reactor: Reactor,
    admission: Arc<Admission>,
    desk: RefCell<Desk>,
    input: RefCell<Box<[u8]>>,
    ending: Cell<Ending>,
    accepted: Cell<u64>,
    wakeups: Cell<u64>,
}

impl Server {
    fn stops(&self) -> bool {
        self.ending.get() != Ending::No
    }

    fn is_over(&self) -> bool {
        // Those at the door come in before it is closed: an accepting future has its last turn first.
        let empty = self.executor.is_idle() && self.admission.open() == 0;
        self.stops() && (empty || self.ending.get().is_over(self.reactor.now()))
    }

    fn serve(self: &Rc<Self>, guest: Guest) {
        self.accepted.set(self.accepted.get() + 1);
        match self.reactor.register(&guest) {
            Ok(registered) => {
                let told = false;
                self.executor.spawn(Serving { server: Rc::clone(self), registered, guest, told });
            }
            // The kernel has no memory for it, or the user may watch no more.
            Err(error) => tracing::warn!(%error, "a connection cannot be watched, and is closed"),
        }
    }
}

/// Serves one client to the end.
struct Serving {
    server: Rc<Server>,
    /// Before the guest, so that it leaves the reactor while its socket is open.
    registered: Registration,
    guest: Guest,
    /// Whether the conversation knows that the server stops.
    told: bool,
}

impl Future for Serving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Serving { server, registered, guest, told } = self.get_mut();
        let (desk, input) = (&mut *server.desk.borrow_mut(), &mut *server.input.borrow_mut());
        if server.stops() && !*told {
            *told = true;
            guest.conversation.stop();
        }
        if guest.conversation.deadline() <= desk.now {
            guest.conversation.expire(desk);
        }
        // Why it is polled it does not know, nor need it: it goes on where it was.
        for _ in 0..STEPS {
            match guest.step(input, desk) {
                Step::Over => return Poll::Ready(()),
                Step::Waits(_) => {
                    registered.wait(context.waker(), Some(guest.conversation.deadline()));
                    return Poll::Pending;
                }
                // The next call would only say so.
                Step::Went { emptied: true }
                    if !*told && guest.interest() == Interest::Readable && !registered.has_hung_up() =>
                {
                    registered.wait(context.waker(), Some(guest.conversation.deadline()));
                    return Poll::Pending;
                }
                Step::Went { .. } => {}
            }
        }
        // Enough for now. It is its own waker.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Lets clients in until the server stops.
struct Accepting {
    server: Rc<Server>,
    registered: Registration,
    listener: Arc<TcpListener>,
    /// Made at the first poll, when the waker is known that a place at the limit wakes.
    door: Option<Door>,
}

impl Future for Accepting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Accepting { server, registered, listener, door } = self.get_mut();
        let door = door.get_or_insert_with(|| {
            Door::new(Arc::clone(listener), Arc::clone(&server.admission), context.waker().clone())
        });
        let guest = |socket, place| Guest::new(socket, place, &server.desk.borrow());
        if server.stops() {
            while let Some((socket, place)) = door.accept_last() {
                server.serve(guest(socket, place));
            }
            return Poll::Ready(());
        }
        if registered.take_event() {
            server.wakeups.set(server.wakeups.get() + 1);
        }
        // Perhaps that is why it is polled.
        door.woken();
        for _ in 0..STEPS {
            match door.accept(server.reactor.now()) {
                Visitor::One(socket, place) => server.serve(guest(socket, place)),
                Visitor::Nobody | Visitor::Later => {
                    registered.wait(context.waker(), door.opens_at());
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Hears the signals.
struct Hearing {
    server: Rc<Server>,
    registered: Registration,
    bell: Bell,
}

impl Future for Hearing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Hearing { server, registered, bell } = self.get_mut();
        bell.silence();
        while let Some(signal) = bell.signal() {
            let mut ending = server.ending.get();
            let first = ending.asked(server.desk.borrow().service.limits().stop_deadline);
            server.ending.set(ending);
            if first {
                server.reactor.wake_all();
            }
            tell(signal, first);
        }
        registered.wait(context.waker(), None);
        Poll::Pending
    }
}
