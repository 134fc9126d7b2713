//! A coroutine that runs over the end of its stack, and faults that are none of that.

mod child;

use fibra::{Builder, Runtime, spawn};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const SIGSEGV: i32 = 11;
const SIGABRT: i32 = 6;

#[expect(unconditional_recursion, reason = "it is to overflow")]
fn endless(level: u64) -> u64 {
    let frame = std::hint::black_box([level; 32]);
    endless(std::hint::black_box(level + 1)) + frame[(level % 32) as usize]
}

/// Plays the child's part.
fn part() -> bool {
    let Some(part) = child::part() else { return false };
    let workers = if part == "worker" { 2 } else { 1 };
    Runtime::builder()
        .workers(workers)
        .run(|| match part.as_str() {
            "named" => {
                let parser = Builder::new().name("parser").stack_size(128 * 1024);
                drop(parser.spawn(|| endless(0)).unwrap().join());
            }
            "nameless" => drop(spawn(|| endless(0)).join()),
            "worker" => {
                spawn(|| endless(0));
                // On the other worker, whose thread fibra has made; this one is busy.
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            "main" => drop(endless(0)),
            "deep in a scope" => fibra::scope(|scope| {
                let child = scope.spawn_with(Builder::new().name("child"), || {
                    fibra::yield_now();
                    endless(0)
                });
                drop(child.unwrap().join());
            }),
            "sent" => drop(spawn(kill_self).join()),
            _ => unreachable!("{part}"),
        })
        .unwrap();
    println!("survived");
    true
}

/// A signal that was sent takes the way that a fault takes. (Null is dereferenced in the tests of fibra-context, for it takes unsafe code.)
fn kill_self() {
    let own = std::process::id().to_string();
    // std's handler, to which the first is handed on, puts the default back and expects the fault to happen again. Any thread may take the signal, and
    // while one is pending another is not counted: so there are as many as it takes.
    for _ in 0..100 {
        std::process::Command::new("kill").args(["-SEGV", &own]).status().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_overflow_names_the_coroutine_its_stack_and_the_remedy() {
    const NAME: &str = "an_overflow_names_the_coroutine_its_stack_and_the_remedy";
    if part() {
        return;
    }
    for (part, parts) in [
        ("named", ["coroutine \"parser\" (#", "stack of 131072 bytes"]),
        ("nameless", ["coroutine #", "stack of 65536 bytes"]),
        ("worker", ["coroutine #", "stack of 65536 bytes"]),
        ("main", ["coroutine \"main\" (#", "stack of 1048576 bytes"]),
        ("deep in a scope", ["coroutine \"child\" (#", "stack of 65536 bytes"]),
    ] {
        let said = child::run(&mut child::command(NAME, part));
        said.has(&parts);
        said.has(&["overflowed its stack", "Builder::stack_size", "FIBRA_STACK_SIZE"]);
        assert_eq!(said.output.status.signal(), Some(SIGABRT), "{}", said.text);
        assert!(!said.text.contains("survived"));
    }
}

#[test]
fn other_faults_kill_as_usual() {
    if part() {
        return;
    }
    let said = child::run(&mut child::command("other_faults_kill_as_usual", "sent"));
    assert_eq!(said.output.status.signal(), Some(SIGSEGV), "{}", said.text);
    assert!(!said.text.contains("overflowed"), "{}", said.text);
}
