//! A `results.json` that no machine has measured: every model at every level, with figures that behave as such figures do, and with the failures that there are.

use serde_json::{Value, json};

const LEVELS: [u32; 13] = [1, 2, 3, 4, 10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Name, microseconds of processor time for a request, what a tenfold level adds to them, bytes for a connection, the highest level.
const MODELS: [(&str, f64, f64, f64, u32); 18] = [
    ("process", 14.0, 9.0, 90_000.0, 2_000),
    ("prefork", 11.0, 1.0, 2_000.0, 50),
    ("thread", 9.5, 2.6, 14_000.0, 10_000),
    ("thread-pool", 9.4, 0.6, 1_500.0, 50),
    ("polling", 40.0, 0.1, 900.0, 10_000),
    ("select", 8.6, 2.9, 1_000.0, 1_000),
    ("poll", 8.5, 2.1, 950.0, 10_000),
    ("epoll-lt", 8.3, 0.5, 900.0, 10_000),
    ("epoll-et", 8.0, 0.45, 900.0, 10_000),
    ("callback", 8.6, 0.5, 1_100.0, 10_000),
    ("state-machine", 8.1, 0.45, 950.0, 10_000),
    ("future", 8.4, 0.5, 1_000.0, 10_000),
    ("uring", 7.4, 0.6, 1_300.0, 10_000),
    ("coroutine", 8.5, 0.55, 4_400.0, 10_000),
    ("coroutine-epoll", 8.5, 0.55, 4_400.0, 10_000),
    ("coroutine-uring", 8.7, 0.6, 4_500.0, 10_000),
    ("multi-process", 8.9, 0.6, 4_700.0, 10_000),
    ("nginx", 9.2, 0.7, 1_600.0, 10_000),
];

const COSTS: [(&str, &str, &str, f64, Option<f64>); 29] = [
    ("switch.call", "function call", "nanoseconds", 1.4, Some(2.0)),
    ("switch.callback", "callback: a boxed closure", "nanoseconds", 1.9, None),
    ("switch.system-call", "system call (getppid)", "nanoseconds", 71.0, None),
    ("switch.coroutine-bare", "coroutine switch, no scheduler", "nanoseconds", 1.7, Some(50.0)),
    ("switch.coroutine", "coroutine switch by the scheduler", "nanoseconds", 7.2, Some(50.0)),
    ("switch.thread", "thread switch", "nanoseconds", 1_450.0, None),
    ("switch.thread-pipe", "thread switch by a pipe", "nanoseconds", 1_500.0, None),
    ("switch.process", "process switch by a pipe", "nanoseconds", 1_900.0, None),
    ("create.coroutine", "coroutine: spawn + join", "nanoseconds", 95.0, None),
    ("create.thread", "thread: spawn + join", "nanoseconds", 18_000.0, None),
    ("create.process", "process: start + wait", "nanoseconds", 610_000.0, None),
    ("idle.coroutine", "coroutine, parked", "bytes", 4_540.0, None),
    ("idle.thread", "thread, parked", "bytes", 12_500.0, None),
    ("idle.process", "process, waiting for input", "bytes", 402_000.0, None),
    ("work.serial", "one after the other", "milliseconds", 402.0, None),
    ("work.threads", "two threads", "milliseconds", 203.0, None),
    ("work.processes", "two processes", "milliseconds", 208.0, None),
    ("work.coroutines-1", "8 coroutines, one worker", "milliseconds", 402.0, None),
    ("work.coroutines-n", "8 coroutines, a worker a core", "milliseconds", 204.0, None),
    ("lock.threads-coarse", "4 threads, one lock", "nanoseconds", 91.0, None),
    ("lock.threads-fine", "4 threads, a lock a place", "nanoseconds", 22.0, None),
    ("lock.coroutines-1-coarse", "4 coroutines of one worker, one lock", "nanoseconds", 29.0, None),
    ("lock.coroutines-1-fine", "4 coroutines of one worker, a lock a place", "nanoseconds", 30.0, None),
    ("lock.coroutines-n-coarse", "4 coroutines, a worker a core, one lock", "nanoseconds", 78.0, None),
    ("lock.coroutines-n-fine", "4 coroutines, a worker a core, a lock a place", "nanoseconds", 19.0, None),
    ("speed-up.threads", "two threads, against one after the other", "ratio", 1.98, None),
    ("speed-up.processes", "two processes, against one after the other", "ratio", 1.93, Some(1.9)),
    ("speed-up.coroutines-1", "8 coroutines, one worker, against one after the other", "ratio", 1.0, None),
    (
        "speed-up.coroutines-n",
        "8 coroutines, a worker a core, against one after the other",
        "ratio",
        1.97,
        None,
    ),
];

/// The file's text.
pub(crate) fn json() -> String {
    let names: Vec<&str> = MODELS.iter().map(|model| model.0).collect();
    let mut cells = Vec::new();
    for round in 0..3 {
        for level in LEVELS {
            for model in &MODELS {
                cells.push(cell(model, level, round, "keep-alive"));
                if ["process", "thread", "coroutine"].contains(&model.0) && level <= 500 {
                    cells.push(cell(model, level, round, "one-request"));
                }
            }
        }
    }
    let figures: Vec<Value> = COSTS.iter().map(cost).collect();
    let results = json!({
        "schema": 1,
        "fibra": "0.0.0 (made up)",
        "machine": {
            "kernel": "Linux 6.18", "architecture": "x86_64", "processor": "Made-up processor", "cores": 2,
            "memory_bytes": 25_275_000_000_u64, "is_virtual": true,
        },
        "began": "2026-11-28T00:00:00Z",
        "ended": "2026-11-28T00:40:00Z",
        "command": "fibra lab --server 'nginx=nginx -c /tmp/n.conf @ 127.0.0.1:8081'",
        "costs": { "quick": false, "rounds": 3, "figures": figures },
        "serve": {
            "settings": {
                "quick": false, "protocol": "http", "models": names,
                "foreign": { "nginx": "nginx -c /tmp/n.conf @ 127.0.0.1:8081" },
                "levels": LEVELS, "rounds": 3, "seconds": 2.0, "warm_up_seconds": 0.5,
                "pool_workers": { "prefork": 1_000, "thread-pool": 1_000 }, "server_cores": [0], "load_cores": [1],
            },
            "cells": cells,
        },
    });
    results.to_string()
}

fn cost(&(id, what, unit, value, published): &(&str, &str, &str, f64, Option<f64>)) -> Value {
    let values = [value * 0.97, value, value * 1.06];
    let mut figure = json!({ "id": id, "what": what, "unit": unit, "values": values, "tried": 3 });
    if let Some(published) = published {
        figure["published"] = json!(published);
    }
    figure
}

fn cell(model: &(&str, f64, f64, f64, u32), level: u32, round: u32, way: &str) -> Value {
    let &(name, base, growth, memory, highest) = model;
    let mut key = json!({ "model": name, "way": way, "level": level, "round": round });
    if ["prefork", "thread-pool"].contains(&name) {
        key["workers"] = json!(level.min(highest));
    }
    let with = |outcome: Value| {
        let mut cell = key.clone();
        cell.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
        cell
    };
    if name == "select" && level > highest {
        return with(json!({ "failed": "select takes descriptors up to 1,023: too many connections" }));
    }
    if name == "process" && level > 5_000 {
        return with(json!({ "failed": "cannot fork: Resource temporarily unavailable <EAGAIN>" }));
    }
    let noise = 1.0 + 0.03 * (f64::from(round) - 1.0);
    let each = if way == "one-request" { if name == "process" { 180.0 } else { 25.0 } } else { 0.0 };
    let cpu = (base + each + growth * f64::from(level).log10().powf(1.5)) * noise;
    // One connection at a time leaves the server idle half of the time.
    let busy = if name == "polling" { 1.0 } else { 1.0 - 0.5 / f64::from(level) };
    let rate = 1e6 / cpu * busy;
    let short = level > highest;
    let p50 = f64::from(level) / rate * 1e6;
    with(json!({ "measured": {
        "requests_per_second": rate,
        "latency_us": { "p50": p50, "p90": p50 * 1.3, "p99": p50 * (1.6 + growth / 3.0), "p999": p50 * 4.0, "max": p50 * 9.0 },
        "errors": if short { json!({ "timed_out": level - highest }) } else { json!({}) },
        "errors_total": if short { level - highest } else { 0 },
        "connections_open": level.min(highest),
        "client_bound": false,
        "client_cpu_share": 0.7,
        "server": {
            "user_us": cpu * 0.12, "system_us": cpu * 0.88, "cpu_share": busy, "switches": 0.1,
            "processes": 1, "threads": 1, "descriptors": level + 8,
            "memory": memory * f64::from(level), "memory_total": memory * f64::from(level) + 3e6,
        },
    } }))
}
