//! What a load came to: the JSON that `fibra load --json` writes, and that other programs read.
//!
//! Everything counts what was due in the measured time, which begins after ramp and warm-up. A request is counted in `requests` if it was
//! answered as it should be, and once in `errors` if it was not. A connection that could not be opened before the start is in `errors`, too.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this form. It changes when a field changes its meaning or goes; fields may be added.
pub(crate) const SCHEMA: u32 = 1;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    /// Where the load went, with its port.
    pub(crate) address: String,
    pub(crate) protocol: Protocol,
    /// The path that was asked for, under HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(rename = "loop")]
    pub(crate) kind: Loop,
    pub(crate) connections: usize,
    /// Requests per second that were due, in an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Whether connections were kept for the next request.
    pub(crate) keep_alive: bool,
    /// Bytes of a request: the echo's payload, or the whole of an HTTP request.
    pub(crate) payload: usize,
    /// When the program started, in seconds since 1970.
    pub(crate) started: f64,
    /// The measured time.
    pub(crate) seconds: f64,
    pub(crate) warm_up_seconds: f64,
    /// How long the opening of connections took, before the warm-up; 0 if it did not come to an end.
    pub(crate) opening_seconds: f64,
    /// Whether it was stopped by a signal before its time.
    pub(crate) interrupted: bool,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    /// Of the counted requests, also of those that failed: application bytes, without TCP's.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Of the answered requests. In a closed loop from the moment that a request is sent; in an open loop from the moment that it was due. The
    /// time that a connection takes to open counts, if one is opened for the request. None if nothing was answered.
    pub(crate) latency_us: Option<Latency>,
    /// By kind: `refused`, `reset`, `closed_early`, `timed_out`, `not_opened` (not connected in the time for opening connections, and left out), `not_admitted`
    /// (connected, perhaps by the system alone, but never answered until the end), `unanswered` (not once from before the measured time until its end), `bad_answer`, `status_404` (each status from 400 on), `not_closed`, `not_sent`
    /// (due, but no connection was free until the end), `unreachable`, `no_descriptors`, `no_ports`, `other`.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) errors_total: u64,
    /// From the first to the last, ramp and warm-up included.
    pub(crate) connections_made: u64,
    /// Those that were open when the opening was over: connected, and in a closed loop of a given time also answered once. None without keep-alive.
    pub(crate) connections_open_at_start: Option<usize>,
    /// Of `connections`, how many were ever answered.
    pub(crate) connections_served: usize,
    pub(crate) connections_open_at_end: usize,
    pub(crate) client: Client,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Echo,
    Http,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Loop {
    /// The answer to the one before it.
    Closed,
    /// Its time, whatever became of the others.
    Open,
}

/// Microseconds, to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    /// 99.9%.
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What the load cost the client itself, in the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// How much of its core the busiest thread used, from 0 to 1.
    pub(crate) cpu_share: f64,
    /// The client was (nearly) always computing: what it measured is itself. Servers are then to be ranked by their CPU time per request.
    pub(crate) client_bound: bool,
    pub(crate) threads: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_are_documented() {
        let report = Report {
            schema: SCHEMA,
            address: "127.0.0.1:9090".into(),
            protocol: Protocol::Echo,
            path: None,
            kind: Loop::Open,
            connections: 10,
            rate: Some(1_000.0),
            keep_alive: true,
            payload: 64,
            started: 1.5,
            seconds: 2.0,
            warm_up_seconds: 1.0,
            opening_seconds: 0.125,
            interrupted: false,
            requests: 2_000,
            requests_per_second: 1_000.0,
            bytes_in: 128_000,
            bytes_out: 128_000,
            latency_us: None,
            errors: BTreeMap::from([("reset".into(), 3)]),
            errors_total: 3,
            connections_made: 13,
            connections_open_at_start: Some(10),
            connections_served: 9,
            connections_open_at_end: 10,
            client: Client {
                user_seconds: 0.5,
                system_seconds: 0.25,
                cpu_share: 0.375,
                client_bound: false,
                threads: 1,
            },
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            r#"{"schema":1,"address":"127.0.0.1:9090","protocol":"echo","loop":"open","connections":10,"rate":1000.0,"keep_alive":true,"#
                .to_owned()
                + r#""payload":64,"started":1.5,"seconds":2.0,"warm_up_seconds":1.0,"opening_seconds":0.125,"interrupted":false,"requests":2000,"#
                + r#""requests_per_second":1000.0,"bytes_in":128000,"bytes_out":128000,"latency_us":null,"errors":{"reset":3},"#
                + r#""errors_total":3,"connections_made":13,"connections_open_at_start":10,"connections_served":9,"connections_open_at_end":10,"client":{"user_seconds":0.5,"#
                + r#""system_seconds":0.25,"cpu_share":0.375,"client_bound":false,"threads":1}}"#
        );
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
