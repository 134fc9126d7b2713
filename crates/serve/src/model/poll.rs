//! `poll`: the kernel is handed the list of all sockets, and marks those that are ready.
//!
//! ```text
//!   build the list ──▶ poll(list) ──▶ go through the list: marked? step ──┐
//!      ▲                  │ blocks until one is ready, or the next        │
//!      │                  │ time limit                                   │
//!      └──────────────────────────────────────────────────────────────────┘
//!
//!  state:  a table of guests, each with its conversation; and the list, made anew for each call
//!  wakes:  the kernel, which goes through the whole list too, twice for each call
//!  blocks: in poll, and in the filesystem (see `conversation`)
//! ```
//!
//! No limit of descriptors, unlike [`select`](super::select), and an idle server costs nothing. But each call costs O(n), also if only one of
//! ten thousand is ready: the kernel forgets the list between two calls.

use super::attendant::{Attendant, Visit};
use super::guest::Interest;
use super::{Options, Started, Summary, loops};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::one(options, "poll", started, run)
}

fn run(mut attendant: Attendant) -> io::Result<Summary> {
    let mut ready = Vec::new();
    while !attendant.is_over() {
        let (bell, door) = wait(&mut attendant, &mut ready)?;
        attendant.woke();
        if bell {
            attendant.hear();
        }
        for &key in &ready {
            let _ = attendant.step(key);
        }
        if door {
            attendant.called_to_the_door();
            while let Visit::One(_) = attendant.admit() {}
        }
        for key in attendant.due() {
            let _ = attendant.step(key);
        }
    }
    Ok(attendant.end())
}

/// Waits: finds the keys of the guests who are ready, and says whether the bell rang and whether there is somebody at the door.
fn wait(attendant: &mut Attendant, ready: &mut Vec<usize>) -> io::Result<(bool, bool)> {
    ready.clear();
    let timeout = attendant.timespec();
    let open = attendant.is_door_open();
    let mut list = vec![PollFd::new(&attendant.bell, PollFlags::IN)];
    for (_, guest) in &attendant.guests {
        list.push(PollFd::new(
            guest,
            match guest.interest() {
                Interest::Readable => PollFlags::IN,
                Interest::Writable => PollFlags::OUT,
            },
        ));
    }
    if let Some(door) = attendant.door.as_ref().filter(|_| open) {
        list.push(PollFd::new(door, PollFlags::IN));
    }
    match poll(&mut list, timeout.as_ref()) {
        // What was asked for has come, or an error or a hang-up, which the next step meets.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let marked = |entry: &PollFd<'_>| !entry.revents().is_empty();
    ready.extend(
        attendant.guests.iter().zip(&list[1..]).filter(|(_, entry)| marked(entry)).map(|((key, _), _)| key),
    );
    Ok((marked(&list[0]), list.get(1 + attendant.guests.len()).is_some_and(marked)))
}
