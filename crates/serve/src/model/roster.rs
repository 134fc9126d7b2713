//! Who is being served by which thread: so that a stopping server can interrupt them, and in the end cut them off.
//!
//! ```text
//!  the one who accepts          the thread
//!   enter(socket, place) ─key─▶ serve(key): recv, send, recv …       its name is in the roster for as long
//!   interrupt() ──── SIGURG ──▶ EINTR: looks whether the server stops
//!   cut_off() ────── shutdown ▶ recv and send return: the end
//!                               struck from the roster; the place is given back
//! ```
//! A thread strikes its own name before it ends, and under the same lock as names are called: so a signal always goes to a thread that lives.
//!
//! SIGURG, since nobody else has a use for it: by default it is ignored. Its handler does nothing; that there is one makes a call return.

use super::admission::Place;
use super::blocking;
use super::conversation::Desk;
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use signal_hook::SigId;
use signal_hook::consts::SIGURG;
use signal_hook::{flag, low_level};
use slab::Slab;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those who are served.
#[derive(Debug)]
pub(super) struct Roster {
    callers: Mutex<Slab<Caller>>,
    stopping: AtomicBool,
    handler: SigId,
}

#[derive(Debug)]
struct Caller {
    socket: Arc<TcpStream>,
    place: Place,
    /// None until a thread has begun to serve it.
    thread: Option<Pthread>,
}

impl Roster {
    /// # Errors
    /// When the system refuses the handler.
    pub(super) fn new() -> io::Result<Arc<Roster>> {
        let handler = flag::register(SIGURG, Arc::default())?;
        Ok(Arc::new(Roster { callers: Mutex::default(), stopping: AtomicBool::new(false), handler }))
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Caller>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection that a thread is to serve, and under which key.
    pub(super) fn enter(&self, socket: TcpStream, place: Place) -> usize {
        self.lock().insert(Caller { socket: Arc::new(socket), place, thread: None })
    }

    /// Takes it back: no thread could be found.
    pub(super) fn withdraw(&self, key: usize) -> (TcpStream, Place) {
        let Caller { socket, place, .. } = self.lock().remove(key);
        (Arc::into_inner(socket).expect("nobody has begun to serve it"), place)
    }

    /// Serves it on the calling thread, from its beginning to its end.
    pub(super) fn serve(&self, key: usize, desk: &mut Desk, input: &mut [u8]) {
        let socket = {
            let caller = &mut self.lock()[key];
            caller.thread = Some(pthread_self());
            Arc::clone(&caller.socket)
        };
        // The conversation contains the handler's panics. Ours would be contained here, for the sake of the others.
        let ended =
            catch_unwind(AssertUnwindSafe(|| blocking::converse(&socket, desk, input, &self.stopping)));
        let caller = self.lock().remove(key);
        // First the socket, which is closed by this, then the place, which lets somebody in.
        drop((socket, caller.socket));
        drop(caller.place);
        if ended.is_err() {
            tracing::error!("serving a connection panicked; it is closed, the others go on");
        }
    }

    /// Has all threads look whether the server stops, which it does from now on.
    pub(super) fn interrupt(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for (_, caller) in self.lock().iter() {
            if let Some(thread) = caller.thread {
                // It lives. Should the signal be lost all the same, another will follow.
                let _ = pthread_kill(thread, Signal::SIGURG);
            }
        }
    }

    /// Ends all conversations: their threads find closed sockets.
    pub(super) fn cut_off(&self) {
        for (_, caller) in self.lock().iter() {
            // It may have ended already.
            let _ = caller.socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        low_level::unregister(self.handler);
    }
}
