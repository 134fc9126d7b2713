//! AB-BA: two locks, taken in different orders, and the cure.
//!
//! ```text
//! cargo run -p fibra --example ab_ba
//!
//! opposite orders:            both wait, each for what the other has
//! two reentrant mutexes:      both wait, each for what the other has
//! always the lower one first: 2 transfers, 200 in all
//! try, and give back:         2 transfers, 200 in all
//! ```
//!
//! Two accounts, each behind a mutex, and two transfers at the same time: one takes A and then wants B, the other takes B and then wants A. Each has what the other
//! waits for, so neither goes on, ever. The coroutine that waits costs its worker nothing; the accounts are dead all the same. Here each wait for the
//! second lock has a limit, so that the program can tell.
//!
//! *Two reentrant mutexes do not help.* Reentrant means that the one who has a lock may take it again. Here nobody wants what it has.
//!
//! *An order helps.* When everybody takes the lower account first, the one who has the higher one never waits for a lower one: a ring of waiting needs somebody who does. This
//! is the cure to prefer, as nothing is tried in vain.
//!
//! *Giving back helps,* where there is no order to agree on: who cannot have the second lock at once gives back the first, lets the others go on, and begins again.
//!
//! fibra does not find such rings by itself yet.

use fibra::sync::{Mutex, ReentrantMutex};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// By then the other one has had its chance.
const PATIENCE: Duration = Duration::from_millis(50);

const STUCK: &str = "both wait, each for what the other has";

type Accounts = Arc<[Mutex<i64>; 2]>;

/// Runs a transfer in each direction, at the same time; whether they were made.
fn both_ways(transfer: impl Fn(usize, usize) -> bool + Clone + Send + 'static) -> [bool; 2] {
    let ways = [(0, 1), (1, 0)].map(|(from, to)| {
        let transfer = transfer.clone();
        fibra::spawn(move || transfer(from, to))
    });
    ways.map(|way| way.join().expect("a transfer does not panic"))
}

/// Takes the payer's lock first.
fn as_it_comes(accounts: &Accounts, from: usize, to: usize) -> bool {
    let mut payer = accounts[from].lock();
    // The other one comes in between: by chance in a program, on purpose here.
    fibra::sleep(PATIENCE / 5);
    let Some(mut payee) = accounts[to].lock_timeout(PATIENCE) else {
        return false;
    };
    *payer -= 10;
    *payee += 10;
    true
}

/// The same with locks that their owner may take again.
fn reentrantly(accounts: &Arc<[ReentrantMutex<Cell<i64>>; 2]>, from: usize, to: usize) -> bool {
    let payer = accounts[from].lock();
    fibra::sleep(PATIENCE / 5);
    let again = accounts[from].lock();
    let Some(payee) = accounts[to].lock_timeout(PATIENCE) else {
        return false;
    };
    payer.set(again.get() - 10);
    payee.set(payee.get() + 10);
    true
}

/// Takes the lower account's lock first.
fn in_order(accounts: &Accounts, from: usize, to: usize) -> bool {
    let mut lower = accounts[from.min(to)].lock();
    fibra::sleep(PATIENCE / 5);
    let mut higher = accounts[from.max(to)].lock();
    let (payer, payee) = if from < to { (&mut lower, &mut higher) } else { (&mut higher, &mut lower) };
    **payer -= 10;
    **payee += 10;
    true
}

/// Gives the first lock back when it cannot have the second at once.
fn with_retreat(accounts: &Accounts, from: usize, to: usize) -> bool {
    loop {
        let mut payer = accounts[from].lock();
        fibra::sleep(PATIENCE / 5);
        if let Some(mut payee) = accounts[to].try_lock() {
            *payer -= 10;
            *payee += 10;
            return true;
        }
        drop(payer);
        // Not in step with the other one.
        fibra::sleep(PATIENCE / 10 * (1 + from as u32 * 3));
    }
}

fn tell(made: [bool; 2], accounts: &Accounts) -> String {
    let count = made.iter().filter(|made| **made).count();
    let sum: i64 = accounts.iter().map(|account| *account.lock()).sum();
    format!("{count} transfers, {sum} in all")
}

fn main() {
    fibra::run(|| {
        let accounts: Accounts = Arc::new([Mutex::named("A", 100), Mutex::named("B", 100)]);
        let shared = Arc::clone(&accounts);
        let made = both_ways(move |from, to| as_it_comes(&shared, from, to));
        // The first whose patience is over gives its lock back, and the other one may get through.
        assert!(made.contains(&false), "they did not meet");
        println!("opposite orders:            {STUCK}");

        let reentrant = Arc::new([ReentrantMutex::new(Cell::new(100)), ReentrantMutex::new(Cell::new(100))]);
        let made = both_ways(move |from, to| reentrantly(&reentrant, from, to));
        assert!(made.contains(&false), "they did not meet");
        println!("two reentrant mutexes:      {STUCK}");

        let accounts: Accounts = Arc::new([Mutex::new(100), Mutex::new(100)]);
        let shared = Arc::clone(&accounts);
        let made = both_ways(move |from, to| in_order(&shared, from, to));
        assert_eq!(made, [true, true]);
        println!("always the lower one first: {}", tell(made, &accounts));

        let shared = Arc::clone(&accounts);
        let made = both_ways(move |from, to| with_retreat(&shared, from, to));
        assert_eq!(made, [true, true]);
        println!("try, and give back:         {}", tell(made, &accounts));
    });
}
