//! Many idle connections: what each holds of the server's memory, and whether those that are active notice them.

use super::{Aim, Experiment, Metric, echo, put_load, start_server};
use crate::cli::{Load, LoadKind, Protocol, Settings};
use crate::report::grouped;
use crate::rival::Rival;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let options = settings.clone();
    let experiment = Experiment {
        key: "echo-idle".into(),
        title: format!("Echo, {} idle connections", grouped(settings.idle as f64, 0)),
        about: "Each connection has had one exchange and waits. Bytes are the server's VmRSS after less before, over the \
                connections. p99 is that of 100 random connections at work in a closed loop, while in all there are 100, \
                a tenth of the total, and the total. After all of them close, so many descriptors are open above the \
                number at the start, and so much of VmRSS stays."
            .into(),
        metrics: &[
            Metric { key: "bytes", title: "bytes each", decimals: 0, compared: true },
            Metric { key: "bytes_tables", title: "with page tables", decimals: 0, compared: false },
            Metric { key: "p99_few_us", title: "p99 µs of 100", decimals: 0, compared: false },
            Metric { key: "p99_tenth_us", title: "… among a tenth", decimals: 0, compared: false },
            Metric { key: "p99_all_us", title: "… among all", decimals: 0, compared: false },
            Metric { key: "descriptors_left", title: "descriptors left", decimals: 0, compared: false },
            Metric { key: "resident_left_kib", title: "KiB left", decimals: 0, compared: false },
        ],
        rivals: echo::SERVERS.to_vec(),
        baseline: Some(Rival::Epoll),
        // A `read` into 4 KiB of stack keeps a second page: that one is shown, not limited.
        aims: vec![Aim::at_most(Rival::FibraShared, "bytes", 4.6 * 1_024.0)],
        measure: Box::new(move |rival, seed| {
            let (server, port) = start_server(options.server_core, rival, Protocol::Echo)?;
            let load = Load {
                kind: LoadKind::Idle,
                address: ([127, 0, 0, 1], port).into(),
                server: server.id(),
                connections: options.idle,
                total: 0,
                size: options.size as usize,
                seconds: options.seconds / 4.0,
                warm_up: options.warm_up / 2.0,
                seed,
            };
            put_load(options.load_core, &load)
        }),
    };
    vec![experiment.choose(settings)]
}
