//! The arena at its limits: many stacks, no memory, memory given back.
#![allow(missing_docs)]

mod child;

use std::fs;
use std::hint::black_box;
use std::io::ErrorKind;
use std::thread;

use fibra_context::arena::{self, GuardKind, GuardPreference};
use fibra_context::{Coroutine, CoroutineResult, Stack, StackCache, Yielder, coroutine};

fn mappings() -> usize {
    fs::read("/proc/self/maps").unwrap().iter().filter(|&&byte| byte == b'\n').count()
}

/// Resident bytes, anonymous ones only, counted by walking the page tables.
fn resident() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Writes to at least `bytes` of the calling stack, and to little more.
#[inline(never)]
fn descend(bytes: usize) -> u64 {
    #[inline(never)]
    fn below(target: usize) -> u64 {
        let frame = black_box([1u64; 32]);
        let here = (&raw const frame).addr();
        frame[0] + if here > target { black_box(below(target)) } else { 0 }
    }
    let top = 0u8;
    below((&raw const top).addr() - bytes)
}

fn used(stack: Stack, bytes: usize) -> Stack {
    let mut worker: Coroutine<(), (), u64> =
        coroutine(stack, move |_: &Yielder<(), ()>, ()| black_box(descend(bytes)));
    worker.resume(());
    worker.into_stack()
}

#[test]
fn a_hundred_thousand_stacks_take_few_mappings() {
    if child::part().is_none() {
        if arena::guard_kind() == GuardKind::Lightweight {
            let output = child::run("a_hundred_thousand_stacks_take_few_mappings", "allocate", "lightweight");
            assert!(output.status.success(), "{output:?}");
        }
        return;
    }
    let before = mappings();
    let stacks: Vec<Stack> = (0..100_000).map(|_| arena::allocate(128 * 1024).unwrap()).collect();
    let taken = mappings() - before;
    assert!(taken < 50, "{} stacks took {taken} mappings", stacks.len());
}

#[test]
fn running_out_of_mappings_is_an_error_that_says_what_to_raise() {
    let limit: usize = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if child::part().is_none() {
        if limit <= 300_000 {
            let output = child::run(
                "running_out_of_mappings_is_an_error_that_says_what_to_raise",
                "allocate",
                "mprotect",
            );
            assert!(output.status.success(), "{output:?}");
        }
        return;
    }
    let mut stacks = Vec::with_capacity(limit);
    let error = loop {
        match arena::allocate(16 * 1024) {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains(&format!("vm.max_map_count (now {limit})")), "{error}");
    assert!(stacks.len() > limit / 2 - limit / 30, "only {} stacks", stacks.len());
    // The rest of the process can go on: a thread takes mappings for its stack, its signal stack and its heap.
    let threads: Vec<_> = (0..100).map(|_| thread::spawn(|| vec![1_u8; 1 << 20].len())).collect();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1 << 20));
    // Those there are can be used, given back and taken again.
    let stack = used(stacks.pop().unwrap(), 8 * 1024);
    drop(stack);
    arena::allocate(16 * 1024).unwrap();
}

