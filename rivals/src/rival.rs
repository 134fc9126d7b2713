//! The names of what is measured. A rival is one way of doing the work; which of them take part in a measurement is
//! said by that measurement.

use clap::ValueEnum;

/// One way of doing the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Rival {
    /// The bare coroutine switch, with no scheduler around it.
    Corosensei,
    /// One epoll loop written by hand: what the rest is compared to.
    Epoll,
    /// fibra, in the plainest way to write the task.
    Fibra,
    /// fibra, waiting until a socket is readable and only then borrowing a buffer of its worker's.
    FibraShared,
    /// The program `fibra serve`.
    FibraServe,
    /// may: stackful coroutines.
    May,
    /// monoio: stackless tasks on io_uring (or epoll, where the kernel refuses io_uring).
    Monoio,
    /// smol's executor on one thread.
    Smol,
    /// tokio, `current_thread`.
    TokioCt,
    /// tokio, `multi_thread` with one worker.
    TokioMt1,
    /// Threads of the operating system, through std.
    Thread,
    /// hyper on tokio's `current_thread`.
    Hyper,
    /// nginx, one process.
    Nginx,
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
            Self::Fibra => "fibra",
            Self::FibraShared => "fibra, worker's buffer",
            Self::FibraServe => "fibra serve",
            Self::May => "may",
            Self::Monoio => "monoio",
            Self::Smol => "smol",
            Self::TokioCt => "tokio, current_thread",
            Self::TokioMt1 => "tokio, multi_thread × 1",
            Self::Thread => "OS threads",
            Self::Hyper => "hyper on tokio ct",
            Self::Nginx => "nginx",
            Self::External => "external server",
        }
    }

    /// Whether this build contains it.
    pub(crate) fn is_built(self) -> bool {
        !matches!(self, Self::Fibra | Self::FibraShared) || cfg!(feature = "fibra")
    }
}
