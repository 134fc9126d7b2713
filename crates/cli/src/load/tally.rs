//! What came of the requests: counts, and how long the answers took.

use super::fault::Fault;
use super::report::Latency;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Longer answers are noted as taking this long: an hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// Of one thread, and then of all.
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) faults: BTreeMap<Fault, u64>,
    pub(super) connections_made: u64,
    /// Open when the opening was over.
    pub(super) connections_at_start: usize,
    /// Answered at least once.
    pub(super) connections_served: usize,
    pub(super) connections_open: usize,
    /// Nanoseconds, to three digits.
    latencies: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            requests: 0,
            bytes_in: 0,
            bytes_out: 0,
            faults: BTreeMap::new(),
            connections_made: 0,
            connections_at_start: 0,
            connections_served: 0,
            connections_open: 0,
            latencies: Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order"),
        }
    }

    /// An answer that came after so many nanoseconds.
    pub(super) fn answered(&mut self, nanoseconds: u64) {
        self.requests += 1;
        self.latencies.saturating_record(nanoseconds);
    }

    pub(super) fn failed(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.faults.entry(fault).or_default() += times;
        }
    }

    pub(super) fn failures(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(super) fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections_made += other.connections_made;
        self.connections_at_start += other.connections_at_start;
        self.connections_served += other.connections_served;
        self.connections_open += other.connections_open;
        for (fault, times) in &other.faults {
            self.failed(*fault, *times);
        }
        self.latencies.add(&other.latencies).expect("the bounds are the same");
    }

    /// None if nothing was answered.
    pub(super) fn latency(&self) -> Option<Latency> {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let quantile = |quantile| microseconds(self.latencies.value_at_quantile(quantile));
        (!self.latencies.is_empty()).then(|| Latency {
            min: microseconds(self.latencies.min()),
            mean: self.latencies.mean().round() / 1e3,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: microseconds(self.latencies.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut one, mut two) = (Tally::new(), Tally::new());
        for microseconds in 1..=500 {
            one.answered(microseconds * 1_000);
            two.answered((500 + microseconds) * 1_000);
        }
        one.failed(Fault::Reset, 1);
        two.failed(Fault::Reset, 2);
        two.failed(Fault::Status(404), 3);
        two.failed(Fault::Refused, 0);
        one.add(&two);
        assert_eq!((one.requests, one.failures(), one.faults.len()), (1_000, 6, 2));
        let latency = one.latency().unwrap();
        for (value, expected) in [
            (latency.min, 1.0),
            (latency.mean, 500.5),
            (latency.p50, 500.0),
            (latency.p90, 900.0),
            (latency.p99, 990.0),
            (latency.p999, 999.0),
            (latency.max, 1_000.0),
        ] {
            assert!((value / expected - 1.0).abs() < 0.002, "{value} {expected}");
        }
        assert_eq!(Tally::new().latency(), None);
    }
}
