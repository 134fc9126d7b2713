//! Models that are alike, and how each is drawn.
//!
//! More than a handful of lines in one chart cannot be told apart: a chart shows one family in colours, dashes and markers of its members' own, and all others in
//! grey behind them.

/// Models that do the same in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Processes,
    Threads,
    Waiting,
    ByHand,
    Completion,
    Coroutines,
    Foreign,
}

impl Family {
    pub(super) const ALL: [Family; 7] = [
        Family::Processes,
        Family::Threads,
        Family::Waiting,
        Family::ByHand,
        Family::Completion,
        Family::Coroutines,
        Family::Foreign,
    ];

    /// Of a model by its `--model` name, or of a foreign server.
    pub(super) fn of(model: &str) -> Family {
        match model {
            "process" | "prefork" => Family::Processes,
            "thread" | "thread-pool" => Family::Threads,
            "polling" | "select" | "poll" | "epoll-lt" | "epoll-et" => Family::Waiting,
            "callback" | "state-machine" | "future" => Family::ByHand,
            "uring" => Family::Completion,
            // Several processes, in each of which coroutines serve.
            "multi-process" => Family::Coroutines,
            name if name.starts_with("coroutine") => Family::Coroutines,
            _ => Family::Foreign,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Family::Processes => "Processes",
            Family::Threads => "Threads",
            Family::Waiting => "Waiting for many",
            Family::ByHand => "State by hand",
            Family::Completion => "Completions",
            Family::Coroutines => "Coroutines",
            Family::Foreign => "Others",
        }
    }

    /// Its place in the colours of the page.
    pub(super) fn number(self) -> usize {
        Family::ALL.iter().position(|family| *family == self).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_of_this_build_has_a_family() {
        for model in fibra_serve::Model::ALL {
            assert_ne!(Family::of(model.name()), Family::Foreign, "{}", model.name());
        }
        assert_eq!(Family::of("nginx"), Family::Foreign);
    }
}
