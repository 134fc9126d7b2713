//! tokio, in both of its forms.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::rival::Rival;

pub(crate) struct Tokio(Runtime);

impl Tokio {
    pub(crate) fn new(rival: Rival) -> Self {
        let mut builder = match rival {
            Rival::TokioMt1 | Rival::TokioMt2 => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        match rival {
            Rival::TokioMt1 => {
                builder.worker_threads(1);
            }
            Rival::TokioMt2 => {
                builder.worker_threads(2);
            }
            _ => {}
        }
        Self(builder.enable_all().build().expect("a tokio runtime"))
    }

    /// Runs `main` as a task like any other: the future given to `block_on` itself is polled outside of the worker
    /// (multi_thread), or once per turn of the loop only (current_thread).
    pub(crate) fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(async { tokio::spawn(main).await.expect("measured tasks do not panic") })
    }
}
