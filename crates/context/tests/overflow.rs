//! What happens when a coroutine runs out of stack, and what happens on any other fault.
#![allow(missing_docs)]

mod child;

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;

use fibra_context::generator::Builder;
use fibra_context::{Coroutine, CoroutineResult, Label, Yielder, arena, coroutine, overflow};

const SIZE: usize = 128 * 1024;

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    if frame[0] == u64::MAX { 0 } else { recurse(black_box(depth + 1)) + frame[3] }
}

fn run_out() {
    black_box(recurse(0));
}

fn labelled(name: &'static str, body: impl FnOnce() + 'static) -> Coroutine<(), (), ()> {
    let stack = arena::allocate(SIZE).unwrap();
    // SAFETY: the name is static.
    unsafe { stack.set_label(Label::coroutine(42, name)) };
    coroutine(stack, move |_: &Yielder<(), ()>, ()| body())
}

/// Plays a part to its bitter end.
fn play(part: &str) {
    match part {
        "recursion in a named coroutine" => {
            overflow::install();
            labelled("parser", run_out).resume(());
        }
        "recursion in a nameless coroutine" => {
            overflow::install();
            labelled("", run_out).resume(());
        }
        "recursion in a generator" => {
            let mut generator = Builder::new()
                .name("rows")
                .stack_size(20 * 1024)
                .generator(|_: &fibra_context::Suspender<(), ()>, ()| run_out())
                .unwrap();
            generator.resume(());
        }
        "a frame that skips 40 KiB of guard" => {
            overflow::install();
            labelled("jumper", || {
                let here = 0u8;
                let below = black_box(&raw const here) as usize - SIZE - 40 * 1024;
                // SAFETY: it is not: the write is to fault.
                unsafe { (below as *mut u8).write_volatile(1) };
            })
            .resume(());
        }
        "recursion on a stack that was used and trimmed before" => {
            overflow::install();
            for _ in 0..3 {
                let mut fine = labelled("fine", || {});
                assert_eq!(fine.resume(()), CoroutineResult::Return(()));
                let stack = fine.into_stack();
                stack.trim(0);
                drop(stack);
                arena::trim();
            }
            labelled("reused", run_out).resume(());
        }
        "recursion on a thread without a signal stack" => {
            extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
                let _protected = overflow::protect_thread().unwrap();
                labelled("bare", run_out).resume(());
                std::ptr::null_mut()
            }
            overflow::install();
            // SAFETY: a thread made with default attributes that runs `body`, joined once.
            unsafe {
                let mut thread: libc::pthread_t = 0;
                libc::pthread_create(&mut thread, std::ptr::null(), body, std::ptr::null_mut());
                libc::pthread_join(thread, std::ptr::null_mut());
            }
        }
        "null, with a handler of three arguments" => {
            extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
                // SAFETY: the arguments are as the kernel passed them.
                let address = unsafe { (*info).si_addr() } as usize;
                let right = signal == libc::SIGSEGV && address == 8 && !context.is_null();
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(if right { 43 } else { 1 }) };
            }
            handle_with(handler as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
            overflow::install();
            labelled("null", touch_null).resume(());
        }
        "null, with a handler of one argument" => {
            extern "C" fn handler(signal: i32) {
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(if signal == libc::SIGSEGV { 43 } else { 1 }) };
            }
            handle_with(handler as *const () as usize, libc::SA_ONSTACK);
            overflow::install();
            labelled("null", touch_null).resume(());
        }
        "null, with the handler of the standard library" => {
            overflow::install();
            labelled("null", touch_null).resume(());
        }
        "null, with the default action" => {
            handle_with(libc::SIG_DFL, 0);
            overflow::install();
            labelled("null", touch_null).resume(());
        }
        "null, with the signal ignored" => {
            handle_with(libc::SIG_IGN, 0);
            overflow::install();
            labelled("null", touch_null).resume(());
        }
        "a signal sent, with the default action" => {
            handle_with(libc::SIG_DFL, 0);
            overflow::install();
            // SAFETY: sends a signal to the calling thread.
            labelled("sent", || assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0)).resume(());
        }
        "a signal sent, and ignored" => {
            handle_with(libc::SIG_IGN, 0);
            overflow::install();
            // SAFETY: sends a signal to the calling thread.
            labelled("sent", || assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0)).resume(());
            std::process::exit(43);
        }
        _ => unreachable!("{part}"),
    }
    unreachable!("{part} went unnoticed");
}

fn touch_null() {
    // SAFETY: it is not: the write is to fault.
    unsafe { black_box(std::ptr::without_provenance_mut::<u64>(8)).write_volatile(1) };
}

