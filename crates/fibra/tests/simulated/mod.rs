//! Simulations that end: a hang of the simulation itself is a failure, too.

#![allow(dead_code, reason = "each test file uses its own part")]

use crate::limit::{LIMIT, within};
use fibra::simulation;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `main` returns in a simulation.
pub(crate) fn simulated<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> T {
    within(LIMIT, || simulation::run(main))
}

/// Runs `main` in simulations, under several schedules.
pub(crate) fn explored(main: impl Fn() + Send + 'static) {
    within(LIMIT, || simulation::explore(10, main));
}

/// The text of the panic with which `main` ends in a simulation.
pub(crate) fn failure(main: impl FnOnce() + Send + 'static) -> String {
    within(LIMIT, || {
        let payload = catch_unwind(AssertUnwindSafe(|| simulation::run(main))).expect_err("it fails");
        match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
        }
    })
}
