//! What moving bytes costs, by [`fibra::io::copy`] and by reading and writing: `cargo bench -p fibra --bench copy`.
//!
//! One worker copies 64 MiB from a TCP connection to another, over loopback, between two OS threads, of which one writes as fast as it can and the other reads; and 64 MiB from a file in the
//! page cache. What is printed is the processor time for a MiB: of the copying (the process's without those two threads', so that the kernel's own threads are in it), and of
//! everything; medians of interleaved rounds. Without `--bench` (as under `cargo test`) one round of 1 MiB checks that everything runs.

use fibra::fs::File;
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What is read at once, by whom.
const BUFFER: usize = 64 * 1024;

const MIB: usize = 1 << 20;

fn used(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (one, listener.accept().expect("a connection").0)
}

/// What is copied from.
enum From<'a> {
    Connection,
    File(&'a File),
}

fn by_buffer(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).expect("it can be read") {
            0 => return,
            count => to.write_all(&buffer[..count]).expect("somebody reads"),
        }
    }
}

fn copied(from: &mut impl fibra::io::Origin, to: &fibra::net::TcpStream) {
    fibra::io::copy(from, &mut &*to).expect("it can be read, and somebody reads");
}

/// Microseconds for a MiB: of the copying, and of everything.
fn measure(mib: usize, from: &From<'_>, by_copy: bool) -> [f64; 2] {
    let ((source, here), (to, sink)) = (pair(), pair());
    let before = used(ClockId::ProcessCPUTime);
    let reading = thread::spawn(move || {
        let (mut sink, mut bytes, mut total) = (sink, vec![0; BUFFER], 0);
        while let Ok(count @ 1..) = sink.read(&mut bytes) {
            total += count;
        }
        assert_eq!(total, mib * MIB);
        used(ClockId::ThreadCPUTime)
    });
    let to = fibra::net::TcpStream::from(to);
    let writing = match from {
        From::File(file) => {
            let mut file = *file;
            file.rewind().expect("it has places");
            if by_copy {
                copied(&mut file, &to)
            } else {
                by_buffer(file, &to)
            }
            Duration::ZERO
        }
        From::Connection => {
            let writing = thread::spawn(move || {
                let (mut source, bytes) = (source, vec![7; BUFFER]);
                (0..mib * MIB / BUFFER).for_each(|_| source.write_all(&bytes).expect("somebody reads"));
                used(ClockId::ThreadCPUTime)
            });
            let here = fibra::net::TcpStream::from(here);
            if by_copy {
                copied(&mut &here, &to)
            } else {
                by_buffer(&here, &to)
            }
            writing.join().expect("no panic in it")
        }
    };
    drop(to);
    let others = writing + reading.join().expect("no panic in it");
    let all = used(ClockId::ProcessCPUTime) - before;
    [all - others, all].map(|time| time.as_secs_f64() * 1e6 / mib as f64)
}

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (rounds, mib) = if measuring { (21, 64) } else { (1, 1) };
    let figures = fibra::Runtime::builder().workers(1).run(|| rounds_of(rounds, mib)).expect("a runtime");
    let names = ["connection, read and write", "connection, copy", "file, read and write", "file, copy"];
    println!("{:<40} {:>30} {:>30}", "µs of processor time for a MiB", "copying", "everything");
    for (at, name) in names.into_iter().enumerate() {
        let [copying, all] = [0, 1].map(|part| median(figures.iter().map(|round| round[at][part])));
        println!("{name:<40} {copying:>30} {all:>30}");
    }
    for (name, at) in [("connection, copy : read and write", 1), ("file, copy : read and write", 3)] {
        let [copying, all] =
            [0, 1].map(|part| median(figures.iter().map(|round| round[at][part] / round[at - 1][part])));
        println!("{name:<40} {copying:>30} {all:>30}");
    }
}

fn rounds_of(rounds: usize, mib: usize) -> Vec<[[f64; 2]; 4]> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; mib * MIB]).expect("room on the disk");
    let file = File::from_std(file);
    let round = |_| {
        let (connection, file) = (From::Connection, From::File(&file));
        [(&connection, false), (&connection, true), (&file, false), (&file, true)]
            .map(|(from, by_copy)| measure(mib, from, by_copy))
    };
    (0..rounds).map(round).collect()
}

/// The median, and the quarters between which it stands.
fn median(figures: impl Iterator<Item = f64>) -> String {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part) as usize];
    format!("{:.2} [{:.2} – {:.2}]", at(0.5), at(0.25), at(0.75))
}
