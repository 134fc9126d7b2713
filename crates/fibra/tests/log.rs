//! What listens to the library's log, and waits.

mod limit;

use fibra::Elapsed;
use fibra::inspect;
use fibra::sync::Event;
use limit::{LIMIT, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, thread};

/// Waits for an event when it is dropped.
struct Waits<'a>(&'a Event);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

#[test]
fn a_log_that_waits_does_not_take_the_wake_up_of_whom_it_is_told_of() {
    const NAME: &str = "long in a destructor";
    within(LIMIT, || {
        let event = Arc::new(Event::new());
        let (told, set) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let unwinds = {
            let (event, told, set) = (Arc::clone(&event), Arc::clone(&told), Arc::clone(&set));
            let listener = move || {
                told.fetch_add(1, Ordering::SeqCst);
                while !set.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                // The wake-up has come for the wait that is told of.
                fibra::sleep(Duration::from_millis(1));
                io::sink()
            };
            let listener = tracing_subscriber::fmt().with_writer(listener).finish();
            let unwinds = move || {
                fibra::timeout(Duration::from_millis(1), || {
                    let _waits = Waits(&event);
                    fibra::sleep(Duration::from_secs(3600));
                })
            };
            thread::Builder::new()
                .name(NAME.into())
                .spawn(|| tracing::subscriber::with_default(listener, unwinds))
                .unwrap()
        };
        // After a second of the destructor's wait.
        while told.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        event.set();
        set.store(true, Ordering::SeqCst);
        assert_eq!(unwinds.join().unwrap(), Err(Elapsed));
        assert_eq!(told.load(Ordering::SeqCst), 1);
        let left = inspect::contexts().iter().filter(|entry| entry.name.as_deref() == Some(NAME)).count();
        assert_eq!(left, 0, "the listener's context has ended, too");
    });
}
