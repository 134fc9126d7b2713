//! Echo under a closed loop of load: each connection sends a message, waits for all of it to come back, and sends the
//! next.

use super::{Aim, DRIVERS, Experiment, Limit, Metric, put_load, start_server};
use crate::cli::{Load, LoadKind, Protocol, Settings};
use crate::report::grouped;
use crate::rival::Rival;

pub(super) const UNDER_LOAD: &[Metric] = &[
    Metric { key: "cpu_us", title: "CPU µs per request", decimals: 2, compared: true },
    Metric { key: "user_us", title: "user", decimals: 2, compared: false },
    Metric { key: "system_us", title: "system", decimals: 2, compared: false },
    Metric { key: "system_calls", title: "system calls", decimals: 2, compared: false },
    Metric { key: "per_second", title: "requests/s", decimals: 0, compared: true },
    Metric { key: "p50_us", title: "p50 µs", decimals: 0, compared: false },
    Metric { key: "p99_us", title: "p99 µs", decimals: 0, compared: false },
    Metric { key: "sample_p99_us", title: "p99 µs of a random 1%", decimals: 0, compared: false },
];

/// The servers of every table with echoes.
pub(super) const SERVERS: [Rival; 8] = [
    Rival::Epoll,
    Rival::Fibra,
    Rival::FibraShared,
    Rival::May,
    Rival::Monoio,
    Rival::TokioCt,
    Rival::TokioMt1,
    Rival::Thread,
];

/// Those on io_uring by choice, in this table only.
const ON_URING: [Rival; 3] = [Rival::Uring, Rival::FibraUringSubmit, Rival::FibraUringTry];

/// The connections at which fibra's drivers are held against each other.
const DRIVERS_AT: usize = 1_000;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    settings.connections.iter().map(|connections| at(settings, *connections)).collect()
}

fn at(settings: &Settings, connections: usize) -> Experiment {
    let options = settings.clone();
    let mut aims = [Rival::Fibra, Rival::FibraShared]
        .map(|rival| Aim::at_most(rival, "cpu_us", 1.05).times(Rival::Epoll))
        .to_vec();
    if connections == DRIVERS_AT {
        let best = |limit| Aim::of_the_best(&DRIVERS, "cpu_us", Limit::AtMost(limit));
        aims.extend([best(1.05).times(Rival::Epoll), best(1.0).times(Rival::Monoio)]);
    }
    let experiment = Experiment {
        key: format!("echo-{connections}"),
        title: format!(
            "Echo, {} connection{}",
            grouped(connections as f64, 0),
            if connections == 1 { "" } else { "s" }
        ),
        about: format!(
            "Messages of {} bytes, every answer compared with what was sent. CPU is the server's, and so are the system \
             calls, per request, counted apart from the rest. fibra runs on epoll where no driver is named. It reads into \
             4 KiB on the coroutine's stack; with its worker's buffer it waits until the socket is readable, and borrows.",
            settings.size
        ),
        metrics: UNDER_LOAD,
        rivals: SERVERS.into_iter().chain(ON_URING).collect(),
        baseline: Some(Rival::Epoll),
        aims,
        measure: Box::new(move |rival, seed| {
            let (server, port) = start_server(options.server_core, rival, Protocol::Echo)?;
            let load = Load {
                kind: LoadKind::Echo,
                address: ([127, 0, 0, 1], port).into(),
                server: server.id(),
                connections,
                total: 0,
                size: options.size as usize,
                seconds: options.seconds,
                warm_up: options.warm_up,
                seed,
            };
            put_load(options.load_core, &load)
        }),
    };
    experiment.choose(settings)
}
