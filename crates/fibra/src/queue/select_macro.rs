//! [`select!`](crate::select!): arms with code, on top of [`select`](super::select()).

/// Waits until one of several arms can be done, does it, and runs the code that belongs to it; the value is that code's.
///
/// `pattern = arm => code`, with arms as for [`queue::select`](crate::queue::select()), and a pattern for the outcome that always matches. With `default => code` it does not
/// wait: that code is run if no arm can be done. Among several arms that can be done one is chosen by chance. The arms are gone when the code runs: what
/// was to be put by those that were not chosen is dropped.
///
/// ```
/// use fibra::queue::{Queue, after};
/// use std::time::Duration;
///
/// let (letters, orders) = (Queue::<&str>::unbounded(), Queue::<u32>::bounded(1));
/// orders.put(7).unwrap();
/// let heard = fibra::select! {
///     letter = letters.select_get() => format!("a letter: {letter:?}"),
///     order = orders.select_get() => format!("an order: {order:?}"),
///     _ = after(Duration::from_secs(1)) => "nothing".to_owned(),
/// };
/// assert_eq!(heard, "an order: Ok(7)");
///
/// let put = fibra::select! {
///     result = orders.select_put(8) => result.is_ok(),
///     default => false,
/// };
/// assert!(put);
/// ```
#[macro_export]
macro_rules! select {
    // The outcome of the chosen arm, so many times within `Err` as it has arms before it.
    (@outcome $chosen:ident, $none:expr;) => { $none };
    (@outcome $chosen:ident, $none:expr; $name:ident $($rest:ident)*) => {
        if $chosen == 0 {
            ::std::result::Result::Ok($name.take().expect("it was chosen"))
        } else {
            let chosen = $chosen - 1;
            ::std::result::Result::Err($crate::select!(@outcome chosen, $none; $($rest)*))
        }
    };
    // And its code.
    (@run $outcome:ident, { $($none:tt)* };) => { match $outcome { $($none)* } };
    (@run $outcome:ident, $none:tt; ($pattern:pat, $body:expr) $($rest:tt)*) => {
        match $outcome {
            ::std::result::Result::Ok($pattern) => $body,
            ::std::result::Result::Err(outcome) => $crate::select!(@run outcome, $none; $($rest)*),
        }
    };
    // All arms are known.
    (@arms [$(($name:ident, $arm:expr, $pattern:pat, $body:expr))+] default => $default:expr $(,)?) => {{
        let outcome = {
            $(let mut $name = $arm;)+
            let chosen = $crate::queue::try_select(&mut [$(&mut $name),+]).unwrap_or(usize::MAX);
            $crate::select!(@outcome chosen, (); $($name)+)
        };
        $crate::select!(@run outcome, { () => $default }; $(($pattern, $body))+)
    }};
    (@arms [$(($name:ident, $arm:expr, $pattern:pat, $body:expr))+]) => {{
        let outcome = {
            $(let mut $name = $arm;)+
            let chosen = $crate::queue::select(&mut [$(&mut $name),+]);
            $crate::select!(
                @outcome chosen, ::std::option::Option::<::std::convert::Infallible>::None.expect("one was chosen");
                $($name)+
            )
        };
        $crate::select!(@run outcome, {}; $(($pattern, $body))+)
    }};
    // One arm more. Each step names its variable anew, so they are different ones.
    (@arms [$($done:tt)*] $pattern:pat = $arm:expr => $body:block $(, $($rest:tt)*)?) => {
        $crate::select!(@arms [$($done)* (arm, $arm, $pattern, $body)] $($($rest)*)?)
    };
    (@arms [$($done:tt)*] $pattern:pat = $arm:expr => $body:expr $(, $($rest:tt)*)?) => {
        $crate::select!(@arms [$($done)* (arm, $arm, $pattern, $body)] $($($rest)*)?)
    };
    ($($arms:tt)+) => { $crate::select!(@arms [] $($arms)+) };
}
