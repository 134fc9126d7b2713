//! Echo under a closed loop of load: each connection sends a message, waits for all of it to come back, and sends the
//! next.

use super::{Aim, Experiment, Metric, put_load, start_server};
use crate::cli::{Load, LoadKind, Protocol, Settings};
use crate::report::grouped;
use crate::rival::Rival;

pub(super) const UNDER_LOAD: &[Metric] = &[
    Metric { key: "cpu_us", title: "CPU µs per request", decimals: 2, compared: true },
    Metric { key: "user_us", title: "user", decimals: 2, compared: false },
    Metric { key: "system_us", title: "system", decimals: 2, compared: false },
    Metric { key: "per_second", title: "requests/s", decimals: 0, compared: true },
    Metric { key: "p50_us", title: "p50 µs", decimals: 0, compared: false },
    Metric { key: "p99_us", title: "p99 µs", decimals: 0, compared: false },
    Metric { key: "sample_p99_us", title: "p99 µs of a random 1%", decimals: 0, compared: false },
];

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

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    settings.connections.iter().map(|connections| at(settings, *connections)).collect()
}

fn at(settings: &Settings, connections: usize) -> Experiment {
    let options = settings.clone();
    let experiment = Experiment {
        key: format!("echo-{connections}"),
        title: format!(
            "Echo, {} connection{}",
            grouped(connections as f64, 0),
            if connections == 1 { "" } else { "s" }
        ),
        about: format!(
            "Messages of {} bytes, every answer compared with what was sent. CPU is the server's. fibra reads into 4 KiB \
             on the coroutine's stack; with its worker's buffer it waits until the socket is readable, and borrows.",
            settings.size
        ),
        metrics: UNDER_LOAD,
        rivals: SERVERS.to_vec(),
        baseline: Some(Rival::Epoll),
        aims: [Rival::Fibra, Rival::FibraShared]
            .map(|rival| Aim { rival, metric: "cpu_us", at_most: 1.05, times: Some(Rival::Epoll) })
            .to_vec(),
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
