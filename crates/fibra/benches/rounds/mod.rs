//! Measurements in interleaved rounds, so that drift hits all alike.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::time::{Duration, Instant};

/// A measurement: its name, how many operations a round of it has, and how long `count` of them took.
pub(crate) type Measure = (&'static str, u32, fn(count: u32) -> Duration);

/// The figures of a measurement, one a round.
pub(crate) type Figures = (&'static str, Vec<f64>);

/// Whether it is to be measured (`cargo bench`), or only to be seen that everything runs (`cargo test`).
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Makes those measurements whose names have what the command line asks for: so many rounds, or as many as `ROUNDS` says; one short one when it is not to be measured.
pub(crate) fn measure(measures: &[Measure], rounds: usize) -> Vec<Figures> {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let asked = std::env::var("ROUNDS").map(|text| text.parse().expect("ROUNDS is a number"));
    let (rounds, divisor) = if is_measuring() { (asked.unwrap_or(rounds), 1) } else { (1, 100) };
    let chosen: Vec<_> = measures.iter().filter(|(name, ..)| name.contains(&filter)).collect();
    let mut figures: Vec<Figures> = chosen.iter().map(|(name, ..)| (*name, Vec::new())).collect();
    for _ in 0..rounds {
        for ((_, count, measure), (_, figures)) in chosen.iter().zip(&mut figures) {
            let count = (count / divisor).max(1);
            figures.push(measure(count).as_nanos() as f64 / f64::from(count));
        }
    }
    figures
}

/// Prints the median and the quartiles, and returns the median.
pub(crate) fn print(name: &str, unit: &str, mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part) as usize];
    // A ratio wants another digit.
    let digits = if unit == "×" { 2 } else { 1 };
    let (low, median, high) = (at(0.25), at(0.5), at(0.75));
    println!("{name:<48} {median:>10.digits$} {unit:<2}   [{low:.digits$} – {high:.digits$}]");
    median
}

/// Prints all of them, in nanoseconds.
pub(crate) fn print_all(figures: Vec<Figures>) {
    for (name, figures) in figures {
        print(name, "ns", figures);
    }
}

pub(crate) fn timed(f: impl FnOnce()) -> Duration {
    let began = Instant::now();
    f();
    began.elapsed()
}

/// Two contexts of one worker wake each other in turn; the waits of this one are timed.
pub(crate) fn park_unpark(count: u32) -> Duration {
    let main = fibra::current();
    let other = fibra::spawn(move || {
        for _ in 0..count {
            fibra::park();
            main.unpark();
        }
    });
    let context = other.context();
    let took = timed(|| {
        for _ in 0..count {
            context.unpark();
            fibra::park();
        }
    });
    other.join().expect("no panic");
    took
}
