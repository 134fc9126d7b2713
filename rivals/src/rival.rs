//! The names of what is measured. A rival is one way of doing the work; which of them take part in a measurement is
//! said by that measurement.

use clap::ValueEnum;

const DRIVER: &str = "FIBRA_DRIVER";
const URING: &str = "FIBRA_URING";

/// The variables that tell some rivals from each other: what the harness was started with is not handed on.
pub(crate) const CHOSEN_BY_ENVIRONMENT: [&str; 2] = [DRIVER, URING];

/// One way of doing the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Rival {
    /// The bare coroutine switch, with no scheduler around it.
    Corosensei,
    /// One epoll loop written by hand: what the rest is compared to.
    Epoll,
    /// One io_uring loop written by hand.
    Uring,
    /// fibra on epoll, in the plainest way to write the task.
    Fibra,
    /// fibra on epoll, waiting until a socket is readable and only then borrowing a buffer of its worker's.
    FibraShared,
    /// The program of [`Rival::Fibra`] on io_uring, every operation given to the ring.
    FibraUringSubmit,
    /// The same with a direct attempt before an operation goes to the ring.
    FibraUringTry,
    /// fibra on two workers.
    FibraTwo,
    /// fibra's locks and queues between OS threads, outside of any runtime.
    FibraThread,
    /// fibra's queues between coroutines on one worker and an OS thread.
    FibraMixed,
    /// The program `fibra serve`, on epoll.
    FibraServe,
    /// may: stackful coroutines.
    May,
    /// may on two workers.
    MayTwo,
    /// monoio: stackless tasks on io_uring (or epoll, where the kernel refuses io_uring).
    Monoio,
    /// smol's executor on one thread.
    Smol,
    /// tokio, `current_thread`.
    TokioCt,
    /// tokio, `multi_thread` with one worker.
    TokioMt1,
    /// tokio, `multi_thread` with two workers.
    TokioMt2,
    /// tokio, `current_thread`, with a call on its blocking pool for each operation.
    TokioPool,
    /// Threads of the operating system, through std.
    Thread,
    /// parking_lot's locks, between OS threads.
    ParkingLot,
    /// crossbeam's channels, between OS threads.
    Crossbeam,
    /// flume's channels, between OS threads.
    Flume,
    /// hyper on tokio's `current_thread`.
    Hyper,
    /// nginx, one process.
    Nginx,
    /// The load generator `fibra load`.
    FibraLoad,
    /// The load generator wrk, one thread.
    Wrk,
    /// The load generator h2load, one thread, speaking HTTP/1.1.
    H2load,
    /// A server started by somebody else, named by address and process.
    External,
}

impl Rival {
    /// The name used on the command line and between the harness and its children.
    pub(crate) fn key(self) -> String {
        self.to_possible_value().expect("no variant is skipped").get_name().to_owned()
    }

    /// The name used in tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Corosensei => "corosensei, bare",
            Self::Epoll => "epoll loop, by hand",
            Self::Uring => "io_uring loop, by hand",
            Self::Fibra => "fibra",
            Self::FibraShared => "fibra, worker's buffer",
            Self::FibraUringSubmit => "fibra, uring, submit",
            Self::FibraUringTry => "fibra, uring, try",
            Self::FibraTwo => "fibra, two workers",
            Self::FibraThread => "fibra, OS threads",
            Self::FibraMixed => "fibra, a thread and coroutines",
            Self::FibraServe => "fibra serve",
            Self::May => "may",
            Self::MayTwo => "may, two workers",
            Self::Monoio => "monoio",
            Self::Smol => "smol",
            Self::TokioCt => "tokio, current_thread",
            Self::TokioMt1 => "tokio, multi_thread × 1",
            Self::TokioMt2 => "tokio, multi_thread × 2",
            Self::TokioPool => "tokio, spawn_blocking",
            Self::Thread => "OS threads",
            Self::ParkingLot => "parking_lot, OS threads",
            Self::Crossbeam => "crossbeam-channel, OS threads",
            Self::Flume => "flume, OS threads",
            Self::Hyper => "hyper on tokio ct",
            Self::Nginx => "nginx",
            Self::FibraLoad => "fibra load",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::External => "external server",
        }
    }

    /// Whether this build contains it.
    pub(crate) fn is_built(self) -> bool {
        let in_this_build = !matches!(
            self,
            Self::Fibra
                | Self::FibraShared
                | Self::FibraUringSubmit
                | Self::FibraUringTry
                | Self::FibraTwo
                | Self::FibraThread
                | Self::FibraMixed
        );
        in_this_build || cfg!(feature = "fibra")
    }

    /// What its process finds in the environment; of [`CHOSEN_BY_ENVIRONMENT`] it finds nothing else.
    pub(crate) fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Fibra
            | Self::FibraShared
            | Self::FibraTwo
            | Self::FibraThread
            | Self::FibraMixed
            | Self::FibraServe => &[(DRIVER, "epoll")],
            Self::FibraUringSubmit => &[(DRIVER, "uring"), (URING, "submit")],
            Self::FibraUringTry => &[(DRIVER, "uring"), (URING, "try")],
            _ => &[],
        }
    }
}
