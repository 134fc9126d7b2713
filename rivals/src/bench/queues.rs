//! Queues: how long an item takes from producers to consumers, and there and back between two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::locks::Together;
use super::{Aim, Experiment, NANOSECONDS, measure_alone, measure_on_two, repeat_for, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, MayTwo, Thread, Tokio};
#[cfg(feature = "fibra")]
use crate::runtime::{Fibra, FibraTwo};

/// How many items a queue holds.
const CAPACITY: usize = 1024;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let one_worker = vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::TokioMt1];
    let two = |consumers: usize| {
        let mut rivals = vec![
            Rival::Crossbeam,
            Rival::Flume,
            Rival::FibraTwo,
            Rival::FibraThread,
            Rival::FibraMixed,
            Rival::MayTwo,
        ];
        if consumers == 1 {
            // Theirs have one consumer.
            rivals.extend([Rival::Thread, Rival::TokioMt2]);
        }
        rivals
    };
    let about = "Numbers go through a queue that holds 1,024 (may's is unbounded); the time is per number. ";
    let mut experiments = Vec::new();
    for (producers, consumers) in [(1, 1), (4, 1), (4, 4)] {
        let count = producers * 10 + consumers;
        let (rivals, name) = (one_worker.clone(), format!("{producers} to {consumers}"));
        experiments.push(Experiment {
            key: format!("queue-{producers}-{consumers}-one"),
            title: format!("Queue, {name}, one worker"),
            about: about.into(),
            metrics: NANOSECONDS,
            rivals: rivals.into_iter().filter(|rival| consumers == 1 || !is_tokio(*rival)).collect(),
            baseline: Some(if consumers == 1 { Rival::TokioCt } else { Rival::Fibra }),
            aims: if count == 11 { vec![Aim::at_most(Rival::Fibra, "ns", 40.0)] } else { vec![] },
            measure: measure_alone(settings, Work::Queue, count),
        });
        experiments.push(Experiment {
            key: format!("queue-{producers}-{consumers}-two"),
            title: format!("Queue, {name}, two cores"),
            about: format!(
                "{about}Two workers, or OS threads; *a thread and coroutines*: the producers are threads, the consumers coroutines of one worker."
            ),
            metrics: NANOSECONDS,
            rivals: two(consumers),
            baseline: Some(Rival::Crossbeam),
            aims: if count == 11 {
                vec![Aim::at_most(Rival::FibraTwo, "ns", 1.25).times(Rival::Crossbeam)]
            } else {
                vec![]
            },
            measure: measure_on_two(settings, Work::Queue, count),
        });
    }
    let about =
        "A number goes to and fro between two through two queues of one place; the time is for one way.";
    experiments.push(Experiment {
        key: "ping-pong-one".into(),
        title: "Ping-pong over queues, one worker".into(),
        about: format!("{about} OS threads share the core."),
        metrics: NANOSECONDS,
        rivals: vec![Rival::Crossbeam, Rival::Fibra, Rival::May, Rival::TokioCt, Rival::TokioMt1],
        baseline: Some(Rival::Crossbeam),
        aims: vec![
            Aim::at_most(Rival::Fibra, "ns", 100.0),
            Aim::at_most(Rival::Fibra, "ns", 0.1).times(Rival::Crossbeam),
        ],
        measure: measure_alone(settings, Work::PingPong, 0),
    });
    experiments.push(Experiment {
        key: "ping-pong-two".into(),
        title: "Ping-pong over queues, two cores".into(),
        about: about.into(),
        metrics: NANOSECONDS,
        rivals: vec![
            Rival::Crossbeam,
            Rival::Flume,
            Rival::Thread,
            Rival::FibraTwo,
            Rival::FibraThread,
            Rival::FibraMixed,
            Rival::MayTwo,
            Rival::TokioMt2,
        ],
        baseline: Some(Rival::Crossbeam),
        aims: vec![],
        measure: measure_on_two(settings, Work::PingPong, 0),
    });
    experiments.into_iter().map(|experiment| experiment.choose(settings)).collect()
}

fn is_tokio(rival: Rival) -> bool {
    matches!(rival, Rival::TokioCt | Rival::TokioMt1 | Rival::TokioMt2)
}

/// A queue of numbers with its two ends.
trait Channel {
    type Sender: Clone + Send + 'static;
    type Receiver: Clone + Send + 'static;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, number: u64);
    fn receive(receiver: &Self::Receiver) -> u64;
}

struct Crossbeam;

impl Channel for Crossbeam {
    type Sender = crossbeam_channel::Sender<u64>;
    type Receiver = crossbeam_channel::Receiver<u64>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        crossbeam_channel::bounded(capacity)
    }

    #[inline]
    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    #[inline]
    fn receive(receiver: &Self::Receiver) -> u64 {
        receiver.recv().expect("the sender is there")
    }
}

