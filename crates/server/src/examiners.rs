//! Turns for work on large bodies that takes a processor: hashing and scanning.

use std::sync::Arc;

use forebay_core::{Error, Result};
use tokio::sync::Semaphore;

/// Large bodies that are hashed and scanned at once, each on its own thread.
const EXAMINED_AT_ONCE_MAX: usize = 2;

/// A body up to this size is examined where it is: that takes less than a millisecond.
const INLINE_BYTES_MAX: usize = 128 << 10;

/// Turns for large bodies; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Examiners(Arc<Semaphore>);

impl Default for Examiners {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(EXAMINED_AT_ONCE_MAX)))
    }
}

impl Examiners {
    /// Runs work that takes a processor for as long as the body is large.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        let turn = self.0.clone().acquire_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        task.await.map_err(|error| {
            Error::bug("examine_task", "examining a request panicked").with_source(error)
        })?
    }
}
