//! The letters of a loop, model-checked: see `crate::scheduler::models`. The eventfd is a real one, which the loop reads where it would sleep.

use super::{Letter, Remote, Shared};
use fibra_driver::{Driver, RingSettings};
use loom::thread;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

const LETTERS: usize = 2;

/// The loop, as far as it reads letters.
struct Reader {
    shared: Arc<Shared<()>>,
    letters: VecDeque<Letter<()>>,
}

impl Reader {
    /// A wait, which a notification ends. False when it would go on.
    fn wait(&mut self) -> bool {
        let rang = rustix::io::read(self.shared.bell.notifier.as_fd(), &mut [0; 8]).is_ok();
        if rang {
            self.shared.take(&mut self.letters, &mut Vec::new());
        }
        rang
    }
}

#[test]
fn a_loop_does_not_sleep_while_a_letter_lies_there() {
    loom::model(|| {
        let driver = Driver::epoll(RingSettings { enabled: false, ..RingSettings::default() }).unwrap();
        let shared = Shared::<()>::new(driver.notifier());
        let writers: Vec<_> = (0..LETTERS)
            .map(|_| {
                let remote = Remote::new(&shared);
                // What rings when a handle is dropped is not to help.
                thread::spawn(move || {
                    remote.call_soon(|_| {}).unwrap();
                    std::mem::forget(remote);
                })
            })
            .collect();
        let mut reader = Reader { shared, letters: VecDeque::new() };
        reader.wait();
        reader.wait();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        while reader.wait() {}
        assert_eq!(reader.letters.len(), LETTERS, "a letter lies there, and the loop sleeps");
    });
}
