//! The timers of one worker: a hierarchical timing wheel.
//!
//! Starting, cancelling and firing a timer cost the same whether ten are live or a million (Varghese and
//! Lauck, *Hashed and Hierarchical Timing Wheels*, SOSP 1987, scheme 7). A worker owns its wheel and nobody
//! else sees it, so there are no locks here, and no clock either: the caller says what time it is, which is
//! what lets time be virtual.
//!
//! # Layout
//!
//! A deadline is kept in nanoseconds since the wheel began, in 64 bits, read as sixteen bits below a *tick*
//! and eight digits of six bits. Each digit is a level of 64 slots. Eight levels cover all 64 bits, so no
//! deadline is clamped.
//!
//! ```text
//!   63    58                       28    22 21    16 15               0
//!   ┌───────┬───────┬── ─ ─ ──┬───────┬───────┬────────────────────────┐
//!   │level 7│level 6│         │level 1│level 0│ within a tick of 66 µs │
//!   └───────┴───────┴── ─ ─ ──┴───────┴───────┴────────────────────────┘
//!    9 years a slot            4.2 ms   66 µs
//!
//!   level 1   occupied 0 0 0 0 0 1 0 0 1 …       first the lowest level in use, then its lowest bit:
//!                                │     └──▶ …    two instructions find the slot that comes next
//!                                └──▶ slot { list, earliest }
//!                                          │
//!   entries   [ free │ deadline prev next value │ free │ deadline prev next value │ … ]
//! ```
//!
//! # Invariants
//!
//! * A timer stands at the level of the highest digit in which its tick differs from `current`, in the slot
//!   which that digit names. So a level holds only slots ahead of `current`, no slot ever wraps round,
//!   everything on a lower level comes before everything on a higher one, and where a timer stands is
//!   computed, never stored. A deadline that has passed stands in the slot of `current`.
//! * `current` enters a slot only by opening it: what is due fires, the rest moves down to the level where it
//!   now belongs. Crossing a gap, however long, costs a look at each level.
//! * Timers of equal deadline always share a slot, in the order in which they were inserted.
//! * `earliest` of a slot in use is not later than any deadline in it.
//!
//! Slots only sort: the exact deadline stays with the timer and decides alone whether it fires. No timer
//! fires early, none that is due is left for the next call, and they fire in the order of their deadlines.

mod entries;

pub(crate) use entries::TimerKey;
use entries::{Entries, List};
use std::time::{Duration, Instant};

/// Nanoseconds in a tick, as a power of two. Timers within one tick are told apart when they fire.
const TICK_BITS: u32 = 16;
/// Bits of one digit: 64 slots a level, so that a `u64` says which of them are in use.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = ((u64::BITS - TICK_BITS) / DIGIT_BITS) as usize;

/// A deadline more than 584 years after the wheel began: held until cancelled, in no slot.
const NEVER: u64 = u64::MAX;

/// Room kept for sorting what is due, in timers.
const DUE_KEPT: usize = 1024;

/// Timers carrying a `T`, ordered by deadline.
pub(crate) struct TimerWheel<T> {
    start: Instant,
    /// The tick of the latest `expire`; never goes back.
    current: u64,
    /// One bit a slot, one word a level.
    occupied: [u64; LEVELS],
    slots: Box<[[Slot; SLOTS]; LEVELS]>,
    entries: Entries<T>,
    /// What one slot had due, while it is being sorted.
    due: Vec<(u64, T)>,
}

/// A slot in use has its bit in `occupied` set and a list that is not empty.
#[derive(Clone, Copy)]
struct Slot {
    /// Its timers, oldest first.
    list: List,
    /// A lower bound of the deadlines; exact until the timer that set it is cancelled.
    earliest: u64,
}

impl<T> TimerWheel<T> {
    /// An empty wheel. Deadlines before `start` count as `start`.
    pub(crate) fn new(start: Instant) -> Self {
        let slot = Slot { list: List::EMPTY, earliest: NEVER };
        TimerWheel {
            start,
            current: 0,
            occupied: [0; LEVELS],
            slots: Box::new([[slot; SLOTS]; LEVELS]),
            entries: Entries::new(),
            due: Vec::new(),
        }
    }

