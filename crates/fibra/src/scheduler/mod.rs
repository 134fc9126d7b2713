//! The user-mode scheduler: N:1 on one worker, M:N on several, with coroutines that stay where they started.
//!
//! | file | idea |
//! |---|---|
//! | [`state`] | the parking word: sleeping meets waking |
//! | [`spin`] | looking for a while before sleeping |
//! | [`lock`] | the lock before lists and letters |
//! | [`join_word`] | ending meets joining |
//! | [`watchers`] | who else is told of the end |
//! | [`mailbox`] | other threads meet a worker that may be asleep |
//! | [`task`] | one allocation a context, and who may touch what of it |
//! | [`park`] | what every waiting primitive calls |
//! | [`run_queue`] | what runs next |
//! | [`living`] | all contexts of the process, for those who look |
//! | [`started`] | the table of a worker's started tasks: its own thread meets those who look |
//! | [`waiting`] | what a context waits for, for those who look |
//! | [`worker`] | the loop of one OS thread |
//! | [`shared`] | what others may touch of a worker |
//! | [`core`] | what the workers have in common: placing tasks, and the end |
//! | [`virtual_time`] | the clock of a simulation |
//! | [`runtime`] | making one, running in one, dropping one |
//! | [`settings`] | what the environment says |

pub(crate) mod core;
mod futex;
pub(crate) mod join_word;
pub(crate) mod living;
pub(crate) mod lock;
pub(crate) mod mailbox;
pub(crate) mod park;
pub(crate) mod run_queue;
pub(crate) mod runtime;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod spin;
pub(crate) mod started;
pub(crate) mod state;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod virtual_time;
pub(crate) mod waiting;
pub(crate) mod watchers;
pub(crate) mod worker;

#[cfg(all(test, loom))]
mod models;