#[test]
fn running_out_of_address_space_is_an_error() {
    child::with_each_guard("running_out_of_address_space_is_an_error", || {
        let pages: u64 =
            fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let limit = libc::rlimit { rlim_cur: pages * 4096 + (200 << 20), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: sets a limit of this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let mut stacks = Vec::new();
        let error = loop {
            match arena::allocate(256 * 1024) {
                Ok(stack) => stacks.push(stack),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("ulimit -v"), "{error}");
        assert!(stacks.len() > 500, "only {} stacks of 256 KiB in 200 MiB", stacks.len());
        assert_eq!(arena::allocate(256 * 1024).unwrap_err().kind(), ErrorKind::OutOfMemory);
        stacks.pop();
        arena::allocate(256 * 1024).unwrap();
    });
}

#[test]
fn an_unknown_kind_of_guard_is_an_error() {
    if child::part().is_none() {
        let output = child::run("an_unknown_kind_of_guard_is_an_error", "allocate", "granite");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let error = arena::allocate(64 * 1024).unwrap_err();
    assert_eq!(error.to_string(), "FIBRA_GUARD is \"granite\": it takes auto, lightweight or mprotect");
}

#[test]
fn a_preference_counts_until_the_first_stack() {
    if child::part().is_none() {
        let output = child::run("a_preference_counts_until_the_first_stack", "prefer", "mprotect");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    assert!(arena::set_guard_preference(GuardPreference::Lightweight));
    arena::allocate(64 * 1024).unwrap();
    // The environment has the last word.
    assert_eq!(arena::guard_kind(), GuardKind::Mprotect);
    assert_eq!(arena::guard_notice(), None);
    assert!(!arena::set_guard_preference(GuardPreference::Auto));
}

#[test]
fn trimming_a_cache_gives_memory_back() {
    child::with_each_guard("trimming_a_cache_gives_memory_back", || {
        const STACKS: usize = 64;
        const DEPTH: usize = 512 << 10;
        let mut cache = StackCache::new(STACKS);
        let before = resident();
        let stacks: Vec<Stack> = (0..STACKS).map(|_| used(cache.take(1 << 20).unwrap(), DEPTH)).collect();
        stacks.into_iter().for_each(|stack| cache.give(stack));
        let used = resident() - before;
        assert!(used > STACKS * DEPTH, "{used} bytes used");
        cache.trim(STACKS / 2);
        assert_eq!(cache.len(), STACKS / 2);
        let half = resident() - before;
        assert!(half < used * 6 / 10, "{half} of {used} bytes left");
        drop(cache);
        arena::trim();
        let left = resident().saturating_sub(before);
        assert!(left < used / 20, "{left} of {used} bytes left");
    });
}

#[test]
fn freed_stacks_give_their_memory_back_a_few_at_a_time() {
    child::with_each_guard("freed_stacks_give_their_memory_back_a_few_at_a_time", || {
        let before = resident();
        let stacks: Vec<Stack> =
            (0..500).map(|_| used(arena::allocate(1 << 20).unwrap(), 256 << 10)).collect();
        assert!(resident() - before > 500 * (256 << 10));
        drop(stacks);
        let kept = resident() - before;
        assert_eq!(arena::trim_some(100, 16), 100);
        let left = resident() - before;
        assert!(kept - left >= 100 * (256 << 10), "{left} of {kept} bytes left");
        assert_eq!(arena::trim_some(1000, 16), 384);
        assert_eq!(arena::trim_some(1000, 16), 0, "the warmest keep theirs");
        let left = resident() - before;
        assert!(left < 64 << 20, "{left} bytes left of freed stacks");
    });
}

#[test]
fn a_suspended_coroutine_gives_back_what_lies_below_it_and_keeps_the_rest() {
    child::with_each_guard("a_suspended_coroutine_gives_back_what_lies_below_it_and_keeps_the_rest", || {
        /// Suspends with the address of a local of the innermost frame.
        #[inline(never)]
        fn park(yielder: &Yielder<(), usize>) {
            let here = 0u8;
            yielder.suspend((&raw const here).addr());
        }
        let stack = arena::allocate(1 << 20).unwrap();
        let span = stack.span();
        let mut waiter = coroutine(stack, |yielder: &Yielder<(), usize>, ()| {
            let kept = black_box([7u64; 1024]);
            black_box(descend(768 << 10));
            park(yielder);
            black_box(&kept).iter().sum::<u64>()
        });
        let before = resident();
        let Some(stack_pointer) = waiter.resume(()).as_yield() else { panic!("it suspends first") };
        assert!(span.contains(stack_pointer) && !span.is_current());
        let deep = resident() - before;
        assert!(deep > 768 << 10);
        // SAFETY: the coroutine is suspended in `park`, whose local this is the address of.
        unsafe { span.trim_below(stack_pointer) };
        let left = resident() - before;
        assert!(left < 64 << 10, "{left} of {deep} bytes left");
        assert_eq!(waiter.resume(()), CoroutineResult::Return(7 * 1024));
    });
}

#[test]
fn a_parked_coroutine_keeps_one_page() {
    child::with_each_guard("a_parked_coroutine_keeps_one_page", || {
        const COUNT: usize = 10_000;
        let page = rustix::param::page_size();
        let mut parked: Vec<Coroutine<(), u64, ()>> = Vec::with_capacity(COUNT);
        let touch = |parked: &mut Vec<Coroutine<(), u64, ()>>, count: usize| {
            for number in 0..count as u64 {
                let stack = arena::allocate(64 * 1024).unwrap();
                let mut one = coroutine(stack, move |yielder: &Yielder<(), u64>, ()| yielder.suspend(number));
                assert_eq!(one.resume(()), CoroutineResult::Yield(number));
                parked.push(one);
            }
        };
        touch(&mut parked, COUNT);
        let before = resident();
        parked.reserve_exact(COUNT);
        touch(&mut parked, COUNT);
        let each = (resident() - before) as f64 / COUNT as f64;
        let coroutine = size_of::<Coroutine<(), u64, ()>>();
        assert!(each < (page + coroutine) as f64 * 1.05, "{each} bytes each, a coroutine is {coroutine}");
    });
}

#[test]
fn stacks_move_between_threads() {
    let mut cache = StackCache::new(4);
    let stack = cache.take(64 * 1024).unwrap();
    let stack = thread::spawn(move || used(stack, 10_000)).join().unwrap();
    cache.give(stack);
}

#[test]
fn many_threads_allocate_and_free_at_once() {
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut cache = StackCache::new(10);
                for round in 0..200 {
                    let count = (round * 7 + thread) % 40;
                    let stacks: Vec<Stack> =
                        (0..count).map(|_| used(cache.take(32 * 1024).unwrap(), 4096)).collect();
                    for (number, stack) in stacks.into_iter().enumerate() {
                        if number % 3 == 0 { drop(stack) } else { cache.give(stack) }
                    }
                }
            });
        }
    });
}
