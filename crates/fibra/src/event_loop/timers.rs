//! Callbacks by the clock.

use super::slots::Id;
use super::watcher::{Kind, Many, Once};
use super::{EventLoop, Handle};
use crate::time;
use crate::time::timer_wheel::TimerKey;
use std::time::{Duration, Instant};

/// A timer: in the wheel, unless its callback is being called or its deadline is beyond all time.
pub(super) struct Timer<D> {
    alarm: Alarm<D>,
    pub(super) key: Option<TimerKey>,
    deadline: Option<Instant>,
}

enum Alarm<D> {
    Once(Once<D>),
    Every(Duration, Many<D>),
}

impl<D> EventLoop<D> {
    /// Calls `f` once, when `delay` has passed. Timers are called in the order of their deadlines, and in that of their making where those are equal.
    ///
    /// A delay beyond all time (`Duration::MAX`) never passes.
    ///
    /// ```
    /// use fibra::event_loop::EventLoop;
    /// use std::time::Duration;
    ///
    /// let mut events = EventLoop::with_data(Vec::new())?;
    /// events.call_later(Duration::from_millis(2), |events| events.data.push("world"));
    /// events.call_later(Duration::from_millis(1), |events| events.data.push("hello"));
    /// events.run()?;
    /// assert_eq!(events.data, ["hello", "world"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_later(&mut self, delay: Duration, f: impl FnOnce(&mut EventLoop<D>) + 'static) -> Handle {
        self.add_timer(time::deadline(delay), Alarm::Once(Box::new(f)))
    }

    /// Calls `f` once, at `when`; at the next turn of the loop if that has passed.
    #[track_caller]
    pub fn call_at(&mut self, when: Instant, f: impl FnOnce(&mut EventLoop<D>) + 'static) -> Handle {
        self.add_timer(Some(when), Alarm::Once(Box::new(f)))
    }

    /// Calls `f` when `first` has passed and then every `period`, until it is [cancelled](Self::cancel). (libev's `ev_timer` that repeats.)
    ///
    /// The beats are those of the clock: being called late moves none of the later ones. Beats that a busy loop has missed are left out.
    ///
    /// ```
    /// use fibra::event_loop::EventLoop;
    /// use std::time::Duration;
    ///
    /// let mut events = EventLoop::with_data(0)?;
    /// let beat = events.call_every(Duration::ZERO, Duration::from_millis(1), |events| events.data += 1);
    /// events.call_later(Duration::from_millis(20), move |events| {
    ///     events.cancel(beat);
    /// });
    /// events.run()?;
    /// assert!((1..=21).contains(&events.data));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_every(
        &mut self,
        first: Duration,
        period: Duration,
        f: impl FnMut(&mut EventLoop<D>) + 'static,
    ) -> Handle {
        self.add_timer(time::deadline(first), Alarm::Every(period, Some(Box::new(f))))
    }

    /// Starts the wait of a timer anew: it is called `delay` from now, and not when it would have been. False when there is no such timer any more.
    ///
    /// For idle timeouts: one timer a connection, put off at each sign of life (libev's `ev_timer_again`).
    pub fn put_off(&mut self, timer: Handle, delay: Duration) -> bool {
        let now = time::deadline(delay);
        let Some(Kind::Timer(entry)) =
            self.registry.watchers.get_mut(timer.0).map(|watcher| &mut watcher.kind)
        else {
            return false;
        };
        if let Some(key) = entry.key.take() {
            self.timers.cancel(key);
        }
        entry.deadline = now;
        entry.key = now.map(|deadline| self.timers.insert(deadline, timer.0));
        true
    }

    /// How long it is until a timer is called; zero when it is due. None when there is no such timer, or it never comes.
    pub fn remaining(&self, timer: Handle) -> Option<Duration> {
        match &self.registry.watchers.get(timer.0)?.kind {
            Kind::Timer(timer) => Some(timer.deadline?.saturating_duration_since(time::now())),
            _ => None,
        }
    }

    #[track_caller]
    fn add_timer(&mut self, deadline: Option<Instant>, alarm: Alarm<D>) -> Handle {
        let id = self.insert(Kind::Timer(Timer { alarm, key: None, deadline }));
        let key = deadline.map(|deadline| self.timers.insert(deadline, id));
        if let Some(Kind::Timer(timer)) = self.registry.watchers.get_mut(id).map(|watcher| &mut watcher.kind)
        {
            timer.key = key;
        }
        Handle(id)
    }

    /// A timer's time has come: queues it.
    pub(super) fn expire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(time::now(), &mut due);
        for id in due.drain(..) {
            match self.registry.watchers.get_mut(id).map(|watcher| &mut watcher.kind) {
                Some(Kind::Timer(timer)) => {
                    timer.key = None;
                    self.ready.push_back(id);
                }
                Some(Kind::Io(_)) => self.note_timeout(id),
                _ => {}
            }
        }
        self.due = due;
    }

    pub(super) fn call_timer(&mut self, id: Id) {
        let Some(Kind::Timer(timer)) = self.registry.watchers.get_mut(id).map(|watcher| &mut watcher.kind)
        else {
            return;
        };
        if timer.key.is_some() || timer.deadline.is_none() {
            // It has been put off since it was queued, perhaps for ever.
            return;
        }
        match &mut timer.alarm {
            Alarm::Once(_) => {
                let at = self.place_of(id);
                if let (Some(Kind::Timer(Timer { alarm: Alarm::Once(callback), .. })), Some(at)) =
                    (self.remove(id), at)
                {
                    self.guard(at, callback);
                }
            }
            Alarm::Every(period, callback) => {
                let callback = callback.take();
                // Before it is called, so that it can put itself off.
                let next = timer.deadline.and_then(|last| next_beat(last, *period, time::now()));
                timer.deadline = next;
                timer.key = next.map(|next| self.timers.insert(next, id));
                self.call_many(id, callback, |kind| match kind {
                    Kind::Timer(Timer { alarm: Alarm::Every(_, place), .. }) => Some(place),
                    _ => None,
                });
            }
        }
    }
}

/// The first beat after `now`, of those that come every `period` since `last`. None beyond all time.
fn next_beat(last: Instant, period: Duration, now: Instant) -> Option<Instant> {
    let missed = now.saturating_duration_since(last).as_nanos().checked_div(period.as_nanos()).unwrap_or(0);
    let missed = u32::try_from(missed).ok().and_then(|missed| period.checked_mul(missed));
    let next = last.checked_add(missed.unwrap_or_default())?.checked_add(period)?;
    Some(next.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_stay_where_they_are_and_missed_ones_are_left_out() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let next = |late| next_beat(start, Duration::from_millis(10), at(late));
        assert_eq!([0, 3, 9].map(next), [Some(at(10)); 3]);
        assert_eq!([10, 19, 20, 35].map(next), [20, 20, 30, 40].map(|millis| Some(at(millis))));
        assert_eq!(next_beat(start, Duration::ZERO, at(5)), Some(at(5)));
        assert_eq!(next_beat(start, Duration::from_nanos(1), at(60_000)), Some(at(60_000)));
        assert_eq!(next_beat(start, Duration::MAX, at(5)), None);
    }
}