fn handle_with(handler: usize, flags: i32) {
    // SAFETY: zeroed, a `sigaction` is valid; the handlers above are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
    }
}

/// Runs the part under both kinds of guard. `ending` is how the child ends, with standard error.
fn demand(test: &str, part: &str, ending: impl Fn(std::process::ExitStatus, &str)) {
    if child::part().as_deref() == Some(part) {
        return play(part);
    }
    for guard in ["auto", "mprotect"] {
        let output = child::run(test, part, guard);
        let stderr = String::from_utf8_lossy(&output.stderr);
        println!("{part} with {guard}: {}\n{stderr}", output.status);
        ending(output.status, &stderr);
    }
}

fn report_and_abort(report: &'static str) -> impl Fn(std::process::ExitStatus, &str) {
    move |status, stderr| {
        assert!(stderr.contains(report), "{stderr}");
        assert!(stderr.contains("FIBRA_STACK_SIZE"), "{stderr}");
        assert!(!stderr.contains("stack pointer is elsewhere"), "{stderr}");
        assert_eq!(status.signal(), Some(libc::SIGABRT));
    }
}

fn killed_by_sigsegv(status: std::process::ExitStatus, stderr: &str) {
    assert!(!stderr.contains("overflowed"), "{stderr}");
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}

fn exits_with_43(status: std::process::ExitStatus, stderr: &str) {
    assert_eq!(status.code(), Some(43), "{stderr}");
}

#[test]
fn the_report_names_the_coroutine_and_its_stack() {
    demand(
        "the_report_names_the_coroutine_and_its_stack",
        "recursion in a named coroutine",
        report_and_abort(
            "fibra: coroutine \"parser\" (#42) has overflowed its stack of 131072 bytes (fault at 0x",
        ),
    );
}

#[test]
fn the_report_numbers_a_nameless_coroutine() {
    demand(
        "the_report_numbers_a_nameless_coroutine",
        "recursion in a nameless coroutine",
        report_and_abort("fibra: coroutine #42 has overflowed its stack of 131072 bytes"),
    );
}

#[test]
fn the_report_says_generator_of_a_generator() {
    demand(
        "the_report_says_generator_of_a_generator",
        "recursion in a generator",
        report_and_abort("fibra: generator \"rows\" (#1) has overflowed its stack of 20480 bytes"),
    );
}

#[test]
fn a_large_frame_cannot_jump_the_guard() {
    demand(
        "a_large_frame_cannot_jump_the_guard",
        "a frame that skips 40 KiB of guard",
        report_and_abort("fibra: coroutine \"jumper\" (#42) has overflowed"),
    );
}

#[test]
fn a_reused_stack_is_still_guarded() {
    demand(
        "a_reused_stack_is_still_guarded",
        "recursion on a stack that was used and trimmed before",
        report_and_abort("fibra: coroutine \"reused\" (#42) has overflowed"),
    );
}

#[test]
fn a_protected_thread_can_report() {
    demand(
        "a_protected_thread_can_report",
        "recursion on a thread without a signal stack",
        report_and_abort("fibra: coroutine \"bare\" (#42) has overflowed"),
    );
}

#[test]
fn other_faults_reach_the_previous_handler_with_all_arguments() {
    demand(
        "other_faults_reach_the_previous_handler_with_all_arguments",
        "null, with a handler of three arguments",
        exits_with_43,
    );
}

#[test]
fn other_faults_reach_a_previous_handler_of_one_argument() {
    demand(
        "other_faults_reach_a_previous_handler_of_one_argument",
        "null, with a handler of one argument",
        exits_with_43,
    );
}

#[test]
fn other_faults_pass_through_the_standard_library_and_kill() {
    demand(
        "other_faults_pass_through_the_standard_library_and_kill",
        "null, with the handler of the standard library",
        killed_by_sigsegv,
    );
}

#[test]
fn other_faults_kill_by_default() {
    demand("other_faults_kill_by_default", "null, with the default action", killed_by_sigsegv);
}

#[test]
fn a_fault_cannot_be_ignored() {
    demand("a_fault_cannot_be_ignored", "null, with the signal ignored", killed_by_sigsegv);
}

#[test]
fn a_sent_signal_kills_by_default() {
    demand("a_sent_signal_kills_by_default", "a signal sent, with the default action", killed_by_sigsegv);
}

#[test]
fn a_sent_signal_can_be_ignored() {
    demand("a_sent_signal_can_be_ignored", "a signal sent, and ignored", exits_with_43);
}
