//! What can become of a request other than its answer.

use rustix::io::Errno;
use std::borrow::Cow;

/// Kinds of failure, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Nobody listens, or the listener's queue is full and the system says so.
    Refused,
    /// The connection was torn down (RST).
    Reset,
    /// The server closed in good order, but before its answer was whole.
    ClosedEarly,
    /// Not connected, or not answered, within the time that a request may take.
    TimedOut,
    /// Not connected when the time for opening connections was over: left out.
    NotOpened,
    /// Connected, perhaps by the system alone, and never answered until the end: the server does not take part in it.
    NotAdmitted,
    /// Answered before, and not once from before the measured time until its end.
    Unanswered,
    /// Other bytes than the protocol has there, or than the echo was sent.
    BadAnswer,
    /// An HTTP status from 400 on.
    Status(u16),
    /// The answer said that the connection ends with it, and then it did not.
    NotClosed,
    /// It was due, and until the end no connection was free to send it.
    NotSent,
    /// There is no way to the server.
    Unreachable,
    /// No descriptor is left to this process, or to the system.
    NoDescriptors,
    /// No local port is left for another connection to this server.
    NoPorts,
    /// Another error, by the system's number.
    Other(i32),
}

impl Fault {
    pub(super) fn of(errno: Errno) -> Fault {
        match errno {
            Errno::CONNREFUSED => Fault::Refused,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Fault::Reset,
            Errno::TIMEDOUT => Fault::TimedOut,
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::HOSTDOWN => Fault::Unreachable,
            Errno::MFILE | Errno::NFILE => Fault::NoDescriptors,
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Fault::NoPorts,
            other => Fault::Other(other.raw_os_error()),
        }
    }

    /// Its key in the JSON report.
    pub(super) fn key(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Fault::Refused => "refused",
            Fault::Reset => "reset",
            Fault::ClosedEarly => "closed_early",
            Fault::TimedOut => "timed_out",
            Fault::NotOpened => "not_opened",
            Fault::NotAdmitted => "not_admitted",
            Fault::Unanswered => "unanswered",
            Fault::BadAnswer => "bad_answer",
            Fault::Status(status) => return Cow::Owned(format!("status_{status}")),
            Fault::NotClosed => "not_closed",
            Fault::NotSent => "not_sent",
            Fault::Unreachable => "unreachable",
            Fault::NoDescriptors => "no_descriptors",
            Fault::NoPorts => "no_ports",
            Fault::Other(_) => "other",
        })
    }

    /// What it means, for people.
    pub(super) fn meaning(self) -> String {
        let text = match self {
            Fault::Refused => "connection refused",
            Fault::Reset => "connection reset",
            Fault::ClosedEarly => "closed before the answer was whole",
            Fault::TimedOut => "timed out",
            Fault::NotOpened => "not connected in the time for opening (--open-timeout), and left out",
            Fault::NotAdmitted => "not admitted: connected, but never answered until the end",
            Fault::Unanswered => "unanswered in all the measured time",
            Fault::BadAnswer => "not the answer that the protocol has",
            Fault::Status(status) => return format!("HTTP status {status}"),
            Fault::NotClosed => "not closed, though the answer said so",
            Fault::NotSent => "not sent: due, but no connection was free until the end",
            Fault::Unreachable => "server unreachable",
            Fault::NoDescriptors => "no descriptor left (ulimit -n)",
            Fault::NoPorts => "no local port left",
            Fault::Other(errno) => return std::io::Error::from_raw_os_error(errno).to_string(),
        };
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_have_a_kind() {
        for (errno, key) in [
            (Errno::CONNREFUSED, "refused"),
            (Errno::PIPE, "reset"),
            (Errno::MFILE, "no_descriptors"),
            (Errno::NFILE, "no_descriptors"),
            (Errno::ADDRNOTAVAIL, "no_ports"),
            (Errno::HOSTUNREACH, "unreachable"),
            (Errno::ACCESS, "other"),
        ] {
            assert_eq!(Fault::of(errno).key(), key);
        }
        assert_eq!(Fault::Status(503).key(), "status_503");
        assert!(Fault::of(Errno::ACCESS).meaning().starts_with("Permission denied"));
    }
}
