//! What costs nothing: waiting, and giving control to one another.

mod child;

use fibra::net::{TcpListener, UnixStream};
use fibra::{Builder, Runtime, park, spawn};
use std::io::{self, Read, Write};
use std::process::Command;
use std::time::Duration;

/// Processor time that this process has used, in ticks of (usually) 10 ms: fields 14 and 15 of `proc_pid_stat(5)`.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn an_idle_runtime_uses_no_processor() {
    const NAME: &str = "an_idle_runtime_uses_no_processor";
    if child::part().is_some() {
        return Runtime::builder()
            .workers(4)
            .run(|| {
                for _ in 0..1000 {
                    Builder::new().daemon(true).spawn(park).unwrap();
                    Builder::new().daemon(true).spawn(|| fibra::sleep(Duration::from_secs(3600))).unwrap();
                }
                // Whatever the driver, operations that are pending cost nothing either.
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                Builder::new().daemon(true).spawn(move || listener.accept().map(drop)).unwrap();
                let mut others = Vec::new();
                for _ in 0..50 {
                    let (mut one, other) = UnixStream::pair().unwrap();
                    others.push(other);
                    Builder::new().daemon(true).spawn(move || one.read(&mut [0; 8]).unwrap()).unwrap();
                }
                // The ring beside another driver is made at the first call.
                assert!(fibra::fs::exists("/proc/self/stat").unwrap());
                // Long enough for everybody to have given back what the beginning needed.
                fibra::sleep(Duration::from_millis(1500));
                let before = ticks();
                fibra::sleep(Duration::from_millis(1500));
                println!("ticks: {}", ticks() - before);
            })
            .unwrap();
    }
    let text = child::run(&mut child::command(NAME, "idles")).well();
    let ticks = text.split("ticks: ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert!(ticks.parse::<u64>().unwrap() <= 1, "{text}");
}

#[test]
fn a_yield_makes_no_system_call() {
    const NAME: &str = "a_yield_makes_no_system_call";
    if let Some(part) = child::part() {
        let yields: u32 = part.parse().unwrap();
        return Runtime::builder()
            .workers(1)
            .run(move || {
                let other = spawn(move || (0..yields).for_each(|_| fibra::yield_now()));
                (0..yields).for_each(|_| fibra::yield_now());
                other.join().unwrap();
            })
            .unwrap();
    }
    if Command::new("strace").arg("-V").output().is_err() {
        writeln!(io::stdout(), "[skipped] {NAME}: needs strace").unwrap();
        return;
    }
    let count = |yields: u32| {
        let child = child::command(NAME, &yields.to_string());
        let mut traced = Command::new("strace");
        traced.args(["-c", "-f", "-U", "name,calls,errors"]).arg(child.get_program()).args(child.get_args());
        traced.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = child::run(&mut traced);
        assert!(said.output.status.success(), "{}", said.text);
        calls_of(&said.text)
    };
    let (few, many) = (count(10), count(100_000));
    // Start and end differ by a call or two from run to run.
    assert!(many < few + 100, "{few} calls for 10 yields, {many} for 100,000");
}

/// The sum that `strace -c -U name,calls,errors` ends with.
fn calls_of(report: &str) -> u64 {
    let total = report.lines().find(|line| line.starts_with("total")).expect("a line of totals");
    total.split_whitespace().nth(1).and_then(|calls| calls.parse().ok()).expect("a number of calls")
}
