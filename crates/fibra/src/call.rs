//! Calls that may block whatever is done: by the worker's ring, or else on the blocking pool.
//!
//! With a ring the kernel has the call, and what it borrows, until it is over; nothing ends it early, neither a timeout nor a request to stop, as
//! on the pool.

use crate::blocking;
use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::virtual_time::Hold;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
use fibra_driver::{Call, Driver, Flight, Start};
use std::io;
use std::sync::Once;

/// Makes a call while the coroutine parks; on an OS thread, in place.
pub(crate) fn make<C: Call + Send>(mut call: C) -> io::Result<C::Output>
where
    C::Output: Send,
{
    let Some((worker, token)) = Worker::here().and_then(|worker| Some((worker, worker.token()?))) else {
        return call.call();
    };
    // Once begun it is waited for; so this is the moment.
    cancel::forbid(WaitsFor::File);
    cancel::checkpoint();
    let flight = Flight::new(token);
    loop {
        // SAFETY: while it is pending this context parks, until it is woken, and a wake-up is exact; the call, which has what it borrows, and the flight stand
        // on its stack. A context that is never resumed keeps that for ever.
        match worker.with_driver(|driver| unsafe { driver.start_call(&mut call, &flight) }) {
            Some(Start::Pending) => {
                let _hold = Hold::new(&worker.core);
                park::waits_for(WaitsFor::File, 0);
                or_abort(park::park_until_woken);
            }
            Some(Start::Done { result, .. }) => {
                worker.spend();
                return result;
            }
            None => {
                if let Some(error) = worker.with_driver(Driver::take_refusal) {
                    // Each worker's driver says it once.
                    static SAID: Once = Once::new();
                    SAID.call_once(
                        || tracing::warn!(because = %error, "calls on files go to the blocking pool"),
                    );
                }
                return blocking::run(|| call.call());
            }
        }
    }
}
