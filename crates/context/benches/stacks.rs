//! What stacks cost: cutting, taking, giving, and resuming many in turn with and without colours.
//!
//! `cargo bench -p fibra-context`. Rounds of the variants are interleaved; medians are printed.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use fibra_context::symmetric::{self, Cx, Handover};
use fibra_context::{Generator, Stack, StackCache, Suspender, Yielder, arena};

const ROUNDS: usize = 41;
const SIZE: usize = 64 * 1024;

/// A stack whose colour is taken away: it begins a label's width below the end of its slot, as all others do.
struct Plain(Stack);

// SAFETY: the slot is that of the inner stack, whose colour area is unused and whose label is not set.
unsafe impl corosensei::stack::Stack for Plain {
    fn base(&self) -> NonZeroUsize {
        let end = self.0.base().get().next_multiple_of(4096);
        NonZeroUsize::new(end - 32).expect("a slot does not begin at address zero")
    }

    fn limit(&self) -> NonZeroUsize {
        self.0.limit()
    }
}

/// Nanoseconds for each of `count` that `work` does.
fn nanoseconds(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn suspended<S: corosensei::stack::Stack + 'static>(
    count: usize,
    stack: impl Fn() -> S,
) -> Vec<corosensei::Coroutine<(), (), (), S>> {
    let body = |yielder: &Yielder<(), ()>, ()| {
        loop {
            yielder.suspend(());
        }
    };
    let mut all: Vec<_> = (0..count).map(|_| corosensei::Coroutine::with_stack(stack(), body)).collect();
    all.iter_mut().for_each(|one| _ = one.resume(()));
    all
}

fn resume_in_turn(count: usize) {
    let mut coloured = suspended(count, || arena::allocate(SIZE).expect("a stack"));
    let mut plain = suspended(count, || Plain(arena::allocate(SIZE).expect("a stack")));
    let turns = (200_000 / count).max(1);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(nanoseconds(turns * count, || {
            (0..turns).for_each(|_| coloured.iter_mut().for_each(|one| _ = black_box(one.resume(()))))
        }));
        without.push(nanoseconds(turns * count, || {
            (0..turns).for_each(|_| plain.iter_mut().for_each(|one| _ = black_box(one.resume(()))))
        }));
    }
    println!(
        "resume {count:>6} in turn: {:6.2} ns coloured, {:6.2} ns without colours",
        median(with),
        median(without)
    );
}

fn main() {
    println!("guards: {:?}", arena::guard_kind());

    // Sizes nobody has used yet, so that every stack is cut.
    let cut = nanoseconds(100_000, || {
        let stacks: Vec<Stack> = (0..100_000).map(|_| arena::allocate(80 << 10).expect("a stack")).collect();
        black_box(stacks.len());
        std::mem::forget(stacks);
    });
    println!("cut a new stack:       {cut:6.1} ns");

    let mut cache = StackCache::new(64);
    let warm = |cache: &mut StackCache| {
        nanoseconds(1_000_000, || {
            for _ in 0..1_000_000 {
                let stack = black_box(cache.take(black_box(SIZE)).expect("a stack"));
                cache.give(stack);
            }
        })
    };
    warm(&mut cache);
    println!("take and give, warm:   {:6.2} ns", median((0..ROUNDS).map(|_| warm(&mut cache)).collect()));
    let through_arena = || {
        nanoseconds(100_000, || {
            (0..100_000).for_each(|_| drop(black_box(arena::allocate(SIZE).expect("one"))))
        })
    };
    println!("allocate and drop:     {:6.2} ns", median((0..ROUNDS).map(|_| through_arena()).collect()));
    let coroutines = |cache: &mut StackCache| {
        nanoseconds(100_000, || {
            for number in 0..100_000u64 {
                let stack = cache.take(SIZE).expect("a stack");
                let mut one =
                    fibra_context::coroutine(stack, move |_: &Yielder<(), ()>, ()| black_box(number));
                black_box(one.resume(()));
                cache.give(one.into_stack());
            }
        })
    };
    println!(
        "a coroutine's life:    {:6.2} ns",
        median((0..ROUNDS).map(|_| coroutines(&mut cache)).collect())
    );

    let mut numbers =
        Generator::new(|handle: &Suspender<(), u64>, ()| (0..u64::MAX).for_each(|n| handle.suspend(n)));
    let generate = median(
        (0..ROUNDS)
            .map(|_| nanoseconds(100_000, || _ = black_box(numbers.by_ref().take(100_000).sum::<u64>())))
            .collect(),
    );
    println!("generator, a value:    {generate:6.2} ns");

    let switches = symmetric::run(|hub| {
        let bounce = |cx: &Cx<u64>, mut left: u64| {
            while left > 0 {
                let other = cx.find(if cx.id() == cx.find("a").expect("added") { "b" } else { "a" });
                let other = other.expect("added");
                while left > 0 {
                    left = cx.switch_to(other, left - 1).expect("waiting");
                }
            }
            Handover::Main(0)
        };
        let a = hub.add("a", bounce).expect("a stack");
        hub.add("b", bounce).expect("a stack");
        nanoseconds(1_000_000, || _ = hub.switch_to(a, 1_000_000))
    });
    println!("symmetric, a switch:   {switches:6.2} ns");

    for count in [1, 100, 1_000, 10_000] {
        resume_in_turn(count);
    }

    let held: Vec<Stack> = (0..10_000).map(|_| arena::allocate(SIZE).expect("a stack")).collect();
    let release = nanoseconds(held.len(), || held.iter().for_each(|stack| stack.trim(0)));
    println!("trim a stack, clean or of one page: {release:6.1} ns");
}