struct Flume;

impl Channel for Flume {
    type Sender = flume::Sender<u64>;
    type Receiver = flume::Receiver<u64>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    #[inline]
    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    #[inline]
    fn receive(receiver: &Self::Receiver) -> u64 {
        receiver.recv().expect("the sender is there")
    }
}

/// std's: there is one receiver, whose lock is never contended.
struct Std;

impl Channel for Std {
    type Sender = std::sync::mpsc::SyncSender<u64>;
    type Receiver = Arc<parking_lot::Mutex<std::sync::mpsc::Receiver<u64>>>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = std::sync::mpsc::sync_channel(capacity);
        (sender, Arc::new(parking_lot::Mutex::new(receiver)))
    }

    #[inline]
    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    #[inline]
    fn receive(receiver: &Self::Receiver) -> u64 {
        receiver.lock().recv().expect("the sender is there")
    }
}

/// may's, which has no bound.
struct MayQueue;

impl Channel for MayQueue {
    type Sender = Arc<may::sync::mpmc::Sender<u64>>;
    type Receiver = Arc<may::sync::mpmc::Receiver<u64>>;

    fn new(_capacity: usize) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = may::sync::mpmc::channel();
        (Arc::new(sender), Arc::new(receiver))
    }

    #[inline]
    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    #[inline]
    fn receive(receiver: &Self::Receiver) -> u64 {
        receiver.recv().expect("the sender is there")
    }
}

#[cfg(feature = "fibra")]
struct FibraQueue;

#[cfg(feature = "fibra")]
impl Channel for FibraQueue {
    type Sender = Arc<fibra::queue::Queue<u64>>;
    type Receiver = Arc<fibra::queue::Queue<u64>>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(fibra::queue::Queue::bounded(capacity));
        (Arc::clone(&queue), queue)
    }

    #[inline]
    fn send(sender: &Self::Sender, number: u64) {
        sender.put(number).expect("nobody shuts it down");
    }

    #[inline]
    fn receive(receiver: &Self::Receiver) -> u64 {
        receiver.get().expect("nobody shuts it down")
    }
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    let parts = (one.count as u64 / 10, one.count as u64 % 10);
    let seconds = one.seconds;
    match one.rival {
        Rival::Crossbeam => through::<Thread, Thread, Crossbeam>(seconds, parts, 2),
        Rival::Flume => through::<Thread, Thread, Flume>(seconds, parts, 2),
        Rival::Thread => through::<Thread, Thread, Std>(seconds, parts, 2),
        #[cfg(feature = "fibra")]
        Rival::Fibra => through::<Fibra, Fibra, FibraQueue>(seconds, parts, 1),
        #[cfg(feature = "fibra")]
        Rival::FibraTwo => through::<FibraTwo, FibraTwo, FibraQueue>(seconds, parts, 2),
        #[cfg(feature = "fibra")]
        Rival::FibraThread => through::<Thread, Thread, FibraQueue>(seconds, parts, 2),
        #[cfg(feature = "fibra")]
        Rival::FibraMixed => through::<Fibra, Thread, FibraQueue>(seconds, parts, 2),
        Rival::May => through::<May, May, MayQueue>(seconds, parts, 1),
        Rival::MayTwo => through::<MayTwo, MayTwo, MayQueue>(seconds, parts, 2),
        Rival::TokioCt | Rival::TokioMt1 => through_tokio(one, parts, 1),
        Rival::TokioMt2 => through_tokio(one, parts, 2),
        _ => takes_no_part(one),
    }
}

