//! Timers in the style of libev: one that beats, one that is put off at each sign of life, and one that ends it all.
//!
//! ```text
//! cargo run -p fibra --example libev_timer
//! ```
//!
//! | libev | here |
//! |---|---|
//! | `ev_timer_init(&w, cb, 0.05, 0.)` | `call_later(50 ms, cb)` |
//! | `ev_timer_init(&w, cb, 0., 0.02)` | `call_every(0, 20 ms, cb)` |
//! | `ev_timer_again` | `put_off(timer, 40 ms)` |
//! | `ev_timer_stop` | `cancel(timer)` |
//! | `ev_break` | `stop()` |

use fibra::event_loop::EventLoop;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(50);

/// What the callbacks share.
struct Story {
    began: Instant,
    beats: u32,
}

fn say(events: &EventLoop<Story>, line: &str) {
    println!("{:>4} ms  {line}", events.data.began.elapsed().as_millis());
}

fn main() -> std::io::Result<()> {
    let mut events = EventLoop::with_data(Story { began: Instant::now(), beats: 0 })?;

    // The idle timer: comes when nothing has been heard for a while. Each beat is a sign of life.
    let idle = events.call_later(PATIENCE, |events| {
        say(events, "idle: no beat for 50 ms, so this timer, put off five times, has come at last");
    });
    let beat = events.call_every(BEAT, BEAT, move |events| {
        events.data.beats += 1;
        say(events, &format!("beat {}: the idle timer is put off to 50 ms from now", events.data.beats));
        events.put_off(idle, PATIENCE);
        if events.data.beats == 5 {
            say(events, "the beat cancels itself");
            events.cancel_current();
        }
    });

    // Ties: equal deadlines are called in the order in which they were set.
    let tie = events.data.began + Duration::from_millis(30);
    for name in ["first", "second", "third"] {
        events.call_at(tie, move |events| {
            say(events, &format!("{name} of three timers that were set for 30 ms"))
        });
    }

    // One that is cancelled before its time, by a callback.
    let never = events.call_later(Duration::from_millis(60), |_| unreachable!("it was cancelled"));
    events.call_later(Duration::from_millis(10), move |events| {
        let left = events.remaining(never).unwrap_or_default();
        say(events, &format!("a timer that had {} ms to go is cancelled", left.as_millis()));
        events.cancel(never);
    });

    let ended = Rc::new(Cell::new(false));
    let ends = Rc::clone(&ended);
    events.call_later(Duration::from_secs(3600), move |_| ends.set(true));
    events.call_later(Duration::from_millis(200), |events| {
        say(events, "stop: a timer of an hour is still waiting, and is not waited for");
        events.stop();
    });
    events.run()?;
    assert!(!ended.get() && !events.is_pending(beat));
    say(
        &events,
        &format!("the loop has ended after {} beats, with {} timer left", events.data.beats, events.len()),
    );
    Ok(())
}
