//! Workers wait for a real Redis server with an event, and log while they wait (row E7): what the example does.

mod limit;

#[path = "../examples/readiness_gate.rs"]
#[allow(dead_code, reason = "the example's main is not the test's")]
mod gate;

use limit::{LIMIT, on_any_workers, within};
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;

/// Runs the gate once, and looks at what was said. False when there is no server on this machine.
fn opens() -> bool {
    let lines = Mutex::new(Vec::new());
    match gate::run(&|line| lines.lock().unwrap().push(line)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return false,
        result => result.unwrap(),
    }
    let lines = lines.into_inner().unwrap();
    let place = |line: &str| {
        lines.iter().position(|other| other.starts_with(line)).unwrap_or_else(|| panic!("{lines:?}"))
    };
    let (starts, up) = (place("gate: starts"), place("gate: redis answers"));
    for worker in ["coroutine", "thread"] {
        assert!(
            place(&format!("{worker}: redis is not up yet")) < starts,
            "it logs while it waits: {lines:?}"
        );
        assert!(up < place(&format!("{worker}: has set")), "and goes on when the server is up: {lines:?}");
    }
    true
}

#[test]
fn workers_log_while_they_wait_for_a_server_and_go_on_when_it_is_up() {
    const NAME: &str = "workers_log_while_they_wait_for_a_server_and_go_on_when_it_is_up";
    // With the event's waiters on workers, and all of it outside of a runtime.
    if !within(LIMIT, opens) {
        writeln!(io::stdout(), "[skipped] {NAME}: needs redis-server").unwrap();
        return;
    }
    on_any_workers(|| assert!(opens()));
}
