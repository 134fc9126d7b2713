//! fibra: write threads, run coroutines.

#![warn(missing_docs)]

pub mod blocking;
mod cancel;
mod context;
pub mod net;
mod scheduler;
mod scope;
mod spawn;
pub mod time;

pub use blocking::spawn_blocking;
pub use cancel::{Cancelled, Enrolled, Stop};
pub use context::{Context, current, park, park_timeout, yield_now};
pub use scheduler::run_queue::Schedule;
pub use scheduler::runtime::{Runtime, RuntimeBuilder, current_runtime, run};
pub use scheduler::settings::DriverKind;
pub use scheduler::state::Reason;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, JoinHandle, spawn, spawn_after, spawn_local};
pub use time::{sleep, sleep_until};
