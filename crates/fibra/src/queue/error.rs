//! Why something could not be put, got or counted; what was to be put is in the error.

use std::error::Error;
use std::fmt;

/// The item was not put, and is here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// There is no room, or was none until the time was up.
    Full(T),
    /// The queue is shut down.
    Shutdown(T),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        match self {
            PutError::Full(item) | PutError::Shutdown(item) => item,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }

    /// Whether the queue is shut down.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, PutError::Shutdown(_))
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "Full(..)",
            PutError::Shutdown(_) => "Shutdown(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "the queue is full",
            PutError::Shutdown(_) => "the queue is shut down",
        })
    }
}

impl<T> Error for PutError<T> {}

/// There is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// There is none, or was none until the time was up.
    Empty,
    /// There is none, and the queue is shut down.
    Shutdown,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GetError::Empty => "the queue is empty",
            GetError::Shutdown => "the queue is empty and shut down",
        })
    }
}

impl Error for GetError {}

/// More tasks were said to be done than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraTaskDone;

impl fmt::Display for ExtraTaskDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done was called more often than items were put")
    }
}

impl Error for ExtraTaskDone {}
