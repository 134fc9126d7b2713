//! A bare switch: what changing stacks costs, before anything schedules.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use corosensei::{Coroutine, CoroutineResult};

use super::{Experiment, Metric, measure_alone, repeat_for, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let experiment = Experiment {
        key: "switch".into(),
        title: "Switch".into(),
        about: "A round trip into a coroutine and back: resume and suspend. The first column is what the crate's own \
                benchmark does, a number handed in and back, and the yardstick below; the others pass nothing, to one \
                coroutine, and to two in turn."
            .into(),
        metrics: &[
            Metric { key: "ns", title: "ns", decimals: 2, compared: true },
            Metric { key: "nothing_ns", title: "nothing passed", decimals: 2, compared: true },
            Metric { key: "two_ns", title: "two in turn", decimals: 2, compared: true },
        ],
        rivals: vec![Rival::Corosensei],
        baseline: None,
        aims: vec![],
        measure: measure_alone(settings, Work::Switch, 0),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    if one.rival != Rival::Corosensei {
        return takes_no_part(one);
    }
    let mut figures = a_number_each_way(one.seconds)?;
    for (name, found) in [("nothing_ns", nothing(one.seconds)?), ("two_ns", two_in_turn(one.seconds)?)] {
        figures.set(name, found.get("ns").expect("every repetition has it"));
    }
    Ok(figures)
}

/// Also the yardstick of `yield`.
pub(super) fn a_number_each_way(seconds: f64) -> Result<Figures> {
    let mut identity = Coroutine::new(|yielder, mut number: usize| -> () {
        loop {
            number = yielder.suspend(number);
        }
    });
    let figures = repeat_for(seconds, |repetitions| {
        let start = Instant::now();
        for number in 0..repetitions as usize {
            match black_box(identity.resume(black_box(number))) {
                CoroutineResult::Yield(same) => debug_assert_eq!(same, number),
                CoroutineResult::Return(()) => unreachable!("it loops for ever"),
            }
        }
        start.elapsed()
    })?;
    // SAFETY: its stack holds nothing that needs dropping.
    unsafe { identity.force_reset() };
    Ok(figures)
}

fn idling() -> Coroutine<(), (), ()> {
    Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    })
}

fn nothing(seconds: f64) -> Result<Figures> {
    let mut coroutine = idling();
    let figures = repeat_for(seconds, |repetitions| {
        let start = Instant::now();
        for _ in 0..repetitions {
            coroutine.resume(());
        }
        start.elapsed()
    })?;
    // SAFETY: its stack holds nothing that needs dropping.
    unsafe { coroutine.force_reset() };
    Ok(figures)
}

fn two_in_turn(seconds: f64) -> Result<Figures> {
    let mut coroutines = [idling(), idling()];
    let figures = repeat_for(seconds, |repetitions| {
        let start = Instant::now();
        for turn in 0..repetitions as usize {
            coroutines[turn % 2].resume(());
        }
        start.elapsed()
    })?;
    for coroutine in &mut coroutines {
        // SAFETY: its stack holds nothing that needs dropping.
        unsafe { coroutine.force_reset() };
    }
    Ok(figures)
}
