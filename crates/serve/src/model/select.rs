//! `select`: the kernel is handed a set of descriptors, and leaves in it those that are ready.
//!
//! ```text
//!   build the sets ──▶ select(read, write) ──▶ go through the guests: still in a set? step ──┐
//!      ▲                  │ blocks until one is ready, or the next                           │
//!      │                  │ time limit                                                      │
//!      └─────────────────────────────────────────────────────────────────────────────────────┘
//!
//!  state:  a table of guests, each with its conversation; and the sets, made anew for each call
//!  wakes:  the kernel, which goes through the sets up to the highest descriptor
//!  blocks: in select, and in the filesystem (see `conversation`)
//! ```
//!
//! A set is an array of 1,024 bits, and a descriptor is the number of its bit: the first 1,024 descriptors of a process can be waited for, and
//! `FD_SET` of a higher one writes beyond the array. Here such a connection is turned away (HTTP: 503), and the log says why. As with
//! [`poll`](super::poll), each call costs O(n), and nothing is remembered between two.

use super::attendant::{Attendant, Visit};
use super::guest::Interest;
use super::rarely::Rarely;
use super::{Options, Started, Summary, loops};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for, or the process has 1,024 descriptors to begin with.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::one(options, "select", started, run)
}

fn run(mut attendant: Attendant) -> io::Result<Summary> {
    if !fits(&attendant.bell) || !attendant.door.as_ref().is_none_or(fits) {
        return Err(io::Error::other(format!(
            "select can wait for descriptors below {FD_SETSIZE} only, and those are taken already"
        )));
    }
    let (mut ready, mut told) = (Vec::new(), Rarely::default());
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
        turn_away(&mut attendant, &mut told);
    }
    Ok(attendant.end())
}

/// Whether a set has a bit for it.
fn fits(descriptor: &impl AsFd) -> bool {
    usize::try_from(descriptor.as_fd().as_raw_fd()).is_ok_and(|number| number < FD_SETSIZE)
}

/// Sends those away who can not be waited for.
fn turn_away(attendant: &mut Attendant, told: &mut Rarely) {
    let beyond: Vec<usize> =
        attendant.guests.iter().filter(|(_, guest)| !fits(*guest)).map(|(key, _)| key).collect();
    if !beyond.is_empty() && told.now() {
        tracing::warn!(
            "select can wait for descriptors below {FD_SETSIZE} only: connections beyond are turned away; \
             lower --max-connections, or take another --model"
        );
    }
    for key in beyond {
        attendant.turn_away(key);
    }
}

/// Waits: finds the keys of the guests who are ready, and says whether the bell rang and whether there is somebody at the door.
fn wait(attendant: &mut Attendant, ready: &mut Vec<usize>) -> io::Result<(bool, bool)> {
    ready.clear();
    let mut timeout = attendant.timeout().map(|timeout| {
        TimeVal::milliseconds(timeout.as_millis().try_into().unwrap_or(i64::from(i32::MAX)).min(86_400_000))
    });
    let open = attendant.is_door_open();
    let door = attendant.door.as_ref().filter(|_| open);
    let (mut reads, mut writes) = (FdSet::new(), FdSet::new());
    reads.insert(attendant.bell.as_fd());
    if let Some(door) = door {
        reads.insert(door.as_fd());
    }
    for (_, guest) in &attendant.guests {
        match guest.interest() {
            Interest::Readable => reads.insert(guest.as_fd()),
            Interest::Writable => writes.insert(guest.as_fd()),
        }
    }
    match select(None, &mut reads, &mut writes, None, &mut timeout) {
        Ok(_) => {}
        // The sets are then as they were: everybody would seem to be ready.
        Err(Errno::EINTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    let still = |(_, guest): &(usize, &super::guest::Guest)| {
        reads.contains(guest.as_fd()) || writes.contains(guest.as_fd())
    };
    ready.extend(attendant.guests.iter().filter(still).map(|(key, _)| key));
    Ok((reads.contains(attendant.bell.as_fd()), door.is_some_and(|door| reads.contains(door.as_fd()))))
}