    /// The timers that have neither fired nor been cancelled.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is live.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Starts a timer. One whose deadline has passed fires at the next `expire`; one more than 584 years
    /// after the wheel began never does.
    ///
    /// # Panics
    ///
    /// When 2^32 - 1 timers are live.
    pub(crate) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let deadline = self.nanos(deadline);
        let key = self.entries.insert(deadline, value);
        if deadline != NEVER {
            self.link(key.index);
        }
        key
    }

    /// Stops a timer and gives its value back; `None` when it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let index = self.entries.find(key)?;
        let deadline = self.entries.deadline(index);
        if deadline != NEVER {
            let (level, place) = self.place(deadline);
            let list = &mut self.slots[level][place].list;
            self.entries.unlink(list, index);
            if list.is_empty() {
                self.occupied[level] &= !(1 << place);
            }
        }
        Some(self.entries.remove(index))
    }

    /// When to call `expire` next; `None` when no timer will ever fire.
    ///
    /// Never later than the earliest deadline, and equal to it unless a timer that stood in the same slot
    /// with an earlier deadline was cancelled. In that case the `expire` at the time returned opens the slot,
    /// after which the answer is a later one: a caller who sleeps, expires and asks again always gets on.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let (level, slot) = self.first_occupied()?;
        Some(self.start + Duration::from_nanos(self.slots[level][slot].earliest))
    }

    /// Appends to `fired` the value of every timer whose deadline is not after `now`: by deadline, and for
    /// equal deadlines in the order of insertion.
    ///
    /// A `now` before that of an earlier call is harmless.
    pub(crate) fn expire(&mut self, now: Instant, fired: &mut Vec<T>) {
        let now = self.nanos(now);
        let target = (now >> TICK_BITS).max(self.current);
        while let Some((level, slot)) = self.first_occupied() {
            let shift = DIGIT_BITS * level as u32;
            let digits_above = !0 << (shift + DIGIT_BITS);
            let opens = (self.current & digits_above) | ((slot as u64) << shift);
            if opens > target {
                break;
            }
            if opens >> shift < target >> shift {
                // The slot has closed too: all of it is due.
                self.open(level, slot, now, fired);
                continue;
            }
            // `target` lies within this slot, so every other one opens later, and what is left of this one
            // finds its place as seen from `target`. Within a single tick there is nothing to move.
            self.current = target;
            if level > 0 || self.slots[level][slot].earliest <= now {
                self.open(level, slot, now, fired);
            }
            break;
        }
        self.current = target;
        self.due.shrink_to(DUE_KEPT);
    }

    /// Stops the timers whose values are like that, and returns the values. Looks at all of them.
    pub(crate) fn cancel_all(&mut self, like: impl Fn(&T) -> bool) -> Vec<T> {
        let keys = self.entries.keys(like);
        keys.into_iter().filter_map(|key| self.cancel(key)).collect()
    }

    /// Appends the value of every live timer to `values`, in no order, and leaves the wheel without any.
    pub(crate) fn drain(&mut self, values: &mut Vec<T>) {
        self.occupied = [0; LEVELS];
        self.entries.drain(values);
    }

    /// Takes a slot apart: fires what is due, and links the rest anew, as seen from `current`.
    fn open(&mut self, level: usize, slot: usize, now: u64, fired: &mut Vec<T>) {
        self.occupied[level] &= !(1 << slot);
        let mut next = self.slots[level][slot].list.first();
        while let Some(index) = next {
            next = self.entries.next(index);
            let deadline = self.entries.deadline(index);
            if deadline <= now {
                let value = self.entries.remove(index);
                self.due.push((deadline, value));
            } else {
                self.link(index);
            }
        }
        // Stable, hence equal deadlines stay in the order of insertion. The slots are opened in the order of
        // time, so that sorting each on its own sorts them all.
        self.due.sort_by_key(|&(deadline, _)| deadline);
        fired.extend(self.due.drain(..).map(|(_, value)| value));
    }

    /// The slot that holds the earliest timer.
    fn first_occupied(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// Where a deadline stands, as seen from `current`.
    fn place(&self, deadline: u64) -> (usize, usize) {
        let tick = (deadline >> TICK_BITS).max(self.current);
        let differing = (tick ^ self.current) | 1;
        let level = differing.ilog2() / DIGIT_BITS;
        let slot = (tick >> (DIGIT_BITS * level)) as usize % SLOTS;
        (level as usize, slot)
    }

    /// Appends an entry to the slot where its deadline stands.
    fn link(&mut self, index: u32) {
        let deadline = self.entries.deadline(index);
        let (level, place) = self.place(deadline);
        let slot = &mut self.slots[level][place];
        if self.occupied[level] & (1 << place) == 0 {
            self.occupied[level] |= 1 << place;
            *slot = Slot { list: List::EMPTY, earliest: deadline };
        }
        slot.earliest = slot.earliest.min(deadline);
        self.entries.append(&mut slot.list, index);
    }

    /// Nanoseconds from the start to `instant`, as far as 64 bits count.
    fn nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TICK: u64 = 1 << TICK_BITS;
    const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

    /// A wheel and its start, with time in nanoseconds.
    struct Rig<T> {
        start: Instant,
        wheel: TimerWheel<T>,
    }

    impl<T> Rig<T> {
        fn new() -> Self {
            let start = Instant::now();
            Rig { start, wheel: TimerWheel::new(start) }
        }

        fn at(&self, nanos: u64) -> Instant {
            self.start + Duration::from_nanos(nanos)
        }

        fn insert(&mut self, nanos: u64, value: T) -> TimerKey {
            self.wheel.insert(self.at(nanos), value)
        }

        fn expire(&mut self, nanos: u64) -> Vec<T> {
            let mut fired = Vec::new();
            self.wheel.expire(self.at(nanos), &mut fired);
            fired
        }

        fn next(&self) -> Option<u64> {
            Some((self.wheel.next_deadline()? - self.start).as_nanos() as u64)
        }
    }

    /// Marsaglia's xorshift64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        /// Spread evenly over the orders of magnitude, not over the numbers.
        fn span(&mut self, bits: u64) -> u64 {
            let bits = self.below(bits + 1);
            self.next() & ((1 << bits) - 1)
        }
    }

    #[test]
    fn timer_fires_at_its_exact_nanosecond_after_one_sleep() {
        let far = (0..63).map(|bits| (1 << bits) + 77).chain([500 * YEAR, NEVER - 1]);
        for deadline in [1, 2, TICK - 1, TICK, TICK + 1, 64 * TICK].into_iter().chain(far) {
            let mut rig = Rig::new();
            rig.insert(deadline, ());
            assert_eq!(rig.expire(deadline - 1).len(), 0, "{deadline} fired early");
            assert_eq!(rig.next(), Some(deadline));
            assert_eq!(rig.expire(deadline).len(), 1, "{deadline} fired late");
            assert_eq!((rig.wheel.len(), rig.next()), (0, None));
            rig.insert(deadline, ());
            assert_eq!(rig.next(), Some(deadline));
        }
    }

    #[test]
    fn timers_around_the_edge_of_every_slot_fire_on_time() {
        for level in 0..LEVELS as u32 {
            let edge = 1 << (TICK_BITS + DIGIT_BITS * level);
            for now in [0, 1, edge / 2, edge - TICK, edge - 2, edge - 1, edge, edge + 1] {
                let mut rig = Rig::new();
                rig.expire(now);
                let around = [edge - TICK, edge - 2, edge - 1, edge, edge + 1, edge + TICK, edge + 64 * TICK];
                for deadline in around.into_iter().rev() {
                    rig.insert(deadline, deadline);
                }
                let steps = around.into_iter().flat_map(|d| [d.saturating_sub(1), d]);
                for step in steps.map(|step| step.max(now)) {
                    for deadline in rig.expire(step) {
                        assert_eq!(deadline.max(now), step, "edge {edge}, began at {now}");
                    }
                }
                assert!(rig.wheel.is_empty());
            }
        }
    }

    #[test]
    fn deadline_beyond_sixty_four_bits_waits_until_cancelled() {
        let mut rig = Rig::new();
        let far = rig.start + Duration::from_nanos(NEVER);
        let keys = [far, far + Duration::from_nanos(NEVER)].map(|deadline| rig.wheel.insert(deadline, ()));
        assert_eq!((rig.wheel.len(), rig.next()), (2, None));
        let mut fired = Vec::new();
        rig.wheel.expire(far + Duration::from_nanos(NEVER), &mut fired);
        assert!(fired.is_empty());
        assert_eq!(keys.map(|key| rig.wheel.cancel(key)), [Some(()); 2]);
        assert!(rig.wheel.is_empty());
    }

    #[test]
    fn cancelled_timer_gives_its_value_back_and_does_not_fire() {
        let mut rig = Rig::new();
        let keys: Vec<TimerKey> = (0..5).map(|value| rig.insert(1000, value)).collect();
        for value in [2, 0, 4] {
            assert_eq!(rig.wheel.cancel(keys[value]), Some(value));
            assert_eq!(rig.wheel.cancel(keys[value]), None);
        }
        assert_eq!(rig.expire(1000), [1, 3]);
    }

    #[test]
    fn timers_of_a_kind_are_stopped_and_the_others_fire() {
        let mut rig = Rig::new();
        let keys: Vec<TimerKey> = (0..100).map(|value| rig.insert(value * 1_000_000, value)).collect();
        rig.insert(u64::MAX, 101);
        let mut odd = rig.wheel.cancel_all(|value| value % 2 == 1);
        odd.sort_unstable();
        assert_eq!(odd, (1..=101).step_by(2).filter(|&value| value != 103).collect::<Vec<_>>());
        assert_eq!(rig.wheel.cancel(keys[1]), None);
        assert_eq!(rig.expire(1 << 40), (0..100).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn past_deadline_fires_at_the_next_expire() {
        let mut rig = Rig::new();
        rig.expire(10 * TICK);
        rig.insert(9 * TICK, "second");
        rig.insert(10 * TICK, "third");
        rig.insert(0, "first");
        assert_eq!(rig.next(), Some(0));
        assert_eq!(rig.expire(10 * TICK), ["first", "second", "third"]);
        let key = rig.insert(3, "cancelled");
        assert_eq!(rig.wheel.cancel(key), Some("cancelled"));
        assert_eq!(rig.next(), None);
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_of_insertion_from_whatever_level() {
        let mut rig = Rig::new();
        let deadline = (1 << 40) + 12_345;
        let mut expected = Vec::new();
        // Each timer is started closer to the deadline, hence on a lower level than those before it.
        for (value, bits) in (0..=40).rev().enumerate() {
            rig.insert(deadline, value);
            rig.insert(deadline, value + 1000);
            expected.extend([value, value + 1000]);
            assert_eq!(rig.expire(deadline - (1 << bits)), []);
        }
        assert_eq!(rig.expire(deadline + YEAR), expected);
    }

    #[test]
    fn crowd_in_one_slot_fires_by_deadline_then_by_insertion() {
        let mut rig = Rig::new();
        for number in 0..5000 {
            rig.insert(100 + number % 7, number);
        }
        let mut expected: Vec<u64> = (0..5000).collect();
        expected.sort_by_key(|number| number % 7);
        assert_eq!(rig.expire(200), expected);
        assert!(rig.wheel.due.capacity() <= DUE_KEPT);
    }

    #[test]
    fn a_clock_that_goes_back_fires_nothing_early() {
        let mut rig = Rig::new();
        rig.expire(10 * TICK);
        rig.insert(5 * TICK, 5);
        rig.insert(7 * TICK, 7);
        assert_eq!(rig.expire(6 * TICK), [5]);
        assert_eq!(rig.expire(6 * TICK), []);
        assert_eq!(rig.expire(7 * TICK), [7]);
    }

    #[test]
    fn waking_for_a_cancelled_timer_makes_progress() {
        for bits in 8..62 {
            let mut rig = Rig::new();
            let deadline = (3 << bits) - 1;
            rig.insert(deadline, 0);
            for before in 1..=bits {
                let key = rig.insert(deadline - (1 << before), 1);
                rig.wheel.cancel(key);
            }
            let mut now = 0;
            for wake_ups in 1.. {
                let wake = rig.next().expect("a timer is live");
                assert!(wake > now || wake_ups == 1, "woken twice for {wake}");
                assert!(wake <= deadline);
                now = wake;
                if !rig.expire(now).is_empty() {
                    break;
                }
                assert!(wake_ups <= LEVELS, "{wake_ups} wake-ups for one timer");
            }
            assert_eq!(now, deadline);
        }
    }

    #[test]
    fn sleeping_until_next_deadline_fires_every_timer_at_its_deadline() {
        let mut rig = Rig::new();
        let mut random = Random(0x5eed);
        for _ in 0..5000 {
            let deadline = random.span(62);
            rig.insert(deadline, deadline);
        }
        let mut fired = 0;
        while let Some(now) = rig.next() {
            for deadline in rig.expire(now) {
                assert_eq!(deadline, now);
                fired += 1;
            }
        }
        assert_eq!(fired, 5000);
    }

    #[test]
    fn agrees_with_an_ordered_map() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = seed.expect("the clock is past 1970").as_nanos() as u64 | 1;
        for round in 0..40 {
            let seed = seed.wrapping_mul(2 * round + 1);
            println!("seed {seed:#x}");
            play_against_an_ordered_map(&mut Random(seed));
        }
    }

    fn play_against_an_ordered_map(random: &mut Random) {
        let mut rig = Rig::new();
        let mut model = BTreeSet::new();
        let mut keys = Vec::new();
        let mut now = 0_u64;
        // The longest deadline and the longest step, as powers of two: every round plays on other levels.
        let (reach, stride) = (10 + random.below(50), 10 + random.below(50));
        for number in 0..4000_u64 {
            match random.below(8) {
                kind @ 0..=3 => {
                    let deadline = match kind {
                        0 => now.saturating_sub(random.span(20)),
                        1 => now + (random.span(reach) & !(TICK - 1)),
                        _ => now + random.span(reach),
                    };
                    keys.push((rig.insert(deadline, number), deadline, number));
                    model.insert((deadline, number));
                }
                4 | 5 if !keys.is_empty() => {
                    let (key, deadline, number) = keys[random.below(keys.len() as u64) as usize];
                    let expected = model.take(&(deadline, number)).map(|(_, number)| number);
                    assert_eq!(rig.wheel.cancel(key), expected);
                }
                kind => {
                    let step = now + random.span(stride);
                    now = rig.next().filter(|_| kind == 6).unwrap_or(step.min(1 << 62)).max(now);
                    let due = model.extract_if(..=(now, u64::MAX), |_| true);
                    let due: Vec<u64> = due.map(|(_, number)| number).collect();
                    assert_eq!(rig.expire(now), due);
                }
            }
            assert_eq!((rig.wheel.len(), rig.wheel.is_empty()), (model.len(), model.is_empty()));
            let earliest = model.first().map(|&(deadline, _)| deadline);
            assert_eq!(rig.next().is_some(), earliest.is_some());
            assert!(rig.next() <= earliest, "{:?} is after {earliest:?}", rig.next());
        }
    }

    #[test]
    fn million_timers_fire_in_order_and_the_memory_is_given_back() {
        let mut rig = Rig::new();
        let mut random = Random(0xface_feed);
        let mut keys = Vec::new();
        for _ in 0..1_000_000 {
            let deadline = random.below(60_000_000_000);
            keys.push(rig.insert(deadline, deadline));
        }
        let mut cancelled = 0;
        for key in keys.iter().skip(1).step_by(2) {
            cancelled += usize::from(rig.wheel.cancel(*key).is_some());
        }
        assert_eq!((rig.wheel.len(), cancelled), (500_000, 500_000));
        let mut fired = 0;
        let mut last = 0;
        for millis in 0..=60_000 {
            let now = millis * 1_000_000;
            for deadline in rig.expire(now) {
                assert!(last <= deadline && deadline <= now && now - deadline < 1_000_000);
                last = deadline;
                fired += 1;
            }
        }
        assert_eq!(fired, 500_000);
        assert!(rig.wheel.is_empty());
        assert_eq!(rig.wheel.entries.room(), 1024);
    }
}
