//! What becomes of a future that says "not yet" and does not see to it that it is woken: nothing, for ever, and without a word.
//!
//! ```text
//! cargo run -q -p fibra-serve --example forgotten_waker
//! ```
//!
//! `Pending` is a promise: *my waker is with somebody who will wake it*. An executor polls who has been woken, and nobody else; it cannot tell a future that
//! waits from one that was forgotten. Both clients below do the same, and both have their byte after a moment. The first leaves its waker with the thread
//! that brings it. The second only looks whether the byte is there: it is polled once, at its birth, and then the executor has nothing to do. In a server
//! that is a client who hangs, with no error, no processor time and no trace; the `future` model's reactor takes the waker by the same call that finds
//! out that there is nothing (`src/model/future/reactor.rs`), so that neither can be had alone.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// A byte that comes after a moment.
#[derive(Default)]
struct Slot {
    byte: Option<u8>,
    waker: Option<Waker>,
}

struct Receive {
    slot: Arc<Mutex<Slot>>,
    leaves_waker: bool,
}

impl Future for Receive {
    type Output = u8;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u8> {
        let mut slot = self.slot.lock().expect("nobody panics with it");
        if let Some(byte) = slot.byte {
            return Poll::Ready(byte);
        }
        if self.leaves_waker {
            slot.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// An executor of one task: a message is a wake-up.
struct Queue(SyncSender<()>);

impl Wake for Queue {
    fn wake(self: Arc<Self>) {
        // One that is queued is as good as two.
        let _ = self.0.try_send(());
    }
}

fn main() {
    for leaves_waker in [true, false] {
        let slot = Arc::new(Mutex::new(Slot::default()));
        let bringer = thread::spawn({
            let slot = Arc::clone(&slot);
            move || {
                thread::sleep(Duration::from_millis(20));
                let mut slot = slot.lock().expect("nobody panics with it");
                slot.byte = Some(b'!');
                slot.waker.take().map(Waker::wake)
            }
        });
        let (woken, queue) = sync_channel(1);
        let waker = Waker::from(Arc::new(Queue(woken)));
        waker.wake_by_ref();
        let mut future = pin!(Receive { slot, leaves_waker });
        let mut polls = 0;
        let outcome = loop {
            match queue.recv_timeout(Duration::from_millis(300)) {
                Ok(()) => polls += 1,
                Err(RecvTimeoutError::Timeout) => break "never, though the byte is there",
                Err(RecvTimeoutError::Disconnected) => unreachable!("this loop has a waker itself"),
            }
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                break "done";
            }
        };
        let what = if leaves_waker { "leaves its waker" } else { "only looks       " };
        println!("{what}: polled {polls} time(s), {outcome}");
        bringer.join().expect("it does not panic");
    }
}