/// So many numbers through a queue: consumers are tasks of `R`, producers of `P`.
fn through<R: Blocking, P: Blocking, C: Channel>(
    seconds: f64,
    (producers, consumers): (u64, u64),
    cores: usize,
) -> Result<Figures> {
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let each = repetitions.div_ceil(producers * consumers);
            let (sender, receiver) = C::new(CAPACITY);
            let together = Arc::new(Together::default());
            let consuming: Vec<R::Join> = (0..consumers)
                .map(|_| {
                    let (receiver, together) = (receiver.clone(), Arc::clone(&together));
                    R::spawn(move || {
                        together.wait(cores);
                        for _ in 0..each * producers {
                            C::receive(&receiver);
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            let producing: Vec<P::Join> = (0..producers)
                .map(|_| {
                    let (sender, together) = (sender.clone(), Arc::clone(&together));
                    P::spawn(move || {
                        together.wait(cores);
                        for number in 0..each * consumers {
                            C::send(&sender, number);
                        }
                    })
                })
                .collect();
            consuming.into_iter().for_each(R::join);
            let took = start.elapsed();
            producing.into_iter().for_each(P::join);
            // Of the numbers that were asked for; a few more may have gone.
            took.mul_f64(repetitions as f64 / (each * producers * consumers) as f64)
        })
    })
}

fn through_tokio(one: &One, (producers, consumers): (u64, u64), cores: usize) -> Result<Figures> {
    async fn turns(repetitions: u64, producers: u64, cores: usize) -> Duration {
        let each = repetitions.div_ceil(producers);
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u64>(CAPACITY);
        let together = Arc::new(Together::default());
        let meeting = Arc::clone(&together);
        let start = Instant::now();
        let consuming = tokio::spawn(async move {
            meeting.wait(cores);
            for _ in 0..each * producers {
                receiver.recv().await.expect("the sender is there");
            }
        });
        let producing: Vec<_> = (0..producers)
            .map(|_| {
                let (sender, together) = (sender.clone(), Arc::clone(&together));
                tokio::spawn(async move {
                    together.wait(cores);
                    for number in 0..each {
                        sender.send(number).await.expect("the receiver is there");
                    }
                })
            })
            .collect();
        consuming.await.expect("measured tasks do not panic");
        let took = start.elapsed();
        for task in producing {
            task.await.expect("measured tasks do not panic");
        }
        took.mul_f64(repetitions as f64 / (each * producers) as f64)
    }
    if consumers > 1 {
        return takes_no_part(one);
    }
    let runtime = Tokio::new(one.rival);
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions, producers, cores)))
}

pub(crate) fn one_ping_pong(one: &One) -> Result<Figures> {
    let seconds = one.seconds;
    match one.rival {
        // On one core, as on two.
        Rival::Crossbeam => to_and_fro::<Thread, Thread, Crossbeam>(seconds),
        Rival::Flume => to_and_fro::<Thread, Thread, Flume>(seconds),
        Rival::Thread => to_and_fro::<Thread, Thread, Std>(seconds),
        #[cfg(feature = "fibra")]
        Rival::Fibra => to_and_fro::<Fibra, Fibra, FibraQueue>(seconds),
        #[cfg(feature = "fibra")]
        Rival::FibraTwo => to_and_fro::<FibraTwo, FibraTwo, FibraQueue>(seconds),
        #[cfg(feature = "fibra")]
        Rival::FibraThread => to_and_fro::<Thread, Thread, FibraQueue>(seconds),
        #[cfg(feature = "fibra")]
        Rival::FibraMixed => to_and_fro::<Fibra, Thread, FibraQueue>(seconds),
        Rival::May => to_and_fro::<May, May, MayQueue>(seconds),
        Rival::MayTwo => to_and_fro::<MayTwo, MayTwo, MayQueue>(seconds),
        Rival::TokioCt | Rival::TokioMt1 | Rival::TokioMt2 => to_and_fro_on_tokio(one),
        _ => takes_no_part(one),
    }
}

/// Whether the two are to begin on cores of their own.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(2)
}

fn to_and_fro<R: Blocking, P: Blocking, C: Channel>(seconds: f64) -> Result<Figures> {
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let turns = repetitions / 2;
            let (to, from_there) = C::new(1);
            let (back, answers) = C::new(1);
            let together = Arc::new(Together::default());
            let meeting = Arc::clone(&together);
            // Of two cores, each has one of the two from the start.
            let cores = cores();
            let far = P::spawn(move || {
                meeting.wait(cores);
                for _ in 0..turns {
                    C::send(&back, C::receive(&from_there));
                }
            });
            let near = R::spawn(move || {
                together.wait(cores);
                for number in 0..turns {
                    C::send(&to, number);
                    assert_eq!(C::receive(&answers), number);
                }
            });
            let start = Instant::now();
            R::join(near);
            let took = start.elapsed();
            P::join(far);
            took
        })
    })
}

fn to_and_fro_on_tokio(one: &One) -> Result<Figures> {
    async fn turns(turns: u64, cores: usize) -> Duration {
        let (to, mut from_there) = tokio::sync::mpsc::channel::<u64>(1);
        let (back, mut answers) = tokio::sync::mpsc::channel::<u64>(1);
        let together = Arc::new(Together::default());
        let meeting = Arc::clone(&together);
        let far = tokio::spawn(async move {
            meeting.wait(cores);
            for _ in 0..turns {
                let number = from_there.recv().await.expect("the sender is there");
                back.send(number).await.expect("the receiver is there");
            }
        });
        let near = tokio::spawn(async move {
            together.wait(cores);
            let start = Instant::now();
            for number in 0..turns {
                to.send(number).await.expect("the receiver is there");
                assert_eq!(answers.recv().await, Some(number));
            }
            start.elapsed()
        });
        let took = near.await.expect("measured tasks do not panic");
        far.await.expect("measured tasks do not panic");
        took
    }
    let runtime = Tokio::new(one.rival);
    let cores = if one.rival == Rival::TokioMt2 { cores() } else { 1 };
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions / 2, cores)))
}
