//! What happens to one process: everything that it does outside of itself is an event, and at one of them its fate strikes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use forebay_connectors::sink::TARGET_GONE;
use forebay_core::{Error, Result};
use tokio::sync::watch;

use crate::engine::{CommitStep, Failpoint};

/// What strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All goes well.
    None,
    /// This event and every later one fails: a process without network and disk that ends by itself.
    Fail,
    /// Only this one fails. It has been carried out if the failure is seen after it.
    FailOnce,
    /// The process is gone, whatever it was doing.
    Kill,
    /// It stands still until another process has worked, and then goes on as if nothing had happened.
    Pause,
}

/// One process.
#[derive(Debug)]
pub(super) struct Life {
    fate: Fate,
    /// Events until it strikes.
    left: AtomicU64,
    struck: watch::Sender<bool>,
    released: watch::Sender<bool>,
    dead: AtomicBool,
}

impl Life {
    pub(super) fn new(fate: Fate, after: u64) -> Arc<Self> {
        Arc::new(Self {
            fate,
            left: AtomicU64::new(after),
            struck: watch::Sender::new(false),
            released: watch::Sender::new(false),
            dead: AtomicBool::new(false),
        })
    }

    /// Returns when the process stands still.
    pub(super) async fn stands_still(&self) {
        let mut struck = self.struck.subscribe();
        if struck.wait_for(|struck| *struck).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets a paused process go on, and the threads of a killed one end.
    pub(super) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Something that the process does.
    pub(super) async fn event(&self) -> Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return match self.fate {
                Fate::Kill => self.end().await,
                _ => Err(gone()),
            };
        }
        let left = &self.left;
        let counted = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if counted != Ok(1) {
            return Ok(());
        }
        match self.fate {
            Fate::None => Ok(()),
            Fate::FailOnce => Err(gone()),
            Fate::Fail => {
                self.dead.store(true, Ordering::SeqCst);
                Err(gone())
            }
            Fate::Kill => {
                self.dead.store(true, Ordering::SeqCst);
                self.struck.send_replace(true);
                self.end().await
            }
            Fate::Pause => {
                self.struck.send_replace(true);
                self.wait().await;
                Ok(())
            }
        }
    }

    async fn end(&self) -> Result<()> {
        self.wait().await;
        Err(gone())
    }

    async fn wait(&self) {
        let mut released = self.released.subscribe();
        let waited = released.wait_for(|released| *released).await;
        drop(waited);
    }
}

fn gone() -> Error {
    Error::unavailable(TARGET_GONE, "the connection was reset")
}

#[async_trait]
impl Failpoint for Life {
    async fn reach(&self, _: CommitStep) -> Result<()> {
        self.event().await
    }
}
