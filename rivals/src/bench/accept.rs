//! Short connections: connect, one exchange, close.

use super::{Aim, Experiment, Metric, echo, put_load, start_server};
use crate::cli::{Load, LoadKind, Protocol, Settings};
use crate::report::grouped;
use crate::rival::Rival;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let options = settings.clone();
    let experiment = Experiment {
        key: "accept".into(),
        title: "Connect, one exchange, close".into(),
        about: format!(
            "{} connections a round, {} at once; the client closes first. CPU is the server's, and counted until it is idle \
             again.",
            grouped(settings.accepts as f64, 0),
            settings.accepts_at_once
        ),
        metrics: &[
            Metric { key: "cpu_us", title: "CPU µs per connection", decimals: 2, compared: true },
            Metric { key: "user_us", title: "user", decimals: 2, compared: false },
            Metric { key: "system_us", title: "system", decimals: 2, compared: false },
            Metric { key: "per_second", title: "connections/s", decimals: 0, compared: true },
        ],
        // Waiting for readability first changes nothing here.
        rivals: echo::SERVERS.into_iter().filter(|rival| *rival != Rival::FibraShared).collect(),
        baseline: Some(Rival::Epoll),
        aims: vec![Aim::at_most(Rival::Fibra, "cpu_us", 1.05).times(Rival::Epoll)],
        measure: Box::new(move |rival, seed| {
            let (server, port) = start_server(options.server_core, rival, Protocol::Echo)?;
            let load = Load {
                kind: LoadKind::Accept,
                address: ([127, 0, 0, 1], port).into(),
                server: server.id(),
                connections: options.accepts_at_once,
                total: options.accepts,
                size: options.size as usize,
                seconds: options.seconds,
                warm_up: options.warm_up,
                seed,
            };
            put_load(options.load_core, &load)
        }),
    };
    vec![experiment.choose(settings)]
}
