//! The timetable of an open loop: when each request is due, whatever became of the others.
//!
//! ```text
//!   due    |.|.|.|.|.|.|.|.|.|.|      evenly, from the start on
//!   sent   |.|.|......|||||.|.|.      a stalled server holds connections back; what is late is sent as soon as one is free,
//!                                     and counts from when it was due
//! ```
//! A client that measured from the sending would ask a stalled server for little, and so hear little of the stall ("coordinated omission", as
//! Gil Tene named it). Threads take turns: each has every n-th request.

/// One thread's part.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Nanoseconds on the run's clock.
    start: u64,
    /// Nanoseconds from one request to the next, of all threads.
    interval: f64,
    next: u64,
    step: u64,
    /// The first that is counted, and the first that is not sent any more.
    counted: u64,
    end: u64,
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) counted: bool,
}

/// How much is asked for, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nanoseconds.
    Time(u64),
    /// Requests.
    Count(u64),
}

impl Pace {
    /// For thread `thread` of `threads`, at `rate` requests per second of all of them.
    pub(super) fn new(
        rate: f64,
        thread: usize,
        threads: usize,
        start: u64,
        warm_up: u64,
        length: Length,
    ) -> Pace {
        let interval = 1e9 / rate;
        // Those due in the half-open time up to `end`, within the rounding of what is given in decimals.
        let until = |end: u64| (end as f64 / interval - 1e-6).ceil().max(0.0) as u64;
        let counted = until(warm_up);
        let end = match length {
            Length::Time(time) => until(warm_up + time),
            Length::Count(count) => counted + count,
        };
        Pace { start, interval, next: thread as u64, step: threads as u64, counted, end }
    }

    /// When the next one is due; none after the last.
    pub(super) fn next_at(&self) -> Option<u64> {
        (self.next < self.end).then(|| self.start + (self.next as f64 * self.interval) as u64)
    }

    /// Takes the next one, if it is due by now.
    pub(super) fn take(&mut self, now: u64) -> Option<Due> {
        let at = self.next_at().filter(|at| *at <= now)?;
        let counted = self.next >= self.counted;
        self.next += self.step;
        Some(Due { at, counted })
    }

    /// Gives up those that were not taken; how many of them would have counted.
    pub(super) fn give_up(&mut self) -> u64 {
        let mut given_up = 0;
        while self.next < self.end {
            given_up += u64::from(self.next >= self.counted);
            self.next += self.step;
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut pace: Pace) -> Vec<Due> {
        std::iter::from_fn(|| pace.take(u64::MAX)).collect()
    }

    #[test]
    fn requests_are_due_evenly_and_as_many_as_the_rate_says() {
        let mut pace = Pace::new(1_000.0, 0, 1, 500, 0, Length::Time(3_000_000_000));
        assert_eq!(pace.take(499), None);
        assert_eq!(pace.take(500), Some(Due { at: 500, counted: true }));
        assert_eq!(pace.take(1_000_499), None);
        assert_eq!(pace.next_at(), Some(1_000_500));
        assert_eq!(all(pace).len(), 2_999);
        for rate in [1.0, 3.0, 7.0, 0.3, 12_345.678, 1e6] {
            let count = all(Pace::new(rate, 0, 1, 0, 0, Length::Time(10_000_000_000))).len() as f64;
            assert!((count - (10.0 * rate).ceil()).abs() < 1.0, "{rate}: {count}");
        }
    }

    #[test]
    fn threads_share_the_timetable_and_the_warm_up_does_not_count() {
        let pace = |thread| Pace::new(100.0, thread, 3, 0, 1_000_000_000, Length::Count(50));
        let mut due: Vec<Due> = (0..3).flat_map(|thread| all(pace(thread))).collect();
        due.sort_by_key(|due| due.at);
        assert_eq!(due.len(), 150);
        assert!(due.windows(2).all(|two| two[1].at - two[0].at == 10_000_000));
        assert_eq!(due.iter().filter(|due| due.counted).count(), 50);
        assert!(due[..100].iter().all(|due| !due.counted));
        assert_eq!((0..3).map(|thread| pace(thread).give_up()).sum::<u64>(), 50);
    }

    #[test]
    fn what_is_late_keeps_the_time_when_it_was_due() {
        let mut pace = Pace::new(10.0, 0, 1, 0, 0, Length::Time(1_000_000_000));
        let late = 550_000_000;
        let due: Vec<u64> = std::iter::from_fn(|| pace.take(late)).map(|due| due.at / 1_000_000).collect();
        assert_eq!(due, [0, 100, 200, 300, 400, 500]);
    }
}
