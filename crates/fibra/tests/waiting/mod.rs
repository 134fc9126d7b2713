//! How many wait in a queue.

use std::fmt::Debug;

/// How many wait to get (`getters`), or to put (`putters`): the queue says it in its description only.
pub(crate) fn waiting(queue: &impl Debug, side: &str) -> usize {
    let text = format!("{queue:?}");
    let (_, rest) = text.split_once(&format!("{side}: ")).expect("it says that");
    rest.split([',', ' ']).next().and_then(|number| number.parse().ok()).expect("a number")
}
